// SPDX-License-Identifier: Apache-2.0
/* Min, Max, Sum and Mean of one operand or more, with broadcasting. */
#include <stddef.h>

#include "runtime/ops/broadcast.h"
#include "runtime/pointwise.h"

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    for (int k = 1; k < n->nin; k++)
        if (!n->in[k])
            return tt_fail(err, TT_EPARSE, "operand %d is missing", k);
    return tt_broadcast_shape(n, -1, err);
}

struct work {
    const struct tt_node *n;
    struct tt_lines lines;
    enum tt_binary row;
    float scale;
    int k;
};

/* y = a0 row a1 row a2 ..., times scale */
static void forward_line(void *context, const int64_t *at, int64_t n)
{
    const struct work *w = (const struct work *)context;
    const struct tt_binary_row *row = &tt_pointwise()->binary[w->row];
    const float *x = w->n->in[0]->x + at[1];
    float *y = w->n->out->x + at[0];
    int64_t step = w->lines.step[1];

    for (int64_t i = 0; w->n->nin == 1 && i < n; i++)
        y[i] = x[i * step];
    for (int k = 1; k < w->n->nin; k++) {
        row->y(y, x, step, w->n->in[k]->x + at[k + 1], w->lines.step[k + 1], n);
        x = y;
        step = 1;
    }
    if (w->scale != 1)
        tt_pointwise()->binary[TT_BINARY_mul].y(y, y, 1, &w->scale, 0, n);
}

static void forward_row(struct tt_node *n, enum tt_binary row, float scale)
{
    struct work w = {.n = n, .row = row, .scale = scale};

    tt_lines_make(&w.lines, n, -1);
    tt_lines_each(&w.lines, forward_line, &w);
}

/* dx = dy scale */
static void sum_line(void *context, float *d, const int64_t *at, int64_t n)
{
    const struct work *w = (const struct work *)context;

    tt_pointwise()->binary[TT_BINARY_mul].y(d, w->n->out->g + at[0], 1, &w->scale, 0, n);
}

/* dx = dy where x is the result; operands that are it together share dy */
static void share_line(void *context, float *d, const int64_t *at, int64_t n)
{
    const struct work *w = (const struct work *)context;
    const float *y = w->n->out->x + at[0], *dy = w->n->out->g + at[0];

    for (int64_t i = 0; i < n; i++) {
        int alike = 0;

        for (int k = 0; k < w->n->nin; k++)
            alike += w->n->in[k]->x[at[k + 1] + i * w->lines.step[k + 1]] == y[i];
        d[i] = w->n->in[w->k]->x[at[w->k + 1] + i * w->lines.step[w->k + 1]] == y[i]
                   ? dy[i] / (float)alike
                   : 0;
    }
}

static void backward_all(struct tt_node *n, tt_slope *slope, float scale)
{
    struct work w = {.n = n, .scale = scale};

    tt_lines_make(&w.lines, n, -1);
    for (w.k = n->nin - 1; w.k >= 0; w.k--)
        if (n->in[w.k]->g)
            tt_lines_sum(&w.lines, w.k, n->in[w.k]->g, n->add[w.k], n->scratch, slope, &w);
}

static void forward_min(struct tt_node *n)
{
    forward_row(n, TT_BINARY_min, 1);
}

static void forward_max(struct tt_node *n)
{
    forward_row(n, TT_BINARY_max, 1);
}

static void backward_share(struct tt_node *n)
{
    backward_all(n, share_line, 1);
}

static unsigned reads_share(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)wants;
    return TT_READS_OUT | ((1u << n->nin) - 1);
}

static void forward_sum(struct tt_node *n)
{
    forward_row(n, TT_BINARY_add, 1);
}

static void backward_sum(struct tt_node *n)
{
    backward_all(n, sum_line, 1);
}

static void forward_mean(struct tt_node *n)
{
    forward_row(n, TT_BINARY_add, 1 / (float)n->nin);
}

static void backward_mean(struct tt_node *n)
{
    backward_all(n, sum_line, 1 / (float)n->nin);
}

#define OPERATOR(id, onnx, groups, backward_, reads_) \
    const struct tt_op tt_op_##id = {                 \
        .name = onnx,                                 \
        .min_in = 1,                                  \
        .max_in = TT_MAXIN,                           \
        .associative = groups,                        \
        .opset = 6,                                   \
        .source = "ONNX " onnx "-13",                 \
        .layout = TT_FOLLOWS,                         \
        .shape = shape,                               \
        .forward = forward_##id,                      \
        .reads = reads_,                              \
        .backward = backward_,                        \
    };

OPERATOR(min, "Min", true, backward_share, reads_share)
OPERATOR(max, "Max", true, backward_share, reads_share)
OPERATOR(sum, "Sum", true, backward_sum, NULL)
OPERATOR(mean, "Mean", false, backward_mean, NULL)
