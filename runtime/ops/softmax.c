// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"
#include "runtime/ops/patterns.h"
#include "runtime/pointwise.h"

#define MANY ((int64_t)16384) // elements that are worth a second thread

struct attr {
    int64_t axis;
    bool flat; // opset below 13: all dimensions from axis on are one
};

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *s = (struct attr *)attr;

    (void)err;
    s->flat = a->opset < 13;
    s->axis = tt_attr_int(a, "axis", s->flat ? 1 : -1);
    return TT_OK;
}

bool tt_softmax_is_last(const void *attr, int n)
{
    int64_t axis = ((const struct attr *)attr)->axis;

    return axis == -1 || axis == n - 1;
}

bool tt_softmax_is_row(const void *attr, int n, const int64_t *dim)
{
    const struct attr *s = (const struct attr *)attr;
    const int64_t axis = s->axis < 0 ? s->axis + n : s->axis;

    for (int i = 1; i < n; i++)
        if (dim[i] != 1 && i != axis && !(s->flat && i > axis))
            return false;
    return axis >= 1;
}

/* x seen as rows of len elements that lie inner apart: [count / inner, len, inner]. */
struct rows {
    int64_t count, len, inner;
};

static struct rows measure(const struct tt_node *n)
{
    const struct attr *s = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    int axis = (int)(s->axis < 0 ? s->axis + x->ndim : s->axis);
    struct rows r = {.count = 1, .len = x->dim[axis], .inner = 1};

    for (int i = axis + 1; i < x->ndim; i++)
        *(s->flat ? &r.len : &r.inner) *= x->dim[i];
    r.count = r.len ? tt_len(x) / r.len : 0;
    return r;
}

/* Where row i begins. */
static int64_t row_at(const struct rows *r, int64_t i)
{
    return i / r->inner * r->len * r->inner + i % r->inner;
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct attr *s = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];

    if (s->axis < -x->ndim || s->axis >= x->ndim)
        return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                       (long long)s->axis, x->name, x->ndim);
    n->out->ndim = x->ndim;
    memcpy(n->out->dim, x->dim, sizeof x->dim);
    return TT_OK;
}

/* Largest element, and sum of exp(x - largest), whose terms are in y. */
static double exponentials(float *y, const float *x, const struct rows *r, float *ret_max)
{
    const struct tt_pointwise *p = tt_pointwise();
    double sum = 0;

    if (r->inner == 1) {
        *ret_max = p->largest(x, r->len);
        return p->exp_sum(y, x, *ret_max, r->len);
    }
    *ret_max = x[0];
    for (int64_t j = 1; j < r->len; j++)
        *ret_max = x[j * r->inner] > *ret_max ? x[j * r->inner] : *ret_max;
    for (int64_t j = 0; j < r->len; j++)
        sum += p->exp_sum(y + j * r->inner, x + j * r->inner, *ret_max, 1);
    return sum;
}

/* y = exp(x - max) / sum */
static void forward_softmax(struct tt_node *n)
{
    const struct tt_binary_row *times = &tt_pointwise()->binary[TT_BINARY_mul];
    struct rows r = measure(n);

#pragma omp parallel for schedule(static) if (r.count * r.len > MANY)
    for (int64_t i = 0; i < r.count; i++) {
        float *y = n->out->x + row_at(&r, i), max, scale;

        scale = (float)(1 / exponentials(y, n->in[0]->x + row_at(&r, i), &r, &max));
        if (r.inner == 1)
            times->y(y, y, 1, &scale, 0, r.len);
        for (int64_t j = 0; r.inner > 1 && j < r.len; j++)
            y[j * r.inner] *= scale;
    }
}

/* dx = y (dy - sum y dy) */
static void backward_softmax(struct tt_node *n)
{
    struct rows r = measure(n);

#pragma omp parallel for schedule(static) if (r.count * r.len > MANY)
    for (int64_t i = 0; i < r.count; i++) {
        int64_t at = row_at(&r, i);
        const float *y = n->out->x + at, *dy = n->out->g + at;
        float *dx = n->in[0]->g + at;
        double dot = 0;

        if (r.inner == 1) {
            tt_pointwise()->softmax_grad(dx, y, dy, r.len, n->add[0]);
            continue;
        }
        for (int64_t j = 0; j < r.len; j++)
            dot += (double)y[j * r.inner] * dy[j * r.inner];
        for (int64_t j = 0; j < r.len; j++) {
            float d = y[j * r.inner] * (dy[j * r.inner] - (float)dot);

            dx[j * r.inner] = n->add[0] ? dx[j * r.inner] + d : d;
        }
    }
}

/* y = x - max - log sum exp(x - max) */
static void forward_logsoftmax(struct tt_node *n)
{
    struct rows r = measure(n);

#pragma omp parallel for schedule(static) if (r.count * r.len > MANY)
    for (int64_t i = 0; i < r.count; i++) {
        const float *x = n->in[0]->x + row_at(&r, i);
        float *y = n->out->x + row_at(&r, i), max, less;

        less = (float)log(exponentials(y, x, &r, &max));
        for (int64_t j = 0; j < r.len; j++)
            y[j * r.inner] = x[j * r.inner] - max - less;
    }
}

/* dx = dy - exp(y) sum dy */
static void backward_logsoftmax(struct tt_node *n)
{
    struct rows r = measure(n);

#pragma omp parallel for schedule(static) if (r.count * r.len > MANY)
    for (int64_t i = 0; i < r.count; i++) {
        int64_t at = row_at(&r, i);
        const float *y = n->out->x + at, *dy = n->out->g + at;
        float *dx = n->in[0]->g + at;
        double sum = 0;

        for (int64_t j = 0; j < r.len; j++)
            sum += dy[j * r.inner];
        for (int64_t j = 0; j < r.len; j++) {
            float d = dy[j * r.inner] - expf(y[j * r.inner]) * (float)sum;

            dx[j * r.inner] = n->add[0] ? dx[j * r.inner] + d : d;
        }
    }
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_OUT;
}

#define OPERATOR(id, onnx, inplace_)                              \
    const struct tt_op tt_op_##id = {                             \
        .name = onnx,                                             \
        .min_in = 1,                                              \
        .max_in = 1,                                              \
        .opset = 1,                                               \
        .source = "ONNX " onnx "-13; below opset 13 " onnx "-11", \
        .attr_size = sizeof(struct attr),                         \
        .layout = TT_WANTS_PLAIN,                                 \
        .inplace = inplace_,                                      \
        .read = read_attr,                                        \
        .shape = shape,                                           \
        .forward = forward_##id,                                  \
        .reads = reads,                                           \
        .backward = backward_##id,                                \
    };

/* LogSoftmax needs x after y was begun: it does not work in place. */
OPERATOR(softmax, "Softmax", true)
OPERATOR(logsoftmax, "LogSoftmax", false)
