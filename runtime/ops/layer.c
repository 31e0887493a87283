// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/layer.h"

#include <string.h>

#include "runtime/half.h"
#include "runtime/ops/conv.h"
#include "runtime/ops/normalise.h"

_Static_assert(TT_LAYER_OPERANDS <= TT_MAXIN, "a layer's operands");

static const struct tt_layer *layer_of(const struct tt_node *n)
{
    return (const struct tt_layer *)n->attr;
}

/* ---- its parts ------------------------------------------------------------------------------- */

/* The convolution as a node whose result is y. */
static struct tt_node conv_part(const struct tt_node *n, struct tt_tensor *y)
{
    struct tt_node c = {
        .op = &tt_op_conv,
        .name = n->name,
        .nin = TT_LAYER_BIAS + 1,
        .out = y,
        .attr = layer_of(n)->conv,
        .batch = n->batch,
        .kept = n->kept,
        .exact = n->exact,
        .threads = n->threads,
        .way = n->way,
    };

    for (int i = 0; i < c.nin; i++) {
        c.in[i] = n->in[i];
        c.constant[i] = n->constant[i];
        c.add[i] = n->add[i];
    }
    return c;
}

/* What is normalised, or the result's likeness: of its shape. */
static int64_t channels(const struct tt_node *n)
{
    return n->out->dim[1];
}

static int64_t norm_scratch(const struct tt_node *n)
{
    int64_t C = channels(n), len = tt_len(n->out);

    return layer_of(n)->norm ? tt_batchnorm_nscratch(len / C, C) : 0;
}

/* scratch: the normalisation's, then room for as much as the result where that cannot be used
 * itself (the sum's operand may lie there), then the convolution's. */
static int64_t room_offset(const struct tt_node *n)
{
    return (norm_scratch(n) + 15) / 16 * 16;
}

static int64_t conv_offset(const struct tt_node *n)
{
    const struct tt_layer *l = layer_of(n);
    int64_t room = l->conv && l->norm && n->in[TT_LAYER_SUM] ? tt_len(n->out) : 0;

    return room_offset(n) + (room + 15) / 16 * 16;
}

static void give_scratch(const struct tt_node *n, struct tt_node *conv)
{
    conv->scratch = n->scratch ? n->scratch + conv_offset(n) : NULL;
}

/* tape: the mask, then what the normalisation's backward reads: x^ as binary16, or of an exact node
 * what the convolution made. */
static uint32_t *at_mask(const struct tt_node *n)
{
    return n->tape && layer_of(n)->clamp ? (uint32_t *)(void *)n->tape : NULL;
}

static float *at_normalised(const struct tt_node *n)
{
    return n->tape ? n->tape + (layer_of(n)->clamp ? tt_mask_words(tt_len(n->out)) : 0) : NULL;
}

static float *at_product(const struct tt_node *n)
{
    return n->exact && layer_of(n)->conv ? at_normalised(n) : NULL;
}

static int64_t ntape(const struct tt_node *n)
{
    const struct tt_layer *l = layer_of(n);
    int64_t len = tt_len(n->out), mask = l->clamp ? tt_mask_words(len) : 0;

    return mask + (!l->norm ? 0 : !n->exact ? TT_HALF_FLOATS(len) : l->conv ? len : 0);
}

static struct tt_batchnorm norm_part(const struct tt_node *n)
{
    const struct tt_batchnorm_attr *a = (const struct tt_batchnorm_attr *)layer_of(n)->norm;

    return (struct tt_batchnorm){
        .stats = n->norm,
        .rows = tt_len(n->out) / channels(n),
        .C = channels(n),
        .epsilon = a->epsilon,
        .gamma = n->in[TT_LAYER_GAMMA]->x,
        .beta = n->in[TT_LAYER_BETA]->x,
        .hat = n->exact ? NULL : (uint16_t *)(void *)at_normalised(n),
        .saved = n->saved[0],
        .scratch = n->scratch,
    };
}

/* ---- shape ----------------------------------------------------------------------------------- */

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct tt_layer *l = layer_of(n);
    int64_t conv_scratch = 0;

    if (l->conv) {
        struct tt_node c = conv_part(n, n->out);

        if (tt_op_conv.shape(&c, err) != TT_OK)
            return err->code;
        n->nkept = c.nkept;
        n->nkept_back = c.nkept_back;
        n->threads = c.threads;
        n->way = c.way;
        conv_scratch = c.nscratch;
    } else {
        n->out->ndim = n->in[TT_LAYER_X]->ndim;
        memcpy(n->out->dim, n->in[TT_LAYER_X]->dim, sizeof n->out->dim);
    }
    n->nsaved[0] = l->norm ? 2 * channels(n) : 0;
    n->ntape = ntape(n);
    n->nscratch = conv_offset(n) + conv_scratch;
    return TT_OK;
}

/* ---- forward --------------------------------------------------------------------------------- */

#define PIECE ((int64_t)65536) // elements that a thread copies at a time; a multiple of 512

static void copy(float *to, const float *from, int64_t len, bool add)
{
#pragma omp parallel for schedule(static) if (len > PIECE)
    for (int64_t i = 0; i < len; i += PIECE)
        tt_kernels()->copy(to + i, from + i, len - i < PIECE ? len - i : PIECE, add);
}

static void clamp_with_mask(struct tt_node *n)
{
    const struct tt_layer *l = layer_of(n);
    const struct tt_finish f = {.clamp = true, .low = l->low, .high = l->high};
    int64_t len = tt_len(n->out);

#pragma omp parallel for schedule(static) if (len > PIECE)
    for (int64_t i = 0; i < len; i += PIECE)
        tt_kernels()->affine(n->out->x + i, n->out->x + i, NULL, &f, TT_PERIOD, l->from,
                             at_mask(n) + i / 32, len - i < PIECE ? len - i : PIECE);
}

/* The convolution finishes the result: scale and shift are known before it. */
static void forward_finished(struct tt_node *n, const float *scale, const float *shift)
{
    const struct tt_layer *l = layer_of(n);
    const struct tt_tensor *sum = n->in[TT_LAYER_SUM];
    struct tt_node c = conv_part(n, n->out);

    give_scratch(n, &c);
    if (sum && sum->x != n->out->x)
        copy(n->out->x, sum->x, tt_len(n->out), false);
    tt_conv_forward(&c, &(struct tt_finish){.scale = scale,
                                            .shift = shift,
                                            .add = sum != NULL,
                                            .clamp = l->clamp && !n->tape,
                                            .low = l->low,
                                            .high = l->high});
    if (l->clamp && n->tape)
        clamp_with_mask(n);
}

/* The normalisation's tables, with the convolution's bias in the shift. */
static struct tt_finish tables_with_bias(const struct tt_node *n, const struct tt_batchnorm *b)
{
    struct tt_finish f = tt_batchnorm_tables(b);
    const struct tt_tensor *bias = n->in[TT_LAYER_BIAS];
    float *shift = n->scratch + (f.shift - n->scratch);

    for (int64_t c = 0; bias && c < b->C; c++)
        shift[c] += bias->x[c] * f.scale[c];
    return f;
}

static void forward(struct tt_node *n)
{
    const struct tt_layer *l = layer_of(n);
    const struct tt_tensor *sum = n->in[TT_LAYER_SUM];
    struct tt_batchnorm b;
    struct tt_finish tables;
    struct tt_tensor y = *n->out;
    struct tt_node c = conv_part(n, &y);

    if (!l->norm) {
        forward_finished(n, NULL, n->in[TT_LAYER_BIAS] ? n->in[TT_LAYER_BIAS]->x : NULL);
        return;
    }
    b = norm_part(n);
    if (l->conv && !n->tape && n->norm->batch == 0 && !n->norm->measure) {
        tables = tables_with_bias(n, &b);
        forward_finished(n, tables.scale, tables.shift);
        return;
    }
    if (!l->conv) {
        y.x = n->in[TT_LAYER_X]->x;
    } else {
        y.x = at_product(n) ? at_product(n) : sum ? n->scratch + room_offset(n) : n->out->x;
        give_scratch(n, &c);
        tt_op_conv.forward(&c);
    }
    tt_batchnorm_measure(&b, y.x);
    tables = tt_batchnorm_tables(&b);
    tt_batchnorm_apply(&b, &tables, n->out->x, y.x,
                       &(struct tt_after){.sum = sum ? sum->x : NULL,
                                          .clamp = l->clamp,
                                          .low = l->low,
                                          .high = l->high,
                                          .from = l->from,
                                          .mask = at_mask(n)});
}

/* ---- backward -------------------------------------------------------------------------------- */

/* Without a normalisation: dy is masked, and the sum's gradient. */
static void backward_sum(struct tt_node *n)
{
    struct tt_tensor *sum = n->in[TT_LAYER_SUM];
    int64_t len = tt_len(n->out);

    if (layer_of(n)->clamp) {
#pragma omp parallel for schedule(static) if (len > PIECE)
        for (int64_t i = 0; i < len; i += PIECE)
            tt_kernels()->mask_out(n->out->g + i, at_mask(n) + i / 32,
                                   len - i < PIECE ? len - i : PIECE);
    }
    if (sum && sum->g && sum->g != n->out->g)
        copy(sum->g, n->out->g, len, n->add[TT_LAYER_SUM]);
}

/* Whether the convolution has any gradient to make. */
static bool conv_works(const struct tt_node *n)
{
    for (int i = 0; i <= TT_LAYER_BIAS; i++)
        if (n->in[i] && n->in[i]->g)
            return true;
    return false;
}

/* From n->out->g to all gradients but the convolution's, of which the result's goes to dproduct. */
static void backward_norm(struct tt_node *n, float *dproduct)
{
    const struct tt_layer *l = layer_of(n);
    const struct tt_batchnorm b = norm_part(n);
    struct tt_tensor *const *in = n->in;
    struct tt_tensor *sum = in[TT_LAYER_SUM];

    tt_batchnorm_backward(&b, n->out->g, l->conv ? at_product(n) : in[TT_LAYER_X]->x, at_mask(n),
                          &(struct tt_batchnorm_grads){
                              .dsum = sum ? sum->g : NULL,
                              .dgamma = in[TT_LAYER_GAMMA]->g,
                              .dbeta = in[TT_LAYER_BETA]->g,
                              .dx = l->conv ? dproduct : in[TT_LAYER_X]->g,
                              .add_dsum = n->add[TT_LAYER_SUM],
                              .add_dgamma = n->add[TT_LAYER_GAMMA],
                              .add_dbeta = n->add[TT_LAYER_BETA],
                              .add_dx = !l->conv && n->add[TT_LAYER_X],
                          });
}

static void backward(struct tt_node *n)
{
    const struct tt_layer *l = layer_of(n);
    const struct tt_tensor *sum = n->in[TT_LAYER_SUM];
    struct tt_tensor y = *n->out;
    struct tt_node c = conv_part(n, &y);
    bool works = l->conv && conv_works(n);

    if (!l->norm)
        backward_sum(n);
    else if (sum && sum->g == n->out->g) // which must stay
        y.g = n->scratch + room_offset(n);
    if (l->norm)
        backward_norm(n, works ? y.g : NULL);
    if (!works)
        return;
    give_scratch(n, &c);
    tt_op_conv.backward(&c);
}

/* ---- for the plan ---------------------------------------------------------------------------- */

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    const struct tt_layer *l = layer_of(n);

    return (l->conv ? wants[TT_LAYER_W] : l->norm && n->exact) ? TT_READS_IN(TT_LAYER_X) : 0;
}

/* The sum's operand, unless the convolution would read its own gradient while it writes it; without
 * one, what is normalised. */
static int overwrites(const struct tt_node *n)
{
    if (n->in[TT_LAYER_SUM])
        return n->in[TT_LAYER_SUM] == n->in[TT_LAYER_X] && !layer_of(n)->norm ? -1 : TT_LAYER_SUM;
    return layer_of(n)->conv ? -1 : TT_LAYER_X;
}

static double flops(const struct tt_node *n, bool back)
{
    struct tt_node c = conv_part(n, n->out);

    return layer_of(n)->conv ? tt_op_conv.flops(&c, back) : 0;
}

const struct tt_op tt_op_layer = {
    .name = "tt.Layer",
    .min_in = TT_LAYER_OPERANDS,
    .max_in = TT_LAYER_OPERANDS,
    .source = "Conv, BatchNormalization, Add, Relu or Clip of ONNX, one after another",
    .attr_size = sizeof(struct tt_layer),
    .layout = TT_WANTS_LAST,
    .follow = 1u << TT_LAYER_SUM,
    .inplace = true,
    .norm = TT_LAYER_MEAN,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .overwrites = overwrites,
    .backward = backward,
    .flops = flops,
};
