// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_RESAMPLE_H
#define TT_RUNTIME_OPS_RESAMPLE_H

#include "runtime/op.h"

/*
 * A tensor whose values are weighted sums of another's along each axis in turn: what Resize and
 * the padding modes that repeat values are.  An axis has a table: result j is the sum over its
 * taps of w[j][t] x[at[j][t]]; at -1: nothing.  Layouts of both are equal, and any.
 */
struct tt_axis {
    int64_t from, to; // elements
    int taps;         // of each of the result's; 0: the axis is as it was
    float *w;         // [to][taps]
    int32_t *at;      // [to][taps]
};

/* Floats of scratch for tables and intermediate results, given each axis's from, to and taps. */
int64_t tt_resample_scratch(const struct tt_axis *a, int ndim);

/* Let the tables lie in scratch, for the caller to fill. */
void tt_resample_tables(struct tt_axis *a, int ndim, float *scratch);

/* The result's values from operand 0's; or operand 0's gradient from the result's. */
void tt_resample_forward(struct tt_node *n, const struct tt_axis *a);
void tt_resample_backward(struct tt_node *n, const struct tt_axis *a);

#endif
