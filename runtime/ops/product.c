// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/product.h"

#include <omp.h>
#include <string.h>

#include "runtime/panels.h"

/*
 * Blocks: a panel of DEPTH rows streams from the second-level cache, beside ROWS rows of the left
 * operand; these were copied there, so that they are fetched once, in order, and do not fall upon
 * each other in the first level, whose sets repeat every 4096 bytes.  GROUP panels pay for the
 * copy; less than LONG rows do not pay for so much packing, and take a FEW panels at a time.
 * bench/product.c, one core, six shapes of encoders at batch 16: 0.93 of what the tile alone
 * reaches, with 8 panels of 512 and no copy 0.89.
 */
#define DEPTH 384
#define GROUP 32
#define ROWS  96
#define FEW   8
#define LONG  512
#define LINE  16  // floats of a cache line
#define SMALL 2e6 // multiplications that are not worth a second thread
#define PACK  16  // rows that could be multiplied in the time that packing takes

static int64_t ceiling(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows and columns of the result that a thread makes. */
struct part {
    int64_t row, row_end, col, col_end;
};

/* The part of the right operand that is packed next, on its way to the second-level cache while
 * tiles are made: so many runs of floats, step apart. */
struct ahead {
    const float *b;
    int64_t runs, run, step, at;
    int64_t each; // cache lines for a tile
};

static void fetch(struct ahead *a)
{
    for (int64_t i = 0; i < a->each && a->runs > 0; i++) {
        __builtin_prefetch(a->b + a->at, 0, 2);
        a->at += LINE;
        if (a->at < a->run)
            continue;
        a->at = 0;
        a->b += a->step;
        a->runs--;
    }
}

/* Rows at..at + K, columns col..end: to be there when so many tiles are done. */
static struct ahead look_ahead(const struct tt_product *p, int64_t at, int64_t K, int64_t col,
                               int64_t end, int64_t tiles)
{
    bool turned = p->b_col != 1;
    struct ahead a = {.b = p->b + at * p->b_row + col * p->b_col,
                      .runs = turned ? end - col : K,
                      .run = turned ? K : end - col,
                      .step = turned ? p->b_col : p->b_row};

    a.each = ceiling(a.runs * ceiling(a.run, LINE), tiles);
    return a;
}

/* Rows of one block by the panels of one group, which begins at column col; depth at..at + K. */
static void run_block(const struct tt_product *p, const struct part *s, const float *packed,
                      int64_t at, int64_t K, struct ahead *next)
{
    const struct tt_panels *kernels = tt_panels();
    const float *a = p->a + s->row * p->a_row + at * p->a_col;
    int64_t a_row = p->a_row;
    bool last = at + K == p->k;
    float rows[ROWS * (DEPTH + LINE)];

    if (p->a_col == 1 && s->col_end - s->col > FEW * TT_PANEL) {
        for (int64_t i = s->row; i < s->row_end; i++, a += p->a_row)
            memcpy(rows + (i - s->row) * (K + LINE), a, (size_t)K * sizeof *rows);
        a = rows;
        a_row = K + LINE;
    }

    for (int64_t j = s->col; j < s->col_end; j += TT_PANEL, packed += TT_PANEL * K)
        for (int64_t i = s->row; i < s->row_end; i += kernels->mr) {
            const struct tt_tile t = {
                .a = a + (i - s->row) * a_row,
                .a_row = a_row,
                .a_col = p->a_col,
                .panel = packed,
                .K = K,
                .c = p->c + i * p->c_row + j,
                .c_row = p->c_row,
                .bias = last && p->bias ? p->bias + j : NULL,
                .scale = p->scale,
                .sum = at       ? p->c + i * p->c_row + j
                       : p->sum ? p->sum + i * p->c_row + j
                                : NULL,
            };

            fetch(next);
            kernels->tile(&t, (int)least(kernels->mr, s->row_end - i),
                          (int)least(TT_PANEL, s->col_end - j));
        }
}

static void run_part(const struct tt_product *p, const struct part *s)
{
    float packed[GROUP * TT_PANEL * DEPTH];
    int64_t blocks = p->k ? ceiling(p->k, DEPTH) : 1, depth = ceiling(p->k, blocks);
    int64_t group = (s->row_end - s->row < LONG ? FEW : GROUP) * TT_PANEL;

    for (int64_t at = 0; at == 0 || at < p->k; at += depth ? depth : 1) {
        int64_t K = least(depth, p->k - at);

        for (int64_t col = s->col; col < s->col_end; col += group) {
            struct part b = {.col = col, .col_end = least(col + group, s->col_end)};
            int64_t more = least(b.col_end + group, s->col_end);
            struct ahead next = look_ahead(p, at, K, b.col_end, more,
                                           ceiling(s->row_end - s->row, tt_panels()->mr) *
                                               ceiling(b.col_end - col, TT_PANEL));

            for (int64_t j = col; j < b.col_end; j += TT_PANEL)
                tt_panels()->pack(packed + (j - col) * K, p->b + at * p->b_row + j * p->b_col,
                                  p->b_col == 1 ? p->b_row : p->b_col, p->b_col != 1, K,
                                  (int)least(TT_PANEL, b.col_end - j));
            for (b.row = s->row; b.row < s->row_end; b.row = b.row_end) {
                b.row_end = least(b.row + ROWS, s->row_end);
                run_block(p, &b, packed, at, K, &next);
            }
        }
    }
}

/* Into how many shares of rows that many threads divide the product; the rest divides columns. */
static int share_rows(const struct tt_product *p, int threads)
{
    int64_t tiles = ceiling(p->m, tt_panels()->mr), panels = ceiling(p->n, TT_PANEL), best = 0;
    int ret = 1;

    for (int rows = 1; rows <= threads; rows++) {
        int64_t cost;

        if (threads % rows)
            continue;
        cost = (ceiling(tiles, rows) * tt_panels()->mr + PACK) * ceiling(panels, threads / rows);
        if (rows > 1 && cost >= best)
            continue;
        best = cost;
        ret = rows;
    }
    return ret;
}

/* Share i of n of the units that a length has. */
static void share(int64_t length, int64_t unit, int64_t i, int64_t n, int64_t *begin, int64_t *end)
{
    int64_t units = ceiling(length, unit);

    *begin = least(units * i / n * unit, length);
    *end = least(units * (i + 1) / n * unit, length);
}

void tt_product_here(const struct tt_product *p)
{
    run_part(p, &(struct part){0, p->m, 0, p->n});
}

void tt_product_run(const struct tt_product *p)
{
    int threads = omp_in_parallel() ? 1 : omp_get_max_threads(), rows;

    if (threads == 1 || (double)p->m * (double)p->n * (double)p->k < SMALL) {
        tt_product_here(p);
        return;
    }
    rows = share_rows(p, threads);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < threads; i++) {
        struct part s;

        share(p->m, tt_panels()->mr, i % rows, rows, &s.row, &s.row_end);
        share(p->n, TT_PANEL, i / rows, threads / rows, &s.col, &s.col_end);
        run_part(p, &s);
    }
}

static struct tt_product plain(float *c, const float *a, bool ta, const float *b, bool tb,
                               int64_t m, int64_t n, int64_t k)
{
    return (struct tt_product){
        .m = m,
        .n = n,
        .k = k,
        .a = a,
        .b = b,
        .a_row = ta ? 1 : k,
        .a_col = ta ? m : 1,
        .b_row = tb ? 1 : n,
        .b_col = tb ? k : 1,
        .c = c,
        .c_row = n,
        .scale = 1,
    };
}

void tt_product(float *c, const float *a, bool ta, const float *b, bool tb, int64_t m, int64_t n,
                int64_t k, float scale, float keep)
{
    struct tt_product p = plain(c, a, ta, b, tb, m, n, k);

    p.scale = scale;
    p.sum = keep != 0 ? c : NULL;
    tt_product_run(&p);
}

/* Where the matrices of index i are: *c, *a, *b in floats. */
static void locate(const struct tt_repeat *r, int nr, int64_t i, int64_t *c, int64_t *a, int64_t *b)
{
    *c = *a = *b = 0;
    for (int d = nr - 1; d >= 0; d--) {
        int64_t at = i % r[d].n;

        *c += at * r[d].sc;
        *a += at * r[d].sa;
        *b += at * r[d].sb;
        i /= r[d].n;
    }
}

/* Products that repeat: those with a result of their own, and those that share one. */
struct repeats {
    struct tt_repeat own[TT_MAXDIM], shared[TT_MAXDIM];
    int nown, nshared;
    int64_t targets, each; // how many of both
};

/* Those of one target; p: the first of all. */
static void run_target(const struct repeats *r, const struct tt_product *first, int64_t target)
{
    int64_t oc, oa, ob, none, sa, sb;

    locate(r->own, r->nown, target, &oc, &oa, &ob);
    for (int64_t s = 0; s < r->each; s++) {
        struct tt_product p = *first;

        locate(r->shared, r->nshared, s, &none, &sa, &sb);
        p.c += oc;
        p.a += oa + sa;
        p.b += ob + sb;
        p.sum = first->sum || s ? p.c : NULL;
        tt_product_run(&p);
    }
}

void tt_products(const struct tt_repeat *r, int nr, float *c, const float *a, bool ta,
                 const float *b, bool tb, int64_t m, int64_t n, int64_t k, bool add)
{
    struct repeats all = {.targets = 1, .each = 1};
    struct tt_product first = plain(c, a, ta, b, tb, m, n, k);
    double work = (double)m * (double)n * (double)k;

    first.sum = add ? c : NULL;
    for (int i = 0; i < nr; i++) {
        if (r[i].sc || r[i].n == 1) {
            all.own[all.nown++] = r[i];
            all.targets *= r[i].n;
        } else {
            all.shared[all.nshared++] = r[i];
            all.each *= r[i].n;
        }
    }
    work *= (double)all.targets * (double)all.each;
    /* As many as there are threads, or so many that it does not matter who gets one more.  Else no
     * region of OpenMP is entered, not one of one thread either: one inside of it would start
     * threads anew each time. */
    if (work > SMALL && (all.targets >= 16 || all.targets % omp_get_max_threads() == 0)) {
#pragma omp parallel for schedule(static)
        for (int64_t t = 0; t < all.targets; t++)
            run_target(&all, &first, t);
        return;
    }
    for (int64_t t = 0; t < all.targets; t++)
        run_target(&all, &first, t);
}
