// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_PATTERNS_H
#define TT_RUNTIME_OPS_PATTERNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

/* What recognising patterns (runtime/fuse.h) asks of nodes. */

/* Does a Transpose of that attr put dimension perm[i] at i < n? */
bool tt_transposes(const void *attr, int n, const int *perm);

/* Does a Softmax of that attr work on rows of the last of n dimensions? */
bool tt_softmax_is_last(const void *attr, int n);

/* Does a Softmax of that attr work on all that a row has, of n dimensions the first of which counts
 * rows? */
bool tt_softmax_is_row(const void *attr, int n, const int64_t *dim);

/* Does a LayerNormalization of that attr see rows of the dimensions from first on, or of fewer, of
 * n, and give the normalised ones? */
bool tt_layernorm_is_within(const void *attr, int n, int first);

/* Does a reduction of that attr reduce that one of n dimensions? */
bool tt_reduces(const void *attr, int n, int axis);

/* Does a Gather of that attr take elements along that one of n dimensions? */
bool tt_gather_is_along(const void *attr, int n, int axis);

/* Does a Pad of that attr put zeros around n dimensions, operand 2 not being looked at, and take
 * nothing away?  How many go to before and after. */
bool tt_pads_with_zeros(const void *attr, int n, int64_t *before, int64_t *after);

/* The attr of a Conv that pads its space of n dimensions by so much more than that of *attr, in
 * arena; NULL: its padding follows from its operand's size, or there is no memory. */
const void *tt_conv_padded(const void *attr, int n, const int64_t *before, const int64_t *after,
                           struct tt_arena *arena);

#endif
