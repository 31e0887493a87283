// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "runtime/ops/conv_geometry.h"
#include "runtime/ops/taps.h"

/* The taps of the kernel's dimension i through which input rows of that phase are seen. */
static int taps_of_phase(const struct tt_conv *g, int i, int64_t phase, int64_t taps[])
{
    int n = 0;

    for (int64_t k = g->K[i] - 1; k >= 0; k--) // so that pixels rise
        if ((phase + g->pad[i] - k * g->dilation[i]) % g->stride[i] == 0)
            taps[n++] = k;
    return n;
}

/* One phase's table [pixels][taps] and places [pixels]. */
static void make_table_back(const struct tt_conv *g, const int64_t phase[2], const int64_t *th,
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
static void pack_back(const struct tt_conv *g, const float *w, const int64_t *th, int nh,
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
static void clear_phase(const struct tt_node *n, const struct tt_conv *g, const int64_t phase[2])
{
    if (n->add[0])
        return;
    for (int64_t i = 0; i < n->in[0]->dim[0]; i++)
        for (int64_t h = phase[0]; h < g->H[0]; h += g->stride[0])
            for (int64_t w = phase[1]; w < g->H[1]; w += g->stride[1])
                memset(n->in[0]->g + ((i * g->H[0] + h) * g->H[1] + w) * g->C, 0,
                       sizeof(float) * (size_t)g->C);
}

static void run_phase(struct tt_node *n, const struct tt_conv *g, const int64_t phase[2],
                      int64_t *pixels_done, int64_t *table_done, int64_t *packed_done)
{
    int64_t th[4096 / TT_MAX_MR], tw[4096 / TT_MAX_MR], pixels;
    int nh = taps_of_phase(g, 0, phase[0], th), nw = taps_of_phase(g, 1, phase[1], tw);
    const struct tt_conv_kept kept = tt_conv_kept(n, g);
    int32_t *to = kept.places + *pixels_done, *table = kept.table_back + *table_done;
    float *packed = kept.packed_back + *packed_done;

    pixels = (g->H[0] - phase[0] + g->stride[0] - 1) / g->stride[0] *
             ((g->H[1] - phase[1] + g->stride[1] - 1) / g->stride[1]);
    if (phase[0] >= g->H[0] || phase[1] >= g->H[1])
        return;
    if (!nh || !nw) {
        clear_phase(n, g, phase);
        return;
    }
    if (!kept.marks[2])
        make_table_back(g, phase, th, nh, tw, nw, table, to);
    if (!kept.marks[3] || !n->constant[1])
        pack_back(g, n->in[1]->x, th, nh, tw, nw, packed);
    for (int64_t i = 0; i < g->groups; i++)
        tt_taps_run(&(struct tt_taps){
            .images = n->in[0]->dim[0],
            .pixels = pixels,
            .taps = nh * nw,
            .run = g->groups == 1 && g->dilation[1] == 1 ? nw : 1,
            .dense = g->dense,
            .K = g->Og,
            .N = g->Cg,
            .offset = table,
            .to = to,
            .x = n->out->g + i * g->Og,
            .zeros = kept.zeros,
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

void tt_conv_backward_phases(struct tt_node *n, const struct tt_conv *g)
{
    const struct tt_conv_kept kept = tt_conv_kept(n, g);
    int64_t phase[2], pixels = 0, table = 0, packed = 0;

    for (phase[0] = 0; phase[0] < g->stride[0]; phase[0]++)
        for (phase[1] = 0; phase[1] < g->stride[1]; phase[1]++)
            run_phase(n, g, phase, &pixels, &table, &packed);
    kept.marks[2] = kept.marks[3] = 1;
}
