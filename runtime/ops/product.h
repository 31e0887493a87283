// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_PRODUCT_H
#define TT_RUNTIME_OPS_PRODUCT_H

#include "runtime/tensor.h"

/*
 * Matrix products, by the kernels of runtime/panels.h in threads of OpenMP; no BLAS, whose own
 * threads would wait for the same processors.  The right operand is packed in panels, block by
 * block, into a buffer on the thread's stack, whatever its order (Goto and van de Geijn 2008);
 * nothing is kept between calls, and the left one is read where it lies.  Threads share rows or
 * columns, whichever leaves less to do twice.  A sum is taken in blocks of its length alone, so
 * that results are the same bits for any number of threads, and for a row alone as among others.
 */
#define TT_MAX_SIDE INT32_MAX // elements of an operand

/* c[i, j] = sum[i, j] + bias[j] + scale (sum over l < k of a[i, l] b[l, j]), for i < m, j < n.
 * An operand's element is at i * its row + j * its col, of which one is 1. */
struct tt_product {
    int64_t m, n, k;
    const float *a, *b;
    int64_t a_row, a_col, b_row, b_col;
    float *c;
    int64_t c_row;
    const float *bias; // NULL: 0
    float scale;
    const float *sum; // lies as c does, and may be c; NULL: 0
};

/* In all threads, when it is large. */
void tt_product_run(const struct tt_product *p);

/* In the calling thread. */
void tt_product_here(const struct tt_product *p);

/* c [m, n] = scale a' b' + keep c, a' [m, k] and b' [k, n] being a and b, or their transposes;
 * keep is 0 or 1. */
void tt_product(float *c, const float *a, bool ta, const float *b, bool tb, int64_t m, int64_t n,
                int64_t k, float scale, float keep);

/* A dimension over which products repeat: its size, and how far apart in floats the matrices of
 * neighbours are; 0: they share one. */
struct tt_repeat {
    int64_t n, sc, sa, sb;
};

/* c (+)= a' b' for every index of r[nr]; where indices share a c, it becomes the sum over them, in
 * order.  Many small products are spread over threads, few large ones are spread inside. */
void tt_products(const struct tt_repeat *r, int nr, float *c, const float *a, bool ta,
                 const float *b, bool tb, int64_t m, int64_t n, int64_t k, bool add);

#endif
