// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_FOLD_H
#define TT_RUNTIME_FOLD_H

#include "runtime/attr.h"

/*
 * The arithmetic of integers that exporters write between a Shape and a Reshape, done once when
 * a model is read.  A value is affine in the batch (a + b * batch); what would not be, as a
 * product of two batches, is an error.  Booleans are 0 and 1.
 *
 * An operator is a row of a table (runtime/fold.c): ONNX's name, how many operands, a function.
 */
struct tt_fold;

#define TT_FOLD_BATCH "depends on the batch in a way that cannot be folded"

/* The row of that ONNX operator, or NULL: it is not one of integers. */
const struct tt_fold *tt_fold_find(const char *op);

/* Apply it to nin operands (NULL: an optional one that is not given); a holds the attributes.
 * The result's values lie in arena, or are an operand's. */
TT_MUST_CHECK enum tt_code tt_fold_run(const struct tt_fold *f, struct tt_attrs *a, int nin,
                                       const struct tt_ints *const *in, struct tt_arena *arena,
                                       struct tt_ints *ret, struct tt_err *err);

/* All 0, in arena.  False: out of memory, more than TT_FOLD_MAX elements, or none in a shape
 * that is not a list. */
bool tt_ints_new(struct tt_arena *arena, int ndim, const int64_t *dim, struct tt_ints *ret);

/* Fail, saying TT_FOLD_BATCH of what, unless no element depends on the batch. */
TT_MUST_CHECK enum tt_code tt_ints_fixed(const struct tt_ints *v, const char *what,
                                         struct tt_err *err);

#endif
