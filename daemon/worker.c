// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // gettid

#include "daemon/worker.h"

#include <errno.h>
#include <malloc.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/capture.h"
#include "daemon/follow.h"
#include "daemon/line.h"
#include "daemon/metrics.h"
#include "daemon/opened.h"
#include "daemon/replays.h"
#include "daemon/resume.h"
#include "daemon/serve.h"
#include "policies/policy.h"

#define GIVE_BACK ((size_t)4 << 20) // bytes freed until the system gets them
#define MANY      64                // streams, of which most are at rest
#define KNOWN     512               // versions that the record is asked for

void tt_worker_show(struct tt_worker *w, struct tt_lane *lane, int64_t step_us, bool closed)
{
    const struct tt_stream *s = lane->stream;
    struct tt_face *f = &lane->face;

    pthread_mutex_lock(&w->lock);
    f->closed = closed;
    if (f->open != (s != NULL))
        atomic_fetch_add(&w->daemon->open_streams, s ? 1 : -1);
    f->open = s != NULL;
    if (s) {
        (void)snprintf(f->state, sizeof f->state, "%s", tt_guard_state_name(s->guard.state));
        memcpy(f->version, s->versions.serving.name, sizeof f->version);
        memcpy(f->reason, s->reason, sizeof f->reason);
        f->step = s->versions.serving.step;
        f->samples = s->samples;
        f->adapted = s->adapted;
        f->skipped = s->skipped;
        f->rollbacks = s->rollbacks;
        tt_face_policy(f, s->policy);
        f->bytes = (int64_t)tt_stream_bytes(s);
        if (step_us) {
            f->step_us = f->step_us ? (7 * f->step_us + step_us) / 8 : step_us;
            f->last_ms = tt_now_ms();
        }
    } else if (closed) {
        (void)snprintf(f->state, sizeof f->state, "closed");
    }
    pthread_mutex_unlock(&w->lock);
}

static void drop_plan(struct tt_worker *w, struct tt_plan_slot *p)
{
    w->freed += p->plan ? tt_plan_bytes(p->plan) : 0;
    tt_plan_free(p->plan);
    p->plan = NULL;
}

/* To the system, what was freed since the last time: malloc keeps what lies between blocks that
 * stay. */
static void give_back(struct tt_worker *w)
{
    if (w->freed < GIVE_BACK)
        return;
    w->freed = 0;
    (void)malloc_trim(0);
}

static void empty_slot(struct tt_worker *w, struct tt_plan_slot *p)
{
    drop_plan(w, p);
    tt_block_free(p->source);
    tt_served_model_drop(p->model);
    tt_served_policy_drop(p->policy);
    *p = (struct tt_plan_slot){.plan = NULL};
}

static void add_up_plans(struct tt_worker *w)
{
    size_t n = 0;

    for (int i = 0; i < TT_WORKER_PLANS; i++)
        n += w->plans[i].plan ? tt_plan_bytes(w->plans[i].plan) : 0;
    atomic_store(&w->plan_bytes, (int64_t)n);
}

static struct tt_plan_slot *find_slot(struct tt_worker *w, const struct tt_lane *lane)
{
    struct tt_plan_slot *old = &w->plans[0];

    for (int i = 0; i < TT_WORKER_PLANS; i++) {
        struct tt_plan_slot *p = &w->plans[i];

        if (p->plan && p->model == lane->model && p->policy == lane->policy)
            return p;
        if (p->used < old->used)
            old = p;
    }
    empty_slot(w, old);
    old->model = tt_served_model_hold(lane->model);
    old->policy = tt_served_policy_hold(lane->policy);
    return old;
}

enum tt_code tt_worker_plan(struct tt_worker *w, const struct tt_lane *lane, int64_t rows,
                            struct tt_plan **ret, struct tt_err *err)
{
    const int64_t most = w->daemon->settings->limits.max_batch_rows;
    struct tt_plan_slot *slot = find_slot(w, lane);
    int64_t limit = tt_plan_room(rows);

    slot->used = ++w->turn;
    if (!slot->plan || rows > slot->limit) {
        if (limit > most)
            limit = most;
        drop_plan(w, slot);
        if (tt_plan_new(slot->model->model, &slot->policy->policy->method, limit, &slot->plan,
                        err) != TT_OK)
            return err->code;
        slot->limit = limit;
        add_up_plans(w);
        give_back(w);
    }
    *ret = slot->plan;
    return TT_OK;
}

/* Made when the first stream asks. */
float *tt_worker_source(struct tt_worker *w, const struct tt_lane *lane)
{
    struct tt_plan_slot *slot = find_slot(w, lane);

    if (slot->source)
        return slot->source;
    slot->source = tt_block_new(tt_plan_floats(slot->plan));
    if (slot->source)
        tt_plan_source(slot->plan, slot->source);
    return slot->source; // NULL: the stream makes one of its own, or says what is wrong
}

void tt_worker_tidy(struct tt_worker *w, const struct tt_catalogue *c)
{
    for (int i = 0; i < TT_WORKER_PLANS; i++) {
        struct tt_plan_slot *p = &w->plans[i];

        if (!p->model || (tt_catalogue_model(c, p->model->name) == p->model &&
                          tt_catalogue_policy(c, p->policy->name) == p->policy))
            continue;
        empty_slot(w, p);
    }
    add_up_plans(w);
    give_back(w);
}

void tt_worker_trim(struct tt_worker *w, struct tt_lane *lane)
{
    const int open = atomic_load(&w->daemon->open_streams);
    const int64_t all = w->daemon->settings->limits.stream_bytes;
    const size_t before = tt_stream_bytes(lane->stream);

    if (open > MANY)
        tt_stream_rest(lane->stream);
    tt_stream_trim(lane->stream, (size_t)(all / (open > 1 ? open : 1)));
    w->freed += before - tt_stream_bytes(lane->stream);
    give_back(w);
}

struct known {
    struct tt_known versions;
    struct tt_known_id *ids;
    int nids;
};

/* What the record knows of a stream; of requests only when it is one from before the start.  That
 * it cannot be read is logged: then the files speak for themselves. */
static struct known read_known(struct tt_worker *w, const char *stream, bool known)
{
    struct known k = {.nids = 0};
    struct tt_known_version *versions = NULL;
    struct tt_reader *reader;
    struct tt_err err;

    if (tt_reader_open(w->daemon->settings->database, &reader, &err) != TT_OK) {
        tt_log(TT_LOG_WARN, "stream '%s': %s; its snapshots are read without the record, ignoring",
               stream, err.msg);
        return k;
    }
    if (tt_reader_versions(reader, stream, KNOWN, &w->scratch, &versions, &k.versions.n, &err) !=
            TT_OK ||
        tt_reader_restored(reader, stream, &k.versions.decision, &err) != TT_OK ||
        tt_reader_named(reader, stream, TT_PINS, &w->scratch, &k.versions.named, &k.versions.nnamed,
                        &err) != TT_OK)
        tt_log(TT_LOG_WARN, "stream '%s': %s, ignoring", stream, err.msg);
    else
        k.versions.read = true;
    k.versions.version = versions;
    if (known && tt_reader_ids(reader, stream, (int)w->daemon->settings->limits.replay_window,
                               &w->scratch, &k.ids, &k.nids, &err) != TT_OK)
        tt_log(TT_LOG_WARN, "stream '%s': %s, ignoring", stream, err.msg);
    tt_reader_close(reader);
    return k;
}

static void restore_ids(struct tt_replays *r, const struct known *k)
{
    for (int i = 0; i < k->nids; i++) {
        struct tt_replay one = {.adapted = k->ids[i].adapted};

        (void)snprintf(one.id, sizeof one.id, "%s", k->ids[i].id);
        tt_replays_restore(r, &one, 1);
    }
}

static enum tt_code resume(struct tt_worker *w, struct tt_lane *lane, struct tt_stream *s,
                           const struct tt_plan *plan, const char *policy, const char *state,
                           struct tt_err *err)
{
    char how[TT_LINE_BYTES], text[TT_LINE_BYTES];
    const struct known known = read_known(w, s->name, strcmp(state, "opening") != 0);

    restore_ids(lane->replays, &known);
    if (tt_stream_resume(s, plan, &known.versions, tt_now_ms(), how, err) != TT_OK)
        return err->code;
    /* A snapshot is older than the freeze: the record has the last word. */
    if (!strcmp(state, "frozen") && s->guard.state != TT_GUARD_FROZEN &&
        !tt_guard_order(&s->guard, &s->policy->guard, TT_ORDER_FREEZE, tt_now_ms()))
        return tt_fail(err, TT_EDENIED, "stream '%s' was frozen and cannot be frozen again",
                       s->name);
    (void)snprintf(text, sizeof text, "opened with policy '%s' (%s): %s", policy,
                   s->policy->method.preset, how);
    tt_stream_opened(s, text, tt_now_ms());
    return TT_OK;
}

/* Hold what the lane names. */
static enum tt_code hold_served(struct tt_worker *w, struct tt_lane *lane,
                                const struct tt_catalogue *c, struct tt_err *err)
{
    struct tt_served_model *model;
    struct tt_served_policy *policy;

    pthread_mutex_lock(&w->lock); // a closed lane may be opened again just now
    model = tt_catalogue_model(c, lane->model_name);
    policy = tt_catalogue_policy(c, lane->policy_name);
    if (!model || !policy)
        (void)tt_fail(err, TT_ENOTFOUND, "stream '%s': %s '%s' is not served", lane->name,
                      model ? "policy" : "model", model ? lane->policy_name : lane->model_name);
    pthread_mutex_unlock(&w->lock);
    if (model && policy) {
        lane->seen = c->number;
        lane->model = tt_served_model_hold(model);
        lane->policy = tt_served_policy_hold(policy);
    }
    return model && policy ? TT_OK : TT_ENOTFOUND;
}

void tt_worker_capture(struct tt_worker *w, struct tt_lane *lane, const char *why)
{
    tt_capture_begin(lane->stream,
                     &(struct tt_capture_spec){.pool = &w->daemon->captures,
                                               .model_path = lane->model->path,
                                               .policy = lane->policy->name,
                                               .why = why},
                     tt_now_ms());
}

void tt_worker_remember(const struct tt_lane *lane, const char *dir, bool closed)
{
    struct tt_opened o = {.closed = closed};
    struct tt_err err;

    (void)snprintf(o.stream, sizeof o.stream, "%s", lane->name);
    (void)snprintf(o.model, sizeof o.model, "%s", lane->model->name);
    (void)snprintf(o.policy, sizeof o.policy, "%s", lane->policy->name);
    if (tt_opened_write(dir, &o, &err) != TT_OK)
        tt_log(TT_LOG_WARN, "stream '%s': %s; the record alone knows of it, ignoring", lane->name,
               err.msg);
}

static enum tt_code open_stream(struct tt_worker *w, struct tt_lane *lane,
                                const struct tt_limits *limits, struct tt_err *err)
{
    char encoded[TT_SNAPSHOT_DIR], dir[TT_LINE_BYTES + TT_SNAPSHOT_DIR];
    struct tt_stream *s = NULL;
    struct tt_plan *plan = NULL;
    char state[sizeof lane->face.state]; // as the record knew it before the restart

    pthread_mutex_lock(&w->lock);
    memcpy(state, lane->face.state, sizeof state);
    pthread_mutex_unlock(&w->lock);
    if (tt_snapshot_dir(lane->name, encoded, err) != TT_OK ||
        tt_worker_plan(w, lane, 1, &plan, err) != TT_OK)
        return err->code;
    (void)snprintf(dir, sizeof dir, "%.*s/%s", TT_LINE_BYTES - 2, w->daemon->snapshots, encoded);
    if (!lane->replays)
        lane->replays = tt_replays_new((int)limits->replay_window, &w->answers);
    if (!lane->replays)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (tt_stream_new(&(struct tt_stream_spec){.name = lane->name,
                                               .model_name = lane->model->name,
                                               .model = lane->model->model,
                                               .policy = lane->policy->policy,
                                               .plan = plan,
                                               .source = tt_worker_source(w, lane),
                                               .sink = tt_daemon_sink(w->daemon),
                                               .snapshots = dir,
                                               .keep = (int)limits->snapshots_keep,
                                               .snapshot_bytes = limits->snapshot_bytes,
                                               .room = &w->daemon->room,
                                               .ring = (int)limits->ring_versions,
                                               .journal_bytes = limits->journal_bytes
                                                                    ? limits->journal_bytes
                                                                    : -1,
                                               .feedback_ms = limits->feedback_window_s * 1000,
                                               .now_ms = tt_now_ms()},
                      &s, err) != TT_OK ||
        resume(w, lane, s, plan, lane->policy->name, state, err) != TT_OK) {
        tt_stream_free(s);
        return err->code;
    }
    tt_worker_remember(lane, dir, false);
    lane->stream = s;
    tt_worker_capture(w, lane, "opened");
    return TT_OK;
}

enum tt_code tt_worker_open(struct tt_worker *w, struct tt_lane *lane, struct tt_err *err)
{
    struct tt_catalogue *c;
    enum tt_code code;

    if (lane->stream)
        return TT_OK;
    c = tt_shelf_take(&w->daemon->shelf);
    code = hold_served(w, lane, c, err);
    if (code == TT_OK)
        code = open_stream(w, lane, &c->config->settings->limits, err);
    tt_catalogue_drop(c);
    if (code == TT_OK)
        tt_worker_show(w, lane, 0, false);
    else
        tt_lane_let_go(lane);
    return code;
}

/* Before the thread ends: what has been learnt since the last snapshot. */
static bool close_lane(void *arg, struct tt_lane *lane)
{
    struct tt_worker *w = arg;
    struct tt_stream *s = lane->stream;
    struct tt_plan *plan = NULL;
    struct tt_err err;

    if (lane->worker != w)
        return true;
    tt_serve_update(w, lane, true);
    if (s && tt_worker_plan(w, lane, 1, &plan, &err) == TT_OK)
        tt_stream_part(s, plan, tt_now_ms());
    tt_stream_free(s);
    lane->stream = NULL;
    tt_lane_let_go(lane);
    tt_replays_free(lane->replays);
    lane->replays = NULL;
    return true;
}

/* Who answers pings and takes messages needs a processor for some microseconds, at once; a worker
 * has one for as long as there is work.  Linux has a nice value for each thread, and OpenMP's
 * threads inherit it. */
static void give_way(const struct tt_worker *w)
{
    const int before = getpriority(PRIO_PROCESS, 0), by = (int)w->daemon->settings->worker_nice;

    if (by && setpriority(PRIO_PROCESS, (id_t)gettid(), before + by) != 0)
        tt_log(TT_LOG_WARN, "worker_nice %d: %s, ignoring", by, strerror(errno));
}

static void *run(void *arg)
{
    struct tt_worker *w = arg;
    struct tt_task task;

    tt_log_name(w->name);
    tt_metrics_join(w->daemon->metrics, TT_TALLY_WORKERS + w->index);
    give_way(w);
    omp_set_num_threads((int)w->daemon->settings->threads_per_worker);
    while (tt_line_next(w, &task) || tt_follow_due(w)) {
        const int64_t start_us = tt_now_us();

        tt_beat_busy(&w->beat, start_us);
        if (task.job)
            tt_serve_job(w, task.job);
        else if (task.lane)
            tt_serve_update(w, task.lane, atomic_load(&w->daemon->drained));
        if (tt_follow_due(w))
            tt_follow_some(w);
        tt_beat_idle(&w->beat, tt_now_us());
        if (task.lane)
            tt_line_done(w, &task, tt_now_us() - start_us);
    }
    tt_lanes_each(w->daemon->lanes, close_lane, w);
    for (int i = 0; i < TT_WORKER_PLANS; i++)
        empty_slot(w, &w->plans[i]);
    tt_arena_release(&w->scratch);
    return NULL;
}

enum tt_code tt_worker_start(struct tt_worker *w, struct tt_daemon *d, int index,
                             struct tt_err *err)
{
    *w = (struct tt_worker){.daemon = d, .index = index, .seen = atomic_load(&d->shelf.number)};
    w->turns.line = TT_NEW(&d->arena, d->settings->limits.max_streams, struct tt_turn *);
    if (!w->turns.line)
        return tt_fail(err, TT_ENOMEM, "%s: out of memory", w->name);
    w->answers.most = (size_t)(d->settings->limits.replay_bytes / d->settings->workers);
    (void)snprintf(w->name, sizeof w->name, "worker %d", index);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    tt_arena_init(&w->scratch, 0);
    if (pthread_create(&w->thread, NULL, run, w) != 0)
        return tt_fail(err, TT_EIO, "%s: no thread", w->name);
    return TT_OK;
}

void tt_worker_stop(struct tt_worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
}
