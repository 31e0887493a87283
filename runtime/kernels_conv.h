// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_KERNELS_CONV_H
#define TT_RUNTIME_KERNELS_CONV_H

#include <stdint.h>

/* What the kernels of convolutions are given (runtime/kernels.h). */

#define TT_WINO_A   0.625f // Winograd's points are 0, +-A, +-B and infinity
#define TT_WINO_B   1.5f
#define TT_WINO_RUN 8 // tiles of a row that are transformed together

/* Six rows of pixels: x[i * row + j * pixel] in row i, column j; 0 outside of these ranges. */
struct tt_winograd_band {
    const float *x;
    int64_t row, pixel;
    int top, bottom;    // rows
    int64_t first, end; // columns
};

#define TT_DEPTHWISE_TAPS 292 // of a kernel over one channel, at most

/* Up to eight neighbours y[p * y_step] that see neighbours of x, through a kernel of 3, 5 or 7
 * columns: pixel p + n of its row a, for first <= p + n < end, is x[at[a] + (p + n) * x_step], and
 * is multiplied with w[of[a] + n * w_step]. */
struct tt_depthwise_row {
    float *y;
    const float *x, *w;
    int64_t y_step, x_step, w_step;
    int pixels, cols, first, end, rows;
    int64_t at[TT_DEPTHWISE_TAPS], of[TT_DEPTHWISE_TAPS];
};

#endif
