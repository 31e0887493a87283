// SPDX-License-Identifier: Apache-2.0
#include "daemon/families.h"
#include "daemon/commands.h"

#include <stdio.h>
#include <string.h>

#include "daemon/gate.h"
#include "daemon/http.h"
#include "daemon/lanes.h"
#include "daemon/metrics.h"
#include "daemon/process.h"
#include "daemon/worker.h"
#include "monitor/decision.h"
#include "runtime/kernels.h"

#define AT_ONCE 64 // streams that are asked while the list of all is held

enum { OPENING = TT_NGUARD_STATES, KNOWN, NSTATES };

struct scrape { // what one answer is made of, read once
    struct tt_daemon *d;
    struct tt_out *o;
    const struct tt_family *f;
    int64_t now_us;
    struct tt_counts *counts;
    struct tt_store_stats record;
    struct tt_process process;
    struct tt_http_stats http;
    struct tt_gate_counts gate;
    int64_t streams[NSTATES], waiting, stream_bytes;
};

#define LABELS(...)           \
    (const struct tt_label[]) \
    {                         \
        __VA_ARGS__,          \
        {                     \
            NULL, NULL        \
        }                     \
    }

static void put(struct scrape *s, const struct tt_label *labels, double value)
{
    tt_prometheus_sample(s->o, s->f, labels, value);
}

/* ---- the daemon ---------------------------------------------------------------------------- */

static void build_info(struct scrape *s)
{
    put(s,
        LABELS({"version", TTAD_VERSION}, {"kernels", tt_kernels()->name},
               {"boot_id", s->d->boot_id}),
        1);
}

static void uptime(struct scrape *s)
{
    put(s, NULL, (double)(s->now_us - s->d->started_us) / 1e6);
}

static void ready(struct scrape *s)
{
    put(s, NULL, tt_health_ready(&s->d->health));
}

static void not_ready(struct scrape *s)
{
    for (int i = 0; i < TT_NHEALTHS; i++)
        put(s, LABELS({"reason", tt_health_name((enum tt_health_source)i)}),
            tt_health_is_set(&s->d->health, (enum tt_health_source)i));
}

static void held(struct scrape *s)
{
    put(s, NULL, !tt_health_may_learn(&s->d->health));
}

/* ---- requests ------------------------------------------------------------------------------ */

static const char *op_name(int ask)
{
    return ask < TT_NASKS ? tt_ask_name((enum tt_ask)ask) : "unknown";
}

/* What was answered OK is always there, so that a rate can be taken from the start. */
static void requests(struct scrape *s)
{
    for (int i = 0; i <= TT_NASKS; i++)
        for (int j = 0; j < TT_NWIRES; j++)
            if (s->counts->requests[i][j] || (j == TT_WIRE_OK && i < TT_NASKS))
                put(s, LABELS({"op", op_name(i)}, {"code", tt_wire_name((enum tt_wire)j)}),
                    (double)s->counts->requests[i][j]);
}

static void request_duration(struct scrape *s)
{
    for (int i = 0; i <= TT_NASKS; i++)
        if (i == TT_ASK_INFER || tt_durations_count(&s->counts->taken[i]))
            tt_prometheus_histogram(s->o, s->f, LABELS({"op", op_name(i)}), &s->counts->taken[i]);
}

static void unroutable(struct scrape *s)
{
    put(s, NULL, (double)atomic_load(&s->d->unroutable));
}

static void queue_requests(struct scrape *s)
{
    put(s, NULL, (double)s->waiting);
}

/* ---- connections --------------------------------------------------------------------------- */

static void queue_bytes(struct scrape *s)
{
    put(s, NULL, (double)s->gate.bytes);
}

static void queue_bytes_limit(struct scrape *s)
{
    put(s, NULL, (double)s->gate.most_bytes);
}

static void connections(struct scrape *s)
{
    put(s, NULL, (double)s->gate.connections);
}

static void connections_waiting(struct scrape *s)
{
    put(s, NULL, (double)s->gate.waiting);
}

static void connections_accepted(struct scrape *s)
{
    put(s, NULL, (double)s->gate.accepted);
}

static void connections_cut(struct scrape *s)
{
    for (int i = 0; i < TT_NCUTS; i++)
        put(s, LABELS({"rule", tt_cut_name((enum tt_cut)i)}), (double)s->gate.cut[i]);
}

static void subscribers(struct scrape *s)
{
    put(s, NULL, (double)s->gate.subscribers);
}

/* ---- batches, by model and policy ----------------------------------------------------------- */

static void put_results(struct scrape *s, const struct tt_series *e, const int64_t n[TT_NSKIPS])
{
    for (int i = 0; i < TT_NSKIPS; i++)
        if (n[i] || i == TT_SKIP_NONE)
            put(s,
                LABELS({"model", e->model}, {"policy", e->policy},
                       {"result", i ? tt_skip_name((enum tt_skip)i) : "adapted"}),
                (double)n[i]);
}

static void batches(struct scrape *s)
{
    for (int i = 0; i < s->counts->nseries; i++)
        put_results(s, &s->counts->series[i], s->counts->series[i].batches);
}

static void samples(struct scrape *s)
{
    for (int i = 0; i < s->counts->nseries; i++)
        put_results(s, &s->counts->series[i], s->counts->series[i].samples);
}

static void stage_duration(struct scrape *s)
{
    static const char *const stages[TT_NSTAGES] = {"queue", "infer", "adapt"};

    for (int i = 0; i < s->counts->nseries; i++)
        for (int k = 0; k < TT_NSTAGES; k++) {
            const struct tt_series *e = &s->counts->series[i];

            tt_prometheus_histogram(
                s->o, s->f,
                LABELS({"model", e->model}, {"policy", e->policy}, {"stage", stages[k]}),
                &e->stage[k]);
        }
}

static void trips(struct scrape *s)
{
    static const char *const actions[] = {
#define NAME(sym, name) name,
        TT_ACTIONS(NAME)
#undef NAME
    };

    for (int i = 0; i < s->counts->nseries; i++)
        for (int k = 0; k < TT_NACTIONS; k++)
            for (int dry = 0; dry < 2; dry++) {
                const struct tt_series *e = &s->counts->series[i];

                put(s,
                    LABELS({"model", e->model}, {"policy", e->policy}, {"action", actions[k]},
                           {"dry_run", dry ? "true" : "false"}),
                    (double)e->trips[k][dry]);
            }
}

static void rollbacks(struct scrape *s)
{
    for (int i = 0; i < s->counts->nseries; i++)
        for (int k = 0; k < 2; k++) {
            const struct tt_series *e = &s->counts->series[i];

            put(s,
                LABELS({"model", e->model}, {"policy", e->policy},
                       {"by", k ? "operator" : "guard"}),
                (double)e->restored[k]);
        }
}

static void put_labels(struct scrape *s, bool correct)
{
    for (int i = 0; i < s->counts->nseries; i++) {
        const struct tt_series *e = &s->counts->series[i];

        put(s, LABELS({"model", e->model}, {"policy", e->policy}),
            (double)(correct ? e->correct : e->labels));
    }
}

static void labels(struct scrape *s)
{
    put_labels(s, false);
}

static void labels_correct(struct scrape *s)
{
    put_labels(s, true);
}

/* ---- streams and workers -------------------------------------------------------------------- */

static int state_index(const char *name)
{
    for (int i = 0; i < TT_NGUARD_STATES; i++)
        if (!strcmp(name, tt_guard_state_name((enum tt_guard_state)i)))
            return i;
    return OPENING;
}

static bool count_lane(void *arg, struct tt_lane *lane)
{
    struct scrape *s = arg;
    const struct tt_face *f = &lane->face;

    pthread_mutex_lock(&lane->worker->lock);
    if (!f->closed) {
        const int state = state_index(f->state);

        s->streams[f->open || state == OPENING ? state : KNOWN]++;
        s->stream_bytes += f->bytes;
        s->waiting += atomic_load(&lane->waiting);
    }
    pthread_mutex_unlock(&lane->worker->lock);
    return true;
}

static void streams(struct scrape *s)
{
    for (int i = 0; i < NSTATES; i++)
        put(s,
            LABELS({"state", i == KNOWN     ? "known"
                             : i == OPENING ? "opening"
                                            : tt_guard_state_name((enum tt_guard_state)i)}),
            (double)s->streams[i]);
}

static void streams_limit(struct scrape *s)
{
    put(s, NULL, (double)s->d->settings->limits.max_streams);
}

static void memory(struct scrape *s)
{
    int64_t plans = 0;

    for (int64_t i = 0; i < s->d->settings->workers; i++)
        plans += atomic_load(&s->d->workers[i].plan_bytes);
    put(s, LABELS({"of", "streams"}), (double)s->stream_bytes);
    put(s, LABELS({"of", "plans"}), (double)plans);
}

static void workers(struct scrape *s)
{
    put(s, NULL, (double)s->d->settings->workers);
}

static void worker_busy(struct scrape *s)
{
    for (int64_t i = 0; i < s->d->settings->workers; i++) {
        char index[24];

        (void)snprintf(index, sizeof index, "%d", (int)i);
        put(s, LABELS({"worker", index}),
            (double)tt_beat_busy_us(&s->d->workers[i].beat, s->now_us) / 1e6);
    }
}

/* ---- events and the record ------------------------------------------------------------------ */

static void snapshots(struct scrape *s)
{
    put(s, NULL, (double)s->counts->snapshots);
}

static void events(struct scrape *s)
{
    static const char *const severities[3] = {"info", "warning", "error"};

    for (int i = 0; i < 3; i++)
        put(s, LABELS({"severity", severities[i]}), (double)s->counts->events[i]);
}

static void events_dropped(struct scrape *s)
{
    put(s, NULL, (double)tt_events_dropped(s->d->events));
}

static void record_rows(struct scrape *s)
{
    put(s, LABELS({"result", "committed"}), (double)s->record.committed);
    put(s, LABELS({"result", "shed"}), (double)s->record.shed);
    put(s, LABELS({"result", "rejected"}), (double)s->record.rejected);
}

static void record_lag(struct scrape *s)
{
    put(s, NULL, (double)(s->record.put - s->record.committed));
}

static void record_queue(struct scrape *s)
{
    put(s, NULL, (double)s->record.queued_bytes);
}

static void record_silent(struct scrape *s)
{
    put(s, NULL, (double)s->record.silent_ms / 1e3);
}

static void record_failing(struct scrape *s)
{
    put(s, NULL, s->record.failing);
}

static void record_commit(struct scrape *s)
{
    struct tt_durations d = {.sum_us = 0};

    tt_histogram_read(tt_store_commits(s->d->store), &d);
    tt_prometheus_histogram(s->o, s->f, NULL, &d);
}

static void record_wal(struct scrape *s)
{
    put(s, NULL, (double)s->record.wal_bytes);
}

/* ---- the HTTP port, the process ------------------------------------------------------------- */

static void http_requests(struct scrape *s)
{
    for (int i = 0; i < TT_HTTP_STATUSES; i++) {
        char code[8];

        (void)snprintf(code, sizeof code, "%d", tt_http_statuses[i]);
        if (s->http.answered[i] || !i)
            put(s, LABELS({"code", code}), (double)s->http.answered[i]);
    }
}

static void http_connections(struct scrape *s)
{
    put(s, NULL, (double)s->http.connections);
}

static void http_cut(struct scrape *s)
{
    put(s, NULL, (double)s->http.cut);
}

static void start_time(struct scrape *s)
{
    put(s, NULL, (double)s->d->started_ms / 1e3);
}

static void cpu(struct scrape *s)
{
    put(s, NULL, s->process.cpu_s);
}

static void resident(struct scrape *s)
{
    put(s, NULL, (double)s->process.resident_bytes);
}

static void virtual(struct scrape *s)
{
    put(s, NULL, (double)s->process.virtual_bytes);
}

static void open_fds(struct scrape *s)
{
    put(s, NULL, (double)s->process.open_fds);
}

static void max_fds(struct scrape *s)
{
    put(s, NULL, (double)s->process.max_fds);
}

const struct tt_families_row tt_families[] = {
#define TT_FAMILY(function, type, name, labels, help) {{#name, #type, help}, labels},
#include "daemon/families.def"
#undef TT_FAMILY
    {{NULL, NULL, NULL}, NULL},
};

static void (*const writers[])(struct scrape *s) = {
#define TT_FAMILY(function, type, name, labels, help) function,
#include "daemon/families.def"
#undef TT_FAMILY
};

void tt_families_write(struct tt_daemon *d, struct tt_out *o)
{
    struct scrape s = {.d = d, .o = o, .now_us = tt_now_us()};
    int next = 0;

    s.counts = TT_NEW(o->arena, 1, struct tt_counts);
    if (!s.counts) {
        o->failed = true;
        return;
    }
    tt_metrics_read(d->metrics, s.counts);
    tt_store_stats(d->store, &s.record);
    tt_process_read(&s.process);
    tt_http_stats(d->http, &s.http);
    tt_gate_counts(d->gate, &s.gate);
    while (next >= 0)
        next = tt_lanes_some(d->lanes, next, AT_ONCE, count_lane, &s);
    for (int i = 0; tt_families[i].family.name; i++) {
        s.f = &tt_families[i].family;
        tt_prometheus_family(o, s.f);
        writers[i](&s);
    }
}
