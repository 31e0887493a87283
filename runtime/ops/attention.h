// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_ATTENTION_H
#define TT_RUNTIME_OPS_ATTENTION_H

#include <stdbool.h>
#include <stdint.h>

/* What recognising attention (runtime/fuse_encoder.c) asks of nodes. */

/* Does a Transpose of that attr put dimension perm[i] at i < n? */
bool tt_transposes(const void *attr, int n, const int *perm);

/* Does a Softmax of that attr work on rows of the last of n dimensions? */
bool tt_softmax_is_last(const void *attr, int n);

#endif
