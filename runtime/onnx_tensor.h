// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_ONNX_TENSOR_H
#define TT_RUNTIME_ONNX_TENSOR_H

#include <onnx.pb-c.h>

#include "runtime/attr.h"
#include "runtime/feed.h"

/*
 * The tensors of an ONNX file: floats, which become weights, and integers, which are folded.
 * Every error names the tensor.
 */
#define TT_FOLD_MAX 65536 // elements of a tensor of integers: shapes, indices, position tables

enum tt_onnx_class { TT_ONNX_OTHER, TT_ONNX_FLOAT, TT_ONNX_INT };

/* What a data type of ONNX holds, and its name as ONNX writes it: "FLOAT16"; never NULL. */
enum tt_onnx_class tt_onnx_class(int type);
const char *tt_onnx_type_name(int type);

/* What values of a type of TT_ONNX_FLOAT or TT_ONNX_INT are here. */
enum tt_number tt_onnx_number(int type);

/* The bytes that a tensor's elements take as raw_data. */
TT_MUST_CHECK enum tt_code tt_onnx_bytes(const Onnx__TensorProto *t, uint64_t *ret,
                                         struct tt_err *err);

/* Read raw_data from bytes into arena, aligned.  float16, bfloat16 and double become float32 on
 * the way, and t says so then. */
TT_MUST_CHECK enum tt_code tt_onnx_take(Onnx__TensorProto *t, const struct tt_feed *bytes,
                                        struct tt_arena *arena, ProtobufCBinaryData *ret,
                                        struct tt_err *err);

#define TT_ONNX_KEPT 1024 // bytes: raw_data of so many was read to where it stays (onnx_file.c)

/* A tensor of floats as float32, in arena; float16, bfloat16 and double are converted.  float32
 * in raw_data of TT_ONNX_KEPT bytes or more is there already, and not copied. */
TT_MUST_CHECK enum tt_code tt_onnx_floats(const Onnx__TensorProto *t, struct tt_arena *arena,
                                          struct tt_tensor *ret, struct tt_err *err);

/* A tensor of integers or booleans, at most TT_FOLD_MAX, in arena. */
TT_MUST_CHECK enum tt_code tt_onnx_ints(const Onnx__TensorProto *t, struct tt_arena *arena,
                                        struct tt_ints *ret, struct tt_err *err);

/* A tensor of any number of integers or booleans as numbers to compute with, in arena; fails for
 * one that float32 does not hold. */
TT_MUST_CHECK enum tt_code tt_onnx_numbers(const Onnx__TensorProto *t, struct tt_arena *arena,
                                           struct tt_tensor *ret, struct tt_err *err);

/* How many elements a tensor says it has; INT64_MAX: more than can be. */
int64_t tt_onnx_count(const Onnx__TensorProto *t);

/* Does float32 hold v, and its neighbours? */
static inline bool tt_onnx_exact(int64_t v)
{
    return v >= -(1 << 24) && v <= 1 << 24;
}

#endif
