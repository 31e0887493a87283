// SPDX-License-Identifier: Apache-2.0
/* Operators that give the same values another shape, in the same order: nothing is computed. */
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"

static void forward(struct tt_node *n)
{
    memmove(n->out->x, n->in[0]->x, sizeof(float) * (size_t)tt_len(n->out));
}

static void backward(struct tt_node *n)
{
    float *dx = n->in[0]->g;

    if (!n->add[0]) {
        memmove(dx, n->out->g, sizeof *dx * (size_t)tt_len(n->out));
        return;
    }
    for (int64_t i = 0; i < tt_len(n->out); i++)
        dx[i] += n->out->g[i];
}

#define VIEW(id, onnx, since, ins, text, struct_, read_, shape_) \
    const struct tt_op tt_op_##id = {                            \
        .name = onnx,                                            \
        .min_in = 1,                                             \
        .max_in = ins,                                           \
        .ints = (ins) > 1 ? 1u << 1 : 0,                         \
        .opset = since,                                          \
        .source = text,                                          \
        .attr_size = sizeof(struct_),                            \
        .layout = TT_WANTS_PLAIN,                                \
        .view = true,                                            \
        .read = read_,                                           \
        .shape = shape_,                                         \
        .forward = forward,                                      \
        .backward = backward,                                    \
    };

/* ---- Flatten --------------------------------------------------------------------------------- */

struct flatten {
    int64_t axis;
};

static enum tt_code read_flatten(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    (void)err;
    ((struct flatten *)attr)->axis = tt_attr_int(a, "axis", 1);
    return TT_OK;
}

static enum tt_code shape_flatten(struct tt_node *n, struct tt_err *err)
{
    int64_t axis = ((const struct flatten *)n->attr)->axis;
    const struct tt_tensor *x = n->in[0];

    axis += axis < 0 ? x->ndim : 0;
    if (axis < 0 || axis > x->ndim)
        return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                       (long long)axis, x->name, x->ndim);
    n->out->ndim = 2;
    n->out->dim[0] = n->out->dim[1] = 1;
    for (int i = 0; i < x->ndim; i++)
        n->out->dim[i < axis ? 0 : 1] *= x->dim[i];
    return TT_OK;
}

VIEW(flatten, "Flatten", 1, 1, "ONNX Flatten-13", struct flatten, read_flatten, shape_flatten)

/* ---- Reshape --------------------------------------------------------------------------------- */

struct reshape {
    int ndim;
    bool zero; // 0 is a size, not "as the input's"
    struct tt_affine dim[TT_MAXDIM];
};

static enum tt_code read_reshape(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct reshape *r = (struct reshape *)attr;
    const struct tt_ints *to = a->ints[1];

    if (!to)
        return tt_fail(err, TT_EUNSUPPORTED, "the shape is not known when the model is loaded");
    if (to->n > TT_MAXDIM)
        return tt_fail(err, TT_EUNSUPPORTED, "a shape of %lld dimensions, want at most %d",
                       (long long)to->n, TT_MAXDIM);
    r->ndim = (int)to->n;
    r->zero = tt_attr_int(a, "allowzero", 0) != 0;
    for (int i = 0; i < r->ndim; i++)
        r->dim[i] = to->v[i];
    return TT_OK;
}

static enum tt_code shape_reshape(struct tt_node *n, struct tt_err *err)
{
    const struct reshape *r = (const struct reshape *)n->attr;
    const struct tt_tensor *x = n->in[0];
    char from[TT_SHAPE_TEXT], to[TT_SHAPE_TEXT];
    int64_t known = 1;
    int open = -1;
    bool fits = true;

    n->out->ndim = r->ndim;
    for (int i = 0; i < r->ndim; i++) {
        int64_t d = tt_now(r->dim[i], n);

        if (d == 0 && !r->zero)
            d = i < x->ndim ? x->dim[i] : 0;
        n->out->dim[i] = d;
        if (d == -1 && open < 0)
            open = i;
        else
            fits = fits && d >= 0 && tt_mul(known, d, &known);
    }
    if (fits && open >= 0 && known > 0)
        n->out->dim[open] = tt_len(x) / known;
    if (!fits || tt_len(n->out) != tt_len(x) || (open >= 0 && known == 0))
        return tt_fail(err, TT_ESHAPE, "input '%s' %s has not as many elements as %s", x->name,
                       tt_shape_text(x->dim, x->ndim, from, sizeof from),
                       tt_shape_text(n->out->dim, r->ndim, to, sizeof to));
    return TT_OK;
}

VIEW(reshape, "Reshape", 5, 2, "ONNX Reshape-14", struct reshape, read_reshape, shape_reshape)

/* ---- Unsqueeze, Squeeze ---------------------------------------------------------------------- */

struct axes {
    int n; // Squeeze: 0 means every dimension of size 1
    int64_t axis[TT_MAXDIM];
};

static enum tt_code read_axes(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct axes *s = (struct axes *)attr;
    const struct tt_ints *given = a->ints[1];
    int64_t n = 0;
    const int64_t *v = tt_attr_ints(a, "axes", &n);

    if (given)
        n = given->n;
    if (n > TT_MAXDIM)
        return tt_fail(err, TT_EUNSUPPORTED, "%lld axes, want at most %d", (long long)n, TT_MAXDIM);
    s->n = (int)n;
    for (int i = 0; i < s->n; i++) {
        if (given && given->v[i].b)
            return tt_fail(err, TT_EUNSUPPORTED, "an axis depends on the batch");
        s->axis[i] = given ? given->v[i].a : v[i];
    }
    return TT_OK;
}

static bool has_axis(const struct axes *s, int axis, int ndim)
{
    for (int i = 0; i < s->n; i++)
        if (s->axis[i] == axis || s->axis[i] + ndim == axis)
            return true;
    return false;
}

static enum tt_code shape_unsqueeze(struct tt_node *n, struct tt_err *err)
{
    const struct axes *s = (const struct axes *)n->attr;
    const struct tt_tensor *x = n->in[0];
    int ndim = x->ndim + s->n, from = 0;

    if (ndim > TT_MAXDIM || !s->n)
        return tt_fail(err, TT_EUNSUPPORTED, "a result of %d dimensions, want at most %d", ndim,
                       TT_MAXDIM);
    for (int i = 0; i < ndim; i++)
        n->out->dim[i] = has_axis(s, i, ndim) ? 1 : from < x->ndim ? x->dim[from++] : 0;
    n->out->ndim = ndim;
    if (from != x->ndim || tt_len(n->out) != tt_len(x))
        return tt_fail(err, TT_ERANGE, "axes are given twice, or outside of %d dimensions", ndim);
    return TT_OK;
}

static enum tt_code shape_squeeze(struct tt_node *n, struct tt_err *err)
{
    const struct axes *s = (const struct axes *)n->attr;
    const struct tt_tensor *x = n->in[0];

    n->out->ndim = 0;
    for (int i = 0; i < x->ndim; i++) {
        bool drop = s->n ? has_axis(s, i, x->ndim) : x->dim[i] == 1;

        if (drop && x->dim[i] != 1)
            return tt_fail(err, TT_ESHAPE, "dimension %d of input '%s' is %lld, want 1", i, x->name,
                           (long long)x->dim[i]);
        if (!drop)
            n->out->dim[n->out->ndim++] = x->dim[i];
    }
    return TT_OK;
}

VIEW(unsqueeze, "Unsqueeze", 1, 2, "ONNX Unsqueeze-13", struct axes, read_axes, shape_unsqueeze)
VIEW(squeeze, "Squeeze", 1, 2, "ONNX Squeeze-13", struct axes, read_axes, shape_squeeze)
