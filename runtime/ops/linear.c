// SPDX-License-Identifier: Apache-2.0
#include <cblas.h>
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"

#define MAX_SIDE INT32_MAX // cblas counts in int

static CBLAS_TRANSPOSE trans(bool t)
{
    return t ? CblasTrans : CblasNoTrans;
}

/* c [m, n] = scale a' b' + keep c, a' [m, k] and b' [k, n] being a and b, or their transposes */
static void product(float *c, const float *a, bool ta, const float *b, bool tb, int64_t m,
                    int64_t n, int64_t k, float scale, float keep)
{
    if (m && n)
        cblas_sgemm(CblasRowMajor, trans(ta), trans(tb), (int)m, (int)n, (int)k, scale, a,
                    (int)(ta ? m : k), b, (int)(tb ? k : n), keep, c, (int)n);
}

/* ---- Gemm: alpha a' b' + beta c ------------------------------------------------------------ */

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
    if (tt_len(a) > MAX_SIDE || tt_len(b) > MAX_SIDE || tt_len(n->out) > MAX_SIDE)
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
    product(n->out->x, a->x, g->ta, n->in[1]->x, g->tb, M, N, K, g->alpha, c ? 1 : 0);
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
        product(b->g, a->x, !g->ta, dy, false, K, N, M, g->alpha, n->add[1] ? 1 : 0);
    if (b->g && g->tb)
        product(b->g, dy, true, a->x, g->ta, N, K, M, g->alpha, n->add[1] ? 1 : 0);
    if (a->g && !g->ta)
        product(a->g, dy, false, b->x, !g->tb, M, K, N, g->alpha, n->add[0] ? 1 : 0);
    if (a->g && g->ta)
        product(a->g, b->x, g->tb, dy, true, K, M, N, g->alpha, n->add[0] ? 1 : 0);
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
    .opset = 7,
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

/* ---- MatMul: [..., M, K] by [K, N], or by [..., K, N] with the same leading dimensions ------- */

static enum tt_code shape_matmul(struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *a = n->in[0], *b = n->in[1];
    char ta[TT_SHAPE_TEXT], tb[TT_SHAPE_TEXT];
    bool fits = a->ndim >= 2 && b->ndim >= 2 && (b->ndim == 2 || b->ndim == a->ndim) &&
                a->dim[a->ndim - 1] == b->dim[b->ndim - 2];

    for (int i = 0; fits && b->ndim > 2 && i < a->ndim - 2; i++)
        fits = a->dim[i] == b->dim[i];
    if (!fits)
        return tt_fail(err, TT_ESHAPE,
                       "operands %s and %s, want [..., M, K] and [K, N], or equal leading "
                       "dimensions",
                       tt_shape_text(a->dim, a->ndim, ta, sizeof ta),
                       tt_shape_text(b->dim, b->ndim, tb, sizeof tb));
    n->out->ndim = a->ndim;
    memcpy(n->out->dim, a->dim, sizeof a->dim);
    n->out->dim[a->ndim - 1] = b->dim[b->ndim - 1];
    if (tt_len(a) > MAX_SIDE || tt_len(b) > MAX_SIDE || tt_len(n->out) > MAX_SIDE)
        return tt_fail(err, TT_ERANGE, "operands have more than 2^31 elements");
    return TT_OK;
}

struct sides {
    int64_t batch, M, N, K; // one b for all: batch is 1 and M counts every row
};

static struct sides measure(const struct tt_node *n)
{
    const struct tt_tensor *a = n->in[0], *b = n->in[1];
    struct sides s = {1, a->dim[a->ndim - 2], b->dim[b->ndim - 1], a->dim[a->ndim - 1]};

    for (int i = 0; i < a->ndim - 2; i++)
        s.batch *= a->dim[i];
    if (b->ndim == 2) {
        s.M *= s.batch;
        s.batch = 1;
    }
    return s;
}

static void forward_matmul(struct tt_node *n)
{
    struct sides s = measure(n);

    for (int64_t i = 0; i < s.batch; i++)
        product(n->out->x + i * s.M * s.N, n->in[0]->x + i * s.M * s.K, false,
                n->in[1]->x + i * s.K * s.N, false, s.M, s.N, s.K, 1, 0);
}

static void backward_matmul(struct tt_node *n)
{
    struct tt_tensor *a = n->in[0], *b = n->in[1];
    struct sides s = measure(n);

    for (int64_t i = 0; i < s.batch; i++) {
        const float *dy = n->out->g + i * s.M * s.N;

        if (b->g)
            product(b->g + i * s.K * s.N, a->x + i * s.M * s.K, true, dy, false, s.K, s.N, s.M, 1,
                    n->add[1] ? 1 : 0);
        if (a->g)
            product(a->g + i * s.M * s.K, dy, false, b->x + i * s.K * s.N, true, s.M, s.K, s.N, 1,
                    n->add[0] ? 1 : 0);
    }
}

static double flops_matmul(const struct tt_node *n, bool backward)
{
    const struct tt_tensor *a = n->in[0];
    double one = 2.0 * (double)tt_len(n->out) * (double)a->dim[a->ndim - 1];

    return backward ? one * tt_product_gradients(n) : one;
}

const struct tt_op tt_op_matmul = {
    .name = "MatMul",
    .min_in = 2,
    .max_in = 2,
    .opset = 1,
    .source = "ONNX MatMul-13",
    .layout = TT_WANTS_PLAIN,
    .shape = shape_matmul,
    .forward = forward_matmul,
    .reads = reads_product,
    .backward = backward_matmul,
    .flops = flops_matmul,
};
