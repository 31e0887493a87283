// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/taps.h"

#include <stddef.h>

#define POINTERS  4096 // of one group of tiles, on the stack
#define MAX_TILES 64   // in a group: they share each panel while it is in the cache
#define LINE      16   // floats of a cache line
#define DEEP      64 // floats of a pixel: shorter ones lie so close that the processor foresees them
#define LARGE     131072 // floats that the second-level cache does not hold beside the rest
#define PATCHES   8192   // floats of pixels at an edge, beside their padding; on the stack

/* Runs of taps as the product has them: those that lie together are one of more depth. */
struct runs {
    const struct tt_taps *p;
    const struct tt_kernels *k;
    int n, taps;   // runs of so many taps
    int64_t depth; // of a run
    int64_t rows;  // of a group
};

/* A run that is partly in padding, put together at `to`. */
static const float *patch(const struct tt_taps *p, const float *x, const int32_t *offset, int taps,
                          float *to)
{
    for (int t = 0; t < taps; t++)
        for (int64_t i = 0; i < p->K; i++)
            to[t * p->K + i] = offset[t] < 0 ? 0 : x[offset[t] * p->x_pixel + i];
    return to;
}

/* Pointers to the runs of pixel: from[i * mr].  patches: where to put one together; the end of
 * those that were. */
static float *point(const struct runs *s, const float *x, int64_t pixel, const float **from,
                    float *patches)
{
    const struct tt_taps *p = s->p;
    const int32_t *offset = p->offset + pixel * p->taps;
    int mr = s->k->mr;

    if (s->taps == 1) {
        for (int t = 0; t < s->n; t++)
            from[t * mr] = offset[t] < 0 ? p->zeros : x + offset[t] * p->x_pixel;
        return patches;
    }
    for (int t = 0; t < s->n; t++, offset += s->taps) {
        if (offset[0] >= 0 && offset[s->taps - 1] >= 0) {
            from[t * mr] = x + offset[0] * p->x_pixel;
            continue;
        }
        from[t * mr] = patch(p, x, offset, s->taps, patches);
        patches += s->depth;
    }
    return patches;
}

/* The rows that this thread takes next, which lie behind these: on their way to the second-level
 * cache while tiles are made, so many lines for each. */
struct ahead {
    const float *x, *end;
    int64_t each;
};

static struct ahead look_ahead(const struct runs *s, int64_t row, int64_t count)
{
    const struct tt_taps *p = s->p;
    int64_t rows = p->images * p->pixels - row - count, tiles;
    struct ahead a = {0};

    if (!p->dense || p->K < DEEP || p->images * p->x_image < LARGE || rows <= 0)
        return a;
    rows = rows < count ? rows : count;
    tiles = (count + s->k->mr - 1) / s->k->mr * ((p->N + TT_NR - 1) / TT_NR);
    a.x = p->x + (row + count) * p->x_pixel;
    a.end = a.x + rows * p->x_pixel;
    a.each = (rows * p->x_pixel / LINE + tiles - 1) / tiles;
    return a;
}

static void fetch(struct ahead *a)
{
    for (int64_t i = 0; i < a->each && a->x < a->end; i++, a->x += LINE)
        __builtin_prefetch(a->x, 0, 2);
}

/* Rows [row, row + count) of the product; count fits the pointers. */
static void run_tiles(const struct runs *s, int64_t row, int64_t count)
{
    struct ahead next = look_ahead(s, row, count);
    const struct tt_taps *p = s->p;
    const float *from[POINTERS];
    float *to[MAX_TILES * TT_MAX_MR], *c[TT_MAX_MR], patches[PATCHES], *free = patches;
    int mr = s->k->mr;
    int64_t tiles = (count + mr - 1) / mr, image = row / p->pixels;
    int64_t pixel = row - image * p->pixels, row_runs = (int64_t)s->n * mr;
    bool plain = !p->finish.scale && !p->finish.shift && !p->finish.add && !p->finish.clamp;

    for (int64_t i = 0; i < tiles; i++)
        for (int r = 0; r < mr; r++) {
            const float **f = from + i * row_runs + r;

            if (i * mr + r >= count) { // the row before stands in for what is missing
                to[i * mr + r] = to[i * mr + r - 1];
                for (int t = 0; t < s->n; t++)
                    f[t * mr] = f[t * mr - 1];
                continue;
            }
            to[i * mr + r] =
                p->y + image * p->y_image + (p->to ? p->to[pixel] : pixel) * p->y_pixel;
            free = point(s, p->x + image * p->x_image, pixel, f, free);
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
            int64_t left = count - i * mr;

            fetch(&next);
            for (int r = 0; r < mr; r++)
                c[r] = to[i * mr + r] + j;
            s->k->tile(c, left < mr ? (int)left : mr, nr, from + i * row_runs, s->n, s->depth, b,
                       plain ? NULL : &f);
        }
    }
}

void tt_taps_run(const struct tt_taps *p)
{
    struct runs s = {.p = p, .k = tt_kernels(), .n = p->taps, .taps = 1, .depth = p->K};
    int64_t rows = p->images * p->pixels, most;

    if (p->run > 1 && 4 * s.k->mr * p->taps * p->K <= PATCHES) { // the group stays worth it
        s.n = p->taps / p->run;
        s.taps = p->run;
        s.depth = p->run * p->K;
    }
    s.rows = POINTERS / (s.n * s.k->mr) * s.k->mr;
    most = s.taps > 1 ? PATCHES / (p->taps * p->K) / s.k->mr * s.k->mr : s.rows;
    s.rows = s.rows < most ? s.rows : most;
    most = (int64_t)MAX_TILES * s.k->mr;
    s.rows = s.rows < most ? s.rows : most;
#pragma omp parallel for schedule(static) if (rows * p->taps * p->K * p->N > 100000)
    for (int64_t row = 0; row < rows; row += s.rows)
        run_tiles(&s, row, rows - row < s.rows ? rows - row : s.rows);
}
