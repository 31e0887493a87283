// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>
#include <string.h>

#include "runtime/kernels.h"
#include "runtime/op.h"

#define CHUNK ((int64_t)16384) // elements a turn: 64 KB, half of a first-level cache and its result

/* ---- Add, Sub, Mul, Div with NumPy's broadcasting --------------------------------------- */

enum kind { ADD, SUB, MUL, DIV };

static inline float apply(enum kind kind, float a, float b)
{
    switch (kind) {
    case ADD:
        return a + b;
    case SUB:
        return a - b;
    case MUL:
        return a * b;
    case DIV:
    default:
        return a / b;
    }
}

/* d result / d operand k, times dy. */
static inline float slope(enum kind kind, int k, float a, float b, float dy)
{
    switch (kind) {
    case ADD:
        return dy;
    case SUB:
        return k ? -dy : dy;
    case MUL:
        return k ? dy * a : dy * b;
    case DIV:
    default:
        return k ? -dy * a / (b * b) : dy / b;
    }
}

static enum tt_code shape_broadcast(struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *a = n->in[0], *b = n->in[1];
    struct tt_tensor *out = n->out;
    char ta[TT_SHAPE_TEXT], tb[TT_SHAPE_TEXT];
    int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;

    for (int i = 0; i < ndim; i++) {
        int ia = i - (ndim - a->ndim), ib = i - (ndim - b->ndim);
        int64_t da = ia < 0 ? 1 : a->dim[ia], db = ib < 0 ? 1 : b->dim[ib];

        if (da != db && da != 1 && db != 1)
            return tt_fail(err, TT_ESHAPE, "operands %s and %s do not broadcast",
                           tt_shape_text(a->dim, a->ndim, ta, sizeof ta),
                           tt_shape_text(b->dim, b->ndim, tb, sizeof tb));
        out->dim[i] = da == 1 ? db : da;
    }
    out->ndim = ndim;
    return TT_OK;
}

static bool alike(const struct tt_tensor *a, const struct tt_tensor *b)
{
    return a->ndim == b->ndim && a->layout == b->layout &&
           !memcmp(a->dim, b->dim, sizeof *a->dim * (size_t)a->ndim);
}

/* Strides of t seen with out's dimensions; 0 along those that are broadcast. */
static void broadcast_strides(const struct tt_tensor *t, const struct tt_tensor *out,
                              int64_t stride[TT_MAXDIM])
{
    int64_t own[TT_MAXDIM];
    int skip = out->ndim - t->ndim;

    tt_strides(t, own);
    for (int i = 0; i < out->ndim; i++)
        stride[i] = i < skip || t->dim[i - skip] == 1 ? 0 : own[i - skip];
}

/* The next element of out in the order of its dimensions: moves three offsets along. */
struct walk {
    int ndim;
    int64_t index[TT_MAXDIM];
    int64_t sa[TT_MAXDIM], sb[TT_MAXDIM], so[TT_MAXDIM];
    int64_t a, b, o;
};

static void walk_begin(struct walk *w, const struct tt_node *n)
{
    *w = (struct walk){.ndim = n->out->ndim};
    broadcast_strides(n->in[0], n->out, w->sa);
    broadcast_strides(n->in[1], n->out, w->sb);
    tt_strides(n->out, w->so);
}

static void walk_next(struct walk *w, const struct tt_tensor *out)
{
    for (int i = w->ndim - 1; i >= 0; i--) {
        w->a += w->sa[i];
        w->b += w->sb[i];
        w->o += w->so[i];
        if (++w->index[i] < out->dim[i])
            return;
        w->a -= w->sa[i] * out->dim[i];
        w->b -= w->sb[i] * out->dim[i];
        w->o -= w->so[i] * out->dim[i];
        w->index[i] = 0;
    }
}

static void forward_binary(struct tt_node *n, enum kind kind)
{
    const struct tt_tensor *a = n->in[0], *b = n->in[1];
    int64_t len = tt_len(n->out);
    struct walk w;

    if (alike(a, b)) {
        const struct tt_kernels *k = tt_kernels();
        float *y = n->out->x;

#pragma omp parallel for schedule(static) if (len > 2 * CHUNK)
        for (int64_t i = 0; i < len; i += CHUNK) {
            int64_t m = len - i < CHUNK ? len - i : CHUNK;

            if (kind == ADD)
                k->sum2(y + i, a->x + i, b->x + i, m);
            else
                for (int64_t j = i; j < i + m; j++)
                    y[j] = apply(kind, a->x[j], b->x[j]);
        }
        return;
    }
    walk_begin(&w, n);
    for (int64_t i = 0; i < len; i++, walk_next(&w, n->out))
        n->out->x[w.o] = apply(kind, a->x[w.a], b->x[w.b]);
}

/* Operands of the result's own size: element by element. */
static void backward_alike(struct tt_node *n, enum kind kind, int k)
{
    const float *a = n->in[0]->x, *b = n->in[1]->x, *dy = n->out->g;
    float *dx = n->in[k]->g;
    int64_t len = tt_len(n->out);
    bool add = n->add[k];

    if (kind == ADD && !add && dx == dy)
        return;
#pragma omp parallel for schedule(static) if (len > 2 * CHUNK)
    for (int64_t i = 0; i < len; i += CHUNK) {
        int64_t m = len - i < CHUNK ? len - i : CHUNK;

        if (kind == ADD)
            tt_kernels()->copy(dx + i, dy + i, m, add);
        else
            for (int64_t j = i; j < i + m; j++)
                dx[j] = (add ? dx[j] : 0) + slope(kind, k, a[j], b[j], dy[j]);
    }
}

static void backward_binary(struct tt_node *n, enum kind kind)
{
    for (int k = 1; k >= 0; k--) {
        struct tt_tensor *t = n->in[k];
        struct walk w;

        if (!t->g)
            continue;
        if (alike(n->in[0], n->in[1])) {
            backward_alike(n, kind, k);
            continue;
        }
        /* What was broadcast is summed over; sums of a result's size need no zeroes first. */
        walk_begin(&w, n);
        if (!n->add[k] && t->g != n->out->g)
            memset(t->g, 0, sizeof *t->g * (size_t)tt_len(t));
        for (int64_t i = 0; i < tt_len(n->out); i++, walk_next(&w, n->out)) {
            float d = slope(kind, k, n->in[0]->x[w.a], n->in[1]->x[w.b], n->out->g[w.o]);

            if (t->g == n->out->g) // in place: operand 0, of the result's size
                t->g[w.o] = d;
            else
                t->g[k ? w.b : w.a] += d;
        }
    }
}

static unsigned reads_none(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return 0;
}

static unsigned reads_mul(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return (wants[0] ? TT_READS_IN(1) : 0) | (wants[1] ? TT_READS_IN(0) : 0);
}

static unsigned reads_div(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return TT_READS_IN(1) | (wants[1] ? TT_READS_IN(0) : 0);
}

#define BINARY(id, onnx, KIND, reads_)           \
    static void forward_##id(struct tt_node *n)  \
    {                                            \
        forward_binary(n, KIND);                 \
    }                                            \
    static void backward_##id(struct tt_node *n) \
    {                                            \
        backward_binary(n, KIND);                \
    }                                            \
    const struct tt_op tt_op_##id = {            \
        .name = onnx,                            \
        .min_in = 2,                             \
        .max_in = 2,                             \
        .opset = 7,                              \
        .source = "ONNX " onnx "-14",            \
        .layout = TT_FOLLOWS,                    \
        .inplace = true,                         \
        .shape = shape_broadcast,                \
        .forward = forward_##id,                 \
        .reads = reads_,                         \
        .backward = backward_##id,               \
    };

BINARY(add, "Add", ADD, reads_none)
BINARY(sub, "Sub", SUB, reads_none)
BINARY(mul, "Mul", MUL, reads_mul)
BINARY(div, "Div", DIV, reads_div)

/* ---- Relu --------------------------------------------------------------------------------- */

static enum tt_code shape_same(struct tt_node *n, struct tt_err *err)
{
    (void)err;
    n->out->ndim = n->in[0]->ndim;
    memcpy(n->out->dim, n->in[0]->dim, sizeof n->out->dim);
    return TT_OK;
}

/* y = max(x, 0) */
static void forward_relu(struct tt_node *n)
{
    int64_t len = tt_len(n->out);

#pragma omp parallel for schedule(static) if (len > 2 * CHUNK)
    for (int64_t i = 0; i < len; i += CHUNK)
        tt_kernels()->relu(n->out->x + i, n->in[0]->x + i, len - i < CHUNK ? len - i : CHUNK);
}

/* dx = dy where y > 0 */
static void backward_relu(struct tt_node *n)
{
    int64_t len = tt_len(n->out);

#pragma omp parallel for schedule(static) if (len > 2 * CHUNK)
    for (int64_t i = 0; i < len; i += CHUNK)
        tt_kernels()->relu_grad(n->in[0]->g + i, n->out->g + i, n->out->x + i,
                                len - i < CHUNK ? len - i : CHUNK, n->add[0]);
}

static unsigned reads_out(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_OUT;
}

const struct tt_op tt_op_relu = {
    .name = "Relu",
    .min_in = 1,
    .max_in = 1,
    .opset = 6,
    .source = "ONNX Relu-14",
    .layout = TT_FOLLOWS,
    .inplace = true,
    .shape = shape_same,
    .forward = forward_relu,
    .reads = reads_out,
    .backward = backward_relu,
};
