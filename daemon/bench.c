// SPDX-License-Identifier: Apache-2.0
#include "daemon/bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "daemon/process.h"
#include "engines/step.h"
#include "runtime/inputs.h"
#include "runtime/machine.h"

#define LEAST        3   // runs of a task, where their number is not given
#define MOST         500 // of them
#define PROFILE_RUNS 15  // at most

struct tt_bench_state {
    struct tt_arena arena;
    struct tt_bench_spec spec;
    struct tt_plan *plan;
    float *x, *source, *after, *logits;
    double times[MOST];

    /* While nodes are watched. */
    enum tt_bench_task task; // that runs
    double last;             // when the node before ended
    int run;                 // of the profile
    struct {
        const struct tt_op *op;
        int64_t nodes[TT_NPASSES];
        double ms[TT_NPASSES][PROFILE_RUNS], flops[TT_NPASSES];
    } kinds[TT_BENCH_ROWS];
    int nkinds;
};

const char *tt_bench_task_name(enum tt_bench_task task)
{
    return task == TT_BENCH_FROZEN ? "frozen" : "step";
}

static double clock_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double now(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *v, int64_t n)
{
    if (!n)
        return 0;
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* ---- one run ------------------------------------------------------------------------------- */

static enum tt_code run_once(struct tt_bench *b, enum tt_bench_task task, struct tt_err *err)
{
    struct tt_bench_state *s = b->state;
    struct tt_outcome o;

    s->task = task;
    if (task == TT_BENCH_FROZEN)
        return tt_step_frozen(s->plan, s->source, s->x, b->batch, false, s->logits, err);
    if (tt_step_run(s->plan, s->source, s->after, s->x, b->batch, b->learns, TT_SKIP_SOURCE,
                    s->logits, &o, err) != TT_OK)
        return err->code;
    if (b->learns && !o.adapted)
        return tt_fail(err, TT_ENUMERIC, "a step on random input learnt nothing: %s",
                       tt_skip_name(o.skip));
    return TT_OK;
}

/* ---- watching nodes -------------------------------------------------------------------------- */

static int find_kind(struct tt_bench_state *s, const struct tt_op *op)
{
    int i = 0;

    while (i < s->nkinds && s->kinds[i].op != op)
        i++;
    if (i == TT_BENCH_ROWS)
        return i - 1; // more kinds than there are operators: the last one has the rest
    if (i == s->nkinds)
        s->kinds[s->nkinds++].op = op;
    return i;
}

static void watch(void *ctx, const struct tt_node *node, bool backward)
{
    struct tt_bench_state *s = (struct tt_bench_state *)ctx;
    enum tt_bench_pass pass = backward                     ? TT_PASS_BACKWARD
                              : s->task == TT_BENCH_FROZEN ? TT_PASS_FROZEN
                                                           : TT_PASS_FORWARD;
    double end = now();

    if (node) {
        int k = find_kind(s, node->op);

        s->kinds[k].ms[pass][s->run] += end - s->last;
        if (s->run == 0) {
            s->kinds[k].nodes[pass]++;
            s->kinds[k].flops[pass] += node->op->flops ? node->op->flops(node, backward) : 0;
        }
    }
    s->last = now();
}

static enum tt_code run_watched(struct tt_bench *b, int runs, struct tt_err *err)
{
    struct tt_bench_state *s = b->state;
    double took[PROFILE_RUNS];
    enum tt_code rc = TT_OK;

    memset(s->kinds, 0, sizeof s->kinds);
    s->nkinds = 0;
    tt_plan_watch_nodes(s->plan, watch, s);
    for (s->run = 0; s->run < runs && rc == TT_OK; s->run++) {
        double start;

        rc = run_once(b, TT_BENCH_FROZEN, err);
        start = now();
        if (rc == TT_OK)
            rc = run_once(b, TT_BENCH_STEP, err);
        took[s->run] = now() - start;
    }
    tt_plan_watch_nodes(s->plan, NULL, NULL);
    if (rc == TT_OK)
        b->profile_ms = median(took, runs);
    return rc;
}

static void count_flops(struct tt_bench *b)
{
    const struct tt_bench_state *s = b->state;

    for (int i = 0; i < s->nkinds; i++) {
        b->timings[TT_BENCH_FROZEN].flops += s->kinds[i].flops[TT_PASS_FROZEN];
        b->timings[TT_BENCH_STEP].flops +=
            s->kinds[i].flops[TT_PASS_FORWARD] + s->kinds[i].flops[TT_PASS_BACKWARD];
    }
}

static double of_step(const struct tt_bench_row *r)
{
    return r->ms[TT_PASS_FORWARD] + r->ms[TT_PASS_BACKWARD];
}

static int longest_first(const void *a, const void *b)
{
    const struct tt_bench_row *x = (const struct tt_bench_row *)a;
    const struct tt_bench_row *y = (const struct tt_bench_row *)b;
    double dx = of_step(x), dy = of_step(y);

    return dx > dy ? -1 : dx < dy;
}

enum tt_code tt_bench_profile(struct tt_bench *b, struct tt_err *err)
{
    struct tt_bench_state *s = b->state;
    int runs = s->spec.steps && s->spec.steps < PROFILE_RUNS ? (int)s->spec.steps : PROFILE_RUNS;
    double each = b->timings[TT_BENCH_FROZEN].ms + b->timings[TT_BENCH_STEP].ms;

    while (!s->spec.steps && runs > LEAST && each * runs > 2e3 * (double)s->spec.seconds)
        runs--;
    if (run_watched(b, runs, err) != TT_OK)
        return err->code;
    b->nrows = s->nkinds;
    for (int i = 0; i < s->nkinds; i++) {
        struct tt_bench_row *r = &b->rows[i];

        *r = (struct tt_bench_row){.op = s->kinds[i].op->name};
        for (int pass = 0; pass < TT_NPASSES; pass++) {
            if (s->kinds[i].nodes[pass] > r->nodes)
                r->nodes = s->kinds[i].nodes[pass];
            r->ms[pass] = median(s->kinds[i].ms[pass], runs);
            r->flops[pass] = s->kinds[i].flops[pass];
        }
    }
    qsort(b->rows, (size_t)b->nrows, sizeof *b->rows, longest_first);
    return TT_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* How many numbers an input of integers may be: as many as the table that it looks up has rows, two
 * where it looks up none. */
static int64_t count_words(const struct tt_graph *g, int value)
{
    for (int i = 0; i < g->nnodes; i++) {
        const struct tt_gnode *n = &g->nodes[i];

        if (n->in[0] == value && (!strcmp(n->op->name, "Cast") || !strcmp(n->op->name, "Identity")))
            value = n->out;
        else if (n->nin > 1 && n->in[1] == value && !strcmp(n->op->name, "Gather") &&
                 g->values[n->in[0]].ndim > 0)
            return g->values[n->in[0]].dim[0];
    }
    return 2;
}

/* Noise in [-1, 1), tokens, and masks that hide nothing. */
static void make_up_batch(struct tt_bench *b, const struct tt_inputs *in)
{
    struct tt_bench_state *s = b->state;
    const struct tt_graph *g = &s->spec.model->graph;
    struct tt_rng rng;

    tt_rng_seed(&rng, 1);
    for (int k = 0; k < in->n; k++) {
        const struct tt_value *v = &g->values[in->of[k].value];
        int64_t words = v->dtype == TT_FLOATS ? 0 : count_words(g, in->of[k].value);

        for (int64_t i = 0; i < b->batch * in->of[k].row; i++) {
            float *x = s->x + i / in->of[k].row * in->row + in->of[k].offset + i % in->of[k].row;
            uint64_t draw = tt_rng_next(&rng) >> 40;

            if (v->dtype == TT_FLOATS)
                *x = (float)draw / (float)(1 << 23) - 1;
            else
                *x = words > 2 ? (float)(draw % (uint64_t)words) : 1;
        }
        if (words > 2 && b->items == b->batch) {
            b->items = b->batch * in->of[k].row;
            b->unit = "tokens";
        }
    }
}

const float *tt_bench_input(const struct tt_bench *b)
{
    return b->state->x;
}

static enum tt_code allocate(struct tt_bench *b, struct tt_err *err)
{
    struct tt_bench_state *s = b->state;
    int64_t floats = tt_plan_floats(s->plan);
    struct tt_inputs in;

    if (tt_inputs_of(&s->spec.model->graph, &in, err) != TT_OK)
        return err->code;
    s->x = TT_NEW(&s->arena, b->batch * in.row, float);
    s->source = TT_NEW(&s->arena, floats + 1, float);
    s->after = TT_NEW(&s->arena, floats + 1, float);
    s->logits = TT_NEW(&s->arena, b->batch * tt_plan_classes(s->plan), float);

    if (!s->x || !s->source || !s->after || !s->logits)
        return tt_fail(err, TT_ENOMEM, "out of memory for a batch of %lld rows",
                       (long long)b->batch);
    make_up_batch(b, &in);
    tt_plan_source(s->plan, s->source);
    return TT_OK;
}

static enum tt_code compile(struct tt_bench *b, struct tt_err *err)
{
    struct tt_bench_state *s = b->state;
    double start = now();

    if (tt_plan_new(s->spec.model, &s->spec.policy->method, b->batch, &s->plan, err) != TT_OK)
        return err->code;
    b->compile_ms = now() - start;
    if (tt_plan_limit(s->plan) != b->batch)
        return tt_fail(err, TT_ESHAPE, "the model is made for batches of %lld rows, not %lld",
                       (long long)tt_plan_limit(s->plan), (long long)b->batch);
    b->learns = tt_plan_learns(s->plan);
    b->plan_bytes = (int64_t)tt_plan_bytes(s->plan);
    b->version_bytes = tt_plan_floats(s->plan) * (int64_t)sizeof(float);
    b->items = b->batch;
    b->unit = tt_plan_input(s->plan)->ndim == 4 ? "images" : "rows";
    return TT_OK;
}

static void read_peak(struct tt_bench *b)
{
    int64_t more = tt_process_peak() - b->state->spec.resident_bytes;

    if (b->peak_bytes >= 0)
        b->peak_bytes = more > 0 ? more : 0;
}

enum tt_code tt_bench_open(const struct tt_bench_spec *spec, struct tt_bench *b, struct tt_err *err)
{
    struct tt_bench_state *s = (struct tt_bench_state *)calloc(1, sizeof *s);

    if (!s)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    *b = (struct tt_bench){.batch = spec->batch, .state = s};
    s->spec = *spec;
    tt_arena_init(&s->arena, 0);
    b->peak_bytes = tt_process_forget_peak() ? 0 : -1;
    if (compile(b, err) != TT_OK || allocate(b, err) != TT_OK || run_watched(b, 1, err) != TT_OK) {
        tt_bench_close(b);
        return err->code;
    }
    count_flops(b);
    read_peak(b);
    return TT_OK;
}

void tt_bench_close(struct tt_bench *b)
{
    tt_plan_free(b->state->plan);
    tt_arena_release(&b->state->arena);
    free(b->state);
    b->state = NULL;
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* Whether another run is to be made, after n of them. */
static bool goes_on(const struct tt_bench_spec *spec, int64_t wanted, int64_t n, double since)
{
    if (wanted)
        return n < wanted;
    return n < MOST && (n < LEAST || now() - since < 1e3 * (double)spec->seconds);
}

enum tt_code tt_bench_measure(struct tt_bench *b, enum tt_bench_task task, int64_t runs,
                              struct tt_err *err)
{
    struct tt_bench_state *s = b->state;
    struct tt_timing *t = &b->timings[task];
    double begin, cpu = 0;
    int64_t n = 0;

    if (!runs || runs > MOST)
        runs = runs ? MOST : s->spec.steps;
    if (s->task != task && run_once(b, task, err) != TT_OK) // caches hold its memory again
        return err->code;
    for (begin = now(); goes_on(&s->spec, runs, n, begin); n++) {
        double start = now(), cpu0 = clock_ms(CLOCK_PROCESS_CPUTIME_ID);

        if (run_once(b, task, err) != TT_OK)
            return err->code;
        s->times[n] = now() - start;
        cpu += clock_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu0;
    }
    t->runs = n;
    t->ms = median(s->times, n);
    t->cpu_ms = cpu / (double)n;
    read_peak(b);
    return TT_OK;
}

double tt_bench_sgemm(void)
{
    enum { SIDE = 1280, RUNS = 12 };
    struct tt_arena arena;
    double best = 0;
    float *a, *b, *c;

    tt_arena_init(&arena, 0);
    a = TT_NEW(&arena, SIDE * SIDE, float);
    b = TT_NEW(&arena, SIDE * SIDE, float);
    c = TT_NEW(&arena, SIDE * SIDE, float);
    for (int64_t i = 0; a && b && c && i < (int64_t)SIDE * SIDE; i++)
        a[i] = b[i] = (float)(i % 17) / 16;
    for (int i = 0; a && b && c && i < RUNS; i++) {
        double start = now(), rate;

        tt_machine_product(SIDE, a, b, c);
        rate = 2.0 * SIDE * SIDE * SIDE / (now() - start) * 1e3;
        best = rate > best ? rate : best;
    }
    tt_arena_release(&arena);
    return best;
}
