// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "runtime/fold.h"
#include "runtime/onnx_rules.h"
#include "runtime/onnx_tensor.h"

/* Operators that are not computed when a model runs: constants, shapes, aliases. */

static enum tt_code no_memory(struct tt_onnx_reading *r)
{
    return tt_fail(r->err, TT_ENOMEM, "out of memory");
}

enum tt_code tt_onnx_load(struct tt_onnx_reading *r, struct tt_symbol *s)
{
    const Onnx__TensorProto *t = s->tensor;
    struct tt_tensor w;
    struct tt_ints *v;

    if (s->value >= 0 || s->ints || !t)
        return TT_OK;
    if (tt_onnx_class(t->data_type) == TT_ONNX_FLOAT && t->n_dims == 1 && !t->dims[0]) {
        s->empty = true;
        return TT_OK;
    }
    if (tt_onnx_class(t->data_type) != TT_ONNX_INT) {
        enum tt_code rc = tt_onnx_floats(t, &r->o->model->arena, &w, r->err);

        return rc ? rc : tt_onnx_weight(r->o, s, TT_FLOATS, w.ndim, w.dim, w.x, r->err);
    }
    if (tt_onnx_count(t) > TT_FOLD_MAX) { // no shape: a table, or a mask
        enum tt_code rc = tt_onnx_numbers(t, &r->o->model->arena, &w, r->err);

        return rc ? rc : tt_onnx_weight(r->o, s, w.dtype, w.ndim, w.dim, w.x, r->err);
    }
    v = TT_NEW(r->o->arena, 1, struct tt_ints);
    if (!v)
        return no_memory(r);
    if (tt_onnx_ints(t, r->o->arena, v, r->err))
        return r->err->code;
    s->ints = v;
    return TT_OK;
}

enum tt_code tt_onnx_give_ints(struct tt_onnx_reading *r, const struct tt_ints *v)
{
    struct tt_ints *kept = TT_NEW(r->o->arena, 1, struct tt_ints);

    if (!kept)
        return no_memory(r);
    *kept = *v;
    r->out->ints = kept;
    return TT_OK;
}

enum tt_code tt_onnx_need(struct tt_onnx_reading *r, int min, int max)
{
    if (r->nin < min || r->nin > max)
        return tt_fail(r->err, TT_EPARSE, "%d operands, want %d to %d", r->nin, min, max);
    for (int i = 0; i < min; i++)
        if (!r->in[i])
            return tt_fail(r->err, TT_EPARSE, "operand %d is missing", i);
    return TT_OK;
}

static enum tt_code give_float(struct tt_onnx_reading *r, int ndim, const int64_t *dim, float *x)
{
    return x ? tt_onnx_weight(r->o, r->out, TT_FLOATS, ndim, dim, x, r->err) : no_memory(r);
}

static enum tt_code give_tensor(struct tt_onnx_reading *r, const Onnx__TensorProto *t)
{
    r->out->tensor = t;
    return tt_onnx_load(r, r->out);
}

/* The result is the operand itself. */
static enum tt_code give_operand(struct tt_onnx_reading *r, struct tt_symbol *s)
{
    r->out->value = s->value;
    r->out->ints = s->ints;
    return TT_OK;
}

static enum tt_code one_constant(struct tt_onnx_reading *r, const struct tt_attr *a)
{
    int64_t n = a->n ? a->n : 1;
    struct tt_ints v;
    float *x;

    if (a->type == TT_AINT || a->type == TT_AINTS) {
        if (!tt_ints_new(r->o->arena, a->type == TT_AINTS, &a->n, &v))
            return tt_fail(r->err, TT_ENOMEM, "no room for %lld integers, at most %d",
                           (long long)a->n, TT_FOLD_MAX);
        for (int64_t i = 0; i < v.n; i++)
            v.v[i].a = a->type == TT_AINT ? a->i : a->ints[i];
        return tt_onnx_give_ints(r, &v);
    }
    if (a->type == TT_AFLOATS && !a->n)
        return tt_fail(r->err, TT_ESHAPE, "a constant without elements");
    x = TT_NEW(&r->o->model->arena, n, float);
    if (x && a->type == TT_AFLOAT)
        *x = a->f;
    else if (x)
        memcpy(x, a->floats, (size_t)n * sizeof *x);
    return give_float(r, a->type == TT_AFLOATS, &n, x);
}

static enum tt_code run_constant(struct tt_onnx_reading *r)
{
    static const struct {
        const char *name;
        enum tt_attr_type type;
    } forms[] = {{"value_int", TT_AINT},
                 {"value_ints", TT_AINTS},
                 {"value_float", TT_AFLOAT},
                 {"value_floats", TT_AFLOATS}};

    if (tt_onnx_need(r, 0, 0))
        return r->err->code;
    if (r->attrs.n != 1)
        return tt_fail(r->err, TT_EPARSE, "%d attributes, want one value", r->attrs.n);
    if (r->tensor)
        return give_tensor(r, r->tensor);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (!strcmp(r->attrs.list[0].name, forms[i].name) && r->attrs.list[0].type == forms[i].type)
            return one_constant(r, &r->attrs.list[0]);
    return tt_fail(r->err, TT_EUNSUPPORTED, "a constant given as '%s' is not supported",
                   r->attrs.list[0].name);
}

/* The value to fill with: 0.0 by default. */
static enum tt_code fill_value(struct tt_onnx_reading *r, struct tt_ints *ints,
                               struct tt_tensor *floats)
{
    enum tt_code rc = TT_OK;
    int64_t n = 1;

    *ints = (struct tt_ints){0};
    *floats = (struct tt_tensor){.x = TT_NEW(r->o->arena, 1, float)};
    tt_attr_ignore(&r->attrs, "value");
    if (r->tensor && tt_onnx_class(r->tensor->data_type) == TT_ONNX_INT) {
        rc = tt_onnx_ints(r->tensor, r->o->arena, ints, r->err);
        n = ints->n;
    } else if (r->tensor) {
        rc = tt_onnx_floats(r->tensor, r->o->arena, floats, r->err);
        n = rc ? 0 : tt_len(floats);
    }
    if (!rc && n != 1)
        rc = tt_fail(r->err, TT_ESHAPE, "the value has %lld elements, want 1", (long long)n);
    if (!rc && !floats->x)
        rc = no_memory(r);
    return rc;
}

static enum tt_code run_constant_of_shape(struct tt_onnx_reading *r)
{
    const struct tt_ints *shape = tt_onnx_need(r, 1, 1) ? NULL : r->in[0]->ints;
    struct tt_tensor value;
    struct tt_ints v, result;
    int64_t dim[TT_MAXDIM], n = 1;
    float *x;

    if (!shape)
        return tt_fail(r->err, TT_EUNSUPPORTED, "operand 0 must be a list of integers");
    if (tt_ints_fixed(shape, "the shape", r->err) || fill_value(r, &v, &value) ||
        tt_attrs_done(&r->attrs, r->err))
        return r->err->code;
    if (shape->n > TT_MAXDIM)
        return tt_fail(r->err, TT_EUNSUPPORTED, "%lld dimensions, at most %d are supported",
                       (long long)shape->n, TT_MAXDIM);
    for (int i = 0; i < (int)shape->n; i++) {
        dim[i] = shape->v[i].a;
        if (!tt_mul(n, dim[i], &n))
            return tt_fail(r->err, TT_ESHAPE, "dimension %d of the shape is %lld", i,
                           (long long)dim[i]);
    }
    if (v.n) {
        if (!tt_ints_new(r->o->arena, (int)shape->n, dim, &result))
            return tt_fail(r->err, TT_ENOMEM, "no room for %lld integers, at most %d", (long long)n,
                           TT_FOLD_MAX);
        for (int64_t i = 0; i < n; i++)
            result.v[i] = v.v[0];
        return tt_onnx_give_ints(r, &result);
    }
    if (!n)
        return tt_fail(r->err, TT_ESHAPE, "a result without elements");
    x = TT_NEW(&r->o->model->arena, n, float);
    for (int64_t i = 0; x && i < n; i++)
        x[i] = value.x[0];
    return give_float(r, (int)shape->n, dim, x);
}

/* The whole shape of an operand, as integers. */
static enum tt_code shape_of(struct tt_onnx_reading *r, const struct tt_symbol *s,
                             struct tt_ints *ret)
{
    const struct tt_probe *p = s->ints ? NULL : &r->o->probes[s->value];
    int64_t n = s->ints ? s->ints->ndim : p->ndim;

    if (!tt_ints_new(r->o->arena, 1, &n, ret))
        return no_memory(r);
    for (int i = 0; s->ints && i < (int)n; i++)
        ret->v[i].a = s->ints->dim[i];
    for (int i = 0; p && i < (int)n; i++) {
        if (!tt_probe_affine(p, i, &ret->v[i]))
            return tt_fail(r->err, TT_EUNSUPPORTED, "dimension %d of '%s' " TT_FOLD_BATCH, i,
                           s->name);
    }
    return TT_OK;
}

static int64_t clamp(int64_t i, int64_t n)
{
    i = i < 0 ? i + n : i;
    return i < 0 ? 0 : i > n ? n : i;
}

static enum tt_code run_shape(struct tt_onnx_reading *r)
{
    struct tt_ints v;
    int64_t start, end;

    if (tt_onnx_need(r, 1, 1) || shape_of(r, r->in[0], &v))
        return r->err->code;
    start = clamp(tt_attr_int(&r->attrs, "start", 0), v.n);
    end = clamp(tt_attr_int(&r->attrs, "end", v.n), v.n);
    if (tt_attrs_done(&r->attrs, r->err))
        return r->err->code;
    v.v += start;
    v.n = v.dim[0] = end > start ? end - start : 0;
    return tt_onnx_give_ints(r, &v);
}

static enum tt_code run_size(struct tt_onnx_reading *r)
{
    const struct tt_fold *product = tt_fold_find("ReduceProd");
    struct tt_attr scalar = {.name = "keepdims", .type = TT_AINT, .i = 0};
    struct tt_attrs attrs = {.n = 1, .list = &scalar, .opset = r->o->opset};
    struct tt_ints v, n;
    const struct tt_ints *in = &v;

    if (tt_onnx_need(r, 1, 1) || tt_attrs_done(&r->attrs, r->err) || shape_of(r, r->in[0], &v) ||
        tt_fold_run(product, &attrs, 1, &in, r->o->arena, &n, r->err))
        return r->err->code;
    return tt_onnx_give_ints(r, &n);
}

static enum tt_code run_identity(struct tt_onnx_reading *r)
{
    if (tt_onnx_need(r, 1, 1) || tt_attrs_done(&r->attrs, r->err))
        return r->err->code;
    return give_operand(r, r->in[0]);
}

/* As it is when nothing is trained: the identity. */
static enum tt_code run_dropout(struct tt_onnx_reading *r)
{
    const struct tt_ints *training;

    if (tt_onnx_need(r, 1, 3))
        return r->err->code;
    tt_attr_ignore(&r->attrs, "ratio");
    tt_attr_ignore(&r->attrs, "seed");
    if (r->o->opset < 7 && !tt_attr_int(&r->attrs, "is_test", 0))
        return tt_fail(r->err, TT_EUNSUPPORTED, "is_test is not 1: exported in training mode");
    training = r->nin > 2 && r->in[2] ? r->in[2]->ints : NULL;
    if (tt_attrs_done(&r->attrs, r->err))
        return r->err->code;
    if (r->nin > 2 && r->in[2] && (!training || training->n != 1 || training->v[0].a))
        return tt_fail(r->err, TT_EUNSUPPORTED,
                       "training_mode is not false; export the model in its eval mode");
    return give_operand(r, r->in[0]);
}

/* Integers of b bits, as C's cast makes them. */
static int64_t wrap(int64_t v, int type)
{
    switch (type) {
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT32:
        return (int32_t)v;
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT16:
        return (int16_t)v;
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT8:
        return (int8_t)v;
    case ONNX__TENSOR_PROTO__DATA_TYPE__UINT32:
        return (uint32_t)v;
    case ONNX__TENSOR_PROTO__DATA_TYPE__UINT16:
        return (uint16_t)v;
    case ONNX__TENSOR_PROTO__DATA_TYPE__UINT8:
        return (uint8_t)v;
    case ONNX__TENSOR_PROTO__DATA_TYPE__BOOL:
        return v != 0;
    default:
        return v;
    }
}

static enum tt_code ints_to_float(struct tt_onnx_reading *r, const struct tt_ints *v)
{
    float *x;

    if (tt_ints_fixed(v, "the operand", r->err))
        return r->err->code;
    if (!v->n)
        return tt_fail(r->err, TT_ESHAPE, "a result without elements");
    x = TT_NEW(&r->o->model->arena, v->n, float);
    for (int64_t i = 0; x && i < v->n; i++)
        x[i] = (float)v->v[i].a;
    return give_float(r, v->ndim, v->dim, x);
}

static enum tt_code ints_to_ints(struct tt_onnx_reading *r, const struct tt_ints *v, int type)
{
    struct tt_ints to;

    if (!tt_ints_new(r->o->arena, v->ndim, v->dim, &to))
        return no_memory(r);
    for (int64_t i = 0; i < v->n; i++) {
        to.v[i] = v->v[i];
        if (!v->v[i].b)
            to.v[i].a = wrap(v->v[i].a, type);
        else if (wrap(v->v[i].a, type) != v->v[i].a || wrap(v->v[i].b, type) != v->v[i].b ||
                 type == ONNX__TENSOR_PROTO__DATA_TYPE__BOOL)
            return tt_fail(r->err, TT_EUNSUPPORTED, "the operand " TT_FOLD_BATCH);
    }
    return tt_onnx_give_ints(r, &to);
}

static enum tt_code float_to_ints(struct tt_onnx_reading *r, const struct tt_symbol *s, int type)
{
    const struct tt_probe *p = &r->o->probes[s->value];
    struct tt_ints to;

    if (!p->data)
        return tt_fail(r->err, TT_EUNSUPPORTED,
                       "'%s' is not a constant, and values are cast to floats only", s->name);
    if (!tt_ints_new(r->o->arena, p->ndim, p->dim[0], &to))
        return tt_fail(r->err, TT_ENOMEM, "no room for '%s' as integers, at most %d", s->name,
                       TT_FOLD_MAX);
    for (int64_t i = 0; i < to.n; i++) {
        if (!(fabsf(p->data[i]) < 0x1p63f))
            return tt_fail(r->err, TT_ERANGE, "element %lld of '%s' is %g, want an integer",
                           (long long)i, s->name, (double)p->data[i]);
        to.v[i].a = type == ONNX__TENSOR_PROTO__DATA_TYPE__BOOL ? p->data[i] != 0
                                                                : wrap((int64_t)p->data[i], type);
    }
    return tt_onnx_give_ints(r, &to);
}

/* While the model runs, a number is a float32 whatever it is called; but a cast to integers cuts
 * the fraction off, and one to booleans asks whether it is 0. */
static enum tt_code cast_to(struct tt_onnx_reading *r, int64_t to)
{
    const struct tt_probe *p;
    enum tt_onnx_class class;

    class = to < 0 || to > INT32_MAX ? TT_ONNX_OTHER : tt_onnx_class((int)to);
    if (class == TT_ONNX_OTHER)
        return tt_fail(r->err, TT_EUNSUPPORTED, "cast to type %s (%lld)",
                       to >= 0 && to < 64 ? tt_onnx_type_name((int)to) : "unknown", (long long)to);
    if (r->in[0]->ints)
        return class == TT_ONNX_INT ? ints_to_ints(r, r->in[0]->ints, (int)to)
                                    : ints_to_float(r, r->in[0]->ints);
    p = &r->o->probes[r->in[0]->value];
    if (p->data && class == TT_ONNX_INT && p->dtype == TT_FLOATS && tt_probe_len(p) <= TT_FOLD_MAX)
        return float_to_ints(r, r->in[0], (int)to);
    return p->dtype == tt_onnx_number((int)to) ? give_operand(r, r->in[0])
                                               : tt_onnx_run_op(r, tt_op_find("Cast"));
}

static enum tt_code run_cast(struct tt_onnx_reading *r)
{
    const int64_t to = tt_attr_int(&r->attrs, "to", 0);

    tt_attr_ignore(&r->attrs, "saturate");
    if (tt_onnx_need(r, 1, 1) || tt_attrs_done(&r->attrs, r->err))
        return r->err->code;
    return cast_to(r, to);
}

/* To what the second operand is: exporters write it where a number meets a tensor. */
static enum tt_code run_cast_like(struct tt_onnx_reading *r)
{
    static const int64_t type[] = {[TT_FLOATS] = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT,
                                   [TT_INTS] = ONNX__TENSOR_PROTO__DATA_TYPE__INT64,
                                   [TT_BOOLS] = ONNX__TENSOR_PROTO__DATA_TYPE__BOOL};
    struct tt_attr *to = TT_NEW(r->o->arena, 1, struct tt_attr);
    const struct tt_symbol *like;
    enum tt_number number;

    tt_attr_ignore(&r->attrs, "saturate");
    if (tt_onnx_need(r, 2, 2) || tt_attrs_done(&r->attrs, r->err))
        return r->err->code;
    if (!to)
        return no_memory(r);
    like = r->in[1];
    number = like->value >= 0 ? r->o->probes[like->value].dtype : TT_INTS;
    *to = (struct tt_attr){.name = "to", .type = TT_AINT, .i = type[number]};
    r->attrs.list = to;
    r->attrs.n = 1;
    r->nin = r->attrs.nin = 1;
    return cast_to(r, type[number]);
}

static const struct rule {
    const char *op;
    tt_onnx_rule *run;
} rules[] = {
    {"Constant", run_constant}, {"ConstantOfShape", run_constant_of_shape},
    {"Shape", run_shape},       {"Size", run_size},
    {"Identity", run_identity}, {"Dropout", run_dropout},
    {"Cast", run_cast},         {"CastLike", run_cast_like},
};

tt_onnx_rule *tt_onnx_find_rule(const char *op)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!strcmp(rules[i].op, op))
            return rules[i].run;
    return NULL;
}
