// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_ROWS_H
#define TT_RUNTIME_ROWS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The inner loops of normalisations over contiguous values, compiled as those of
 * runtime/kernels.h are: once for each kind of processor, which chooses.  Sums are of at most
 * 4096 values in float, joined in double in a fixed order.
 */
struct tt_rows {
    const char *name;

    /* sum = sum of x, dev = sum of (x - mean of these n)^2 */
    void (*stats)(const float *x, int64_t n, double *sum, double *dev);
    /* s1 = sum of dy, s2 = sum of dy (x - mean) */
    void (*sums)(const float *dy, const float *x, float mean, int64_t n, double *s1, double *s2);
    /* y = a x + b */
    void (*affine)(float *y, const float *x, float a, float b, int64_t n);
    /* dx (+)= a dy + b x + d */
    void (*grad)(float *dx, const float *dy, const float *x, float a, float b, float d, int64_t n,
                 bool add);

    /* y = (x - mean) rstd gamma + beta; beta may be NULL: 0 */
    void (*norm)(float *y, const float *x, const float *gamma, const float *beta, float mean,
                 float rstd, int64_t n);
    /* With x^ = (x - mean) rstd: s1 = sum of dy gamma, s2 = sum of dy gamma x^;
     * dgamma += dy x^ and dbeta += dy, where they are not NULL */
    void (*norm_sums)(float *dgamma, float *dbeta, const float *dy, const float *x,
                      const float *gamma, float mean, float rstd, int64_t n, double *s1,
                      double *s2);
    /* dx (+)= rstd (dy gamma - m1 - x^ m2) */
    void (*norm_grad)(float *dx, const float *dy, const float *x, const float *gamma, float mean,
                      float rstd, float m1, float m2, int64_t n, bool add);
};

/* The row for this processor. */
const struct tt_rows *tt_rows(void);

/* Every row that this processor can run, for the tests; ends with NULL. */
const struct tt_rows *const *tt_rows_all(void);

#endif
