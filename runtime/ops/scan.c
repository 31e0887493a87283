// SPDX-License-Identifier: Apache-2.0
/* CumSum, the sums up to each element; Trilu, what is above or below a diagonal; Range. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"

struct attr {
    int64_t number; // CumSum's axis, Trilu's diagonal
    bool exclusive, reverse, upper;
};

/* One integer for every batch. */
static enum tt_code read_number(struct tt_attrs *a, struct attr *t, int64_t otherwise,
                                struct tt_err *err)
{
    t->number = otherwise;
    if (a->ints[1] && (a->ints[1]->n != 1 || a->ints[1]->v[0].b))
        return tt_fail(err, TT_EUNSUPPORTED, "operand 1 is not one integer for every batch");
    if (a->ints[1])
        t->number = a->ints[1]->v[0].a;
    return TT_OK;
}

static enum tt_code read_cumsum(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *t = (struct attr *)attr;

    t->exclusive = tt_attr_int(a, "exclusive", 0) != 0;
    t->reverse = tt_attr_int(a, "reverse", 0) != 0;
    return read_number(a, t, 0, err);
}

static enum tt_code shape_same(struct tt_node *n)
{
    n->out->ndim = n->in[0]->ndim;
    memcpy(n->out->dim, n->in[0]->dim, sizeof n->out->dim);
    return TT_OK;
}

static enum tt_code shape_cumsum(struct tt_node *n, struct tt_err *err)
{
    int64_t axis = ((const struct attr *)n->attr)->number;

    if (axis < -n->in[0]->ndim || axis >= n->in[0]->ndim)
        return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                       (long long)axis, n->in[0]->name, n->in[0]->ndim);
    return shape_same(n);
}

/* to (+)= sums of from along the axis, from its end if reverse */
static void sum_along(const struct tt_node *n, float *to, const float *from, bool reverse, bool add)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    int64_t axis = t->number < 0 ? t->number + x->ndim : t->number, inner = 1, len = x->dim[axis];

    for (int i = (int)axis + 1; i < x->ndim; i++)
        inner *= x->dim[i];
#pragma omp parallel for schedule(static) if (tt_len(x) > 65536)
    for (int64_t i = 0; i < tt_len(x) / len; i++) {
        int64_t start = i / inner * len * inner + i % inner;
        double sum = 0;

        for (int64_t j = 0; j < len; j++) {
            int64_t at = start + (reverse ? len - 1 - j : j) * inner;
            double with = sum + (double)from[at];

            to[at] = (add ? to[at] : 0) + (float)(t->exclusive ? sum : with);
            sum = with;
        }
    }
}

static void forward_cumsum(struct tt_node *n)
{
    sum_along(n, n->out->x, n->in[0]->x, ((const struct attr *)n->attr)->reverse, false);
}

/* What an element went into: the sums from the other end. */
static void backward_cumsum(struct tt_node *n)
{
    sum_along(n, n->in[0]->g, n->out->g, !((const struct attr *)n->attr)->reverse, n->add[0]);
}

const struct tt_op tt_op_cumsum = {
    .name = "CumSum",
    .min_in = 2,
    .max_in = 2,
    .ints = 1u << 1,
    .opset = 11,
    .source = "ONNX CumSum-14",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_PLAIN,
    .read = read_cumsum,
    .shape = shape_cumsum,
    .forward = forward_cumsum,
    .backward = backward_cumsum,
};

/* ---- Trilu ----------------------------------------------------------------------------------- */

static enum tt_code read_trilu(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *t = (struct attr *)attr;

    t->upper = tt_attr_int(a, "upper", 1) != 0;
    return read_number(a, t, 0, err);
}

static enum tt_code shape_trilu(struct tt_node *n, struct tt_err *err)
{
    if (n->in[0]->ndim < 2)
        return tt_fail(err, TT_ESHAPE, "input '%s' has %d dimensions, want 2 or more",
                       n->in[0]->name, n->in[0]->ndim);
    return shape_same(n);
}

/* to (+)= from on and above, or below, the diagonal, 0 elsewhere */
static void triangle(const struct tt_node *n, float *to, const float *from, bool add)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    int64_t R = x->dim[x->ndim - 2], C = x->dim[x->ndim - 1];

#pragma omp parallel for schedule(static) if (tt_len(x) > 65536)
    for (int64_t i = 0; i < tt_len(x); i++) {
        int64_t beyond = i % C - i / C % R;
        float v = (t->upper ? beyond >= t->number : beyond <= t->number) ? from[i] : 0;

        to[i] = add ? to[i] + v : v;
    }
}

static void forward_trilu(struct tt_node *n)
{
    triangle(n, n->out->x, n->in[0]->x, false);
}

static void backward_trilu(struct tt_node *n)
{
    triangle(n, n->in[0]->g, n->out->g, n->add[0]);
}

const struct tt_op tt_op_trilu = {
    .name = "Trilu",
    .min_in = 1,
    .max_in = 2,
    .ints = 1u << 1,
    .opset = 14,
    .source = "ONNX Trilu-14",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_PLAIN,
    .inplace = true,
    .read = read_trilu,
    .shape = shape_trilu,
    .forward = forward_trilu,
    .backward = backward_trilu,
};

/* ---- Range: of numbers that are known; integers are folded, or tt.Range
 * ----------------------------
 */

static enum tt_code shape_range(struct tt_node *n, struct tt_err *err)
{
    double count;

    for (int k = 0; k < 3; k++)
        if (tt_len(n->in[k]) != 1)
            return tt_fail(err, TT_ESHAPE, "operand %d has %lld elements, want 1", k,
                           (long long)tt_len(n->in[k]));
    count = ceil(((double)*n->in[1]->x - (double)*n->in[0]->x) / (double)*n->in[2]->x);
    if (!(count >= 1 && count < 0x1p31))
        return tt_fail(err, TT_ERANGE, "a range from %g to %g in steps of %g", (double)*n->in[0]->x,
                       (double)*n->in[1]->x, (double)*n->in[2]->x);
    n->out->ndim = 1;
    n->out->dim[0] = (int64_t)count;
    return TT_OK;
}

static void forward_range(struct tt_node *n)
{
    for (int64_t i = 0; i < n->out->dim[0]; i++)
        n->out->x[i] = (float)((double)*n->in[0]->x + (double)i * (double)*n->in[2]->x);
}

const struct tt_op tt_op_range = {
    .name = "Range",
    .min_in = 3,
    .max_in = 3,
    .known = 1u << 0 | 1u << 1 | 1u << 2,
    .opset = 11,
    .source = "ONNX Range-11",
    .layout = TT_WANTS_PLAIN,
    .shape = shape_range,
    .forward = forward_range,
};

/* ---- tt.Range: of integers that depend on the batch, as a row's number is -------------------- */

#define EXACT (1 << 24) // beyond it float32 skips integers

struct range {
    struct tt_affine of[3]; // start, limit, delta
};

static enum tt_code read_integers(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct range *t = (struct range *)attr;

    for (int k = 0; k < 3; k++) {
        if (a->ints[k]->n != 1)
            return tt_fail(err, TT_ESHAPE, "operand %d has %lld elements, want 1", k,
                           (long long)a->ints[k]->n);
        t->of[k] = a->ints[k]->v[0];
    }
    return TT_OK;
}

static enum tt_code shape_integers(struct tt_node *n, struct tt_err *err)
{
    const struct range *t = (const struct range *)n->attr;
    int64_t at[3], span;

    for (int k = 0; k < 3; k++) {
        at[k] = tt_now(t->of[k], n);
        if (at[k] < -EXACT || at[k] > EXACT)
            return tt_fail(err, TT_ERANGE, "a range to or by %lld, at most 2^24 is supported",
                           (long long)at[k]);
    }
    span = at[1] - at[0];
    if (!at[2] || !span || (span > 0) != (at[2] > 0))
        return tt_fail(err, TT_ERANGE, "a range from %lld to %lld in steps of %lld",
                       (long long)at[0], (long long)at[1], (long long)at[2]);
    n->out->ndim = 1;
    n->out->dim[0] = (span - (span > 0 ? 1 : -1)) / at[2] + 1;
    n->out->dtype = TT_INTS;
    return TT_OK;
}

static void forward_integers(struct tt_node *n)
{
    const struct range *t = (const struct range *)n->attr;
    int64_t start = tt_now(t->of[0], n), delta = tt_now(t->of[2], n);

    for (int64_t i = 0; i < n->out->dim[0]; i++)
        n->out->x[i] = (float)(start + i * delta);
}

const struct tt_op tt_op_range_of_batch = {
    .name = "tt.Range",
    .min_in = 3,
    .max_in = 3,
    .ints = 1u << 0 | 1u << 1 | 1u << 2,
    .source = "ONNX Range-11",
    .attr_size = sizeof(struct range),
    .layout = TT_WANTS_PLAIN,
    .read = read_integers,
    .shape = shape_integers,
    .forward = forward_integers,
};
