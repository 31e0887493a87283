// SPDX-License-Identifier: Apache-2.0
#ifndef TT_TESTS_SUPPORT_ONNX_VALUES_H
#define TT_TESTS_SUPPORT_ONNX_VALUES_H

#include <onnx.pb-c.h>
#include <stdbool.h>

/* The values of a tensor of an ONNX file, of any type: read apart from the importer, to judge it.
 */
int64_t onnx_count(const Onnx__TensorProto *t);

/* Element i; NaN for what is no number. */
double onnx_element(const Onnx__TensorProto *t, int64_t i);

/* Whether a data type of ONNX is of floats. */
bool onnx_is_float(int type);

#endif
