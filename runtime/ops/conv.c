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
#include "runtime/ops/depthwise.h"
#include "runtime/ops/taps.h"
#include "runtime/ops/window.h"
#include "runtime/ops/winograd.h"

struct attr {
    struct tt_window window;
    int64_t groups;
};

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *c = (struct attr *)attr;

    c->groups = tt_attr_int(a, "group", 1);
    if (c->groups < 1)
        return tt_fail(err, TT_ERANGE, "attribute 'group' is %lld, want at least 1",
                       (long long)c->groups);
    return tt_window_read(a, &c->window, err);
}

/* ---- geometry ------------------------------------------------------------------------------ */

struct geometry {
    int64_t C, O, H[2], OH[2], K[2], stride[2], pad[2], dilation[2], groups, Cg, Og;
    int64_t taps, panels, panels_back; // of one group
    int64_t table, table_back;         // ints
    int64_t packed, packed_back;       // floats
    int64_t places;                    // ints
    bool winograd, depthwise;
};

static void measure(const struct tt_node *n, struct geometry *g)
{
    const struct attr *a = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0], *w = n->in[1];
    int space = x->ndim - 2;
    struct tt_window window = tt_window_of(&a->window, space);

    *g = (struct geometry){.C = x->dim[1], .O = w->dim[0], .groups = a->groups};
    g->Cg = w->dim[1];
    g->Og = g->O / g->groups;
    g->H[0] = g->K[0] = g->OH[0] = g->stride[0] = g->dilation[0] = 1;
    for (int d = 0, i = 2 - space; d < space; d++, i++) {
        int64_t after;

        g->H[i] = x->dim[2 + d];
        g->K[i] = w->dim[2 + d];
        g->stride[i] = window.stride[d];
        g->dilation[i] = window.dilation[d];
        g->OH[i] = tt_window_places(&window, d, g->K[i], g->H[i], &g->pad[i], &after);
    }
    g->taps = g->K[0] * g->K[1];
    g->panels = (g->Og + TT_NR - 1) / TT_NR;
    g->panels_back = (g->Cg + TT_NR - 1) / TT_NR;
    g->table = g->OH[0] * g->OH[1] * g->taps;
    g->table_back = g->H[0] * g->H[1] * g->taps; // an upper bound: phases share the taps out
    g->places = g->H[0] * g->H[1];
    g->packed = g->groups * g->panels * TT_NR * g->taps * g->Cg;
    g->packed_back = g->groups * g->panels_back * TT_NR * g->taps * g->Og;
    g->winograd = !n->exact && n->constant[1] && g->groups == 1 && g->K[0] == 3 && g->K[1] == 3 &&
                  g->stride[0] == 1 && g->stride[1] == 1 && g->dilation[0] == 1 &&
                  g->dilation[1] == 1 && tt_winograd_fits(g->C, g->O, g->OH) &&
                  tt_winograd_fits(g->O, g->C, g->H);
    g->depthwise = g->groups > 1 && g->Cg == 1 && g->Og == 1;
    if (g->winograd || g->depthwise) { // without tables, but for the weight's gradient
        g->table_back = g->places = 0;
        g->table = n->constant[1] ? 0 : g->table;
        g->packed = g->winograd ? tt_winograd_nweights(g->C, g->O) : g->taps * g->C;
        g->packed_back = g->winograd ? g->packed : 0;
    }
}

/* What a node keeps: marks, zeros that padding reads, forward's table and packed weights, then the
 * same for backward. */
#define MARKS 16 // floats; [0] forward tables made, [1] forward packed, [2] [3] the same, back

static float *at_zeros(const struct tt_node *n)
{
    return n->kept + MARKS;
}

static int64_t nzeros(const struct geometry *g)
{
    int64_t most = g->C > g->O ? g->C : g->O;

    return (most + 15) / 16 * 16;
}

static float *at_table(const struct tt_node *n, const struct geometry *g)
{
    return at_zeros(n) + nzeros(g);
}

static float *at_packed(const struct tt_node *n, const struct geometry *g)
{
    return at_table(n, g) + g->table;
}

static float *at_table_back(const struct tt_node *n, const struct geometry *g)
{
    return at_packed(n, g) + g->packed;
}

/* Which pixel of the input each row of a phase is. */
static float *at_places(const struct tt_node *n, const struct geometry *g)
{
    return at_table_back(n, g) + g->table_back;
}

static float *at_packed_back(const struct tt_node *n, const struct geometry *g)
{
    return at_places(n, g) + g->places;
}

static enum tt_code check(const struct tt_node *n, struct tt_err *err)
{
    const struct attr *a = (const struct attr *)n->attr;
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
    struct geometry g;

    if (check(n, err) != TT_OK)
        return err->code;
    measure(n, &g);
    if (g.OH[0] < 1 || g.OH[1] < 1)
        return tt_fail(err, TT_ESHAPE, "the kernel %lldx%lld is larger than the padded input",
                       (long long)g.K[0], (long long)g.K[1]);
    if (g.taps > 4096 / TT_MAX_MR)
        return tt_fail(err, TT_EUNSUPPORTED, "a kernel of %lldx%lld, want at most %d taps",
                       (long long)g.K[0], (long long)g.K[1], 4096 / TT_MAX_MR);
    n->out->ndim = n->in[0]->ndim;
    n->out->dim[0] = n->in[0]->dim[0];
    n->out->dim[1] = g.O;
    for (int i = 2; i < n->out->ndim; i++)
        n->out->dim[i] = g.OH[i - n->out->ndim + 2];
    n->nkept = MARKS + nzeros(&g) + g.table + g.packed;
    n->nkept_back = g.table_back + g.places + g.packed_back;
    n->nscratch = 0;
    if (!n->constant[1]) // for the weight's gradient: one image's columns
        n->nscratch = g.OH[0] * g.OH[1] * g.taps * g.Cg + g.taps * g.Cg * g.Og;
    if (g.winograd && !n->nscratch) // once: for as many threads as there are when it is compiled
        n->nscratch = omp_get_max_threads() * tt_winograd_nscratch(g.C, g.O);
    return TT_OK;
}

/* ---- forward ------------------------------------------------------------------------------- */

static void make_table(const struct geometry *g, int32_t *table)
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
static void pack(const struct geometry *g, const float *w, float *to)
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

/* back: the gradient to the input instead */
static void run_winograd(struct tt_node *n, const struct geometry *g, bool back,
                         const struct tt_finish *finish)
{
    int64_t share = tt_winograd_nscratch(g->C, g->O);
    int threads = omp_get_max_threads();
    float *weights = back ? at_packed_back(n, g) : at_packed(n, g), *done = n->kept + 2 * back + 1;
    struct tt_winograd w = {.images = n->in[0]->dim[0],
                            .C = back ? g->O : g->C,
                            .O = back ? g->C : g->O,
                            .x = back ? n->out->g : n->in[0]->x,
                            .y = back ? n->in[0]->g : n->out->x,
                            .weights = g->packed ? weights : NULL,
                            .kernel = n->in[1]->x,
                            .turned = back,
                            .finish = *finish};

    for (int i = 0; i < 2; i++) {
        w.H[i] = back ? g->OH[i] : g->H[i];
        w.OH[i] = back ? g->H[i] : g->OH[i];
        w.pad[i] = back ? 2 - g->pad[i] : g->pad[i];
    }
    if (g->packed && !*done)
        tt_winograd_weights(weights, n->in[1]->x, g->C, g->O, back);
    *done = 1;
    if (threads > n->nscratch / share)
        threads = (int)(n->nscratch / share);
    tt_winograd_run(&w, n->scratch, threads);
}

/* back: after a forward run, with its weights */
static void run_depthwise(struct tt_node *n, const struct geometry *g, bool back,
                          const struct tt_finish *finish)
{
    if (!back && (!n->kept[1] || !n->constant[1]))
        tt_depthwise_weights(at_packed(n, g), n->in[1]->x, g->C, g->taps);
    n->kept[1] = 1;
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
            .weights = at_packed(n, g),
            .x = back ? n->out->g : n->in[0]->x,
            .y = back ? n->in[0]->g : n->out->x,
            .finish = *finish,
        },
        back);
}

void tt_conv_forward(struct tt_node *n, const struct tt_finish *finish)
{
    struct geometry g;
    int32_t *table;

    measure(n, &g);
    table = (int32_t *)(void *)at_table(n, &g);
    if (!n->kept[0] && g.table)
        make_table(&g, table);
    n->kept[0] = 1;
    if (g.winograd || g.depthwise) {
        (g.winograd ? run_winograd : run_depthwise)(n, &g, false, finish);
        return;
    }
    if (!n->kept[1] || !n->constant[1])
        pack(&g, n->in[1]->x, at_packed(n, &g));
    n->kept[1] = 1;
    for (int64_t i = 0; i < g.groups; i++) {
        struct tt_finish f = *finish;

        f.scale = f.scale ? f.scale + i * g.Og : NULL;
        f.shift = f.shift ? f.shift + i * g.Og : NULL;
        tt_taps_run(&(struct tt_taps){
            .images = n->in[0]->dim[0],
            .pixels = g.OH[0] * g.OH[1],
            .taps = (int)g.taps,
            .run = g.groups == 1 && g.dilation[1] == 1 ? (int)g.K[1] : 1,
            .K = g.Cg,
            .N = g.Og,
            .offset = table,
            .x = n->in[0]->x + i * g.Cg,
            .zeros = at_zeros(n),
            .x_image = g.H[0] * g.H[1] * g.C,
            .x_pixel = g.C,
            .y = n->out->x + i * g.Og,
            .y_image = g.OH[0] * g.OH[1] * g.O,
            .y_pixel = g.O,
            .packed = at_packed(n, &g) + i * g.panels * TT_NR * g.taps * g.Cg,
            .finish = f,
        });
    }
}

static void forward(struct tt_node *n)
{
    tt_conv_forward(n, &(struct tt_finish){.shift = n->in[2] ? n->in[2]->x : NULL});
}

/* ---- backward ------------------------------------------------------------------------------ */

/* The taps of the kernel's dimension i through which input rows of that phase are seen. */
static int taps_of_phase(const struct geometry *g, int i, int64_t phase, int64_t taps[])
{
    int n = 0;

    for (int64_t k = g->K[i] - 1; k >= 0; k--) // so that pixels rise
        if ((phase + g->pad[i] - k * g->dilation[i]) % g->stride[i] == 0)
            taps[n++] = k;
    return n;
}

/* One phase's table [pixels][taps] and places [pixels]. */
static void make_table_back(const struct geometry *g, const int64_t phase[2], const int64_t *th,
                            int nh, const int64_t *tw, int nw, int32_t *table, int32_t *to)
{
    for (int64_t h = phase[0]; h < g->H[0]; h += g->stride[0])
        for (int64_t w = phase[1]; w < g->H[1]; w += g->stride[1]) {
            *to++ = (int32_t)(h * g->H[1] + w);
            for (int i = 0; i < nh; i++)
                for (int j = 0; j < nw; j++) {
                    int64_t oh = (h + g->pad[0] - th[i] * g->dilation[0]) / g->stride[0];
                    int64_t ow = (w + g->pad[1] - tw[j] * g->dilation[1]) / g->stride[1];
                    bool inside = h + g->pad[0] >= th[i] * g->dilation[0] &&
                                  w + g->pad[1] >= tw[j] * g->dilation[1] && oh < g->OH[0] &&
                                  ow < g->OH[1];

                    *table++ = inside ? (int32_t)(oh * g->OH[1] + ow) : -1;
                }
        }
}

/* w [O, Cg, taps] into one phase's panels [group][panel of Cg][tap][Og][TT_NR]. */
static void pack_back(const struct geometry *g, const float *w, const int64_t *th, int nh,
                      const int64_t *tw, int nw, float *to)
{
    for (int64_t i = 0; i < g->groups * g->panels_back; i++) {
        int64_t group = i / g->panels_back, c0 = i % g->panels_back * TT_NR;

        for (int t = 0; t < nh * nw; t++) {
            int64_t tap = th[t / nw] * g->K[1] + tw[t % nw];

            for (int64_t o = group * g->Og; o < (group + 1) * g->Og; o++)
                for (int64_t j = 0; j < TT_NR; j++)
                    *to++ = c0 + j < g->Cg ? w[(o * g->Cg + c0 + j) * g->taps + tap] : 0;
        }
    }
}

/* A phase without taps gets no gradient: its pixels are never looked at. */
static void clear_phase(const struct tt_node *n, const struct geometry *g, const int64_t phase[2])
{
    if (n->add[0])
        return;
    for (int64_t i = 0; i < n->in[0]->dim[0]; i++)
        for (int64_t h = phase[0]; h < g->H[0]; h += g->stride[0])
            for (int64_t w = phase[1]; w < g->H[1]; w += g->stride[1])
                memset(n->in[0]->g + ((i * g->H[0] + h) * g->H[1] + w) * g->C, 0,
                       sizeof(float) * (size_t)g->C);
}

static void run_phase(struct tt_node *n, const struct geometry *g, const int64_t phase[2],
                      int64_t *pixels_done, int64_t *table_done, int64_t *packed_done)
{
    int64_t th[4096 / TT_MAX_MR], tw[4096 / TT_MAX_MR], pixels;
    int nh = taps_of_phase(g, 0, phase[0], th), nw = taps_of_phase(g, 1, phase[1], tw);
    int32_t *to = (int32_t *)(void *)at_places(n, g) + *pixels_done;
    int32_t *table = (int32_t *)(void *)at_table_back(n, g) + *table_done;
    float *packed = at_packed_back(n, g) + *packed_done;

    pixels = (g->H[0] - phase[0] + g->stride[0] - 1) / g->stride[0] *
             ((g->H[1] - phase[1] + g->stride[1] - 1) / g->stride[1]);
    if (phase[0] >= g->H[0] || phase[1] >= g->H[1])
        return;
    if (!nh || !nw) {
        clear_phase(n, g, phase);
        return;
    }
    if (!n->kept[2])
        make_table_back(g, phase, th, nh, tw, nw, table, to);
    if (!n->kept[3] || !n->constant[1])
        pack_back(g, n->in[1]->x, th, nh, tw, nw, packed);
    for (int64_t i = 0; i < g->groups; i++)
        tt_taps_run(&(struct tt_taps){
            .images = n->in[0]->dim[0],
            .pixels = pixels,
            .taps = nh * nw,
            .run = g->groups == 1 && g->dilation[1] == 1 ? nw : 1,
            .K = g->Og,
            .N = g->Cg,
            .offset = table,
            .to = to,
            .x = n->out->g + i * g->Og,
            .zeros = at_zeros(n),
            .x_image = g->OH[0] * g->OH[1] * g->O,
            .x_pixel = g->O,
            .y = n->in[0]->g + i * g->Cg,
            .y_image = g->H[0] * g->H[1] * g->C,
            .y_pixel = g->C,
            .packed = packed + i * g->panels_back * TT_NR * nh * nw * g->Og,
            .finish = {.add = n->add[0]},
        });
    *pixels_done += pixels;
    *table_done += pixels * nh * nw;
    *packed_done += g->groups * g->panels_back * TT_NR * nh * nw * g->Og;
}

static void backward_input(struct tt_node *n, const struct geometry *g)
{
    int64_t phase[2], pixels = 0, table = 0, packed = 0;

    if (g->winograd || g->depthwise) {
        (g->winograd ? run_winograd : run_depthwise)(n, g, true,
                                                     &(struct tt_finish){.add = n->add[0]});
        return;
    }
    for (phase[0] = 0; phase[0] < g->stride[0]; phase[0]++)
        for (phase[1] = 0; phase[1] < g->stride[1]; phase[1]++)
            run_phase(n, g, phase, &pixels, &table, &packed);
    n->kept[2] = n->kept[3] = 1;
}

/* One image's columns of one group: col [pixels][tap][Cg]. */
static void gather(const struct geometry *g, const int32_t *table, const float *x, float *col)
{
    for (int64_t i = 0; i < g->table; i++, col += g->Cg) {
        if (table[i] < 0)
            memset(col, 0, sizeof *col * (size_t)g->Cg);
        else
            memcpy(col, x + table[i] * g->C, sizeof *col * (size_t)g->Cg);
    }
}

/* dw [O, Cg, taps] (+)= sum over images of col' dy */
static void backward_weight(struct tt_node *n, const struct geometry *g)
{
    int64_t pixels = g->OH[0] * g->OH[1], rows = g->taps * g->Cg;
    float *col = n->scratch, *sum = n->scratch + pixels * rows, *dw = n->in[1]->g;

    for (int64_t i = 0; i < g->groups; i++) {
        for (int64_t b = 0; b < n->in[0]->dim[0]; b++) {
            gather(g, (const int32_t *)(const void *)at_table(n, g),
                   n->in[0]->x + b * g->H[0] * g->H[1] * g->C + i * g->Cg, col);
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
static void backward_bias(struct tt_node *n, const struct geometry *g)
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
    struct geometry g;

    measure(n, &g);
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
    .attr_size = sizeof(struct attr),
    .layout = TT_WANTS_LAST,
    .read = read_attr,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
    .flops = flops,
};
