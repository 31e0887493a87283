// SPDX-License-Identifier: Apache-2.0
/*
 * LayerNormalization: each row, which is all dimensions from axis on, has its own statistics
 *   y = (x - mean) / sqrt(var + epsilon) * scale + bias
 * Gradients of scale and bias are summed in blocks of rows that never depend on threads.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"
#include "runtime/rows.h"

#define BLOCK 64 // rows whose gradients are summed together

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

/* saved[0]: mean and 1 / sqrt(var + epsilon) of each row; scratch: the blocks' dgamma and dbeta */
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
    n->nscratch = (s.rows + BLOCK - 1) / BLOCK * 2 * s.len;
    return TT_OK;
}

static void forward(struct tt_node *n)
{
    const struct tt_rows *k = tt_rows();
    const float *gamma = n->in[1]->x, *beta = n->in[2] ? n->in[2]->x : NULL;
    const struct attr *a = (const struct attr *)n->attr;
    double eps = (double)a->epsilon;
    struct size s = measure(n);
    float *mean = n->saved[0], *rstd = mean + s.rows;

#pragma omp parallel for schedule(static) if (s.rows * s.len > 16384)
    for (int64_t r = 0; r < s.rows; r++) {
        const float *x = n->in[0]->x + r * s.len;
        double sum, dev;

        k->stats(x, s.len, &sum, &dev);
        mean[r] = (float)(sum / (double)s.len);
        rstd[r] = (float)(1 / sqrt(dev / (double)s.len + eps));
        if (a->result)
            n->out->x[r] = a->result == 1 ? mean[r] : rstd[r];
        else
            k->norm(n->out->x + r * s.len, x, gamma, beta, mean[r], rstd[r], s.len);
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

/* With x^ = (x - mean) rstd and means over the row:
 * dx = rstd (g - mean(g) - x^ mean(g x^)), g = dy gamma; dgamma = sum dy x^; dbeta = sum dy */
static void backward(struct tt_node *n)
{
    const struct tt_rows *k = tt_rows();
    struct size s = measure(n);
    const float *mean = n->saved[0], *rstd = mean + s.rows, *gamma = n->in[1]->x;
    float *dx = n->in[0]->g, *dgamma = n->in[1]->g, *dbeta = n->in[2] ? n->in[2]->g : NULL;
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
        for (int64_t r = b * BLOCK; r < end; r++) {
            const float *x = n->in[0]->x + r * s.len, *dy = n->out->g + r * s.len;
            double s1, s2;

            k->norm_sums(dgamma ? share : NULL, dbeta ? share + s.len : NULL, dy, x, gamma, mean[r],
                         rstd[r], s.len, &s1, &s2);
            if (dx)
                k->norm_grad(dx + r * s.len, dy, x, gamma, mean[r], rstd[r],
                             (float)(s1 / (double)s.len), (float)(s2 / (double)s.len), s.len,
                             n->add[0]);
        }
    }
    if (dbeta)
        join(dbeta, n->add[2], n->scratch + s.len, blocks, s.len);
    if (dgamma)
        join(dgamma, n->add[1], n->scratch, blocks, s.len);
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return (wants[0] || wants[1] ? TT_READS_IN(0) : 0) | (wants[0] ? TT_READS_IN(1) : 0);
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
    .read = read_attr,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
};
