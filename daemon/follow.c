// SPDX-License-Identifier: Apache-2.0
#include "daemon/follow.h"

#include <stdio.h>
#include <string.h>

#include "daemon/adopt.h"
#include "daemon/resume.h"
#include "daemon/serve.h"
#include "daemon/tell.h"

#define SOME 8 // streams at a time

bool tt_follow_due(const struct tt_worker *w)
{
    return w->late || atomic_load(&w->daemon->shelf.number) != w->seen;
}

static bool has_jobs(struct tt_worker *w, const struct tt_lane *lane)
{
    bool any;

    pthread_mutex_lock(&w->lock);
    any = lane->head != NULL;
    for (const struct tt_job *job = w->urgent; job && !any; job = job->next)
        any = job->lane == lane;
    pthread_mutex_unlock(&w->lock);
    return any;
}

static void part(struct tt_worker *w, struct tt_lane *lane, const char *why)
{
    struct tt_stream *s = lane->stream;
    char text[TT_LINE_BYTES];
    struct tt_plan *plan;
    struct tt_err err;

    if (tt_worker_plan(w, lane, 1, &plan, &err) == TT_OK)
        tt_stream_part(s, plan, tt_now_ms());
    else
        tt_tell_event(s, "snapshot", "error", "daemon", tt_now_ms(), err.msg);
    (void)snprintf(text, sizeof text, "model '%s' (%.16s) %s", lane->model->name,
                   lane->model->model->hash, why);
    tt_tell_event(s, "reload", "warning", "daemon", tt_now_ms(), text);
    tt_stream_free(s);
    lane->stream = NULL;
    tt_lane_let_go(lane);
    tt_worker_show(w, lane, 0, false);
    pthread_mutex_lock(&w->lock);
    (void)snprintf(lane->face.reason, sizeof lane->face.reason, "%s", text);
    pthread_mutex_unlock(&w->lock);
}

/* Compile for the new policy, then let the stream take it. */
static enum tt_code adopt(struct tt_worker *w, struct tt_lane *lane,
                          struct tt_served_policy *policy, struct tt_err *err)
{
    struct tt_served_policy *old = lane->policy;
    struct tt_plan *before = NULL, *plan = NULL;
    struct tt_adopted got;
    float *source;

    if (tt_worker_plan(w, lane, 1, &before, err) != TT_OK)
        return err->code;
    lane->policy = policy; // the plan before stays: it was used last
    if (tt_worker_plan(w, lane, 1, &plan, err) == TT_OK) {
        source = tt_worker_source(w, lane);
        if (!source)
            (void)tt_fail(err, TT_ENOMEM, "out of memory");
        else if (tt_stream_adopt(lane->stream, policy->policy, before, plan, source, tt_now_ms(),
                                 &got, err) == TT_OK) {
            tt_served_policy_hold(policy);
            tt_served_policy_drop(old);
            tt_worker_show(w, lane, 0, false);
            return TT_OK;
        }
    }
    lane->policy = old;
    return err->code;
}

static void adopt_or_tell(struct tt_worker *w, struct tt_lane *lane,
                          struct tt_served_policy *policy)
{
    char text[TT_LINE_BYTES];
    struct tt_err err;

    if (adopt(w, lane, policy, &err) == TT_OK) {
        tt_worker_capture(w, lane, "reload");
        return;
    }
    tt_worker_capture(w, lane, "reload failed");
    (void)snprintf(text, sizeof text, "goes on with policy '%s' as it was: %.380s", policy->name,
                   err.msg);
    tt_tell_event(lane->stream, "reload", "error", "daemon", tt_now_ms(), text);
}

/* Follow c, if the lane's stream is in memory and has not yet.  job: one of its jobs is about to be
 * done.  False: not now, what was admitted waits. */
static bool follow(struct tt_worker *w, struct tt_lane *lane, const struct tt_catalogue *c,
                   bool job)
{
    const struct tt_limits *limits = &c->config->settings->limits;
    struct tt_served_policy *policy;
    struct tt_served_model *model;

    if (!lane->stream || lane->seen == c->number)
        return true;
    model = tt_catalogue_model(c, lane->model->name);
    policy = tt_catalogue_policy(c, lane->policy->name);
    if (!model && (job || has_jobs(w, lane)))
        return false;
    lane->seen = c->number;
    tt_serve_update(w, lane, false); // by what was before
    if (model != lane->model) {
        part(w, lane, model ? "was replaced" : "is not served any more");
        return true;
    }
    lane->stream->storage.newest = (int)limits->snapshots_keep;
    lane->stream->feedback_ms = limits->feedback_window_s * 1000;
    if (policy && policy != lane->policy)
        adopt_or_tell(w, lane, policy);
    return true;
}

struct due {
    struct tt_worker *worker;
    int64_t number;
    struct tt_lane *lane[SOME];
    int n, more;
};

static bool collect(void *arg, struct tt_lane *lane)
{
    struct due *due = arg;

    if (lane->worker != due->worker || !lane->stream || lane->seen == due->number)
        return true;
    if (due->n == SOME) {
        due->more++;
        return false;
    }
    atomic_fetch_add(&lane->refs, 1);
    due->lane[due->n++] = lane;
    return true;
}

void tt_follow_some(struct tt_worker *w)
{
    struct tt_catalogue *c = tt_shelf_take(&w->daemon->shelf);
    struct due due = {.worker = w, .number = c->number};

    tt_arena_reset(&w->scratch);
    w->late = false;
    tt_lanes_each(w->daemon->lanes, collect, &due);
    for (int i = 0; i < due.n; i++) {
        w->late = !follow(w, due.lane[i], c, false) || w->late;
        tt_lane_drop(due.lane[i]);
    }
    w->late = w->late || due.more;
    w->seen = c->number;
    tt_worker_tidy(w, c);
    tt_catalogue_drop(c);
}

void tt_follow_lane(struct tt_worker *w, struct tt_lane *lane)
{
    struct tt_catalogue *c;

    if (!lane->stream || lane->seen == atomic_load(&w->daemon->shelf.number))
        return;
    c = tt_shelf_take(&w->daemon->shelf);
    (void)follow(w, lane, c, true);
    tt_catalogue_drop(c);
}

void tt_follow_close(struct tt_worker *w, struct tt_lane *lane)
{
    const struct tt_sink sink = tt_daemon_sink(w->daemon);
    struct tt_record r = {.kind = TT_REC_STREAM, .ts_ms = tt_now_ms(), .stream = lane->name};

    r.state = (struct tt_rec_stream){.state = "closed",
                                     .reason = "closed by a client",
                                     .by = "client",
                                     .step = TT_UNKNOWN,
                                     .decision_id = TT_UNKNOWN};
    (void)sink.put(sink.ctx, &r); // the store counts what it sheds
    tt_worker_show(w, lane, 0, true);
}

void tt_follow_wake(struct tt_daemon *d)
{
    for (int64_t i = 0; i < d->settings->workers; i++) {
        struct tt_worker *w = &d->workers[i];

        pthread_mutex_lock(&w->lock);
        pthread_cond_signal(&w->wake);
        pthread_mutex_unlock(&w->lock);
    }
}
