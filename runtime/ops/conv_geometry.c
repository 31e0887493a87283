// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/conv_geometry.h"

#include "runtime/kernels.h"
#include "runtime/ops/patterns.h"
#include "runtime/ops/winograd.h"

#define MARKS 16 // floats

void tt_conv_measure(const struct tt_node *n, struct tt_conv *g)
{
    const struct tt_conv_attr *a = (const struct tt_conv_attr *)n->attr;
    const struct tt_tensor *x = n->in[0], *w = n->in[1];
    int space = x->ndim - 2;
    struct tt_window window = tt_window_of(&a->window, space);

    *g = (struct tt_conv){.C = x->dim[1], .O = w->dim[0], .groups = a->groups};
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
    g->winograd = !n->exact && n->constant[1] && g->K[0] == 3 && g->K[1] == 3 &&
                  g->stride[0] == 1 && g->stride[1] == 1 && g->dilation[0] == 1 &&
                  g->dilation[1] == 1 && tt_winograd_fits(g->Cg, g->Og, g->OH) &&
                  tt_winograd_fits(g->Og, g->Cg, g->H);
    g->dense = g->groups == 1 && g->taps == 1 && g->OH[0] == g->H[0] && g->OH[1] == g->H[1];
    g->depthwise = g->groups > 1 && g->Cg == 1 && g->Og == 1;
    if (g->winograd || g->depthwise) { // without tables, but for the weight's gradient
        g->table_back = g->places = 0;
        g->table = n->constant[1] ? 0 : g->table;
        g->packed = g->taps * g->C;
        g->packed_back = 0;
    }
    if (g->winograd) {
        g->transformed = g->groups * tt_winograd_nweights(g->Cg, g->Og);
        g->packed = n->way & TT_PASSING ? 0 : g->transformed;
        g->packed_back = n->way & TT_PASSING_BACK ? 0 : g->transformed;
    }
}

const void *tt_conv_padded(const void *attr, int n, const int64_t *before, const int64_t *after,
                           struct tt_arena *arena)
{
    const struct tt_conv_attr *from = (const struct tt_conv_attr *)attr;
    struct tt_conv_attr *to;

    if (from->window.auto_pad != TT_PAD_GIVEN)
        return NULL;
    to = TT_NEW(arena, 1, struct tt_conv_attr);
    if (!to)
        return NULL;
    *to = *from;
    to->window = tt_window_of(&from->window, n);
    for (int i = 0; i < n; i++) {
        to->window.pad[i] += before[i];
        to->window.pad[n + i] += after[i];
    }
    return to;
}

/* Winograd's transformed weights are four times the kernel, for each direction.  They are kept
 * where few tiles share them, or where they are small.  Where many do, at the most rows, they are
 * made anew for each run, in scratch, which all nodes share: of ResNet-20 at 16 rows that saves a
 * fifth of the memory, and costs a twentieth of a step's time. */
#define KEPT_TILES      256
#define KEPT_TILES_BACK 64
#define KEPT_KERNELS    1024 // fewer than that are small

unsigned tt_conv_choose_way(const struct tt_node *n, const struct tt_conv *g)
{
    int64_t images = n->in[0]->dim[0];
    int64_t tiles = images * tt_winograd_tiles(g->OH), back = images * tt_winograd_tiles(g->H);

    if (!g->winograd || g->C * g->Og < KEPT_KERNELS)
        return 0;
    return (tiles >= KEPT_TILES ? TT_PASSING : 0u) |
           (back >= KEPT_TILES_BACK ? TT_PASSING_BACK : 0u);
}

static int64_t nzeros(const struct tt_conv *g)
{
    int64_t most = g->C > g->O ? g->C : g->O;

    return (most + 15) / 16 * 16;
}

int64_t tt_conv_nkept(const struct tt_conv *g)
{
    return MARKS + nzeros(g) + g->table + g->packed;
}

struct tt_conv_kept tt_conv_kept(const struct tt_node *n, const struct tt_conv *g)
{
    float *zeros = n->kept + MARKS, *table = zeros + nzeros(g), *packed = table + g->table;
    float *table_back = packed + g->packed, *places = table_back + g->table_back;

    return (struct tt_conv_kept){
        .marks = n->kept,
        .zeros = zeros,
        .table = (int32_t *)(void *)table,
        .packed = packed,
        .table_back = (int32_t *)(void *)table_back,
        .places = (int32_t *)(void *)places,
        .packed_back = places + g->places,
    };
}
