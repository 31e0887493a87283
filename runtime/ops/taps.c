// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/taps.h"

#include <stddef.h>

#define POINTERS  4096 // of one group of tiles, on the stack
#define MAX_TILES 64   // in a group: they share each panel while it is in the cache

/* Rows [row, row + count) of the product; count fits the pointers. */
static void run_tiles(const struct tt_taps *p, const struct tt_kernels *k, int64_t row,
                      int64_t count)
{
    const float *from[POINTERS];
    float *to[MAX_TILES * TT_MAX_MR], *c[TT_MAX_MR];
    int64_t tiles = (count + k->mr - 1) / k->mr, image = row / p->pixels;
    int64_t pixel = row - image * p->pixels, row_taps = (int64_t)p->taps * k->mr;

    for (int64_t i = 0; i < tiles; i++)
        for (int r = 0; r < k->mr; r++) {
            const float *x = p->x + image * p->x_image, **f = from + i * row_taps + r;
            const int32_t *offset = p->offset + pixel * p->taps;

            to[i * k->mr + r] =
                p->y + image * p->y_image + (p->to ? p->to[pixel] : pixel) * p->y_pixel;
            for (int t = 0; t < p->taps; t++)
                f[(int64_t)t * k->mr] = offset[t] < 0 ? p->zeros : x + offset[t] * p->x_pixel;
            if (i * k->mr + r + 1 >= count) // the last row stands in for what is missing
                continue;
            if (++pixel == p->pixels) {
                pixel = 0;
                image++;
            }
        }
    for (int64_t j = 0; j < p->N; j += TT_NR) {
        const float *b = p->packed + j * p->taps * p->K;
        int nr = p->N - j < TT_NR ? (int)(p->N - j) : TT_NR;
        struct tt_finish f = p->finish;

        f.scale = f.scale ? f.scale + j : NULL;
        f.shift = f.shift ? f.shift + j : NULL;

        for (int64_t i = 0; i < tiles; i++) {
            int64_t left = count - i * k->mr;

            for (int r = 0; r < k->mr; r++)
                c[r] = to[i * k->mr + r] + j;
            k->tile(c, left < k->mr ? (int)left : k->mr, nr, from + i * row_taps, p->taps, p->K, b,
                    &f);
        }
    }
}

void tt_taps_run(const struct tt_taps *p)
{
    const struct tt_kernels *k = tt_kernels();
    int64_t rows = p->images * p->pixels, tiles = POINTERS / (p->taps * k->mr);
    int64_t step;

    if (tiles > MAX_TILES)
        tiles = MAX_TILES;
    step = tiles * k->mr;
#pragma omp parallel for schedule(static) if (rows * p->taps * p->K * p->N > 100000)
    for (int64_t row = 0; row < rows; row += step)
        run_tiles(p, k, row, rows - row < step ? rows - row : step);
}
