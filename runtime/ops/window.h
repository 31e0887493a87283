// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_WINDOW_H
#define TT_RUNTIME_OPS_WINDOW_H

#include "base/err.h"
#include "runtime/attr.h"

/* The window that Conv and the pools move over two spatial dimensions, as ONNX describes it. */
enum tt_auto_pad { TT_PAD_GIVEN, TT_PAD_UPPER, TT_PAD_LOWER };

struct tt_window {
    int64_t kernel[2]; // 0: not said (Conv takes its weight's)
    int64_t stride[2], dilation[2];
    int64_t pad[4]; // top, left, bottom, right
    enum tt_auto_pad auto_pad;
    bool ceil; // round the number of places up
};

/* Read kernel_shape, strides, pads, dilations, auto_pad, ceil_mode. */
TT_MUST_CHECK enum tt_code tt_window_read(struct tt_attrs *a, struct tt_window *w,
                                          struct tt_err *err);

/* How many places it has along dimension i of that size; 0: it is larger than the padded input.
 * The padding before and after go to *before and *after. */
int64_t tt_window_places(const struct tt_window *w, int i, int64_t kernel, int64_t size,
                         int64_t *before, int64_t *after);

#endif
