// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"

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

/* x seen as [outer, n, inner], softmax along n. */
static void measure(const struct tt_node *n, int64_t *outer, int64_t *len, int64_t *inner)
{
    const struct attr *s = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    int axis = (int)(s->axis < 0 ? s->axis + x->ndim : s->axis);

    *outer = *inner = 1;
    for (int i = 0; i < axis; i++)
        *outer *= x->dim[i];
    *len = x->dim[axis];
    for (int i = axis + 1; i < x->ndim; i++)
        *(s->flat ? len : inner) *= x->dim[i];
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

/* y = exp(x - max) / sum */
static void forward(struct tt_node *n)
{
    int64_t outer, len, inner;

    measure(n, &outer, &len, &inner);
    for (int64_t i = 0; i < outer * inner; i++) {
        const float *x = n->in[0]->x + i / inner * len * inner + i % inner;
        float *y = n->out->x + i / inner * len * inner + i % inner, max = x[0];
        double sum = 0;

        for (int64_t j = 1; j < len; j++)
            max = x[j * inner] > max ? x[j * inner] : max;
        for (int64_t j = 0; j < len; j++)
            sum += y[j * inner] = expf(x[j * inner] - max);
        for (int64_t j = 0; j < len; j++)
            y[j * inner] = (float)(y[j * inner] / sum);
    }
}

/* dx = y (dy - sum y dy) */
static void backward(struct tt_node *n)
{
    int64_t outer, len, inner;

    measure(n, &outer, &len, &inner);
    for (int64_t i = 0; i < outer * inner; i++) {
        int64_t at = i / inner * len * inner + i % inner;
        const float *y = n->out->x + at, *dy = n->out->g + at;
        float *dx = n->in[0]->g + at;
        double dot = 0;

        for (int64_t j = 0; j < len; j++)
            dot += (double)y[j * inner] * dy[j * inner];
        for (int64_t j = 0; j < len; j++) {
            float d = y[j * inner] * (dy[j * inner] - (float)dot);

            dx[j * inner] = n->add[0] ? dx[j * inner] + d : d;
        }
    }
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_OUT;
}

const struct tt_op tt_op_softmax = {
    .name = "Softmax",
    .min_in = 1,
    .max_in = 1,
    .opset = 1,
    .source = "ONNX Softmax-13; below opset 13 Softmax-11",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_PLAIN,
    .inplace = true,
    .read = read_attr,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
};
