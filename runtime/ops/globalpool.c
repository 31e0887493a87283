// SPDX-License-Identifier: Apache-2.0
/* GlobalAveragePool, GlobalMaxPool, GlobalLpPool: one value of all pixels of a channel. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"

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

/* ---- GlobalMaxPool --------------------------------------------------------------------------- */

static enum tt_code shape_largest(struct tt_node *n, struct tt_err *err)
{
    if (shape_global(n, err) != TT_OK)
        return err->code;
    n->nsaved[0] = tt_len(n->out); // which pixel won, as int32
    return TT_OK;
}

#define BLOCK 64 // channels

static void forward_largest(struct tt_node *n)
{
    int64_t N = n->out->dim[0], C = n->out->dim[1], P = tt_len(n->in[0]) / (N * C);
    int64_t blocks = (C + BLOCK - 1) / BLOCK;
    int32_t *won = (int32_t *)(void *)n->saved[0];

#pragma omp parallel for schedule(static) if (N * P * C > 65536)
    for (int64_t t = 0; t < N * blocks; t++) {
        int64_t first = t % blocks * BLOCK, last = first + BLOCK < C ? first + BLOCK : C;
        const float *x = n->in[0]->x + t / blocks * P * C;
        int32_t *w = won + t / blocks * C;
        float *y = n->out->x + t / blocks * C;

        for (int64_t c = first; c < last; c++) {
            y[c] = x[c];
            w[c] = 0;
        }
        for (int64_t p = 1; p < P; p++)
            for (int64_t c = first; c < last; c++)
                if (x[p * C + c] > y[c] || isnan(x[p * C + c])) {
                    y[c] = x[p * C + c];
                    w[c] = (int32_t)p;
                }
    }
}

static void backward_largest(struct tt_node *n)
{
    int64_t N = n->out->dim[0], C = n->out->dim[1], P = tt_len(n->in[0]) / (N * C);
    const int32_t *won = (const int32_t *)(const void *)n->saved[0];

    if (!n->add[0])
        memset(n->in[0]->g, 0, sizeof(float) * (size_t)tt_len(n->in[0]));
    for (int64_t i = 0; i < N * C; i++)
        n->in[0]->g[(i / C * P + won[i]) * C + i % C] += n->out->g[i];
}

const struct tt_op tt_op_globalmaxpool = {
    .name = "GlobalMaxPool",
    .min_in = 1,
    .max_in = 1,
    .opset = 1,
    .source = "ONNX GlobalMaxPool-1",
    .layout = TT_WANTS_LAST,
    .shape = shape_largest,
    .forward = forward_largest,
    .backward = backward_largest,
};

/* ---- GlobalLpPool: (sum |x|^p)^(1/p) --------------------------------------------------------- */

struct power {
    int64_t p;
};

static enum tt_code read_power(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct power *l = (struct power *)attr;

    l->p = tt_attr_int(a, "p", 2);
    return l->p > 0 ? TT_OK : tt_fail(err, TT_ERANGE, "attribute 'p' is %lld", (long long)l->p);
}

static void forward_power(struct tt_node *n)
{
    double power = (double)((const struct power *)n->attr)->p;
    int64_t N = n->out->dim[0], C = n->out->dim[1], P = tt_len(n->in[0]) / (N * C);

#pragma omp parallel for schedule(static) if (N * P * C > 4096)
    for (int64_t i = 0; i < N * C; i++) {
        const float *x = n->in[0]->x + i / C * P * C + i % C;
        double sum = 0;

        for (int64_t p = 0; p < P; p++)
            sum += pow(fabs((double)x[p * C]), power);
        n->out->x[i] = (float)pow(sum, 1 / power);
    }
}

/* d y / dx = sign(x) (|x| / y)^(p - 1) */
static void backward_power(struct tt_node *n)
{
    double power = (double)((const struct power *)n->attr)->p;
    int64_t N = n->out->dim[0], C = n->out->dim[1], P = tt_len(n->in[0]) / (N * C);

#pragma omp parallel for schedule(static) if (N * P * C > 4096)
    for (int64_t i = 0; i < N * P * C; i++) {
        int64_t at = i / (P * C) * C + i % C;
        double y = (double)n->out->x[at], x = (double)n->in[0]->x[i];
        float d = y > 0 ? (float)copysign(pow(fabs(x) / y, power - 1), x) * n->out->g[at] : 0;

        n->in[0]->g[i] = n->add[0] ? n->in[0]->g[i] + d : d;
    }
}

static unsigned reads_power(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_IN(0) | TT_READS_OUT;
}

const struct tt_op tt_op_globallppool = {
    .name = "GlobalLpPool",
    .min_in = 1,
    .max_in = 1,
    .opset = 2,
    .source = "ONNX GlobalLpPool-2",
    .attr_size = sizeof(struct power),
    .layout = TT_WANTS_LAST,
    .read = read_power,
    .shape = shape_global,
    .forward = forward_power,
    .reads = reads_power,
    .backward = backward_power,
};
