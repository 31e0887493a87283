// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <onnx.pb-c.h>

#include "runtime/proto.h"
#include "tests/support/check.h"

/* Bytes in memory; fails once `give` of them were asked for. */
struct memory {
    const char *data;
    uint64_t n, at, give;
};

static enum tt_code read_memory(void *from, void *to, size_t n, struct tt_err *err)
{
    struct memory *m = (struct memory *)from;

    assert_true(n <= m->n - m->at);
    if (m->at + n > m->give)
        return tt_fail(err, TT_EIO, "the disk is gone");
    memcpy(to, m->data + m->at, n);
    m->at += n;
    return TT_OK;
}

static enum tt_code read_model(struct memory *m, struct tt_arena *arena, tt_proto_place *place,
                               void *ctx, ProtobufCMessage **ret, struct tt_err *err)
{
    struct tt_feed feed = {.from = m, .size = m->n, .read = read_memory};

    return tt_proto_read(&onnx__model_proto__descriptor, &feed, arena, place, ctx, ret, err);
}

/* Both structs, packed, are the same bytes. */
static void compare_with_protobuf_c(const char *path)
{
    size_t n, size;
    char *data = read_file(path, &n);
    struct memory m = {.data = data, .n = n, .give = n};
    ProtobufCMessage *ours, *theirs;
    struct tt_arena arena;
    struct tt_err err;
    uint8_t *a, *b;

    tt_arena_init(&arena, 0);
    theirs = protobuf_c_message_unpack(&onnx__model_proto__descriptor, NULL, n, (uint8_t *)data);
    assert_non_null(theirs);
    if (read_model(&m, &arena, NULL, NULL, &ours, &err))
        fail_msg("%s: %s", path, err.msg);
    assert_int_equal(m.at, n);
    size = protobuf_c_message_get_packed_size(theirs);
    assert_int_equal(protobuf_c_message_get_packed_size(ours), size);
    a = (uint8_t *)malloc(size + 1);
    b = (uint8_t *)malloc(size + 1);
    assert_true(a && b);
    protobuf_c_message_pack(ours, a);
    protobuf_c_message_pack(theirs, b);
    if (memcmp(a, b, size) != 0)
        fail_msg("%s: not what protobuf-c reads", path);
    protobuf_c_message_free_unpacked(theirs, NULL);
    tt_arena_release(&arena);
    free(a);
    free(b);
    free(data);
}

static void files_are_read_as_protobuf_c_reads_them(void **state)
{
    DIR *d = opendir("tests/golden/onnx");
    struct dirent *e;
    int files = 0;

    (void)state;
    assert_non_null(d);
    while ((e = readdir(d))) {
        size_t n = strlen(e->d_name);
        char path[512];

        if (n < 5 || strcmp(e->d_name + n - 5, ".onnx") != 0)
            continue;
        snprintf(path, sizeof path, "tests/golden/onnx/%s", e->d_name);
        compare_with_protobuf_c(path);
        files++;
    }
    closedir(d);
    compare_with_protobuf_c("models/fashion_resnet.onnx"); // more than a window of bytes
    assert_true(files > 40);
}

/* A packed list and one written value by value are the same; of a field that is given twice the
 * last counts; what the type does not have is skipped. */
static void the_format_is_read_in_all_its_forms(void **state)
{
    static const char bytes[] = "\x08\x07\x08\x08"             // ir_version 7, then 8
                                "\xf8\x01\x05"                 // field 31, a number
                                "\xfa\x01\x03xyz"              // field 31, bytes
                                "\xfd\x01yyyy\xf9\x01zzzzzzzz" // field 31, of 4 and of 8 bytes
                                "\x3a\x0f\x2a\x0d"             // graph, initializer
                                "\x0a\x02\x02\x03\x08\x04"     // dims [2, 3], then 4
                                "\x38\xff\xff\xff\xff\xff\x01" // int64_data
                                "";
    struct memory m = {.data = bytes, .n = sizeof bytes - 1, .give = sizeof bytes};
    const Onnx__ModelProto *model;
    const Onnx__TensorProto *t;
    ProtobufCMessage *message;
    struct tt_arena arena;
    struct tt_err err;

    (void)state;
    tt_arena_init(&arena, 0);
    if (read_model(&m, &arena, NULL, NULL, &message, &err))
        fail_msg("%s", err.msg);
    model = (const Onnx__ModelProto *)message;
    assert_true(model->has_ir_version);
    assert_int_equal(model->ir_version, 8);
    assert_false(model->has_model_version);
    t = model->graph->initializer[0];
    assert_int_equal(t->n_dims, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(t->dims[i], i + 2);
    assert_int_equal(t->n_int64_data, 1);
    assert_int_equal(t->int64_data[0], ((int64_t)1 << 36) - 1);
    tt_arena_release(&arena);
}

/* An initializer with n bytes of raw_data, the last of them 'z'. */
static char *long_model(size_t n, size_t *ret_n)
{
    unsigned char head[32];
    char *data = (char *)malloc(n + sizeof head);
    size_t at = sizeof head;

    assert_non_null(data);
    for (int field = 0; field < 3; field++) { // raw_data in initializer in graph, from inside
        static const unsigned char tags[] = {0x4a, 0x2a, 0x3a};
        uint64_t len = n + sizeof head - at;
        unsigned char digits[10];
        int k = 0;

        do {
            digits[k++] = (unsigned char)((len & 0x7f) | (len > 0x7f ? 0x80 : 0));
            len >>= 7;
        } while (len);
        at -= (size_t)k + 1;
        head[at] = tags[field];
        memcpy(head + at + 1, digits, (size_t)k);
    }
    memcpy(data, head + at, sizeof head - at);
    memset(data + sizeof head - at, 'r', n);
    *ret_n = n + sizeof head - at;
    data[*ret_n - 1] = 'z';
    return data;
}

static char placed[1 << 20];

static enum tt_code place(void *ctx, ProtobufCMessage *m, const ProtobufCFieldDescriptor *field,
                          const struct tt_feed *bytes, ProtobufCBinaryData *ret, struct tt_err *err)
{
    assert_string_equal(field->name, "raw_data");
    assert_ptr_equal(m->descriptor, &onnx__tensor_proto__descriptor);
    assert_true(bytes->size >= TT_PROTO_LONG && bytes->size <= sizeof placed);
    if (*(bool *)ctx)
        return tt_fail(err, TT_ENOMEM, "no place");
    *ret = (ProtobufCBinaryData){.len = bytes->size, .data = (uint8_t *)placed};
    return bytes->read(bytes->from, placed, bytes->size, err);
}

static void long_bytes_go_where_the_caller_wants_them(void **state)
{
    static const size_t sizes[] = {1, TT_PROTO_LONG - 1, TT_PROTO_LONG, 65536 - 9, 65536, 300000};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int full = 0; full < 2; full++) {
            size_t n;
            char *data = long_model(sizes[i], &n);
            struct memory m = {.data = data, .n = n, .give = n};
            bool is_long = sizes[i] >= TT_PROTO_LONG, refuse = full;
            const ProtobufCBinaryData *raw;
            ProtobufCMessage *message;
            struct tt_arena arena;
            struct tt_err err;
            enum tt_code rc;

            tt_arena_init(&arena, 0);
            rc = read_model(&m, &arena, place, &refuse, &message, &err);
            assert_int_equal(rc, is_long && refuse ? TT_ENOMEM : TT_OK);
            if (!rc) {
                raw = &((const Onnx__ModelProto *)message)->graph->initializer[0]->raw_data;
                assert_int_equal(raw->len, sizes[i]);
                assert_int_equal(raw->data == (uint8_t *)placed, is_long);
                assert_int_equal(raw->data[0], sizes[i] == 1 ? 'z' : 'r');
                assert_int_equal(raw->data[sizes[i] - 1], 'z');
            }
            tt_arena_release(&arena);
            free(data);
        }
}

static void a_source_that_fails_is_an_error_wherever_it_does(void **state)
{
    size_t n;
    char *data = long_model(200000, &n);

    (void)state;
    for (uint64_t give = 0; give <= n; give += give < 200 ? 1 : 60000) {
        struct memory m = {.data = data, .n = n, .give = give};
        ProtobufCMessage *message;
        struct tt_arena arena;
        struct tt_err err;

        tt_arena_init(&arena, 0);
        assert_int_equal(read_model(&m, &arena, NULL, NULL, &message, &err), TT_EIO);
        assert_string_equal(err.msg, "the disk is gone");
        tt_arena_release(&arena);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read_as_protobuf_c_reads_them),
        cmocka_unit_test(the_format_is_read_in_all_its_forms),
        cmocka_unit_test(long_bytes_go_where_the_caller_wants_them),
        cmocka_unit_test(a_source_that_fails_is_an_error_wherever_it_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
