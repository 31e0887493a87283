// SPDX-License-Identifier: Apache-2.0
/*
 * ttad adapt: a policy over an array, by the functions that the daemon's workers call, with the
 * frozen model beside it on the same batches.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/commands.h"
#include "daemon/offline.h"
#include "daemon/options.h"

static const char usage[] =
    "usage: ttad adapt MODEL --policy FILE --inputs X.npy [options]\n\n"
    "  --labels Y.npy      labels to score by (uint8, int32, int64); the policy never sees them\n"
    "  --batch N           rows a batch, 64 by default\n"
    "  --order ORDER       given (default), shuffle or sorted (by label)\n"
    "  --seed S            of the shuffle, 0 by default\n"
    "  --outputs FILE.npy  write the adapted logits, in the order of the inputs\n"
    "  --threads T         1 by default\n"
    "  --json              the summary as one JSON object on stdout\n\n"
    "Inputs are float32 as the model takes them, or uint8 images, which go through the policy's\n"
    "preprocess.\n";

struct run {
    struct tt_offline o;
    struct tt_stream *stream;
    const char *outputs;
    bool json, tty;
    int64_t threads;
    float *x, *logits, *frozen, *source, *all;
    double *adapt_ms, *frozen_ms;
    int64_t batches, correct, frozen_correct, adapted, skipped;
    int64_t skips[TT_NSKIPS], decisions;
};

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *v, int64_t n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n ? v[n / 2] : 0;
}

/* Decisions of the guard are told as they come, as the daemon's log would. */
static int64_t put(void *ctx, const struct tt_record *r)
{
    struct run *run = (struct run *)ctx;

    if (r->kind == TT_REC_DECISION) {
        run->decisions++;
        fprintf(stderr, "%sbatch %lld: %s\n", run->tty ? "\r\033[K" : "",
                (long long)run->batches + 1, r->decision.sentence);
    }
    return 0;
}

/* Before hours of work, not after; what is there already stays until there is better. */
static enum tt_code open_outputs(const struct run *r, struct tt_err *err)
{
    int fd;

    if (!r->outputs)
        return TT_OK;
    fd = open(r->outputs, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return tt_fail(err, TT_EIO, "%s: cannot be written: %s", r->outputs, strerror(errno));
    close(fd);
    return TT_OK;
}

static enum tt_code begin(struct run *r, struct tt_err *err)
{
    int64_t n = r->o.batch, C;
    struct tt_stream_spec spec = {.name = "offline",
                                  .model_name = "model",
                                  .model = r->o.model,
                                  .policy = r->o.policy,
                                  .plan = r->o.plan,
                                  .sink = {.ctx = r, .put = put}};

    if (tt_stream_new(&spec, &r->stream, err) != TT_OK)
        return err->code;
    C = r->stream->classes;
    r->x = TT_NEW(&r->o.arena, n * tt_plan_row(r->o.plan), float);
    r->logits = TT_NEW(&r->o.arena, n * C, float);
    r->frozen = TT_NEW(&r->o.arena, n * C, float);
    r->source = TT_NEW(&r->o.arena, tt_plan_floats(r->o.plan) + 1, float);
    r->all = r->outputs ? TT_NEW(&r->o.arena, r->o.n * C, float) : NULL;
    r->adapt_ms = TT_NEW(&r->o.arena, r->o.n / n + 1, double);
    r->frozen_ms = TT_NEW(&r->o.arena, r->o.n / n + 1, double);
    if (!r->x || !r->logits || !r->frozen || !r->source || (r->outputs && !r->all) ||
        !r->adapt_ms || !r->frozen_ms)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    tt_plan_source(r->o.plan, r->source);
    return open_outputs(r, err);
}

static int64_t count_correct(const struct run *r, int64_t first, int64_t n, const float *logits)
{
    int64_t C = r->stream->classes, right = 0;

    for (int64_t i = 0; r->o.label && i < n; i++) {
        const float *z = logits + i * C;
        int64_t best = 0;

        for (int64_t c = 1; c < C; c++)
            if (z[c] > z[best])
                best = c;
        right += best == r->o.label[r->o.index[first + i]];
    }
    return right;
}

static enum tt_code one_batch(struct run *r, int64_t first, int64_t n, struct tt_err *err)
{
    struct tt_batch b = {
        .x = r->x, .rows = n, .learn = true, .logits = r->logits, .now_ms = r->batches};
    int64_t C = r->stream->classes;
    struct tt_result done;
    double start, middle;

    tt_offline_rows(&r->o, first, n, r->x);
    start = now_ms();
    if (tt_stream_step(r->stream, r->o.plan, &b, &done, err) != TT_OK ||
        (r->stream->follow.due &&
         tt_stream_follow(r->stream, r->o.plan, TT_SKIP_NONE, &done, err) != TT_OK))
        return err->code;
    tt_stream_settle(r->stream, r->o.plan, b.now_ms);
    middle = now_ms();
    if (tt_step_frozen(r->o.plan, r->source, r->x, n, false, r->frozen, err) != TT_OK)
        return err->code;
    r->adapt_ms[r->batches] = middle - start;
    r->frozen_ms[r->batches] = now_ms() - middle;
    r->batches++;
    r->correct += count_correct(r, first, n, r->logits);
    r->frozen_correct += count_correct(r, first, n, r->frozen);
    r->adapted += done.adapted ? n : 0;
    r->skipped += done.adapted ? 0 : n;
    r->skips[done.skip] += done.adapted ? 0 : n;
    for (int64_t i = 0; r->all && i < n; i++)
        memcpy(r->all + r->o.index[first + i] * C, r->logits + i * C, sizeof(float) * (size_t)C);
    return TT_OK;
}

static void progress(const struct run *r, int64_t done)
{
    if (!r->tty)
        return;
    fprintf(stderr, "\r%lld of %lld samples", (long long)done, (long long)r->o.n);
    if (r->o.label)
        fprintf(stderr, "  frozen %.2f %%  adapted %.2f %%",
                100.0 * (double)r->frozen_correct / (double)done,
                100.0 * (double)r->correct / (double)done);
    fprintf(stderr, done == r->o.n ? "\r\033[K" : "\033[K");
}

static enum tt_code write_outputs(const struct run *r, struct tt_err *err)
{
    int64_t dim[2] = {r->o.n, r->stream->classes};
    char header[TT_NPY_HEADER];
    size_t n, floats = (size_t)(dim[0] * dim[1]);
    FILE *f;
    bool ok;

    if (!r->outputs)
        return TT_OK;
    n = tt_npy_header(header, 2, dim);
    f = fopen(r->outputs, "wb");
    if (!f)
        return tt_fail(err, TT_EIO, "%s: cannot be written: %s", r->outputs, strerror(errno));
    ok = fwrite(header, 1, n, f) == n && fwrite(r->all, 4, floats, f) == floats;
    if (fclose(f) || !ok)
        return tt_fail(err, TT_EIO, "%s: could not be written whole", r->outputs);
    return TT_OK;
}

static double accuracy(const struct run *r, int64_t correct)
{
    return (double)correct / (double)r->o.n;
}

static void print_json(struct run *r)
{
    json_t *skips = json_object(), *j;

    for (int i = 1; i < TT_NSKIPS; i++)
        if (r->skips[i])
            json_object_set_new(skips, tt_skip_name((enum tt_skip)i), json_integer(r->skips[i]));
    j = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:f, s:f, s:I, s:I}", //
                  "engine", r->o.policy->method.preset, "policy_hash", r->o.policy->hash, "samples",
                  (json_int_t)r->o.n, "batch", (json_int_t)r->o.batch, "batches",
                  (json_int_t)r->batches, "samples_adapted", (json_int_t)r->adapted,
                  "samples_skipped", (json_int_t)r->skipped, "skipped", skips, "decisions",
                  (json_int_t)r->decisions, "threads", (json_int_t)r->threads, "frozen_ms",
                  median(r->frozen_ms, r->batches), "adapted_ms", median(r->adapt_ms, r->batches),
                  "version_bytes", (json_int_t)tt_plan_floats(r->o.plan) * 4, "plan_bytes",
                  (json_int_t)tt_plan_bytes(r->o.plan));
    if (r->o.label) {
        json_object_set_new(j, "accuracy_frozen", json_real(accuracy(r, r->frozen_correct)));
        json_object_set_new(j, "accuracy_adapted", json_real(accuracy(r, r->correct)));
    }
    json_dumpf(j, stdout, JSON_REAL_PRECISION(8));
    printf("\n");
    json_decref(j);
}

static void print_text(struct run *r)
{
    const char *sep = ": ";

    printf("engine      %s, policy %s\n", r->o.policy->method.preset, r->o.policy->name);
    printf("samples     %lld in %lld batches of %lld\n", (long long)r->o.n, (long long)r->batches,
           (long long)r->o.batch);
    printf("adapted     %lld samples, %lld skipped", (long long)r->adapted, (long long)r->skipped);
    for (int i = 1; i < TT_NSKIPS; i++)
        if (r->skips[i]) {
            printf("%s%lld %s", sep, (long long)r->skips[i], tt_skip_name((enum tt_skip)i));
            sep = ", ";
        }
    printf("\n");
    if (r->o.label)
        printf("accuracy    frozen %.2f %%, adapted %.2f %%\n",
               100 * accuracy(r, r->frozen_correct), 100 * accuracy(r, r->correct));
    if (r->decisions)
        printf("guard       %lld decisions\n", (long long)r->decisions);
    printf("time        frozen %.1f ms a batch, adapted %.1f ms (medians, %lld threads)\n",
           median(r->frozen_ms, r->batches), median(r->adapt_ms, r->batches),
           (long long)r->threads);
    printf("memory      %lld bytes a version, %.1f MB of activations\n",
           (long long)tt_plan_floats(r->o.plan) * 4, (double)tt_plan_bytes(r->o.plan) / 1e6);
}

static enum tt_code run_all(struct run *r, const struct tt_offline_spec *spec, struct tt_err *err)
{
    if (tt_offline_open(&r->o, spec, err) != TT_OK || begin(r, err) != TT_OK)
        return err->code;
    for (int64_t i = 0; i < r->o.n; i += r->o.batch) {
        int64_t n = r->o.n - i < r->o.batch ? r->o.n - i : r->o.batch;

        if (one_batch(r, i, n, err) != TT_OK)
            return tt_fail_in(err, "samples %lld to %lld", (long long)i, (long long)(i + n - 1));
        progress(r, i + n);
    }
    if (write_outputs(r, err) != TT_OK)
        return err->code;
    r->json ? print_json(r) : print_text(r);
    return TT_OK;
}

int tt_cmd_adapt(int argc, char **argv)
{
    static const char *const orders[] = {"given", "shuffle", "sorted"};
    struct run r = {.threads = 1};
    struct tt_offline_spec spec = {.batch = 64};
    const char *order = "given", *plain[1];
    bool help = false;
    struct tt_err err;
    int n, status = 0;
    const struct tt_option table[] = {
        {.name = "--policy", .text = &spec.policy},
        {.name = "--inputs", .text = &spec.inputs},
        {.name = "--labels", .text = &spec.labels},
        {.name = "--outputs", .text = &r.outputs},
        {.name = "--order", .text = &order},
        {.name = "--batch", .number = &spec.batch, .min = 1, .max = 65536},
        {.name = "--seed", .number = &spec.seed, .max = INT64_MAX},
        {.name = "--threads", .number = &r.threads, .min = 1, .max = 256},
        {.name = "--json", .on = &r.json},
        {.name = "--help", .on = &help},
        {0}};

    if (!tt_options_read(argc, argv, table, plain, 1, &n))
        return 2;
    while (spec.order < TT_NORDERS && strcmp(order, orders[spec.order]) != 0)
        spec.order++;
    if (help) {
        fputs(usage, stdout);
        return 0;
    }
    if (n != 1 || !spec.policy || !spec.inputs || spec.order == TT_NORDERS) {
        if (spec.order == TT_NORDERS)
            fprintf(stderr, "ttad adapt: --order: '%s', want given, shuffle or sorted\n", order);
        else
            fprintf(stderr, "ttad adapt: %s is missing\n",
                    n != 1         ? "MODEL"
                    : !spec.policy ? "--policy"
                                   : "--inputs");
        fputs(usage, stderr);
        return 2;
    }
    spec.model = plain[0];
    r.tty = isatty(STDERR_FILENO);
    omp_set_num_threads((int)r.threads);
    if (run_all(&r, &spec, &err) != TT_OK) {
        fprintf(stderr, "ttad adapt: %s\n", err.msg);
        status = 1;
    }
    tt_stream_free(r.stream);
    tt_offline_close(&r.o);
    return status;
}
