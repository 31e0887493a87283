// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_FUSE_COMMON_H
#define TT_RUNTIME_FUSE_COMMON_H

#include "runtime/fuse.h"

/* Inside of fuse.c and its other files: what they share. */
struct tt_fusing {
    struct tt_graph *g;
    const struct tt_probe *probes;
    struct tt_arena *arena;
    struct tt_err *err;
};

/* The node of that operator which makes a value, or NULL. */
const struct tt_gnode *tt_made_by(const struct tt_fusing *f, int value, const char *op);

/* The number that a value always is; false: it is none. */
bool tt_fuse_number(const struct tt_fusing *f, int value, float *ret);

/* How often each value is used by nodes that the outputs need, and as an output; in f's arena. */
TT_MUST_CHECK enum tt_code tt_fuse_uses(const struct tt_fusing *f, int **ret);

/* The attr of a node of op, of a's nin, list and ints. */
TT_MUST_CHECK enum tt_code tt_fuse_attr(const struct tt_fusing *f, const struct tt_op *op,
                                        struct tt_attrs *a, const void **ret);

/* Make a node into op of these operands and attributes. */
TT_MUST_CHECK enum tt_code tt_fuse_become(const struct tt_fusing *f, struct tt_gnode *node,
                                          const struct tt_op *op, int nin, const int *in,
                                          struct tt_attr *list, int nattrs);

/* Whether a node is a Pad that adds nothing. */
bool tt_fuse_pads_nothing(const struct tt_fusing *f, const struct tt_gnode *n);

/* The parts of convolutional networks: Conv with the Pad before it, tt.Swish. */
TT_MUST_CHECK enum tt_code tt_fuse_image(const struct tt_fusing *f);

/* The parts of an encoder: tt.Attention, tt.Linear, tt.LinearSum. */
TT_MUST_CHECK enum tt_code tt_fuse_encoder(const struct tt_fusing *f);

/* Where only the first rows of a sequence are asked for, no others are made. */
TT_MUST_CHECK enum tt_code tt_fuse_rows(const struct tt_fusing *f);

#endif
