// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/normalise.h"

#include <math.h>
#include <stddef.h>

#define WORTH 65536 // elements from which on threads share the work

static int64_t chunks_of(int64_t rows)
{
    return (rows + TT_BN_CHUNK - 1) / TT_BN_CHUNK;
}

/* Rows of the chunk that begins at first. */
static int64_t chunk_rows(const struct tt_batchnorm *b, int64_t first)
{
    return b->rows - first < TT_BN_CHUNK ? b->rows - first : TT_BN_CHUNK;
}

/* Two doubles a channel and chunk, then four tables; all 8-byte aligned. */
int64_t tt_batchnorm_nscratch(int64_t rows, int64_t C)
{
    return 4 * C * chunks_of(rows) + 4 * tt_period(C);
}

static float *table(const struct tt_batchnorm *b, int i)
{
    return b->scratch + 4 * b->C * chunks_of(b->rows) + i * tt_period(b->C);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* The batch's mean and variance; the latter with n - 1 if asked for and possible. */
void tt_batchnorm_measure(const struct tt_batchnorm *b, const float *x)
{
    const struct tt_kernels *k = tt_kernels();
    struct tt_norm *s = b->stats;
    int64_t C = b->C, rows = b->rows, chunks = chunks_of(rows);
    double *sum = (double *)(void *)b->scratch, *dev = sum + chunks * C;
    double weight = s->unbiased && rows > 1 ? (double)rows - 1 : (double)rows;

    if (s->batch == 0 && !s->measure)
        return;
    s->rows = rows;
#pragma omp parallel for schedule(static) if (rows * C > WORTH)
    for (int64_t i = 0; i < chunks; i++)
        k->bn_stats(x + i * TT_BN_CHUNK * C, chunk_rows(b, i * TT_BN_CHUNK), C, sum + i * C,
                    dev + i * C);
    for (int64_t c = 0; c < C; c++) {
        double total = 0, mean, var = 0;

        for (int64_t i = 0; i < chunks; i++)
            total += sum[i * C + c];
        mean = total / (double)rows;
        for (int64_t i = 0; i < chunks; i++) {
            double m = (double)chunk_rows(b, i * TT_BN_CHUNK), off = sum[i * C + c] / m - mean;

            var += dev[i * C + c] + m * off * off;
        }
        s->batch_mean[c] = (float)mean;
        s->batch_var[c] = (float)(var / weight);
    }
}

struct tt_finish tt_batchnorm_tables(const struct tt_batchnorm *b)
{
    const struct tt_norm *s = b->stats;
    float *mean = b->saved, *rstd = mean + b->C, *scale = table(b, 0), *shift = table(b, 1);

    for (int64_t c = 0; c < b->C; c++) {
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
        rstd[c] = (float)(1 / sqrt(var + (double)b->epsilon));
        scale[c] = b->gamma[c] * rstd[c];
        shift[c] = b->beta[c] - mean[c] * scale[c];
    }
    tt_repeat_table(scale, b->C);
    tt_repeat_table(shift, b->C);
    return (struct tt_finish){.scale = scale, .shift = shift};
}

/* x^ as scale and shift of x */
static struct tt_finish make_hat_tables(const struct tt_batchnorm *b)
{
    const float *mean = b->saved, *rstd = mean + b->C;
    float *scale = table(b, 2), *shift = table(b, 3);

    for (int64_t c = 0; c < b->C; c++) {
        scale[c] = rstd[c];
        shift[c] = -mean[c] * rstd[c];
    }
    tt_repeat_table(scale, b->C);
    tt_repeat_table(shift, b->C);
    return (struct tt_finish){.scale = scale, .shift = shift};
}

void tt_batchnorm_apply(const struct tt_batchnorm *b, const struct tt_finish *tables, float *y,
                        const float *x, const struct tt_after *after)
{
    const struct tt_kernels *k = tt_kernels();
    struct tt_finish f = *tables, hat = {0};
    int64_t period = tt_period(b->C);

    if (b->hat)
        hat = make_hat_tables(b);
    f.clamp = after->clamp;
    f.low = after->low;
    f.high = after->high;
#pragma omp parallel for schedule(static) if (b->rows * b->C > WORTH)
    for (int64_t r = 0; r < b->rows; r += TT_BN_CHUNK) {
        int64_t first = r * b->C, n = chunk_rows(b, r) * b->C;

        if (b->hat) // before y, which may lie where x does
            k->bn_keep(b->hat + first, x + first, hat.scale, hat.shift, period, n);
        k->affine(y + first, x + first, after->sum ? after->sum + first : NULL, &f, period,
                  after->from, after->mask ? after->mask + first / 32 : NULL, n);
    }
}

/* ---- backward -------------------------------------------------------------------------------- */

/* s1 [chunk][C] = sum dy, s2 [chunk][C] = sum dy (x - mean), or sum dy x^ from hat; the first of
 * each, the total, which is of x^ in both cases */
static void sum_gradients(const struct tt_batchnorm *b, float *dy, const float *x,
                          const uint32_t *mask, const struct tt_batchnorm_grads *to, double *s1,
                          double *s2)
{
    const struct tt_kernels *k = tt_kernels();
    int64_t C = b->C, chunks = chunks_of(b->rows);

#pragma omp parallel for schedule(static) if (b->rows * C > WORTH)
    for (int64_t i = 0; i < chunks; i++) {
        int64_t first = i * TT_BN_CHUNK * C, m = chunk_rows(b, i * TT_BN_CHUNK);

        if (mask)
            k->mask_out(dy + first, mask + first / 32, m * C);
        if (to->dsum && to->dsum != dy)
            k->copy(to->dsum + first, dy + first, m * C, to->add_dsum);
        if (b->hat)
            k->bn_sums_kept(dy + first, b->hat + first, m, C, s1 + i * C, s2 + i * C);
        else
            k->bn_sums(dy + first, x + first, b->saved, m, C, s1 + i * C, s2 + i * C);
    }
    for (int64_t i = 1; i < chunks; i++)
        for (int64_t c = 0; c < C; c++) {
            s1[c] += s1[i * C + c];
            s2[c] += s2[i * C + c];
        }
    for (int64_t c = 0; c < C && !b->hat; c++)
        s2[c] *= b->saved[C + c];
}

/*
 * With x^ = (x - mean) rstd, S1 = sum dy, S2 = sum dy x^, R rows, R' of the variance (R or R - 1)
 * and w the batch's weight, when gradients flow through its statistics (else w = 0):
 *   dbeta = S1, dgamma = S2
 *   dx = gamma rstd (dy - w S1 / R - w (x - mean_b) rstd S2 / R')
 * which is A dy + B x + D of each channel, and A dy + B' x^ + D' with x = x^ / rstd + mean.
 */
static void set_slopes(const struct tt_batchnorm *b, const double *s1, const double *s2)
{
    const struct tt_norm *s = b->stats;
    const float *mean = b->saved, *rstd = mean + b->C;
    float *A = table(b, 0), *B = table(b, 1), *D = table(b, 2);
    double w = s->through ? (double)s->batch : 0, rows = (double)b->rows;
    double dof = s->unbiased && b->rows > 1 ? rows - 1 : rows;

    for (int64_t c = 0; c < b->C; c++) {
        double g = (double)b->gamma[c] * rstd[c];
        double slope = w != 0 ? w * g * rstd[c] * s2[c] / dof : 0;
        double unit = b->hat ? 1 / (double)rstd[c] : 1, origin = b->hat ? (double)mean[c] : 0;

        A[c] = (float)g;
        B[c] = (float)(-slope * unit);
        D[c] = w != 0 ? (float)(slope * (s->batch_mean[c] - origin) - w * g * s1[c] / rows) : 0;
    }
    tt_repeat_table(A, b->C);
    tt_repeat_table(B, b->C);
    tt_repeat_table(D, b->C);
}

void tt_batchnorm_backward(const struct tt_batchnorm *b, float *dy, const float *x,
                           const uint32_t *mask, const struct tt_batchnorm_grads *to)
{
    const struct tt_kernels *k = tt_kernels();
    int64_t C = b->C;
    double *s1 = (double *)(void *)b->scratch, *s2 = s1 + chunks_of(b->rows) * C;

    sum_gradients(b, dy, x, mask, to, s1, s2);
    for (int64_t c = 0; c < C; c++) {
        if (to->dbeta)
            to->dbeta[c] = (to->add_dbeta ? to->dbeta[c] : 0) + (float)s1[c];
        if (to->dgamma)
            to->dgamma[c] = (to->add_dgamma ? to->dgamma[c] : 0) + (float)s2[c];
    }
    if (!to->dx)
        return;
    set_slopes(b, s1, s2);
#pragma omp parallel for schedule(static) if (b->rows * C > WORTH)
    for (int64_t r = 0; r < b->rows; r += TT_BN_CHUNK) {
        int64_t first = r * C, n = chunk_rows(b, r) * C;

        if (b->hat)
            k->bn_grad_kept(to->dx + first, dy + first, b->hat + first, table(b, 0), table(b, 1),
                            table(b, 2), tt_period(C), n, to->add_dx);
        else
            k->bn_grad(to->dx + first, dy + first, x + first, table(b, 0), table(b, 1), table(b, 2),
                       tt_period(C), n, to->add_dx);
    }
}
