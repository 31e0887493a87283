// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_NORMALISE_H
#define TT_RUNTIME_OPS_NORMALISE_H

#include "runtime/kernels.h"
#include "runtime/op.h"

/*
 * Batch normalisation of x [rows, C] with a choice of statistics (runtime/op.h: struct tt_norm):
 *
 *   mean = prior mean0 + batch mean_b          y = gamma (x - mean) / sqrt(var + eps) + beta
 *   var  = prior var0  + batch var_b
 *
 * It is done in parts, so that who has a convolution before it or an activation behind can do them
 * with it.  The batch's statistics are taken in chunks of rows, each around its own mean, and
 * joined in double in a fixed order (Chan, Golub, LeVeque 1983): they do not depend on threads.
 */
struct tt_batchnorm_attr { // of a BatchNormalization node
    float epsilon;
};

struct tt_batchnorm {
    struct tt_norm *stats;
    int64_t rows, C;
    float epsilon;
    const float *gamma, *beta;
    uint16_t
        *hat; // [rows, C] x^ = (x - mean) / sqrt(var + epsilon) as binary16, for backward; or NULL
    float *saved;   // [2 C] mean and 1 / sqrt(var + epsilon), from forward to backward
    float *scratch; // of tt_batchnorm_nscratch() floats
};

/* What follows the normalisation of each element. */
struct tt_after {
    const float *sum; // added to it; NULL: nothing
    bool clamp;       // then clamped
    float low, high;
    float from;     // gradients pass from here to high
    uint32_t *mask; // [tt_mask_words(rows * C)] where they do; NULL: nobody will ask
};

int64_t tt_batchnorm_nscratch(int64_t rows, int64_t C);

/* The mean and variance of x, when stats ask for them. */
void tt_batchnorm_measure(const struct tt_batchnorm *b, const float *x);

/* Fill saved; the tables in scratch that y = scale x + shift has, for tt_kernels.affine(). */
struct tt_finish tt_batchnorm_tables(const struct tt_batchnorm *b);

/* y from x by these tables, and hat if it is asked for; y may be x. */
void tt_batchnorm_apply(const struct tt_batchnorm *b, const struct tt_finish *tables, float *y,
                        const float *x, const struct tt_after *after);

/* Where the gradients go; what is NULL is not wanted. */
struct tt_batchnorm_grads {
    float *dsum; // what was added; may be dy
    float *dgamma, *dbeta, *dx;
    bool add_dsum, add_dgamma, add_dbeta, add_dx;
};

/* All gradients from dy and hat, or from x (else NULL) when there is no hat.  mask: of tt_after,
 * and dy becomes 0 outside of it; or NULL. dx may be dy, unless dsum is. */
void tt_batchnorm_backward(const struct tt_batchnorm *b, float *dy, const float *x,
                           const uint32_t *mask, const struct tt_batchnorm_grads *to);

#endif
