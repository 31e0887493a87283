// SPDX-License-Identifier: Apache-2.0
/*
 * ttad bench: how long a frozen pass and an adaptation step take here, and what they need.
 */
#include <errno.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bench.h"
#include "daemon/commands.h"
#include "daemon/load.h"
#include "daemon/options.h"
#include "daemon/process.h"
#include "runtime/machine.h"

static const char usage[] =
    "usage: ttad bench MODEL [--policy FILE] [--batch N,...] [--threads T] [--json] [--profile]\n\n"
    "Time a frozen pass and an adaptation step of an ONNX model, on random input, each from the\n"
    "model's own parameters; say what memory they need, and what the machine's sgemm reaches.\n\n"
    "  --policy FILE   how to adapt; without it Tent, by SGD on all normalisation parameters\n"
    "  --batch N,...   rows a batch, up to 16 sizes; 1,16,64 by default\n"
    "  --threads T     of an operator; all processors by default\n"
    "  --seconds S     to measure each for, 2 by default, but three runs at least\n"
    "  --steps K       measure K runs of each instead\n"
    "  --profile       the time of each kind of operator, forward and backward, too\n"
    "  --json          one JSON object on stdout\n"
    "  --turns         for others to measure by turns with: for each line on stdin, `frozen` or\n"
    "                  `step`, then perhaps how often, one measurement and one line of JSON; for\n"
    "                  one batch size\n";

/* Without a policy: the most common thing to want. */
static const char tent[] = "preset: tent\n"
                           "select: {kinds: [bn, ln, gn]}\n"
                           "optimizer: {kind: sgd, lr: 0.00025}\n";

#define MAXBATCHES 16

struct bench {
    const char *path, *policy_path, *batches;
    int64_t threads, seconds, steps;
    bool json, profile, turns;
    int64_t batch[MAXBATCHES];
    int nbatches;
    struct tt_arena arena;
    struct tt_model *model;
    const struct tt_policy *policy;
    int64_t resident_bytes;
    double sgemm; // operations a second; 0: not measured

    struct tt_bench done[MAXBATCHES];
};

static bool read_batches(struct bench *b)
{
    for (const char *p = b->batches;; p++) {
        char *end;
        long long v;

        errno = 0;
        v = strtoll(p, &end, 10);
        if (errno || end == p || v < 1 || v > 65536 || (*end && *end != ',') ||
            b->nbatches == MAXBATCHES) {
            fprintf(stderr,
                    "ttad bench: --batch: '%s', want up to %d whole numbers from 1 to 65536, with "
                    "commas between\n",
                    b->batches, MAXBATCHES);
            return false;
        }
        b->batch[b->nbatches++] = v;
        p = end;
        if (!*p)
            return true;
    }
}

static int64_t count_weights(const struct tt_model *m)
{
    int64_t n = 0;

    for (int i = 0; i < m->nparams; i++)
        n += m->params[i].n;
    return n * (int64_t)sizeof(float);
}

static enum tt_code load(struct bench *b, struct tt_err *err)
{
    struct tt_process process;
    struct tt_diags d;

    if (b->policy_path) {
        b->policy = tt_load_policy(b->policy_path, &b->arena, &d);
        fputs(tt_diags_text(&d), stderr);
        if (!b->policy)
            return tt_fail(err, TT_EPARSE, "%s: %d mistake%s", b->policy_path, d.errors,
                           d.errors == 1 ? "" : "s");
    } else {
        tt_diags_init(&d, &b->arena, "tent", tent, strlen(tent));
        b->policy = tt_policy_read("tent", tent, strlen(tent), &b->arena, &d);
        if (!b->policy)
            return tt_fail(err, TT_ENOMEM, "out of memory");
    }
    tt_process_read(&process);
    if (tt_load_model(b->path, &b->model, err) != TT_OK)
        return err->code;
    b->resident_bytes = process.resident_bytes + count_weights(b->model);
    return TT_OK;
}

static enum tt_code open_one(struct bench *b, int i, struct tt_err *err)
{
    struct tt_bench_spec spec = {.model = b->model,
                                 .policy = b->policy,
                                 .batch = b->batch[i],
                                 .steps = b->steps,
                                 .seconds = b->seconds,
                                 .resident_bytes = b->resident_bytes};

    return tt_bench_open(&spec, &b->done[i], err);
}

static enum tt_code measure(struct bench *b, struct tt_bench *one, struct tt_err *err)
{
    if (tt_bench_measure(one, TT_BENCH_FROZEN, 0, err) != TT_OK ||
        tt_bench_measure(one, TT_BENCH_STEP, 0, err) != TT_OK ||
        (b->profile && tt_bench_profile(one, err) != TT_OK))
        return err->code;
    if (!b->json) {
        tt_bench_print(one, b->sgemm, stdout);
        if (b->profile)
            tt_bench_print_profile(one, stdout);
        (void)fflush(stdout); // the next size may take minutes
    }
    return TT_OK;
}

static void print_head(const struct bench *b)
{
    char machine[TT_MACHINE_BYTES];

    tt_machine(machine);
    printf("%s, policy %s (%s), %lld thread%s\n%s, sgemm %.1f GFLOP/s\n\n", b->path,
           b->policy->name, b->policy->method.preset, (long long)b->threads,
           b->threads == 1 ? "" : "s", machine, b->sgemm / 1e9);
    tt_bench_print_head(stdout);
}

static enum tt_code print_json(const struct bench *b, struct tt_err *err)
{
    char machine[TT_MACHINE_BYTES];
    json_t *all = json_array(), *o;
    int rc = -1;

    tt_machine(machine);
    for (int i = 0; i < b->nbatches; i++)
        json_array_append_new(all, tt_bench_json(&b->done[i], b->sgemm));
    o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:f, s:o}", "model", b->path, "hash",
                  b->model->hash, "engine", b->policy->method.preset, "policy", b->policy->name,
                  "policy_hash", b->policy->hash, "threads", (json_int_t)b->threads, "machine",
                  machine, "weights_bytes", (json_int_t)count_weights(b->model),
                  "sgemm_gflop_per_second", b->sgemm / 1e9, "batches", all);
    if (o)
        rc = json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    json_decref(o);
    if (rc < 0)
        return tt_fail(err, TT_EIO, "the JSON could not be written");
    printf("\n");
    return TT_OK;
}

static enum tt_code measure_all(struct bench *b, struct tt_err *err)
{
    b->sgemm = tt_bench_sgemm();
    if (!b->json)
        print_head(b);
    for (int i = 0; i < b->nbatches; i++) {
        enum tt_code rc = open_one(b, i, err);

        if (rc == TT_OK) {
            rc = measure(b, &b->done[i], err);
            tt_bench_close(&b->done[i]);
        }
        if (rc != TT_OK)
            return tt_fail_in(err, "a batch of %lld", (long long)b->batch[i]);
    }
    if (b->json)
        return print_json(b, err);
    printf("\na second: %s\n", b->done[0].unit);
    return TT_OK;
}

/* "frozen" or "step", and how often: "step 3". */
static enum tt_code read_turn(const char *line, enum tt_bench_task *ret_task, int64_t *ret_runs,
                              struct tt_err *err)
{
    size_t word = strcspn(line, " ");
    int task = 0;
    char *end;

    for (; task < TT_NBENCH_TASKS; task++) {
        const char *name = tt_bench_task_name((enum tt_bench_task)task);

        if (strlen(name) == word && !strncmp(line, name, word))
            break;
    }
    *ret_task = (enum tt_bench_task)task;
    *ret_runs = line[word] ? strtoll(line + word, &end, 10) : 0;
    if (task == TT_NBENCH_TASKS || (line[word] && (*end || *ret_runs < 1)))
        return tt_fail(err, TT_EPARSE, "a turn '%s', want frozen or step, and how often", line);
    return TT_OK;
}

/* One measurement a line, until the lines end. */
static enum tt_code take_turns(struct bench *b, struct tt_err *err)
{
    struct tt_bench *one = &b->done[0];
    enum tt_code rc = open_one(b, 0, err);
    enum tt_bench_task task;
    char line[32];
    int64_t runs;

    if (rc != TT_OK)
        return rc;
    while (rc == TT_OK && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        rc = read_turn(line, &task, &runs, err);
        if (rc == TT_OK)
            rc = tt_bench_measure(one, task, runs, err);
        if (rc == TT_OK) {
            json_t *o = tt_bench_json(one, 0);

            json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
            json_decref(o);
            printf("\n");
            (void)fflush(stdout);
        }
    }
    tt_bench_close(one);
    return rc;
}

static bool check(const struct bench *b)
{
    if (!b->turns)
        return true;
    if (b->nbatches > 1)
        fprintf(stderr, "ttad bench: --turns wants one batch size, not %d\n", b->nbatches);
    else if (b->profile)
        fprintf(stderr, "ttad bench: --turns and --profile exclude each other\n");
    else
        return true;
    return false;
}

static enum tt_code run(struct bench *b, struct tt_err *err)
{
    enum tt_code rc;

    omp_set_num_threads((int)b->threads);
    tt_arena_init(&b->arena, 0);
    rc = load(b, err);
    if (rc == TT_OK)
        rc = b->turns ? take_turns(b, err) : measure_all(b, err);
    tt_model_free(b->model);
    tt_arena_release(&b->arena);
    return rc;
}

int tt_cmd_bench(int argc, char **argv)
{
    struct bench b = {.batches = "1,16,64", .threads = omp_get_num_procs(), .seconds = 2};
    bool help = false;
    const struct tt_option table[] = {
        {.name = "--policy", .text = &b.policy_path},
        {.name = "--batch", .text = &b.batches},
        {.name = "--threads", .number = &b.threads, .min = 1, .max = 256},
        {.name = "--seconds", .number = &b.seconds, .min = 1, .max = 3600},
        {.name = "--steps", .number = &b.steps, .min = 1, .max = 500},
        {.name = "--profile", .on = &b.profile},
        {.name = "--json", .on = &b.json},
        {.name = "--turns", .on = &b.turns},
        {.name = "--help", .on = &help},
        {0},
    };
    enum tt_code rc;
    struct tt_err err;
    int n = 0;

    if (!tt_options_read(argc, argv, table, &b.path, 1, &n))
        return 2;
    if (help || !n) {
        if (!help)
            fprintf(stderr, "ttad bench: MODEL is missing\n");
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    if (!read_batches(&b) || !check(&b))
        return 2;
    rc = run(&b, &err);
    if (rc != TT_OK)
        fprintf(stderr, "ttad bench: %s\n", err.msg);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "ttad bench: standard output cannot be written\n");
        rc = TT_EIO;
    }
    return rc == TT_OK ? 0 : 1;
}
