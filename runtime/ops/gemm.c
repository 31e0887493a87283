// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"
#include "runtime/ops/product.h"

/* Gemm: alpha a' b' + beta c */

struct gemm {
    float alpha, beta;
    bool ta, tb;
};

static enum tt_code read_gemm(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct gemm *g = (struct gemm *)attr;

    (void)err;
    g->alpha = tt_attr_float(a, "alpha", 1);
    g->beta = tt_attr_float(a, "beta", 1);
    g->ta = tt_attr_int(a, "transA", 0) != 0;
    g->tb = tt_attr_int(a, "transB", 0) != 0;
    if (a->opset < 7)
        (void)tt_attr_int(a, "broadcast", 0); // c is broadcast where it has to be
    return TT_OK;
}

static enum tt_code shape_gemm(struct tt_node *n, struct tt_err *err)
{
    const struct gemm *g = (const struct gemm *)n->attr;
    const struct tt_tensor *a = n->in[0], *b = n->in[1], *c = n->in[2];
    char ta[TT_SHAPE_TEXT], tb[TT_SHAPE_TEXT];

    if (a->ndim != 2 || b->ndim != 2 || a->dim[g->ta ? 0 : 1] != b->dim[g->tb ? 1 : 0])
        return tt_fail(err, TT_ESHAPE, "operands %s%s and %s%s do not multiply",
                       tt_shape_text(a->dim, a->ndim, ta, sizeof ta), g->ta ? " transposed" : "",
                       tt_shape_text(b->dim, b->ndim, tb, sizeof tb), g->tb ? " transposed" : "");
    n->out->ndim = 2;
    n->out->dim[0] = a->dim[g->ta ? 1 : 0];
    n->out->dim[1] = b->dim[g->tb ? 0 : 1];
    if (tt_len(a) > TT_MAX_SIDE || tt_len(b) > TT_MAX_SIDE || tt_len(n->out) > TT_MAX_SIDE)
        return tt_fail(err, TT_ERANGE, "operands have more than 2^31 elements");
    for (int i = 0; c && i < c->ndim; i++) {
        int64_t want = c->ndim > 2 ? 0 : n->out->dim[2 - c->ndim + i];

        if (c->dim[i] != 1 && c->dim[i] != want)
            return tt_fail(err, TT_ESHAPE, "operand '%s' %s does not broadcast to the product %s",
                           c->name, tt_shape_text(c->dim, c->ndim, ta, sizeof ta),
                           tt_shape_text(n->out->dim, 2, tb, sizeof tb));
    }
    return TT_OK;
}

/* Where c's element of row i, column j is: strides of a broadcast [M, N]. */
static void bias_strides(const struct tt_tensor *c, int64_t *row, int64_t *col)
{
    *col = c->ndim > 0 && c->dim[c->ndim - 1] > 1 ? 1 : 0;
    *row = c->ndim > 1 && c->dim[0] > 1 ? c->dim[1] : 0;
}

static void forward_gemm(struct tt_node *n)
{
    const struct gemm *g = (const struct gemm *)n->attr;
    const struct tt_tensor *a = n->in[0], *c = n->in[2];
    int64_t M = n->out->dim[0], N = n->out->dim[1], K = a->dim[g->ta ? 0 : 1], row, col;

    if (c) {
        bias_strides(c, &row, &col);
        for (int64_t i = 0; i < M; i++)
            for (int64_t j = 0; j < N; j++)
                n->out->x[i * N + j] = g->beta * c->x[i * row + j * col];
    }
    tt_product(n->out->x, a->x, g->ta, n->in[1]->x, g->tb, M, N, K, g->alpha, c ? 1 : 0);
}

/* da' = alpha dy b'^T and db' = alpha a'^T dy, each transposed back where the operand was. */
static void backward_gemm(struct tt_node *n)
{
    const struct gemm *g = (const struct gemm *)n->attr;
    struct tt_tensor *a = n->in[0], *b = n->in[1], *c = n->in[2];
    int64_t M = n->out->dim[0], N = n->out->dim[1], K = a->dim[g->ta ? 0 : 1], row, col;
    const float *dy = n->out->g;

    if (c && c->g) {
        if (!n->add[2])
            memset(c->g, 0, sizeof *c->g * (size_t)tt_len(c));
        bias_strides(c, &row, &col);
        for (int64_t i = 0; i < M; i++)
            for (int64_t j = 0; j < N; j++)
                c->g[i * row + j * col] += g->beta * dy[i * N + j];
    }
    if (b->g && !g->tb)
        tt_product(b->g, a->x, !g->ta, dy, false, K, N, M, g->alpha, n->add[1] ? 1 : 0);
    if (b->g && g->tb)
        tt_product(b->g, dy, true, a->x, g->ta, N, K, M, g->alpha, n->add[1] ? 1 : 0);
    if (a->g && !g->ta)
        tt_product(a->g, dy, false, b->x, !g->tb, M, K, N, g->alpha, n->add[0] ? 1 : 0);
    if (a->g && g->ta)
        tt_product(a->g, b->x, g->tb, dy, true, K, M, N, g->alpha, n->add[0] ? 1 : 0);
}

static unsigned reads_product(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return (wants[0] ? TT_READS_IN(1) : 0) | (wants[1] ? TT_READS_IN(0) : 0);
}

static double flops_gemm(const struct tt_node *n, bool backward)
{
    const struct gemm *g = (const struct gemm *)n->attr;
    double one = 2.0 * (double)tt_len(n->out) * (double)n->in[0]->dim[g->ta ? 0 : 1];

    return backward ? one * tt_product_gradients(n) : one;
}

const struct tt_op tt_op_gemm = {
    .name = "Gemm",
    .min_in = 2,
    .max_in = 3,
    .opset = 6,
    .source = "ONNX Gemm-13",
    .attr_size = sizeof(struct gemm),
    .layout = TT_WANTS_PLAIN,
    .read = read_gemm,
    .shape = shape_gemm,
    .forward = forward_gemm,
    .reads = reads_product,
    .backward = backward_gemm,
    .flops = flops_gemm,
};
