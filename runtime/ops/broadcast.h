// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_BROADCAST_H
#define TT_RUNTIME_OPS_BROADCAST_H

#include "runtime/op.h"

/*
 * Element-by-element work over operands of unlike shapes, by NumPy's rules and in any layout.  The
 * result is cut into lines, along which it is contiguous and every operand has one stride, which
 * is 0 where it is broadcast.  Neighbouring dimensions are joined, so that operands of one shape
 * are one line.  Work is split between threads in pieces that do not depend on their number.
 */
#define TT_LINE_OPERANDS (TT_MAXIN + 1) // [0] is the result

struct tt_lines {
    int n, noperands;
    int64_t dim[TT_MAXDIM]; // outside of a line, outermost first
    int64_t stride[TT_MAXDIM][TT_LINE_OPERANDS];
    int64_t count, len; // lines, elements of one
    int64_t step[TT_LINE_OPERANDS];
};

/* The shape of the result of all operands of n.  from: the result's dimension that operand 1's
 * first is (before opset 7), or -1: dimensions are aligned at the end. */
TT_MUST_CHECK enum tt_code tt_broadcast_shape(struct tt_node *n, int from, struct tt_err *err);

/* n's result and operands; those of its operands that are not given have stride 0. */
void tt_lines_make(struct tt_lines *l, const struct tt_node *n, int from);

/* The lines of x, as [0], beside a tensor of fewer elements, as [1], whose stride along x's
 * dimension i is stride[i]: 0 where x is summed over. */
void tt_lines_fold(struct tt_lines *l, const struct tt_tensor *x, const int64_t *stride);

/* Where line i begins in each operand. */
void tt_line_at(const struct tt_lines *l, int64_t i, int64_t *at);

/* n elements of a line: operand i's first is at[i]. */
typedef void tt_line(void *context, const int64_t *at, int64_t n);

void tt_lines_each(const struct tt_lines *l, tt_line *line, void *context);

/* d = the gradient of n elements of a line, before what was broadcast is summed over.  d may be
 * what lies at the result's gradient. */
typedef void tt_slope(void *context, float *d, const int64_t *at, int64_t n);

/* Operand k's gradient: g (+)= sums of slope.  scratch: tt_sum_scratch() floats. */
void tt_lines_sum(const struct tt_lines *l, int k, float *g, bool add, float *scratch,
                  tt_slope *slope, void *context);

/* Floats that tt_lines_sum() needs for the operands of n, whose result's shape is known. */
int64_t tt_sum_scratch(const struct tt_node *n);

/* The same for a sum of many elements to few. */
int64_t tt_fold_scratch(int64_t many, int64_t few);

#endif
