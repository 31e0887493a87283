// SPDX-License-Identifier: Apache-2.0
/*
 * How fast convolutions are, layer by layer: forward and the gradient to the input, by the formula
 * (direct) and as the runtime would choose, in GFLOP/s of the formula whatever computes it.  All
 * variants of a layer take turns, figures are medians.
 *
 *     build/release/bench/conv [-b BATCH,...] [-t THREADS,...] [-s SECONDS] [LAYER...]
 *
 * LAYER: the names that begin so, or channels in and out, height and width, kernel, stride, groups
 * of another one: 16,96,112,1,1,1; SECONDS are spent on each line.
 */
#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "runtime/op.h"

#define MOST     64 // batches, threads
#define ROUNDS   2000
#define VARIANTS 4 // direct forward and back, chosen forward and back

static const struct layer {
    const char *name;
    int64_t C, O, H, K, stride, groups;
} layers[] = {
    {"resnet-first", 3, 16, 32, 3, 1, 1},
    {"resnet-16", 16, 16, 32, 3, 1, 1},
    {"resnet-32/2", 16, 32, 32, 3, 2, 1},
    {"resnet-32", 32, 32, 16, 3, 1, 1},
    {"resnet-64/2", 32, 64, 16, 3, 2, 1},
    {"resnet-64", 64, 64, 8, 3, 1, 1},
    {"resnet-1x1/2", 16, 32, 32, 1, 2, 1},
    {"wrn-first", 16, 160, 32, 3, 1, 1},
    {"wrn-160", 160, 160, 32, 3, 1, 1},
    {"wrn-320/2", 160, 320, 32, 3, 2, 1},
    {"wrn-320", 320, 320, 16, 3, 1, 1},
    {"wrn-640/2", 320, 640, 16, 3, 2, 1},
    {"wrn-640", 640, 640, 8, 3, 1, 1},
    {"wrn-1x1", 16, 160, 32, 1, 1, 1},
    {"wrn-1x1/2", 160, 320, 32, 1, 2, 1},
    {"mobilenet-first/2", 3, 32, 224, 3, 2, 1},
    {"mobilenet-96/2", 96, 96, 112, 3, 2, 96},
    {"mobilenet-144", 144, 144, 56, 3, 1, 144},
    {"mobilenet-384", 384, 384, 14, 3, 1, 384},
    {"efficientnet-240", 240, 240, 28, 5, 1, 240},
    {"efficientnet-1152", 1152, 1152, 7, 5, 1, 1152},
    {"convnext-96", 96, 96, 56, 7, 1, 96},
    {"convnext-768", 768, 768, 7, 7, 1, 768},
};

struct run {
    struct tt_arena arena;
    struct tt_tensor x, w, y;
    struct tt_node node[2]; // direct, chosen
    const struct tt_op *op;
};

static int64_t batches[MOST] = {1, 16, 64}, threads[MOST] = {1, 2};
static int nbatches = 3, nthreads = 2;
static double seconds = 0.5;

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

static void die(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

/* n floats in [-1, 1). */
static float *drawn(struct run *r, int64_t n)
{
    float *x = TT_NEW(&r->arena, n, float);
    uint64_t seed = 1;

    if (!x)
        die("no memory");
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(seed >> 40) / 8388608.0f - 1;
    }
    return x;
}

static struct tt_tensor tensor(int64_t n, int64_t c, int64_t h, int64_t w)
{
    return (struct tt_tensor){
        .name = "", .ndim = 4, .dim = {n, c, h, w}, .layout = TT_LAST, .dtype = TT_FLOATS};
}

/* What the compiler would do for this one node. */
static void set_up_node(struct run *r, struct tt_node *n, const void *attr, bool exact)
{
    struct tt_err err;

    *n = (struct tt_node){.op = r->op, .name = "conv", .nin = 2, .attr = attr, .exact = exact};
    n->in[0] = &r->x;
    n->in[1] = &r->w;
    n->constant[1] = true;
    n->out = &r->y;
    n->batch = r->x.dim[0];
    if (r->op->shape(n, &err) != TT_OK)
        die(err.msg);
    for (int i = 0; i < TT_MAXSAVED; i++)
        n->saved[i] = drawn(r, n->nsaved[i] + 1);
    n->scratch = drawn(r, n->nscratch + 1);
    n->kept = TT_NEW(&r->arena, n->nkept + n->nkept_back + 1, float);
    if (!n->kept)
        die("no memory");
}

static void set_up(struct run *r, const struct layer *l, int64_t batch)
{
    int64_t ints[] = {l->K / 2, l->K / 2, l->K / 2, l->K / 2, l->stride, l->stride, l->groups};
    struct tt_attr list[] = {{.name = "pads", .type = TT_AINTS, .n = 4, .ints = ints},
                             {.name = "strides", .type = TT_AINTS, .n = 2, .ints = ints + 4},
                             {.name = "group", .type = TT_AINT, .i = ints[6]}};
    struct tt_attrs a = {.arena = &r->arena, .list = list, .n = 3, .opset = 13, .nin = 2};
    struct tt_err err;
    void *attr;

    tt_arena_init(&r->arena, 0);
    r->op = tt_op_find("Conv");
    attr = tt_arena_alloc(&r->arena, 1, r->op->attr_size);
    if (!attr)
        die("no memory");
    if (r->op->read(&a, attr, &err) != TT_OK)
        die(err.msg);
    r->x = tensor(batch, l->C, l->H, l->H);
    r->w = tensor(l->O, l->C / l->groups, l->K, l->K);
    r->w.layout = TT_PLAIN;
    r->x.x = drawn(r, tt_len(&r->x));
    r->x.g = drawn(r, tt_len(&r->x));
    r->w.x = drawn(r, tt_len(&r->w));
    set_up_node(r, &r->node[0], attr, true);
    r->y.x = drawn(r, tt_len(&r->y));
    r->y.g = drawn(r, tt_len(&r->y));
    set_up_node(r, &r->node[1], attr, false);
}

/* Seconds of one call: so many at a time that the clock is fine enough. */
static double time_once(struct run *r, int variant, int times)
{
    struct tt_node *n = &r->node[variant / 2];
    double start = now();

    for (int i = 0; i < times; i++)
        (variant % 2 ? r->op->backward : r->op->forward)(n);
    return (now() - start) / times;
}

static void measure(const struct layer *l, int64_t batch)
{
    static double t[MOST][VARIANTS][ROUNDS];
    int most = 1, rounds = 0, times[VARIANTS];
    struct run r;
    double gflop, start;

    for (int i = 0; i < nthreads; i++)
        most = threads[i] > most ? (int)threads[i] : most;
    omp_set_num_threads(most); // scratch is of so many
    set_up(&r, l, batch);
    gflop = r.op->flops(&r.node[0], false) / 1e9;
    for (int v = 0; v < VARIANTS; v++) {
        (void)time_once(&r, v, 1); // packs the weights
        times[v] = 1 + (int)(1e-4 / time_once(&r, v, 1));
    }
    for (start = now(); rounds < ROUNDS && (rounds < 3 || now() - start < seconds); rounds++)
        for (int i = 0; i < nthreads; i++) {
            omp_set_num_threads((int)threads[i]);
            for (int v = 0; v < VARIANTS; v++)
                t[i][v][rounds] = time_once(&r, v, times[v]);
        }
    for (int i = 0; i < nthreads; i++) {
        printf("%-18s %5lld %7lld", l->name, (long long)batch, (long long)threads[i]);
        for (int v = 0; v < VARIANTS; v++) {
            qsort(t[i][v], (size_t)rounds, sizeof(double), by_value);
            printf(" %9.1f", gflop / t[i][v][rounds / 2]);
        }
        for (int v = 2; v < VARIANTS; v++)
            printf(" %9.3f", 1e3 * t[i][v][rounds / 2]);
        printf("\n");
        (void)fflush(stdout);
    }
    tt_arena_release(&r.arena);
}

/* "1,16,64"; how many. */
static int read_list(const char *text, int64_t *list)
{
    int n = 0;

    for (char *end; n < MOST; text = end + 1) {
        list[n] = strtoll(text, &end, 10);
        if (end == text || list[n] < 1 || (*end && *end != ','))
            die("a list of numbers looks like 1,16");
        n++;
        if (!*end)
            return n;
    }
    die("too many numbers");
    return 0;
}

static bool is_asked(const struct layer *l, int nnames, char **names)
{
    for (int i = 0; i < nnames; i++)
        if (strncmp(l->name, names[i], strlen(names[i])) == 0)
            return true;
    return !nnames;
}

int main(int argc, char **argv)
{
    for (int c; (c = getopt(argc, argv, "b:t:s:")) != -1;) {
        if (c == 'b')
            nbatches = read_list(optarg, batches);
        else if (c == 't')
            nthreads = read_list(optarg, threads);
        else if (c == 's')
            seconds = strtod(optarg, NULL);
        else
            return 1;
    }
    printf("%-18s %5s %7s %19s %19s %19s\n", "", "", "", "direct, GFLOP/s", "chosen, GFLOP/s",
           "chosen, ms");
    printf("%-18s %5s %7s %9s %9s %9s %9s %9s %9s\n", "layer", "batch", "threads", "forward",
           "back", "forward", "back", "forward", "back");
    for (int i = optind; i < argc; i++) {
        struct layer own = {.name = argv[i]};

        if (sscanf(argv[i], "%" SCNd64 ",%" SCNd64 ",%" SCNd64 ",%" SCNd64 ",%" SCNd64 ",%" SCNd64,
                   &own.C, &own.O, &own.H, &own.K, &own.stride, &own.groups) == 6)
            for (int b = 0; b < nbatches; b++)
                measure(&own, batches[b]);
    }
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        for (int b = 0; is_asked(&layers[i], argc - optind, argv + optind) && b < nbatches; b++)
            measure(&layers[i], batches[b]);
    return 0;
}
