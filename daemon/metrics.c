// SPDX-License-Identifier: Apache-2.0
#include "daemon/metrics.h"

#include <stdio.h>
#include <string.h>

#include "daemon/job.h"

#define OTHER "other" // model and policy of what came after TT_SERIES of them

struct series {
    char model[TTAD_WIRE_NAME_MAX + 1], policy[TT_ID_BYTES + 1];
    _Atomic int64_t batches[TT_NSKIPS], samples[TT_NSKIPS];
    _Atomic int64_t trips[TT_NACTIONS][2], restored[2], labels, correct;
    struct tt_histogram stage[TT_NSTAGES];
};

struct tally { // of one thread
    _Atomic int64_t requests[TT_NASKS + 1][TT_NWIRES];
    struct tt_histogram taken[TT_NASKS + 1];
    _Atomic int64_t events[3], snapshots;
    struct series *current; // the thread's own; NULL: it serves none
    atomic_int nseries;     // that may be read; their names stay as they are
    struct series series[TT_SERIES + 1];
};

struct tt_metrics {
    int n;
    struct tally *tally; // [n + 1]; the last one is of the threads that never joined
};

static _Thread_local int mine = -1; // the thread's tally

static void add(_Atomic int64_t *c, int64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static int64_t get(const _Atomic int64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

struct tt_metrics *tt_metrics_new(struct tt_arena *arena, int threads)
{
    struct tt_metrics *m = TT_NEW(arena, 1, struct tt_metrics);

    if (!m)
        return NULL;
    m->n = threads;
    m->tally = TT_NEW(arena, threads + 1, struct tally);
    return m->tally ? m : NULL;
}

static struct tally *my_tally(struct tt_metrics *m)
{
    return &m->tally[mine >= 0 && mine < m->n ? mine : m->n];
}

void tt_metrics_join(const struct tt_metrics *m, int i)
{
    mine = m && i < m->n ? i : -1;
}

static void set_names(struct series *s, const char *model, const char *policy)
{
    (void)snprintf(s->model, sizeof s->model, "%s", model);
    (void)snprintf(s->policy, sizeof s->policy, "%s", policy);
}

static bool is_named(const struct series *s, const char *model, const char *policy)
{
    return !strcmp(s->model, model) && !strcmp(s->policy, policy);
}

void tt_metrics_serves(struct tt_metrics *m, const char *model, const char *policy)
{
    struct tally *t;
    int n;

    if (!m || mine < 0)
        return; // a tally that several threads share has no current series
    t = my_tally(m);
    if (t->current && is_named(t->current, model, policy))
        return;
    n = atomic_load_explicit(&t->nseries, memory_order_relaxed);
    for (int i = 0; i < n; i++)
        if (is_named(&t->series[i], model, policy)) {
            t->current = &t->series[i];
            return;
        }
    if (n <= TT_SERIES) {
        if (n < TT_SERIES)
            set_names(&t->series[n], model, policy);
        else
            set_names(&t->series[n], OTHER, OTHER);
        atomic_store_explicit(&t->nseries, n + 1, memory_order_release);
        t->current = &t->series[n];
    } else {
        t->current = &t->series[TT_SERIES];
    }
}

void tt_metrics_answer(struct tt_metrics *m, const struct tt_job *job)
{
    const enum tt_ask ask = job->request.ask;
    struct tally *t;

    if (!m)
        return;
    t = my_tally(m);
    add(&t->requests[ask < TT_NASKS ? ask : TT_NASKS][job->code], 1);
    tt_histogram_add(&t->taken[ask < TT_NASKS ? ask : TT_NASKS], tt_now_us() - job->arrived_us);
}

static void add_batch(struct series *s, const struct tt_rec_batch *b)
{
    enum tt_skip why = TT_SKIP_NONE;

    while (!b->adapted && why < TT_NSKIPS - 1 && strcmp(tt_skip_name(why), b->skip) != 0)
        why++;
    add(&s->batches[why], 1);
    add(&s->samples[why], b->rows);
    tt_histogram_add(&s->stage[TT_STAGE_QUEUE], b->queue_us);
    if (b->infer_us || !b->adapt_us)
        tt_histogram_add(&s->stage[TT_STAGE_INFER], b->infer_us);
    if (b->adapt_us)
        tt_histogram_add(&s->stage[TT_STAGE_ADAPT], b->adapt_us);
}

static void add_decision(struct series *s, const struct tt_rec_decision *d)
{
    static const char *const actions[] = {
#define NAME(sym, name) name,
        TT_ACTIONS(NAME)
#undef NAME
    };
    const bool guard = !strcmp(d->actor, "guard");

    for (int i = 0; guard && i < TT_NACTIONS; i++)
        if (!strcmp(d->action, actions[i]))
            add(&s->trips[i][d->dry_run], 1);
    if (!d->dry_run && d->to_version && *d->to_version)
        add(&s->restored[!guard], 1);
}

static int severity_index(const char *severity)
{
    return !strcmp(severity, "error") ? 2 : !strcmp(severity, "warning");
}

void tt_metrics_record(struct tt_metrics *m, const struct tt_record *r)
{
    struct tally *t;

    if (!m)
        return;
    t = my_tally(m);
    if (r->kind == TT_REC_EVENT)
        add(&t->events[severity_index(r->event.severity)], 1);
    else if (r->kind == TT_REC_VERSION && r->version.file)
        add(&t->snapshots, 1);
    if (!t->current)
        return;
    if (r->kind == TT_REC_BATCH) {
        add_batch(t->current, &r->batch);
    } else if (r->kind == TT_REC_DECISION) {
        add_decision(t->current, &r->decision);
    } else if (r->kind == TT_REC_FEEDBACK) {
        add(&t->current->labels, r->feedback.n);
        add(&t->current->correct, r->feedback.correct);
    }
}

/* The place of that series in what is read; the last one takes what finds none. */
static struct tt_series *find_series(struct tt_counts *ret, const struct series *s)
{
    struct tt_series *to;

    for (int i = 0; i < ret->nseries; i++)
        if (is_named(s, ret->series[i].model, ret->series[i].policy))
            return &ret->series[i];
    if (ret->nseries < TT_SERIES) {
        to = &ret->series[ret->nseries++];
        memcpy(to->model, s->model, sizeof to->model);
        memcpy(to->policy, s->policy, sizeof to->policy);
        return to;
    }
    ret->nseries = TT_SERIES + 1;
    to = &ret->series[TT_SERIES];
    (void)snprintf(to->model, sizeof to->model, OTHER);
    (void)snprintf(to->policy, sizeof to->policy, OTHER);
    return to;
}

static void read_series(const struct series *s, struct tt_series *to)
{
    for (int i = 0; i < TT_NSKIPS; i++) {
        to->batches[i] += get(&s->batches[i]);
        to->samples[i] += get(&s->samples[i]);
    }
    for (int i = 0; i < TT_NACTIONS; i++)
        for (int dry = 0; dry < 2; dry++)
            to->trips[i][dry] += get(&s->trips[i][dry]);
    to->restored[0] += get(&s->restored[0]);
    to->restored[1] += get(&s->restored[1]);
    to->labels += get(&s->labels);
    to->correct += get(&s->correct);
    for (int i = 0; i < TT_NSTAGES; i++)
        tt_histogram_read(&s->stage[i], &to->stage[i]);
}

void tt_metrics_read(const struct tt_metrics *m, struct tt_counts *ret)
{
    *ret = (struct tt_counts){.nseries = 0};
    for (int k = 0; k <= m->n; k++) {
        const struct tally *t = &m->tally[k];
        const int n = atomic_load_explicit(&t->nseries, memory_order_acquire);

        for (int i = 0; i <= TT_NASKS; i++) {
            for (int j = 0; j < TT_NWIRES; j++)
                ret->requests[i][j] += get(&t->requests[i][j]);
            tt_histogram_read(&t->taken[i], &ret->taken[i]);
        }
        for (int i = 0; i < 3; i++)
            ret->events[i] += get(&t->events[i]);
        ret->snapshots += get(&t->snapshots);
        for (int i = 0; i < n; i++)
            read_series(&t->series[i], find_series(ret, &t->series[i]));
    }
}
