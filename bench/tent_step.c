// SPDX-License-Identifier: Apache-2.0
/*
 * Times one Tent step (forward under batch statistics, entropy, backward to the norm parameters,
 * SGD) and a frozen pass of a model, and prints the medians as one line of JSON (cpu_ms: what the
 * step took of all processors together):
 *
 *     build/release/bench/tent_step MODEL.onnx --batch N --threads T --steps K
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/file.h"
#include "engines/step.h"

static double now_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

/* What policies/presets/tent.yaml says, with SGD; bench/ does not read policies. */
static void tent(struct tt_method *m, void *sgd)
{
    *m = (struct tt_method){.preset = "tent",
                            .select = {.kinds = 1u << TT_KIND_BN},
                            .answer = {.mode = TT_STATS_BATCH},
                            .learn = {.mode = TT_STATS_BATCH},
                            .nuses = 2,
                            .steps = 1};
    m->uses[0].part = tt_part_find(TT_OBJECTIVE, "entropy");
    m->uses[1].part = tt_part_find(TT_OPTIMIZER, "sgd");
    m->uses[1].options = sgd;
}

static enum tt_code run(const char *file, int batch, int steps, struct tt_err *err)
{
    struct tt_arena arena;
    struct tt_model *model;
    struct tt_method method;
    struct tt_plan *plan;
    struct tt_outcome o;
    double sgd[8] = {2.5e-4}; // the first option of the part: the learning rate
    double *adapt, *cpu, *frozen;
    float *x, *version, *logits;
    char *data;
    size_t n;

    tt_arena_init(&arena, 0);
    if (tt_file_read(file, (size_t)1 << 31, &arena, &data, &n, err) != TT_OK ||
        tt_model_read_onnx(data, n, 0, &model, err) != TT_OK)
        return err->code;
    tent(&method, sgd);
    if (tt_plan_new(model, &method, batch, &plan, err) != TT_OK)
        return err->code;
    x = TT_NEW(&arena, batch * tt_plan_row(plan), float);
    version = TT_NEW(&arena, tt_plan_floats(plan), float);
    logits = TT_NEW(&arena, batch * 100000, float);
    adapt = TT_NEW(&arena, steps, double);
    cpu = TT_NEW(&arena, steps, double);
    frozen = TT_NEW(&arena, steps, double);
    for (int64_t i = 0; i < batch * tt_plan_row(plan); i++)
        x[i] = (float)(i * 7919 % 2001) / 1000 - 1;
    tt_plan_source(plan, version);
    for (int i = -2; i < steps; i++) { // two to warm up
        double start = now_ms(CLOCK_MONOTONIC), cpu0 = now_ms(CLOCK_PROCESS_CPUTIME_ID), middle;

        if (tt_step_run(plan, version, version, x, batch, true, TT_SKIP_NONE, logits, &o, err) !=
            TT_OK)
            return err->code;
        middle = now_ms(CLOCK_MONOTONIC);
        if (i >= 0)
            cpu[i] = now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu0;
        if (tt_step_frozen(plan, version, x, batch, false, logits, err) != TT_OK)
            return err->code;
        if (i >= 0) {
            adapt[i] = middle - start;
            frozen[i] = now_ms(CLOCK_MONOTONIC) - middle;
        }
    }
    printf("{\"median_ms\": %.3f, \"cpu_ms\": %.3f, \"frozen_ms\": %.3f, \"batch\": %d, \"steps\": "
           "%d, "
           "\"adapted\": %s, \"plan_mb\": %.1f, \"version_bytes\": %lld}\n",
           median(adapt, steps), median(cpu, steps), median(frozen, steps), batch, steps,
           o.adapted ? "true" : "false", (double)tt_plan_bytes(plan) / 1e6,
           (long long)tt_plan_floats(plan) * 4);
    tt_plan_free(plan);
    tt_model_free(model);
    tt_arena_release(&arena);
    return TT_OK;
}

int main(int argc, char **argv)
{
    int batch = 64, threads = 2, steps = 10;
    struct tt_err err;

    for (int i = 2; i + 1 < argc; i += 2) {
        int v = atoi(argv[i + 1]);

        if (!strcmp(argv[i], "--batch"))
            batch = v;
        else if (!strcmp(argv[i], "--threads"))
            threads = v;
        else if (!strcmp(argv[i], "--steps"))
            steps = v;
        else
            argc = 0;
    }
    if (argc < 2 || batch < 1 || threads < 1 || steps < 1) {
        fprintf(stderr, "usage: tent_step MODEL.onnx [--batch N] [--threads T] [--steps K]\n");
        return 2;
    }
    omp_set_num_threads(threads);
    if (run(argv[1], batch, steps, &err) != TT_OK) {
        fprintf(stderr, "tent_step: %s\n", err.msg);
        return 1;
    }
    return 0;
}
