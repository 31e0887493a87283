// SPDX-License-Identifier: Apache-2.0
/* Operators that only move values: Transpose, Slice, Concat.  Each says where a value comes
 * from by strides, which works in any layout and, turned round, is the gradient. */
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"
#include "runtime/ops/patterns.h"
#include "runtime/strided.h"

/* ---- Transpose ------------------------------------------------------------------------------- */

struct transpose {
    int64_t n, perm[TT_MAXDIM]; // n 0: reversed
};

static enum tt_code read_transpose(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct transpose *t = (struct transpose *)attr;
    const int64_t *v = tt_attr_ints(a, "perm", &t->n);

    if (t->n > TT_MAXDIM)
        return tt_fail(err, TT_EUNSUPPORTED, "%lld dimensions, want at most %d", (long long)t->n,
                       TT_MAXDIM);
    for (int i = 0; i < t->n; i++)
        t->perm[i] = v[i];
    return TT_OK;
}

bool tt_transposes(const void *attr, int n, const int *perm)
{
    const struct transpose *t = (const struct transpose *)attr;
    bool same = true;

    for (int i = 0; i < n; i++)
        same = same && (t->n ? t->perm[i] : n - 1 - i) == perm[i];
    return same && (!t->n || t->n == n);
}

static int64_t perm_at(const struct tt_node *n, int i)
{
    const struct transpose *t = (const struct transpose *)n->attr;

    return t->n ? t->perm[i] : n->in[0]->ndim - 1 - i;
}

static enum tt_code shape_transpose(struct tt_node *n, struct tt_err *err)
{
    const struct transpose *t = (const struct transpose *)n->attr;
    const struct tt_tensor *x = n->in[0];
    bool seen[TT_MAXDIM] = {false};

    if (t->n && t->n != x->ndim)
        return tt_fail(err, TT_ESHAPE, "perm has %lld entries, input '%s' %d dimensions",
                       (long long)t->n, x->name, x->ndim);
    n->out->ndim = x->ndim;
    for (int i = 0; i < x->ndim; i++) {
        int64_t p = perm_at(n, i);

        if (p < 0 || p >= x->ndim || seen[p])
            return tt_fail(err, TT_ERANGE, "perm is not a permutation of %d dimensions", x->ndim);
        seen[p] = true;
        n->out->dim[i] = x->dim[p];
    }
    return TT_OK;
}

/* The dimension that lies i-th in memory, from the one with the largest stride on. */
static int lies_at(enum tt_layout layout, int ndim, int i)
{
    if (layout == TT_PLAIN || i == 0)
        return i;
    return i == ndim - 1 ? 1 : i + 1;
}

static int order_of_transpose(const struct tt_node *n)
{
    int ndim = n->out->ndim;

    for (int layout = TT_PLAIN; layout <= (ndim >= 3 ? TT_LAST : TT_PLAIN); layout++) {
        bool same = true;

        for (int i = 0; i < ndim; i++)
            same = same && perm_at(n, lies_at((enum tt_layout)layout, ndim, i)) ==
                               lies_at(n->in[0]->layout, ndim, i);
        if (same)
            return layout;
    }
    return -1;
}

/* The input's strides in the order of the result's dimensions. */
static void permuted(const struct tt_node *n, int64_t sx[TT_MAXDIM])
{
    int64_t own[TT_MAXDIM];

    tt_strides(n->in[0], own);
    for (int i = 0; i < n->out->ndim; i++)
        sx[i] = own[perm_at(n, i)];
}

static void forward_transpose(struct tt_node *n)
{
    int64_t sy[TT_MAXDIM], sx[TT_MAXDIM];

    tt_strides(n->out, sy);
    permuted(n, sx);
    tt_strided_copy(n->out->ndim, n->out->dim, n->out->x, sy, n->in[0]->x, sx, false);
}

static void backward_transpose(struct tt_node *n)
{
    int64_t sy[TT_MAXDIM], sx[TT_MAXDIM];

    tt_strides(n->out, sy);
    permuted(n, sx);
    tt_strided_copy(n->out->ndim, n->out->dim, n->in[0]->g, sx, n->out->g, sy, n->add[0]);
}

const struct tt_op tt_op_transpose = {
    .name = "Transpose",
    .min_in = 1,
    .max_in = 1,
    .opset = 1,
    .source = "ONNX Transpose-13",
    .attr_size = sizeof(struct transpose),
    .layout = TT_STRIDED,
    .read = read_transpose,
    .shape = shape_transpose,
    .same_order = order_of_transpose,
    .forward = forward_transpose,
    .backward = backward_transpose,
};

/* ---- Slice ----------------------------------------------------------------------------------- */

struct slice {
    int n;
    int64_t axis[TT_MAXDIM], step[TT_MAXDIM];
    struct tt_affine start[TT_MAXDIM], end[TT_MAXDIM];
};

static enum tt_code read_slice(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    static const char *const names[] = {"starts", "ends", "axes"};
    struct slice *s = (struct slice *)attr;
    int64_t count[3], n;
    const int64_t *old[3];

    for (int i = 0; i < 3; i++)
        old[i] = tt_attr_ints(a, names[i], &count[i]);
    n = a->ints[1] ? a->ints[1]->n : old[0] ? count[0] : -1;
    if (n < 0 || n > TT_MAXDIM || (a->ints[1] ? !a->ints[2] || a->ints[2]->n != n : count[1] != n))
        return tt_fail(err, TT_EUNSUPPORTED,
                       "starts and ends are not known when the model is "
                       "loaded, or not as many");
    if ((a->ints[3] && a->ints[3]->n != n) || (a->ints[4] && a->ints[4]->n != n) ||
        (!a->ints[1] && old[2] && count[2] != n))
        return tt_fail(err, TT_ESHAPE, "not as many axes or steps as starts");
    s->n = (int)n;
    for (int i = 0; i < s->n; i++) {
        s->start[i] = a->ints[1] ? a->ints[1]->v[i] : (struct tt_affine){old[0][i], 0};
        s->end[i] = a->ints[1] ? a->ints[2]->v[i] : (struct tt_affine){old[1][i], 0};
        s->axis[i] = a->ints[1] ? (a->ints[3] ? a->ints[3]->v[i].a : i) : old[2] ? old[2][i] : i;
        s->step[i] = a->ints[1] && a->ints[4] ? a->ints[4]->v[i].a : 1;
        if (a->ints[1] &&
            ((a->ints[3] && a->ints[3]->v[i].b) || (a->ints[4] && a->ints[4]->v[i].b)))
            return tt_fail(err, TT_EUNSUPPORTED, "an axis or a step depends on the batch");
        if (s->step[i] == 0 || s->step[i] == INT64_MIN)
            return tt_fail(err, TT_ERANGE, "step %d is %lld", i, (long long)s->step[i]);
    }
    return TT_OK;
}

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* First index and number of elements of slice i along its axis of that size. */
static void range(const struct tt_node *n, int i, int64_t size, int64_t *first, int64_t *count)
{
    const struct slice *s = (const struct slice *)n->attr;
    int64_t step = s->step[i], start = tt_now(s->start[i], n), end = tt_now(s->end[i], n);

    start = start < 0 ? (start < -size ? -1 : start + size) : start;
    end = end < 0 ? (end < -size ? -1 : end + size) : end;
    if (step > 0) {
        *first = clamp(start, 0, size);
        end = clamp(end, 0, size);
        *count = end > *first ? (end - *first - 1) / step + 1 : 0;
    } else {
        *first = clamp(start, -1, size - 1);
        end = clamp(end, -1, size - 1);
        *count = *first > end ? (*first - end - 1) / -step + 1 : 0;
    }
}

static int axis_of(const struct slice *s, int i, int ndim)
{
    return (int)(s->axis[i] < 0 ? s->axis[i] + ndim : s->axis[i]);
}

static enum tt_code shape_slice(struct tt_node *n, struct tt_err *err)
{
    const struct slice *s = (const struct slice *)n->attr;
    const struct tt_tensor *x = n->in[0];
    bool seen[TT_MAXDIM] = {false};

    n->out->ndim = x->ndim;
    memcpy(n->out->dim, x->dim, sizeof x->dim);
    for (int i = 0; i < s->n; i++) {
        int64_t first;
        int axis;

        if (s->axis[i] < -x->ndim || s->axis[i] >= x->ndim)
            return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                           (long long)s->axis[i], x->name, x->ndim);
        axis = axis_of(s, i, x->ndim);
        if (seen[axis])
            return tt_fail(err, TT_ERANGE, "axis %d is given twice", axis);
        seen[axis] = true;
        range(n, i, x->dim[axis], &first, &n->out->dim[axis]);
        if (n->out->dim[axis] < 1)
            return tt_fail(err, TT_ESHAPE, "nothing is left of dimension %d of input '%s'", axis,
                           x->name);
    }
    return TT_OK;
}

/* Offset and strides of the input under the result's indices. */
static int64_t sliced(const struct tt_node *n, int64_t sx[TT_MAXDIM])
{
    const struct slice *s = (const struct slice *)n->attr;
    int64_t offset = 0;

    tt_strides(n->in[0], sx);
    for (int i = 0; i < s->n; i++) {
        int axis = axis_of(s, i, n->in[0]->ndim);
        int64_t first, count;

        range(n, i, n->in[0]->dim[axis], &first, &count);
        offset += first * sx[axis];
        sx[axis] *= s->step[i];
    }
    return offset;
}

static void forward_slice(struct tt_node *n)
{
    int64_t sy[TT_MAXDIM], sx[TT_MAXDIM], offset = sliced(n, sx);

    tt_strides(n->out, sy);
    tt_strided_copy(n->out->ndim, n->out->dim, n->out->x, sy, n->in[0]->x + offset, sx, false);
}

static void backward_slice(struct tt_node *n)
{
    int64_t sy[TT_MAXDIM], sx[TT_MAXDIM], offset = sliced(n, sx);

    tt_strides(n->out, sy);
    if (!n->add[0])
        memset(n->in[0]->g, 0, sizeof(float) * (size_t)tt_len(n->in[0]));
    tt_strided_copy(n->out->ndim, n->out->dim, n->in[0]->g + offset, sx, n->out->g, sy, true);
}

const struct tt_op tt_op_slice = {
    .name = "Slice",
    .min_in = 1,
    .max_in = 5,
    .ints = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4,
    .opset = 1,
    .source = "ONNX Slice-13; below opset 10 Slice-1",
    .attr_size = sizeof(struct slice),
    .layout = TT_STRIDED,
    .read = read_slice,
    .shape = shape_slice,
    .forward = forward_slice,
    .backward = backward_slice,
};

/* ---- Concat ---------------------------------------------------------------------------------- */

struct concat {
    int64_t axis;
};

static enum tt_code read_concat(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    (void)err;
    ((struct concat *)attr)->axis = tt_attr_int(a, "axis", 1);
    return TT_OK;
}

static enum tt_code shape_concat(struct tt_node *n, struct tt_err *err)
{
    int64_t axis = ((const struct concat *)n->attr)->axis;
    const struct tt_tensor *x = n->in[0];
    char ta[TT_SHAPE_TEXT], tb[TT_SHAPE_TEXT];

    if (axis < -x->ndim || axis >= x->ndim)
        return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                       (long long)axis, x->name, x->ndim);
    axis += axis < 0 ? x->ndim : 0;
    n->out->ndim = x->ndim;
    memcpy(n->out->dim, x->dim, sizeof x->dim);
    for (int k = 1; k < n->nin; k++) {
        const struct tt_tensor *t = n->in[k];
        bool fits = t->ndim == x->ndim;

        for (int i = 0; fits && i < x->ndim; i++)
            fits = i == axis || t->dim[i] == x->dim[i];
        if (!fits)
            return tt_fail(err, TT_ESHAPE, "operands %s and %s differ beside axis %lld",
                           tt_shape_text(x->dim, x->ndim, ta, sizeof ta),
                           tt_shape_text(t->dim, t->ndim, tb, sizeof tb), (long long)axis);
        n->out->dim[axis] += t->dim[axis];
    }
    return TT_OK;
}

static void run_concat(struct tt_node *n, bool back)
{
    int64_t axis = ((const struct concat *)n->attr)->axis, sy[TT_MAXDIM], sx[TT_MAXDIM];
    int64_t behind = 0;

    axis += axis < 0 ? n->out->ndim : 0;
    tt_strides(n->out, sy);
    behind = n->out->dim[axis];
    for (int k = n->nin - 1; k >= 0; k--) {
        struct tt_tensor *t = n->in[k];
        int64_t offset = (behind -= t->dim[axis]) * sy[axis];

        tt_strides(t, sx);
        if (!back)
            tt_strided_copy(t->ndim, t->dim, n->out->x + offset, sy, t->x, sx, false);
        else if (t->g)
            tt_strided_copy(t->ndim, t->dim, t->g, sx, n->out->g + offset, sy, n->add[k]);
    }
}

static void forward_concat(struct tt_node *n)
{
    run_concat(n, false);
}

static void backward_concat(struct tt_node *n)
{
    run_concat(n, true);
}

const struct tt_op tt_op_concat = {
    .name = "Concat",
    .min_in = 1,
    .max_in = TT_MAXIN,
    .associative = true,
    .opset = 4,
    .source = "ONNX Concat-13",
    .attr_size = sizeof(struct concat),
    .layout = TT_STRIDED,
    .read = read_concat,
    .shape = shape_concat,
    .forward = forward_concat,
    .backward = backward_concat,
};
