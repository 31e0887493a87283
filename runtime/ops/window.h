// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_WINDOW_H
#define TT_RUNTIME_OPS_WINDOW_H

#include "base/err.h"
#include "runtime/attr.h"

#define TT_MAXSPACE       3    // spatial dimensions
#define TT_WINDOW_LARGEST 4096 // of any of its numbers: what a hostile file may ask for

/* The window that Conv and the pools move over spatial dimensions, as ONNX describes it. */
enum tt_auto_pad { TT_PAD_GIVEN, TT_PAD_UPPER, TT_PAD_LOWER };

struct tt_window {
    int n;                       // spatial dimensions
    int64_t kernel[TT_MAXSPACE]; // 0: not said (Conv takes its weight's)
    int64_t stride[TT_MAXSPACE], dilation[TT_MAXSPACE];
    int64_t pad[2 * TT_MAXSPACE]; // before each of the n (top, left), then behind (bottom, right)
    enum tt_auto_pad auto_pad;
    bool ceil; // round the number of places up
};

/* Read kernel_shape, strides, pads, dilations, auto_pad, ceil_mode for as many dimensions, up to
 * TT_MAXSPACE, as they have; w->n is 0 when none of them says it, until tt_window_of() does. */
TT_MUST_CHECK enum tt_code tt_window_read(struct tt_attrs *a, struct tt_window *w,
                                          struct tt_err *err);

/* The window over n dimensions: *w, or the default one when its attributes did not say. */
struct tt_window tt_window_of(const struct tt_window *w, int n);

/* How many places it has along dimension i of that size; 0: it is larger than the padded input.
 * The padding before and after go to *before and *after. */
int64_t tt_window_places(const struct tt_window *w, int i, int64_t kernel, int64_t size,
                         int64_t *before, int64_t *after);

#endif
