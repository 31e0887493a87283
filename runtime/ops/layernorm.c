// SPDX-License-Identifier: Apache-2.0
/*
 * LayerNormalization: each row, which is all dimensions from axis on, has its own statistics
 *   y = (x - mean) / sqrt(var + epsilon) * scale + bias
 * Gradients of scale and bias are summed in blocks of rows that never depend on threads.  For
 * backward the normalised x is kept in half the memory (runtime/half.h) instead of x, unless the
 * node is exact.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/half.h"
#include "runtime/op.h"
#include "runtime/ops/patterns.h"
#include "runtime/rows.h"

#define BLOCK 64   // rows whose gradients are summed together
#define PIECE 4096 // elements of a row a turn

struct attr {
    int64_t axis;
    float epsilon;
    int result; // 0: y, 1: the rows' means, 2: their 1 / sqrt(var + epsilon)
};

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *l = (struct attr *)attr;
    int64_t stash = tt_attr_int(a, "stash_type", 1);

    l->result = a->result;
    l->axis = tt_attr_int(a, "axis", -1);
    l->epsilon = tt_attr_float(a, "epsilon", 1e-5f);
    if (stash != 1)
        return tt_fail(err, TT_EUNSUPPORTED, "attribute 'stash_type' is %lld, want 1 (float)",
                       (long long)stash);
    return l->epsilon >= 0 ? TT_OK : tt_fail(err, TT_ERANGE, "epsilon is %g", (double)l->epsilon);
}

bool tt_layernorm_is_within(const void *attr, int n, int first)
{
    const struct attr *l = (const struct attr *)attr;

    return !l->result && l->axis + (l->axis < 0 ? n : 0) >= first;
}

struct size {
    int64_t rows, len; // of rows
};

static struct size measure(const struct tt_node *n)
{
    const struct tt_tensor *x = n->in[0];
    int64_t axis = ((const struct attr *)n->attr)->axis;
    struct size s = {1, 1};

    axis += axis < 0 ? x->ndim : 0;
    for (int i = 0; i < x->ndim; i++)
        *(i < axis ? &s.rows : &s.len) *= x->dim[i];
    return s;
}

/* Is the normalised x kept, and not x?  A mean and a deviation do without. */
static bool is_kept(const struct tt_node *n)
{
    return !n->exact && !((const struct attr *)n->attr)->result;
}

/* saved[0]: mean and 1 / sqrt(var + epsilon) of each row; saved[1]: the normalised x; scratch: the
 * blocks' dgamma and dbeta */
static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct attr *l = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    struct size s;

    if (l->axis < -x->ndim || l->axis >= x->ndim || !tt_len(x))
        return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                       (long long)l->axis, x->name, x->ndim);
    s = measure(n);
    for (int i = 1; i < 3; i++)
        if (n->in[i] && tt_len(n->in[i]) != s.len)
            return tt_fail(err, TT_ESHAPE, "%s '%s' has %lld elements, a row %lld",
                           i == 1 ? "scale" : "bias", n->in[i]->name, (long long)tt_len(n->in[i]),
                           (long long)s.len);
    n->out->ndim = x->ndim;
    memcpy(n->out->dim, x->dim, sizeof x->dim);
    for (int i = (int)(l->axis < 0 ? l->axis + x->ndim : l->axis); l->result && i < x->ndim; i++)
        n->out->dim[i] = 1;
    n->nsaved[0] = 2 * s.rows;
    n->nsaved[1] = is_kept(n) ? s.rows * TT_HALF_FLOATS(s.len) : 0;
    n->nscratch = (s.rows + BLOCK - 1) / BLOCK * 2 * s.len;
    return TT_OK;
}

static uint16_t *kept_row(const struct tt_node *n, const struct size *s, int64_t r)
{
    return (uint16_t *)(void *)(n->saved[1] + r * TT_HALF_FLOATS(s->len));
}

/* (x - mean) rstd as halves */
static void keep_row(uint16_t *to, const float *x, float mean, float rstd, int64_t len)
{
    for (int64_t at = 0; at < len; at += PIECE) {
        int64_t m = len - at < PIECE ? len - at : PIECE;
        float hat[PIECE];

        tt_rows()->affine(hat, x + at, rstd, -mean * rstd, m);
        tt_half_of(to + at, hat, m);
    }
}

static void forward(struct tt_node *n)
{
    const struct tt_rows *k = tt_rows();
    const float *gamma = n->in[1]->x, *beta = n->in[2] ? n->in[2]->x : NULL;
    const struct attr *a = (const struct attr *)n->attr;
    double eps = (double)a->epsilon;
    struct size s = measure(n);

#pragma omp parallel for schedule(static) if (s.rows * s.len > 16384)
    for (int64_t r = 0; r < s.rows; r++) {
        const float *x = n->in[0]->x + r * s.len;
        double sum, dev;
        float mean, rstd;

        k->stats(x, s.len, &sum, &dev);
        mean = (float)(sum / (double)s.len);
        rstd = (float)(1 / sqrt(dev / (double)s.len + eps));
        if (n->saved[0]) {
            n->saved[0][r] = mean;
            n->saved[0][s.rows + r] = rstd;
        }
        if (n->nsaved[1] && n->saved[1]) // before y, which may lie where x does
            keep_row(kept_row(n, &s, r), x, mean, rstd, s.len);
        if (a->result)
            n->out->x[r] = a->result == 1 ? mean : rstd;
        else
            k->norm(n->out->x + r * s.len, x, gamma, beta, mean, rstd, s.len);
    }
}

/* out (+)= the sum of the blocks' shares */
static void join(float *out, bool add, const float *share, int64_t blocks, int64_t len)
{
#pragma omp parallel for schedule(static) if (blocks * len > 65536)
    for (int64_t c = 0; c < len; c++) {
        double sum = add ? (double)out[c] : 0;

        for (int64_t b = 0; b < blocks; b++)
            sum += share[b * 2 * len + c];
        out[c] = (float)sum;
    }
}

/* d mean / dx = 1 / n, d rstd / dx = -rstd^3 (x - mean) / n; scale and bias have no part in them */
static void backward_stats(struct tt_node *n)
{
    bool of_mean = ((const struct attr *)n->attr)->result == 1;
    struct size s = measure(n);
    const float *mean = n->saved[0], *rstd = mean + s.rows;

    for (int i = 1; i < n->nin; i++)
        if (n->in[i] && n->in[i]->g && !n->add[i])
            memset(n->in[i]->g, 0, sizeof(float) * (size_t)s.len);
    for (int64_t r = 0; n->in[0]->g && r < s.rows; r++) {
        const float *x = n->in[0]->x + r * s.len;
        float *dx = n->in[0]->g + r * s.len, dy = n->out->g[r] / (float)s.len;

        for (int64_t i = 0; i < s.len; i++) {
            float d = of_mean ? dy : -dy * rstd[r] * rstd[r] * rstd[r] * (x[i] - mean[r]);

            dx[i] = n->add[0] ? dx[i] + d : d;
        }
    }
}

/* A piece of a row of x, less its mean: from x, or from what was kept.  *mean is what is still to
 * be taken off. */
static const float *read_piece(const struct tt_node *n, const struct size *s, int64_t r, int64_t at,
                               int64_t m, float room[PIECE], float *mean)
{
    *mean = n->saved[0][r];
    if (!n->nsaved[1])
        return n->in[0]->x + r * s->len + at;
    tt_half_read(room, kept_row(n, s, r) + at, m);
    tt_rows()->affine(room, room, 1 / n->saved[0][s->rows + r], 0, m);
    *mean = 0;
    return room;
}

/* One row: its part of dgamma and dbeta, where they are not NULL, and dx. */
static void backward_row(struct tt_node *n, const struct size *s, int64_t r, float *dgamma,
                         float *dbeta)
{
    const float *dy = n->out->g + r * s->len, *gamma = n->in[1]->x;
    float *dx = n->in[0]->g ? n->in[0]->g + r * s->len : NULL, rstd = n->saved[0][s->rows + r];
    float room[PIECE], mean;
    double s1 = 0, s2 = 0;

    for (int64_t at = 0; at < s->len; at += PIECE) {
        int64_t m = s->len - at < PIECE ? s->len - at : PIECE;
        const float *x = read_piece(n, s, r, at, m, room, &mean);
        double p, q;

        tt_rows()->norm_sums(dgamma ? dgamma + at : NULL, dbeta ? dbeta + at : NULL, dy + at, x,
                             gamma + at, mean, rstd, m, &p, &q);
        s1 += p;
        s2 += q;
    }
    for (int64_t at = 0; dx && at < s->len; at += PIECE) {
        int64_t m = s->len - at < PIECE ? s->len - at : PIECE;
        const float *x =
            s->len > PIECE || !n->nsaved[1] ? read_piece(n, s, r, at, m, room, &mean) : room;

        tt_rows()->norm_grad(dx + at, dy + at, x, gamma + at, mean, rstd,
                             (float)(s1 / (double)s->len), (float)(s2 / (double)s->len), m,
                             n->add[0]);
    }
}

/* With x^ = (x - mean) rstd and means over the row:
 * dx = rstd (g - mean(g) - x^ mean(g x^)), g = dy gamma; dgamma = sum dy x^; dbeta = sum dy */
static void backward(struct tt_node *n)
{
    struct size s = measure(n);
    float *dgamma = n->in[1]->g, *dbeta = n->in[2] ? n->in[2]->g : NULL;
    int64_t blocks = (s.rows + BLOCK - 1) / BLOCK;

    if (((const struct attr *)n->attr)->result) {
        backward_stats(n);
        return;
    }
#pragma omp parallel for schedule(static) if (s.rows * s.len > 16384)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t end = (b + 1) * BLOCK < s.rows ? (b + 1) * BLOCK : s.rows;
        float *share = n->scratch + b * 2 * s.len;

        if (dgamma || dbeta)
            memset(share, 0, sizeof *share * 2 * (size_t)s.len);
        for (int64_t r = b * BLOCK; r < end; r++)
            backward_row(n, &s, r, dgamma ? share : NULL, dbeta ? share + s.len : NULL);
    }
    if (dbeta)
        join(dbeta, n->add[2], n->scratch + s.len, blocks, s.len);
    if (dgamma)
        join(dgamma, n->add[1], n->scratch, blocks, s.len);
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    return ((wants[0] || wants[1]) && !is_kept(n) ? TT_READS_IN(0) : 0) |
           (wants[0] ? TT_READS_IN(1) : 0);
}

const struct tt_op tt_op_layernorm = {
    .name = "LayerNormalization",
    .min_in = 2,
    .max_in = 3,
    .results = 3,
    .opset = 17,
    .source = "Ba, Kiros and Hinton 2016; ONNX LayerNormalization-17",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_PLAIN,
    .inplace = true,
    .saves_back = true,
    .read = read_attr,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
};
