// SPDX-License-Identifier: Apache-2.0
/*
 * What it costs to keep a stream's inputs: two streams take the same batches in turn, one of them
 * captured.  Times are of the processor, of one thread, so that a busy machine tells the same; a
 * write is in them, the disk behind it is not.  Then the files are run again.
 *
 *     build/release/bench/capture [DIR [BATCHES [ROWS]]]     DIR: on the disk to be measured
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/capture.h"
#include "daemon/capture_files.h"
#include "daemon/file.h"
#include "daemon/load.h"
#include "daemon/rerun.h"
#include "runtime/npy.h"

#define MODEL  "models/fashion_resnet.onnx"
#define IMAGES "models/fashion_test_images.npy"
#define MOST   4096
#define REPEAT 200

static const char text[] =
    "preset: tent\nmonitor: {shadow: {every: 0}}\n"
    "preprocess: {scale: 0.00392156862745098, mean: [0.2860], std: [0.3530], layout: nhwc}\n";

struct bench {
    struct tt_arena arena;
    struct tt_model *model;
    struct tt_npy images;
    struct tt_policy *policy[2]; // without capture, with it
    struct tt_plan *plan;
    struct tt_stream *stream[2];
    struct tt_capture_pool pool;
    double ms[2][MOST];
    double alone_ms;
    int64_t rows, batches;
};

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void die(const struct tt_err *err)
{
    fprintf(stderr, "bench: %s\n", err->msg);
    exit(1);
}

static struct tt_policy *read_policy(struct bench *b, const char *more)
{
    struct tt_diags *d = TT_NEW(&b->arena, 1, struct tt_diags);
    char *whole = TT_NEW(&b->arena, 1024, char);

    (void)snprintf(whole, 1024, "%s%s", text, more);
    tt_diags_init(d, &b->arena, "bench", whole, strlen(whole));
    return tt_policy_read("bench", whole, strlen(whole), &b->arena, d);
}

static void set_up(struct bench *b, const char *dir)
{
    char database[3900], *bytes;
    struct tt_err err;
    size_t n;

    tt_arena_init(&b->arena, 0);
    b->policy[0] = read_policy(b, "");
    b->policy[1] = read_policy(b, "capture: on\n");
    if (tt_load_model(MODEL, &b->model, &err) != TT_OK ||
        tt_file_read(IMAGES, (size_t)1 << 30, &b->arena, &bytes, &n, &err) != TT_OK ||
        tt_npy_read(bytes, n, &b->images, &err) != TT_OK ||
        tt_plan_new(b->model, &b->policy[0]->method, b->rows, &b->plan, &err) != TT_OK)
        die(&err);
    (void)snprintf(database, sizeof database, "%s/bench-%d", dir, (int)getpid());
    tt_capture_pool_init(&b->pool, database, 0);
    for (int i = 0; i < 2; i++) {
        struct tt_stream_spec spec = {.name = i ? "bench" : "alone",
                                      .model_name = "fashion",
                                      .model = b->model,
                                      .policy = b->policy[i],
                                      .plan = b->plan,
                                      .now_ms = 1};

        if (tt_stream_new(&spec, &b->stream[i], &err) != TT_OK)
            die(&err);
        tt_capture_begin(b->stream[i], &(struct tt_capture_spec){&b->pool, MODEL, "bench", "bench"},
                         1);
    }
}

/* What is added to a step, over and over; the file is thrown away. */
static double capture_alone(struct bench *b, const struct tt_batch *batch,
                            const struct tt_result *r)
{
    const struct tt_capture_spec spec = {&b->pool, MODEL, "bench", "bench"};
    double start;

    tt_capture_begin(b->stream[0], &spec, 1); // its policy says no: nothing is there yet
    b->stream[0]->policy = b->policy[1];
    tt_capture_begin(b->stream[0], &spec, 1);
    start = now_ms();
    for (int i = 0; i < REPEAT; i++)
        tt_capture_batch(b->stream[0], b->plan, batch, r);
    return (now_ms() - start) / REPEAT;
}

static void one(struct bench *b, int i, int64_t k, const struct tt_wire_tensor *t, float *x,
                float *logits)
{
    char id[32];
    struct tt_batch batch = {.id = id,
                             .x = x,
                             .rows = b->rows,
                             .learn = true,
                             .now_ms = 10 + k,
                             .tensor = t,
                             .logits = logits};
    struct tt_result r;
    struct tt_err err;
    const double start = now_ms();

    (void)snprintf(id, sizeof id, "%lld", (long long)k);
    if (tt_stream_step(b->stream[i], b->plan, &batch, &r, &err) != TT_OK)
        die(&err);
    b->ms[i][k] = now_ms() - start;
    if (i == 0 && k == b->batches - 1)
        b->alone_ms = capture_alone(b, &batch, &r);
}

static void run(struct bench *b)
{
    struct tt_wire_tensor t = {
        .type = TT_UINT8, .ndim = 4, .dim = {b->rows, 28, 28, 1}, .n = b->rows * 784};
    float *x = TT_NEW(&b->arena, t.n, float), *logits = TT_NEW(&b->arena, b->rows * 10, float);
    const int64_t sets = b->images.dim[0] / b->rows;

    for (int64_t k = 0; k < b->batches; k++) {
        t.data = (const unsigned char *)b->images.data + (k % sets) * t.n;
        tt_preprocess_run(&b->policy[0]->preprocess, t.data, b->rows, 1, 28, 28, x);
        one(b, (int)(k % 2), k, &t, x, logits); // each goes first as often
        one(b, (int)(1 - k % 2), k, &t, x, logits);
    }
}

static void run_again(struct bench *b, double *ret_ms)
{
    char dir[4100];
    struct tt_rerun_model cache = {.path = ""};
    struct tt_rerun_spec spec = {.dir = dir, .cache = &cache};
    const double start = now_ms();
    struct tt_rerun r;
    struct tt_err err;

    (void)snprintf(dir, sizeof dir, "%s/bench", b->pool.root);
    if (tt_rerun_stream(&spec, &r, &err) != TT_OK)
        die(&err);
    *ret_ms = now_ms() - start;
    printf("replay      %s, %.1f batches/s (a step alone: %.1f)\n",
           r.differs ? r.difference : "equal", (double)r.batches / *ret_ms * 1e3,
           1e3 / b->ms[0][b->batches / 2]);
    tt_model_free(cache.model);
}

int main(int argc, char **argv)
{
    struct bench *b = calloc(1, sizeof *b);
    struct tt_capture_files files;
    char command[4200];
    struct tt_err err;
    double off, on, again;

    if (!b)
        return 1;
    b->batches = argc > 2 ? strtoll(argv[2], NULL, 10) : 400;
    b->rows = argc > 3 ? strtoll(argv[3], NULL, 10) : 64;
    if (b->batches < 2 || b->batches > MOST || b->rows < 1 || b->rows > 1024) {
        fprintf(stderr, "usage: capture [DIR [BATCHES, 2 to 4096 [ROWS, 1 to 1024]]]\n");
        return 2;
    }
    omp_set_num_threads(1);
    set_up(b, argc > 1 ? argv[1] : ".");
    run(b);
    for (int i = 0; i < 2; i++)
        qsort(b->ms[i], (size_t)b->batches, sizeof *b->ms[i], by_value);
    off = b->ms[0][b->batches / 2];
    on = b->ms[1][b->batches / 2];
    tt_stream_free(b->stream[0]);
    tt_stream_free(b->stream[1]);
    if (tt_capture_files_open(&files, b->pool.root, "bench", 1, &err) != TT_OK)
        die(&err);
    printf("batches     %lld of %lld rows, uint8; Tent, medians\n", (long long)b->batches,
           (long long)b->rows);
    printf("step        %.3f ms, captured %.3f ms: %+.2f %%\n", off, on, 100 * (on / off - 1));
    printf("capturing   %.3f ms by itself: %.2f %% of a step\n", b->alone_ms,
           100 * b->alone_ms / off);
    printf("p99         %.3f ms, captured %.3f ms\n", b->ms[0][b->batches * 99 / 100],
           b->ms[1][b->batches * 99 / 100]);
    printf("kept        %lld bytes a batch (input: %lld)\n", (long long)(files.total / b->batches),
           (long long)b->rows * 784);
    run_again(b, &again);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", b->pool.root);
    return system(command) != 0;
}
