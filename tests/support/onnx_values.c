// SPDX-License-Identifier: Apache-2.0
#include "tests/support/onnx_values.h"

#include <math.h>

#define TYPE(t) ONNX__TENSOR_PROTO__DATA_TYPE__##t

int64_t onnx_count(const Onnx__TensorProto *t)
{
    int64_t n = 1;

    for (size_t i = 0; i < t->n_dims; i++)
        n *= t->dims[i];
    return n;
}

static double small_float(unsigned bits, int exponent_bits)
{
    int fraction_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(bits >> fraction_bits & ((1u << exponent_bits) - 1));
    double f = bits & ((1u << fraction_bits) - 1), sign = bits & 0x8000 ? -1 : 1;

    if (exponent == (1 << exponent_bits) - 1)
        return f != 0 ? (double)NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(f + (1 << fraction_bits), exponent - bias - fraction_bits)
                            : ldexp(f, 1 - bias - fraction_bits));
}

double onnx_element(const Onnx__TensorProto *t, int64_t i)
{
    const uint8_t *raw = t->has_raw_data && t->raw_data.len ? t->raw_data.data : NULL;

#define RAW(type, list) (raw ? (double)((const type *)(const void *)raw)[i] : (double)(t->list)[i])
    switch (t->data_type) {
    case TYPE(FLOAT):
        return RAW(float, float_data);
    case TYPE(DOUBLE):
        return RAW(double, double_data);
    case TYPE(INT64):
        return RAW(int64_t, int64_data);
    case TYPE(UINT64):
        return RAW(uint64_t, uint64_data);
    case TYPE(UINT32):
        return RAW(uint32_t, uint64_data);
    case TYPE(INT32):
        return RAW(int32_t, int32_data);
    case TYPE(INT16):
        return RAW(int16_t, int32_data);
    case TYPE(UINT16):
        return RAW(uint16_t, int32_data);
    case TYPE(INT8):
        return RAW(int8_t, int32_data);
    case TYPE(UINT8):
    case TYPE(BOOL):
        return RAW(uint8_t, int32_data);
    case TYPE(FLOAT16):
        return small_float((unsigned)RAW(uint16_t, int32_data), 5);
    case TYPE(BFLOAT16):
        return small_float((unsigned)RAW(uint16_t, int32_data), 8);
    default:
        return (double)NAN;
    }
#undef RAW
}

bool onnx_is_float(int type)
{
    return type == TYPE(FLOAT) || type == TYPE(DOUBLE) || type == TYPE(FLOAT16) ||
           type == TYPE(BFLOAT16);
}
