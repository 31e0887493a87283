// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/winograd.h"

#include <stddef.h>

#define POINTS     36    // of a transformed tile
#define NEAR_TILES 24    // of a block, while the weights are read from a near cache
#define FAR_TILES  72    // when they are not: more tiles share each read
#define FAR        40000 // C O from which on they are not
#define BETWEEN    16 // floats between points, so that they do not all meet in one set of a cache

int64_t tt_winograd_tiles(const int64_t OH[2])
{
    return ((OH[0] + 3) / 4) * ((OH[1] + 3) / 4);
}

bool tt_winograd_fits(int64_t C, int64_t O, const int64_t OH[2])
{
    return C % TT_NR == 0 && O % TT_NR == 0 &&
           2 * POINTS * tt_winograd_tiles(OH) <= 9 * OH[0] * OH[1];
}

/* Tiles of a block, at most: the same on every processor, so that scratch is. */
static int64_t block_tiles(int64_t C, int64_t O)
{
    return C * O < FAR ? NEAR_TILES : FAR_TILES;
}

/* Floats between two points of the weights: without a gap all 36 lines that a kernel's transform
 * writes would meet in one set of the first cache. */
static int64_t weights_step(int64_t C, int64_t O)
{
    return C * O + BETWEEN;
}

int64_t tt_winograd_nweights(int64_t C, int64_t O)
{
    return C * O < FAR ? POINTS * weights_step(C, O) : 0;
}

/* Where in a thread's scratch it has a panel of weights, when they are not there already. */
static int64_t panel_offset(int64_t C, int64_t O)
{
    return POINTS * (block_tiles(C, O) * (C + O) + 2 * BETWEEN);
}

int64_t tt_winograd_nscratch(int64_t C, int64_t O)
{
    int64_t panel = POINTS * (TT_NR * (C > O ? C : O) + BETWEEN);

    return panel_offset(C, O) + (tt_winograd_nweights(C, O) ? 0 : panel);
}

/* ---- weights --------------------------------------------------------------------------------- */

/* One panel, its points step apart. */
static void transform_weights(float *to, int64_t step, const float *w, int64_t K, int64_t N,
                              int64_t panel, bool turned)
{
    int64_t k_step = 9 * (turned ? N : 1), n_step = 9 * (turned ? 1 : K);

    tt_kernels()->winograd_weights(to, step, w + panel * TT_NR * n_step, K, k_step, n_step, turned);
}

/* [point][panel of the result's channels][channel][TT_NR] */
void tt_winograd_weights(float *to, const float *w, int64_t C, int64_t O, bool turned)
{
    int64_t K = turned ? O : C, N = turned ? C : O;

#pragma omp parallel for schedule(static) if (K * N > 2048)
    for (int64_t p = 0; p < N / TT_NR; p++)
        transform_weights(to + p * K * TT_NR, weights_step(K, N), w, K, N, p, turned);
}

/* ---- tiles ----------------------------------------------------------------------------------- */

struct work {
    const struct tt_winograd *w;
    const struct tt_kernels *k;
    int64_t rows, cols, tiles; // of tiles: down an image, along it, in all
};

/* A run of tiles: neighbours in a row of an image. */
struct run {
    int64_t image, h, w; // the first pixel of the result
    int tiles;
};

/* The run that begins with that tile, of which tiles are left. */
static struct run find_run(const struct work *s, int64_t tile, int64_t left)
{
    int64_t in_image = tile % (s->rows * s->cols), col = in_image % s->cols;
    struct run r = {.image = tile / (s->rows * s->cols), .h = in_image / s->cols * 4, .w = col * 4};

    if (left > s->cols - col)
        left = s->cols - col;
    r.tiles = left < TT_WINO_RUN ? (int)left : TT_WINO_RUN;
    return r;
}

/* v [36][step]: tiles [first, end), C floats each, of which channels [c, c + n) are written */
static void transform_in(const struct work *s, int64_t first, int64_t end, float *v, int64_t step,
                         int64_t c, int64_t n)
{
    const struct tt_winograd *w = s->w;

    for (struct run r; first < end; first += r.tiles, v += r.tiles * w->C) {
        struct tt_winograd_band b;
        int64_t y, x;

        r = find_run(s, first, end - first);
        y = r.h - w->pad[0];
        x = r.w - w->pad[1];
        b = (struct tt_winograd_band){.x = w->x + c +
                                           ((r.image * w->H[0] + y) * w->H[1] + x) * w->x_pixel,
                                      .row = w->H[1] * w->x_pixel,
                                      .pixel = w->x_pixel,
                                      .top = y < 0 ? (int)-y : 0,
                                      .bottom = w->H[0] - y < 6 ? (int)(w->H[0] - y) : 6,
                                      .first = -x,
                                      .end = w->H[1] - x};
        s->k->winograd_in(v + c, step, w->C, &b, r.tiles, n);
    }
}

/* m [36][step]: tiles [first, end), O floats each, of which channels [o, o + n) are read */
static void transform_out(const struct work *s, int64_t first, int64_t end, const float *m,
                          int64_t step, int64_t o, int64_t n)
{
    const struct tt_winograd *w = s->w;

    for (struct run r; first < end; first += r.tiles, m += r.tiles * w->O) {
        struct tt_finish f = w->finish;
        int64_t rows, cols;

        f.scale = f.scale ? f.scale + o : NULL;
        f.shift = f.shift ? f.shift + o : NULL;
        r = find_run(s, first, end - first);
        rows = w->OH[0] - r.h;
        cols = w->OH[1] - r.w;
        s->k->winograd_out(w->y + ((r.image * w->OH[0] + r.h) * w->OH[1] + r.w) * w->y_pixel + o,
                           w->OH[1] * w->y_pixel, w->y_pixel, rows < 4 ? (int)rows : 4,
                           cols < 4 * r.tiles ? (int)cols : 4 * r.tiles, m + o, step, w->O, n, &f);
    }
}

/* The 36 products: m [36][out][tiles, O] = v [36][in][tiles, C] u [36][C, O], panels [first, end)
 */
static void multiply(const struct work *s, const float *v, int64_t in, float *m, int64_t out,
                     int64_t tiles, int64_t first, int64_t end)
{
    const struct tt_winograd *w = s->w;
    int64_t step = weights_step(w->C, w->O);

    for (int64_t i = 0; i < POINTS; i++)
        for (int64_t p = first; p < end; p++)
            s->k->winograd_product(m + i * out + p * TT_NR, w->O, v + i * in,
                                   w->weights + i * step + p * TT_NR * w->C, tiles, w->C);
}

/* The same of weights that are transformed only now, into u. */
static void transform_and_multiply(const struct work *s, const float *v, int64_t in, float *m,
                                   int64_t out, int64_t tiles, int64_t first, int64_t end, float *u)
{
    const struct tt_winograd *w = s->w;
    int64_t step = TT_NR * w->C + BETWEEN;

    for (int64_t p = first; p < end; p++) {
        transform_weights(u, step, w->kernel, w->C, w->O, p, w->turned);
        for (int64_t i = 0; i < POINTS; i++)
            s->k->winograd_product(m + i * out + p * TT_NR, w->O, v + i * in, u + i * step, tiles,
                                   w->C);
    }
}

static void make_products(const struct work *s, const float *v, int64_t in, float *m, int64_t out,
                          int64_t tiles, int64_t first, int64_t end, float *scratch)
{
    if (s->w->weights)
        multiply(s, v, in, m, out, tiles, first, end);
    else
        transform_and_multiply(s, v, in, m, out, tiles, first, end,
                               scratch + panel_offset(s->w->C, s->w->O));
}

/* Few tiles: threads share the result's channels.  Each transforms all of the input, which costs
 * less than to wait for another's part and to read that from the other's cache. */
static void run_together(const struct work *s, float *scratch, int threads)
{
    const struct tt_winograd *w = s->w;
    int64_t in = s->tiles * w->C + BETWEEN, out = s->tiles * w->O + BETWEEN;

#pragma omp parallel for schedule(static) num_threads(threads)
    for (int t = 0; t < threads; t++) {
        float *v = scratch + t * tt_winograd_nscratch(w->C, w->O), *m = v + POINTS * in;
        int64_t o = w->O / TT_NR * t / threads, end = w->O / TT_NR * (t + 1) / threads;

        transform_in(s, 0, s->tiles, v, in, 0, w->C);
        make_products(s, v, in, m, out, s->tiles, o, end, v);
        transform_out(s, 0, s->tiles, m, out, o * TT_NR, (end - o) * TT_NR);
    }
}

static void run_block(const struct work *s, int64_t first, int64_t end, float *v)
{
    const struct tt_winograd *w = s->w;
    int64_t in = (end - first) * w->C + BETWEEN, out = (end - first) * w->O + BETWEEN;
    float *m = v + POINTS * in;

    transform_in(s, first, end, v, in, 0, w->C);
    make_products(s, v, in, m, out, end - first, 0, w->O / TT_NR, v);
    transform_out(s, first, end, m, out, 0, w->O);
}

/* One thread's tiles, [first, end) groups of as many as the product takes at a time. */
static void run_share(const struct work *s, int64_t first, int64_t end, float *scratch)
{
    int64_t most = block_tiles(s->w->C, s->w->O) / s->k->mr;
    int64_t blocks = (end - first + most - 1) / most;

    for (int64_t i = 0; i < blocks; i++) {
        int64_t from = first + (end - first) * i / blocks;
        int64_t to = (first + (end - first) * (i + 1) / blocks) * s->k->mr;

        run_block(s, from * s->k->mr, to < s->tiles ? to : s->tiles, scratch);
    }
}

void tt_winograd_run(const struct tt_winograd *w, float *scratch, int threads)
{
    struct work s = {
        .w = w, .k = tt_kernels(), .rows = (w->OH[0] + 3) / 4, .cols = (w->OH[1] + 3) / 4};
    int64_t share = tt_winograd_nscratch(w->C, w->O), panels = w->O / TT_NR, groups;

    s.tiles = w->images * s.rows * s.cols;
    groups = (s.tiles + s.k->mr - 1) / s.k->mr;
    /* Which leaves less to the thread that has the most? */
    if (threads > 1 && s.tiles <= block_tiles(w->C, w->O) &&
        (panels + threads - 1) / threads * groups < (groups + threads - 1) / threads * panels) {
        run_together(&s, scratch, threads);
        return;
    }
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++)
        run_share(&s, groups * t / threads, groups * (t + 1) / threads, scratch + t * share);
}
