// SPDX-License-Identifier: Apache-2.0
/* Pad: with a constant, or with values of the operand itself; a negative padding takes away. */
#include <stddef.h>
#include <string.h>

#include "base/arena.h"
#include "runtime/op.h"
#include "runtime/ops/patterns.h"
#include "runtime/ops/resample.h"
#include "runtime/strided.h"

enum mode { CONSTANT, REFLECT, EDGE, WRAP };
static const char *const modes[] = {"constant", "reflect", "edge", "wrap", NULL};

struct pad {
    int n, naxes; // pads of so many dimensions; axes that they are for, 0: all
    enum mode mode;
    int64_t before[TT_MAXDIM], after[TT_MAXDIM], axes[TT_MAXDIM];
    float value; // where operand 2 does not give it
};

static enum tt_code read_axes(const struct tt_attrs *a, struct pad *p, struct tt_err *err)
{
    const struct tt_ints *axes = a->nin > 3 ? a->ints[3] : NULL;

    if (!axes)
        return TT_OK;
    if (axes->n != p->n)
        return tt_fail(err, TT_ESHAPE, "%lld axes, and pads for %d", (long long)axes->n, p->n);
    p->naxes = p->n;
    for (int i = 0; i < p->n; i++) {
        if (axes->v[i].b)
            return tt_fail(err, TT_EUNSUPPORTED, "axis %d depends on the batch", i);
        p->axes[i] = axes->v[i].a;
    }
    return TT_OK;
}

static enum tt_code read_pad(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct pad *p = (struct pad *)attr;
    const char *mode = tt_attr_str(a, "mode", "constant");
    int64_t n = 0;
    const int64_t *old = tt_attr_ints(a, "pads", &n);
    int m = 0;

    p->value = tt_attr_float(a, "value", 0);
    while (modes[m] && strcmp(modes[m], mode) != 0)
        m++;
    if (!modes[m])
        return tt_fail(err, TT_EUNSUPPORTED, "mode '%s' is not supported", mode);
    p->mode = (enum mode)m;
    if (a->ints[1])
        n = a->ints[1]->n;
    if ((!a->ints[1] && !old) || n % 2 || n > (int64_t)2 * TT_MAXDIM)
        return tt_fail(err, TT_EUNSUPPORTED, "pads are not known when the model is loaded");
    p->n = (int)(n / 2);
    for (int i = 0; i < n; i++) {
        int64_t v = a->ints[1] ? a->ints[1]->v[i].a : old[i];

        if (v < -INT32_MAX || v > INT32_MAX || (a->ints[1] && a->ints[1]->v[i].b))
            return tt_fail(err, TT_EUNSUPPORTED,
                           "padding %lld, want a number below 2^31, not the "
                           "batch's",
                           (long long)v);
        *(i < p->n ? &p->before[i] : &p->after[i - p->n]) = v;
    }
    return read_axes(a, p, err);
}

/* What is added before and behind dimension i of ndim. */
static void sides_of(const struct pad *p, int ndim, int i, int64_t *before, int64_t *after)
{
    *before = p->naxes ? 0 : p->before[i];
    *after = p->naxes ? 0 : p->after[i];
    for (int k = 0; k < p->naxes; k++)
        if (p->axes[k] == i || p->axes[k] == i - ndim) {
            *before = p->before[k];
            *after = p->after[k];
        }
}

static void sides(const struct tt_node *n, int i, int64_t *before, int64_t *after)
{
    sides_of((const struct pad *)n->attr, n->in[0]->ndim, i, before, after);
}

bool tt_pads_with_zeros(const void *attr, int n, int64_t *before, int64_t *after)
{
    const struct pad *p = (const struct pad *)attr;

    if (p->mode != CONSTANT || p->value != 0)
        return false;
    for (int i = 0; i < n; i++) {
        sides_of(p, n, i, &before[i], &after[i]);
        if (before[i] < 0 || after[i] < 0)
            return false;
    }
    return true;
}

/* Which element of size of the operand the result's at is, counted from the operand's first. */
static int64_t source(enum mode mode, int64_t at, int64_t size)
{
    int64_t period = 2 * (size - 1);

    if (mode == EDGE)
        return at < 0 ? 0 : at >= size ? size - 1 : at;
    if (mode == WRAP)
        return (at % size + size) % size;
    if (size == 1)
        return 0;
    at = (at % period + period) % period;
    return at < size ? at : period - at;
}

static void plan(const struct tt_node *n, struct tt_axis *a)
{
    for (int i = 0; i < n->in[0]->ndim; i++) {
        int64_t before, after;

        sides(n, i, &before, &after);
        a[i] = (struct tt_axis){.from = n->in[0]->dim[i],
                                .to = n->in[0]->dim[i] + before + after,
                                .taps = before || after};
    }
}

static enum tt_code shape_pad(struct tt_node *n, struct tt_err *err)
{
    const struct pad *p = (const struct pad *)n->attr;
    const struct tt_tensor *x = n->in[0];
    struct tt_axis axes[TT_MAXDIM];
    int64_t len = 1;

    if (!p->naxes && p->n != x->ndim)
        return tt_fail(err, TT_ESHAPE, "pads for %d dimensions, input '%s' has %d", p->n, x->name,
                       x->ndim);
    for (int k = 0; k < p->naxes; k++)
        if (p->axes[k] < -x->ndim || p->axes[k] >= x->ndim)
            return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                           (long long)p->axes[k], x->name, x->ndim);
    if (n->nin > 2 && n->in[2] && tt_len(n->in[2]) != 1)
        return tt_fail(err, TT_ESHAPE, "the value to pad with is not one number");
    plan(n, axes);
    n->out->ndim = x->ndim;
    for (int i = 0; i < x->ndim; i++) {
        n->out->dim[i] = axes[i].to;
        if (axes[i].to < 1 || axes[i].to > INT32_MAX || !tt_mul(len, axes[i].to, &len))
            return tt_fail(err, TT_ESHAPE, "dimension %d of input '%s', %lld, becomes %lld", i,
                           x->name, (long long)axes[i].from, (long long)axes[i].to);
    }
    n->nscratch = p->mode == CONSTANT ? 0 : tt_resample_scratch(axes, x->ndim);
    return TT_OK;
}

/* What operand and result have in common: its size, and where it begins in each. */
static void common(const struct tt_node *n, int64_t *dim, int64_t *sy, int64_t *sx, int64_t *oy,
                   int64_t *ox)
{
    *oy = *ox = 0;
    tt_strides(n->out, sy);
    tt_strides(n->in[0], sx);
    for (int i = 0; i < n->out->ndim; i++) {
        int64_t before, after;

        sides(n, i, &before, &after);
        dim[i] = n->in[0]->dim[i] + (before < 0 ? before : 0) + (after < 0 ? after : 0);
        dim[i] = dim[i] < 0 ? 0 : dim[i];
        *oy += before > 0 ? before * sy[i] : 0;
        *ox += before < 0 ? -before * sx[i] : 0;
    }
}

static void fill(struct tt_node *n, struct tt_axis *axes)
{
    const struct pad *p = (const struct pad *)n->attr;

    plan(n, axes);
    tt_resample_tables(axes, n->out->ndim, n->scratch);
    for (int i = 0; i < n->out->ndim; i++) {
        int64_t before, after;

        sides(n, i, &before, &after);
        for (int64_t j = 0; axes[i].taps && j < axes[i].to; j++) {
            axes[i].w[j] = 1;
            axes[i].at[j] = (int32_t)source(p->mode, j - before, axes[i].from);
        }
    }
}

static void forward_pad(struct tt_node *n)
{
    const struct pad *p = (const struct pad *)n->attr;
    float value = n->nin > 2 && n->in[2] ? *n->in[2]->x : p->value;
    int64_t dim[TT_MAXDIM], sy[TT_MAXDIM], sx[TT_MAXDIM], oy, ox, len = tt_len(n->out);
    struct tt_axis axes[TT_MAXDIM];

    if (p->mode != CONSTANT) {
        fill(n, axes);
        tt_resample_forward(n, axes);
        return;
    }
    for (int64_t i = 0; i < len; i++)
        n->out->x[i] = value;
    common(n, dim, sy, sx, &oy, &ox);
    tt_strided_copy(n->out->ndim, dim, n->out->x + oy, sy, n->in[0]->x + ox, sx, false);
}

static void backward_pad(struct tt_node *n)
{
    int64_t dim[TT_MAXDIM], sy[TT_MAXDIM], sx[TT_MAXDIM], oy, ox;
    struct tt_axis axes[TT_MAXDIM];

    if (!n->in[0]->g)
        return;
    if (((const struct pad *)n->attr)->mode != CONSTANT) {
        fill(n, axes);
        tt_resample_backward(n, axes);
        return;
    }
    common(n, dim, sy, sx, &oy, &ox);
    if (!n->add[0])
        memset(n->in[0]->g, 0, sizeof(float) * (size_t)tt_len(n->in[0]));
    tt_strided_copy(n->out->ndim, dim, n->in[0]->g + ox, sx, n->out->g + oy, sy, true);
}

const struct tt_op tt_op_pad = {
    .name = "Pad",
    .min_in = 1,
    .max_in = 4,
    .ints = 1u << 1 | 1u << 3,
    .opset = 2,
    .source = "ONNX Pad-19; below opset 11 Pad-2",
    .attr_size = sizeof(struct pad),
    .layout = TT_STRIDED,
    .read = read_pad,
    .shape = shape_pad,
    .forward = forward_pad,
    .backward = backward_pad,
};
