// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "runtime/fold_row.h"

/* Product of dimensions [from, to). */
static int64_t product(const int64_t *dim, int from, int to)
{
    int64_t n = 1;

    for (int i = from; i < to; i++)
        n *= dim[i];
    return n;
}

/* ret = x with another shape of the same size. */
static enum tt_code reshape(struct tt_folding *f, const struct tt_ints *x, int ndim,
                            const int64_t *dim)
{
    struct tt_ints y = {.ndim = ndim, .n = x->n, .v = x->v};
    int64_t n = 1;

    if (ndim > TT_MAXDIM)
        return tt_fail(f->err, TT_EUNSUPPORTED,
                       "a result of %d dimensions, at most %d are supported", ndim, TT_MAXDIM);
    for (int i = 0; i < ndim; i++) {
        y.dim[i] = dim[i];
        if (!tt_mul(n, dim[i], &n))
            return tt_fail(f->err, TT_ESHAPE, "dimension %d of the result is %lld", i,
                           (long long)dim[i]);
    }
    if (n != x->n || (!n && ndim != 1))
        return tt_fail(f->err, TT_ESHAPE, "%lld elements do not fill %d dimensions of %lld",
                       (long long)x->n, ndim, (long long)n);
    *f->ret = y;
    return TT_OK;
}

static enum tt_code run_identity(struct tt_folding *f)
{
    *f->ret = *f->in[0];
    return TT_OK;
}

static enum tt_code run_concat(struct tt_folding *f)
{
    const struct tt_ints *x = f->in[0];
    int64_t dim[TT_MAXDIM], inner, at = 0, width;
    int axis = 0;
    enum tt_code rc = tt_fold_axis(f, tt_attr_int(f->attrs, "axis", 0), x->ndim, &axis);

    if (rc)
        return rc;
    memcpy(dim, x->dim, sizeof dim);
    dim[axis] = 0;
    for (int k = 0; k < f->nin; k++) {
        const struct tt_ints *y = f->in[k];

        if (!y)
            return tt_fail(f->err, TT_EPARSE, "operand %d is missing", k);
        for (int i = 0; i < x->ndim || i < y->ndim; i++)
            if (x->ndim != y->ndim || (i != axis && x->dim[i] != y->dim[i]))
                return tt_fail(f->err, TT_ESHAPE,
                               "operand %d differs from operand 0 beside axis %d", k, axis);
        dim[axis] += y->dim[axis]; // each is at most TT_FOLD_MAX
    }
    rc = tt_fold_make(f, x->ndim, dim);
    if (rc)
        return rc;
    inner = product(dim, axis + 1, x->ndim);
    width = dim[axis] * inner;
    for (int k = 0; k < f->nin; k++) {
        const struct tt_ints *y = f->in[k];
        int64_t run = y->dim[axis] * inner;

        for (int64_t o = 0; run && o < y->n / run; o++)
            memcpy(f->ret->v + o * width + at, y->v + o * run, (size_t)run * sizeof *y->v);
        at += run;
    }
    return TT_OK;
}

static enum tt_code run_gather(struct tt_folding *f)
{
    const struct tt_ints *x = f->in[0], *index = f->in[1];
    int64_t dim[2 * TT_MAXDIM], inner, outer;
    int axis = 0, ndim = 0;
    enum tt_code rc = tt_fold_axis(f, tt_attr_int(f->attrs, "axis", 0), x->ndim, &axis);

    if (!rc)
        rc = tt_ints_fixed(index, "the index", f->err);
    if (rc)
        return rc;
    for (int i = 0; i < axis; i++)
        dim[ndim++] = x->dim[i];
    for (int i = 0; i < index->ndim; i++)
        dim[ndim++] = index->dim[i];
    for (int i = axis + 1; i < x->ndim; i++)
        dim[ndim++] = x->dim[i];
    rc = tt_fold_make(f, ndim, dim);
    if (rc)
        return rc;
    outer = product(x->dim, 0, axis);
    inner = product(x->dim, axis + 1, x->ndim);
    for (int64_t k = 0; k < index->n; k++) {
        int64_t i = index->v[k].a, n = x->dim[axis];

        if (i < -n || i >= n)
            return tt_fail(f->err, TT_ERANGE, "index %lld is outside %lld elements", (long long)i,
                           (long long)n);
        i = i < 0 ? i + n : i;
        for (int64_t o = 0; o < outer && inner; o++)
            memcpy(f->ret->v + (o * index->n + k) * inner, x->v + (o * n + i) * inner,
                   (size_t)inner * sizeof *x->v);
    }
    return TT_OK;
}

static enum tt_code run_squeeze(struct tt_folding *f)
{
    const struct tt_ints *x = f->in[0];
    bool drop[TT_MAXDIM] = {false};
    int64_t axes[TT_MAXDIM], n, dim[TT_MAXDIM];
    int ndim = 0;
    enum tt_code rc = tt_fold_axes(f, 1, axes, &n);

    for (int64_t i = 0; i < n && !rc; i++) {
        int axis = 0;

        rc = tt_fold_axis(f, axes[i], x->ndim, &axis);
        if (!rc && x->dim[axis] != 1)
            rc = tt_fail(f->err, TT_ESHAPE, "dimension %d is %lld, want 1 to squeeze", axis,
                         (long long)x->dim[axis]);
        drop[axis] = true;
    }
    for (int i = 0; i < x->ndim; i++)
        if (!drop[i] && !(n < 0 && x->dim[i] == 1))
            dim[ndim++] = x->dim[i];
    return rc ? rc : reshape(f, x, ndim, dim);
}

static enum tt_code run_unsqueeze(struct tt_folding *f)
{
    const struct tt_ints *x = f->in[0];
    bool added[2 * TT_MAXDIM] = {false};
    int64_t axes[TT_MAXDIM], n, dim[2 * TT_MAXDIM];
    int ndim;
    enum tt_code rc = tt_fold_axes(f, 1, axes, &n);

    if (!rc && n < 0)
        rc = tt_fail(f->err, TT_EPARSE, "axes are missing");
    if (rc)
        return rc;
    ndim = x->ndim + (int)n;
    for (int64_t i = 0; i < n; i++) {
        int axis = 0;

        rc = tt_fold_axis(f, axes[i], ndim, &axis);
        if (rc)
            return rc;
        if (added[axis])
            return tt_fail(f->err, TT_EPARSE, "axis %d is given twice", axis);
        added[axis] = true;
    }
    for (int i = 0, k = 0; i < ndim; i++)
        dim[i] = added[i] ? 1 : x->dim[k++];
    return reshape(f, x, ndim, dim);
}

static enum tt_code run_reshape(struct tt_folding *f)
{
    const struct tt_ints *x = f->in[0], *shape = f->in[1];
    bool zero = tt_attr_int(f->attrs, "allowzero", 0) != 0;
    int64_t dim[TT_MAXDIM], known = 1;
    int rest = -1;
    enum tt_code rc = tt_ints_fixed(shape, "the shape", f->err);

    if (rc)
        return rc;
    if (shape->n > TT_MAXDIM)
        return tt_fail(f->err, TT_EUNSUPPORTED, "%lld dimensions, at most %d are supported",
                       (long long)shape->n, TT_MAXDIM);
    for (int i = 0; i < (int)shape->n; i++) {
        dim[i] = shape->v[i].a;
        if (!dim[i] && !zero && i < x->ndim)
            dim[i] = x->dim[i];
        if (dim[i] == -1 && rest < 0)
            rest = i;
        else if (!tt_mul(known, dim[i], &known))
            return tt_fail(f->err, TT_ESHAPE, "dimension %d of the shape is %lld", i,
                           (long long)dim[i]);
    }
    if (rest >= 0)
        dim[rest] = known ? x->n / known : 0;
    return reshape(f, x, (int)shape->n, dim);
}

static enum tt_code run_flatten(struct tt_folding *f)
{
    const struct tt_ints *x = f->in[0];
    int64_t axis = tt_attr_int(f->attrs, "axis", 1), dim[2];

    if (axis < -x->ndim || axis > x->ndim)
        return tt_fail(f->err, TT_ESHAPE, "axis %lld is outside %d dimensions", (long long)axis,
                       x->ndim);
    axis = axis < 0 ? axis + x->ndim : axis;
    dim[0] = product(x->dim, 0, (int)axis);
    dim[1] = product(x->dim, (int)axis, x->ndim);
    return reshape(f, x, 2, dim);
}

/* ret[i] = x[start + sum of i[d] * step[d]], for results of ndim dimensions. */
static enum tt_code stride_copy(struct tt_folding *f, const struct tt_ints *x, int ndim,
                                const int64_t *dim, int64_t start, const int64_t *step)
{
    enum tt_code rc = tt_fold_make(f, ndim, dim);

    for (int64_t i = 0; !rc && i < f->ret->n; i++) {
        int64_t rest = i, from = start;

        for (int d = ndim - 1; d >= 0; d--) {
            from += rest % dim[d] * step[d];
            rest /= dim[d];
        }
        f->ret->v[i] = x->v[from];
    }
    return rc;
}

static void strides(const struct tt_ints *x, int64_t *ret)
{
    for (int i = 0; i < x->ndim; i++)
        ret[i] = product(x->dim, i + 1, x->ndim);
}

static enum tt_code run_transpose(struct tt_folding *f)
{
    const struct tt_ints *x = f->in[0];
    int64_t n, dim[TT_MAXDIM] = {0}, stride[TT_MAXDIM] = {0}, step[TT_MAXDIM] = {0};
    const int64_t *perm = tt_attr_ints(f->attrs, "perm", &n);
    unsigned seen = 0;

    if (perm && n != x->ndim)
        return tt_fail(f->err, TT_ESHAPE, "perm has %lld entries, want %d", (long long)n, x->ndim);
    strides(x, stride);
    for (int i = 0; i < x->ndim; i++) {
        int64_t from = perm ? perm[i] : x->ndim - 1 - i;

        if (from < 0 || from >= x->ndim || (seen & 1u << from))
            return tt_fail(f->err, TT_ESHAPE, "perm is not an order of %d dimensions", x->ndim);
        seen |= 1u << from;
        dim[i] = x->dim[from];
        step[i] = stride[from];
    }
    return stride_copy(f, x, x->ndim, dim, 0, step);
}

static enum tt_code run_expand(struct tt_folding *f)
{
    const struct tt_ints *x = f->in[0], *shape = f->in[1];
    int64_t dim[TT_MAXDIM] = {0}, stride[TT_MAXDIM] = {0}, step[TT_MAXDIM] = {0};
    int ndim;
    enum tt_code rc = tt_ints_fixed(shape, "the shape", f->err);

    if (rc)
        return rc;
    if (shape->n > TT_MAXDIM)
        return tt_fail(f->err, TT_EUNSUPPORTED, "%lld dimensions, at most %d are supported",
                       (long long)shape->n, TT_MAXDIM);
    ndim = x->ndim > shape->n ? x->ndim : (int)shape->n;
    strides(x, stride);
    for (int i = 0; i < ndim; i++) {
        int xi = i - (ndim - x->ndim), si = i - (ndim - (int)shape->n);
        int64_t have = xi < 0 ? 1 : x->dim[xi], want = si < 0 ? 1 : shape->v[si].a;

        if (have != want && have != 1 && want != 1)
            return tt_fail(f->err, TT_ESHAPE, "dimension %d of %lld does not expand to %lld", i,
                           (long long)have, (long long)want);
        dim[i] = have == 1 ? want : have;
        step[i] = have == 1 ? 0 : stride[xi];
    }
    return stride_copy(f, x, ndim, dim, 0, step);
}

/* One axis of a Slice, as ONNX clamps it: the first index and how many. */
static enum tt_code slice_axis(struct tt_folding *f, int64_t n, int64_t start, int64_t end,
                               int64_t step, int64_t *ret_first, int64_t *ret_n)
{
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;

    if (!step || step == INT64_MIN)
        return tt_fail(f->err, TT_ERANGE, "a step of %lld", (long long)step);
    *ret_first = 0;
    *ret_n = 0;
    if (!n)
        return TT_OK;
    start += start < 0 ? n : 0;
    end += end < 0 ? n : 0;
    start = start < 0 ? 0 : start > high ? high : start;
    end = end < low ? low : end > high ? high : end;
    if (step < 0 && end > n - 1)
        end = n - 1;
    *ret_first = start;
    if (step > 0)
        *ret_n = end > start ? (end - start - 1) / step + 1 : 0;
    else
        *ret_n = start > end ? (start - end - 1) / -step + 1 : 0;
    return TT_OK;
}

/* Starts, ends, axes and steps: operands since opset 10, attributes before. */
struct bounds {
    int64_t n, start[TT_MAXDIM], end[TT_MAXDIM], axis[TT_MAXDIM], step[TT_MAXDIM];
};

static enum tt_code read_bounds(struct tt_folding *f, struct bounds *b)
{
    static const char *const names[] = {"starts", "ends", "axes", "steps"};
    int64_t *const to[] = {b->start, b->end, b->axis, b->step};

    for (int k = 0; k < 4; k++) {
        const struct tt_ints *operand = tt_fold_in(f, k + 1);
        int64_t n;
        const int64_t *list = tt_attr_ints(f->attrs, names[k], &n);

        if (operand && tt_ints_fixed(operand, names[k], f->err))
            return f->err->code;
        n = operand ? operand->n : n;
        if (!k)
            b->n = n;
        if (n > TT_MAXDIM || ((operand || list || k < 2) && n != b->n) || (!k && !n))
            return tt_fail(f->err, TT_ESHAPE, "%s has %lld entries, want %lld", names[k],
                           (long long)n, (long long)(k ? b->n : 1));
        for (int64_t i = 0; i < b->n; i++)
            to[k][i] = operand ? operand->v[i].a : list ? list[i] : k == 2 ? i : 1;
    }
    return TT_OK;
}

static enum tt_code run_slice(struct tt_folding *f)
{
    const struct tt_ints *x = f->in[0];
    int64_t dim[TT_MAXDIM] = {0}, stride[TT_MAXDIM] = {0}, step[TT_MAXDIM] = {0}, start = 0;
    struct bounds b = {0};
    unsigned seen = 0;
    enum tt_code rc = read_bounds(f, &b);

    strides(x, stride);
    memcpy(dim, x->dim, sizeof dim);
    memcpy(step, stride, sizeof step);
    for (int64_t i = 0; !rc && i < b.n; i++) {
        int64_t first = 0;
        int axis = 0;

        rc = tt_fold_axis(f, b.axis[i], x->ndim, &axis);
        if (!rc && (seen & 1u << axis))
            rc = tt_fail(f->err, TT_EPARSE, "axis %d is given twice", axis);
        if (!rc)
            rc = slice_axis(f, x->dim[axis], b.start[i], b.end[i], b.step[i], &first, &dim[axis]);
        if (rc)
            break;
        seen |= 1u << axis;
        start += first * stride[axis];
        step[axis] = dim[axis] > 1 ? b.step[i] * stride[axis] : 0;
    }
    return rc ? rc : stride_copy(f, x, x->ndim, dim, start, step);
}

#define ANY INT32_MAX

const struct tt_fold tt_fold_moves[] = {
    {"Identity", 1, 1, run_identity},
    {"Concat", 1, ANY, run_concat},
    {"Gather", 2, 2, run_gather},
    {"Squeeze", 1, 2, run_squeeze},
    {"Unsqueeze", 1, 2, run_unsqueeze},
    {"Reshape", 2, 2, run_reshape},
    {"Flatten", 1, 1, run_flatten},
    {"Transpose", 1, 1, run_transpose},
    {"Expand", 2, 2, run_expand},
    {"Slice", 1, 5, run_slice},
    {0},
};
