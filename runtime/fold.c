// SPDX-License-Identifier: Apache-2.0
#include "runtime/fold.h"

#include <string.h>

#include "runtime/fold_row.h"
#include "runtime/onnx_tensor.h"

static const struct tt_fold *find(const struct tt_fold *rows, const char *op)
{
    while (rows->name && strcmp(rows->name, op) != 0)
        rows++;
    return rows->name ? rows : NULL;
}

const struct tt_fold *tt_fold_find(const char *op)
{
    const struct tt_fold *row = find(tt_fold_math, op);

    return row ? row : find(tt_fold_moves, op);
}

enum tt_code tt_fold_run(const struct tt_fold *row, struct tt_attrs *a, int nin,
                         const struct tt_ints *const *in, struct tt_arena *arena,
                         struct tt_ints *ret, struct tt_err *err)
{
    struct tt_ints result = {0};
    struct tt_folding f = {
        .attrs = a, .nin = nin, .in = in, .arena = arena, .ret = &result, .err = err};
    enum tt_code rc;

    if (nin < row->min_in || nin > row->max_in)
        return tt_fail(err, TT_EPARSE, "%d operands, want %d to %d", nin, row->min_in, row->max_in);
    for (int i = 0; i < row->min_in; i++)
        if (!in[i])
            return tt_fail(err, TT_EPARSE, "operand %d is missing", i);
    rc = row->run(&f);
    if (!rc)
        rc = tt_attrs_done(a, err);
    if (!rc)
        *ret = result;
    return rc;
}

bool tt_ints_new(struct tt_arena *arena, int ndim, const int64_t *dim, struct tt_ints *ret)
{
    struct tt_ints v = {.ndim = ndim, .n = 1};

    for (int i = 0; i < ndim; i++) {
        v.dim[i] = dim[i];
        if (!tt_mul(v.n, dim[i], &v.n))
            return false;
    }
    if (v.n > TT_FOLD_MAX || (!v.n && ndim != 1))
        return false;
    v.v = TT_NEW(arena, v.n, struct tt_affine);
    if (!v.v)
        return false;
    *ret = v;
    return true;
}

enum tt_code tt_ints_fixed(const struct tt_ints *v, const char *what, struct tt_err *err)
{
    for (int64_t i = 0; i < v->n; i++)
        if (v->v[i].b)
            return tt_fail(err, TT_EUNSUPPORTED, "%s " TT_FOLD_BATCH, what);
    return TT_OK;
}

enum tt_code tt_fold_make(struct tt_folding *f, int ndim, const int64_t *dim)
{
    char text[TT_SHAPE_TEXT];

    if (ndim > TT_MAXDIM)
        return tt_fail(f->err, TT_EUNSUPPORTED,
                       "a result of %d dimensions, at most %d are "
                       "supported",
                       ndim, TT_MAXDIM);
    for (int i = 0; i < ndim; i++)
        if (dim[i] < 0)
            return tt_fail(f->err, TT_ESHAPE, "dimension %d of the result is %lld", i,
                           (long long)dim[i]);
    if (tt_ints_new(f->arena, ndim, dim, f->ret))
        return TT_OK;
    return tt_fail(f->err, TT_ENOMEM, "no room for a result of %s integers, at most %d",
                   tt_shape_text(dim, ndim, text, sizeof text), TT_FOLD_MAX);
}

enum tt_code tt_fold_axis(struct tt_folding *f, int64_t axis, int ndim, int *ret)
{
    if (axis < -ndim || axis >= ndim)
        return tt_fail(f->err, TT_ESHAPE, "axis %lld is outside %d dimensions", (long long)axis,
                       ndim);
    *ret = (int)(axis < 0 ? axis + ndim : axis);
    return TT_OK;
}

enum tt_code tt_fold_axes(struct tt_folding *f, int i, int64_t *ret, int64_t *ret_n)
{
    const struct tt_ints *operand = tt_fold_in(f, i);
    int64_t n;
    const int64_t *list = tt_attr_ints(f->attrs, "axes", &n);

    *ret_n = -1;
    if (operand) {
        enum tt_code rc = tt_ints_fixed(operand, "axes", f->err);

        if (rc)
            return rc;
        n = operand->n;
    }
    if (!operand && !list)
        return TT_OK;
    if (n > TT_MAXDIM)
        return tt_fail(f->err, TT_ESHAPE, "%lld axes, at most %d are supported", (long long)n,
                       TT_MAXDIM);
    for (int64_t k = 0; k < n; k++)
        ret[k] = operand ? operand->v[k].a : list[k];
    *ret_n = n;
    return TT_OK;
}
