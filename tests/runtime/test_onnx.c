// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/infer.h"
#include "runtime/model.h"
#include "runtime/npy.h"
#include "runtime/program.h"
#include "tests/support/check.h"

#define GOLDEN "tests/golden/onnx/"

static enum tt_code load(const char *name, struct tt_model **ret, struct tt_err *err)
{
    char path[256];
    enum tt_code rc;
    char *data;
    size_t n;

    snprintf(path, sizeof path, GOLDEN "%s.onnx", name);
    data = read_file(path, &n);
    rc = tt_model_read_onnx(data, n, 0, ret, err);
    free(data);
    return rc;
}

/* The answer to n rows of sin(0.37 i), as the files beside the models hold it. */
static void answers(const struct tt_model *m, const char *name, int64_t n)
{
    struct tt_program_spec spec = {
        .graph = &m->graph, .limit = n, .outputs = m->graph.outputs, .noutputs = 1, .loss = -1};
    struct tt_program *p;
    struct tt_err err;
    struct tt_npy want;
    const struct tt_tensor *y;
    const struct tt_tensor *x;
    char path[256], *data;
    size_t bytes;

    snprintf(path, sizeof path, GOLDEN "%s.%d.npy", name, (int)n);
    data = read_file(path, &bytes);
    if (tt_npy_read(data, bytes, &want, &err) || tt_program_new(&spec, &p, &err) ||
        tt_program_resize(p, n, &err))
        fail_msg("%s: %s", path, err.msg);
    x = tt_program_tensor(p, 0);
    assert_int_equal(x->dim[0], n);
    for (int64_t i = 0; i < tt_len(x); i++)
        x->x[i] = (float)sin(0.37 * (double)i);
    tt_program_forward(p);
    y = tt_program_tensor(p, m->graph.outputs[0]);
    assert_int_equal(y->layout, TT_PLAIN);
    assert_int_equal(y->ndim, want.ndim);
    for (int i = 0; i < y->ndim; i++)
        assert_int_equal(y->dim[i], want.dim[i]);
    for (int64_t i = 0; i < want.n; i++) {
        float v;

        memcpy(&v, (const char *)want.data + 4 * i, sizeof v);
        assert_close(y->x[i], v, 1e-5, 1e-6);
    }
    tt_program_free(p);
    free(data);
}

static void models_answer_as_another_runtime_does(void **state)
{
    static const struct {
        const char *name, *nodes; // what is left of the file
        int nparams, batches[2];
    } cases[] = {
        {"tiny", "Conv BatchNormalization Relu GlobalAveragePool Flatten Gemm ", 8, {1, 3}},
        {"fixed", "Conv BatchNormalization Relu GlobalAveragePool Flatten Gemm ", 8, {4}},
        {"half", "Conv BatchNormalization Relu GlobalAveragePool Flatten Gemm ", 8, {1, 3}},
        {"double", "Conv BatchNormalization Relu GlobalAveragePool Flatten Gemm ", 8, {1, 3}},
        {"bfloat", "Conv BatchNormalization Relu GlobalAveragePool Flatten Gemm ", 8, {1, 3}},
        {"old", "Conv BatchNormalization Relu GlobalAveragePool Flatten Gemm ", 8, {1, 3}},
        {"arithmetic", "Slice Pad Reshape tt.Linear ", 2, {1, 3}},
        {"merged", "Reshape Relu Reshape ", 0, {1, 3}},
        {"dead", "Relu Mul Reshape ", 1, {1, 3}},
        {"spread", "Expand Cast Mul Add ", 1, {1, 3}},
        {"written_out", "LayerNormalization Gelu LayerNormalization ", 3, {1, 3}},
        {"encoder",
         "tt.Linear Reshape tt.Linear Reshape tt.Linear Reshape tt.Attention Reshape "
         "tt.LinearSum tt.Linear Reshape tt.Linear Reshape tt.Linear Reshape tt.Attention Reshape "
         "tt.LinearSum tt.Linear Reshape Transpose tt.Linear Reshape Transpose tt.Linear Reshape "
         "Transpose Mul Mul MatMul Softmax MatMul Transpose Reshape ",
         24, // the mask and the half that stays are two of them
         {1, 3}},
        {"guarded",
         "tt.Linear Reshape tt.Linear Reshape tt.Linear Reshape tt.Attention Reshape Flatten ",
         7, // a mask is one of them
         {1, 3}},
        {"input_output", "tt.Layout ", 0, {1, 3}},
        {"many_operands",
         "Concat Concat Concat Concat Concat Concat Concat Concat Concat Concat Concat Relu Sum "
         "Sum Sum Max Max ",
         2,
         {1, 3}},
        {"row_numbers",
         "tt.Range Unsqueeze Mul Add Reshape Gather Expand Expand Unsqueeze Unsqueeze Concat "
         "GatherND "
         "Sub Concat ",
         0,
         {1, 3}},
        {"zeros_around",
         "Conv tt.Swish Conv tt.Swish Pad Conv Pad Conv Pad Conv Pad Conv ",
         5, // the half is one of them
         {1, 3}},
        {"numbers", "Transpose Mul Mul Cast Add Cast MatMul ", 3, {1, 3}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char nodes[512] = "";
        struct tt_model *m;
        struct tt_err err;

        if (load(cases[i].name, &m, &err))
            fail_msg("%s: %s", cases[i].name, err.msg);
        for (int k = 0; k < m->graph.nnodes; k++) {
            strcat(nodes, m->graph.nodes[k].op->name);
            strcat(nodes, " ");
        }
        assert_string_equal(nodes, cases[i].nodes);
        assert_int_equal(m->nparams, cases[i].nparams);
        assert_string_equal(m->graph.values[0].name, "x");
        assert_string_equal(m->graph.values[m->graph.outputs[0]].name, "y");
        for (int k = 0; k < 2 && cases[i].batches[k]; k++)
            answers(m, cases[i].name, cases[i].batches[k]);
        tt_model_free(m);
    }
}

static void what_the_file_says_of_itself_is_kept(void **state)
{
    static const struct {
        const char *name;
        enum tt_kind kind;
        enum tt_member member;
        int64_t n;
    } params[] = {
        {"conv.weight", TT_KIND_CONV, TT_MEMBER_WEIGHT, 72},
        {"conv.bias", TT_KIND_CONV, TT_MEMBER_BIAS, 4},
        {"bn.weight", TT_KIND_BN, TT_MEMBER_WEIGHT, 4},
        {"bn.bias", TT_KIND_BN, TT_MEMBER_BIAS, 4},
        {"bn.running_mean", TT_KIND_BN, TT_MEMBER_MEAN, 4},
        {"bn.running_var", TT_KIND_BN, TT_MEMBER_VAR, 4},
        {"fc.weight", TT_KIND_LINEAR, TT_MEMBER_WEIGHT, 12},
        {"fc.bias", TT_KIND_LINEAR, TT_MEMBER_BIAS, 3},
    };
    struct tt_model *m;
    struct tt_err err;

    (void)state;
    assert_int_equal(load("tiny", &m, &err), TT_OK);
    assert_int_equal(m->graph.opset, 13);
    assert_int_equal(m->ir_version, 8);
    assert_string_equal(m->producer, "make_onnx");
    assert_int_equal(strlen(m->hash), TT_HASH_HEX);
    assert_int_equal(m->graph.values[0].dim[0], -1);
    assert_string_equal(m->graph.nodes[1].name, "bn");
    for (int i = 0; i < m->nparams; i++) {
        assert_string_equal(m->params[i].name, params[i].name);
        assert_int_equal(m->params[i].kind, params[i].kind);
        assert_int_equal(m->params[i].member, params[i].member);
        assert_int_equal(m->params[i].n, params[i].n);
        assert_int_equal(m->params[i].uses, 1);
    }
    tt_model_free(m);
    assert_int_equal(load("fixed", &m, &err), TT_OK);
    assert_int_equal(m->graph.values[0].dim[0], 4);
    tt_model_free(m);
    assert_int_equal(load("half_input", &m, &err), TT_OK); // which is computed in float32
    tt_model_free(m);
}

static void each_mistake_is_told_with_its_place(void **state)
{
    static const struct {
        const char *name;
        enum tt_code code;
        const char *message;
    } cases[] = {
        {"unsupported", TT_EUNSUPPORTED,
         "node '/layer2/Foo': operator 'Foo' (opset 13) is not supported"},
        {"domain", TT_EUNSUPPORTED,
         "node '/layer2/Relu': operator 'Relu' of domain 'com.example' is not supported"},
        {"opset0", TT_EUNSUPPORTED, "opset 0 is outside [1, 25]"},
        {"opset26", TT_EUNSUPPORTED, "opset 26 is outside [1, 25]"},
        {"attribute", TT_EUNSUPPORTED,
         "node '/layer2/Relu': operator 'Relu' (opset 13): attribute 'speed' is not supported"},
        {"attribute_type", TT_EPARSE, "attribute 'axis' is a float, want an integer"},
        {"later", TT_EPARSE, "node 'first' uses 'b', which node 'second' makes only later"},
        {"cycle", TT_EPARSE, "node 'one' uses 'b', which node 'two' makes only later"},
        {"itself", TT_EPARSE, "node 'loop' uses 'y', which node 'loop' makes only later"},
        {"nowhere", TT_EPARSE, "node 'haunted' uses 'ghost', which nothing makes"},
        {"twice", TT_EPARSE, "the name 'y' is given twice"},
        {"no_output", TT_EPARSE, "nothing makes output 'y'"},
        {"constant_output", TT_EUNSUPPORTED, "output 'w' is a constant"},
        {"same_outputs", TT_EUNSUPPORTED, "outputs 'y' and 'z' are the same value"},
        {"mask", TT_EUNSUPPORTED,
         "node 'pool': operator 'GlobalMaxPool' (opset 13): result 1, 'where', is used"},
        {"spatial", TT_EUNSUPPORTED, "input 'x': dimension 2 is 'height': only the first may vary"},
        {"unknown_dim", TT_EUNSUPPORTED, "input 'x': dimension 2 is not known"},
        {"negative_dim", TT_ESHAPE, "input 'x': dimension 0 is -5"},
        {"many_dims", TT_EUNSUPPORTED, "input 'x': 7 dimensions, at most 6"},
        {"huge", TT_ESHAPE, "input 'x': shape [1, 2147483648, 2147483648, 2] has too many"},
        {"floats_for_ints", TT_EUNSUPPORTED, "operand 1, 'k', is not known when the model is read"},
        {"missing_operand", TT_EPARSE, "node 'conv': operator 'Conv' (opset 13): 1 operands"},
        {"too_many", TT_EUNSUPPORTED, "9 operands, at most 8 are supported"},
        {"gap", TT_EPARSE, "node 'cat': operator 'Concat' (opset 13): operand 2 is missing"},
        {"wrong_channels", TT_ESHAPE, "node 'conv': operator 'Conv' (opset 13): input 'x' has 5"},
        {"short_weight", TT_ESHAPE,
         "tensor 'conv.weight': raw_data has 284 bytes, want 72 elements of 4"},
        {"negative_weight", TT_ESHAPE, "tensor 'conv.weight': dimension 1 is -2"},
        {"huge_weight", TT_ESHAPE, "tensor 'conv.weight': dimension 1 is 1099511627776"},
        {"external", TT_EUNSUPPORTED, "tensor 'conv.weight': its values are in a file beside"},
        {"string_weight", TT_EUNSUPPORTED, "tensor 'conv.bias': its type is STRING (8)"},
        {"training", TT_EUNSUPPORTED, "node 'dropout': operator 'Dropout' (opset 13): training"},
        {"square", TT_EUNSUPPORTED,
         "node 'square': operator 'Mul' (opset 13): the result depends on the batch"},
        {"cast_batch", TT_EUNSUPPORTED,
         "node 'f': operator 'Cast' (opset 13): the operand depends"},
        {"large_int", TT_ERANGE, "operand 1: 'k': element 1 is 16777217, want at most 2^24"},
        {"control_name", TT_EPARSE, "the name of node 0 is not at most 512 printable bytes"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_model *m = NULL;
        struct tt_err err;
        enum tt_code rc = load(cases[i].name, &m, &err);

        if (rc != cases[i].code)
            fail_msg("%s: %s, want %s: %s", cases[i].name, tt_code_name(rc),
                     tt_code_name(cases[i].code), rc ? err.msg : "");
        assert_contains(err.msg, cases[i].message);
        assert_null(m);
    }
}

/* ---- bytes that are no model ------------------------------------------------- */

/* A model of few values is compiled and run too; returns whether the bytes were one. */
static bool try_model(const void *data, size_t n)
{
    struct tt_model *m = NULL;
    struct tt_arena arena;
    struct tt_probe *probes;
    struct tt_err err;
    int64_t sum = 0;

    if (tt_model_read_onnx(data, n, (size_t)64 << 20, &m, &err)) {
        assert_null(strchr(err.msg, '\n'));
        return false;
    }
    tt_arena_init(&arena, 0);
    assert_int_equal(tt_probe_graph(&m->graph, &arena, &probes, &err), TT_OK);
    for (int i = 0; i < m->graph.nvalues; i++) {
        int64_t len = 1;

        for (int k = 0; k < probes[i].ndim; k++)
            len *= probes[i].dim[0][k];
        sum += len > 100000 ? 100000 : len;
    }
    if (sum < 100000) {
        struct tt_program_spec spec = {.graph = &m->graph,
                                       .limit = 2,
                                       .outputs = m->graph.outputs,
                                       .noutputs = m->graph.noutputs,
                                       .loss = -1};
        struct tt_program *p;

        if (!tt_program_new(&spec, &p, &err)) {
            tt_program_forward(p);
            tt_program_free(p);
        }
    }
    tt_arena_release(&arena);
    tt_model_free(m);
    return true;
}

static void no_truncation_is_a_crash(void **state)
{
    static const char *const names[] = {"tiny", "arithmetic", "merged"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256], *data;
        size_t n;

        snprintf(path, sizeof path, GOLDEN "%s.onnx", names[i]);
        data = read_file(path, &n);
        for (size_t cut = 0; cut < n; cut++) {
            char *part = (char *)malloc(cut ? cut : 1); // so that a sanitizer sees a byte too many

            assert_non_null(part);
            memcpy(part, data, cut);
            try_model(part, cut);
            free(part);
        }
        assert_true(try_model(data, n));
        free(data);
    }
}

static void no_flipped_bit_is_a_crash(void **state)
{
    static const char *const names[] = {"tiny", "arithmetic"};
    int models = 0, refused = 0;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256], *data;
        size_t n;

        snprintf(path, sizeof path, GOLDEN "%s.onnx", names[i]);
        data = read_file(path, &n);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
            if (try_model(data, n))
                models++;
            else
                refused++;
            data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
        }
        free(data);
    }
    print_message("  %d flips are models, %d are refused\n", models, refused);
    assert_true(models > 1000);  // weights, names
    assert_true(refused > 1000); // structure
}

/* ModelProto.graph.node.attribute.g.node.attribute.g ... : 3 messages a round. */
static unsigned char *nest(int rounds, size_t *ret_n)
{
    static const unsigned char tags[] = {0x32, 0x2a,
                                         0x0a}; // attribute.g, node.attribute, graph.node
    size_t size = (size_t)rounds * 18 + 16, at = size;
    unsigned char *data = (unsigned char *)malloc(size);

    assert_non_null(data);
    for (int i = 0; i <= 3 * rounds; i++) {
        uint64_t n = size - at;
        unsigned char length[5];
        int k = 0;

        do {
            length[k++] = (unsigned char)((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
            n >>= 7;
        } while (n);
        at -= (size_t)k;
        memcpy(data + at, length, (size_t)k);
        data[--at] = i == 3 * rounds ? 0x3a : tags[i % 3]; // the last is ModelProto.graph
    }
    memmove(data, data + at, size - at);
    *ret_n = size - at;
    return data;
}

static void messages_nested_without_end_do_not_use_up_the_stack(void **state)
{
    struct tt_model *m;
    struct tt_err err;
    size_t n;
    unsigned char *data = nest(10, &n);

    (void)state;
    assert_int_equal(tt_model_read_onnx(data, n, 0, &m, &err), TT_EPARSE);
    assert_contains(err.msg, "opset");
    free(data);
    data = nest(100000, &n);
    assert_int_equal(tt_model_read_onnx(data, n, 0, &m, &err), TT_EPARSE);
    assert_contains(err.msg, "nested more than 64 deep");
    free(data);
}

static void bytes_that_are_no_message_are_told_with_their_place(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *message;
    } cases[] = {
        {"", 0, "the file holds no graph"},
        {"\x07", 1, "byte 0: there is no field 0"},
        {"\x0b", 1, "byte 0: there is no wire type 3"},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, "byte 1: a number that does not"},
        {"\x08", 1, "byte 1: a number that does not end"},
        {"\x3a\x05\x0a", 3, "byte 0: 1 bytes follow, want 5"},
        {"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "byte 0: 0 bytes follow"},
        {"\xf9\x01\x01", 3, "byte 0: 1 bytes follow, want 8"},
        {"\x09\x01", 2, "byte 0: ir_version has wire type 1, want 0"},
        {"\x3a\x00\x3a\x00", 4, "byte 4: graph is given twice"},
        {"\x3a\x05\x2a\x03\x22\x01\x00", 7, "byte 6: float_data has 1 bytes, want a multiple of 4"},
        {"\x12\x02\xc3\x28", 4, "byte 2: producer_name is not UTF-8 text"},
        {"\x12\x01\x00", 3, "byte 2: producer_name is not UTF-8 text"},
        {"\x3a\x02\xf8\x01", 4, "byte 4: a number that does not end"},
        {"\x38\x01", 2, "byte 0: graph has wire type 0, want 2"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_model *m;
        struct tt_err err;

        assert_int_equal(tt_model_read_onnx(cases[i].bytes, cases[i].n, 0, &m, &err), TT_EPARSE);
        assert_contains(err.msg, "damaged, or not ONNX: ");
        assert_contains(err.msg, cases[i].message);
    }
}

static void memory_is_bounded_and_its_lack_is_an_error(void **state)
{
    size_t n, limit;
    char *data = read_file(GOLDEN "arithmetic.onnx", &n);
    struct tt_model *m = NULL;
    struct tt_err err;
    int failed = 0;

    (void)state;
    assert_int_equal(tt_model_read_onnx(data, n, n - 1, &m, &err), TT_ERANGE);
    assert_contains(err.msg, "bytes, at most");
    for (limit = n; tt_model_read_onnx(data, n, limit, &m, &err); limit += 64) {
        assert_int_equal(err.code, TT_ENOMEM);
        assert_null(m);
        assert_true(limit < (1 << 20));
        failed++;
    }
    assert_true(failed > 10);
    assert_true(m->arena.used <= limit);
    tt_model_free(m);
    free(data);
}

static void resnets_load(void **state)
{
    static const struct {
        const char *name;
        int convs, norms, params;
    } cases[] = {{"resnet20_cifar10", 19, 19, 99},
                 {"resnet56_cifar10", 55, 55, 279},
                 {"resnet20_cifar10_folded", 19, 0, 42}};
    const char *dir = getenv("TTAD_DATA");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512], *data;
        struct tt_model *m;
        struct tt_err err;
        int convs = 0, norms = 0;
        size_t n;

        snprintf(path, sizeof path, "%s/models/%s.onnx", dir ? dir : "../shared/data",
                 cases[i].name);
        if (access(path, R_OK)) {
            print_message("  skipped: no ../shared/data\n");
            skip();
        }
        data = read_file(path, &n);
        if (tt_model_read_onnx(data, n, 0, &m, &err))
            fail_msg("%s: %s", path, err.msg);
        free(data);
        for (int k = 0; k < m->graph.nnodes; k++) {
            convs += !strcmp(m->graph.nodes[k].op->name, "Conv");
            norms += !strcmp(m->graph.nodes[k].op->name, "BatchNormalization");
        }
        assert_int_equal(convs, cases[i].convs);
        assert_int_equal(norms, cases[i].norms);
        assert_int_equal(m->nparams, cases[i].params);
        tt_model_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_answer_as_another_runtime_does),
        cmocka_unit_test(what_the_file_says_of_itself_is_kept),
        cmocka_unit_test(each_mistake_is_told_with_its_place),
        cmocka_unit_test(no_truncation_is_a_crash),
        cmocka_unit_test(no_flipped_bit_is_a_crash),
        cmocka_unit_test(messages_nested_without_end_do_not_use_up_the_stack),
        cmocka_unit_test(bytes_that_are_no_message_are_told_with_their_place),
        cmocka_unit_test(memory_is_bounded_and_its_lack_is_an_error),
        cmocka_unit_test(resnets_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
