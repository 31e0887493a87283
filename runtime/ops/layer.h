// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_LAYER_H
#define TT_RUNTIME_OPS_LAYER_H

#include "runtime/op.h"

/*
 * A convolution, a batch normalisation, a sum and a clamp as one node: what the whole needs is
 * written and read once.  Any of its parts may be missing, but not both of the first two:
 *
 *   y = clamp(norm(conv(x)) + sum)
 *
 * Backward keeps the normalised x^ as binary16 (runtime/half.h), or of an exact node what the
 * convolution made (x, when there is none), and a bit for each element that the clamp let through.
 */
enum tt_layer_operand {
    TT_LAYER_X,
    TT_LAYER_W, // convolution: weight, bias
    TT_LAYER_BIAS,
    TT_LAYER_GAMMA, // normalisation: scale, bias, mean, variance
    TT_LAYER_BETA,
    TT_LAYER_MEAN,
    TT_LAYER_VAR,
    TT_LAYER_SUM,
    TT_LAYER_OPERANDS,
};

struct tt_layer {
    const void *conv, *norm; // attributes of a Conv and a BatchNormalization; NULL: none
    bool clamp;
    float low, high;
    float from; // gradients pass from here to high
};

extern const struct tt_op tt_op_layer;

#endif
