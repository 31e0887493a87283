// SPDX-License-Identifier: Apache-2.0
/*
 * Convolution over one or two dimensions (one is two of which the first has size 1) as an implicit
 * matrix product: for each tap of the kernel, rows
 * are pixels, read where they lie, and columns are output channels, packed in panels.  A table
 * of offsets, made once, says where the pixel of each tap is, or that it is padding.  The
 * gradient to the input is the same product with the kernel turned: the pixels of the input
 * fall into stride x stride phases, each with its own taps, so that no tap is wasted on zeros.
 * Kernels of 3x3 at stride 1 go Winograd's way (runtime/ops/winograd.h), unless the node must be
 * exact or its weights change; one kernel for each channel, runtime/ops/depthwise.h's.
 */
#include <cblas.h>
#include <omp.h>
#include <stddef.h>
#include <string.h>

#include "runtime/ops/conv.h"
#include "runtime/ops/conv_geometry.h"
#include "runtime/ops/depthwise.h"
#include "runtime/ops/taps.h"
#include "runtime/ops/winograd.h"

/* What a hostile file may ask for, so that sizes of tables do not overflow. */
#define MOST_TAPS   ((int64_t)4096 / TT_MAX_MR)
#define MOST_GROUPS ((int64_t)1 << 24)
#define MOST        ((int64_t)1 << 36) // elements of an operand

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct tt_conv_attr *c = (struct tt_conv_attr *)attr;

    c->groups = tt_attr_int(a, "group", 1);
    if (c->groups < 1 || c->groups > MOST_GROUPS)
        return tt_fail(err, TT_ERANGE, "attribute 'group' is %lld, want 1 to %lld",
                       (long long)c->groups, (long long)MOST_GROUPS);
    return tt_window_read(a, &c->window, err);
}

/* Before anything is multiplied: a weight that is computed may have any shape. */
static enum tt_code check_sizes(const struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *w = n->in[1];
    int64_t taps = 1;

    for (int i = 0; i < 2; i++)
        if (tt_len(n->in[i]) > MOST)
            return tt_fail(err, TT_EUNSUPPORTED,
                           "operand '%s' has %lld elements, want at most %lld", n->in[i]->name,
                           (long long)tt_len(n->in[i]), (long long)MOST);
    for (int i = 2; i < w->ndim; i++)
        taps *= w->dim[i];
    if (taps > MOST_TAPS)
        return tt_fail(err, TT_EUNSUPPORTED, "a kernel of %lldx%lld, want at most %lld taps",
                       (long long)(w->ndim > 3 ? w->dim[2] : 1), (long long)w->dim[w->ndim - 1],
                       (long long)MOST_TAPS);
    return TT_OK;
}

static enum tt_code check(const struct tt_node *n, struct tt_err *err)
{
    const struct tt_conv_attr *a = (const struct tt_conv_attr *)n->attr;
    const struct tt_tensor *x = n->in[0], *w = n->in[1], *b = n->in[2];

    if (x->ndim != 3 && x->ndim != 4)
        return tt_fail(err, TT_EUNSUPPORTED,
                       "input '%s' has %d dimensions, want 3 [N, C, W] or 4 [N, C, H, W]", x->name,
                       x->ndim);
    if (w->ndim != x->ndim || (a->window.n && a->window.n != x->ndim - 2))
        return tt_fail(err, TT_ESHAPE,
                       "input '%s' has %d dimensions, weight '%s' %d, its attributes are for %d",
                       x->name, x->ndim, w->name, w->ndim, a->window.n ? a->window.n + 2 : x->ndim);
    for (int i = 0; i < x->ndim; i++)
        if (x->dim[i] < 1 || w->dim[i] < 1)
            return tt_fail(err, TT_ESHAPE, "input or weight is empty");
    if (check_sizes(n, err) != TT_OK)
        return err->code;
    if (w->dim[1] * a->groups != x->dim[1] || w->dim[0] % a->groups)
        return tt_fail(err, TT_ESHAPE,
                       "input '%s' has %lld channels, weight '%s' wants %lld in %lld groups",
                       x->name, (long long)x->dim[1], w->name, (long long)w->dim[1] * a->groups,
                       (long long)a->groups);
    for (int i = 0; i < a->window.n; i++)
        if (a->window.kernel[i] && a->window.kernel[i] != w->dim[2 + i])
            return tt_fail(err, TT_ESHAPE, "kernel_shape says %lld, weight '%s' has %lld",
                           (long long)a->window.kernel[i], w->name, (long long)w->dim[2 + i]);
    if (b && (b->ndim != 1 || b->dim[0] != w->dim[0]))
        return tt_fail(err, TT_ESHAPE, "bias '%s' does not have the %lld output channels", b->name,
                       (long long)w->dim[0]);
    return TT_OK;
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    struct tt_conv g;

    if (check(n, err) != TT_OK)
        return err->code;
    tt_conv_measure(n, &g);
    if (g.OH[0] < 1 || g.OH[1] < 1)
        return tt_fail(err, TT_ESHAPE, "the kernel %lldx%lld is larger than the padded input",
                       (long long)g.K[0], (long long)g.K[1]);
    n->out->ndim = n->in[0]->ndim;
    n->out->dim[0] = n->in[0]->dim[0];
    n->out->dim[1] = g.O;
    for (int i = 2; i < n->out->ndim; i++)
        n->out->dim[i] = g.OH[i - n->out->ndim + 2];
    if (!n->threads) {
        n->threads = omp_get_max_threads();
        n->way = tt_conv_choose_way(n, &g);
        tt_conv_measure(n, &g);
    }
    n->nkept = tt_conv_nkept(&g);
    n->nkept_back = g.table_back + g.places + g.packed_back;
    n->nscratch = 0;
    if (!n->constant[1]) // for the weight's gradient: one image's columns
        n->nscratch = g.OH[0] * g.OH[1] * g.taps * g.Cg + g.taps * g.Cg * g.Og;
    else if (g.winograd)
        n->nscratch = (n->way ? g.transformed : 0) + n->threads * tt_winograd_nscratch(g.Cg, g.Og);
    return TT_OK;
}

/* ---- forward ------------------------------------------------------------------------------- */

static void make_table(const struct tt_conv *g, int32_t *table)
{
    for (int64_t oh = 0; oh < g->OH[0]; oh++)
        for (int64_t ow = 0; ow < g->OH[1]; ow++)
            for (int64_t kh = 0; kh < g->K[0]; kh++)
                for (int64_t kw = 0; kw < g->K[1]; kw++) {
                    int64_t h = oh * g->stride[0] - g->pad[0] + kh * g->dilation[0];
                    int64_t w = ow * g->stride[1] - g->pad[1] + kw * g->dilation[1];
                    bool inside = h >= 0 && h < g->H[0] && w >= 0 && w < g->H[1];

                    *table++ = inside ? (int32_t)(h * g->H[1] + w) : -1;
                }
}

/* w [O, Cg, taps] into panels [group][panel][tap][Cg][TT_NR], short ones filled up with 0. */
static void pack(const struct tt_conv *g, const float *w, float *to)
{
    for (int64_t i = 0; i < g->groups * g->panels; i++) {
        int64_t o0 = i / g->panels * g->Og + i % g->panels * TT_NR;
        int64_t end = (i / g->panels + 1) * g->Og;

        for (int64_t t = 0; t < g->taps; t++)
            for (int64_t c = 0; c < g->Cg; c++)
                for (int64_t j = 0; j < TT_NR; j++)
                    *to++ = o0 + j < end ? w[((o0 + j) * g->Cg + c) * g->taps + t] : 0;
    }
}

/* Group i, given what is said of the first.  back: the gradient to the input instead */
static struct tt_winograd winograd_group(const struct tt_conv *g, const struct tt_winograd *first,
                                         int64_t i, bool back)
{
    struct tt_winograd w = *first;

    w.x += i * w.C;
    w.y += i * w.O;
    w.kernel += i * g->Og * g->Cg * g->taps;
    w.weights = w.weights ? w.weights + i * (g->transformed / g->groups) : NULL;
    w.finish.scale = w.finish.scale ? w.finish.scale + i * w.O : NULL;
    w.finish.shift = w.finish.shift ? w.finish.shift + i * w.O : NULL;
    w.turned = back;
    return w;
}

static void run_winograd(struct tt_node *n, const struct tt_conv *g, bool back,
                         const struct tt_finish *finish)
{
    const int most = omp_get_max_threads(), threads = most < n->threads ? most : n->threads;
    const bool passing = n->way & (back ? TT_PASSING_BACK : TT_PASSING);
    const struct tt_conv_kept kept = tt_conv_kept(n, g);
    float *done = kept.marks + 2 * back + 1, *scratch = n->scratch;
    float *weights = passing ? scratch : back ? kept.packed_back : kept.packed;
    struct tt_winograd all = {.images = n->in[0]->dim[0],
                              .C = back ? g->Og : g->Cg,
                              .O = back ? g->Cg : g->Og,
                              .x_pixel = back ? g->O : g->C,
                              .y_pixel = back ? g->C : g->O,
                              .x = back ? n->out->g : n->in[0]->x,
                              .y = back ? n->in[0]->g : n->out->x,
                              .weights = g->transformed ? weights : NULL,
                              .kernel = n->in[1]->x,
                              .finish = *finish};

    for (int i = 0; i < 2; i++) {
        all.H[i] = back ? g->OH[i] : g->H[i];
        all.OH[i] = back ? g->H[i] : g->OH[i];
        all.pad[i] = back ? 2 - g->pad[i] : g->pad[i];
    }
    for (int64_t i = 0; i < g->groups; i++) {
        struct tt_winograd w = winograd_group(g, &all, i, back);

        if (g->transformed && (passing || !*done))
            tt_winograd_weights(weights + i * (g->transformed / g->groups), w.kernel, g->Cg, g->Og,
                                back);
        tt_winograd_run(&w, scratch + (n->way ? g->transformed : 0), threads);
    }
    *done = 1;
}

/* back: after a forward run, with its weights */
static void run_depthwise(struct tt_node *n, const struct tt_conv *g, bool back,
                          const struct tt_finish *finish)
{
    const struct tt_conv_kept kept = tt_conv_kept(n, g);

    if (!back && (!kept.marks[1] || !n->constant[1]))
        tt_depthwise_weights(kept.packed, n->in[1]->x, g->C, g->taps);
    kept.marks[1] = 1;
    tt_depthwise_run(
        &(struct tt_depthwise){
            .images = n->in[0]->dim[0],
            .C = g->C,
            .H = g->H,
            .OH = g->OH,
            .K = g->K,
            .stride = g->stride,
            .pad = g->pad,
            .dilation = g->dilation,
            .weights = kept.packed,
            .x = back ? n->out->g : n->in[0]->x,
            .y = back ? n->in[0]->g : n->out->x,
            .finish = *finish,
        },
        back);
}

void tt_conv_forward(struct tt_node *n, const struct tt_finish *finish)
{
    struct tt_conv g;
    struct tt_conv_kept kept;

    tt_conv_measure(n, &g);
    kept = tt_conv_kept(n, &g);
    if (!kept.marks[0] && g.table)
        make_table(&g, kept.table);
    kept.marks[0] = 1;
    if (g.winograd || g.depthwise) {
        (g.winograd ? run_winograd : run_depthwise)(n, &g, false, finish);
        return;
    }
    if (!kept.marks[1] || !n->constant[1])
        pack(&g, n->in[1]->x, kept.packed);
    kept.marks[1] = 1;
    for (int64_t i = 0; i < g.groups; i++) {
        struct tt_finish f = *finish;

        f.scale = f.scale ? f.scale + i * g.Og : NULL;
        f.shift = f.shift ? f.shift + i * g.Og : NULL;
        tt_taps_run(&(struct tt_taps){
            .images = n->in[0]->dim[0],
            .pixels = g.OH[0] * g.OH[1],
            .taps = (int)g.taps,
            .run = g.groups == 1 && g.dilation[1] == 1 ? (int)g.K[1] : 1,
            .dense = g.dense,
            .K = g.Cg,
            .N = g.Og,
            .offset = kept.table,
            .x = n->in[0]->x + i * g.Cg,
            .zeros = kept.zeros,
            .x_image = g.H[0] * g.H[1] * g.C,
            .x_pixel = g.C,
            .y = n->out->x + i * g.Og,
            .y_image = g.OH[0] * g.OH[1] * g.O,
            .y_pixel = g.O,
            .packed = kept.packed + i * g.panels * TT_NR * g.taps * g.Cg,
            .finish = f,
        });
    }
}

static void forward(struct tt_node *n)
{
    tt_conv_forward(n, &(struct tt_finish){.shift = n->in[2] ? n->in[2]->x : NULL});
}

/* ---- backward ------------------------------------------------------------------------------ */

static void backward_input(struct tt_node *n, const struct tt_conv *g)
{
    struct tt_finish finish = {.add = n->add[0]};

    if (g->winograd)
        run_winograd(n, g, true, &finish);
    else if (g->depthwise)
        run_depthwise(n, g, true, &finish);
    else
        tt_conv_backward_phases(n, g);
}

/* One image's columns of one group: col [pixels][tap][Cg]. */
static void gather(const struct tt_conv *g, const int32_t *table, const float *x, float *col)
{
    for (int64_t i = 0; i < g->table; i++, col += g->Cg) {
        if (table[i] < 0)
            memset(col, 0, sizeof *col * (size_t)g->Cg);
        else
            memcpy(col, x + table[i] * g->C, sizeof *col * (size_t)g->Cg);
    }
}

/* dw [O, Cg, taps] (+)= sum over images of col' dy */
static void backward_weight(struct tt_node *n, const struct tt_conv *g)
{
    int64_t pixels = g->OH[0] * g->OH[1], rows = g->taps * g->Cg;
    const struct tt_conv_kept kept = tt_conv_kept(n, g);
    float *col = n->scratch, *sum = n->scratch + pixels * rows, *dw = n->in[1]->g;

    for (int64_t i = 0; i < g->groups; i++) {
        for (int64_t b = 0; b < n->in[0]->dim[0]; b++) {
            gather(g, kept.table, n->in[0]->x + b * g->H[0] * g->H[1] * g->C + i * g->Cg, col);
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)rows, (int)g->Og, (int)pixels,
                        1, col, (int)rows, n->out->g + b * pixels * g->O + i * g->Og, (int)g->O,
                        b ? 1 : 0, sum, (int)g->Og);
        }
        for (int64_t o = 0; o < g->Og; o++)
            for (int64_t c = 0; c < g->Cg; c++)
                for (int64_t t = 0; t < g->taps; t++) {
                    float *to = dw + ((i * g->Og + o) * g->Cg + c) * g->taps + t;

                    *to = (n->add[1] ? *to : 0) + sum[(t * g->Cg + c) * g->Og + o];
                }
    }
}

/* db [O] (+)= sum over pixels of dy */
static void backward_bias(struct tt_node *n, const struct tt_conv *g)
{
    int64_t rows = n->out->dim[0] * g->OH[0] * g->OH[1];

    for (int64_t o = 0; o < g->O; o++) {
        double sum = 0;

        for (int64_t r = 0; r < rows; r++)
            sum += n->out->g[r * g->O + o];
        n->in[2]->g[o] = (n->add[2] ? n->in[2]->g[o] : 0) + (float)sum;
    }
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return wants[1] ? TT_READS_IN(0) : 0; // weights are nobody's to overwrite
}

static void backward(struct tt_node *n)
{
    struct tt_conv g;

    tt_conv_measure(n, &g);
    if (n->in[2] && n->in[2]->g)
        backward_bias(n, &g);
    if (n->in[1]->g)
        backward_weight(n, &g);
    if (n->in[0]->g)
        backward_input(n, &g);
}

static double flops(const struct tt_node *n, bool backward)
{
    const struct tt_tensor *w = n->in[1];
    double one = 2.0 * (double)tt_len(n->out) * (double)(tt_len(w) / w->dim[0]);

    return backward ? one * tt_product_gradients(n) : one;
}

const struct tt_op tt_op_conv = {
    .name = "Conv",
    .min_in = 2,
    .max_in = 3,
    .opset = 1,
    .source = "ONNX Conv-11, one or two spatial dimensions",
    .attr_size = sizeof(struct tt_conv_attr),
    .layout = TT_WANTS_LAST,
    .read = read_attr,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
    .flops = flops,
};
