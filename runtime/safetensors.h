// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_SAFETENSORS_H
#define TT_RUNTIME_SAFETENSORS_H

#include "base/arena.h"
#include "base/err.h"

/*
 * The safetensors format: 8 bytes header length (little-endian), a JSON object of
 * tensors with "dtype", "shape" and "data_offsets", an optional "__metadata__" of
 * strings, then the bytes.  Only what this program stores is read: F32, F64, I64, U64.
 */
#define TT_ST_MAXDIM 8

struct tt_st_tensor {
    const char *name;
    const char *dtype; // "F32", "F64", "I64", "U64"
    int ndim;
    int64_t dim[TT_ST_MAXDIM];
    const void *data; // unaligned when read: copy, never cast
    size_t bytes;
};

struct tt_st_file {
    int ntensors, nmeta;
    struct tt_st_tensor *tensors; // in the order of the offsets
    const char *(*meta)[2];       // key, value
};

/* Read from bytes that must outlive *ret; arena owns names and lists.
 * Refuses overlaps, holes, offsets beyond the end, sizes that do not match the shape,
 * duplicate names, and headers above 16 MiB; the error says which tensor and what was wanted. */
TT_MUST_CHECK enum tt_code tt_st_read(const void *data, size_t n, struct tt_arena *arena,
                                      struct tt_st_file *ret, struct tt_err *err);

/* The tensor, or the metadata's value, of that name; NULL: none. */
const struct tt_st_tensor *tt_st_find(const struct tt_st_file *f, const char *name);
const char *tt_st_meta(const struct tt_st_file *f, const char *key);

/* Write f into one run of bytes in arena; offsets are assigned in the order of the list, the
 * header is padded with spaces to a multiple of 8.  Same input, same bytes. */
TT_MUST_CHECK enum tt_code tt_st_write(const struct tt_st_file *f, struct tt_arena *arena,
                                       void **ret_data, size_t *ret_n, struct tt_err *err);

#endif
