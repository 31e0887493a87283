// SPDX-License-Identifier: Apache-2.0
#include "daemon/inputs.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/arena.h"

static const struct dtype {
    const char *name;
    size_t size;
} dtypes[TT_NDTYPES] = {
    [TT_BOOL] = {"BOOL", 1},   [TT_UINT8] = {"UINT8", 1}, [TT_INT32] = {"INT32", 4},
    [TT_INT64] = {"INT64", 8}, [TT_FP16] = {"FP16", 2},   [TT_BF16] = {"BF16", 2},
    [TT_FP32] = {"FP32", 4},
};

const char *tt_dtype_name(enum tt_dtype type)
{
    return (unsigned)type < TT_NDTYPES ? dtypes[type].name : "?";
}

size_t tt_dtype_size(enum tt_dtype type)
{
    return dtypes[type].size;
}

static enum tt_wire check_keys(json_t *o, const char *const *known, const char *what,
                               struct tt_refusal *r)
{
    const char *key;
    json_t *v;

    json_object_foreach(o, key, v)
    {
        const char *const *k = known;

        while (*k && strcmp(*k, key) != 0)
            k++;
        if (!*k)
            return tt_refuse(r, TT_WIRE_BAD_HEADER, "%s: unknown key '%.64s'", what, key);
    }
    return TT_WIRE_OK;
}

static enum tt_wire read_name(const json_t *o, const char *what, char *ret, struct tt_refusal *r)
{
    const json_t *v = json_object_get(o, "name");

    if (!v || !json_is_string(v))
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "%s: name is %s, wanted a string", what,
                         v ? "not text" : "missing");
    if (json_string_length(v) > TTAD_WIRE_NAME_MAX)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "%s: name is %zu bytes long, the limit is %d", what,
                         json_string_length(v), TTAD_WIRE_NAME_MAX);
    memcpy(ret, json_string_value(v), json_string_length(v) + 1);
    for (const char *c = ret; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return tt_refuse(r, TT_WIRE_BAD_HEADER, "%s: name has the control character 0x%02x",
                             what, (unsigned char)*c);
    return TT_WIRE_OK;
}

static enum tt_wire read_type(const json_t *o, struct tt_wire_tensor *t, struct tt_refusal *r)
{
    const char *s = json_string_value(json_object_get(o, "datatype"));

    for (int i = 0; s && i < TT_NDTYPES; i++)
        if (!strcmp(s, dtypes[i].name)) {
            t->type = (enum tt_dtype)i;
            return TT_WIRE_OK;
        }
    if (!s)
        return tt_refuse(r, TT_WIRE_BAD_TENSOR, "input '%s': datatype is missing", t->name);
    return tt_refuse(r, TT_WIRE_BAD_TENSOR,
                     "input '%s': datatype '%.32s' is not one of BOOL UINT8 INT32 INT64 FP16 BF16 "
                     "FP32",
                     t->name, s);
}

static enum tt_wire read_shape(const json_t *o, struct tt_wire_tensor *t, struct tt_refusal *r)
{
    const json_t *list = json_object_get(o, "shape");

    if (!json_is_array(list))
        return tt_refuse(r, TT_WIRE_BAD_SHAPE, "input '%s': shape is %s, wanted a list", t->name,
                         list ? "not a list" : "missing");
    if (json_array_size(list) < 1 || json_array_size(list) > TT_MAXDIM)
        return tt_refuse(r, TT_WIRE_BAD_SHAPE,
                         "input '%s': shape has %zu dimensions, wanted 1 to %d", t->name,
                         json_array_size(list), TT_MAXDIM);
    t->ndim = (int)json_array_size(list);
    t->n = 1;
    for (int i = 0; i < t->ndim; i++) {
        const json_t *v = json_array_get(list, (size_t)i);

        if (!json_is_integer(v) || json_integer_value(v) < 1)
            return tt_refuse(r, TT_WIRE_BAD_SHAPE,
                             "input '%s': dimension %d of shape is not a positive integer", t->name,
                             i);
        t->dim[i] = json_integer_value(v);
        if (!tt_mul(t->n, t->dim[i], &t->n))
            return tt_refuse(r, TT_WIRE_TOO_LARGE, "input '%s': shape has too many elements",
                             t->name);
    }
    return TT_WIRE_OK;
}

static enum tt_wire check_size(const json_t *o, const struct tt_frame *f, struct tt_wire_tensor *t,
                               struct tt_refusal *r)
{
    const json_t *p = json_object_get(o, "parameters");
    const json_t *v = json_object_get(p, "binary_data_size");
    char shape[TT_SHAPE_TEXT];
    int64_t want;

    if (json_object_get(o, "data"))
        return tt_refuse(r, TT_WIRE_BAD_TENSOR,
                         "input '%s': tensors come as frames with binary_data_size, not as 'data'",
                         t->name);
    if (!json_is_integer(v))
        return tt_refuse(r, TT_WIRE_BAD_TENSOR,
                         "input '%s': parameters.binary_data_size is %s, wanted an integer",
                         t->name, v ? "not an integer" : "missing");
    if (!tt_mul(t->n, (int64_t)dtypes[t->type].size, &want))
        return tt_refuse(r, TT_WIRE_TOO_LARGE, "input '%s': shape has too many elements", t->name);
    tt_shape_text(t->dim, t->ndim, shape, sizeof shape);
    if (json_integer_value(v) != want)
        return tt_refuse(r, TT_WIRE_BAD_TENSOR,
                         "input '%s': binary_data_size is %" JSON_INTEGER_FORMAT
                         ", %s %s needs %" PRId64,
                         t->name, json_integer_value(v), dtypes[t->type].name, shape, want);
    if (f->size != (uint64_t)want)
        return tt_refuse(r, TT_WIRE_BAD_TENSOR,
                         "input '%s': its frame has %zu bytes, binary_data_size says %" PRId64,
                         t->name, f->size, want);
    t->data = f->data;
    return TT_WIRE_OK;
}

/* A list of numbers, each finite and above least; absent: none. */
static enum tt_wire read_numbers(const json_t *p, const struct tt_wire_tensor *t, const char *key,
                                 double least, double *ret, int *ret_n, struct tt_refusal *r)
{
    const json_t *list = json_object_get(p, key);

    if (!list)
        return TT_WIRE_OK;
    if (!json_is_array(list) || json_array_size(list) < 1 ||
        json_array_size(list) > TTAD_WIRE_CHANNELS)
        return tt_refuse(r, TT_WIRE_BAD_TENSOR,
                         "input '%s': parameters.%s is not a list of 1 to %d numbers", t->name, key,
                         TTAD_WIRE_CHANNELS);
    *ret_n = (int)json_array_size(list);
    for (int i = 0; i < *ret_n; i++) {
        const json_t *v = json_array_get(list, (size_t)i);

        ret[i] = json_number_value(v);
        if (!json_is_number(v) || !(ret[i] > least))
            return tt_refuse(r, TT_WIRE_BAD_TENSOR,
                             "input '%s': parameters.%s[%d] is not a number above %g", t->name, key,
                             i, least);
    }
    return TT_WIRE_OK;
}

/* How the client says that numbers become the model's. */
static enum tt_wire read_prep(const json_t *o, struct tt_wire_tensor *t, struct tt_refusal *r)
{
    const json_t *p = json_object_get(o, "parameters"), *scale = json_object_get(p, "scale");

    t->scale = 1;
    if (scale && (!json_is_number(scale) || !(json_number_value(scale) > 0)))
        return tt_refuse(r, TT_WIRE_BAD_TENSOR,
                         "input '%s': parameters.scale is not a number above 0", t->name);
    if (scale)
        t->scale = json_number_value(scale);
    if (read_numbers(p, t, "mean", -1e9, t->mean, &t->nmean, r) ||
        read_numbers(p, t, "std", 0, t->std, &t->nstd, r))
        return r->code;
    t->prep = scale || t->nmean || t->nstd;
    return TT_WIRE_OK;
}

enum tt_wire tt_proto_inputs(const json_t *list, const struct tt_frame *frames, int nframes,
                             struct tt_request *ret, struct tt_refusal *r)
{
    static const char *const known[] = {"name", "shape", "datatype", "parameters", "data", NULL};
    const int n = json_is_array(list) ? (int)json_array_size(list) : -1;

    if (n < 0)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "inputs is %s, wanted a list of tensors",
                         list ? "not a list" : "missing");
    if (n < 1 || n > TTAD_WIRE_TENSORS)
        return tt_refuse(r, TT_WIRE_BAD_TENSOR, "inputs has %d tensors, wanted 1 to %d", n,
                         TTAD_WIRE_TENSORS);
    if (n != nframes - 2)
        return tt_refuse(r, TT_WIRE_BAD_TENSOR,
                         "inputs has %d tensor%s, the message has %d tensor frame%s", n,
                         n == 1 ? "" : "s", nframes - 2, nframes == 3 ? "" : "s");
    for (int i = 0; i < n; i++) {
        json_t *o = json_array_get(list, (size_t)i);
        struct tt_wire_tensor *t = &ret->inputs[i];

        if (!json_is_object(o))
            return tt_refuse(r, TT_WIRE_BAD_HEADER, "inputs[%d] is not an object", i);
        t->frame = 2 + i;
        if (read_name(o, "inputs", t->name, r) || check_keys(o, known, "inputs", r) ||
            read_type(o, t, r) || read_shape(o, t, r) || check_size(o, &frames[2 + i], t, r) ||
            read_prep(o, t, r))
            return r->code;
    }
    ret->ninputs = n;
    return TT_WIRE_OK;
}

enum tt_wire tt_proto_outputs(const json_t *list, struct tt_request *ret, struct tt_refusal *r)
{
    static const char *const known[] = {"name", "parameters", NULL};

    if (!json_is_array(list))
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "outputs is not a list");
    if (json_array_size(list) > TTAD_WIRE_TENSORS)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "outputs has %zu tensors, wanted at most %d",
                         json_array_size(list), TTAD_WIRE_TENSORS);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *o = json_array_get(list, i);

        if (!json_is_object(o))
            return tt_refuse(r, TT_WIRE_BAD_HEADER, "outputs[%zu] is not an object", i);
        if (check_keys(o, known, "outputs", r) || read_name(o, "outputs", ret->outputs[i], r))
            return r->code;
        ret->noutputs = (int)i + 1;
    }
    return TT_WIRE_OK;
}

static float half(uint16_t h)
{
    const int e = h >> 10 & 31, m = h & 1023;
    const float sign = h & 0x8000 ? -1.0f : 1.0f;

    if (e == 31)
        return m ? NAN : sign * INFINITY;
    return sign * (e ? ldexpf((float)(m | 1024), e - 25) : ldexpf((float)m, -24));
}

static float element(enum tt_dtype type, const unsigned char *p)
{
    uint32_t bits;
    uint16_t h;
    int32_t i;
    int64_t l;
    float f;

    switch (type) {
    case TT_BOOL:
        return *p ? 1.0f : 0.0f;
    case TT_UINT8:
        return *p;
    case TT_INT32:
        memcpy(&i, p, sizeof i);
        return (float)i;
    case TT_INT64:
        memcpy(&l, p, sizeof l);
        return (float)l;
    case TT_FP16:
        memcpy(&h, p, sizeof h);
        return half(h);
    case TT_BF16:
        memcpy(&h, p, sizeof h);
        bits = (uint32_t)h << 16;
        memcpy(&f, &bits, sizeof f);
        return f;
    case TT_FP32:
    case TT_NDTYPES:
        break;
    }
    memcpy(&f, p, sizeof f);
    return f;
}

void tt_dtype_floats(const struct tt_wire_tensor *t, float *out)
{
    const unsigned char *p = t->data;
    const size_t size = dtypes[t->type].size;

    if (t->type == TT_FP32) {
        memcpy(out, p, (size_t)t->n * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < t->n; i++)
        out[i] = element(t->type, p + (size_t)i * size);
}

bool tt_dtype_labels(const struct tt_wire_tensor *t, int64_t *out)
{
    const unsigned char *p = t->data;
    int32_t i32;

    if (t->type != TT_INT64 && t->type != TT_INT32 && t->type != TT_UINT8)
        return false;
    for (int64_t i = 0; i < t->n; i++, p += dtypes[t->type].size) {
        if (t->type == TT_INT64) {
            memcpy(&out[i], p, sizeof *out);
        } else if (t->type == TT_INT32) {
            memcpy(&i32, p, sizeof i32);
            out[i] = i32;
        } else {
            out[i] = *p;
        }
    }
    return true;
}
