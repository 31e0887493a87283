// SPDX-License-Identifier: Apache-2.0
#include "daemon/serve.h"

#include <inttypes.h>
#include <string.h>

#include "daemon/decide.h"
#include "daemon/follow.h"
#include "daemon/inputs.h"
#include "daemon/labels.h"
#include "daemon/loop.h"
#include "daemon/metrics.h"
#include "daemon/replays.h"
#include "daemon/reply.h"
#include "daemon/resume.h"
#include "policies/policy.h"

static void feedback(struct tt_worker *w, struct tt_job *job)
{
    const struct tt_wire_tensor *t = &job->request.inputs[0];
    int64_t *label = TT_NEW(&w->scratch, t->n, int64_t);
    struct tt_labels l = {.id = job->request.id, .label = label, .n = t->n, .now_ms = tt_now_ms()};
    struct tt_credited got;
    struct tt_refusal r;
    struct tt_err err;

    if (!label) {
        (void)tt_fail(&err, TT_ENOMEM, "out of memory for %" PRId64 " labels", t->n);
        tt_reply_error(job, &err);
    } else if (job->request.ninputs != 1 || t->ndim != 1 || !tt_dtype_labels(t, label)) {
        (void)tt_refuse(&r, TT_WIRE_BAD_TENSOR,
                        "labels are %d tensors, the first %s with %d dimensions, wanted one of "
                        "INT64 [n]",
                        job->request.ninputs, tt_dtype_name(t->type), t->ndim);
        tt_reply_refusal(job, &r);
    } else if (tt_stream_feedback(job->lane->stream, &l, &got, &err) != TT_OK) {
        tt_reply_error(job, &err);
    } else {
        tt_reply_json(job, json_pack("{s:{s:s, s:s, s:I, s:I, s:I, s:I}}", "parameters",
                                     "stream_id", job->lane->name, "version", got.version, "n",
                                     (json_int_t)got.n, "correct", (json_int_t)got.correct,
                                     "base_n", (json_int_t)got.base_n, "base_correct",
                                     (json_int_t)got.base_correct));
    }
    tt_loop_answer(job);
}

const char *tt_serve_state(const struct tt_lane *lane, char why[TT_LINE_BYTES])
{
    static const enum tt_guard_state learn[] = {TT_GUARD_WARMING, TT_GUARD_ADAPTING,
                                                TT_GUARD_PROBATION};
    const struct tt_face *f = &lane->face;
    char held[TT_HEALTH_LINE];

    memcpy(why, f->reason, TT_LINE_BYTES);
    for (size_t i = 0; i < sizeof learn / sizeof *learn; i++)
        if (!strcmp(f->state, tt_guard_state_name(learn[i])) &&
            tt_health_held(&lane->worker->daemon->health, held)) {
            (void)snprintf(why, TT_LINE_BYTES, "%s", held);
            return tt_guard_state_name(TT_GUARD_HOLDING);
        }
    return f->state;
}

json_t *tt_serve_describe(const struct tt_lane *lane)
{
    const struct tt_face *f = &lane->face;
    char why[TT_LINE_BYTES];
    const char *state = tt_serve_state(lane, why);
    json_t *o = json_object();

    json_object_set_new(o, "stream_id", tt_json_text(lane->name));
    json_object_set_new(o, "model", tt_json_text(lane->model_name));
    json_object_set_new(o, "policy", tt_json_text(lane->policy_name));
    json_object_set_new(o, "engine", tt_json_text(f->engine));
    json_object_set_new(o, "policy_hash", json_string(f->policy_hash));
    json_object_set_new(o, "state", json_string(state));
    json_object_set_new(o, "reason", tt_json_text(why));
    json_object_set_new(o, "version", json_string(f->version));
    json_object_set_new(o, "step", json_integer(f->step));
    json_object_set_new(o, "samples", json_integer(f->samples));
    json_object_set_new(o, "adapted", json_integer(f->adapted));
    json_object_set_new(o, "skipped", json_integer(f->skipped));
    json_object_set_new(o, "rollbacks", json_integer(f->rollbacks));
    json_object_set_new(o, "bytes", json_integer(f->bytes));
    json_object_set_new(o, "open", json_boolean(f->open));
    json_object_set_new(o, "last_ms", json_integer(f->last_ms));
    return o;
}

static void close_stream(struct tt_worker *w, struct tt_job *job)
{
    struct tt_lane *lane = job->lane;
    struct tt_plan *plan;
    struct tt_err err;

    if (tt_worker_plan(w, lane, 1, &plan, &err) == TT_OK)
        tt_stream_part(lane->stream, plan, tt_now_ms());
    if (lane->stream->snapshots)
        tt_worker_remember(lane, lane->stream->snapshots, true);
    tt_stream_closed(lane->stream, tt_now_ms());
    tt_stream_free(lane->stream);
    tt_replays_free(lane->replays);
    lane->stream = NULL;
    lane->replays = NULL;
    tt_lane_let_go(lane);
    tt_worker_show(w, lane, 0, true);
    tt_reply_json(job, json_pack("{s:s, s:s}", "stream_id", lane->name, "state", "closed"));
}

static void stream_op(struct tt_worker *w, struct tt_job *job)
{
    const struct tt_order reset = {.action = TT_ACTION_RESET,
                                   .actor = *job->request.actor ? job->request.actor : "client",
                                   .reason = job->request.reason,
                                   .now_ms = tt_now_ms()};
    struct tt_ordered ordered;
    struct tt_err err;

    switch (job->request.action) {
    case TT_STREAM_CLOSE:
        close_stream(w, job);
        tt_loop_answer(job);
        return;
    case TT_STREAM_RESET:
        if (tt_stream_order(job->lane->stream, &reset, &ordered, &err) != TT_OK) {
            tt_reply_error(job, &err);
            tt_loop_answer(job);
            return;
        }
        tt_worker_show(w, job->lane, 0, false);
        break;
    case TT_STREAM_OPEN:
    case TT_STREAM_DESCRIBE:
        break;
    }
    tt_reply_json(job, tt_serve_describe(job->lane)); // its face is written by this thread alone
    tt_loop_answer(job);
}

/* Answer the job if model or policy of its stream have gone; closing the stream is still done. */
static bool answer_gone(struct tt_worker *w, struct tt_job *job)
{
    struct tt_lane *lane = job->lane;
    struct tt_refusal r;

    if (lane->stream || !tt_lanes_served(w->daemon->lanes, lane, &r))
        return false;
    if (job->request.ask == TT_ASK_STREAM && job->request.action == TT_STREAM_CLOSE) {
        tt_follow_close(w, lane);
        tt_reply_json(job, json_pack("{s:s, s:s}", "stream_id", lane->name, "state", "closed"));
    } else {
        tt_reply_refusal(job, &r);
    }
    tt_loop_answer(job);
    return true;
}

void tt_serve_job(struct tt_worker *w, struct tt_job *job)
{
    struct tt_refusal r;
    struct tt_err err;

    if (atomic_load(&w->daemon->drained)) {
        (void)tt_refuse(&r, TT_WIRE_DRAINING, "the daemon has stopped");
        tt_reply_refusal(job, &r);
        tt_loop_answer(job);
        return;
    }
    tt_serve_update(w, job->lane, false);
    tt_arena_reset(&w->scratch);
    tt_follow_lane(w, job->lane);
    if (answer_gone(w, job))
        return;
    if (tt_worker_open(w, job->lane, &err) != TT_OK) {
        tt_log(TT_LOG_ERR, "%s", err.msg);
        tt_worker_show(w, job->lane, 0, true);
        tt_reply_error(job, &err);
        tt_loop_answer(job);
        return;
    }
    tt_arena_reset(&w->scratch);
    tt_metrics_serves(w->daemon->metrics, job->lane->stream->model_name,
                      job->lane->stream->policy->name);
    if (job->request.ask == TT_ASK_INFER)
        tt_serve_infer(w, job);
    else if (job->request.ask == TT_ASK_FEEDBACK)
        feedback(w, job);
    else if (job->request.ask == TT_ASK_STREAM)
        stream_op(w, job);
    else
        tt_serve_order(w, job);
}
