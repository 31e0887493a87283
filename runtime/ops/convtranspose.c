// SPDX-License-Identifier: Apache-2.0
/*
 * ConvTranspose over one to three spatial dimensions: the gradient of a convolution with respect
 * to its input (Dumoulin and Visin 2016).  One image and group at a time, [C, pixels]:
 *   columns [Co K, P] = W^T [Co K, Ci] x [Ci, P], each column added to the pixels that it covers;
 * backward gathers dy into columns, of which dx = W columns and dW = x columns^T.
 */
#include <stddef.h>
#include <string.h>

#include "runtime/op.h"
#include "runtime/ops/product.h"
#include "runtime/ops/window.h"

struct attr {
    struct tt_window window;
    int64_t group;
    int nextra, nsizes; // 0: not said
    int64_t extra[TT_MAXSPACE], sizes[TT_MAXSPACE];
};

static enum tt_code read_list(struct tt_attrs *a, const char *name, int *n, int64_t *to,
                              struct tt_err *err)
{
    int64_t found;
    const int64_t *v = tt_attr_ints(a, name, &found);

    if (found > TT_MAXSPACE)
        return tt_fail(err, TT_EUNSUPPORTED, "attribute '%s' has %lld values, want at most %d",
                       name, (long long)found, TT_MAXSPACE);
    *n = (int)found;
    for (int i = 0; i < *n; i++) {
        to[i] = v[i];
        if (v[i] < 0 || v[i] > INT32_MAX)
            return tt_fail(err, TT_ERANGE, "attribute '%s': %lld", name, (long long)v[i]);
    }
    return TT_OK;
}

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *t = (struct attr *)attr;

    t->group = tt_attr_int(a, "group", 1);
    if (tt_window_read(a, &t->window, err) ||
        read_list(a, "output_padding", &t->nextra, t->extra, err) ||
        read_list(a, "output_shape", &t->nsizes, t->sizes, err))
        return err->code;
    for (int i = 0; i < t->nextra; i++)
        if (t->extra[i] > TT_WINDOW_LARGEST)
            return tt_fail(err, TT_ERANGE, "output_padding is %lld", (long long)t->extra[i]);
    return t->group > 0 ? TT_OK
                        : tt_fail(err, TT_ERANGE, "attribute 'group' is %lld", (long long)t->group);
}

struct size {
    int n;                // spatial dimensions
    int64_t N, G, Ci, Co; // images, groups, channels of a group
    int64_t P, Q, K;      // pixels of operand and result, taps
    int64_t in[TT_MAXSPACE], out[TT_MAXSPACE], kernel[TT_MAXSPACE];
    int64_t before[TT_MAXSPACE], stride[TT_MAXSPACE], dilation[TT_MAXSPACE];
};

/* The result's size along dimension i, and the padding before it. */
static int64_t extent(const struct attr *t, const struct tt_window *w, int i, int64_t in,
                      int64_t kernel, int64_t *before)
{
    int64_t full = w->stride[i] * (in - 1) + (kernel - 1) * w->dilation[i] + 1 +
                   (i < t->nextra ? t->extra[i] : 0);
    int64_t out, room;

    *before = w->pad[i];
    if (!t->nsizes && w->auto_pad == TT_PAD_GIVEN)
        return full - w->pad[i] - w->pad[i + w->n];
    out = i < t->nsizes ? t->sizes[i] : in * w->stride[i];
    room = full > out ? full - out : 0;
    *before = w->auto_pad == TT_PAD_UPPER ? room / 2 : room - room / 2;
    return out;
}

static struct size measure(const struct tt_node *n)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0], *w = n->in[1];
    struct tt_window v = tt_window_of(&t->window, x->ndim - 2);
    struct size s = {.n = v.n, .N = x->dim[0], .G = t->group, .P = 1, .Q = 1, .K = 1};

    s.Ci = x->dim[1] / s.G;
    s.Co = w->dim[1];
    for (int i = 0; i < s.n; i++) {
        s.in[i] = x->dim[2 + i];
        s.kernel[i] = w->dim[2 + i];
        s.stride[i] = v.stride[i];
        s.dilation[i] = v.dilation[i];
        s.out[i] = extent(t, &v, i, s.in[i], s.kernel[i], &s.before[i]);
        s.P *= s.in[i];
        s.Q *= s.out[i];
        s.K *= s.kernel[i];
    }
    return s;
}

static enum tt_code check(const struct tt_node *n, struct tt_err *err)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0], *w = n->in[1], *b = n->in[2];
    char tx[TT_SHAPE_TEXT], tw[TT_SHAPE_TEXT];

    if (x->ndim < 3 || x->ndim > 2 + TT_MAXSPACE || w->ndim != x->ndim || !tt_len(x) ||
        !tt_len(w) || x->dim[1] != w->dim[0] || x->dim[1] % t->group)
        return tt_fail(err, TT_ESHAPE, "input %s and weight %s in %lld groups do not fit",
                       tt_shape_text(x->dim, x->ndim, tx, sizeof tx),
                       tt_shape_text(w->dim, w->ndim, tw, sizeof tw), (long long)t->group);
    if ((t->window.n && t->window.n != x->ndim - 2) || (t->nextra && t->nextra != x->ndim - 2) ||
        (t->nsizes && t->nsizes != x->ndim - 2))
        return tt_fail(err, TT_ESHAPE, "attributes are not for %d spatial dimensions", x->ndim - 2);
    for (int i = 0; i < t->window.n; i++)
        if (t->window.kernel[i] && t->window.kernel[i] != w->dim[2 + i])
            return tt_fail(err, TT_ESHAPE, "kernel_shape %lld, weight '%s' has %lld",
                           (long long)t->window.kernel[i], w->name, (long long)w->dim[2 + i]);
    if (b && (b->ndim != 1 || b->dim[0] != w->dim[1] * t->group))
        return tt_fail(err, TT_ESHAPE, "bias '%s' has not the result's %lld channels", b->name,
                       (long long)(w->dim[1] * t->group));
    return TT_OK;
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    struct size s;

    if (check(n, err) != TT_OK)
        return err->code;
    s = measure(n);
    n->out->ndim = n->in[0]->ndim;
    n->out->dim[0] = s.N;
    n->out->dim[1] = s.Co * s.G;
    for (int i = 0; i < s.n; i++) {
        n->out->dim[2 + i] = s.out[i];
        if (s.out[i] < 1 || s.out[i] > INT32_MAX)
            return tt_fail(err, TT_ESHAPE, "the result's dimension %d is %lld", 2 + i,
                           (long long)s.out[i]);
    }
    n->nscratch = s.Co * s.K * s.P;
    if (n->nscratch > TT_MAX_SIDE || tt_len(n->out) > TT_MAX_SIDE)
        return tt_fail(err, TT_ERANGE, "operands have more than 2^31 elements");
    return TT_OK;
}

/* The pixel of the result that tap k of the operand's pixel p falls on; -1: none. */
static int64_t target(const struct size *s, int64_t k, int64_t p)
{
    int64_t at = 0, stride = 1;

    for (int i = s->n - 1; i >= 0; i--) {
        int64_t q = p % s->in[i] * s->stride[i] + k % s->kernel[i] * s->dilation[i] - s->before[i];

        if (q < 0 || q >= s->out[i])
            return -1;
        at += q * stride;
        stride *= s->out[i];
        p /= s->in[i];
        k /= s->kernel[i];
    }
    return at;
}

/* y [Co, Q] += columns [Co, K, P], or columns = what of y they cover. */
static void scatter(const struct size *s, float *y, float *columns, bool back)
{
#pragma omp parallel for schedule(static) if (s->Co * s->K * s->P > 16384)
    for (int64_t c = 0; c < s->Co; c++)
        for (int64_t k = 0; k < s->K; k++) {
            float *column = columns + (c * s->K + k) * s->P, *channel = y + c * s->Q;

            for (int64_t p = 0; p < s->P; p++) {
                int64_t at = target(s, k, p);

                if (back)
                    column[p] = at < 0 ? 0 : channel[at];
                else if (at >= 0)
                    channel[at] += column[p];
            }
        }
}

static void forward(struct tt_node *n)
{
    struct size s = measure(n);
    int64_t C = s.Co * s.G, len = tt_len(n->out);

    for (int64_t i = 0; i < len; i++)
        n->out->x[i] = n->in[2] ? n->in[2]->x[i / s.Q % C] : 0;
    for (int64_t i = 0; i < s.N * s.G; i++) {
        const float *w = n->in[1]->x + i % s.G * s.Ci * s.Co * s.K;

        tt_product(n->scratch, w, true, n->in[0]->x + i * s.Ci * s.P, false, s.Co * s.K, s.P, s.Ci,
                   1, 0);
        scatter(&s, n->out->x + i * s.Co * s.Q, n->scratch, false);
    }
}

static void backward_bias(struct tt_node *n, const struct size *s)
{
    int64_t C = s->Co * s->G;

    for (int64_t c = 0; c < C; c++) {
        double sum = n->add[2] ? (double)n->in[2]->g[c] : 0;

        for (int64_t i = 0; i < s->N; i++)
            for (int64_t q = 0; q < s->Q; q++)
                sum += n->out->g[(i * C + c) * s->Q + q];
        n->in[2]->g[c] = (float)sum;
    }
}

static void backward(struct tt_node *n)
{
    struct size s = measure(n);
    float *dx = n->in[0]->g, *dw = n->in[1]->g;

    if (n->in[2] && n->in[2]->g)
        backward_bias(n, &s);
    for (int64_t i = 0; (dx || dw) && i < s.N * s.G; i++) {
        int64_t at = i % s.G * s.Ci * s.Co * s.K;

        scatter(&s, n->out->g + i * s.Co * s.Q, n->scratch, true);
        if (dw)
            tt_product(dw + at, n->in[0]->x + i * s.Ci * s.P, false, n->scratch, true, s.Ci,
                       s.Co * s.K, s.P, 1, n->add[1] || i >= s.G ? 1 : 0);
        if (dx)
            tt_product(dx + i * s.Ci * s.P, n->in[1]->x + at, false, n->scratch, false, s.Ci, s.P,
                       s.Co * s.K, 1, n->add[0] ? 1 : 0);
    }
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return (wants[0] ? TT_READS_IN(1) : 0) | (wants[1] ? TT_READS_IN(0) : 0);
}

static double flops(const struct tt_node *n, bool backward_)
{
    struct size s = measure(n);
    double one = 2.0 * (double)(s.N * s.G * s.Ci) * (double)(s.Co * s.K) * (double)s.P;

    return backward_ ? one * tt_product_gradients(n) : one;
}

const struct tt_op tt_op_convtranspose = {
    .name = "ConvTranspose",
    .min_in = 2,
    .max_in = 3,
    .opset = 1,
    .source = "Dumoulin and Visin 2016; ONNX ConvTranspose-11",
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_PLAIN,
    .read = read_attr,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
    .flops = flops,
};
