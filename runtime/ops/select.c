// SPDX-License-Identifier: Apache-2.0
/* ArgMax, ArgMin, TopK: which elements along an axis are the largest or smallest; OneHot. */
#include <omp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/op.h"

struct attr {
    int64_t axis, k;
    bool keep, last, largest, sorted;
    int result; // of TopK: 0 the values, 1 their places
};

/* x seen as [outer, len, inner]. */
struct rows {
    int64_t outer, len, inner;
};

static struct rows measure(const struct tt_tensor *x, int64_t axis)
{
    struct rows r = {.outer = 1, .inner = 1};

    axis += axis < 0 ? x->ndim : 0;
    for (int i = 0; i < x->ndim; i++)
        *(i < axis   ? &r.outer
          : i > axis ? &r.inner
                     : &r.len) = i == axis ? x->dim[i] : (i < axis ? r.outer : r.inner) * x->dim[i];
    return r;
}

static enum tt_code check_axis(int64_t axis, const struct tt_tensor *x, struct tt_err *err)
{
    if (axis >= -x->ndim && axis < x->ndim)
        return TT_OK;
    return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                   (long long)axis, x->name, x->ndim);
}

/* ---- ArgMax, ArgMin -------------------------------------------------------------------------- */

static enum tt_code read_arg(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    (void)err;
    *(struct attr *)attr = (struct attr){.axis = tt_attr_int(a, "axis", 0),
                                         .keep = tt_attr_int(a, "keepdims", 1) != 0,
                                         .last = tt_attr_int(a, "select_last_index", 0) != 0};
    return TT_OK;
}

static enum tt_code shape_arg(struct tt_node *n, struct tt_err *err)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    int64_t axis = t->axis < 0 ? t->axis + x->ndim : t->axis;

    if (check_axis(t->axis, x, err))
        return err->code;
    n->out->dtype = TT_INTS;
    n->out->ndim = 0;
    for (int i = 0; i < x->ndim; i++)
        if (i != axis || t->keep)
            n->out->dim[n->out->ndim++] = i == axis ? 1 : x->dim[i];
    return TT_OK;
}

static void forward_arg(struct tt_node *n, float sign)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct rows r = measure(n->in[0], t->axis);

#pragma omp parallel for schedule(static) if (tt_len(n->in[0]) > 65536)
    for (int64_t i = 0; i < r.outer * r.inner; i++) {
        const float *x = n->in[0]->x + i / r.inner * r.len * r.inner + i % r.inner;
        int64_t best = 0;

        for (int64_t j = 1; j < r.len; j++) {
            float v = sign * x[j * r.inner], top = sign * x[best * r.inner];

            if (v > top || (t->last && v == top))
                best = j;
        }
        n->out->x[i] = (float)best;
    }
}

static void forward_argmax(struct tt_node *n)
{
    forward_arg(n, 1);
}

static void forward_argmin(struct tt_node *n)
{
    forward_arg(n, -1);
}

#define ARG(id, onnx)                     \
    const struct tt_op tt_op_##id = {     \
        .name = onnx,                     \
        .min_in = 1,                      \
        .max_in = 1,                      \
        .opset = 1,                       \
        .source = "ONNX " onnx "-13",     \
        .attr_size = sizeof(struct attr), \
        .layout = TT_WANTS_PLAIN,         \
        .read = read_arg,                 \
        .shape = shape_arg,               \
        .forward = forward_##id,          \
    };

ARG(argmax, "ArgMax")
ARG(argmin, "ArgMin")

/* ---- TopK: of equal elements the first ones -------------------------------------------------- */

static enum tt_code read_topk(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *t = (struct attr *)attr;

    *t = (struct attr){.axis = tt_attr_int(a, "axis", -1),
                       .k = tt_attr_int(a, "k", 0),
                       .largest = tt_attr_int(a, "largest", 1) != 0,
                       .sorted = tt_attr_int(a, "sorted", 1) != 0,
                       .result = a->result};
    if (a->ints[1]) {
        if (a->ints[1]->n != 1 || a->ints[1]->v[0].b)
            return tt_fail(err, TT_EUNSUPPORTED, "k is not one number for every batch");
        t->k = a->ints[1]->v[0].a;
    }
    return TT_OK;
}

static enum tt_code shape_topk(struct tt_node *n, struct tt_err *err)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    int64_t axis = t->axis < 0 ? t->axis + x->ndim : t->axis;

    if (check_axis(t->axis, x, err))
        return err->code;
    if (t->k < 1 || t->k > x->dim[axis])
        return tt_fail(err, TT_ERANGE, "k is %lld, want 1 to %lld", (long long)t->k,
                       (long long)x->dim[axis]);
    n->out->ndim = x->ndim;
    memcpy(n->out->dim, x->dim, sizeof x->dim);
    n->out->dim[axis] = t->k;
    n->out->dtype = t->result ? TT_INTS : x->dtype;
    n->nsaved[0] = tt_len(n->out); // places
    if (!n->nscratch)              // once: for as many threads as there are when it is compiled
        n->nscratch = omp_get_max_threads() * 2 * x->dim[axis];
    return TT_OK;
}

struct element {
    float v, at;
};

static int larger_first(const void *a, const void *b)
{
    const struct element *x = (const struct element *)a, *y = (const struct element *)b;

    return x->v != y->v ? (x->v < y->v ? 1 : -1) : x->at < y->at ? -1 : x->at > y->at;
}

static void forward_topk(struct tt_node *n)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct rows r = measure(n->in[0], t->axis);
    int threads = omp_get_max_threads(), room = (int)(n->nscratch / (2 * r.len));

    threads = threads < room ? threads : room;
#pragma omp parallel for schedule(static) num_threads(threads) if (tt_len(n->in[0]) > 16384)
    for (int64_t i = 0; i < r.outer * r.inner; i++) {
        struct element *all = (struct element *)(void *)n->scratch + omp_get_thread_num() * r.len;
        const float *x = n->in[0]->x + i / r.inner * r.len * r.inner + i % r.inner;
        int64_t to = i / r.inner * t->k * r.inner + i % r.inner;

        for (int64_t j = 0; j < r.len; j++)
            all[j] = (struct element){t->largest ? x[j * r.inner] : -x[j * r.inner], (float)j};
        qsort(all, (size_t)r.len, sizeof *all, larger_first);
        for (int64_t j = 0; j < t->k; j++) {
            n->saved[0][to + j * r.inner] = all[j].at;
            n->out->x[to + j * r.inner] = t->result ? all[j].at : x[(int64_t)all[j].at * r.inner];
        }
    }
}

static void backward_topk(struct tt_node *n)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct rows r = measure(n->in[0], t->axis);

    if (!n->add[0])
        memset(n->in[0]->g, 0, sizeof(float) * (size_t)tt_len(n->in[0]));
#pragma omp parallel for schedule(static) if (tt_len(n->out) > 16384)
    for (int64_t i = 0; i < r.outer * r.inner; i++) {
        float *dx = n->in[0]->g + i / r.inner * r.len * r.inner + i % r.inner;
        int64_t from = i / r.inner * t->k * r.inner + i % r.inner;

        for (int64_t j = 0; j < t->k; j++)
            dx[(int64_t)n->saved[0][from + j * r.inner] * r.inner] += n->out->g[from + j * r.inner];
    }
}

const struct tt_op tt_op_topk = {
    .name = "TopK",
    .min_in = 1,
    .max_in = 2,
    .ints = 1u << 1,
    .results = 2,
    .opset = 1,
    .source = "ONNX TopK-11; below opset 10 TopK-1",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_PLAIN,
    .read = read_topk,
    .shape = shape_topk,
    .forward = forward_topk,
    .backward = backward_topk,
};

/* ---- OneHot ---------------------------------------------------------------------------------- */

static enum tt_code read_onehot(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    (void)err;
    *(struct attr *)attr = (struct attr){.axis = tt_attr_int(a, "axis", -1)};
    return TT_OK;
}

static enum tt_code shape_onehot(struct tt_node *n, struct tt_err *err)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    int64_t axis = t->axis < 0 ? t->axis + x->ndim + 1 : t->axis;

    if (axis < 0 || axis > x->ndim || x->ndim == TT_MAXDIM)
        return tt_fail(err, TT_ERANGE, "axis %lld of %d dimensions and one more",
                       (long long)t->axis, x->ndim);
    if (tt_len(n->in[1]) != 1 || !(*n->in[1]->x >= 1 && *n->in[1]->x < 0x1p24f))
        return tt_fail(err, TT_ERANGE, "the depth is not one number from 1 to 2^24");
    if (tt_len(n->in[2]) != 2)
        return tt_fail(err, TT_ESHAPE, "%lld values, want 2", (long long)tt_len(n->in[2]));
    n->out->ndim = x->ndim + 1;
    for (int i = 0; i <= x->ndim; i++)
        n->out->dim[i] = i == axis ? (int64_t)*n->in[1]->x : x->dim[i - (i > axis)];
    n->out->dtype = n->in[2]->dtype;
    return TT_OK;
}

/* values[1] where the index says so, values[0] elsewhere and for indices that are outside */
static void forward_onehot(struct tt_node *n)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct rows r = measure(n->out, t->axis);

#pragma omp parallel for schedule(static) if (tt_len(n->out) > 65536)
    for (int64_t i = 0; i < r.outer * r.inner; i++) {
        float *y = n->out->x + i / r.inner * r.len * r.inner + i % r.inner;
        float at = n->in[0]->x[i];

        at += at < 0 ? (float)r.len : 0;
        for (int64_t j = 0; j < r.len; j++)
            y[j * r.inner] = n->in[2]->x[at >= (float)j && at < (float)(j + 1)];
    }
}

const struct tt_op tt_op_onehot = {
    .name = "OneHot",
    .min_in = 3,
    .max_in = 3,
    .known = 1u << 1,
    .opset = 9,
    .source = "ONNX OneHot-11",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_PLAIN,
    .read = read_onehot,
    .shape = shape_onehot,
    .forward = forward_onehot,
};
