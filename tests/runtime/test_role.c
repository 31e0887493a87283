// SPDX-License-Identifier: Apache-2.0
/* What weights are by their place in the graph: in the forms that exporters write. */
#include <string.h>

#include "runtime/role.h"
#include "tests/support/check.h"

/* Roles follow names of operators alone, so that patterns need not be computable here. */
static const struct tt_op ops[] = {
    {.name = "Add"},
    {.name = "Sub"},
    {.name = "Mul"},
    {.name = "Div"},
    {.name = "Pow"},
    {.name = "Sqrt"},
    {.name = "Reciprocal"},
    {.name = "ReduceMean"},
    {.name = "Reshape"},
    {.name = "Transpose"},
    {.name = "MatMul"},
    {.name = "Gather"},
    {.name = "Relu"},
    {.name = "InstanceNormalization"},
    {.name = "LayerNormalization"},
    {.name = "BatchNormalization"},
};

struct build {
    struct tt_model *m;
    int x;
};

static int weight(struct build *b, const char *name, int ndim, int64_t rows, int64_t columns,
                  const float *data)
{
    return tt_graph_weight(&b->m->graph, name, ndim, (int64_t[]){rows, columns}, data);
}

static int apply(struct build *b, const char *op, const char *name, int nin, const int *in)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(ops[i].name, op)) {
            int value = tt_graph_node(&b->m->graph, &ops[i], name, NULL, nin, in, name);

            assert_true(value >= 0);
            return value;
        }
    fail_msg("no operator %s", op);
    return -1;
}

#define APPLY(b, op, ...) \
    apply((b), (op), op, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), (int[]){__VA_ARGS__})

static const float numbers[64] = {0.5f, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

static void begin(struct build *b)
{
    b->m = tt_model_new(0);
    assert_non_null(b->m);
    b->x = tt_graph_input(&b->m->graph, "x", 3, (int64_t[]){-1, 3, 4});
}

/* sqrt(mean(square) + epsilon) */
static int deviation(struct build *b, int square)
{
    int eps = weight(b, "eps", 0, 0, 0, numbers);

    return APPLY(b, "Sqrt", APPLY(b, "Add", APPLY(b, "ReduceMean", square), eps));
}

static int affine(struct build *b, int normal)
{
    int w = weight(b, "w", 1, 4, 0, numbers), bias = weight(b, "b", 1, 4, 0, numbers + 4);

    return APPLY(b, "Add", bias, APPLY(b, "Mul", normal, w));
}

static int centred(struct build *b)
{
    return APPLY(b, "Sub", b->x, APPLY(b, "ReduceMean", b->x));
}

static int ln_divided(struct build *b)
{
    int d = centred(b), two = weight(b, "two", 0, 0, 0, numbers + 1);

    return affine(b, APPLY(b, "Div", d, deviation(b, APPLY(b, "Pow", d, two))));
}

static int ln_multiplied(struct build *b)
{
    int d = centred(b);
    int scale = APPLY(b, "Reciprocal", deviation(b, APPLY(b, "Mul", d, d)));

    return affine(b, APPLY(b, "Mul", scale, d));
}

static int ln_root_mean_square(struct build *b)
{
    int one = weight(b, "one", 0, 0, 0, numbers), square = APPLY(b, "Mul", b->x, b->x);

    return affine(b, APPLY(b, "Mul", b->x, APPLY(b, "Div", one, deviation(b, square))));
}

/* y = x * s + (b - mean * s), s = w / deviation */
static int ln_shifted(struct build *b)
{
    int w = weight(b, "w", 1, 4, 0, numbers), bias = weight(b, "b", 1, 4, 0, numbers + 4);
    int mean = APPLY(b, "ReduceMean", b->x), d = APPLY(b, "Sub", b->x, mean);
    int s = APPLY(b, "Mul", APPLY(b, "Reciprocal", deviation(b, APPLY(b, "Mul", d, d))), w);

    return APPLY(b, "Add", APPLY(b, "Mul", b->x, s),
                 APPLY(b, "Sub", bias, APPLY(b, "Mul", mean, s)));
}

static int gn_of_instances(struct build *b)
{
    int s = weight(b, "ones", 1, 2, 0, numbers), o = weight(b, "zeros", 1, 2, 0, numbers + 2);
    int groups = APPLY(b, "Reshape", b->x);
    int y = APPLY(b, "Reshape", APPLY(b, "InstanceNormalization", groups, s, o));

    return affine(b, y);
}

static int in_native(struct build *b)
{
    int w = weight(b, "w", 1, 4, 0, numbers), bias = weight(b, "b", 1, 4, 0, numbers + 4);

    return APPLY(b, "InstanceNormalization", b->x, w, bias);
}

static int linear_transposed(struct build *b)
{
    int w = weight(b, "w", 2, 4, 4, numbers), bias = weight(b, "b", 1, 4, 0, numbers + 4);

    return APPLY(b, "Add", APPLY(b, "MatMul", b->x, APPLY(b, "Transpose", w)), bias);
}

/* As scikit-learn's perceptrons have it. */
static int linear_row(struct build *b)
{
    int w = weight(b, "w", 2, 4, 4, numbers), bias = weight(b, "b", 2, 1, 4, numbers + 4);

    return APPLY(b, "Add", APPLY(b, "MatMul", b->x, w), bias);
}

/* A product and a table of positions. */
static int linear_table(struct build *b)
{
    int w = weight(b, "w", 2, 4, 4, numbers), table = weight(b, "table", 2, 3, 4, numbers + 4);

    return APPLY(b, "Add", APPLY(b, "MatMul", b->x, w), table);
}

/* A product scaled by a list, and a table added to it, are no normalisation. */
static int neither(struct build *b)
{
    int w = weight(b, "w", 1, 4, 0, numbers), table = weight(b, "b", 2, 3, 4, numbers + 4);

    return APPLY(b, "Add", APPLY(b, "Mul", APPLY(b, "Relu", b->x), w), table);
}

static void weights_are_known_by_their_place(void **state)
{
    static const struct {
        int (*make)(struct build *b);
        enum tt_kind kind;
        enum tt_member w, b;
        int others; // parameters that are neither
    } cases[] = {
        {ln_divided, TT_KIND_LN, TT_MEMBER_WEIGHT, TT_MEMBER_BIAS, 2},
        {ln_multiplied, TT_KIND_LN, TT_MEMBER_WEIGHT, TT_MEMBER_BIAS, 1},
        {ln_root_mean_square, TT_KIND_LN, TT_MEMBER_WEIGHT, TT_MEMBER_BIAS, 2},
        {ln_shifted, TT_KIND_LN, TT_MEMBER_WEIGHT, TT_MEMBER_BIAS, 1},
        {gn_of_instances, TT_KIND_GN, TT_MEMBER_WEIGHT, TT_MEMBER_BIAS, 2},
        {in_native, TT_KIND_IN, TT_MEMBER_WEIGHT, TT_MEMBER_BIAS, 0},
        {linear_transposed, TT_KIND_LINEAR, TT_MEMBER_WEIGHT, TT_MEMBER_BIAS, 0},
        {linear_row, TT_KIND_LINEAR, TT_MEMBER_WEIGHT, TT_MEMBER_BIAS, 0},
        {linear_table, TT_KIND_LINEAR, TT_MEMBER_WEIGHT, TT_MEMBER_BIAS, 1},
        {neither, TT_KIND_OTHER, TT_MEMBER_OTHER, TT_MEMBER_OTHER, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct build b;
        struct tt_err err;
        int others = 0;

        begin(&b);
        assert_true(tt_graph_output(&b.m->graph, cases[i].make(&b)));
        assert_int_equal(tt_model_find_params(b.m, &err), TT_OK);
        for (int k = 0; k < b.m->nparams; k++) {
            const struct tt_param *p = &b.m->params[k];
            bool is_w = !strcmp(p->name, "w"), is_b = !strcmp(p->name, "b");

            if (!is_w && !is_b)
                others++;
            if (p->kind != (is_w || is_b ? cases[i].kind : TT_KIND_OTHER) ||
                p->member != (is_w   ? cases[i].w
                              : is_b ? cases[i].b
                                     : TT_MEMBER_OTHER))
                fail_msg("case %zu: '%s' is %s %s", i, p->name, tt_kind_name(p->kind),
                         tt_member_name(p->member));
            assert_false(p->unmerged);
        }
        assert_int_equal(others, cases[i].others);
        tt_model_free(b.m);
    }
}

/* Two fresh layer normalisations and a batch normalisation, as an exporter merges them: all ones
 * are one tensor, all zeros another; the ones scale something else, too. */
static void merged_parameters_are_made_several_again(void **state)
{
    static const struct {
        const char *name;
        enum tt_kind kind;
        enum tt_member member;
    } want[] = {
        {"ln.0.weight", TT_KIND_LN, TT_MEMBER_WEIGHT}, {"zeros", TT_KIND_LN, TT_MEMBER_BIAS},
        {"ln.1.weight", TT_KIND_LN, TT_MEMBER_WEIGHT}, {"ln.1.bias", TT_KIND_LN, TT_MEMBER_BIAS},
        {"weight@bn", TT_KIND_BN, TT_MEMBER_WEIGHT},   {"bias@bn", TT_KIND_BN, TT_MEMBER_BIAS},
        {"mean@bn", TT_KIND_BN, TT_MEMBER_MEAN},       {"var@bn", TT_KIND_BN, TT_MEMBER_VAR},
        {"ones", TT_KIND_OTHER, TT_MEMBER_OTHER},
    };
    const float ones[4] = {1, 1, 1, 1}, zeros[4] = {0};
    struct build b;
    struct tt_err err;
    int one, zero, y;

    (void)state;
    begin(&b);
    one = weight(&b, "ones", 1, 4, 0, ones);
    zero = weight(&b, "zeros", 1, 4, 0, zeros);
    y = apply(&b, "LayerNormalization", "/ln.0/LayerNormalization", 3, (int[]){b.x, one, zero});
    y = apply(&b, "LayerNormalization", "/ln.1/LayerNormalization", 3, (int[]){y, one, zero});
    y = apply(&b, "BatchNormalization", "bn", 5, (int[]){y, one, zero, zero, one});
    y = APPLY(&b, "Mul", y, one);
    assert_true(tt_graph_output(&b.m->graph, y));
    assert_int_equal(tt_model_find_params(b.m, &err), TT_OK);
    assert_int_equal(b.m->nparams, (int)(sizeof want / sizeof *want));
    for (int i = 0; i < b.m->nparams; i++) {
        const struct tt_param *p = &b.m->params[i];

        assert_string_equal(p->name, want[i].name);
        assert_int_equal(p->kind, want[i].kind);
        assert_int_equal(p->member, want[i].member);
        assert_int_equal(p->uses, 1);
        assert_true(p->unmerged);
        assert_ptr_equal(b.m->graph.values[p->value].data,
                         p->member == TT_MEMBER_BIAS || p->member == TT_MEMBER_MEAN ? zeros : ones);
    }
    tt_model_free(b.m);
}

/* A weight that has learnt something is shared because somebody meant it to be. */
static void a_shared_normalisation_stays_shared_and_is_told(void **state)
{
    struct build b;
    struct tt_err err;
    int w, bias, y;

    (void)state;
    begin(&b);
    w = weight(&b, "w", 1, 4, 0, numbers);
    bias = weight(&b, "b", 1, 4, 0, numbers + 4);
    y = APPLY(&b, "LayerNormalization", b.x, w, bias);
    y = APPLY(&b, "LayerNormalization", y, w, bias);
    assert_true(tt_graph_output(&b.m->graph, y));
    assert_int_equal(tt_model_find_params(b.m, &err), TT_OK);
    assert_int_equal(b.m->nparams, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(b.m->params[i].norms, 2);
        assert_false(b.m->params[i].unmerged);
    }
    tt_model_free(b.m);
}

static void a_table_of_embeddings_knows_its_untied_twin(void **state)
{
    float table[12], turned[12];

    (void)state;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 4; k++)
            table[4 * i + k] = turned[3 * k + i] = (float)(10 * i + k);
    for (int changed = 0; changed < 2; changed++) {
        struct build b;
        struct tt_err err;
        int e, w, y;

        begin(&b);
        turned[7] += (float)changed;
        e = weight(&b, "embedding", 2, 3, 4, table);
        w = weight(&b, "head", 2, 4, 3, turned);
        y = APPLY(&b, "MatMul", APPLY(&b, "Gather", e, b.x), w);
        assert_true(tt_graph_output(&b.m->graph, y));
        assert_int_equal(tt_model_find_params(b.m, &err), TT_OK);
        assert_int_equal(b.m->params[0].kind, TT_KIND_EMBEDDING);
        assert_int_equal(b.m->params[1].kind, TT_KIND_LINEAR);
        assert_int_equal(b.m->params[0].twin, changed ? -1 : 1);
        assert_int_equal(b.m->params[1].twin, changed ? -1 : 0);
        tt_model_free(b.m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_known_by_their_place),
        cmocka_unit_test(merged_parameters_are_made_several_again),
        cmocka_unit_test(a_shared_normalisation_stays_shared_and_is_told),
        cmocka_unit_test(a_table_of_embeddings_knows_its_untied_twin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
