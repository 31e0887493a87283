// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_CONV_H
#define TT_RUNTIME_OPS_CONV_H

#include "runtime/kernels.h"
#include "runtime/op.h"

/* The operator, for those that have a convolution as their first part. */
extern const struct tt_op tt_op_conv;

/* Its forward, finished otherwise than with its bias, which f->shift takes the place of. */
void tt_conv_forward(struct tt_node *n, const struct tt_finish *f);

#endif
