// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_TENSOR_H
#define TT_RUNTIME_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#define TT_MAXDIM 6

/* In which order the values of a tensor lie.  Shapes are always ONNX's (N, C, H, W). */
enum tt_layout {
    TT_PLAIN, // row-major: the last dimension is contiguous
    TT_LAST,  // channels last: N, spatial dimensions, C; for 3 dimensions and more
};

/* What the values of a tensor are.  All are kept as float32: integers are exact up to 2^24, and
 * constants beyond that are refused; true is 1, false is 0. */
enum tt_number { TT_FLOATS, TT_INTS, TT_BOOLS };

/*
 * A dense float32 array.  The tensor does not own x or g; the program that was
 * compiled with it does.
 */
struct tt_tensor {
    const char *name;       // as in the model file; for messages
    int ndim;               // 0 is a scalar
    int64_t dim[TT_MAXDIM]; // each >= 0
    enum tt_layout layout;
    enum tt_number dtype;
    float *x; // values
    float *g; // d loss / d x; NULL when nobody needs it
};

/* Number of elements; 1 for a scalar. */
static inline int64_t tt_len(const struct tt_tensor *t)
{
    int64_t n = 1;

    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    return n;
}

/* Distance in elements between neighbours along each of ONNX's dimensions. */
void tt_strides(const struct tt_tensor *t, int64_t stride[TT_MAXDIM]);

/* "[64, 3, 32, 32]", for messages; writes at most n bytes and returns text. */
const char *tt_shape_text(const int64_t *dim, int ndim, char *text, int n);

#define TT_SHAPE_TEXT 160 // enough for any shape

#endif
