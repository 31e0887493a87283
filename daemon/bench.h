// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_BENCH_H
#define TT_DAEMON_BENCH_H

#include <jansson.h>
#include <stdio.h>

#include "policies/policy.h"

/*
 * How fast a model is on this machine under a policy: a frozen pass, and an adaptation step, each
 * from the source parameters on the same made-up batch, by the functions that the daemon's workers
 * call.  For `ttad bench`.
 */
enum tt_bench_task { TT_BENCH_FROZEN, TT_BENCH_STEP, TT_NBENCH_TASKS };

/* "frozen", "step". */
const char *tt_bench_task_name(enum tt_bench_task task);

struct tt_bench_spec {
    const struct tt_model *model;
    const struct tt_policy *policy;
    int64_t batch;          // rows
    int64_t steps;          // of each task; 0: as many as fit into seconds, but 3 at least
    int64_t seconds;        // of each task
    int64_t resident_bytes; // of the process before, and of the model's weights
};

/* What is known of a task. */
struct tt_timing {
    int64_t runs;  // 0: not measured
    double ms;     // median of a run
    double cpu_ms; // mean of a run, of all threads
    double flops;  // of a run, by the operators' formulas; only products are counted
};

/* The three passes that a profile tells apart. */
enum tt_bench_pass { TT_PASS_FROZEN, TT_PASS_FORWARD, TT_PASS_BACKWARD, TT_NPASSES };

/* Operators of one kind, in one run of each task: medians over the profile's runs. */
struct tt_bench_row {
    const char *op;
    int64_t nodes; // that compute, in the pass with the most of them
    double ms[TT_NPASSES], flops[TT_NPASSES];
};

#define TT_BENCH_ROWS 64

struct tt_bench {
    int64_t batch;
    bool learns;   // the policy does; else a step is an answer under its statistics
    int64_t items; // images, tokens or rows of a batch
    const char *unit;
    double compile_ms;
    int64_t plan_bytes, version_bytes;
    int64_t peak_bytes; // of the process beyond resident_bytes, since the opening; -1: not known
    struct tt_timing timings[TT_NBENCH_TASKS];
    int nrows; // of the profile, the longest first; 0: none was made
    struct tt_bench_row rows[TT_BENCH_ROWS];
    double profile_ms; // of a step under the profile, its median
    struct tt_bench_state *state;
};

/* Compile, and run each task once.  On success close it. */
TT_MUST_CHECK enum tt_code tt_bench_open(const struct tt_bench_spec *spec, struct tt_bench *b,
                                         struct tt_err *err);
void tt_bench_close(struct tt_bench *b);

/* Measure a task into b->timings, which forgets what it held, and b->peak_bytes.
 * runs 0: as many as the spec says. */
TT_MUST_CHECK enum tt_code tt_bench_measure(struct tt_bench *b, enum tt_bench_task task,
                                            int64_t runs, struct tt_err *err);

/* Fill b->rows, with every node's time taken. */
TT_MUST_CHECK enum tt_code tt_bench_profile(struct tt_bench *b, struct tt_err *err);

/* The batch that it measures with: [batch, row], the inputs' rows one behind the other. */
const float *tt_bench_input(const struct tt_bench *b);

/* The most that the machine's sgemm does, with the threads that operators have, in floating-point
 * operations a second; takes a second or so.  0: out of memory. */
double tt_bench_sgemm(void);

/* A table for people: its head, a line of it, and the profile below that line. */
void tt_bench_print_head(FILE *to);
void tt_bench_print(const struct tt_bench *b, double sgemm, FILE *to);

void tt_bench_print_profile(const struct tt_bench *b, FILE *to);

/* All of the above as an object, the caller's; NULL: out of memory.  sgemm 0: not measured. */
json_t *tt_bench_json(const struct tt_bench *b, double sgemm);

#endif
