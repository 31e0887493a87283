// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_NPY_H
#define TT_RUNTIME_NPY_H

#include "base/err.h"
#include "runtime/tensor.h"

/* NumPy's .npy format, versions 1 to 3, C order, little-endian. */
enum tt_npy_type { TT_NPY_U8, TT_NPY_I32, TT_NPY_I64, TT_NPY_F32, TT_NPY_F64, TT_NPY_NTYPES };

struct tt_npy {
    enum tt_npy_type type;
    int ndim;
    int64_t dim[TT_MAXDIM];
    const void *data; // inside the bytes given; unaligned: copy, never cast
    int64_t n;        // elements
};

/* Read from bytes that must outlive *ret.  The error says which byte or key, and what was wanted.
 */
TT_MUST_CHECK enum tt_code tt_npy_read(const void *data, size_t n, struct tt_npy *ret,
                                       struct tt_err *err);

size_t tt_npy_size(enum tt_npy_type type); // bytes of one element

/* Write the header of a float32 array of that shape; returns its length (a multiple of 64). */
#define TT_NPY_HEADER 256 // at most
size_t tt_npy_header(char ret[TT_NPY_HEADER], int ndim, const int64_t *dim);

#endif
