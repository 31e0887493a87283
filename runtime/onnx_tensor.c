// SPDX-License-Identifier: Apache-2.0
#include "runtime/onnx_tensor.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is little-endian");

#define TYPE(t) ONNX__TENSOR_PROTO__DATA_TYPE__##t

/* bytes: of an element in raw_data. */
static const struct type {
    int type;
    enum tt_onnx_class class;
    size_t bytes;
    const char *name;
} types[] = {
    {TYPE(FLOAT), TT_ONNX_FLOAT, 4, "FLOAT"},
    {TYPE(FLOAT16), TT_ONNX_FLOAT, 2, "FLOAT16"},
    {TYPE(BFLOAT16), TT_ONNX_FLOAT, 2, "BFLOAT16"},
    {TYPE(DOUBLE), TT_ONNX_FLOAT, 8, "DOUBLE"},
    {TYPE(INT64), TT_ONNX_INT, 8, "INT64"},
    {TYPE(INT32), TT_ONNX_INT, 4, "INT32"},
    {TYPE(INT16), TT_ONNX_INT, 2, "INT16"},
    {TYPE(INT8), TT_ONNX_INT, 1, "INT8"},
    {TYPE(UINT64), TT_ONNX_INT, 8, "UINT64"},
    {TYPE(UINT32), TT_ONNX_INT, 4, "UINT32"},
    {TYPE(UINT16), TT_ONNX_INT, 2, "UINT16"},
    {TYPE(UINT8), TT_ONNX_INT, 1, "UINT8"},
    {TYPE(BOOL), TT_ONNX_INT, 1, "BOOL"},
    {TYPE(STRING), TT_ONNX_OTHER, 0, "STRING"},
    {TYPE(COMPLEX64), TT_ONNX_OTHER, 8, "COMPLEX64"},
    {TYPE(COMPLEX128), TT_ONNX_OTHER, 16, "COMPLEX128"},
};

static const struct type unknown = {.name = "unknown", .class = TT_ONNX_OTHER};

static const struct type *find_type(int type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type)
            return &types[i];
    return &unknown;
}

enum tt_onnx_class tt_onnx_class(int type)
{
    return find_type(type)->class;
}

enum tt_number tt_onnx_number(int type)
{
    if (type == TYPE(BOOL))
        return TT_BOOLS;
    return find_type(type)->class == TT_ONNX_INT ? TT_INTS : TT_FLOATS;
}

const char *tt_onnx_type_name(int type)
{
    return find_type(type)->name;
}

/* The typed list that holds the elements of a type where raw_data does not. */
static void typed_list(const Onnx__TensorProto *t, int type, const void **ret, size_t *ret_n)
{
    switch (type) {
    case TYPE(FLOAT):
        *ret = t->float_data, *ret_n = t->n_float_data;
        break;
    case TYPE(DOUBLE):
        *ret = t->double_data, *ret_n = t->n_double_data;
        break;
    case TYPE(INT64):
        *ret = t->int64_data, *ret_n = t->n_int64_data;
        break;
    case TYPE(UINT32):
    case TYPE(UINT64):
        *ret = t->uint64_data, *ret_n = t->n_uint64_data;
        break;
    default:
        *ret = t->int32_data, *ret_n = t->n_int32_data;
    }
}

/* Where the elements are: data, as raw_data or as a typed list. */
struct source {
    const struct type *type;
    int ndim;
    int64_t dim[TT_MAXDIM];
    int64_t n;
    bool raw;
    const void *data;
};

static enum tt_code read_shape(const Onnx__TensorProto *t, struct source *s, struct tt_err *err)
{
    s->n = 1;
    if (t->n_dims > TT_MAXDIM)
        return tt_fail(err, TT_EUNSUPPORTED, "%zu dimensions, at most %d are supported", t->n_dims,
                       TT_MAXDIM);
    for (size_t i = 0; i < t->n_dims; i++) {
        s->dim[i] = t->dims[i];
        if (t->dims[i] < 0)
            return tt_fail(err, TT_ESHAPE, "dimension %zu is %lld, want 0 or more", i,
                           (long long)t->dims[i]);
        if (!tt_mul(s->n, t->dims[i], &s->n))
            return tt_fail(err, TT_ESHAPE, "dimension %zu is %lld: too many elements to count", i,
                           (long long)t->dims[i]);
    }
    s->ndim = (int)t->n_dims;
    return TT_OK;
}

static enum tt_code find_elements(const Onnx__TensorProto *t, struct source *s, struct tt_err *err)
{
    const void *list;
    size_t have;
    int64_t want;

    if ((t->has_data_location && t->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT) ||
        t->n_external_data)
        return tt_fail(err, TT_EUNSUPPORTED,
                       "its values are in a file beside the model; save the model in one file");
    if (t->segment)
        return tt_fail(err, TT_EUNSUPPORTED, "it is stored in segments");
    typed_list(t, s->type->type, &list, &have);
    s->raw = t->has_raw_data && t->raw_data.len;
    if (s->raw && have)
        return tt_fail(err, TT_EPARSE, "it has raw_data and %zu values in a list, want one of them",
                       have);
    if (s->raw) {
        if (!tt_mul(s->n, (int64_t)s->type->bytes, &want) || (uint64_t)want != t->raw_data.len)
            return tt_fail(err, TT_ESHAPE, "raw_data has %zu bytes, want %lld elements of %zu",
                           t->raw_data.len, (long long)s->n, s->type->bytes);
        s->data = t->raw_data.data;
        return TT_OK;
    }
    if ((uint64_t)s->n != have || (have && !list))
        return tt_fail(err, TT_ESHAPE, "it has %zu values, want %lld", have, (long long)s->n);
    s->data = list;
    return TT_OK;
}

static enum tt_code open_tensor(const Onnx__TensorProto *t, enum tt_onnx_class want,
                                struct source *s, struct tt_err *err)
{
    enum tt_code rc;

    *s = (struct source){.type = find_type(t->has_data_type ? t->data_type : 0)};
    if (s->type->class != want)
        return tt_fail(err, TT_EUNSUPPORTED, "its type is %s (%d), want %s", s->type->name,
                       t->data_type, want == TT_ONNX_INT ? "integers" : "floats");
    rc = read_shape(t, s, err);
    return rc ? rc : find_elements(t, s, err);
}

/* IEEE 754 binary16 to binary32; exact. */
static float from_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 0x1f, fraction = h & 0x3ff;
    uint32_t bits;
    float f;

    if (exponent == 0) { // zero or subnormal: fraction * 2^-24
        f = (float)fraction * 0x1p-24f;
        return sign ? -f : f;
    }
    if (exponent == 31)
        bits = sign | 0x7f800000u | fraction << 13;
    else
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float from_bfloat(uint16_t b)
{
    uint32_t bits = (uint32_t)b << 16;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

/* n elements of raw_data as float32. */
static void widen(int type, const void *from, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        double wide;

        if (type == TYPE(DOUBLE)) {
            memcpy(&wide, (const char *)from + 8 * i, sizeof wide);
            to[i] = (float)wide;
            continue;
        }
        memcpy(&half, (const char *)from + 2 * i, sizeof half);
        to[i] = type == TYPE(FLOAT16) ? from_half(half) : from_bfloat(half);
    }
}

static void copy_floats(const struct source *s, float *to)
{
    const int32_t *list = (const int32_t *)s->data;

    if (!s->n)
        return;
    if (s->type->type == TYPE(FLOAT))
        memcpy(to, s->data, (size_t)s->n * sizeof *to);
    else if (s->raw || s->type->type == TYPE(DOUBLE))
        widen(s->type->type, s->data, s->n, to);
    else
        for (int64_t i = 0; i < s->n; i++) // the bits are the lower half of an integer
            to[i] = s->type->type == TYPE(FLOAT16) ? from_half((uint16_t)list[i])
                                                   : from_bfloat((uint16_t)list[i]);
}

enum tt_code tt_onnx_bytes(const Onnx__TensorProto *t, uint64_t *ret, struct tt_err *err)
{
    struct source s = {.type = find_type(t->has_data_type ? t->data_type : 0)};
    int64_t bytes;

    if (s.type->class == TT_ONNX_OTHER)
        return tt_fail(err, TT_EUNSUPPORTED, "its type is %s (%d), want floats or integers",
                       s.type->name, t->data_type);
    if (read_shape(t, &s, err))
        return err->code;
    if (!tt_mul(s.n, (int64_t)s.type->bytes, &bytes))
        return tt_fail(err, TT_ESHAPE, "%lld elements: too many bytes to count", (long long)s.n);
    *ret = (uint64_t)bytes;
    return TT_OK;
}

enum tt_code tt_onnx_take(Onnx__TensorProto *t, const struct tt_feed *bytes, struct tt_arena *arena,
                          ProtobufCBinaryData *ret, struct tt_err *err)
{
    const struct type *type = find_type(t->has_data_type ? t->data_type : 0);
    bool other = type->class == TT_ONNX_FLOAT && type->type != TYPE(FLOAT);
    char piece[16384];
    uint64_t n = bytes->size;
    float *x;

    if (!other || n % type->bytes) {
        *ret = (ProtobufCBinaryData){.len = n, .data = TT_NEW(arena, n, uint8_t)};
        if (!ret->data)
            return tt_fail(err, TT_ENOMEM, "out of memory for %llu bytes", (unsigned long long)n);
        return bytes->read(bytes->from, ret->data, n, err);
    }
    n /= type->bytes;
    x = TT_NEW(arena, n, float);
    if (!x)
        return tt_fail(err, TT_ENOMEM, "out of memory for %llu floats", (unsigned long long)n);
    *ret = (ProtobufCBinaryData){.len = n * sizeof *x, .data = (uint8_t *)x};
    t->data_type = TYPE(FLOAT);
    for (uint64_t some; n; n -= some, x += some) {
        some = n < sizeof piece / type->bytes ? n : sizeof piece / type->bytes;
        if (bytes->read(bytes->from, piece, some * type->bytes, err))
            return err->code;
        widen(type->type, piece, (int64_t)some, x);
    }
    return TT_OK;
}

/* Whether the elements are where they stay, as they are to be used. */
static bool is_kept(const struct source *s)
{
    return s->raw && s->type->type == TYPE(FLOAT) && s->n >= TT_ONNX_KEPT / 4;
}

static enum tt_code read_floats(const Onnx__TensorProto *t, struct tt_arena *arena,
                                struct tt_tensor *ret, struct tt_err *err)
{
    struct source s;
    enum tt_code rc = open_tensor(t, TT_ONNX_FLOAT, &s, err);
    float *x;

    if (rc)
        return rc;
    if (!s.n)
        return tt_fail(err, TT_ESHAPE, "it has no elements");
    x = is_kept(&s) ? (float *)t->raw_data.data : TT_NEW(arena, s.n, float);
    if (!x)
        return tt_fail(err, TT_ENOMEM, "out of memory for %lld floats", (long long)s.n);
    if (!is_kept(&s))
        copy_floats(&s, x);
    *ret = (struct tt_tensor){.name = t->name, .ndim = s.ndim, .x = x};
    memcpy(ret->dim, s.dim, sizeof ret->dim);
    return TT_OK;
}

enum tt_code tt_onnx_floats(const Onnx__TensorProto *t, struct tt_arena *arena,
                            struct tt_tensor *ret, struct tt_err *err)
{
    return read_floats(t, arena, ret, err) ? tt_fail_in(err, "tensor '%s'", t->name ? t->name : "")
                                           : TT_OK;
}

/* The bytes of element i, sign-extended for the types that have a sign. */
static enum tt_code int_at(const struct source *s, int64_t i, int64_t *ret, struct tt_err *err)
{
    bool is_unsigned = s->type->name[0] == 'U' || s->type->type == TYPE(BOOL);
    size_t bytes = s->type->bytes, step = bytes;
    uint64_t v = 0;

    if (!s->raw) // lists hold 32 or 64 bits
        step = s->type->type == TYPE(INT64) || s->type->type == TYPE(UINT64) ||
                       s->type->type == TYPE(UINT32)
                   ? 8
                   : 4;
    memcpy(&v, (const char *)s->data + (size_t)i * step, step < bytes ? step : bytes);
    if (!is_unsigned && bytes < 8 && v >> (8 * bytes - 1))
        v |= ~(uint64_t)0 << (8 * bytes);
    if (is_unsigned && v > INT64_MAX)
        return tt_fail(err, TT_ERANGE, "element %lld is %llu, want less than 2^63", (long long)i,
                       (unsigned long long)v);
    *ret = s->type->type == TYPE(BOOL) ? v != 0 : (int64_t)v;
    return TT_OK;
}

/* Integers that are no shape, and may be many: what the model computes with. */
static enum tt_code read_operand(const Onnx__TensorProto *t, struct tt_arena *arena,
                                 struct tt_tensor *ret, struct tt_err *err)
{
    struct source s;
    enum tt_code rc = open_tensor(t, TT_ONNX_INT, &s, err);
    int64_t v = 0;

    if (rc)
        return rc;
    if (!s.n)
        return tt_fail(err, TT_ESHAPE, "it has no elements");
    *ret = (struct tt_tensor){.ndim = s.ndim, .dtype = tt_onnx_number(s.type->type)};
    memcpy(ret->dim, s.dim, sizeof ret->dim);
    ret->x = TT_NEW(arena, s.n, float);
    if (!ret->x)
        return tt_fail(err, TT_ENOMEM, "out of memory for %lld integers", (long long)s.n);
    for (int64_t i = 0; i < s.n; i++) {
        if (int_at(&s, i, &v, err))
            return err->code;
        if (!tt_onnx_exact(v))
            return tt_fail(err, TT_ERANGE, "element %lld is %lld, want at most 2^24", (long long)i,
                           (long long)v);
        ret->x[i] = (float)v;
    }
    return TT_OK;
}

enum tt_code tt_onnx_numbers(const Onnx__TensorProto *t, struct tt_arena *arena,
                             struct tt_tensor *ret, struct tt_err *err)
{
    return read_operand(t, arena, ret, err) ? tt_fail_in(err, "tensor '%s'", t->name ? t->name : "")
                                            : TT_OK;
}

int64_t tt_onnx_count(const Onnx__TensorProto *t)
{
    int64_t n = 1;

    for (size_t i = 0; i < t->n_dims; i++)
        if (!tt_mul(n, t->dims[i], &n))
            return INT64_MAX;
    return n;
}

static enum tt_code read_ints(const Onnx__TensorProto *t, struct tt_arena *arena,
                              struct tt_ints *ret, struct tt_err *err)
{
    struct source s;
    enum tt_code rc = open_tensor(t, TT_ONNX_INT, &s, err);

    if (rc)
        return rc;
    if (s.n > TT_FOLD_MAX)
        return tt_fail(err, TT_EUNSUPPORTED, "%lld integers, at most %d are supported",
                       (long long)s.n, TT_FOLD_MAX);
    if (!s.n && s.ndim != 1)
        return tt_fail(err, TT_ESHAPE, "it has no elements");
    *ret = (struct tt_ints){.ndim = s.ndim, .n = s.n};
    memcpy(ret->dim, s.dim, sizeof ret->dim);
    ret->v = TT_NEW(arena, s.n, struct tt_affine);
    if (!ret->v)
        return tt_fail(err, TT_ENOMEM, "out of memory for %lld integers", (long long)s.n);
    for (int64_t i = 0; s.data && i < s.n && !rc; i++)
        rc = int_at(&s, i, &ret->v[i].a, err);
    return rc;
}

enum tt_code tt_onnx_ints(const Onnx__TensorProto *t, struct tt_arena *arena, struct tt_ints *ret,
                          struct tt_err *err)
{
    return read_ints(t, arena, ret, err) ? tt_fail_in(err, "tensor '%s'", t->name ? t->name : "")
                                         : TT_OK;
}
