// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_STRIDED_H
#define TT_RUNTIME_STRIDED_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/tensor.h"

#define TT_MAXINDEX (2 * TT_MAXDIM)

/* to[i . st] (+)= from[i . sf] for every index i below dim: what every operator that only moves
 * values is made of, in both directions.  Strides in floats, negative ones allowed for from; where
 * st is 0, for add alone, values are summed in order.  At most TT_MAXINDEX dimensions. */
void tt_strided_copy(int ndim, const int64_t *dim, float *to, const int64_t *st, const float *from,
                     const int64_t *sf, bool add);

#endif
