// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_POINTWISE_H
#define TT_RUNTIME_POINTWISE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The inner loops of operators that work element by element.  Each is a row of
 * runtime/pointwise.def: what it computes and its derivative.  They are compiled as those of
 * runtime/kernels.h are, once for each kind of processor.
 */
enum tt_unary {
#define UNARY(id, ...)      TT_UNARY_##id,
#define UNARY_FLAT(id, ...) TT_UNARY_##id,
#define BINARY(...)
#define BINARY_FLAT(...)
#include "runtime/pointwise.def"
#undef UNARY
#undef UNARY_FLAT
#undef BINARY
#undef BINARY_FLAT
    TT_NUNARY
};

enum tt_binary {
#define UNARY(...)
#define UNARY_FLAT(...)
#define BINARY(id, ...)      TT_BINARY_##id,
#define BINARY_FLAT(id, ...) TT_BINARY_##id,
#include "runtime/pointwise.def"
#undef UNARY
#undef UNARY_FLAT
#undef BINARY
#undef BINARY_FLAT
    TT_NBINARY
};

struct tt_unary_row {
    unsigned reads; // what slope reads, as struct tt_op has it
    /* y = f(x); y may be x */
    void (*y)(float *y, const float *x, int64_t n, float a, float b);
    /* dx = dy f'(x); dx may be dy; NULL: 0 */
    void (*slope)(float *dx, const float *dy, const float *x, const float *y, int64_t n, float a,
                  float b);
    /* y = f(x) and slope = f'(x), which overlaps neither; NULL: no operator keeps slopes */
    void (*both)(float *y, float *slope, const float *x, int64_t n);
};

/* a[i sa], b[i sb]: a stride of 0 repeats one number. */
struct tt_binary_row {
    unsigned reads[2]; // what each slope reads
    void (*y)(float *y, const float *a, int64_t sa, const float *b, int64_t sb, int64_t n);
    /* d = dy d y / d operand; d may be dy; NULL: 0 */
    void (*slope[2])(float *d, const float *dy, const float *a, int64_t sa, const float *b,
                     int64_t sb, int64_t n);
};

struct tt_pointwise {
    const char *name;
    struct tt_unary_row unary[TT_NUNARY];
    struct tt_binary_row binary[TT_NBINARY];
    /* y = c != 0 ? a : b; each with a stride */
    void (*where)(float *y, const float *c, int64_t sc, const float *a, int64_t sa, const float *b,
                  int64_t sb, int64_t n);
    /* d = (c != 0) == side ? dy : 0 */
    void (*where_slope)(float *d, const float *dy, const float *c, int64_t sc, bool side,
                        int64_t n);
    /* y = exp(x - less); returns their sum */
    double (*exp_sum)(float *y, const float *x, float less, int64_t n);
    /* The largest of n >= 1; NaN counts only when it is first */
    float (*largest)(const float *x, int64_t n);
    /* dx (+)= y (dy - sum y dy) */
    void (*softmax_grad)(float *dx, const float *y, const float *dy, int64_t n, bool add);
};

/* The loops for this processor. */
const struct tt_pointwise *tt_pointwise(void);

/* All that this processor can run, for the tests; ends with NULL. */
const struct tt_pointwise *const *tt_pointwise_all(void);

#endif
