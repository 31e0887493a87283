// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_KERNELS_H
#define TT_RUNTIME_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/kernels_conv.h"
#include "runtime/kernels_table.h"

/*
 * The inner loops that are not BLAS's: each works on one thread's share of plain arrays.
 * They are compiled three times, for AVX-512, for AVX2 and for the baseline, and the
 * processor chooses the row (not target_clones: its resolvers run before the sanitizers do).
 */
#define TT_NR       16  // columns of a tile; packed weights come in panels of so many
#define TT_MAX_MR   14  // rows of the widest tile
#define TT_BN_CHUNK 512 // rows whose statistics are taken together; never depends on threads

/* What becomes of a product before it is stored: y = clamp(scale[j] product + shift[j] (+ y)). */
struct tt_finish {
    const float *scale, *shift; // one for each column; NULL: 1, 0
    bool add;                   // to what is in y
    bool clamp;                 // to low..high; NaN passes through
    float low, high;
};

struct tt_kernels {
    const char *name;
    int mr; // rows of a tile

    /* One tile of an implicit matrix product: for r < mr, j < nr
     *   c[r][j] = sum over t < taps, k < K of a[t * MR + r][k] b[(t K + k) NR + j], finished;
     * f NULL: as it is.  a has MR pointers a tap, those from mr on valid to read. */
    void (*tile)(float *const *c, int mr, int nr, const float *const *a, int taps, int64_t K,
                 const float *b, const struct tt_finish *f);

    /* y[p * y_step + c] = sum over t < taps of x[p * x_step + tap[t][0] + c] w[tap[t][1] + c],
     * finished, for p < pixels, c < C. */
    void (*depthwise)(float *y, int64_t y_step, const float *x, int64_t x_step, int64_t pixels,
                      const int64_t (*tap)[2], int taps, const float *w, int64_t C,
                      const struct tt_finish *f);

    /* The same for a row of neighbours, each c < C. */
    void (*depthwise_row)(const struct tt_depthwise_row *r, int64_t C, const struct tt_finish *f);

    /* Winograd's F(4x4, 3x3), runtime/ops/winograd.h; C a multiple of 16.
     * weights: u[i * step + k * 16 + n], i < 36, from the kernels at w + k * k_step + n * n_step,
     * k < K, n < 16, 3x3 each, turned by half or not.
     * in: v[i * step + t * tile + c], i < 36, for tiles neighbours t <= TT_WINO_RUN of a row.
     * product: m [rows, 16] = v [rows, K] u [K, 16], rows of m wide apart.
     * out: rows x cols pixels y[h * row + w * pixel + c], finished, from m[i * step + t * tile +
     * c], i < 36, of the (cols + 3) / 4 tiles t of a row; rows <= 4. */
    void (*winograd_weights)(float *u, int64_t step, const float *w, int64_t K, int64_t k_step,
                             int64_t n_step, bool turned);
    void (*winograd_in)(float *v, int64_t step, int64_t tile, const struct tt_winograd_band *b,
                        int tiles, int64_t C);
    void (*winograd_product)(float *m, int64_t wide, const float *v, const float *u, int64_t rows,
                             int64_t K);
    void (*winograd_out)(float *y, int64_t row, int64_t pixel, int rows, int cols, const float *m,
                         int64_t step, int64_t tile, int64_t C, const struct tt_finish *f);

    /* x [R, C]: sum[c] = sum of x, dev[c] = sum of (x - mean of these R rows)^2; R <= TT_BN_CHUNK
     */
    void (*bn_stats)(const float *x, int64_t R, int64_t C, double *sum, double *dev);
    /* y = finish of x, elementwise, with sum (NULL: nothing) added in place of what is in y.
     * f's tables are of period elements, a multiple of TT_PERIOD, and begin again behind it; NULL:
     * 1, 0.  mask, when not NULL: which elements were from `from` to f->high before they were
     * clamped, for mask_out(). */
    void (*affine)(float *y, const float *x, const float *sum, const struct tt_finish *f,
                   int64_t period, float from, uint32_t *mask, int64_t n);
    /* x = 0 where the mask that affine() made of as many elements is not set */
    void (*mask_out)(float *x, const uint32_t *mask, int64_t n);
    /* s1[c] = sum of dy, s2[c] = sum of dy (x - mean[c]); R <= TT_BN_CHUNK */
    void (*bn_sums)(const float *dy, const float *x, const float *mean, int64_t R, int64_t C,
                    double *s1, double *s2);
    /* dx (+)= a dy + b x + d, the three with a period as affine()'s */
    void (*bn_grad)(float *dx, const float *dy, const float *x, const float *a, const float *b,
                    const float *d, int64_t period, int64_t n, bool add);

    /* x^ = scale x + shift as binary16 (runtime/half.h), the tables with a period as affine()'s */
    void (*bn_keep)(uint16_t *hat, const float *x, const float *scale, const float *shift,
                    int64_t period, int64_t n);
    /* bn_sums() and bn_grad() with that for x, and no mean */
    void (*bn_sums_kept)(const float *dy, const uint16_t *hat, int64_t R, int64_t C, double *s1,
                         double *s2);
    void (*bn_grad_kept)(float *dx, const float *dy, const uint16_t *hat, const float *a,
                         const float *b, const float *d, int64_t period, int64_t n, bool add);

    /* where x > y, or x is NaN: y = x, won = at; won NULL: only y */
    void (*largest)(float *y, int32_t *won, const float *x, int32_t at, int64_t n);
    void (*relu)(float *y, const float *x, int64_t n);
    void (*relu_grad)(float *dx, const float *dy, const float *y, int64_t n, bool add);
    void (*sum2)(float *y, const float *a, const float *b, int64_t n); // y = a + b
    void (*copy)(float *y, const float *x, int64_t n, bool add);       // y (+)= x
};

/* The row for this processor. */
const struct tt_kernels *tt_kernels(void);

/* Every row that this processor can run, for the tests; ends with NULL. */
const struct tt_kernels *const *tt_kernels_all(void);

#endif
