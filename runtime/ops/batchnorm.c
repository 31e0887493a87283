// SPDX-License-Identifier: Apache-2.0
/*
 * Batch normalisation with a choice of statistics (runtime/op.h: struct tt_norm):
 *
 *   mean = prior mean0 + batch mean_b          y = gamma (x - mean) / sqrt(var + eps) + beta
 *   var  = prior var0  + batch var_b
 *
 * The batch's statistics are taken in chunks of rows, each around its own mean, and joined in
 * double in a fixed order (Chan, Golub, LeVeque 1983), so that they do not depend on threads.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/kernels.h"
#include "runtime/op.h"

struct attr {
    float epsilon;
};

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *b = (struct attr *)attr;

    b->epsilon = tt_attr_float(a, "epsilon", 1e-5f);
    (void)tt_attr_float(a, "momentum", 0.9f); // of training; who adapts says his own
    if (tt_attr_int(a, "training_mode", 0))
        return tt_fail(err, TT_EUNSUPPORTED,
                       "exported in training mode; export with model.eval(), so that the running "
                       "statistics are used");
    if (a->opset < 7 && !tt_attr_int(a, "is_test", 0))
        return tt_fail(err, TT_EUNSUPPORTED, "is_test is not 1: exported in training mode");
    (void)tt_attr_int(a, "spatial", 1);
    return b->epsilon >= 0 ? TT_OK : tt_fail(err, TT_ERANGE, "epsilon is %g", (double)b->epsilon);
}

static int64_t rows_of(const struct tt_node *n)
{
    int64_t len = tt_len(n->in[0]), C = n->in[0]->dim[1];

    return C ? len / C : 0;
}

static int64_t chunks_of(int64_t rows)
{
    return (rows + TT_BN_CHUNK - 1) / TT_BN_CHUNK;
}

/* saved[0]: mean, 1 / sqrt(var + eps), the largest scratch of the passes */
static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *x = n->in[0];
    static const char *const what[] = {"input", "scale", "bias", "mean", "variance"};

    if (x->ndim < 2 || tt_len(x) < 1)
        return tt_fail(err, TT_ESHAPE, "input '%s' has %d dimensions, want 2 and more, not empty",
                       x->name, x->ndim);
    for (int i = 1; i < 5; i++)
        if (n->in[i]->ndim != 1 || n->in[i]->dim[0] != x->dim[1])
            return tt_fail(err, TT_ESHAPE, "%s '%s' does not have the input's %lld channels",
                           what[i], n->in[i]->name, (long long)x->dim[1]);
    n->out->ndim = x->ndim;
    memcpy(n->out->dim, x->dim, sizeof x->dim);
    n->nsaved[0] = 2 * x->dim[1];
    /* two doubles a channel and chunk, then five floats a channel; all 8-byte aligned */
    n->nscratch = 4 * x->dim[1] * chunks_of(rows_of(n)) + 6 * x->dim[1];
    return TT_OK;
}

/* The batch's mean and variance; the latter with n - 1 if asked for and possible. */
static void measure(struct tt_node *n)
{
    const struct tt_kernels *k = tt_kernels();
    int64_t C = n->in[0]->dim[1], rows = rows_of(n), chunks = chunks_of(rows);
    double *sum = (double *)(void *)n->scratch, *dev = sum + chunks * C;
    double weight = n->norm->unbiased && rows > 1 ? (double)rows - 1 : (double)rows;

    n->norm->rows = rows;
#pragma omp parallel for schedule(static) if (rows * C > 65536)
    for (int64_t i = 0; i < chunks; i++) {
        int64_t first = i * TT_BN_CHUNK;
        int64_t m = rows - first < TT_BN_CHUNK ? rows - first : TT_BN_CHUNK;

        k->bn_stats(n->in[0]->x + first * C, m, C, sum + i * C, dev + i * C);
    }
    for (int64_t c = 0; c < C; c++) {
        double total = 0, mean, var = 0;

        for (int64_t i = 0; i < chunks; i++)
            total += sum[i * C + c];
        mean = total / (double)rows;
        for (int64_t i = 0; i < chunks; i++) {
            int64_t left = rows - i * TT_BN_CHUNK;
            double m = (double)(left < TT_BN_CHUNK ? left : TT_BN_CHUNK);
            double off = sum[i * C + c] / m - mean;

            var += dev[i * C + c] + m * off * off;
        }
        n->norm->batch_mean[c] = (float)mean;
        n->norm->batch_var[c] = (float)(var / weight);
    }
}

static void forward(struct tt_node *n)
{
    const struct tt_norm *s = n->norm;
    const float *gamma = n->in[1]->x, *beta = n->in[2]->x;
    float eps = ((const struct attr *)n->attr)->epsilon;
    int64_t C = n->in[0]->dim[1], rows = rows_of(n);
    float *mean = n->saved[0], *rstd = mean + C, *scale = n->scratch, *shift = scale + C;

    if (s->batch != 0 || s->measure)
        measure(n);
    for (int64_t c = 0; c < C; c++) {
        double var = 0, mu = 0;

        if (s->prior != 0) {
            mu = (double)s->prior * s->mean0[c];
            var = (double)s->prior * s->var0[c];
        }
        if (s->batch != 0) {
            mu += (double)s->batch * s->batch_mean[c];
            var += (double)s->batch * s->batch_var[c];
        }
        mean[c] = (float)mu;
        rstd[c] = (float)(1 / sqrt(var + (double)eps));
        scale[c] = gamma[c] * rstd[c];
        shift[c] = beta[c] - mean[c] * scale[c];
    }
#pragma omp parallel for schedule(static) if (rows * C > 65536)
    for (int64_t r = 0; r < rows; r += TT_BN_CHUNK)
        tt_kernels()->bn_apply(n->out->x + r * C, n->in[0]->x + r * C, scale, shift,
                               rows - r < TT_BN_CHUNK ? rows - r : TT_BN_CHUNK, C);
}

/* s1 [C] = sum dy, s2 [C] = sum dy (x - mean) */
static void sum_gradients(struct tt_node *n, double *s1, double *s2)
{
    const struct tt_kernels *k = tt_kernels();
    int64_t C = n->in[0]->dim[1], rows = rows_of(n), chunks = chunks_of(rows);

#pragma omp parallel for schedule(static) if (rows * C > 65536)
    for (int64_t i = 0; i < chunks; i++) {
        int64_t first = i * TT_BN_CHUNK;
        int64_t m = rows - first < TT_BN_CHUNK ? rows - first : TT_BN_CHUNK;

        k->bn_sums(n->out->g + first * C, n->in[0]->x + first * C, n->saved[0], m, C, s1 + i * C,
                   s2 + i * C);
    }
    for (int64_t i = 1; i < chunks; i++)
        for (int64_t c = 0; c < C; c++) {
            s1[c] += s1[i * C + c];
            s2[c] += s2[i * C + c];
        }
}

/*
 * With x^ = (x - mean) rstd, S1 = sum dy, S2 = sum dy x^, R rows, R' of the variance (R or R - 1)
 * and b the batch's weight, when gradients flow through its statistics (else b = 0):
 *   dbeta = S1, dgamma = S2
 *   dx = gamma rstd (dy - b S1 / R - b (x - mean_b) rstd S2 / R')
 */
static void backward(struct tt_node *n)
{
    const struct tt_norm *s = n->norm;
    int64_t C = n->in[0]->dim[1], rows = rows_of(n), chunks = chunks_of(rows);
    double *s1 = (double *)(void *)n->scratch, *s2 = s1 + chunks * C;
    float *a = n->scratch + 4 * chunks * C, *b = a + C, *d = b + C;
    const float *mean = n->saved[0], *rstd = mean + C, *gamma = n->in[1]->x;
    double batch = s->through ? (double)s->batch : 0;
    double dof = s->unbiased && rows > 1 ? (double)rows - 1 : (double)rows;
    float *dgamma = n->in[1]->g, *dbeta = n->in[2]->g, *dx = n->in[0]->g;

    sum_gradients(n, s1, s2);
    for (int64_t c = 0; c < C; c++) {
        double g = (double)gamma[c] * rstd[c], x2 = s2[c] * rstd[c], slope;

        if (dbeta)
            dbeta[c] = (n->add[2] ? dbeta[c] : 0) + (float)s1[c];
        if (dgamma)
            dgamma[c] = (n->add[1] ? dgamma[c] : 0) + (float)x2;
        slope = batch != 0 ? batch * g * rstd[c] * x2 / dof : 0;
        a[c] = (float)g;
        b[c] = (float)-slope;
        d[c] =
            batch != 0 ? (float)(slope * s->batch_mean[c] - batch * g * s1[c] / (double)rows) : 0;
    }
    if (!dx)
        return;
#pragma omp parallel for schedule(static) if (rows * C > 65536)
    for (int64_t r = 0; r < rows; r += TT_BN_CHUNK)
        tt_kernels()->bn_grad(dx + r * C, n->out->g + r * C, n->in[0]->x + r * C, a, b, d,
                              rows - r < TT_BN_CHUNK ? rows - r : TT_BN_CHUNK, C, n->add[0]);
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_IN(0);
}

const struct tt_op tt_op_batchnorm = {
    .name = "BatchNormalization",
    .min_in = 5,
    .max_in = 5,
    .opset = 6,
    .source = "Ioffe and Szegedy 2015, algorithm 1; ONNX BatchNormalization-15",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_LAST,
    .norm = true,
    .read = read_attr,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
};
