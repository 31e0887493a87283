// SPDX-License-Identifier: Apache-2.0
#include "runtime/op.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

/*
 * Every operator's backward against central differences of its forward, from one table, in every
 * layout that its rule allows.  The shapes' dimensions all differ, so that a mix-up shows.
 */
#define H          5e-3 // step; see docs: float32 forward, sums in double
#define TOLERANCE  5e-3
#define MAX_FLOATS 8192

static struct tt_affine list_a[] = {{2, 0}, {-1, 0}, {5, 0}};
static struct tt_affine list_axes[] = {{1, 0}, {3, 0}};
static struct tt_affine list_axis0[] = {{0, 0}};

static struct tt_affine list_start[] = {{1, 0}, {4, 0}};
static struct tt_affine list_end[] = {{3, 0}, {-6, 0}};
static struct tt_affine list_step[] = {{1, 0}, {-2, 0}};
static struct tt_affine list_pads[] = {{0, 0}, {1, 0}, {2, 0}, {0, 0},
                                       {0, 0}, {2, 0}, {0, 0}, {1, 0}};

#define INTS(list)                                                                             \
    {                                                                                          \
        .ndim = 1, .dim = {sizeof(list) / sizeof *(list)}, .n = sizeof(list) / sizeof *(list), \
        .v = (list)                                                                            \
    }
static const struct tt_ints to_shape = INTS(list_a), axes = INTS(list_axes),
                            axis0 = INTS(list_axis0), start = INTS(list_start),
                            end = INTS(list_end), step = INTS(list_step), pads = INTS(list_pads);

static const int64_t two[] = {2, 2}, one_two[] = {1, 2}, pads4[] = {1, 0, 2, 1}, k32[] = {3, 2},
                     perm[] = {2, 0, 3, 1}, ones4[] = {1, 1, 1, 1}, k22[] = {2, 2};

#define AINTS(name_, v)                                                            \
    {                                                                              \
        .name = name_, .type = TT_AINTS, .n = sizeof(v) / sizeof *(v), .ints = (v) \
    }
#define AINT(name_, v)                           \
    {                                            \
        .name = name_, .type = TT_AINT, .i = (v) \
    }
#define AFLOAT(name_, v)                           \
    {                                              \
        .name = name_, .type = TT_AFLOAT, .f = (v) \
    }

/* Statistics of a batch normalisation, as struct tt_norm has them. */
enum stats { NONE, SOURCE, BATCH, BLEND, PART };

static const struct gradcase {
    const char *op, *what;
    int nin;
    int64_t dims[TT_MAXIN][TT_MAXDIM + 1]; // ndim first
    struct tt_attr attrs[5];
    const struct tt_ints *ints[TT_MAXIN]; // integer operands, behind the float ones
    enum stats stats;
    unsigned fixed; // bit i: operand i gets no gradient
} cases[] = {
    {"Add", "same shape", 2, {{3, 2, 3, 5}, {3, 2, 3, 5}}},
    {"Add", "broadcast", 2, {{4, 2, 3, 5, 4}, {3, 3, 1, 1}}},
    {"Sub", "broadcast", 2, {{3, 2, 3, 5}, {2, 3, 1}}},
    {"Mul", "same shape", 2, {{4, 2, 3, 5, 4}, {4, 2, 3, 5, 4}}},
    {"Mul", "a number first", 2, {{0}, {3, 2, 3, 5}}},
    {"Div", "broadcast", 2, {{3, 2, 3, 5}, {1, 5}}},
    {"Relu", "", 1, {{3, 2, 3, 5}}},
    {"Conv",
     "3x2, odd pads",
     3,
     {{4, 2, 3, 7, 6}, {4, 5, 3, 3, 2}, {1, 5}},
     {AINTS("pads", pads4), AINTS("kernel_shape", k32)}},
    {"Conv",
     "stride 2, dilation 1x2",
     3,
     {{4, 2, 3, 8, 9}, {4, 17, 3, 3, 2}, {1, 17}},
     {AINTS("pads", pads4), AINTS("strides", two), AINTS("dilations", one_two)}},
    {"Conv", "2 groups", 2, {{4, 2, 6, 5, 4}, {4, 8, 3, 3, 2}}, {AINT("group", 2)}},
    {"Conv", "1x1, stride 2", 2, {{4, 2, 18, 5, 4}, {4, 4, 18, 1, 1}}, {AINTS("strides", two)}},
    {"BatchNormalization",
     "source statistics",
     5,
     {{4, 3, 18, 4, 5}, {1, 18}, {1, 18}, {1, 18}, {1, 18}},
     {AFLOAT("epsilon", 1e-3f)},
     {NULL},
     SOURCE,
     1u << 3 | 1u << 4},
    {"BatchNormalization",
     "batch statistics",
     5,
     {{4, 3, 18, 4, 5}, {1, 18}, {1, 18}, {1, 18}, {1, 18}},
     {AFLOAT("epsilon", 1e-3f)},
     {NULL},
     BATCH,
     1u << 3 | 1u << 4},
    {"BatchNormalization",
     "a part of the batch, unbiased, gradients through",
     5,
     {{4, 3, 5, 2, 4}, {1, 5}, {1, 5}, {1, 5}, {1, 5}},
     {AFLOAT("epsilon", 1e-3f)},
     {NULL},
     PART,
     1u << 3 | 1u << 4},
    {"BatchNormalization",
     "two dimensions",
     5,
     {{2, 13, 5}, {1, 5}, {1, 5}, {1, 5}, {1, 5}},
     {{0}},
     {NULL},
     BATCH,
     1u << 3 | 1u << 4},
    {"Gemm",
     "b transposed",
     3,
     {{2, 3, 5}, {2, 4, 5}, {1, 4}},
     {AINT("transB", 1), AFLOAT("alpha", 1.5f), AFLOAT("beta", .5f)}},
    {"Gemm", "a transposed", 3, {{2, 5, 3}, {2, 5, 4}, {2, 3, 1}}, {AINT("transA", 1)}},
    {"Gemm", "both transposed", 2, {{2, 5, 3}, {2, 4, 5}}, {AINT("transA", 1), AINT("transB", 1)}},
    {"MatMul", "one b for all", 2, {{3, 2, 3, 5}, {2, 5, 4}}},
    {"MatMul", "a b each", 2, {{3, 2, 3, 5}, {3, 2, 5, 4}}},
    {"GlobalAveragePool", "", 1, {{4, 2, 3, 5, 4}}},
    {"AveragePool",
     "padding not counted",
     1,
     {{4, 2, 3, 7, 6}},
     {AINTS("kernel_shape", k32), AINTS("pads", pads4), AINTS("strides", two)}},
    {"AveragePool",
     "padding counted, ceil",
     1,
     {{4, 2, 3, 6, 8}},
     {AINTS("kernel_shape", k32), AINTS("pads", ones4), AINTS("strides", two),
      AINT("count_include_pad", 1), AINT("ceil_mode", 1)}},
    {"MaxPool", "", 1, {{4, 2, 3, 7, 6}}, {AINTS("kernel_shape", k22), AINTS("strides", two)}},
    {"Softmax", "last axis", 1, {{3, 2, 3, 5}}},
    {"Softmax", "axis 1", 1, {{3, 2, 5, 3}}, {AINT("axis", 1)}},
    {"Flatten", "", 1, {{4, 2, 3, 5, 4}}},
    {"Reshape", "", 1, {{3, 2, 3, 5}}, {{0}}, {&to_shape}},
    {"Unsqueeze", "", 1, {{3, 2, 3, 5}}, {{0}}, {&axes}},
    {"Squeeze", "", 1, {{3, 1, 3, 5}}, {{0}}, {&axis0}},
    {"Transpose", "", 1, {{4, 2, 3, 5, 4}}, {AINTS("perm", perm)}},
    {"Slice", "a negative step", 1, {{4, 2, 4, 3, 7}}, {{0}}, {&start, &end, &axes, &step}},
    {"Pad", "", 1, {{4, 2, 3, 4, 5}}, {{0}}, {&pads}},
    {"Concat", "axis 1", 3, {{4, 2, 3, 4, 5}, {4, 2, 1, 4, 5}, {4, 2, 2, 4, 5}}, {AINT("axis", 1)}},
    {"tt.Layout", "", 1, {{4, 2, 3, 4, 5}}},
    {"tt.Entropy", "", 1, {{2, 4, 5}}},
};

static const int ncases = (int)(sizeof cases / sizeof *cases);

static uint64_t seed;

static float draw(void) // in (-1, 1), never near the kink of Relu or a tie of MaxPool
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return ((float)(seed >> 40) / 8388608.0f - 1) + (seed >> 63 ? 0.02f : -0.02f);
}

/* A node with its own memory. */
struct bench {
    struct tt_arena arena;
    struct tt_node n;
    struct tt_tensor in[TT_MAXIN], out;
    struct tt_norm norm;
    float *dy;
};

static float *floats(struct bench *b, int64_t n)
{
    float *x = TT_NEW(&b->arena, n + 1, float);

    assert_non_null(x);
    return x;
}

static enum tt_code read_case(struct bench *b, const struct gradcase *c, struct tt_err *err)
{
    struct tt_attr list[5];
    struct tt_attrs a = {.arena = &b->arena, .list = list, .opset = 13, .nin = c->nin};
    void *attr = floats(b, (int64_t)b->n.op->attr_size / 4 + 1);

    for (a.n = 0; a.n < 5 && c->attrs[a.n].name; a.n++)
        list[a.n] = c->attrs[a.n];
    for (int i = 0; i < c->nin; i++)
        a.given[i] = true;
    for (int i = 0; i < TT_MAXIN && c->ints[i]; i++) {
        a.ints[c->nin + i] = c->ints[i];
        a.given[c->nin + i] = true;
        a.nin++;
    }
    b->n.attr = attr;
    return b->n.op->read ? b->n.op->read(&a, attr, err) : TT_OK;
}

static void set_stats(struct bench *b, enum stats stats, int64_t C)
{
    static const float batch[] = {0, 0, 1, .3f, .6f};

    b->norm = (struct tt_norm){.prior = 1 - batch[stats],
                               .batch = batch[stats],
                               .unbiased = stats > BATCH,
                               .through = stats == BATCH || stats == PART,
                               .mean0 = b->in[3].x,
                               .var0 = b->in[4].x};
    b->norm.batch_mean = floats(b, C);
    b->norm.batch_var = floats(b, C);
    for (int64_t i = 0; i < C; i++)
        b->in[4].x[i] = 1 + fabsf(b->in[4].x[i]);
    b->n.norm = &b->norm;
}

static void open_bench(struct bench *b, const struct tt_op *op, const struct gradcase *c,
                       enum tt_layout layout)
{
    struct tt_err err = {TT_OK, ""};

    memset(b, 0, sizeof *b);
    tt_arena_init(&b->arena, 0);
    b->n = (struct tt_node){.op = op, .name = c->what, .nin = c->nin, .batch = 2, .out = &b->out};
    b->out.layout = layout;
    for (int i = 0; i < c->nin; i++) {
        struct tt_tensor *t = &b->in[i];

        *t = (struct tt_tensor){.name = "operand", .ndim = (int)c->dims[i][0]};
        memcpy(t->dim, c->dims[i] + 1, sizeof t->dim);
        if (i == 0 || op->layout == TT_FOLLOWS || op->layout == TT_STRIDED)
            t->layout = layout;
        t->x = floats(b, tt_len(t));
        t->g = c->fixed >> i & 1 ? NULL : floats(b, tt_len(t));
        for (int64_t k = 0; k < tt_len(t); k++)
            t->x[k] = draw();
        b->n.in[i] = t;
    }
    if (!strcmp(op->name, "MaxPool")) // no two alike, none nearer than four steps
        for (int64_t k = 0; k < tt_len(&b->in[0]); k++)
            b->in[0].x[k] = (float)(k * 7919 % tt_len(&b->in[0])) * 4 * (float)H;
    if (!strcmp(op->name, "Div"))
        for (int64_t k = 0; k < tt_len(&b->in[1]); k++)
            b->in[1].x[k] += b->in[1].x[k] < 0 ? -1.f : 1.f;
    if (!strcmp(op->name, "tt.Layout"))
        b->out.layout = layout == TT_LAST ? TT_PLAIN : TT_LAST;
    if (c->stats)
        set_stats(b, c->stats, c->dims[0][2]);
    assert_int_equal(read_case(b, c, &err), TT_OK);
    if (op->shape(&b->n, &err) != TT_OK)
        fail_msg("%s (%s): %s", op->name, c->what, err.msg);
    b->out.x = floats(b, tt_len(&b->out));
    b->out.g = floats(b, tt_len(&b->out));
    b->dy = floats(b, tt_len(&b->out));
    for (int64_t k = 0; k < tt_len(&b->out); k++)
        b->dy[k] = draw();
    for (int i = 0; i < TT_MAXSAVED; i++)
        b->n.saved[i] = floats(b, b->n.nsaved[i]);
    b->n.kept = floats(b, b->n.nkept);
    b->n.scratch = floats(b, b->n.nscratch);
}

/* sum of dy y, in double */
static double value(struct bench *b)
{
    double sum = 0;

    b->n.op->forward(&b->n);
    for (int64_t k = 0; k < tt_len(&b->out); k++)
        sum += (double)b->dy[k] * b->out.x[k];
    return sum;
}

/* Worst |backward - differences| over 1 + |differences|, of every element of every operand. */
static double gradcheck(const struct tt_op *op, const struct gradcase *c, enum tt_layout layout,
                        bool add)
{
    struct bench b;
    double worst = 0;

    seed = 7;
    open_bench(&b, op, c, layout);
    (void)value(&b);
    memcpy(b.out.g, b.dy, sizeof *b.dy * (size_t)tt_len(&b.out));
    for (int i = 0; i < c->nin; i++) {
        b.n.add[i] = add;
        for (int64_t k = 0; b.in[i].g && k < tt_len(&b.in[i]); k++)
            b.in[i].g[k] = add ? 3 : NAN; // what is overwritten must not be read
    }
    op->backward(&b.n);
    for (int i = 0; i < c->nin; i++)
        for (int64_t k = 0; b.in[i].g && k < tt_len(&b.in[i]); k++) {
            float x = b.in[i].x[k];
            double up, down, want, got = (double)b.in[i].g[k] - (add ? 3 : 0), e;

            b.in[i].x[k] = x + (float)H;
            up = value(&b);
            b.in[i].x[k] = x - (float)H;
            down = value(&b);
            b.in[i].x[k] = x;
            want = (up - down) / (2 * H);
            e = fabs(got - want) / (1 + fabs(want));
            if (!(e <= worst))
                worst = e; // NaN too
        }
    tt_arena_release(&b.arena);
    return worst;
}

static void gradients_match_finite_differences(void **state)
{
    (void)state;
    for (int i = 0; i < ncases; i++) {
        const struct gradcase *c = &cases[i];
        const struct tt_op *op = tt_op_find(c->op);

        assert_non_null(op);
        for (int layout = TT_PLAIN; layout <= TT_LAST; layout++)
            for (int add = 0; add < 2; add++) {
                double e;

                if ((op->layout == TT_WANTS_PLAIN && layout == TT_LAST) ||
                    (op->layout == TT_WANTS_LAST && layout == TT_PLAIN))
                    continue;
                e = gradcheck(op, c, (enum tt_layout)layout, add);
                if (!(e < TOLERANCE))
                    fail_msg("%s (%s), layout %d, add %d: worst relative error %g", c->op, c->what,
                             layout, add, e);
            }
    }
}

static void every_operator_with_a_backward_has_a_case(void **state)
{
    (void)state;
    for (const struct tt_op *const *op = tt_ops; *op; op++) {
        int i = 0;

        while (i < ncases && strcmp(cases[i].op, (*op)->name))
            i++;
        if ((*op)->backward && i == ncases)
            fail_msg("operator %s has no gradient case", (*op)->name);
        assert_non_null((*op)->source);
    }
}

static void skewed(struct tt_node *n) // a wrong gradient, 5 % too large
{
    tt_op_find("Relu")->backward(n);
    for (int64_t i = 0; i < tt_len(n->in[0]); i++)
        n->in[0]->g[i] *= 1.05f;
}

static void the_gradient_check_itself_can_fail(void **state)
{
    struct tt_op wrong = *tt_op_find("Relu");
    static const struct gradcase c = {"Relu", "skewed", 1, {{3, 2, 3, 5}}, {{0}}, {NULL}, NONE, 0};

    (void)state;
    wrong.backward = skewed;
    assert_true(gradcheck(&wrong, &c, TT_PLAIN, false) > 1e-2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_match_finite_differences),
        cmocka_unit_test(every_operator_with_a_backward_has_a_case),
        cmocka_unit_test(the_gradient_check_itself_can_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
