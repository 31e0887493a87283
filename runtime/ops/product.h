// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_PRODUCT_H
#define TT_RUNTIME_OPS_PRODUCT_H

#include "runtime/tensor.h"

#define TT_MAX_SIDE INT32_MAX // cblas counts in int

/* c [m, n] = scale a' b' + keep c, a' [m, k] and b' [k, n] being a and b, or their transposes */
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
