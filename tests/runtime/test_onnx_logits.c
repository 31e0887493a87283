// SPDX-License-Identifier: Apache-2.0
/* What is adapted of models that end in probabilities, or have more outputs; scikit-learn's
 * operators. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/model.h"
#include "runtime/npy.h"
#include "runtime/program.h"
#include "tests/support/check.h"

#define GOLDEN "tests/golden/onnx/"
#define ROWS   3

struct bytes {
    const char *next;
};

static enum tt_code read_bytes(void *from, void *to, size_t n, struct tt_err *err)
{
    struct bytes *b = (struct bytes *)from;

    (void)err;
    memcpy(to, b->next, n);
    b->next += n;
    return TT_OK;
}

static enum tt_code load(const char *name, bool logits, struct tt_model **ret, struct tt_err *err)
{
    struct bytes b;
    struct tt_model_source source = {.file = {.from = &b, .read = read_bytes}, .logits = logits};
    char path[256], *data;
    enum tt_code rc;
    size_t n;

    snprintf(path, sizeof path, GOLDEN "%s.onnx", name);
    data = read_file(path, &n);
    b.next = data;
    source.file.size = n;
    rc = tt_model_read(&source, 0, ret, err);
    free(data);
    return rc;
}

/* What the model answers to a batch as tests/golden/make_onnx.py has it: [ROWS, *ret_n], to be
 * freed. */
static float *run(const struct tt_model *m, int64_t *ret_n)
{
    struct tt_program_spec spec = {
        .graph = &m->graph, .limit = ROWS, .outputs = m->graph.outputs, .noutputs = 1, .loss = -1};
    const struct tt_tensor *x, *y;
    struct tt_program *p;
    struct tt_err err;
    float *kept;

    if (tt_program_new(&spec, &p, &err))
        fail_msg("%s", err.msg);
    x = tt_program_tensor(p, 0);
    for (int64_t i = 0; i < tt_len(x); i++)
        x->x[i] = (float)sin(0.37 * (double)i);
    tt_program_forward(p);
    y = tt_program_tensor(p, m->graph.outputs[0]);
    assert_int_equal(y->ndim, 2);
    assert_int_equal(y->dim[0], ROWS);
    *ret_n = y->dim[1];
    kept = (float *)malloc(sizeof *kept * (size_t)tt_len(y));
    assert_non_null(kept);
    memcpy(kept, y->x, sizeof *kept * (size_t)tt_len(y));
    tt_program_free(p);
    return kept;
}

static void softmax(float *z, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += exp((double)z[i]);
    for (int64_t i = 0; i < n; i++)
        z[i] = (float)(exp((double)z[i]) / sum);
}

/* The answer, or its softmax, is what another runtime answers. */
static void check_answer(const struct tt_model *m, const char *name, bool probabilities)
{
    struct tt_npy want;
    struct tt_err err;
    char path[256], *data;
    int64_t classes, given;
    float *y = run(m, &classes);
    size_t bytes;

    snprintf(path, sizeof path, GOLDEN "%s.%d.npy", name, ROWS);
    data = read_file(path, &bytes);
    assert_int_equal(tt_npy_read(data, bytes, &want, &err), TT_OK);
    given = want.dim[1];
    assert_true(given == classes || (given == 1 && classes == 2));
    for (int64_t i = 0; i < ROWS; i++) {
        if (probabilities)
            softmax(y + i * classes, classes);
        for (int64_t k = 0; k < given; k++) {
            float v;

            memcpy(&v, (const char *)want.data + 4 * (i * given + k), sizeof v);
            assert_close(y[i * classes + k + classes - given], v, 1e-5, 1e-6);
        }
    }
    free(data);
    free(y);
}

static void operators(const struct tt_model *m, char *to)
{
    *to = '\0';
    for (int i = 0; i < m->graph.nnodes; i++)
        strcat(strcat(to, m->graph.nodes[i].op->name), " ");
}

static void probabilities_are_read_as_their_logits(void **state)
{
    static const struct {
        const char *name, *nodes, *output;
        bool probabilities;
    } cases[] = {
        {"end_softmax", "Gemm ", "logits", true},
        {"end_softmax_map", "Conv GlobalAveragePool Flatten ", "logits", true},
        {"end_logsoftmax", "Gemm LogSoftmax ", "y", false},
        {"end_sigmoid", "Gemm Pad ", "logits", true},
        {"end_pair", "Gemm Pad ", "logits", true},
        {"end_exp", "Gemm LogSoftmax ", "logits", true},
        {"end_sum", "Gemm Sigmoid ReduceSum Cast Not Cast Add Clip Log ", "logits", true},
        {"ml_softmax", "Gemm ", "logits", true},
        {"ml_logistic_two", "Gemm ", "logits", true},
        {"ml_logistic", "Gemm Sigmoid Clip Log ", "logits", true},
        {"ml_scores", "Gemm ", "y", false},
        {"ml_column", "Gemm ", "s", false},
        {"ml_zipmap", "Gemm ", "logits", true},
        {"ml_pipeline", "Gather Sub Mul Relu ReduceL2 Clip Div Sub Mul MatMul ", "y", false},
        {"outputs_label", "Gemm ", "y", false},
        {"outputs_two", "Gemm ", "y", false},
        {"end_no_pair", "Gemm Sigmoid Sub Concat ", "y", false},
        {"end_signed", "Gemm ReduceL1 Clip Div ", "y", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_model *m;
        struct tt_err err;
        char nodes[256];

        if (load(cases[i].name, true, &m, &err))
            fail_msg("%s: %s", cases[i].name, err.msg);
        print_message("  %s\n", cases[i].name);
        operators(m, nodes);
        assert_string_equal(nodes, cases[i].nodes);
        assert_int_equal(m->graph.noutputs, 1);
        assert_string_equal(m->graph.values[m->graph.outputs[0]].name, cases[i].output);
        assert_int_equal(m->probabilities != NULL, cases[i].probabilities);
        check_answer(m, cases[i].name, cases[i].probabilities);
        tt_model_free(m);
    }
}

static void without_asking_for_logits_outputs_stay_as_they_are(void **state)
{
    static const char *const names[] = {"end_softmax", "end_sigmoid", "end_pair", "end_sum"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct tt_model *m;
        struct tt_err err;

        if (load(names[i], false, &m, &err))
            fail_msg("%s: %s", names[i], err.msg);
        assert_null(m->probabilities);
        assert_string_equal(m->graph.values[m->graph.outputs[0]].name, "y");
        check_answer(m, names[i], false);
        tt_model_free(m);
    }
}

static void what_only_other_outputs_need_is_not_read(void **state)
{
    struct tt_model *m;
    struct tt_err err;
    char nodes[256];

    (void)state;
    assert_int_equal(load("outputs_logits", false, &m, &err), TT_EUNSUPPORTED);
    assert_contains(err.msg, "operator 'LabelEncoder' of domain 'ai.onnx.ml' (opset 1)");
    if (load("outputs_logits", true, &m, &err))
        fail_msg("%s", err.msg);
    operators(m, nodes);
    assert_string_equal(nodes, "Gemm Relu MatMul ");
    assert_string_equal(m->graph.values[m->graph.outputs[0]].name, "logits");
    assert_null(m->probabilities);
    assert_int_equal(m->nleft, 2);
    assert_string_equal(m->left_out[0], "label");
    assert_string_equal(m->left_out[1], "hidden");
    tt_model_free(m);
}

static void a_classifier_is_a_linear_layer_to_be_adapted(void **state)
{
    static const struct {
        const char *name;
        enum tt_kind kind;
        enum tt_member member;
        int64_t n;
    } params[] = {{"p.coefficients", TT_KIND_LINEAR, TT_MEMBER_WEIGHT, 12},
                  {"p.intercepts", TT_KIND_LINEAR, TT_MEMBER_BIAS, 3}};
    struct tt_model *m;
    struct tt_err err;

    (void)state;
    assert_int_equal(load("ml_softmax", true, &m, &err), TT_OK);
    assert_int_equal(m->nparams, 2);
    for (int i = 0; i < m->nparams; i++) {
        assert_string_equal(m->params[i].name, params[i].name);
        assert_int_equal(m->params[i].kind, params[i].kind);
        assert_int_equal(m->params[i].member, params[i].member);
        assert_int_equal(m->params[i].n, params[i].n);
    }
    assert_string_equal(tt_param_place(m, &m->params[0]), "classifier");
    tt_model_free(m);
}

static void what_cannot_be_adapted_is_told_in_one_line(void **state)
{
#define SCALER     "node 'scaler': operator 'Scaler' of domain 'ai.onnx.ml' (opset 1): "
#define CLASSIFIER "operator 'LinearClassifier' of domain 'ai.onnx.ml' (opset 1): "
    static const struct {
        const char *name;
        enum tt_code code;
        const char *message;
    } cases[] = {
        {"end_labels", TT_EUNSUPPORTED,
         "output 'y': made by 3 Sigmoid a row (node 'sigmoid'): independent labels"},
        {"outputs_none", TT_EUNSUPPORTED,
         "no output has floats: 'label', the first of 1, is INT64; want logits"},
        {"ml_scaler_short", TT_ESHAPE, SCALER "attribute 'offset' has 2 numbers, want 4 or 1"},
        {"ml_scaler_bare", TT_ESHAPE, SCALER "attribute 'scale' has 0 numbers, want 4 or 1"},
        {"ml_scaler_ints", TT_ESHAPE, SCALER "attribute 'offset' has 0 numbers"},
        {"ml_scaler_more", TT_EUNSUPPORTED, SCALER "attribute 'gain' is not supported"},
        {"ml_scaler_nothing", TT_EPARSE, SCALER "0 operands, want 1 to 1"},
        {"ml_norm_max", TT_EUNSUPPORTED, "norm 'MAX', want 'L1' or 'L2'"},
        {"ml_norm_default", TT_EUNSUPPORTED, "norm 'MAX', want 'L1' or 'L2'"},
        {"ml_feature_far", TT_ERANGE, "feature 4 of 4"},
        {"ml_feature_negative", TT_ERANGE, "feature -1 of 4"},
        {"ml_feature_none", TT_EUNSUPPORTED, "the features 'at' are not known integers"},
        {"ml_feature_computed", TT_EUNSUPPORTED, "the features 'x' are not known integers"},
        {"ml_coefficients", TT_ESHAPE, CLASSIFIER "11 coefficients for 3 classes, want 4 for each"},
        {"ml_coefficients_more", TT_ESHAPE, CLASSIFIER "24 coefficients for 3 classes"},
        {"ml_coefficients_none", TT_EUNSUPPORTED, CLASSIFIER "0 coefficients and 3 intercepts"},
        {"ml_intercepts_none", TT_EUNSUPPORTED, CLASSIFIER "12 coefficients and 0 intercepts"},
        {"ml_labels", TT_EUNSUPPORTED, CLASSIFIER "2 labels and 3 intercepts, want one each"},
        {"ml_logistic_apart", TT_EUNSUPPORTED, "output 'y': made by 2 Sigmoid a row"},
        {"ml_probit", TT_EUNSUPPORTED, CLASSIFIER "post_transform 'PROBIT', want 'NONE'"},
        {"ml_labels_used", TT_EUNSUPPORTED, "no output has floats: 'y', the first of 1, is INT64"},
        {"ml_flat", TT_ESHAPE, CLASSIFIER "input 'r' has 0 dimensions, want 2"},
        {"ml_trees", TT_EUNSUPPORTED,
         "node 'forest': operator 'TreeEnsembleClassifier' of domain 'ai.onnx.ml' (opset 1) is not "
         "supported: a gradient reaches nothing in trees"},
        {"ml_zipmap_inside", TT_EUNSUPPORTED,
         "node 'zip': operator 'ZipMap' of domain 'ai.onnx.ml' (opset 1) is not supported: convert "
         "with options={'zipmap': False}"},
        {"ml_unknown", TT_EUNSUPPORTED,
         "node 'fill': operator 'Imputer' of domain 'ai.onnx.ml' (opset 1) is not supported"},
    };
    struct tt_model *m = NULL;
    struct tt_err err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum tt_code rc = load(cases[i].name, true, &m, &err);

        if (rc != cases[i].code)
            fail_msg("%s: %s, want %s: %s", cases[i].name, tt_code_name(rc),
                     tt_code_name(cases[i].code), rc ? err.msg : "");
        assert_contains(err.msg, cases[i].message);
        assert_null(strchr(err.msg, '\n'));
        assert_null(m);
    }
    assert_int_equal(load("ml_labels_used", false, &m, &err), TT_EUNSUPPORTED);
    assert_contains(err.msg, CLASSIFIER "its labels, 'y', are used: they are not computed");
}

/* Whatever bytes are read as a model can be compiled, or are refused. */
static void no_flipped_bit_is_a_crash(void **state)
{
    static const char *const names[] = {"end_pair", "end_sum", "ml_logistic_two", "ml_pipeline",
                                        "ml_zipmap"};
    int models = 0, refused = 0;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256], *data;
        size_t n;

        snprintf(path, sizeof path, GOLDEN "%s.onnx", names[i]);
        data = read_file(path, &n);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            struct bytes b = {data};
            struct tt_model_source source = {.file = {.from = &b, .size = n, .read = read_bytes},
                                             .logits = true};
            struct tt_program_spec spec = {.limit = 2, .noutputs = 1, .loss = -1};
            struct tt_program *p;
            struct tt_model *m;
            struct tt_err err;

            data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
            if (tt_model_read(&source, (size_t)16 << 20, &m, &err) == TT_OK) {
                models++;
                spec.graph = &m->graph;
                spec.outputs = m->graph.outputs;
                if (!tt_program_new(&spec, &p, &err))
                    tt_program_free(p);
                tt_model_free(m);
            } else {
                refused++;
                assert_null(strchr(err.msg, '\n'));
            }
            data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
        }
        free(data);
    }
    print_message("  %d flips are models, %d are refused\n", models, refused);
    assert_true(models > 1000);
    assert_true(refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probabilities_are_read_as_their_logits),
        cmocka_unit_test(without_asking_for_logits_outputs_stay_as_they_are),
        cmocka_unit_test(what_only_other_outputs_need_is_not_read),
        cmocka_unit_test(a_classifier_is_a_linear_layer_to_be_adapted),
        cmocka_unit_test(what_cannot_be_adapted_is_told_in_one_line),
        cmocka_unit_test(no_flipped_bit_is_a_crash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
