// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"
#include "runtime/ops/window.h"

struct attr {
    struct tt_window window;
    bool count_pad; // an average divides by what lies in the padding too
};

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *p = (struct attr *)attr;
    const struct tt_window *w = &p->window;

    p->count_pad = tt_attr_int(a, "count_include_pad", 0) != 0;
    if (tt_attr_int(a, "storage_order", 0))
        return tt_fail(err, TT_EUNSUPPORTED, "attribute 'storage_order' is 1, want 0");
    if (tt_window_read(a, &p->window, err) != TT_OK)
        return err->code;
    if (w->kernel[0] < 1 || w->kernel[1] < 1)
        return tt_fail(err, TT_ERANGE, "attribute 'kernel_shape': want two sizes of at least 1");
    for (int i = 0; i < 4; i++)
        if (w->pad[i] >= w->kernel[i % 2] * w->dilation[i % 2])
            return tt_fail(err, TT_ERANGE, "padding %lld is not smaller than the kernel",
                           (long long)w->pad[i]);
    return TT_OK;
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct tt_window *p = &((const struct attr *)n->attr)->window;
    const struct tt_tensor *x = n->in[0];
    int64_t before, after;

    if (x->ndim != 4)
        return tt_fail(err, TT_EUNSUPPORTED, "input '%s' has %d dimensions, want 4 [N, C, H, W]",
                       x->name, x->ndim);
    n->out->ndim = 4;
    n->out->dim[0] = x->dim[0];
    n->out->dim[1] = x->dim[1];
    for (int i = 0; i < 2; i++) {
        n->out->dim[2 + i] = tt_window_places(p, i, p->kernel[i], x->dim[2 + i], &before, &after);
        if (n->out->dim[2 + i] < 1)
            return tt_fail(err, TT_ESHAPE, "the window %lldx%lld is larger than the padded input",
                           (long long)p->kernel[0], (long long)p->kernel[1]);
    }
    return TT_OK;
}

/* One window: which rows and columns of the input it sees. */
struct window {
    int64_t h, w, H, W; // first pixel (may be negative), size of the input
    int64_t counted;    // pixels that an average divides by
};

static struct window window_at(const struct tt_node *n, int64_t oh, int64_t ow)
{
    const struct attr *p = (const struct attr *)n->attr;
    const struct tt_window *w = &p->window;
    struct window v = {.H = n->in[0]->dim[2], .W = n->in[0]->dim[3]};
    int64_t start[2], before, after, counted = 1, at[2] = {oh, ow}, size[2] = {v.H, v.W};

    for (int i = 0; i < 2; i++) {
        int64_t low = 0, high = size[i], in = 0;

        (void)tt_window_places(w, i, w->kernel[i], size[i], &before, &after);
        start[i] = at[i] * w->stride[i] - before;
        if (p->count_pad) {
            low = -before;
            high = size[i] + after;
        }
        for (int64_t k = 0; k < w->kernel[i]; k++) {
            int64_t q = start[i] + k * w->dilation[i];

            in += q >= low && q < high;
        }
        counted *= in;
    }
    v.h = start[0];
    v.w = start[1];
    v.counted = counted;
    return v;
}

/* The pixel of tap (kh, kw), or -1 in the padding. */
static int64_t pixel(const struct tt_window *p, const struct window *v, int64_t kh, int64_t kw)
{
    int64_t h = v->h + kh * p->dilation[0], w = v->w + kw * p->dilation[1];

    return h < 0 || h >= v->H || w < 0 || w >= v->W ? -1 : h * v->W + w;
}

/* ---- MaxPool --------------------------------------------------------------------------------- */

static enum tt_code shape_max(struct tt_node *n, struct tt_err *err)
{
    if (shape(n, err) != TT_OK)
        return err->code;
    n->nsaved[0] = tt_len(n->out); // which pixel won, as int32
    return TT_OK;
}

static void forward_max(struct tt_node *n)
{
    const struct tt_window *p = &((const struct attr *)n->attr)->window;
    int64_t C = n->out->dim[1], OH = n->out->dim[2], OW = n->out->dim[3];
    int64_t image = C * n->in[0]->dim[2] * n->in[0]->dim[3];
    int32_t *won = (int32_t *)(void *)n->saved[0];

#pragma omp parallel for schedule(static) if (tt_len(n->out) > 65536)
    for (int64_t b = 0; b < n->out->dim[0]; b++)
        for (int64_t i = 0; i < OH * OW; i++) {
            struct window v = window_at(n, i / OW, i % OW);
            float *y = n->out->x + (b * OH * OW + i) * C;
            int32_t *w = won + (b * OH * OW + i) * C;
            bool first = true;

            for (int64_t k = 0; k < p->kernel[0] * p->kernel[1]; k++) {
                int64_t at = pixel(p, &v, k / p->kernel[1], k % p->kernel[1]);
                const float *x = n->in[0]->x + b * image + at * C;

                if (at < 0)
                    continue;
                for (int64_t c = 0; c < C; c++)
                    if (first || x[c] > y[c] || isnan(x[c])) {
                        y[c] = x[c];
                        w[c] = (int32_t)at;
                    }
                first = false;
            }
        }
}

static void backward_max(struct tt_node *n)
{
    int64_t C = n->out->dim[1], P = n->out->dim[2] * n->out->dim[3];
    int64_t image = C * n->in[0]->dim[2] * n->in[0]->dim[3];
    const int32_t *won = (const int32_t *)(const void *)n->saved[0];

    if (!n->add[0])
        memset(n->in[0]->g, 0, sizeof(float) * (size_t)tt_len(n->in[0]));
    for (int64_t b = 0; b < n->out->dim[0]; b++)
        for (int64_t i = 0; i < P * C; i++) {
            int64_t at = b * P * C + i;

            n->in[0]->g[b * image + won[at] * C + i % C] += n->out->g[at];
        }
}

const struct tt_op tt_op_maxpool = {
    .name = "MaxPool",
    .min_in = 1,
    .max_in = 1,
    .opset = 1,
    .source = "ONNX MaxPool-12, two spatial dimensions",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_LAST,
    .read = read_attr,
    .shape = shape_max,
    .forward = forward_max,
    .backward = backward_max,
};

/* ---- AveragePool ----------------------------------------------------------------------------- */

static void forward_average(struct tt_node *n)
{
    const struct tt_window *p = &((const struct attr *)n->attr)->window;
    int64_t C = n->out->dim[1], OH = n->out->dim[2], OW = n->out->dim[3];
    int64_t image = C * n->in[0]->dim[2] * n->in[0]->dim[3];

#pragma omp parallel for schedule(static) if (tt_len(n->out) > 65536)
    for (int64_t b = 0; b < n->out->dim[0]; b++)
        for (int64_t i = 0; i < OH * OW; i++) {
            struct window v = window_at(n, i / OW, i % OW);
            float *y = n->out->x + (b * OH * OW + i) * C, scale = 1 / (float)v.counted;

            memset(y, 0, sizeof *y * (size_t)C);
            for (int64_t k = 0; k < p->kernel[0] * p->kernel[1]; k++) {
                int64_t at = pixel(p, &v, k / p->kernel[1], k % p->kernel[1]);

                for (int64_t c = 0; at >= 0 && c < C; c++)
                    y[c] += n->in[0]->x[b * image + at * C + c] * scale;
            }
        }
}

static void backward_average(struct tt_node *n)
{
    const struct tt_window *p = &((const struct attr *)n->attr)->window;
    int64_t C = n->out->dim[1], OH = n->out->dim[2], OW = n->out->dim[3];
    int64_t image = C * n->in[0]->dim[2] * n->in[0]->dim[3];

    if (!n->add[0])
        memset(n->in[0]->g, 0, sizeof(float) * (size_t)tt_len(n->in[0]));
    for (int64_t b = 0; b < n->out->dim[0]; b++)
        for (int64_t i = 0; i < OH * OW; i++) {
            struct window v = window_at(n, i / OW, i % OW);
            const float *dy = n->out->g + (b * OH * OW + i) * C;
            float scale = 1 / (float)v.counted;

            for (int64_t k = 0; k < p->kernel[0] * p->kernel[1]; k++) {
                int64_t at = pixel(p, &v, k / p->kernel[1], k % p->kernel[1]);

                for (int64_t c = 0; at >= 0 && c < C; c++)
                    n->in[0]->g[b * image + at * C + c] += dy[c] * scale;
            }
        }
}

const struct tt_op tt_op_averagepool = {
    .name = "AveragePool",
    .min_in = 1,
    .max_in = 1,
    .opset = 1,
    .source = "ONNX AveragePool-19, two spatial dimensions",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_LAST,
    .read = read_attr,
    .shape = shape,
    .forward = forward_average,
    .backward = backward_average,
};

/* ---- GlobalAveragePool ------------------------------------------------------------------------
 */

static enum tt_code shape_global(struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *x = n->in[0];

    if (x->ndim < 3 || !tt_len(x))
        return tt_fail(err, TT_ESHAPE, "input '%s' has %d dimensions, want [N, C, ...], not empty",
                       x->name, x->ndim);
    n->out->ndim = x->ndim;
    for (int i = 0; i < x->ndim; i++)
        n->out->dim[i] = i < 2 ? x->dim[i] : 1;
    return TT_OK;
}

/* y[n, c] = mean over pixels of x[n, p, c] */
static void forward_global(struct tt_node *n)
{
    int64_t N = n->out->dim[0], C = n->out->dim[1], P = tt_len(n->in[0]) / (N * C);

    for (int64_t b = 0; b < N; b++) {
        const float *x = n->in[0]->x + b * P * C;
        float *y = n->out->x + b * C;

        memset(y, 0, sizeof *y * (size_t)C);
        for (int64_t p = 0; p < P; p++)
            for (int64_t c = 0; c < C; c++)
                y[c] += x[p * C + c];
        for (int64_t c = 0; c < C; c++)
            y[c] /= (float)P;
    }
}

static void backward_global(struct tt_node *n)
{
    int64_t N = n->out->dim[0], C = n->out->dim[1], P = tt_len(n->in[0]) / (N * C);
    float scale = 1 / (float)P;

    for (int64_t b = 0; b < N; b++)
        for (int64_t p = 0; p < P; p++) {
            float *dx = n->in[0]->g + (b * P + p) * C;

            for (int64_t c = 0; c < C; c++) {
                float d = n->out->g[b * C + c] * scale;

                dx[c] = n->add[0] ? dx[c] + d : d;
            }
        }
}

const struct tt_op tt_op_globalaveragepool = {
    .name = "GlobalAveragePool",
    .min_in = 1,
    .max_in = 1,
    .opset = 1,
    .source = "ONNX GlobalAveragePool-1",
    .layout = TT_WANTS_LAST,
    .shape = shape_global,
    .forward = forward_global,
    .backward = backward_global,
};
