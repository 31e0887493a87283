// SPDX-License-Identifier: Apache-2.0
#include "daemon/bench.h"

static double per_second(const struct tt_bench *b, enum tt_bench_task task)
{
    const struct tt_timing *t = &b->timings[task];

    return t->ms > 0 ? (double)b->items / t->ms * 1e3 : 0;
}

static double rate(double flops, double ms)
{
    return ms > 0 ? flops / ms * 1e3 : 0;
}

/* ---- for people ------------------------------------------------------------------------------ */

void tt_bench_print_head(FILE *to)
{
    fprintf(to, "%6s %12s %10s %9s %12s %10s %9s %9s %9s\n", "batch", "frozen, ms", "a second",
            "of sgemm", "step, ms", "a second", "of sgemm", "plan, MB", "peak, MB");
}

void tt_bench_print(const struct tt_bench *b, double sgemm, FILE *to)
{
    fprintf(to, "%6lld", (long long)b->batch);
    for (int task = 0; task < TT_NBENCH_TASKS; task++) {
        const struct tt_timing *t = &b->timings[task];

        fprintf(to, " %12.3f %10.1f %7.1f %%", t->ms, per_second(b, (enum tt_bench_task)task),
                sgemm > 0 ? 100 * rate(t->flops, t->ms) / sgemm : 0);
    }
    fprintf(to, " %9.1f", (double)b->plan_bytes / 1e6);
    if (b->peak_bytes >= 0)
        fprintf(to, " %9.1f\n", (double)b->peak_bytes / 1e6);
    else
        fprintf(to, " %9s\n", "-");
}

void tt_bench_print_profile(const struct tt_bench *b, FILE *to)
{
    double sum = 0, whole = b->profile_ms;

    fprintf(to, "\n  batch %lld, where the time goes; share: of a step of %.3f ms\n",
            (long long)b->batch, whole);
    fprintf(to, "  %-22s %6s %11s %11s %13s %7s %9s\n", "operator", "nodes", "frozen, ms",
            "forward, ms", "backward, ms", "share", "GFLOP/s");
    for (int i = 0; i < b->nrows; i++) {
        const struct tt_bench_row *r = &b->rows[i];
        double ms = r->ms[TT_PASS_FORWARD] + r->ms[TT_PASS_BACKWARD];
        double flops = r->flops[TT_PASS_FORWARD] + r->flops[TT_PASS_BACKWARD];

        fprintf(to, "  %-22s %6lld %11.3f %11.3f %13.3f %5.1f %%", r->op, (long long)r->nodes,
                r->ms[TT_PASS_FROZEN], r->ms[TT_PASS_FORWARD], r->ms[TT_PASS_BACKWARD],
                100 * ms / whole);
        if (flops > 0)
            fprintf(to, " %9.1f", rate(flops, ms) / 1e9);
        fprintf(to, "\n");
        sum += ms;
    }
    fprintf(to, "  %-22s %6s %11s %11s %13s %5.1f %%\n\n", "outside of operators", "", "", "", "",
            100 * (whole - sum) / whole);
}

/* ---- as JSON --------------------------------------------------------------------------------- */

static json_t *timing_json(const struct tt_bench *b, enum tt_bench_task task, double sgemm)
{
    const struct tt_timing *t = &b->timings[task];
    double speed = rate(t->flops, t->ms);
    json_t *o;

    if (!t->runs)
        return json_null();
    o = json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "runs", (json_int_t)t->runs, "ms", t->ms,
                  "cpu_ms", t->cpu_ms, "per_second", per_second(b, task), "gflop", t->flops / 1e9,
                  "gflop_per_second", speed / 1e9);
    if (o && sgemm > 0)
        json_object_set_new(o, "of_sgemm", json_real(speed / sgemm));
    return o;
}

static json_t *profile_json(const struct tt_bench *b)
{
    json_t *rows = json_array();

    for (int i = 0; i < b->nrows; i++) {
        const struct tt_bench_row *r = &b->rows[i];

        json_array_append_new(
            rows, json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "operator", r->op, "nodes",
                            (json_int_t)r->nodes, "frozen_ms", r->ms[TT_PASS_FROZEN], "forward_ms",
                            r->ms[TT_PASS_FORWARD], "backward_ms", r->ms[TT_PASS_BACKWARD],
                            "frozen_gflop", r->flops[TT_PASS_FROZEN] / 1e9, "forward_gflop",
                            r->flops[TT_PASS_FORWARD] / 1e9, "backward_gflop",
                            r->flops[TT_PASS_BACKWARD] / 1e9));
    }
    return json_pack("{s:f, s:o}", "step_ms", b->profile_ms, "operators", rows);
}

json_t *tt_bench_json(const struct tt_bench *b, double sgemm)
{
    json_t *o = json_pack(
        "{s:I, s:s, s:I, s:o, s:o, s:f, s:I, s:I, s:o}", "batch", (json_int_t)b->batch, "unit",
        b->unit, "items", (json_int_t)b->items, "frozen", timing_json(b, TT_BENCH_FROZEN, sgemm),
        "step", timing_json(b, TT_BENCH_STEP, sgemm), "compile_ms", b->compile_ms, "plan_bytes",
        (json_int_t)b->plan_bytes, "version_bytes", (json_int_t)b->version_bytes, "peak_bytes",
        b->peak_bytes < 0 ? json_null() : json_integer(b->peak_bytes));

    if (o && b->nrows)
        json_object_set_new(o, "profile", profile_json(b));
    return o;
}
