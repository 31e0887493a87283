// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_WINOGRAD_H
#define TT_RUNTIME_OPS_WINOGRAD_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/kernels.h"

/*
 * A convolution by a 3x3 kernel at stride 1 with a quarter of the multiplications: 4x4 pixels of
 * the result at a time are Y = A' [(G g G') * (B' d B)] A from 6x6 pixels of the input (Lavin and
 * Gray 2016, F(4x4, 3x3)).  Its points are 0, +-5/8, +-3/2 and infinity, with which less is lost
 * to rounding than with the usual 0, +-1, +-2.  Each pixel of the result is computed the same way
 * whatever the batch and the number of threads.
 */
struct tt_winograd {
    int64_t images, H[2], OH[2], pad[2]; // input and result; padding before the first pixel
    int64_t C, O;                        // channels of both, multiples of 16
    int64_t x_pixel, y_pixel;            // floats between pixels: more, where it is one of groups
    const float *x;                      // [images, H, W, C]
    float *y;                            // [images, OH, OW, O]
    const float *weights;                // by tt_winograd_weights(); NULL: from kernel, as needed
    const float *kernel;                 // [O, C, 3, 3]; turned: [C, O, 3, 3] instead
    bool turned;
    struct tt_finish finish; // of y
};

/* Whether it may take that convolution, and takes fewer multiplications. */
bool tt_winograd_fits(int64_t C, int64_t O, const int64_t OH[2]);

/* Tiles of a result of OH pixels, each way. */
int64_t tt_winograd_tiles(const int64_t OH[2]);

/* Floats of the transformed weights; 0: they would take much memory (four times the kernel's), and
 * to transform them again each time, a panel at a time, takes no longer than to read them.  Floats
 * that one thread works in. */
int64_t tt_winograd_nweights(int64_t C, int64_t O);
int64_t tt_winograd_nscratch(int64_t C, int64_t O);

/* w [O, C, 3, 3] into to.  turned: for the gradient to the input, in which w's O are what is summed
 * over, and the kernel is turned by half; then C is still w's. */
void tt_winograd_weights(float *to, const float *w, int64_t C, int64_t O, bool turned);

/* scratch: of so many threads, at least one. */
void tt_winograd_run(const struct tt_winograd *w, float *scratch, int threads);

#endif
