// SPDX-License-Identifier: Apache-2.0
/*
 * tt.Linear: x [..., K] w [K, N] + b [N], which exporters write as MatMul and Add; and
 * tt.LinearSum: r + x w + b, a sum with what bypassed a layer, of which r is operand 0.  Bias and
 * sum are added where the product is stored (runtime/ops/product.h).
 */
#include <stddef.h>
#include <string.h>

#include "runtime/kernels.h"
#include "runtime/op.h"
#include "runtime/ops/product.h"

#define COLUMNS 64              // of the bias, that a thread sums the gradients of
#define PIECE   ((int64_t)4096) // elements a turn

/* The operands, by what they are. */
struct linear {
    const struct tt_tensor *r, *x, *w, *b; // r NULL: none
    int64_t M, N, K;
};

static int first(const struct tt_node *n)
{
    return n->nin - 3; // x
}

static struct linear measure(const struct tt_node *n)
{
    const int i = first(n);
    struct linear l = {i ? n->in[0] : NULL, n->in[i], n->in[i + 1], n->in[i + 2], 0, 0, 0};

    l.K = l.w->dim[0];
    l.N = l.w->dim[1];
    l.M = l.K ? tt_len(l.x) / l.K : 0;
    return l;
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const int i = first(n);
    const struct tt_tensor *x = n->in[i], *w = n->in[i + 1], *b = n->in[i + 2];
    char tx[TT_SHAPE_TEXT], tw[TT_SHAPE_TEXT];

    if (x->ndim < 2 || w->ndim != 2 || x->dim[x->ndim - 1] != w->dim[0] || !w->dim[0])
        return tt_fail(err, TT_ESHAPE,
                       "operands %s and %s do not multiply: want [..., K] and [K, N]",
                       tt_shape_text(x->dim, x->ndim, tx, sizeof tx),
                       tt_shape_text(w->dim, w->ndim, tw, sizeof tw));
    if (b->ndim != 1 || b->dim[0] != w->dim[1])
        return tt_fail(err, TT_ESHAPE, "bias '%s' does not have %lld elements", b->name,
                       (long long)w->dim[1]);
    n->out->ndim = x->ndim;
    memcpy(n->out->dim, x->dim, sizeof x->dim);
    n->out->dim[x->ndim - 1] = w->dim[1];
    if (i && (n->in[0]->ndim != x->ndim ||
              memcmp(n->in[0]->dim, n->out->dim, sizeof *x->dim * (size_t)x->ndim) != 0))
        return tt_fail(err, TT_ESHAPE, "the sum of %s and a product %s is not of one shape",
                       tt_shape_text(n->in[0]->dim, n->in[0]->ndim, tx, sizeof tx),
                       tt_shape_text(n->out->dim, n->out->ndim, tw, sizeof tw));
    return TT_OK;
}

static void forward(struct tt_node *n)
{
    struct linear l = measure(n);

    tt_product_run(&(struct tt_product){
        .m = l.M,
        .n = l.N,
        .k = l.K,
        .a = l.x->x,
        .b = l.w->x,
        .a_row = l.K,
        .a_col = 1,
        .b_row = l.N,
        .b_col = 1,
        .c = n->out->x,
        .c_row = l.N,
        .bias = l.b->x,
        .scale = 1,
        .sum = l.r ? l.r->x : NULL,
    });
}

/* db (+)= the sum of the rows of dy */
static void backward_bias(float *db, bool add, const float *dy, int64_t M, int64_t N)
{
#pragma omp parallel for schedule(static) if (M * N > 16 * PIECE)
    for (int64_t at = 0; at < N; at += COLUMNS) {
        int64_t count = N - at < COLUMNS ? N - at : COLUMNS;
        double sum[COLUMNS] = {0};

        for (int64_t i = 0; i < M; i++)
            for (int64_t j = 0; j < count; j++)
                sum[j] += (double)dy[i * N + at + j];
        for (int64_t j = 0; j < count; j++)
            db[at + j] = (add ? db[at + j] : 0) + (float)sum[j];
    }
}

static void backward_sum(float *dr, bool add, const float *dy, int64_t len)
{
#pragma omp parallel for schedule(static) if (len > 4 * PIECE)
    for (int64_t i = 0; i < len; i += PIECE)
        tt_kernels()->copy(dr + i, dy + i, len - i < PIECE ? len - i : PIECE, add);
}

/* dx = dy w^T and dw = x^T dy, over all rows; dr = dy, which may lie where dy does */
static void backward(struct tt_node *n)
{
    struct linear l = measure(n);
    const int i = first(n);
    float *dy = n->out->g;

    if (l.b->g)
        backward_bias(l.b->g, n->add[i + 2], dy, l.M, l.N);
    if (l.w->g)
        tt_product(l.w->g, l.x->x, true, dy, false, l.K, l.N, l.M, 1, n->add[i + 1] ? 1 : 0);
    if (l.x->g)
        tt_product(l.x->g, dy, false, l.w->x, true, l.M, l.K, l.N, 1, n->add[i] ? 1 : 0);
    if (l.r && l.r->g && l.r->g != dy)
        backward_sum(l.r->g, n->add[0], dy, l.M * l.N);
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    const int i = first(n);

    return (wants[i] ? TT_READS_IN(i + 1) : 0) | (wants[i + 1] ? TT_READS_IN(i) : 0);
}

static double flops(const struct tt_node *n, bool backward_)
{
    struct linear l = measure(n);
    double one = 2.0 * (double)l.M * (double)l.N * (double)l.K;

    return backward_ ? one * ((l.x->g != NULL) + (l.w->g != NULL)) : one;
}

const struct tt_op tt_op_linear = {
    .name = "tt.Linear",
    .min_in = 3,
    .max_in = 3,
    .source = "ONNX MatMul-13 and Add-14",
    .layout = TT_WANTS_PLAIN,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
    .flops = flops,
};

const struct tt_op tt_op_linearsum = {
    .name = "tt.LinearSum",
    .min_in = 4,
    .max_in = 4,
    .source = "ONNX MatMul-13 and two of Add-14",
    .layout = TT_WANTS_PLAIN,
    .inplace = true,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
    .flops = flops,
};
