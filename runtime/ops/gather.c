// SPDX-License-Identifier: Apache-2.0
/*
 * Gather and GatherElements: values at indices along one axis; GatherND: along several.  Indices
 * are constants or computed by the model.  An index that is outside gives NaN, which whoever runs
 * the model reports; constants are checked when it is compiled.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"
#include "runtime/ops/patterns.h"

struct attr {
    int64_t axis;
};

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    (void)err;
    ((struct attr *)attr)->axis = tt_attr_int(a, "axis", 0);
    return TT_OK;
}

bool tt_gather_is_along(const void *attr, int n, int axis)
{
    int64_t is = ((const struct attr *)attr)->axis;

    return is + (is < 0 ? n : 0) == axis;
}

/* x seen as [outer, n, inner] */
struct size {
    int axis;
    int64_t outer, n, inner;
};

static struct size measure(const struct tt_node *n)
{
    const struct tt_tensor *x = n->in[0];
    int64_t axis = ((const struct attr *)n->attr)->axis;
    struct size s = {.axis = (int)(axis < 0 ? axis + x->ndim : axis), .outer = 1, .inner = 1};

    s.n = x->dim[s.axis];
    for (int i = 0; i < x->ndim; i++)
        if (i != s.axis)
            *(i < s.axis ? &s.outer : &s.inner) *= x->dim[i];
    return s;
}

/* The index that a float holds, or -1: it is outside. */
static int64_t index_of(float v, int64_t n)
{
    if (!(v >= (float)-n && v < (float)n))
        return -1;
    return (int64_t)v + (v < 0 ? n : 0);
}

static enum tt_code check(const struct tt_node *n, struct tt_err *err)
{
    const struct attr *g = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0], *at = n->in[1];
    int64_t size;

    if (g->axis < -x->ndim || g->axis >= x->ndim)
        return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                       (long long)g->axis, x->name, x->ndim);
    size = measure(n).n;
    if (at->dtype != TT_INTS)
        return tt_fail(err, TT_EUNSUPPORTED, "the indices '%s' are not integers", at->name);
    for (int64_t i = 0; n->constant[1] && at->x && i < tt_len(at); i++)
        if (index_of(at->x[i], size) < 0)
            return tt_fail(err, TT_ERANGE, "index %lld is outside of %lld elements of '%s'",
                           (long long)at->x[i], (long long)size, x->name);
    return TT_OK;
}

/* ---- Gather: [outer, n, inner] at [k] is [outer, k, inner] ----------------------------------- */

static enum tt_code shape_gather(struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *x = n->in[0], *at = n->in[1];
    int d = 0, axis;

    if (check(n, err) != TT_OK)
        return err->code;
    axis = measure(n).axis;
    if (x->ndim + at->ndim - 1 > TT_MAXDIM)
        return tt_fail(err, TT_EUNSUPPORTED, "a result of %d dimensions, want at most %d",
                       x->ndim + at->ndim - 1, TT_MAXDIM);
    for (int i = 0; i < axis; i++)
        n->out->dim[d++] = x->dim[i];
    for (int i = 0; i < at->ndim; i++)
        n->out->dim[d++] = at->dim[i];
    for (int i = axis + 1; i < x->ndim; i++)
        n->out->dim[d++] = x->dim[i];
    n->out->ndim = d;
    return TT_OK;
}

static void forward_gather(struct tt_node *n)
{
    struct size s = measure(n);
    int64_t K = tt_len(n->in[1]);

#pragma omp parallel for schedule(static) if (tt_len(n->out) > 65536)
    for (int64_t i = 0; i < s.outer * K; i++) {
        int64_t at = index_of(n->in[1]->x[i % K], s.n);
        float *y = n->out->x + i * s.inner;

        if (at >= 0)
            memcpy(y, n->in[0]->x + (i / K * s.n + at) * s.inner, sizeof *y * (size_t)s.inner);
        for (int64_t j = 0; at < 0 && j < s.inner; j++)
            y[j] = NAN;
    }
}

static void backward_gather(struct tt_node *n)
{
    struct size s = measure(n);
    int64_t K = tt_len(n->in[1]);
    float *dx = n->in[0]->g;

    if (!dx)
        return;
    if (!n->add[0])
        memset(dx, 0, sizeof *dx * (size_t)tt_len(n->in[0]));
#pragma omp parallel for schedule(static) if (tt_len(n->out) > 65536)
    for (int64_t o = 0; o < s.outer; o++)
        for (int64_t k = 0; k < K; k++) {
            int64_t at = index_of(n->in[1]->x[k], s.n);

            for (int64_t j = 0; at >= 0 && j < s.inner; j++)
                dx[(o * s.n + at) * s.inner + j] += n->out->g[(o * K + k) * s.inner + j];
        }
}

/* ---- GatherElements: an index for each element of the result --------------------------------- */

static enum tt_code shape_elements(struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *x = n->in[0], *at = n->in[1];
    bool fits = at->ndim == x->ndim;
    char tx[TT_SHAPE_TEXT], ta[TT_SHAPE_TEXT];
    int axis;

    if (check(n, err) != TT_OK)
        return err->code;
    axis = measure(n).axis;
    for (int i = 0; fits && i < x->ndim; i++)
        fits = i == axis || at->dim[i] <= x->dim[i];
    if (!fits)
        return tt_fail(err, TT_ESHAPE, "input %s and indices %s differ beside axis %d",
                       tt_shape_text(x->dim, x->ndim, tx, sizeof tx),
                       tt_shape_text(at->dim, at->ndim, ta, sizeof ta), axis);
    n->out->ndim = at->ndim;
    memcpy(n->out->dim, at->dim, sizeof at->dim);
    return TT_OK;
}

/* Where element i of the result comes from; -1: nowhere. */
static int64_t source(const struct tt_node *n, const struct size *s, int64_t i)
{
    int64_t at = index_of(n->in[1]->x[i], s->n), stride = 1, from = 0;

    for (int d = n->out->ndim - 1; d >= 0; d--) {
        from += (d == s->axis ? at : i % n->out->dim[d]) * stride;
        stride *= n->in[0]->dim[d];
        i /= n->out->dim[d];
    }
    return at < 0 ? -1 : from;
}

static void forward_elements(struct tt_node *n)
{
    struct size s = measure(n);
    int64_t len = tt_len(n->out);

#pragma omp parallel for schedule(static) if (len > 65536)
    for (int64_t i = 0; i < len; i++) {
        int64_t from = source(n, &s, i);

        n->out->x[i] = from < 0 ? NAN : n->in[0]->x[from];
    }
}

static void backward_elements(struct tt_node *n)
{
    struct size s = measure(n);
    int64_t len = tt_len(n->out);
    float *dx = n->in[0]->g;

    if (!dx)
        return;
    if (!n->add[0])
        memset(dx, 0, sizeof *dx * (size_t)tt_len(n->in[0]));
    for (int64_t i = 0; i < len; i++) {
        int64_t from = source(n, &s, i);

        if (from >= 0)
            dx[from] += n->out->g[i];
    }
}

/* ---- GatherND: the last dimension of the indices names K dimensions of x, behind the first B,
 * which both have: x [B.., N.., inner..] at [B.., J.., K] is [B.., J.., inner..] ----------------
 */

struct places {
    int K, B;               // dimensions
    int64_t J, x, inner;    // tuples a batch; elements of a batch of x, at one place
    int64_t dim[TT_MAXDIM]; // of x, that the indices name
};

static enum tt_code read_nd(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *t = (struct attr *)attr;

    t->axis = tt_attr_int(a, "batch_dims", 0);
    if (t->axis < 0 || t->axis >= TT_MAXDIM)
        return tt_fail(err, TT_ERANGE, "attribute 'batch_dims' is %lld", (long long)t->axis);
    return TT_OK;
}

static struct places measure_nd(const struct tt_node *n)
{
    const struct tt_tensor *x = n->in[0], *at = n->in[1];
    struct places p = {.B = (int)((const struct attr *)n->attr)->axis, .J = 1, .x = 1, .inner = 1};

    p.K = (int)at->dim[at->ndim - 1];
    for (int i = p.B; i < at->ndim - 1; i++)
        p.J *= at->dim[i];
    for (int i = 0; i < p.K; i++)
        p.dim[i] = x->dim[p.B + i];
    for (int i = p.B; i < x->ndim; i++) {
        p.x *= x->dim[i];
        p.inner *= i < p.B + p.K ? 1 : x->dim[i];
    }
    return p;
}

/* Where what tuple i of all batches names begins in x; -1: nowhere. */
static int64_t source_nd(const struct tt_node *n, const struct places *p, int64_t i)
{
    const float *tuple = n->in[1]->x + i * p->K;
    int64_t from = 0;

    for (int k = 0; k < p->K; k++) {
        int64_t at = index_of(tuple[k], p->dim[k]);

        if (at < 0)
            return -1;
        from = from * p->dim[k] + at;
    }
    return i / p->J * p->x + from * p->inner;
}

static enum tt_code shape_nd(struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *x = n->in[0], *at = n->in[1];
    int64_t B = ((const struct attr *)n->attr)->axis, K = at->ndim ? at->dim[at->ndim - 1] : 0;
    bool fits = at->ndim > B && K >= 1 && B + K <= x->ndim;
    char tx[TT_SHAPE_TEXT], ta[TT_SHAPE_TEXT];
    struct places p;

    if (at->dtype != TT_INTS)
        return tt_fail(err, TT_EUNSUPPORTED, "the indices '%s' are not integers", at->name);
    for (int i = 0; fits && i < B; i++)
        fits = at->dim[i] == x->dim[i];
    if (!fits || at->ndim - 1 + x->ndim - B - K > TT_MAXDIM)
        return tt_fail(err, TT_ESHAPE, "input %s and indices %s do not fit, batch_dims %lld",
                       tt_shape_text(x->dim, x->ndim, tx, sizeof tx),
                       tt_shape_text(at->dim, at->ndim, ta, sizeof ta), (long long)B);
    n->out->ndim = 0;
    for (int i = 0; i < at->ndim - 1; i++)
        n->out->dim[n->out->ndim++] = at->dim[i];
    for (int i = (int)(B + K); i < x->ndim; i++)
        n->out->dim[n->out->ndim++] = x->dim[i];
    p = measure_nd(n);
    for (int64_t i = 0; n->constant[1] && at->x && i < tt_len(at) / K; i++)
        if (source_nd(n, &p, i) < 0)
            return tt_fail(err, TT_ERANGE, "tuple %lld of the indices is outside of '%s', %s",
                           (long long)i, x->name, tt_shape_text(x->dim, x->ndim, tx, sizeof tx));
    return TT_OK;
}

static void forward_nd(struct tt_node *n)
{
    struct places p = measure_nd(n);
    int64_t tuples = tt_len(n->in[1]) / p.K;

#pragma omp parallel for schedule(static) if (tt_len(n->out) > 65536)
    for (int64_t i = 0; i < tuples; i++) {
        int64_t from = source_nd(n, &p, i);
        float *y = n->out->x + i * p.inner;

        if (from >= 0)
            memcpy(y, n->in[0]->x + from, sizeof *y * (size_t)p.inner);
        for (int64_t j = 0; from < 0 && j < p.inner; j++)
            y[j] = NAN;
    }
}

static void backward_nd(struct tt_node *n)
{
    struct places p = measure_nd(n);
    int64_t tuples = tt_len(n->in[1]) / p.K;
    float *dx = n->in[0]->g;

    if (!dx)
        return;
    if (!n->add[0])
        memset(dx, 0, sizeof *dx * (size_t)tt_len(n->in[0]));
    for (int64_t i = 0; i < tuples; i++) {
        int64_t from = source_nd(n, &p, i);

        for (int64_t j = 0; from >= 0 && j < p.inner; j++)
            dx[from + j] += n->out->g[i * p.inner + j];
    }
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_IN(1);
}

#define GATHER(variable, op_name, since, text, read_, shape_, forward_, backward_) \
    const struct tt_op variable = {                                                \
        .name = op_name,                                                           \
        .min_in = 2,                                                               \
        .max_in = 2,                                                               \
        .opset = since,                                                            \
        .source = text,                                                            \
        .attr_size = sizeof(struct attr),                                          \
        .layout = TT_WANTS_PLAIN,                                                  \
        .read = read_,                                                             \
        .shape = shape_,                                                           \
        .forward = forward_,                                                       \
        .reads = reads,                                                            \
        .backward = backward_,                                                     \
    };

GATHER(tt_op_gather, "Gather", 1, "ONNX Gather-13", read_attr, shape_gather, forward_gather,
       backward_gather)
GATHER(tt_op_gatherelements, "GatherElements", 11, "ONNX GatherElements-13", read_attr,
       shape_elements, forward_elements, backward_elements)
GATHER(tt_op_gathernd, "GatherND", 11, "ONNX GatherND-13", read_nd, shape_nd, forward_nd,
       backward_nd)
