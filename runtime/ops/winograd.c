// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/winograd.h"

#include <stddef.h>

#define POINTS    36                // of a transformed tile
#define BLOCK     ((int64_t)138240) // floats of transformed tiles: what stays in a second-level cache
#define MIN_TILES 12
#define MAX_TILES 96
#define FAR_TILES 48 // where not even the fewest fit: they share each read of the weights

bool tt_winograd_fits(int64_t C, int64_t O, const int64_t OH[2])
{
    int64_t tiles = ((OH[0] + 3) / 4) * ((OH[1] + 3) / 4);

    return C % TT_NR == 0 && O % TT_NR == 0 && 2 * POINTS * tiles <= 9 * OH[0] * OH[1];
}

/* Tiles of a block: the same on every processor, so that scratch is. */
static int64_t block_tiles(int64_t C, int64_t O)
{
    int64_t tiles = BLOCK / (POINTS * (C + O));

    return tiles < MIN_TILES ? FAR_TILES : tiles > MAX_TILES ? MAX_TILES : tiles;
}

int64_t tt_winograd_nweights(int64_t C, int64_t O)
{
    return POINTS * C * O;
}

int64_t tt_winograd_nscratch(int64_t C, int64_t O)
{
    return block_tiles(C, O) * POINTS * (C + O);
}

/* ---- weights --------------------------------------------------------------------------------- */

/* One dimension of G g: three values, step apart, to six. */
static void spread(double to[6], const double *g, int step)
{
    const double a = TT_WINO_A, b = TT_WINO_B, aa = a * a, bb = b * b;
    const double na = 1 / (2 * aa * (aa - bb)), nb = 1 / (2 * bb * (bb - aa));
    double g0 = g[0], g1 = g[step], g2 = g[2 * step];

    to[0] = g0 / (aa * bb);
    to[1] = (g0 + a * g1 + aa * g2) * na;
    to[2] = (g0 - a * g1 + aa * g2) * na;
    to[3] = (g0 + b * g1 + bb * g2) * nb;
    to[4] = (g0 - b * g1 + bb * g2) * nb;
    to[5] = g2;
}

/* to[i] = (G g G')[i] for one pair of channels, i * step apart */
static void spread_kernel(float *to, int64_t step, const float *w, bool turned)
{
    double g[9], h[3][6], u[6];

    for (int i = 0; i < 9; i++)
        g[i] = w[turned ? 8 - i : i];
    for (int i = 0; i < 3; i++)
        spread(h[i], g + 3 * i, 1);
    for (int j = 0; j < 6; j++) {
        spread(u, &h[0][j], 6);
        for (int i = 0; i < 6; i++)
            to[(6 * i + j) * step] = (float)u[i];
    }
}

/* [point][panel of the result's channels][channel][TT_NR] */
void tt_winograd_weights(float *to, const float *w, int64_t C, int64_t O, bool turned)
{
    int64_t K = turned ? O : C, N = turned ? C : O;

#pragma omp parallel for schedule(static) if (K * N > 4096)
    for (int64_t i = 0; i < K * N; i++) {
        int64_t n = i / TT_NR / K * TT_NR + i % TT_NR, k = i / TT_NR % K;

        spread_kernel(to + i, K * N, w + 9 * (turned ? k * C + n : n * C + k), turned);
    }
}

/* ---- tiles ----------------------------------------------------------------------------------- */

struct work {
    const struct tt_winograd *w;
    const struct tt_kernels *k;
    int64_t rows, cols, tiles; // of tiles: down an image, along it, in all
};

/* Which image, and the tile's first pixel there. */
static int64_t locate(const struct work *s, int64_t tile, int64_t at[2])
{
    int64_t in_image = tile % (s->rows * s->cols);

    at[0] = in_image / s->cols * 4;
    at[1] = in_image % s->cols * 4;
    return tile / (s->rows * s->cols);
}

/* v [36][tiles][C]; tile is the index-th of them */
static void transform_in(const struct work *s, int64_t tile, float *v, int64_t tiles, int64_t index)
{
    const struct tt_winograd *w = s->w;
    const float *px[POINTS];
    int64_t at[2], image = locate(s, tile, at);

    for (int i = 0; i < POINTS; i++) {
        int64_t h = at[0] + i / 6 - w->pad[0], c = at[1] + i % 6 - w->pad[1];
        bool inside = h >= 0 && h < w->H[0] && c >= 0 && c < w->H[1];

        px[i] = inside ? w->x + ((image * w->H[0] + h) * w->H[1] + c) * w->C : w->zeros;
    }
    s->k->winograd_in(v + index * w->C, tiles * w->C, px, w->C);
}

/* m [36][tiles][O] */
static void transform_out(const struct work *s, int64_t tile, const float *m, int64_t tiles,
                          int64_t index)
{
    const struct tt_winograd *w = s->w;
    float *py[16];
    int64_t at[2], image = locate(s, tile, at);

    for (int i = 0; i < 16; i++) {
        int64_t h = at[0] + i / 4, c = at[1] + i % 4;

        py[i] = h < w->OH[0] && c < w->OH[1] ? w->y + ((image * w->OH[0] + h) * w->OH[1] + c) * w->O
                                             : NULL;
    }
    s->k->winograd_out(py, m + index * w->O, tiles * w->O, w->O, &w->finish);
}

/* One of the 36 products: m [tiles, O] = v [tiles, C] u [C, O] */
static void multiply(const struct work *s, int64_t point, const float *v, float *m, int64_t tiles)
{
    const struct tt_winograd *w = s->w;
    const float *u = w->weights + point * w->C * w->O;
    int mr = s->k->mr;

    v += point * tiles * w->C;
    m += point * tiles * w->O;
    for (int64_t o = 0; o < w->O; o += TT_NR)
        for (int64_t i = 0; i < tiles; i += mr) {
            const float *a[TT_MAX_MR];
            float *c[TT_MAX_MR];
            int64_t left = tiles - i;

            for (int r = 0; r < mr; r++) {
                int64_t row = i + (r < left ? r : left - 1);

                a[r] = v + row * w->C;
                c[r] = m + row * w->O + o;
            }
            s->k->tile(c, left < mr ? (int)left : mr, TT_NR, a, 1, w->C, u + o * w->C, NULL);
        }
}

/* So few tiles that they are one block: threads share its products. */
static void run_together(const struct work *s, float *v, int threads)
{
    float *m = v + POINTS * s->tiles * s->w->C;

#pragma omp parallel num_threads(threads) if (POINTS * s->tiles * s->w->C * s->w->O > 100000)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < s->tiles; i++)
            transform_in(s, i, v, s->tiles, i);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < POINTS; i++)
            multiply(s, i, v, m, s->tiles);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < s->tiles; i++)
            transform_out(s, i, m, s->tiles, i);
    }
}

static void run_block(const struct work *s, int64_t first, int64_t tiles, float *v)
{
    float *m = v + POINTS * tiles * s->w->C;

    for (int64_t i = 0; i < tiles; i++)
        transform_in(s, first + i, v, tiles, i);
    for (int64_t i = 0; i < POINTS; i++)
        multiply(s, i, v, m, tiles);
    for (int64_t i = 0; i < tiles; i++)
        transform_out(s, first + i, m, tiles, i);
}

void tt_winograd_run(const struct tt_winograd *w, float *scratch, int threads)
{
    struct work s = {
        .w = w, .k = tt_kernels(), .rows = (w->OH[0] + 3) / 4, .cols = (w->OH[1] + 3) / 4};
    int64_t block = block_tiles(w->C, w->O), blocks, share = tt_winograd_nscratch(w->C, w->O);

    s.tiles = w->images * s.rows * s.cols;
    if (s.tiles <= block) {
        run_together(&s, scratch, threads);
        return;
    }
    /* As many blocks as threads, or a multiple, and whole rows of the product's tiles. */
    blocks = (s.tiles + block * threads - 1) / (block * threads) * threads;
    block = (s.tiles + blocks - 1) / blocks;
    blocks = (s.tiles + block - 1) / block;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int t = 0; t < threads; t++)
        for (int64_t i = t * blocks / threads; i < (t + 1) * blocks / threads; i++)
            run_block(&s, i * block, s.tiles - i * block < block ? s.tiles - i * block : block,
                      scratch + t * share);
}
