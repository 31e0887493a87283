// SPDX-License-Identifier: Apache-2.0
/* Split: each of its results is a node of its own, that takes its share along one axis. */
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"
#include "runtime/strided.h"

struct attr {
    int64_t axis, result, results;
    const struct tt_ints *sizes; // NULL: equal ones, the last may be smaller
    bool rest;                   // it may
};

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *s = (struct attr *)attr;
    int64_t n = 0, results = tt_attr_int(a, "num_outputs", a->nresults);
    const int64_t *old = tt_attr_ints(a, "split", &n);
    struct tt_ints *sizes;

    s->axis = tt_attr_int(a, "axis", 0);
    s->result = a->result;
    s->results = a->nresults;
    s->rest = a->opset >= 18;
    if (a->ints[1])
        n = a->ints[1]->n;
    if (results != a->nresults || ((a->ints[1] || old) && n != a->nresults))
        return tt_fail(err, TT_ESHAPE, "%d results, and sizes for %lld", a->nresults,
                       (long long)(a->ints[1] || old ? n : results));
    if (!a->ints[1] && !old)
        return TT_OK;
    sizes = TT_NEW(a->arena, 1, struct tt_ints);
    if (sizes)
        *sizes = (struct tt_ints){.ndim = 1, .n = n, .v = TT_NEW(a->arena, n, struct tt_affine)};
    if (!sizes || !sizes->v)
        return tt_fail(err, TT_ENOMEM, "out of memory for %lld sizes", (long long)n);
    for (int64_t i = 0; i < n; i++)
        sizes->v[i] = a->ints[1] ? a->ints[1]->v[i] : (struct tt_affine){old[i], 0};
    s->sizes = sizes;
    return TT_OK;
}

/* Where result i begins, and how many elements of the axis, which has size, it takes. */
static int64_t share(const struct tt_node *n, int64_t i, int64_t size, int64_t *count)
{
    const struct attr *s = (const struct attr *)n->attr;
    int64_t each = (size + s->results - 1) / s->results, first = 0;

    if (!s->sizes) {
        first = i * each;
        *count = first + each <= size ? each : size - first;
        return first;
    }
    for (int64_t k = 0; k < i; k++)
        first += tt_now(s->sizes->v[k], n);
    *count = tt_now(s->sizes->v[i], n);
    return first;
}

static int axis_of(const struct tt_node *n)
{
    int64_t axis = ((const struct attr *)n->attr)->axis;

    return (int)(axis < 0 ? axis + n->in[0]->ndim : axis);
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct attr *s = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    int64_t size, count = 0, first = 0;

    if (s->axis < -x->ndim || s->axis >= x->ndim)
        return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                       (long long)s->axis, x->name, x->ndim);
    size = x->dim[axis_of(n)];
    for (int64_t i = 0; i < s->results; i++) {
        first = share(n, i, size, &count);
        if (count < 1)
            return tt_fail(err, TT_ESHAPE, "nothing is left of dimension %d for result %lld",
                           axis_of(n), (long long)i);
    }
    if (first + count != size || (!s->sizes && !s->rest && size % s->results))
        return tt_fail(err, TT_ESHAPE,
                       "dimension %d of input '%s' has %lld elements, the %lld "
                       "results %lld",
                       axis_of(n), x->name, (long long)size, (long long)s->results,
                       (long long)(first + count));
    n->out->ndim = x->ndim;
    memcpy(n->out->dim, x->dim, sizeof x->dim);
    (void)share(n, s->result, size, &n->out->dim[axis_of(n)]);
    return TT_OK;
}

/* Strides of both, and where the result begins in the operand. */
static int64_t place(const struct tt_node *n, int64_t *sy, int64_t *sx)
{
    int axis = axis_of(n);
    int64_t count;

    tt_strides(n->out, sy);
    tt_strides(n->in[0], sx);
    return share(n, ((const struct attr *)n->attr)->result, n->in[0]->dim[axis], &count) * sx[axis];
}

static void forward(struct tt_node *n)
{
    int64_t sy[TT_MAXDIM], sx[TT_MAXDIM], at = place(n, sy, sx);

    tt_strided_copy(n->out->ndim, n->out->dim, n->out->x, sy, n->in[0]->x + at, sx, false);
}

static void backward(struct tt_node *n)
{
    int64_t sy[TT_MAXDIM], sx[TT_MAXDIM], at = place(n, sy, sx);

    if (!n->add[0])
        memset(n->in[0]->g, 0, sizeof(float) * (size_t)tt_len(n->in[0]));
    tt_strided_copy(n->out->ndim, n->out->dim, n->in[0]->g + at, sx, n->out->g, sy, true);
}

const struct tt_op tt_op_split = {
    .name = "Split",
    .min_in = 1,
    .max_in = 2,
    .ints = 1u << 1,
    .results = INT32_MAX,
    .opset = 2,
    .source = "ONNX Split-18",
    .attr_size = sizeof(struct attr),
    .layout = TT_STRIDED,
    .read = read_attr,
    .shape = shape,
    .forward = forward,
    .backward = backward,
};
