// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_DEPTHWISE_H
#define TT_RUNTIME_OPS_DEPTHWISE_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/kernels.h"

/*
 * A convolution of each channel by a kernel of its own, channels last, and its gradient to the
 * input.  What lies in padding is not multiplied with.  Each pixel is the same sum in the same
 * order whatever the batch and the number of threads.
 */
struct tt_depthwise {
    int64_t images, C;
    const int64_t *H, *OH, *K, *stride, *pad, *dilation; // of the convolution, [2]
    const float *weights;                                // [K[0] K[1]][C]
    const float *x;          // [images, H, W, C]; back: the gradient to the result, [.., OH, OW, C]
    float *y;                // [images, OH, OW, C]; back: the gradient to the input, [.., H, W, C]
    struct tt_finish finish; // of y
};

/* w [C, 1, taps] into to [taps][C]. */
void tt_depthwise_weights(float *to, const float *w, int64_t C, int64_t taps);

void tt_depthwise_run(const struct tt_depthwise *d, bool back);

#endif
