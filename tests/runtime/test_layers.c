// SPDX-License-Identifier: Apache-2.0
/*
 * A program whose layers are joined against one of the same graph in which they are not, because
 * everything between its nodes is an output: answers, statistics and gradients are the same.
 */
#include "runtime/layers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/program.h"
#include "tests/support/check.h"

enum { X, SIDE, W, BIAS, GAMMA, BETA, MEAN, VAR, WEIGHT, NVALUES }; // of every graph, in this order

enum conv { NO_CONV, POINT, STRIDED, GROUPED, WINOGRAD, WITH_BIAS };
enum sum { NO_SUM, FROM_SIDE, TO_SIDE, WITH_X }; // which operand comes first; the input itself
enum clamp { NO_CLAMP, RELU, CLIP };
enum uses { ONE_BATCH = 1, PRIOR = 2, MEASURE = 4 };

static const struct layer {
    enum conv conv;
    bool norm;
    enum sum sum;
    enum clamp clamp;
    int64_t C;
    int nodes; // of the joined layer
} layers[] = {
    {POINT, true, NO_SUM, NO_CLAMP, 16, 2},     {POINT, true, NO_SUM, RELU, 24, 3},
    {STRIDED, true, FROM_SIDE, RELU, 16, 4},    {STRIDED, true, TO_SIDE, RELU, 10, 4},
    {GROUPED, true, FROM_SIDE, CLIP, 8, 4},     {WINOGRAD, true, NO_SUM, RELU, 16, 3},
    {WINOGRAD, true, WITH_X, RELU, 16, 4},      {WINOGRAD, true, FROM_SIDE, NO_CLAMP, 32, 3},
    {WITH_BIAS, true, NO_SUM, CLIP, 12, 3},     {WITH_BIAS, true, WITH_X, NO_CLAMP, 16, 3},
    {WITH_BIAS, false, NO_SUM, RELU, 16, 2},    {WITH_BIAS, false, FROM_SIDE, RELU, 20, 3},
    {POINT, false, WITH_X, CLIP, 16, 3},        {WINOGRAD, false, TO_SIDE, NO_CLAMP, 16, 2},
    {NO_CONV, true, NO_SUM, RELU, 16, 2},       {NO_CONV, true, NO_SUM, CLIP, 7, 2},
    {NO_CONV, true, FROM_SIDE, NO_CLAMP, 3, 2}, {NO_CONV, true, WITH_X, RELU, 16, 3},
};
#define NLAYERS ((int)(sizeof layers / sizeof *layers))

enum { BATCH = 3, SIZE = 14 };

#define EXACT 2e-5 // of the largest of what is compared
#define HALF  2e-3 // errors of 2^-11 that one operation hands on
#define SUM   1e-2 // of a sum of some 600 terms, which is less than they are

static struct tt_arena arena;
static uint64_t seed;

static int begin(void **state)
{
    (void)state;
    tt_arena_init(&arena, 0);
    seed = 5;
    return 0;
}

static int end(void **state)
{
    (void)state;
    tt_arena_release(&arena);
    return 0;
}

static float *drawn(int64_t n, float low, float high)
{
    float *x = TT_NEW(&arena, n, float);

    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = low + (high - low) * (float)(seed >> 40) / 16777216.f;
    }
    return x;
}

static void *read_attr(const char *op, struct tt_attr *list, int n, int nin)
{
    struct tt_attrs a = {.arena = &arena, .list = list, .n = n, .opset = 17, .nin = nin};
    const struct tt_op *o = tt_op_find(op);
    void *attr = tt_arena_alloc(&arena, 1, o->attr_size + 1);
    struct tt_err err;

    if (o->read && o->read(&a, attr, &err) != TT_OK)
        fail_msg("%s", err.msg);
    return attr;
}

static int add(struct tt_graph *g, const char *op, const void *attr, int nin, const int *in)
{
    char *name = TT_NEW(&arena, 32, char);

    (void)snprintf(name, 32, "%s", op);
    return tt_graph_node(g, tt_op_find(op), name, attr, nin, in, name);
}

static int add_conv(struct tt_graph *g, const struct layer *l)
{
    static const int64_t strides[] = {2, 2}, pads[] = {1, 1, 1, 1};
    struct tt_attr list[3];
    int n = 0;

    if (l->conv == STRIDED)
        list[n++] = (struct tt_attr){.name = "strides", .type = TT_AINTS, .n = 2, .ints = strides};
    if (l->conv != POINT)
        list[n++] = (struct tt_attr){.name = "pads", .type = TT_AINTS, .n = 4, .ints = pads};
    if (l->conv == GROUPED)
        list[n++] = (struct tt_attr){.name = "group", .type = TT_AINT, .i = 4};
    return add(g, "Conv", read_attr("Conv", list, n, 3), l->conv == WITH_BIAS ? 3 : 2,
               (int[]){X, W, BIAS});
}

/* Inputs, weights, the layer, and a loss: the sum of what comes out, weighted. */
static int make_graph(struct tt_graph *g, const struct layer *l, int *loss)
{
    int64_t k = l->conv == POINT ? 1 : 3, C = l->C, H = l->conv == STRIDED ? SIZE / 2 : SIZE;
    int64_t per = C / (l->conv == GROUPED ? 4 : 1), one[] = {C}, wdim[] = {C, per, k, k};
    int at = X, out[2];

    tt_graph_init(g, &arena);
    tt_graph_input(g, "x", 4, (int64_t[]){-1, C, SIZE, SIZE});
    tt_graph_input(g, "side", 4, (int64_t[]){-1, C, H, H});
    tt_graph_weight(g, "w", 4, wdim, drawn(C * per * k * k, -.3f, .3f));
    tt_graph_weight(g, "bias", 1, one, drawn(C, -1, 1));
    tt_graph_weight(g, "gamma", 1, one, drawn(C, .5f, 2));
    tt_graph_weight(g, "beta", 1, one, drawn(C, -1, 1));
    tt_graph_weight(g, "mean", 1, one, drawn(C, -.1f, .1f));
    tt_graph_weight(g, "var", 1, one, drawn(C, .5f, 1.5f));
    tt_graph_weight(g, "weight", 4, (int64_t[]){1, C, H, H}, drawn(C * H * H, -1, 1));
    if (l->conv)
        at = add_conv(g, l);
    if (l->norm)
        at = add(g, "BatchNormalization", read_attr("BatchNormalization", NULL, 0, 5), 5,
                 (int[]){at, GAMMA, BETA, MEAN, VAR});
    if (l->sum)
        at = add(g, "Add", read_attr("Add", NULL, 0, 2), 2,
                 l->sum == TO_SIDE     ? (int[]){at, SIDE}
                 : l->sum == FROM_SIDE ? (int[]){SIDE, at}
                                       : (int[]){X, at});
    if (l->clamp == RELU)
        at = add(g, "Relu", NULL, 1, &at);
    if (l->clamp == CLIP) {
        static const float low = -.25f, high = .75f;
        int in[] = {at, tt_graph_weight(g, "low", 0, NULL, &low),
                    tt_graph_weight(g, "high", 0, NULL, &high)};

        at = add(g, "Clip", read_attr("Clip", NULL, 0, 3), 3, in);
    }
    out[0] = at;
    out[1] = WEIGHT;
    *loss = add(g, "Mul", read_attr("Mul", NULL, 0, 2), 2, out);
    *loss =
        add(g, "ReduceSum",
            read_attr("ReduceSum", (struct tt_attr[]){{.name = "keepdims", .type = TT_AINT}}, 1, 1),
            1, loss);
    return at;
}

static void count(void *ctx, const struct tt_node *node, bool backward)
{
    *(int *)ctx += node && !backward;
}

/* Compile; alone: everything between the layer's nodes is an output, so that nothing is joined. */
static struct tt_program *compile(const struct tt_graph *g, int out, int loss, bool alone,
                                  bool exact)
{
    static const int wanted[] = {X, SIDE, W, BIAS, GAMMA, BETA};
    struct tt_program_spec spec = {.graph = g,
                                   .limit = BATCH,
                                   .outputs = &out,
                                   .noutputs = 1,
                                   .loss = loss,
                                   .wanted = wanted,
                                   .nwanted = loss < 0 ? 0 : 6,
                                   .exact = exact};
    struct tt_program *p;
    struct tt_err err;
    int all[8];

    if (alone) {
        spec.noutputs = 0;
        for (int v = 0; v < g->nvalues; v++)
            if (g->values[v].kind == TT_RESULT && v <= out)
                all[spec.noutputs++] = v;
        spec.outputs = all;
    }
    if (tt_program_new(&spec, &p, &err) != TT_OK)
        fail_msg("%s", err.msg);
    return p;
}

struct answer {
    float *y, *g[BETA + 1], *mean, *var;
    int nodes;
};

static float *copied(const float *x, int64_t n)
{
    float *y = drawn(n, 0, 0);

    memcpy(y, x, sizeof *x * (size_t)n);
    return y;
}

static struct answer run(struct tt_program *p, const struct layer *l, int out, int uses,
                         int64_t rows, bool back)
{
    struct answer a = {0};
    struct tt_tensor *t;
    struct tt_err err;
    int n;
    struct tt_norm *norm = tt_program_norms(p, &n);

    assert_int_equal(n, l->norm);
    assert_int_equal(tt_program_resize(p, rows, &err), TT_OK);
    if (n) {
        norm->prior = uses & PRIOR ? uses & ONE_BATCH ? .4f : 1 : 0;
        norm->batch = 1 - norm->prior;
        norm->through = !(uses & PRIOR);
        norm->measure = uses & MEASURE;
    }
    seed = 99;
    for (int v = X; v <= SIDE; v++) {
        t = tt_program_tensor(p, v);
        if (t && t->x)
            memcpy(t->x, drawn(tt_len(t), -1, 1), sizeof(float) * (size_t)tt_len(t));
    }
    tt_program_watch(p, count, &a.nodes);
    tt_program_forward(p);
    t = tt_program_tensor(p, out);
    a.y = copied(t->x, tt_len(t));
    if (n && (uses & (ONE_BATCH | MEASURE))) {
        a.mean = copied(norm->batch_mean, l->C);
        a.var = copied(norm->batch_var, l->C);
    }
    if (!back)
        return a;
    tt_program_backward(p);
    for (int v = X; v <= BETA; v++) {
        t = tt_program_tensor(p, v);
        a.g[v] = t && t->g ? copied(t->g, tt_len(t)) : NULL;
    }
    return a;
}

static void assert_alike(const float *got, const float *want, int64_t n, double bound, int layer,
                         const char *what)
{
    double most = bound > EXACT ? 1 : 1e-3; // what sums are of, which may be nothing

    assert_int_equal(got == NULL, want == NULL);
    for (int64_t i = 0; got && i < n; i++)
        most = fmax(most, fabs((double)want[i]));
    for (int64_t i = 0; got && i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= bound * most))
            fail_msg("layer %d, %s[%d]: %g, want %g", layer, what, (int)i, (double)got[i],
                     (double)want[i]);
}

static void assert_same(const struct tt_program *one, struct tt_program *two, int i,
                        const struct answer *a, const struct answer *b, int out, double bound)
{
    static const char *const names[] = {"dx", "dside", "dw", "dbias", "dgamma", "dbeta"};

    (void)one;
    assert_alike(a->y, b->y, tt_len(tt_program_tensor(two, out)), EXACT, i, "y");
    assert_alike(a->mean, b->mean, layers[i].C, EXACT, i, "mean");
    assert_alike(a->var, b->var, layers[i].C, EXACT, i, "var");
    for (int v = X; v <= BETA; v++)
        if (tt_program_tensor(two, v))
            assert_alike(a->g[v], b->g[v], tt_len(tt_program_tensor(two, v)),
                         v == GAMMA && bound > EXACT ? SUM : bound, i, names[v]);
}

static void compare(bool back, bool exact)
{
    static const int uses[] = {PRIOR, ONE_BATCH, PRIOR | ONE_BATCH, PRIOR | MEASURE};

    for (int i = 0; i < NLAYERS; i++) {
        struct tt_graph g;
        struct tt_program *joined, *apart;
        int loss, out = make_graph(&g, &layers[i], &loss);

        joined = compile(&g, out, back ? loss : -1, false, exact);
        apart = compile(&g, out, back ? loss : -1, true, true);
        for (int u = 0; u < 4; u++)
            for (int64_t rows = BATCH; rows > 0; rows -= 2) {
                struct answer a = run(joined, &layers[i], out, uses[u], rows, back);
                struct answer b = run(apart, &layers[i], out, uses[u], rows, back);

                assert_true(b.nodes - a.nodes >= layers[i].nodes - 1); // and conversions
                assert_same(joined, apart, i, &a, &b, out, exact ? EXACT : HALF);
            }
        tt_program_free(joined);
        tt_program_free(apart);
    }
}

static void answers_are_those_of_its_parts(void **state)
{
    (void)state;
    compare(false, true);
}

static void gradients_are_those_of_its_parts(void **state)
{
    (void)state;
    compare(true, true);
}

/* What backward reads is off by 2^-11 of itself: every term of the gradients that it is in. */
static void gradients_from_halves_are_nearly_those(void **state)
{
    (void)state;
    compare(true, false);
}

/* A weight of the convolution 1e6 times as large makes x so, but not x^. */
static void the_size_of_what_is_normalised_does_not_matter(void **state)
{
    static const struct layer l = {POINT, true, NO_SUM, RELU, 16, 3};
    struct answer a[2];
    struct tt_graph g;
    int loss, out = make_graph(&g, &l, &loss);
    float *w = copied(g.values[W].data, 16 * 16);

    (void)state;
    for (int i = 0; i < 16 * 16; i++)
        w[i] *= 1e6f;
    for (int exact = 0; exact < 2; exact++) {
        struct tt_program *p = compile(&g, out, loss, false, exact);

        tt_program_tensor(p, W)->x = w;
        a[exact] = run(p, &l, out, ONE_BATCH, BATCH, true);
        tt_program_free(p);
    }
    assert_alike(a[0].g[GAMMA], a[1].g[GAMMA], 16, HALF, 0, "dgamma");
    assert_alike(a[0].g[BETA], a[1].g[BETA], 16, EXACT, 0, "dbeta");
    for (int c = 0; c < 16; c++)
        assert_true(a[0].var[c] > 1e9f && fabsf(a[0].g[GAMMA][c]) > 0);
}

static void what_somebody_else_uses_is_left_alone(void **state)
{
    static const struct layer l = {WINOGRAD, true, NO_SUM, RELU, 16, 3};
    struct tt_graph g;
    int loss, out, nodes = 0;
    struct tt_program *p;

    (void)state;
    out = make_graph(&g, &l, &loss);
    /* a second user of what the convolution makes */
    (void)add(&g, "Relu", NULL, 1, (int[]){g.nodes[0].out});
    out = add(&g, "Add", read_attr("Add", NULL, 0, 2), 2, (int[]){out, g.nodes[g.nnodes - 1].out});
    p = compile(&g, out, -1, false, false);
    tt_program_watch(p, count, &nodes);
    tt_program_forward(p);
    assert_int_equal(nodes, 6); // layouts of the input and the result; Conv, layer, Relu, Add
    tt_program_free(p);
}

static void a_joined_network_needs_less_memory(void **state)
{
    static const struct layer l = {WINOGRAD, true, WITH_X, RELU, 16, 4};
    struct tt_graph g;
    struct tt_program *joined, *apart, *half;
    int loss, out;

    (void)state;
    out = make_graph(&g, &l, &loss);
    joined = compile(&g, out, loss, false, true);
    apart = compile(&g, out, loss, true, true);
    half = compile(&g, out, loss, false, false);
    assert_true(tt_program_bytes(joined) < tt_program_bytes(apart));
    assert_true(tt_program_bytes(half) < tt_program_bytes(joined));
    tt_program_free(half);
    tt_program_free(joined);
    tt_program_free(apart);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_are_those_of_its_parts, begin, end),
        cmocka_unit_test_setup_teardown(gradients_are_those_of_its_parts, begin, end),
        cmocka_unit_test_setup_teardown(gradients_from_halves_are_nearly_those, begin, end),
        cmocka_unit_test_setup_teardown(the_size_of_what_is_normalised_does_not_matter, begin, end),
        cmocka_unit_test_setup_teardown(what_somebody_else_uses_is_left_alone, begin, end),
        cmocka_unit_test_setup_teardown(a_joined_network_needs_less_memory, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
