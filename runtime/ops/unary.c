// SPDX-License-Identifier: Apache-2.0
/* Operators of one operand, element by element: rows of runtime/pointwise.def. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/half.h"
#include "runtime/kernels.h"
#include "runtime/op.h"
#include "runtime/pointwise.h"

#define PIECE ((int64_t)4096) // elements a turn

struct attr {
    float a, b; // alpha and the like, in the order of ONNX
    enum tt_unary row;
};

static enum tt_code shape_same(struct tt_node *n, struct tt_err *err)
{
    (void)err;
    n->out->ndim = n->in[0]->ndim;
    memcpy(n->out->dim, n->in[0]->dim, sizeof n->out->dim);
    return TT_OK;
}

static void forward_row(struct tt_node *n, enum tt_unary row, float a, float b)
{
    const struct tt_unary_row *r = &tt_pointwise()->unary[row];
    int64_t len = tt_len(n->out);

#pragma omp parallel for schedule(static) if (len > 4 * PIECE)
    for (int64_t i = 0; i < len; i += PIECE)
        r->y(n->out->x + i, n->in[0]->x + i, len - i < PIECE ? len - i : PIECE, a, b);
}

/* x: operand 0's m elements from i on. */
static void backward_piece(const struct tt_node *n, const struct tt_unary_row *r, const float *x,
                           int64_t i, int64_t m, float a, float b)
{
    float *dx = n->in[0]->g + i, d[PIECE];

    if (!r->slope) {
        if (!n->add[0])
            memset(dx, 0, sizeof *dx * (size_t)m);
        return;
    }
    r->slope(n->add[0] ? d : dx, n->out->g + i, x, n->out->x + i, m, a, b);
    for (int64_t k = 0; n->add[0] && k < m; k++)
        dx[k] += d[k];
}

static void backward_row(struct tt_node *n, enum tt_unary row, float a, float b)
{
    const struct tt_unary_row *r = &tt_pointwise()->unary[row];
    int64_t len = tt_len(n->out);

#pragma omp parallel for schedule(static) if (len > 4 * PIECE)
    for (int64_t i = 0; i < len; i += PIECE)
        backward_piece(n, r, n->in[0]->x + i, i, len - i < PIECE ? len - i : PIECE, a, b);
}

#define PLAIN_FUNCTIONS(id)                                                         \
    static void forward_##id(struct tt_node *n)                                     \
    {                                                                               \
        forward_row(n, TT_UNARY_##id, 0, 0);                                        \
    }                                                                               \
    static void backward_##id(struct tt_node *n)                                    \
    {                                                                               \
        backward_row(n, TT_UNARY_##id, 0, 0);                                       \
    }                                                                               \
    static unsigned reads_##id(const struct tt_node *n, const bool wants[TT_MAXIN]) \
    {                                                                               \
        (void)n;                                                                    \
        (void)wants;                                                                \
        return tt_pointwise()->unary[TT_UNARY_##id].reads;                          \
    }

#define OPERATOR(id, onnx, opset_, ...) \
    const struct tt_op tt_op_##id = {   \
        .name = onnx,                   \
        .min_in = 1,                    \
        .max_in = 1,                    \
        .opset = opset_,                \
        .source = "ONNX " onnx,         \
        .layout = TT_FOLLOWS,           \
        .inplace = true,                \
        .shape = shape_same,            \
        __VA_ARGS__,                    \
    };

#define PLAIN(id, onnx, opset)                                              \
    PLAIN_FUNCTIONS(id)                                                     \
    OPERATOR(id, onnx, opset, .forward = forward_##id, .reads = reads_##id, \
             .backward = backward_##id)

PLAIN(abs, "Abs", 6)
PLAIN(neg, "Neg", 6)
PLAIN(sqrt, "Sqrt", 6)
PLAIN(exp, "Exp", 6)
PLAIN(log, "Log", 6)
PLAIN(reciprocal, "Reciprocal", 6)
PLAIN(sigmoid, "Sigmoid", 6)
PLAIN(hardswish, "HardSwish", 14)
PLAIN(tanh, "Tanh", 6)
PLAIN(softplus, "Softplus", 1)
PLAIN(softsign, "Softsign", 1)
PLAIN(erf, "Erf", 9)
PLAIN(sign, "Sign", 9)
PLAIN(floor, "Floor", 6)
PLAIN(ceil, "Ceil", 6)
PLAIN(round, "Round", 11)

/* ---- with attributes ------------------------------------------------------------------------ */

static void forward_attr(struct tt_node *n)
{
    const struct attr *t = (const struct attr *)n->attr;

    forward_row(n, t->row, t->a, t->b);
}

static void backward_attr(struct tt_node *n)
{
    const struct attr *t = (const struct attr *)n->attr;

    backward_row(n, t->row, t->a, t->b);
}

static unsigned reads_attr(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)wants;
    return tt_pointwise()->unary[((const struct attr *)n->attr)->row].reads;
}

#define WITH_READ(id, onnx, opset)                                                 \
    OPERATOR(id, onnx, opset, .attr_size = sizeof(struct attr), .read = read_##id, \
             .forward = forward_attr, .reads = reads_attr, .backward = backward_attr)

#define WITH_ATTRS(id, onnx, opset, a_name, a_default, b_name, b_default)                         \
    static enum tt_code read_##id(struct tt_attrs *a, void *attr, struct tt_err *err)             \
    {                                                                                             \
        (void)err;                                                                                \
        *(struct attr *)attr = (struct attr){tt_attr_float(a, a_name, a_default),                 \
                                             tt_attr_float(a, b_name, b_default), TT_UNARY_##id}; \
        return TT_OK;                                                                             \
    }                                                                                             \
    WITH_READ(id, onnx, opset)

/* Selu's numbers are those of its paper: Klambauer et al. 2017 */
WITH_ATTRS(leakyrelu, "LeakyRelu", 6, "alpha", .01f, "", 0)
WITH_ATTRS(elu, "Elu", 6, "alpha", 1, "", 0)
WITH_ATTRS(selu, "Selu", 6, "alpha", 1.67326319f, "gamma", 1.05070102f)
WITH_ATTRS(hardsigmoid, "HardSigmoid", 6, "alpha", .2f, "beta", .5f)

static enum tt_code read_gelu(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    const char *how = tt_attr_str(a, "approximate", "none");

    if (strcmp(how, "none") != 0 && strcmp(how, "tanh") != 0)
        return tt_fail(err, TT_EUNSUPPORTED, "approximate is '%s', want 'none' or 'tanh'", how);
    *(struct attr *)attr = (struct attr){.row = how[0] == 't' ? TT_UNARY_gelu_tanh : TT_UNARY_gelu};
    return TT_OK;
}

static enum tt_code read_swish(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    (void)a;
    (void)err;
    *(struct attr *)attr = (struct attr){.row = TT_UNARY_swish};
    return TT_OK;
}

/* saved[0]: the slopes, made together with the result, in half the memory (runtime/half.h), unless
 * the node is exact */
static enum tt_code shape_kept(struct tt_node *n, struct tt_err *err)
{
    n->nsaved[0] = n->exact ? 0 : TT_HALF_FLOATS(tt_len(n->in[0]));
    return shape_same(n, err);
}

static uint16_t *kept_slopes(const struct tt_node *n)
{
    return (uint16_t *)(void *)n->saved[0];
}

static void forward_kept(struct tt_node *n)
{
    const struct tt_unary_row *r = &tt_pointwise()->unary[((const struct attr *)n->attr)->row];
    int64_t len = tt_len(n->out);

    if (!n->nsaved[0] || !n->saved[0]) {
        forward_attr(n);
        return;
    }
#pragma omp parallel for schedule(static) if (len > 4 * PIECE)
    for (int64_t i = 0; i < len; i += PIECE) {
        int64_t m = len - i < PIECE ? len - i : PIECE;
        float slope[PIECE];

        r->both(n->out->x + i, slope, n->in[0]->x + i, m);
        tt_half_of(kept_slopes(n) + i, slope, m);
    }
}

static void backward_kept(struct tt_node *n)
{
    int64_t len = tt_len(n->out);

    if (!n->nsaved[0]) {
        backward_attr(n);
        return;
    }
#pragma omp parallel for schedule(static) if (len > 4 * PIECE)
    for (int64_t i = 0; i < len; i += PIECE) {
        int64_t m = len - i < PIECE ? len - i : PIECE;
        const float *dy = n->out->g + i;
        float *dx = n->in[0]->g + i, slope[PIECE];

        tt_half_read(slope, kept_slopes(n) + i, m);
        for (int64_t k = 0; k < m; k++)
            slope[k] *= dy[k];
        tt_kernels()->copy(dx, slope, m, n->add[0]);
    }
}

static unsigned reads_kept(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)wants;
    return n->exact ? TT_READS_IN(0) : 0;
}

#define WITH_SLOPES(id, name_, opset_, source_) \
    const struct tt_op tt_op_##id = {           \
        .name = name_,                          \
        .min_in = 1,                            \
        .max_in = 1,                            \
        .opset = opset_,                        \
        .source = source_,                      \
        .attr_size = sizeof(struct attr),       \
        .layout = TT_FOLLOWS,                   \
        .inplace = true,                        \
        .saves_back = true,                     \
        .read = read_##id,                      \
        .shape = shape_kept,                    \
        .forward = forward_kept,                \
        .reads = reads_kept,                    \
        .backward = backward_kept,              \
    };

WITH_SLOPES(gelu, "Gelu", 20, "Hendrycks and Gimpel 2016; ONNX Gelu-20")
WITH_SLOPES(swish, "tt.Swish", 0, "x sigmoid(x), Ramachandran et al. 2017")

/* ---- Clip: its limits are attributes below opset 11, operands from there on ----------------- */

static enum tt_code read_clip(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *t = (struct attr *)attr;

    (void)err;
    *t = (struct attr){-INFINITY, INFINITY, TT_UNARY_clip};
    if (a->opset >= 11)
        return TT_OK;
    t->a = tt_attr_float(a, "min", -INFINITY);
    t->b = tt_attr_float(a, "max", INFINITY);
    return TT_OK;
}

static enum tt_code shape_clip(struct tt_node *n, struct tt_err *err)
{
    for (int k = 1; k < n->nin; k++)
        if (n->in[k] && tt_len(n->in[k]) != 1)
            return tt_fail(err, TT_ESHAPE, "limit '%s' has %lld elements, want 1", n->in[k]->name,
                           (long long)tt_len(n->in[k]));
    return shape_same(n, err);
}

static float limit(const struct tt_node *n, int k)
{
    const struct attr *t = (const struct attr *)n->attr;

    return n->nin > k && n->in[k] ? *n->in[k]->x : k == 1 ? t->a : t->b;
}

static void forward_clip(struct tt_node *n)
{
    forward_row(n, TT_UNARY_clip, limit(n, 1), limit(n, 2));
}

/* A limit's gradient is the sum where it is the result. */
static void backward_clip(struct tt_node *n)
{
    float low = limit(n, 1), high = limit(n, 2);

    for (int k = 2; k > 0; k--) {
        double sum = 0;

        if (n->nin <= k || !n->in[k] || !n->in[k]->g)
            continue;
        for (int64_t i = 0; i < tt_len(n->out); i++) {
            float x = n->in[0]->x[i];
            bool above = (x < low ? low : x) > high;

            sum += (double)((k == 2 ? above : x < low && !above) ? n->out->g[i] : 0);
        }
        *n->in[k]->g = (n->add[k] ? *n->in[k]->g : 0) + (float)sum;
    }
    if (n->in[0]->g)
        backward_row(n, TT_UNARY_clip, low, high);
}

static unsigned reads_clip(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_IN(0) | TT_READS_IN(1) | TT_READS_IN(2);
}

const struct tt_op tt_op_clip = {
    .name = "Clip",
    .min_in = 1,
    .max_in = 3,
    .opset = 6,
    .source = "ONNX Clip-13; below opset 11 Clip-6",
    .attr_size = sizeof(struct attr),
    .layout = TT_FOLLOWS,
    .inplace = true,
    .read = read_clip,
    .shape = shape_clip,
    .forward = forward_clip,
    .reads = reads_clip,
    .backward = backward_clip,
};

/* ---- truth values ---------------------------------------------------------------------------- */

static enum tt_code shape_truth(struct tt_node *n, struct tt_err *err)
{
    n->out->dtype = TT_BOOLS;
    return shape_same(n, err);
}

#define TRUTH(id, onnx, opset_)                 \
    static void forward_##id(struct tt_node *n) \
    {                                           \
        forward_row(n, TT_UNARY_##id, 0, 0);    \
    }                                           \
    const struct tt_op tt_op_##id = {           \
        .name = onnx,                           \
        .min_in = 1,                            \
        .max_in = 1,                            \
        .opset = opset_,                        \
        .source = "ONNX " onnx,                 \
        .layout = TT_FOLLOWS,                   \
        .inplace = true,                        \
        .shape = shape_truth,                   \
        .forward = forward_##id,                \
    };

TRUTH(not, "Not", 1)
TRUTH(isnan, "IsNaN", 9)
