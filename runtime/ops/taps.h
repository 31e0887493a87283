// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_TAPS_H
#define TT_RUNTIME_OPS_TAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/kernels.h"

/* One implicit product: rows of pixels, the same for every image and group. */
struct tt_taps {
    int64_t images, pixels; // of each image
    int taps, run; // run taps each, which divides taps, lie together in memory, pixels of K floats
                   // one after another, where none is padding; 1: none do
    bool dense;    // a pixel of the result is the same one of the operand, all of its channels
    int64_t K, N;  // of one group
    const int32_t *offset;    // [pixels][taps] where the pixel is in an image; -1: padding
    const int32_t *to;        // [pixels] which pixel of the result; NULL: the same
    const float *x, *zeros;   // images; padding
    int64_t x_image, x_pixel; // floats between images, pixels
    float *y;
    int64_t y_image, y_pixel;
    const float *packed;     // [panel][tap][K][TT_NR]
    struct tt_finish finish; // of y
};

void tt_taps_run(const struct tt_taps *p);

#endif
