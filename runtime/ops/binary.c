// SPDX-License-Identifier: Apache-2.0
/* Operators of two operands, element by element with broadcasting: rows of pointwise.def. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/ops/broadcast.h"
#include "runtime/pointwise.h"

struct attr {
    int from; // as tt_broadcast_shape() has it
    bool fmod;
};

/* Below opset 7 operand 1 is broadcast when that is asked for, from an axis on. */
static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *t = (struct attr *)attr;
    int64_t axis;

    t->from = -1;
    if (a->opset >= 7)
        return TT_OK;
    axis = tt_attr_int(a, "axis", -1);
    (void)tt_attr_int(a, "broadcast", 0);
    if (axis < -1 || axis >= TT_MAXDIM)
        return tt_fail(err, TT_ERANGE, "axis is %lld, want 0 to %d", (long long)axis,
                       TT_MAXDIM - 1);
    t->from = (int)axis;
    return TT_OK;
}

static int from_of(const struct tt_node *n)
{
    return n->attr ? ((const struct attr *)n->attr)->from : -1; // none: a node made by hand
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    return tt_broadcast_shape(n, from_of(n), err);
}

/* What a line needs. */
struct work {
    const struct tt_node *n;
    struct tt_lines lines;
    const struct tt_binary_row *row;
    int k; // whose gradient
};

static void forward_line(void *context, const int64_t *at, int64_t n)
{
    const struct work *w = (const struct work *)context;

    w->row->y(w->n->out->x + at[0], w->n->in[0]->x + at[1], w->lines.step[1],
              w->n->in[1]->x + at[2], w->lines.step[2], n);
}

static void forward_row(struct tt_node *n, enum tt_binary row, int from)
{
    struct work w = {.n = n, .row = &tt_pointwise()->binary[row]};

    tt_lines_make(&w.lines, n, from);
    tt_lines_each(&w.lines, forward_line, &w);
}

static void slope_line(void *context, float *d, const int64_t *at, int64_t n)
{
    const struct work *w = (const struct work *)context;

    w->row->slope[w->k](d, w->n->out->g + at[0], w->n->in[0]->x + at[1], w->lines.step[1],
                        w->n->in[1]->x + at[2], w->lines.step[2], n);
}

static void backward_row(struct tt_node *n, enum tt_binary row, int k, int from)
{
    struct work w = {.n = n, .row = &tt_pointwise()->binary[row], .k = k};

    if (!n->in[k]->g)
        return;
    if (!w.row->slope[k]) {
        if (!n->add[k])
            memset(n->in[k]->g, 0, sizeof(float) * (size_t)tt_len(n->in[k]));
        return;
    }
    tt_lines_make(&w.lines, n, from);
    tt_lines_sum(&w.lines, k, n->in[k]->g, n->add[k], n->scratch, slope_line, &w);
}

static unsigned reads_row(enum tt_binary row, const bool wants[TT_MAXIN])
{
    const struct tt_binary_row *r = &tt_pointwise()->binary[row];

    return (wants[0] ? r->reads[0] : 0) | (wants[1] ? r->reads[1] : 0);
}

#define FUNCTIONS(id)                                                               \
    static void forward_##id(struct tt_node *n)                                     \
    {                                                                               \
        forward_row(n, TT_BINARY_##id, from_of(n));                                 \
    }                                                                               \
    static void backward_##id(struct tt_node *n)                                    \
    {                                                                               \
        backward_row(n, TT_BINARY_##id, 1, from_of(n));                             \
        backward_row(n, TT_BINARY_##id, 0, from_of(n));                             \
    }                                                                               \
    static unsigned reads_##id(const struct tt_node *n, const bool wants[TT_MAXIN]) \
    {                                                                               \
        (void)n;                                                                    \
        return reads_row(TT_BINARY_##id, wants);                                    \
    }

#define OPERATOR(id, onnx, opset_, shape_, ...) \
    const struct tt_op tt_op_##id = {           \
        .name = onnx,                           \
        .min_in = 2,                            \
        .max_in = 2,                            \
        .opset = opset_,                        \
        .source = "ONNX " onnx,                 \
        .attr_size = sizeof(struct attr),       \
        .layout = TT_FOLLOWS,                   \
        .inplace = true,                        \
        .read = read_attr,                      \
        .shape = shape_,                        \
        .forward = forward_##id,                \
        __VA_ARGS__,                            \
    };

#define BACKWARD(id) .reads = reads_##id, .backward = backward_##id

FUNCTIONS(add)
FUNCTIONS(sub)
FUNCTIONS(mul)
OPERATOR(add, "Add", 6, shape, BACKWARD(add))
OPERATOR(sub, "Sub", 6, shape, BACKWARD(sub))
OPERATOR(mul, "Mul", 6, shape, BACKWARD(mul))

/* Integers are divided towards 0. */
static void forward_div(struct tt_node *n)
{
    forward_row(n, n->out->dtype == TT_FLOATS ? TT_BINARY_div : TT_BINARY_intdiv, from_of(n));
}

static void backward_div(struct tt_node *n)
{
    backward_row(n, TT_BINARY_div, 1, from_of(n));
    backward_row(n, TT_BINARY_div, 0, from_of(n));
}

static unsigned reads_div(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return reads_row(TT_BINARY_div, wants);
}

OPERATOR(div, "Div", 6, shape, BACKWARD(div))

/* ---- Pow: with an exponent of one number that is 2, 3 or 1/2 no logarithm is taken ----------- */

static enum tt_binary pow_row(const struct tt_node *n)
{
    float b = tt_len(n->in[1]) == 1 ? *n->in[1]->x : 0;

    return b == 2     ? TT_BINARY_pow2
           : b == 3   ? TT_BINARY_pow3
           : b == .5f ? TT_BINARY_powhalf
                      : TT_BINARY_pow;
}

static void forward_pow(struct tt_node *n)
{
    forward_row(n, pow_row(n), from_of(n));
    for (int64_t i = 0; n->out->dtype == TT_INTS && i < tt_len(n->out); i++)
        n->out->x[i] = truncf(n->out->x[i]); // integers to a broken power
}

static void backward_pow(struct tt_node *n)
{
    backward_row(n, TT_BINARY_pow, 1, from_of(n));
    backward_row(n, pow_row(n), 0, from_of(n));
}

static unsigned reads_pow(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return reads_row(TT_BINARY_pow, wants);
}

OPERATOR(pow, "Pow", 6, shape, BACKWARD(pow))

/* ---- PRelu: operand 1 has the shape of operand 0 or fewer elements --------------------------- */

static enum tt_code read_prelu(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    (void)err;
    /* below opset 7 one slope a channel, which is dimension 1 */
    ((struct attr *)attr)->from = a->opset < 7 ? 1 : -1;
    return TT_OK;
}

static int prelu_from(const struct tt_node *n)
{
    const struct tt_tensor *slope = n->in[1];

    return slope->ndim == 1 && slope->dim[0] > 1 && n->in[0]->ndim > 1 ? from_of(n) : -1;
}

static enum tt_code shape_prelu(struct tt_node *n, struct tt_err *err)
{
    enum tt_code rc = tt_broadcast_shape(n, prelu_from(n), err);
    char ta[TT_SHAPE_TEXT], tb[TT_SHAPE_TEXT];

    if (!rc && tt_len(n->out) != tt_len(n->in[0]))
        rc = tt_fail(err, TT_ESHAPE, "slopes %s do not broadcast to %s",
                     tt_shape_text(n->in[1]->dim, n->in[1]->ndim, tb, sizeof tb),
                     tt_shape_text(n->in[0]->dim, n->in[0]->ndim, ta, sizeof ta));
    return rc;
}

static void forward_prelu(struct tt_node *n)
{
    forward_row(n, TT_BINARY_prelu, prelu_from(n));
}

static void backward_prelu(struct tt_node *n)
{
    backward_row(n, TT_BINARY_prelu, 1, prelu_from(n));
    backward_row(n, TT_BINARY_prelu, 0, prelu_from(n));
}

static unsigned reads_prelu(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return reads_row(TT_BINARY_prelu, wants);
}

const struct tt_op tt_op_prelu = {
    .name = "PRelu",
    .min_in = 2,
    .max_in = 2,
    .opset = 6,
    .source = "ONNX PRelu-16",
    .attr_size = sizeof(struct attr),
    .layout = TT_FOLLOWS,
    .inplace = true,
    .read = read_prelu,
    .shape = shape_prelu,
    .forward = forward_prelu,
    .reads = reads_prelu,
    .backward = backward_prelu,
};

/* ---- Mod: of integers with the divisor's sign, of floats (fmod 1) with the dividend's -------- */

static enum tt_code read_mod(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    (void)err;
    *(struct attr *)attr = (struct attr){-1, tt_attr_int(a, "fmod", 0) != 0};
    return TT_OK;
}

static enum tt_code shape_mod(struct tt_node *n, struct tt_err *err)
{
    if (n->in[0]->dtype == TT_FLOATS && !((const struct attr *)n->attr)->fmod)
        return tt_fail(err, TT_EUNSUPPORTED, "fmod is 0, want 1 for floats");
    return shape(n, err);
}

static void forward_mod(struct tt_node *n)
{
    forward_row(n, ((const struct attr *)n->attr)->fmod ? TT_BINARY_fmod : TT_BINARY_mod, -1);
}

static void backward_mod(struct tt_node *n)
{
    backward_row(n, TT_BINARY_fmod, 1, -1);
    backward_row(n, TT_BINARY_fmod, 0, -1);
}

static unsigned reads_mod(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return reads_row(TT_BINARY_fmod, wants);
}

const struct tt_op tt_op_mod = {
    .name = "Mod",
    .min_in = 2,
    .max_in = 2,
    .opset = 10,
    .source = "ONNX Mod-13",
    .attr_size = sizeof(struct attr),
    .layout = TT_FOLLOWS,
    .inplace = true,
    .read = read_mod,
    .shape = shape_mod,
    .forward = forward_mod,
    .reads = reads_mod,
    .backward = backward_mod,
};

/* ---- truth values ---------------------------------------------------------------------------- */

static enum tt_code shape_truth(struct tt_node *n, struct tt_err *err)
{
    n->out->dtype = TT_BOOLS;
    return shape(n, err);
}

#define TRUTH(id, onnx, opset)                      \
    static void forward_##id(struct tt_node *n)     \
    {                                               \
        forward_row(n, TT_BINARY_##id, from_of(n)); \
    }                                               \
    OPERATOR(id, onnx, opset, shape_truth, .backward = NULL)

TRUTH(equal, "Equal", 1)
TRUTH(less, "Less", 1)
TRUTH(lessorequal, "LessOrEqual", 12)
TRUTH(greater, "Greater", 1)
TRUTH(greaterorequal, "GreaterOrEqual", 12)
TRUTH(and, "And", 1)
TRUTH(or, "Or", 1)
TRUTH(xor, "Xor", 1)
