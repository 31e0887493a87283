// SPDX-License-Identifier: Apache-2.0
#include "tests/support/gradcheck.h"

#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "tests/support/check.h"

static uint64_t seed;

static float draw(void) // in (-1, 1), never near the kink of Relu or a tie of MaxPool
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return ((float)(seed >> 40) / 8388608.0f - 1) + (seed >> 63 ? 0.02f : -0.02f);
}

static void fill(struct tt_tensor *t, enum gradvalues values)
{
    int64_t n = tt_len(t);

    for (int64_t k = 0; k < n; k++) {
        float v = draw();

        if (values == NONZERO)
            v += v < 0 ? -1.f : 1.f;
        else if (values == POSITIVE)
            v = 1.25f + .75f * v;
        else if (values == SPREAD)
            v = (float)(k * 7919 % n) * 4 * (float)GRAD_H;
        t->x[k] = v;
    }
}

/* A node with its own memory, in which nothing can be read that was not written. */
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

static float *unwritten(struct bench *b, int64_t n)
{
    float *x = floats(b, n);

    for (int64_t i = 0; i < n; i++)
        x[i] = NAN;
    return x;
}

static enum tt_code read_case(struct bench *b, const struct gradcase *c, struct tt_err *err)
{
    struct tt_attr list[GRAD_ATTRS];
    struct tt_attrs a = {.arena = &b->arena,
                         .list = list,
                         .opset = c->opset ? c->opset : 13,
                         .nin = c->nin,
                         .result = c->result,
                         .nresults = c->results ? c->results : 1};
    void *attr = floats(b, (int64_t)b->n.op->attr_size / 4 + 1);

    for (a.n = 0; a.n < GRAD_ATTRS && c->attrs[a.n].name; a.n++)
        list[a.n] = c->attrs[a.n];
    for (int i = 0; i < c->nin; i++)
        a.given[i] = c->dims[i][0] >= 0;
    for (int i = 0; i < TT_MAXIN && c->ints[i]; i++) {
        a.ints[c->nin + i] = c->ints[i];
        a.given[c->nin + i] = true;
        a.nin++;
    }
    b->n.attr = attr;
    return b->n.op->read ? b->n.op->read(&a, attr, err) : TT_OK;
}

static void set_stats(struct bench *b, enum gradstats stats, int64_t C)
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
    b->n.exact = c->exact;
    for (int i = 0; i < c->nin; i++) {
        struct tt_tensor *t = &b->in[i];

        if (c->dims[i][0] < 0)
            continue;
        *t = (struct tt_tensor){.name = "operand", .ndim = (int)c->dims[i][0]};
        memcpy(t->dim, c->dims[i] + 1, sizeof t->dim);
        if (i == 0 || op->layout == TT_FOLLOWS || op->layout == TT_STRIDED)
            t->layout = layout;
        t->dtype = c->integers >> i & 1 ? TT_INTS : TT_FLOATS;
        t->x = floats(b, tt_len(t));
        t->g = (c->fixed | c->integers) >> i & 1 ? NULL : floats(b, tt_len(t));
        if (c->given[i])
            memcpy(t->x, c->given[i], sizeof(float) * (size_t)tt_len(t));
        else
            fill(t, c->values[i]);
        b->n.in[i] = t;
        b->n.constant[i] = c->given[i] != NULL;
    }
    if (!strcmp(op->name, "tt.Layout"))
        b->out.layout = layout == TT_LAST ? TT_PLAIN : TT_LAST;
    if (c->stats)
        set_stats(b, c->stats, c->dims[0][2]);
    assert_int_equal(read_case(b, c, &err), TT_OK);
    if (op->shape(&b->n, &err) != TT_OK)
        fail_msg("%s (%s): %s", op->name, c->what, err.msg);
    b->out.x = unwritten(b, tt_len(&b->out));
    b->out.g = floats(b, tt_len(&b->out));
    b->dy = floats(b, tt_len(&b->out));
    for (int64_t k = 0; k < tt_len(&b->out); k++)
        b->dy[k] = draw();
    for (int i = 0; i < TT_MAXSAVED; i++)
        b->n.saved[i] = unwritten(b, b->n.nsaved[i]);
    b->n.kept = floats(b, b->n.nkept + b->n.nkept_back);
    b->n.scratch = unwritten(b, b->n.nscratch);
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

double tt_gradcheck(const struct tt_op *op, const struct gradcase *c, enum tt_layout layout,
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

            b.in[i].x[k] = x + (float)GRAD_H;
            up = value(&b);
            b.in[i].x[k] = x - (float)GRAD_H;
            down = value(&b);
            b.in[i].x[k] = x;
            want = (up - down) / (2 * GRAD_H);
            e = fabs(got - want) / (1 + fabs(want));
            if (!(e <= worst))
                worst = e; // NaN too
        }
    tt_arena_release(&b.arena);
    return worst;
}
