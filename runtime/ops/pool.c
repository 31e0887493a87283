// SPDX-License-Identifier: Apache-2.0
/*
 * MaxPool, AveragePool, LpPool over one to three spatial dimensions.  Channels last: a pixel's
 * channels are contiguous, and each tap of a window adds such a row.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/kernels.h"
#include "runtime/op.h"
#include "runtime/ops/window.h"

enum kind { MAX, AVERAGE, LP };

struct attr {
    struct tt_window window;
    bool count_pad; // an average divides by what lies in the padding too
    bool columns;   // indices are counted down columns first
    int64_t p;
    int result; // of MaxPool: 1 is where the largest are
};

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *p = (struct attr *)attr;
    const struct tt_window *w = &p->window;

    p->count_pad = tt_attr_int(a, "count_include_pad", 0) != 0;
    p->columns = tt_attr_int(a, "storage_order", 0) != 0;
    p->p = tt_attr_int(a, "p", 2);
    p->result = a->result;
    if (tt_window_read(a, &p->window, err) != TT_OK)
        return err->code;
    if (w->n < 1 || p->p < 1)
        return tt_fail(err, TT_ERANGE, "want a kernel_shape, and p of at least 1");
    for (int i = 0; i < 2 * w->n; i++) {
        if (w->kernel[i % w->n] < 1)
            return tt_fail(err, TT_ERANGE, "attribute 'kernel_shape': want sizes of at least 1");
        if (w->pad[i] >= w->kernel[i % w->n] * w->dilation[i % w->n])
            return tt_fail(err, TT_ERANGE, "padding %lld is not smaller than the kernel",
                           (long long)w->pad[i]);
    }
    return TT_OK;
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct tt_window *p = &((const struct attr *)n->attr)->window;
    const struct tt_tensor *x = n->in[0];
    int64_t before, after;

    if (x->ndim != p->n + 2)
        return tt_fail(err, TT_ESHAPE, "input '%s' has %d dimensions, want [N, C] and %d of space",
                       x->name, x->ndim, p->n);
    n->out->ndim = x->ndim;
    n->out->dim[0] = x->dim[0];
    n->out->dim[1] = x->dim[1];
    for (int i = 0; i < p->n; i++) {
        n->out->dim[2 + i] = tt_window_places(p, i, p->kernel[i], x->dim[2 + i], &before, &after);
        if (n->out->dim[2 + i] < 1)
            return tt_fail(err, TT_ESHAPE, "a window of %lld is larger than the padded input",
                           (long long)p->kernel[i]);
    }
    return TT_OK;
}

static enum tt_code shape_max(struct tt_node *n, struct tt_err *err)
{
    if (shape(n, err) != TT_OK)
        return err->code;
    /* Which pixel won, as int32: for backward, or to be the result. */
    if (((const struct attr *)n->attr)->result) {
        n->out->dtype = TT_INTS;
        n->nscratch = tt_len(n->out);
    } else {
        n->nsaved[0] = tt_len(n->out);
    }
    return TT_OK;
}

/* One place of the window: the taps of each dimension that see a pixel, which tap is next, and its
 * pixel; dimensions that the window lacks are in front, of one tap.  A window may be far larger
 * than the operand, as where an exporter wrote "all of it" as some size. */
struct place {
    int64_t first[TT_MAXSPACE], taps[TT_MAXSPACE], tap[TT_MAXSPACE], step[TT_MAXSPACE];
    int64_t pixel, left; // taps that are left, this one too
    int64_t counted;     // pixels that an average divides by
};

/* Taps k of n for which low <= start + k dilation < high: the first, and how many. */
static int64_t taps_within(int64_t start, int64_t dilation, int64_t n, int64_t low, int64_t high,
                           int64_t *first)
{
    int64_t end = start < high ? (high - start + dilation - 1) / dilation : 0;

    *first = start < low ? (low - start + dilation - 1) / dilation : 0;
    end = end < n ? end : n;
    return end > *first ? end - *first : 0;
}

static struct place place_at(const struct tt_node *n, int64_t at)
{
    const struct attr *p = (const struct attr *)n->attr;
    const struct tt_window *w = &p->window;
    struct place v = {.taps = {1, 1, 1}, .left = 1, .counted = 1};
    int64_t stride = 1;

    for (int i = w->n - 1, k = TT_MAXSPACE - 1; i >= 0; i--, k--) {
        int64_t size = n->in[0]->dim[2 + i], before, after, start, first, padded;

        (void)tt_window_places(w, i, w->kernel[i], size, &before, &after);
        start = at % n->out->dim[2 + i] * w->stride[i] - before;
        at /= n->out->dim[2 + i];
        v.taps[k] = taps_within(start, w->dilation[i], w->kernel[i], 0, size, &v.first[k]);
        padded = taps_within(start, w->dilation[i], w->kernel[i], -before, size + after, &first);
        v.counted *= p->count_pad ? padded : v.taps[k];
        v.left *= v.taps[k];
        v.step[k] = w->dilation[i] * stride;
        v.pixel += (start + v.first[k] * w->dilation[i]) * stride;
        stride *= size;
    }
    return v;
}

/* To the next tap. */
static void advance(struct place *v)
{
    v->left--;
    for (int k = TT_MAXSPACE - 1; k >= 0; k--) {
        v->pixel += v->step[k];
        if (++v->tap[k] < v->taps[k])
            return;
        v->pixel -= v->step[k] * v->taps[k];
        v->tap[k] = 0;
    }
}

#define BLOCK 32 // channels at least that a thread takes

struct size {
    int64_t N, C, P, Q; // images, channels, pixels of the operand and of the result
    int64_t blocks;     // that the channels are cut into going back, where images are few
};

static struct size measure(const struct tt_node *n)
{
    struct size s = {n->out->dim[0], n->out->dim[1], 1, 1, 1};

    for (int i = 2; i < n->out->ndim; i++) {
        s.P *= n->in[0]->dim[i];
        s.Q *= n->out->dim[i];
    }
    if (s.N < 16)
        s.blocks = s.C < 16 * BLOCK ? (s.C + BLOCK - 1) / BLOCK : 16;
    return s;
}

/* ---- MaxPool --------------------------------------------------------------------------------- */

/* The index that ONNX gives pixel at of channel c of image b. */
static float index_of(const struct tt_node *n, const struct size *s, int64_t b, int64_t c,
                      int64_t at)
{
    if (((const struct attr *)n->attr)->columns && n->in[0]->ndim == 4) {
        int64_t W = n->in[0]->dim[3];

        at = at % W * n->in[0]->dim[2] + at / W;
    }
    return (float)((b * s->C + c) * s->P + at);
}

static void forward_max(struct tt_node *n)
{
    bool indices = ((const struct attr *)n->attr)->result == 1;
    const struct tt_kernels *kernels = tt_kernels();
    struct size s = measure(n);
    int32_t *won = (int32_t *)(void *)(indices ? n->scratch : n->saved[0]);

#pragma omp parallel for schedule(static) if (tt_len(n->out) > 16384)
    for (int64_t i = 0; i < s.N * s.Q; i++) {
        const float *x = n->in[0]->x + i / s.Q * s.P * s.C;
        int32_t *w = won ? won + i * s.C : NULL;
        float *y = n->out->x + i * s.C;
        struct place v = place_at(n, i % s.Q);

        for (int64_t c = 0; c < s.C; c++)
            y[c] = v.left ? x[v.pixel * s.C + c] : -INFINITY; // nothing but padding
        for (int64_t c = 0; w && c < s.C; c++)
            w[c] = v.left ? (int32_t)v.pixel : 0;
        for (advance(&v); v.left > 0; advance(&v))
            kernels->largest(y, w, x + v.pixel * s.C, (int32_t)v.pixel, s.C);
        for (int64_t c = 0; indices && c < s.C; c++)
            y[c] = index_of(n, &s, i / s.Q, c, w[c]);
    }
}

static void backward_max(struct tt_node *n)
{
    const int32_t *won = (const int32_t *)(const void *)n->saved[0];
    struct size s = measure(n);

    if (!n->add[0])
        memset(n->in[0]->g, 0, sizeof(float) * (size_t)tt_len(n->in[0]));
#pragma omp parallel for schedule(static) if (tt_len(n->out) > 16384)
    for (int64_t t = 0; t < s.N * s.blocks; t++) {
        int64_t b = t / s.blocks, part = t % s.blocks;

        for (int64_t q = 0; q < s.Q; q++)
            for (int64_t c = s.C * part / s.blocks; c < s.C * (part + 1) / s.blocks; c++) {
                int64_t at = (b * s.Q + q) * s.C + c;

                n->in[0]->g[(b * s.P + won[at]) * s.C + c] += n->out->g[at];
            }
    }
}

const struct tt_op tt_op_maxpool = {
    .name = "MaxPool",
    .min_in = 1,
    .max_in = 1,
    .results = 2,
    .opset = 1,
    .source = "ONNX MaxPool-12",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_LAST,
    .saves_back = true,
    .read = read_attr,
    .shape = shape_max,
    .forward = forward_max,
    .backward = backward_max,
};

/* ---- AveragePool and LpPool ------------------------------------------------------------------ */

/* y += a tap's row, as the pool sums it */
static void add_row(enum kind kind, float *y, const float *x, int64_t C, int64_t p)
{
    if (kind == AVERAGE) {
        for (int64_t c = 0; c < C; c++)
            y[c] += x[c];
        return;
    }
    for (int64_t c = 0; c < C; c++)
        y[c] += p == 2 ? x[c] * x[c] : powf(fabsf(x[c]), (float)p);
}

static void forward_sum(struct tt_node *n, enum kind kind)
{
    int64_t p = ((const struct attr *)n->attr)->p;
    struct size s = measure(n);

#pragma omp parallel for schedule(static) if (tt_len(n->in[0]) > 16384)
    for (int64_t i = 0; i < s.N * s.Q; i++) {
        const float *x = n->in[0]->x + i / s.Q * s.P * s.C;
        float *y = n->out->x + i * s.C;
        struct place v = place_at(n, i % s.Q);
        float scale = v.counted ? 1 / (float)v.counted : 0;

        memset(y, 0, sizeof *y * (size_t)s.C);
        for (; v.left > 0; advance(&v))
            add_row(kind, y, x + v.pixel * s.C, s.C, p);
        for (int64_t c = 0; c < s.C; c++)
            y[c] = kind == LP ? powf(y[c], 1 / (float)p) : y[c] * scale;
    }
}

/* d (sum |x|^p)^(1/p) / dx = sign(x) (|x| / y)^(p - 1) */
static float slope(float x, float y, int64_t p)
{
    if (y == 0)
        return 0;
    return p == 2 ? x / y : copysignf(powf(fabsf(x) / y, (float)(p - 1)), x);
}

static void backward_sum(struct tt_node *n, enum kind kind)
{
    int64_t p = ((const struct attr *)n->attr)->p;
    struct size s = measure(n);

    if (!n->add[0])
        memset(n->in[0]->g, 0, sizeof(float) * (size_t)tt_len(n->in[0]));
#pragma omp parallel for schedule(static) if (tt_len(n->in[0]) > 16384)
    for (int64_t t = 0; t < s.N * s.blocks; t++) {
        int64_t b = t / s.blocks, part = t % s.blocks;
        int64_t first = s.C * part / s.blocks, last = s.C * (part + 1) / s.blocks;

        for (int64_t i = b * s.Q; i < (b + 1) * s.Q; i++) {
            const float *dy = n->out->g + i * s.C, *y = n->out->x + i * s.C;
            struct place v = place_at(n, i % s.Q);
            float scale = 1 / (float)v.counted;

            for (; v.left > 0; advance(&v)) {
                const float *x = n->in[0]->x + (b * s.P + v.pixel) * s.C;
                float *dx = n->in[0]->g + (b * s.P + v.pixel) * s.C;

                for (int64_t c = first; kind == AVERAGE && c < last; c++)
                    dx[c] += dy[c] * scale;
                for (int64_t c = first; kind == LP && c < last; c++)
                    dx[c] += dy[c] * slope(x[c], y[c], p);
            }
        }
    }
}

static void forward_average(struct tt_node *n)
{
    forward_sum(n, AVERAGE);
}

static void backward_average(struct tt_node *n)
{
    backward_sum(n, AVERAGE);
}

static void forward_lp(struct tt_node *n)
{
    forward_sum(n, LP);
}

static void backward_lp(struct tt_node *n)
{
    backward_sum(n, LP);
}

static unsigned reads_lp(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_IN(0) | TT_READS_OUT;
}

const struct tt_op tt_op_averagepool = {
    .name = "AveragePool",
    .min_in = 1,
    .max_in = 1,
    .opset = 1,
    .source = "ONNX AveragePool-19",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_LAST,
    .read = read_attr,
    .shape = shape,
    .forward = forward_average,
    .backward = backward_average,
};

const struct tt_op tt_op_lppool = {
    .name = "LpPool",
    .min_in = 1,
    .max_in = 1,
    .opset = 2,
    .source = "ONNX LpPool-18",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_LAST,
    .read = read_attr,
    .shape = shape,
    .forward = forward_lp,
    .reads = reads_lp,
    .backward = backward_lp,
};
