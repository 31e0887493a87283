// SPDX-License-Identifier: Apache-2.0
#include "daemon/protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "daemon/inputs.h"
#include "tests/support/check.h"

#define P "\"parameters\":{\"stream_id\":\"s\"}"
#define T(shape, type, size)                                               \
    "\"inputs\":[{\"name\":\"x\",\"shape\":" shape ",\"datatype\":\"" type \
    "\",\"parameters\":{\"binary_data_size\":" size "}}]"

static const unsigned char bytes[4096];

/* Decode a header with one tensor frame of that size (-1: none). */
static enum tt_wire decode(const char *header, int tensor, enum tt_door door,
                           struct tt_request *ret, struct tt_refusal *r)
{
    struct tt_frame f[3] = {{TTAD_WIRE_MAGIC, sizeof TTAD_WIRE_MAGIC - 1},
                            {header, strlen(header)},
                            {bytes, (size_t)(tensor < 0 ? 0 : tensor)}};

    return tt_proto_decode(f, tensor < 0 ? 2 : 3, door, ret, r);
}

static void an_infer_request_is_read(void **state)
{
    struct tt_request q;
    struct tt_refusal r = {0};

    (void)state;
    assert_int_equal(
        decode("{\"op\":\"infer\",\"model_name\":\"resnet20\",\"id\":\"42\",\"parameters\":{"
               "\"stream_id\":\"cam-7\",\"deadline_ms\":50,\"policy\":\"tent\",\"later\":[1,{}]},"
               "\"inputs\":[{\"name\":\"image\",\"shape\":[2,3,4],\"datatype\":\"FP32\","
               "\"parameters\":{\"binary_data_size\":96,\"scale\":0.5,\"mean\":[0.25,0,-1],"
               "\"std\":[2]}}],\"outputs\":[{\"name\":\"logits\"}]}",
               96, TT_DOOR_DATA, &q, &r),
        TT_WIRE_OK);
    assert_int_equal(q.ask, TT_ASK_INFER);
    assert_string_equal(q.id, "42");
    assert_string_equal(q.model, "resnet20");
    assert_string_equal(q.stream, "cam-7");
    assert_string_equal(q.policy, "tent");
    assert_int_equal(q.deadline_ms, 50);
    assert_int_equal(q.ninputs, 1);
    assert_string_equal(q.inputs[0].name, "image");
    assert_int_equal(q.inputs[0].type, TT_FP32);
    assert_int_equal(q.inputs[0].n, 24);
    assert_int_equal(q.inputs[0].dim[2], 4);
    assert_ptr_equal(q.inputs[0].data, bytes);
    assert_true(q.inputs[0].prep);
    assert_close(q.inputs[0].scale, 0.5, 0, 0);
    assert_int_equal(q.inputs[0].nmean, 3);
    assert_close(q.inputs[0].mean[2], -1, 0, 0);
    assert_close(q.inputs[0].std[0], 2, 0, 0);
    assert_int_equal(q.noutputs, 1);
    assert_string_equal(q.outputs[0], "logits");
}

/* Each bad header has one clear error. */
static const struct bad {
    const char *header;
    int tensor; // bytes of the one frame; -1: none
    enum tt_door door;
    enum tt_wire code;
    const char *msg;
} bad[] = {
    {"", -1, 1, TT_WIRE_BAD_HEADER, "header: byte 0: '[' or '{' expected near end of file"},
    {"[]", -1, 1, TT_WIRE_BAD_HEADER, "header is a JSON list, wanted an object"},
    {"{}", -1, 1, TT_WIRE_BAD_HEADER, "op is missing"},
    {"{} {}", -1, 1, TT_WIRE_BAD_HEADER, "header: byte 4: end of file expected near '{'"},
    {"{\"op\":7}", -1, 1, TT_WIRE_BAD_HEADER, "op is a number, wanted a string"},
    {"{\"op\":\"ping\",\"op\":\"ping\"}", -1, 1, TT_WIRE_BAD_HEADER,
     "header: byte 17: duplicate object key near '\"op\"'"},
    {"{\"op\":\"ping\",\"ID\":\"1\"}", -1, 1, TT_WIRE_BAD_HEADER,
     "unknown key 'ID'; known are op, id, model_name, model_version, action, parameters, inputs, "
     "outputs"},
    {"{\"op\":\"ping\",\"id\":5}", -1, 1, TT_WIRE_BAD_HEADER, "id is a number, wanted a string"},
    {"{\"op\":\"infr\"}", -1, 1, TT_WIRE_BAD_HEADER,
     "op 'infr' is not known; the data socket answers hello, ping, infer, feedback, stream, "
     "cancel"},
    {"{\"op\":\"export\"}", -1, 2, TT_WIRE_BAD_HEADER,
     "op 'export' is not known; the control socket answers hello, ping, status, models, streams, "
     "snapshot, snapshots, rollback, freeze, thaw, reload, load, unload, log_level, drain"},
    {"{\"op\":\"status\"}", -1, 1, TT_WIRE_BAD_HEADER,
     "op 'status' is answered on the control socket"},
    {"{\"op\":\"infer\"}", -1, 2, TT_WIRE_BAD_HEADER, "op 'infer' is answered on the data socket"},
    {"{\"op\":\"infer\"}", -1, 1, TT_WIRE_BAD_HEADER,
     "parameters.stream_id is missing; op 'infer' wants it"},
    {"{\"op\":\"infer\",\"parameters\":[]}", -1, 1, TT_WIRE_BAD_HEADER,
     "parameters is a list, wanted an object"},
    {"{\"op\":\"infer\",\"parameters\":{\"stream_id\":null}}", -1, 1, TT_WIRE_BAD_HEADER,
     "parameters.stream_id is null, wanted a string"},
    {"{\"op\":\"infer\",\"parameters\":{\"stream_id\":\"a\\u001b[2J\"}}", -1, 1, TT_WIRE_BAD_HEADER,
     "parameters.stream_id has the control character 0x1b"},
    {"{\"op\":\"rollback\",\"parameters\":{\"stream_id\":\"a\",\"reason\":\"b\\n\"}}", -1, 2,
     TT_WIRE_BAD_HEADER, "parameters.reason has the control character 0x0a"},
    {"{\"op\":\"infer\",\"parameters\":{\"stream_id\":\"s\",\"deadline_ms\":0}}", -1, 1,
     TT_WIRE_BAD_HEADER, "parameters.deadline_ms: 0 is outside [1, 86400000]"},
    {"{\"op\":\"feedback\"," P "}", -1, 1, TT_WIRE_BAD_HEADER,
     "id is missing; op 'feedback' wants the id of the request it labels"},
    {"{\"op\":\"stream\",\"action\":\"export\"," P "}", -1, 1, TT_WIRE_BAD_HEADER,
     "action: 'export' is not one of open|close|reset|describe"},
    {"{\"op\":\"ping\"}", 4, 1, TT_WIRE_BAD_HEADER,
     "message has 1 tensor frames, op 'ping' takes none"},
    {"{\"op\":\"ping\",\"inputs\":[]}", -1, 1, TT_WIRE_BAD_HEADER, "op 'ping' takes no inputs"},
    {"{\"op\":\"infer\"," P "}", 4, 1, TT_WIRE_BAD_HEADER,
     "inputs is missing, wanted a list of tensors"},
    {"{\"op\":\"infer\"," P ",\"inputs\":{}}", 4, 1, TT_WIRE_BAD_HEADER,
     "inputs is not a list, wanted a list of tensors"},
    {"{\"op\":\"infer\"," P ",\"inputs\":[]}", 4, 1, TT_WIRE_BAD_TENSOR,
     "inputs has 0 tensors, wanted 1 to 8"},
    {"{\"op\":\"infer\"," P "," T("[1]", "FP32", "4") "}", -1, 1, TT_WIRE_BAD_TENSOR,
     "inputs has 1 tensor, the message has 0 tensor frames"},
    {"{\"op\":\"infer\"," P ",\"inputs\":[7]}", 4, 1, TT_WIRE_BAD_HEADER,
     "inputs[0] is not an object"},
    {"{\"op\":\"infer\"," P ",\"inputs\":[{\"shape\":[1]}]}", 4, 1, TT_WIRE_BAD_HEADER,
     "inputs: name is missing, wanted a string"},
    {"{\"op\":\"infer\"," P ",\"inputs\":[{\"name\":\"x\",\"dtype\":\"FP32\"}]}", 4, 1,
     TT_WIRE_BAD_HEADER, "inputs: unknown key 'dtype'"},
    {"{\"op\":\"infer\"," P "," T("[1]", "FP64", "8") "}", 8, 1, TT_WIRE_BAD_TENSOR,
     "input 'x': datatype 'FP64' is not one of BOOL UINT8 INT32 INT64 FP16 BF16 FP32"},
    {"{\"op\":\"infer\"," P "," T("[]", "FP32", "4") "}", 4, 1, TT_WIRE_BAD_SHAPE,
     "input 'x': shape has 0 dimensions, wanted 1 to 6"},
    {"{\"op\":\"infer\"," P "," T("[0,2]", "FP32", "0") "}", 0, 1, TT_WIRE_BAD_SHAPE,
     "input 'x': dimension 0 of shape is not a positive integer"},
    {"{\"op\":\"infer\"," P "," T("[2,-1]", "FP32", "4") "}", 4, 1, TT_WIRE_BAD_SHAPE,
     "input 'x': dimension 1 of shape is not a positive integer"},
    {"{\"op\":\"infer\"," P "," T("[4294967296,4294967296]", "FP32", "4") "}", 4, 1,
     TT_WIRE_TOO_LARGE, "input 'x': shape has too many elements"},
    {"{\"op\":\"infer\"," P "," T("[9223372036854775807]", "FP32", "4") "}", 4, 1,
     TT_WIRE_TOO_LARGE, "input 'x': shape has too many elements"},
    {"{\"op\":\"infer\"," P "," T("[2,3]", "FP32", "20") "}", 24, 1, TT_WIRE_BAD_TENSOR,
     "input 'x': binary_data_size is 20, FP32 [2, 3] needs 24"},
    {"{\"op\":\"infer\"," P "," T("[2,3]", "FP32", "24") "}", 23, 1, TT_WIRE_BAD_TENSOR,
     "input 'x': its frame has 23 bytes, binary_data_size says 24"},
    {"{\"op\":\"infer\"," P ",\"inputs\":[{\"name\":\"x\",\"shape\":[1],\"datatype\":\"FP32\"}]}",
     4, 1, TT_WIRE_BAD_TENSOR,
     "input 'x': parameters.binary_data_size is missing, wanted an integer"},
    {"{\"op\":\"infer\"," P ",\"inputs\":[{\"name\":\"x\",\"shape\":[1],\"datatype\":\"FP32\","
     "\"data\":[1]}]}",
     4, 1, TT_WIRE_BAD_TENSOR,
     "input 'x': tensors come as frames with binary_data_size, not as 'data'"},
    {"{\"op\":\"infer\"," P ",\"inputs\":[{\"name\":\"x\",\"shape\":[1],\"datatype\":\"FP32\","
     "\"parameters\":{\"binary_data_size\":4,\"std\":[0]}}]}",
     4, 1, TT_WIRE_BAD_TENSOR, "input 'x': parameters.std[0] is not a number above 0"},
    {"{\"op\":\"infer\"," P "," T("[1]", "FP32", "4") ",\"outputs\":[{}]}", 4, 1,
     TT_WIRE_BAD_HEADER, "outputs: name is missing, wanted a string"},
    {"{\"op\":\"ping\",\"parameters\":{\"a\":{\"b\":1,\"b\":2}}}", -1, 1, TT_WIRE_BAD_HEADER,
     "header: byte 41: duplicate object key near '\"b\"'"},
    {"{\"op\":\"infer\"," P ",\"inputs\":[{\"name\":\"x\\u001b[2J\"}]}", 4, 1, TT_WIRE_BAD_HEADER,
     "inputs: name has the control character 0x1b"},
    {"{\"op\":\"infer\"," P ",\"inputs\":[],\"outputs\":[{\"name\":\"\x7f\"}]}", 4, 1,
     TT_WIRE_BAD_TENSOR, "inputs has 0 tensors, wanted 1 to 8"},
    {"{\"op\":\"infer\"," P "," T("[1.5]", "FP32", "4") "}", 4, 1, TT_WIRE_BAD_SHAPE,
     "input 'x': dimension 0 of shape is not a positive integer"},
    {"{\"op\":\"infer\"," P "," T("[-0]", "FP32", "0") "}", 0, 1, TT_WIRE_BAD_SHAPE,
     "input 'x': dimension 0 of shape is not a positive integer"},
    {"{\"op\":\"infer\"," P "," T("[1]", "FP32", "4.0") "}", 4, 1, TT_WIRE_BAD_TENSOR,
     "input 'x': parameters.binary_data_size is not an integer, wanted an integer"},
    {"{\"op\":\"infer\"," P "," T("[1e999]", "FP32", "4") "}", 4, 1, TT_WIRE_BAD_HEADER,
     "header: byte 81: real number overflow near '1e999'"},
    {"{\"op\":\"infer\"," P "," T("[9223372036854775808]", "FP32", "4") "}", 4, 1,
     TT_WIRE_BAD_HEADER, "header: byte 95: too big integer near '9223372036854775808'"},
    {"{\"op\":\"ping\",\"id\":\"\\ud800\"}", -1, 1, TT_WIRE_BAD_HEADER,
     "header: byte 26: invalid Unicode '\\uD800' near '\"\\ud800\"'"},
    {"{\"op\":\"ping\",\"id\":\"\xc0\xaf\"}", -1, 1, TT_WIRE_BAD_HEADER,
     "header: byte 19: unable to decode byte 0xc0 near '\"'"},
    {"{\"op\":\"a\\u0000b\"}", -1, 1, TT_WIRE_BAD_HEADER,
     "header: byte 16: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"a\\u0000b\"'"},
    {"{\"op\":\"\xff\"}", -1, 1, TT_WIRE_BAD_HEADER,
     "header: byte 7: unable to decode byte 0xff near '\"'"},
};

static void each_bad_header_has_one_clear_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tt_request q;
        struct tt_refusal r = {0};
        enum tt_wire code = decode(bad[i].header, bad[i].tensor, bad[i].door, &q, &r);

        if (code != bad[i].code || r.code != code || strcmp(r.msg, bad[i].msg) != 0)
            fail_msg("%s\n  got  %s: %s\n  want %s: %s", bad[i].header, tt_wire_name(code), r.msg,
                     tt_wire_name(bad[i].code), bad[i].msg);
    }
}

static void frames_that_are_no_message_are_refused(void **state)
{
    struct tt_frame f[2] = {{"GET / HTTP/1.1\r\n\r\n", 18}, {"{}", 2}};
    struct tt_request q;
    struct tt_refusal r;

    (void)state;
    assert_int_equal(tt_proto_decode(f, 0, TT_DOOR_DATA, &q, &r), TT_WIRE_BAD_HEADER);
    assert_string_equal(r.msg, "message is empty, wanted [TTAD/1][JSON header]...");
    assert_int_equal(tt_proto_decode(f, 2, TT_DOOR_DATA, &q, &r), TT_WIRE_BAD_HEADER);
    assert_string_equal(r.msg, "frame 0 is 'GET / HTTP/1.1?\?' (18 bytes), wanted 'TTAD/1'");
    f[0] = (struct tt_frame){"TTAD/2", 6};
    assert_int_equal(tt_proto_decode(f, 2, TT_DOOR_DATA, &q, &r), TT_WIRE_BAD_HEADER);
    assert_string_equal(r.msg, "frame 0 is 'TTAD/2' (6 bytes), wanted 'TTAD/1'");
    f[0] = (struct tt_frame){"TTAD/1", 6};
    assert_int_equal(tt_proto_decode(f, 1, TT_DOOR_DATA, &q, &r), TT_WIRE_BAD_HEADER);
    assert_string_equal(r.msg, "message has no frame 1, wanted the JSON header");
}

static void depth_and_length_are_bounded(void **state)
{
    const size_t n = TTAD_WIRE_HEADER_MAX;
    char *deep = malloc(n + 2);
    struct tt_frame f[2] = {{"TTAD/1", 6}, {deep, n}};
    struct tt_request q;
    struct tt_refusal r;

    (void)state;
    memset(deep, '[', n + 2);
    assert_int_equal(tt_proto_decode(f, 2, TT_DOOR_DATA, &q, &r), TT_WIRE_BAD_HEADER);
    assert_string_equal(r.msg, "header: byte 16: nested deeper than 16 levels");
    f[1].size = n + 1;
    assert_int_equal(tt_proto_decode(f, 2, TT_DOOR_DATA, &q, &r), TT_WIRE_TOO_LARGE);
    assert_string_equal(r.msg, "header is 262145 bytes, the limit is 262144");
    free(deep);
    assert_int_equal(decode("{\"op\":\"ping\",\"parameters\":{\"a\":\"[[[[[[[[[[[[[[[[[[[\\\"[\"}}",
                            -1, TT_DOOR_DATA, &q, &r),
                     TT_WIRE_OK);
}

static const char good[] =
    "{\"op\":\"infer\",\"id\":\"a\",\"model_name\":\"m\"," P "," T("[2,3]", "FP32", "24") "}";

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof good - 1; n++) {
        char *cut = malloc(n ? n : 1); // exactly as long, so that a sanitizer sees reads beyond
        struct tt_frame f[3] = {{"TTAD/1", 6}, {cut, n}, {bytes, 24}};
        struct tt_request q;
        struct tt_refusal r;

        memcpy(cut, good, n);
        assert_int_equal(tt_proto_decode(f, 3, TT_DOOR_DATA, &q, &r), TT_WIRE_BAD_HEADER);
        assert_true(r.msg[0] != '\0');
        free(cut);
    }
}

static void a_flipped_bit_is_read_or_refused_in_one_line(void **state)
{
    int refused = 0;

    (void)state;
    for (size_t bit = 0; bit < 8 * (sizeof good - 1); bit++) {
        char *s = malloc(sizeof good - 1);
        struct tt_frame f[3] = {{"TTAD/1", 6}, {s, sizeof good - 1}, {bytes, 24}};
        struct tt_request q;
        struct tt_refusal r = {0};

        memcpy(s, good, sizeof good - 1);
        s[bit / 8] = (char)(s[bit / 8] ^ 1 << bit % 8);
        if (tt_proto_decode(f, 3, TT_DOOR_DATA, &q, &r)) {
            char clean[TT_ERR_MSG];

            memcpy(clean, r.msg, sizeof clean);
            tt_text_clean(clean);
            assert_string_equal(clean, r.msg);
            assert_true(r.msg[0] != '\0');
            refused++;
        }
        free(s);
    }
    assert_in_range(refused, 8 * (sizeof good - 1) / 2, 8 * (sizeof good - 1) - 1);
}

static void every_datatype_becomes_float(void **state)
{
    static const struct {
        enum tt_dtype type;
        unsigned char b[8];
        double want;
    } cases[] = {
        {TT_BOOL, {7}, 1},
        {TT_UINT8, {200}, 200},
        {TT_INT32, {0xfe, 0xff, 0xff, 0xff}, -2},
        {TT_INT64, {0, 0, 0, 0, 1, 0, 0, 0}, 4294967296.0},
        {TT_FP16, {0x00, 0x3e}, 1.5},
        {TT_FP16, {0x01, 0x80}, -5.9604644775390625e-8},
        {TT_FP16, {0xff, 0x7b}, 65504},
        {TT_BF16, {0x40, 0xc0}, -3},
        {TT_FP32, {0, 0, 0x20, 0x41}, 10},
    };
    struct tt_wire_tensor inf = {.type = TT_FP16, .n = 2, .data = "\x00\x7c\x01\xfc"};
    float y[2];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_wire_tensor t = {.type = cases[i].type, .n = 1, .data = cases[i].b};

        tt_dtype_floats(&t, y);
        assert_close(y[0], cases[i].want, 0, 0);
    }
    tt_dtype_floats(&inf, y);
    assert_true(y[0] > 1e38f);
    assert_true(y[1] != y[1]);
}

static void labels_are_integers(void **state)
{
    static const unsigned char b[] = {0xff, 0xff, 0xff, 0xff, 9, 0, 0, 0};
    struct tt_wire_tensor t = {.type = TT_INT32, .n = 2, .data = b};
    int64_t y[2];

    (void)state;
    assert_true(tt_dtype_labels(&t, y));
    assert_int_equal(y[0], -1);
    assert_int_equal(y[1], 9);
    t.type = TT_FP32;
    assert_false(tt_dtype_labels(&t, y));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_infer_request_is_read),
        cmocka_unit_test(each_bad_header_has_one_clear_error),
        cmocka_unit_test(frames_that_are_no_message_are_refused),
        cmocka_unit_test(depth_and_length_are_bounded),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(a_flipped_bit_is_read_or_refused_in_one_line),
        cmocka_unit_test(every_datatype_becomes_float),
        cmocka_unit_test(labels_are_integers),
    };

    return cmocka_run_group_tests_name("protocol", tests, NULL, NULL);
}
