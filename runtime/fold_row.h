// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_FOLD_ROW_H
#define TT_RUNTIME_FOLD_ROW_H

#include "runtime/fold.h"

/*
 * What the functions of the table of runtime/fold.c see: those that compute are in
 * runtime/fold_math.c, those that move elements in runtime/fold_move.c.
 */
struct tt_folding {
    struct tt_attrs *attrs;
    int nin; // at least the row's least; in[i] may be NULL from there on
    const struct tt_ints *const *in;
    struct tt_arena *arena;
    struct tt_ints *ret;
    struct tt_err *err;
};

struct tt_fold {
    const char *name;
    int min_in, max_in;
    enum tt_code (*run)(struct tt_folding *f);
};

/* ret = room for a result of that shape; fails with its size. */
TT_MUST_CHECK enum tt_code tt_fold_make(struct tt_folding *f, int ndim, const int64_t *dim);

/* *axis of ndim, negative ones counted from the end; fails when outside. */
TT_MUST_CHECK enum tt_code tt_fold_axis(struct tt_folding *f, int64_t axis, int ndim, int *ret);

/* The axes given as attribute "axes" (up to opset 12) or as operand i; *ret_n = -1: neither. */
TT_MUST_CHECK enum tt_code tt_fold_axes(struct tt_folding *f, int i, int64_t *ret, int64_t *ret_n);

/* The operand, or NULL when it was not given. */
static inline const struct tt_ints *tt_fold_in(const struct tt_folding *f, int i)
{
    return i < f->nin ? f->in[i] : NULL;
}

extern const struct tt_fold tt_fold_math[], tt_fold_moves[]; // end with a NULL name

#endif
