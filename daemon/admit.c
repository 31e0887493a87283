// SPDX-License-Identifier: Apache-2.0
#include "daemon/admit.h"

#include <inttypes.h>

#include "daemon/clients.h"
#include "daemon/line.h"
#include "daemon/reload.h"
#include "daemon/reply.h"

#define RETRY_LEAST_MS 5
#define RETRY_MOST_MS  5000

/* BUSY until half of what is in the way, which takes us, should be done. */
static enum tt_wire busy(struct tt_refusal *r, int64_t us)
{
    const int64_t ms = us / 2000;

    r->code = TT_WIRE_BUSY;
    r->retry_after_ms = ms < RETRY_LEAST_MS  ? RETRY_LEAST_MS
                        : ms > RETRY_MOST_MS ? RETRY_MOST_MS
                                             : ms;
    return r->code;
}

/* What all workers together have to do, side by side. */
static int64_t waiting_us(const struct tt_loop *l)
{
    const int64_t n = l->daemon->settings->workers;
    int64_t us = 0;

    for (int64_t i = 0; i < n; i++)
        us += tt_line_waiting_us(&l->daemon->workers[i], NULL);
    return us / n;
}

/* May one who holds n requests of so many bytes have this one too, and leave the others as much? */
static bool leaves_room(const struct tt_loop *l, int n, int64_t held, int64_t bytes)
{
    return !n || (n < l->most - l->outstanding && held + bytes <= l->most_held - l->held - bytes);
}

static enum tt_wire admit_in_all(const struct tt_loop *l, const struct tt_job *job,
                                 struct tt_refusal *r)
{
    if (l->outstanding >= l->most)
        (void)tt_refuse(r, TT_WIRE_BUSY, "%d requests wait, the limit is %d", l->outstanding,
                        l->most);
    else if (l->held + job->bytes > l->most_held)
        (void)tt_refuse(r, TT_WIRE_BUSY,
                        "%" PRId64 " bytes wait, with %" PRId64 " more the limit of %" PRId64
                        " would be passed",
                        l->held, job->bytes, l->most_held);
    else
        return TT_WIRE_OK;
    return busy(r, waiting_us(l));
}

static enum tt_wire admit_client(struct tt_loop *l, const struct tt_job *job, struct tt_refusal *r)
{
    const struct tt_client *c = tt_clients_find(l, job);
    const int n = c ? atomic_load(&c->outstanding) : 0;

    if (n >= l->credit) {
        (void)tt_refuse(r, TT_WIRE_BUSY, "%d requests of this client wait, its credit is %d", n,
                        l->credit);
        return busy(r, c->expect_us);
    }
    if (leaves_room(l, n, c ? c->bytes : 0, job->bytes))
        return TT_WIRE_OK;
    (void)tt_refuse(r, TT_WIRE_BUSY,
                    "%d requests of this client wait (%" PRId64
                    " bytes), what is left is for others",
                    n, c->bytes);
    return busy(r, c->expect_us);
}

static enum tt_wire find_lane(struct tt_loop *l, struct tt_job *job, struct tt_refusal *r)
{
    const struct tt_request *q = &job->request;

    if (q->ask == TT_ASK_INFER || (q->ask == TT_ASK_STREAM && q->action == TT_STREAM_OPEN))
        return tt_lanes_open(l->daemon->lanes, q, &job->lane, r);
    job->lane = tt_lanes_find(l->daemon->lanes, q->stream);
    if (!job->lane)
        return tt_refuse(r, TT_WIRE_NO_STREAM, "stream '%s' is not known", q->stream);
    if ((q->ask == TT_ASK_STREAM && q->action == TT_STREAM_CLOSE) ||
        !tt_lanes_served(l->daemon->lanes, job->lane, r))
        return TT_WIRE_OK; // a stream can be closed whether its model is there or not
    tt_lane_drop(job->lane);
    job->lane = NULL;
    return r->code;
}

static enum tt_wire admit_stream(const struct tt_loop *l, const struct tt_job *job,
                                 struct tt_refusal *r)
{
    const int64_t most = l->per_stream;
    const struct tt_lane *lane = job->lane;
    const int n = atomic_load(&lane->waiting);

    if (l->door != TT_DOOR_DATA)
        return TT_WIRE_OK;
    if (n >= most)
        (void)tt_refuse(r, TT_WIRE_BUSY, "%d requests wait for stream '%s', the limit is %" PRId64,
                        n, lane->name, most);
    else if (!leaves_room(l, n, lane->held, job->bytes))
        (void)tt_refuse(r, TT_WIRE_BUSY,
                        "%d requests wait for stream '%s' (%" PRId64
                        " bytes), what is left is for others",
                        n, lane->name, lane->held);
    else
        return TT_WIRE_OK;
    return busy(r, tt_line_waiting_us(lane->worker, lane));
}

enum tt_wire tt_admit(struct tt_loop *l, struct tt_job *job, struct tt_refusal *r)
{
    tt_loop_limits(l);
    job->bytes = 0;
    for (int i = 0; i < job->nframes; i++)
        job->bytes += (int64_t)job->frame[i].size;
    if (admit_in_all(l, job, r) || admit_client(l, job, r) ||
        (!tt_reload_takes(job->request.ask) && find_lane(l, job, r)))
        return r->code;
    if (!job->lane || !admit_stream(l, job, r)) {
        if (tt_clients_take(l, job)) {
            l->outstanding++;
            l->held += job->bytes;
            if (l->door == TT_DOOR_DATA) {
                atomic_fetch_add(&job->lane->waiting, 1);
                job->lane->held += job->bytes;
            }
            return TT_WIRE_OK;
        }
        (void)tt_refuse(r, TT_WIRE_BUSY, "out of memory for one more client");
        (void)busy(r, waiting_us(l));
    }
    if (job->lane)
        tt_lane_drop(job->lane);
    job->lane = NULL;
    return r->code;
}

void tt_admit_leave(struct tt_loop *l, struct tt_job *job)
{
    l->outstanding--;
    l->held -= job->bytes;
    if (l->door == TT_DOOR_DATA) {
        atomic_fetch_sub(&job->lane->waiting, 1);
        job->lane->held -= job->bytes;
    }
    tt_clients_return(l, job);
    if (job->lane)
        tt_lane_drop(job->lane);
}

void tt_admit_cancel(struct tt_loop *l, struct tt_job *job)
{
    const struct tt_request *q = &job->request;
    struct tt_lane *lane = tt_lanes_find(l->daemon->lanes, q->stream);
    struct tt_job *found, *next;
    struct tt_refusal r;
    bool running = false;

    if (!lane) {
        (void)tt_refuse(&r, TT_WIRE_NO_STREAM, "stream '%s' is not known", q->stream);
        tt_reply_refusal(job, &r);
        return;
    }
    found = tt_line_cancel(lane->worker, lane, q->target, &running);
    tt_reply_json(job, json_pack("{s:{s:o, s:s, s:s}}", "parameters", "stream_id",
                                 tt_json_text(q->stream), "request_id", q->target, "state",
                                 found     ? "dropped"
                                 : running ? "under_way"
                                           : "unknown"));
    for (; found; found = next) {
        next = found->next;
        (void)tt_refuse(&r, TT_WIRE_CANCELLED, "request '%s' was cancelled while it waited",
                        q->target);
        tt_reply_refusal(found, &r);
        tt_admit_leave(l, found);
        tt_loop_finish(l, found);
    }
    tt_lane_drop(lane);
}
