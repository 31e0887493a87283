// SPDX-License-Identifier: Apache-2.0
/*
 * How fast matrix products are, as encoders have them: the tile alone with all that it reads in the
 * first caches, which is what could be reached; products as runtime/ops/product.h makes them,
 * forward and with the right operand turned as backward needs them; and OpenBLAS's.  All take
 * turns, figures are medians, in GFLOP/s.
 *
 *     build/release/bench/product [-t THREADS,...] [-s SECONDS] [SHAPE...]
 *
 * SHAPE: the names that begin so; SECONDS are spent on each line.
 */
#include <cblas.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "runtime/machine.h"
#include "runtime/ops/product.h"
#include "runtime/panels.h"

#define MOST     16 // threads
#define ROUNDS   1000
#define VARIANTS 5
#define DEEP     512 // of the tile alone

static const struct shape {
    const char *name;
    int64_t m, k, n;
} shapes[] = {
    {"vit1-project", 197, 384, 384},       {"vit1-widen", 197, 384, 1536},
    {"vit1-narrow", 197, 1536, 384},       {"vit16-project", 16 * 197, 384, 384},
    {"vit16-widen", 16 * 197, 384, 1536},  {"vit16-narrow", 16 * 197, 1536, 384},
    {"bert1-project", 128, 768, 768},      {"bert1-widen", 128, 768, 3072},
    {"bert1-narrow", 128, 3072, 768},      {"bert16-project", 16 * 128, 768, 768},
    {"bert16-widen", 16 * 128, 768, 3072}, {"bert16-narrow", 16 * 128, 3072, 768},
};

static int64_t threads[MOST] = {1, 2};
static int nthreads = 2;
static double seconds = 1;

struct data {
    struct tt_arena arena;
    float *a, *b, *c;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static float *drawn(struct tt_arena *arena, int64_t n)
{
    float *x = TT_NEW(arena, n, float);
    uint64_t seed = 1;

    if (!x) {
        fprintf(stderr, "bench: no memory\n");
        exit(1);
    }
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(seed >> 40) / 8388608.0f - 1;
    }
    return x;
}

/* Every thread multiplies one tile, again and again, as often as the whole product has tiles. */
static void run_tile(const struct data *d, const struct shape *s)
{
    const struct tt_panels *kernels = tt_panels();
    int64_t tiles = s->m * s->n * s->k / (kernels->mr * TT_PANEL * (int64_t)DEEP);

#pragma omp parallel
    {
        float c[16 * TT_PANEL];
        struct tt_tile t = {.a = d->a, .a_row = DEEP, .a_col = 1, .panel = d->b, .K = DEEP};

        t.c = c;
        t.c_row = TT_PANEL;
        t.scale = 1;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < tiles; i++)
            kernels->tile(&t, kernels->mr, TT_PANEL);
    }
}

static void run(const struct data *d, const struct shape *s, int variant)
{
    switch (variant) {
    case 0:
        run_tile(d, s);
        break;
    case 1:
        tt_product(d->c, d->a, false, d->b, false, s->m, s->n, s->k, 1, 0);
        break;
    case 2:
        tt_product(d->c, d->a, false, d->b, true, s->m, s->n, s->k, 1, 0);
        break;
    default:
        cblas_sgemm(CblasRowMajor, CblasNoTrans, variant == 4 ? CblasTrans : CblasNoTrans,
                    (int)s->m, (int)s->n, (int)s->k, 1, d->a, (int)s->k, d->b,
                    variant == 4 ? (int)s->k : (int)s->n, 0, d->c, (int)s->n);
    }
}

static void measure(const struct shape *s, int64_t count)
{
    static double took[VARIANTS][ROUNDS];
    double begin = now(), flops = 2.0 * (double)s->m * (double)s->n * (double)s->k;
    struct data d;
    int rounds = 0;

    tt_arena_init(&d.arena, 0);
    d.a = drawn(&d.arena, s->m * s->k);
    d.b = drawn(&d.arena, s->k * s->n);
    d.c = drawn(&d.arena, s->m * s->n);
    omp_set_num_threads((int)count);
    openblas_set_num_threads((int)count);
    for (int v = 0; v < VARIANTS; v++)
        run(&d, s, v);
    for (; rounds < ROUNDS && (rounds < 3 || now() - begin < seconds); rounds++)
        for (int v = 0; v < VARIANTS; v++) {
            double from = now();

            run(&d, s, v);
            took[v][rounds] = now() - from;
        }
    printf("%-16s %7lld", s->name, (long long)count);
    for (int v = 0; v < VARIANTS; v++) {
        qsort(took[v], (size_t)rounds, sizeof took[v][0], by_value);
        printf(" %9.1f", flops / took[v][rounds / 2] / 1e9);
    }
    printf("\n");
    fflush(stdout);
    tt_arena_release(&d.arena);
}

int main(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "t:s:")) != -1) {
        if (option == 't') {
            nthreads = 0;
            for (char *at = strtok(optarg, ","); at && nthreads < MOST; at = strtok(NULL, ","))
                threads[nthreads++] = strtol(at, NULL, 10);
        } else if (option == 's') {
            seconds = strtod(optarg, NULL);
        } else {
            return 1;
        }
    }
    printf("%-16s %7s %9s %9s %9s %9s %9s\n", "shape", "threads", "tile", "ours", "turned", "sgemm",
           "turned");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        bool wanted = optind == argc;

        for (int a = optind; a < argc; a++)
            wanted |= strncmp(shapes[i].name, argv[a], strlen(argv[a])) == 0;
        for (int t = 0; wanted && t < nthreads; t++)
            measure(&shapes[i], threads[t]);
    }
    return 0;
}
