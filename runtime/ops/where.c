// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include "runtime/ops/broadcast.h"
#include "runtime/pointwise.h"

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    if (n->in[1]->dtype != n->in[2]->dtype)
        return tt_fail(err, TT_EUNSUPPORTED, "'%s' and '%s' are not of one type", n->in[1]->name,
                       n->in[2]->name);
    n->out->dtype = n->in[1]->dtype;
    return tt_broadcast_shape(n, -1, err);
}

struct work {
    const struct tt_node *n;
    struct tt_lines lines;
    int k;
};

static void forward_line(void *context, const int64_t *at, int64_t n)
{
    const struct work *w = (const struct work *)context;
    const int64_t *step = w->lines.step;

    tt_pointwise()->where(w->n->out->x + at[0], w->n->in[0]->x + at[1], step[1],
                          w->n->in[1]->x + at[2], step[2], w->n->in[2]->x + at[3], step[3], n);
}

/* y = c ? a : b */
static void forward(struct tt_node *n)
{
    struct work w = {.n = n};

    tt_lines_make(&w.lines, n, -1);
    tt_lines_each(&w.lines, forward_line, &w);
}

static void slope_line(void *context, float *d, const int64_t *at, int64_t n)
{
    const struct work *w = (const struct work *)context;

    tt_pointwise()->where_slope(d, w->n->out->g + at[0], w->n->in[0]->x + at[1], w->lines.step[1],
                                w->k == 1, n);
}

static void backward(struct tt_node *n)
{
    struct work w = {.n = n};

    tt_lines_make(&w.lines, n, -1);
    for (w.k = 2; w.k > 0; w.k--)
        if (n->in[w.k]->g)
            tt_lines_sum(&w.lines, w.k, n->in[w.k]->g, n->add[w.k], n->scratch, slope_line, &w);
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_IN(0);
}

const struct tt_op tt_op_where = {
    .name = "Where",
    .min_in = 3,
    .max_in = 3,
    .opset = 9,
    .source = "ONNX Where-16",
    .layout = TT_FOLLOWS,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
};
