// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"
#include "runtime/ops/product.h"

/*
 * MatMul: [..., M, K] by [..., K, N], leading dimensions broadcast; an operand of one dimension is
 * a row in front and a column behind, and the result has not that dimension.
 */
struct sides {
    int64_t M, N, K;
    struct tt_repeat batch[TT_MAXDIM];
    int nbatch;
};

static bool is_row(const struct tt_node *n, int i)
{
    return n->in[i]->ndim == 1;
}

/* Size of t's dimension d of those before the last two, counted from behind; 1: not there. */
static int64_t leading(const struct tt_tensor *t, int d)
{
    return t->ndim - 3 - d < 0 ? 1 : t->dim[t->ndim - 3 - d];
}

static enum tt_code mismatch(const struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *a = n->in[0], *b = n->in[1];
    char ta[TT_SHAPE_TEXT], tb[TT_SHAPE_TEXT];

    return tt_fail(err, TT_ESHAPE,
                   "operands %s and %s do not multiply: want [..., M, K] and [..., K, N]",
                   tt_shape_text(a->dim, a->ndim, ta, sizeof ta),
                   tt_shape_text(b->dim, b->ndim, tb, sizeof tb));
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *a = n->in[0], *b = n->in[1];
    struct tt_tensor *y = n->out;
    int lead = (a->ndim > b->ndim ? a->ndim : b->ndim) - 2;

    if (a->ndim < 1 || b->ndim < 1 || a->dim[a->ndim - 1] != b->dim[is_row(n, 1) ? 0 : b->ndim - 2])
        return mismatch(n, err);
    y->ndim = 0;
    for (int d = lead - 1; d >= 0; d--) {
        int64_t p = leading(a, d), q = leading(b, d);

        if (p != q && p != 1 && q != 1)
            return mismatch(n, err);
        y->dim[y->ndim++] = p == 1 ? q : p;
    }
    if (!is_row(n, 0))
        y->dim[y->ndim++] = a->dim[a->ndim - 2];
    if (!is_row(n, 1))
        y->dim[y->ndim++] = b->dim[b->ndim - 1];
    if (tt_len(a) > TT_MAX_SIDE || tt_len(b) > TT_MAX_SIDE || tt_len(y) > TT_MAX_SIDE)
        return tt_fail(err, TT_ERANGE, "operands have more than 2^31 elements");
    return TT_OK;
}

static struct sides measure(const struct tt_node *n)
{
    const struct tt_tensor *a = n->in[0], *b = n->in[1];
    struct sides s = {.K = a->dim[a->ndim - 1]};
    int lead = (a->ndim > b->ndim ? a->ndim : b->ndim) - 2;
    int64_t sc, sa, sb, nb = 1;

    s.M = is_row(n, 0) ? 1 : a->dim[a->ndim - 2];
    s.N = is_row(n, 1) ? 1 : b->dim[b->ndim - 1];
    for (int d = 0; d < lead; d++)
        nb *= leading(b, d);
    if (nb == 1) { // one b for all: the rows of every a are rows of one product
        s.M = s.K ? tt_len(a) / s.K : 0;
        return s;
    }
    sc = s.M * s.N;
    sa = s.M * s.K;
    sb = s.K * s.N;
    s.nbatch = lead;
    for (int d = 0; d < lead; d++) {
        int64_t p = leading(a, d), q = leading(b, d), m = p == 1 ? q : p;

        s.batch[lead - 1 - d] = (struct tt_repeat){m, sc, p == 1 ? 0 : sa, q == 1 ? 0 : sb};
        sc *= m;
        sa *= p;
        sb *= q;
    }
    return s;
}

static void forward(struct tt_node *n)
{
    struct sides s = measure(n);

    tt_products(s.batch, s.nbatch, n->out->x, n->in[0]->x, false, n->in[1]->x, false, s.M, s.N, s.K,
                false);
}

/* da = dy b^T and db = a^T dy, each summed over what shared it */
static void backward(struct tt_node *n)
{
    struct tt_tensor *a = n->in[0], *b = n->in[1];
    struct sides s = measure(n);
    struct tt_repeat r[TT_MAXDIM];

    for (int d = 0; b->g && d < s.nbatch; d++)
        r[d] = (struct tt_repeat){s.batch[d].n, s.batch[d].sb, s.batch[d].sa, s.batch[d].sc};
    if (b->g)
        tt_products(r, s.nbatch, b->g, a->x, true, n->out->g, false, s.K, s.N, s.M, n->add[1]);
    for (int d = 0; a->g && d < s.nbatch; d++)
        r[d] = (struct tt_repeat){s.batch[d].n, s.batch[d].sa, s.batch[d].sc, s.batch[d].sb};
    if (a->g)
        tt_products(r, s.nbatch, a->g, n->out->g, false, b->x, true, s.M, s.K, s.N, n->add[0]);
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return (wants[0] ? TT_READS_IN(1) : 0) | (wants[1] ? TT_READS_IN(0) : 0);
}

static double flops(const struct tt_node *n, bool backward)
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
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
    .flops = flops,
};
