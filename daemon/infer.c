// SPDX-License-Identifier: Apache-2.0
#include "daemon/serve.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/input.h"
#include "daemon/inputs.h"
#include "daemon/line.h"
#include "daemon/loop.h"
#include "daemon/reply.h"
#include "daemon/tell.h"
#include "policies/policy.h"

static json_t *outputs_json(int64_t rows, int64_t classes, size_t bytes)
{
    return json_pack("[{s:s, s:[I,I], s:s, s:{s:I}}]", "name", TTAD_OUTPUT, "shape",
                     (json_int_t)rows, (json_int_t)classes, "datatype", "FP32", "parameters",
                     "binary_data_size", (json_int_t)bytes);
}

static void answer_infer(struct tt_job *job, const struct tt_batch *b, const struct tt_result *r)
{
    const struct tt_lane *lane = job->lane;
    const struct tt_stream *s = lane->stream;
    json_t *o = json_object(), *p = json_object();

    json_object_set_new(p, "stream_id", tt_json_text(lane->name));
    json_object_set_new(p, "version", json_string(r->version));
    json_object_set_new(p, "step", json_integer(r->step));
    json_object_set_new(p, "adapted", json_boolean(r->adapted));
    json_object_set_new(p, "skipped",
                        r->adapted ? json_null() : json_string(tt_skip_name(r->skip)));
    json_object_set_new(p, "engine", tt_json_text(s->policy->method.preset));
    json_object_set_new(p, "loss", tt_json_number(r->loss));
    json_object_set_new(p, "entropy", tt_json_number(r->entropy));
    json_object_set_new(p, "guard", json_string(r->guard));
    json_object_set_new(p, "rolled_back_to",
                        *r->rolled_back_to ? json_string(r->rolled_back_to) : json_null());
    if (*r->rolled_back_to)
        json_object_set_new(p, "recorded", json_boolean(s->recorded));
    json_object_set_new(p, "queue_us", json_integer(b->queue_us));
    json_object_set_new(p, "infer_us", json_integer(r->infer_us));
    json_object_set_new(p, "adapt_us", json_integer(r->adapt_us));
    json_object_set_new(
        p, "credit",
        json_integer(job->client ? job->credit - atomic_load(&job->client->outstanding) + 1 : 0));
    json_object_set_new(o, "model_name", tt_json_text(lane->model->name));
    json_object_set_new(o, "parameters", p);
    json_object_set_new(o, "outputs", outputs_json(b->rows, s->classes, job->ntensor));
    tt_reply_json(job, o);
}

/* A batch that was answered and is to be learnt from. */
struct tt_pending {
    struct tt_arena arena; // owns it
    float *x;
    int64_t rows, bytes, answer_us;
    char id[TTAD_WIRE_ID_MAX + 1];
    struct tt_wire_tensor tensor; // as it came, when the stream is captured
};

/* ---- whether there is time --------------------------------------------------------------- */

/* Microseconds until the job's deadline; INT64_MAX: it has none. */
static int64_t time_left(const struct tt_job *job)
{
    const int64_t deadline_us = job->request.deadline_ms * 1000;

    return deadline_us ? deadline_us - (tt_now_us() - job->arrived_us) : INT64_MAX;
}

/* Learning makes way for answers from the time on when more waits than the policy allows, until
 * enough of it is done. */
static bool is_browned(struct tt_worker *w, struct tt_lane *lane)
{
    const struct tt_brownout_options *o = &lane->stream->policy->brownout;
    const int64_t ms = tt_line_waiting_us(w, NULL) / 1000;
    const bool was = lane->browned;
    char text[TT_LINE_BYTES];

    lane->browned = o->queue_ms && ms > (was ? o->clear_ms : o->queue_ms);
    if (lane->browned == was)
        return was;
    (void)snprintf(text, sizeof text, "brown-out %s: %" PRId64 " ms of work wait, %s %" PRId64,
                   was ? "ends" : "begins", ms, was ? "not more than" : "more than",
                   was ? o->clear_ms : o->queue_ms);
    tt_tell_event(lane->stream, "brownout", was ? "info" : "warning", "daemon", tt_now_ms(), text);
    return lane->browned;
}

/* Why this batch is not to be learnt from, as far as the daemon knows; TT_SKIP_NONE: it may be. */
static enum tt_skip judge_job(struct tt_worker *w, const struct tt_job *job,
                              enum tt_replayed replayed, int64_t rows)
{
    const bool inlined = job->lane->stream->policy->adapt == TT_ADAPT_INLINE;
    const int64_t left = time_left(job);

    if (replayed == TT_REPLAY_KNOWN)
        return TT_SKIP_REPLAYED;
    if (left <= 0 || (left < INT64_MAX && left < tt_line_expect(w, job->lane, rows, inlined)))
        return TT_SKIP_DEADLINE;
    return is_browned(w, job->lane) ? TT_SKIP_BUDGET : TT_SKIP_NONE;
}

/* ---- the batch --------------------------------------------------------------------------- */

/* Room for a batch that outlives its job; NULL: out of memory. */
static struct tt_pending *new_pending(const struct tt_job *job, bool captured)
{
    const struct tt_wire_tensor *t = &job->request.inputs[0];
    const size_t raw = captured ? (size_t)t->n * tt_dtype_size(t->type) : 0;
    struct tt_pending *p;
    struct tt_arena arena;
    void *copy;

    tt_arena_init(&arena, 0);
    p = TT_NEW(&arena, 1, struct tt_pending);
    if (p) {
        p->x = TT_NEW(&arena, t->n, float);
        copy = tt_arena_alloc(&arena, raw, 1);
        p->rows = t->dim[0];
        p->bytes = t->n * (int64_t)sizeof(float) + (int64_t)raw;
        p->tensor = *t;
        p->tensor.data = copy;
        memcpy(p->id, job->request.id, sizeof p->id);
        if (copy && raw)
            memcpy(copy, t->data, raw);
        if (p->x && copy) {
            p->arena = arena;
            return p;
        }
    }
    tt_arena_release(&arena);
    return NULL;
}

static void free_pending(struct tt_pending *p)
{
    struct tt_arena arena;

    if (!p)
        return;
    arena = p->arena; // it owns p
    tt_arena_release(&arena);
}

static void put_off(struct tt_worker *w, struct tt_lane *lane, struct tt_pending *p,
                    int64_t answer_us)
{
    p->answer_us = answer_us;
    lane->pending = p;
    w->put_off += p->bytes;
}

/* Run the batch of a job that was read into x.  p: where it may stay until it is learnt from, or
 * NULL; false: it need not. */
static bool step(struct tt_worker *w, struct tt_job *job, enum tt_replayed replayed,
                 struct tt_plan *plan, const float *x, struct tt_pending *p)
{
    struct tt_lane *lane = job->lane;
    const int64_t now_us = tt_now_us();
    const int64_t rows = job->request.inputs[0].dim[0];
    const enum tt_skip why = judge_job(w, job, replayed, rows);
    const size_t bytes = (size_t)(rows * lane->stream->classes) * sizeof(float);
    float *logits = (float *)tt_arena_alloc(&job->arena, bytes, 1);
    struct tt_batch b = {.id = p ? p->id : job->request.id,
                         .x = x,
                         .rows = rows,
                         .learn = why == TT_SKIP_NONE,
                         .why = why,
                         .now_ms = tt_now_ms(),
                         .queue_us = now_us - job->arrived_us,
                         .tensor = p ? &p->tensor : &job->request.inputs[0],
                         .logits = logits};
    struct tt_result r;
    struct tt_err err;

    if (!logits) {
        (void)tt_fail(&err, TT_ENOMEM, "out of memory for the answer");
        tt_reply_error(job, &err);
    } else if (tt_stream_step(lane->stream, plan, &b, &r, &err) != TT_OK) {
        tt_reply_error(job, &err);
    } else {
        job->tensor = logits;
        job->ntensor = bytes;
        if (!*r.rolled_back_to)
            memcpy(r.rolled_back_to, lane->stream->went_back_to, sizeof r.rolled_back_to);
        lane->stream->went_back_to[0] = '\0';
        answer_infer(job, &b, &r);
        tt_replays_keep(lane->replays, job, r.adapted);
        tt_line_saw(w, lane, rows, r.adapt_us > 0, tt_now_us() - now_us);
        if (r.skip == TT_SKIP_BACKGROUND)
            put_off(w, lane, p, tt_now_us() - now_us);
    }
    tt_worker_show(w, lane, tt_now_us() - now_us, false);
    return lane->pending;
}

/* What can wait until nobody waits for it. */
static void settle(struct tt_worker *w, struct tt_lane *lane, struct tt_plan *plan)
{
    if (plan)
        tt_stream_settle(lane->stream, plan, tt_now_ms());
    tt_worker_trim(w, lane);
    tt_worker_show(w, lane, 0, false);
}

void tt_serve_update(struct tt_worker *w, struct tt_lane *lane, bool drop)
{
    const int64_t start_us = tt_now_us();
    struct tt_pending *p = lane->pending;
    struct tt_plan *plan = NULL;
    struct tt_result r;
    struct tt_err err;

    if (!p)
        return;
    lane->pending = NULL;
    w->put_off -= p->bytes;
    if (tt_worker_plan(w, lane, p->rows, &plan, &err) != TT_OK ||
        tt_stream_follow(lane->stream, plan,
                         drop || is_browned(w, lane) ? TT_SKIP_BUDGET : TT_SKIP_NONE, &r,
                         &err) != TT_OK) {
        lane->stream->follow.due = false;
        tt_tell_event(lane->stream, "adapt", "error", "daemon", tt_now_ms(), err.msg);
    } else if (r.adapted) {
        tt_replays_adapted(lane->replays, p->id);
        tt_line_saw(w, lane, p->rows, true, p->answer_us + tt_now_us() - start_us);
    }
    free_pending(p);
    settle(w, lane, plan);
}

/* Answer without a pass, if that is what there is to say. */
static bool answer_at_once(struct tt_worker *w, struct tt_job *job, enum tt_replayed replayed)
{
    const int64_t left = time_left(job), most = w->daemon->settings->limits.max_batch_rows;
    const struct tt_lane *lane = job->lane;
    struct tt_refusal r;

    if (replayed == TT_REPLAY_ANSWERED)
        return true;
    if (replayed == TT_REPLAY_OTHER) {
        (void)tt_refuse(&r, TT_WIRE_BAD_HEADER,
                        "id '%s' was answered for another batch; an id names one batch",
                        job->request.id);
    } else if (left <= 0 && job->request.refuse_late) {
        (void)tt_refuse(&r, TT_WIRE_DEADLINE,
                        "its turn came %" PRId64 " ms after its deadline of %" PRId64 " ms",
                        -left / 1000, job->request.deadline_ms);
    } else if (!tt_input_join(&job->request, lane->model, most, &job->arena, &r) &&
               !tt_input_check(&job->request, lane->model, lane->stream->policy, most, &r)) {
        return false;
    }
    tt_reply_refusal(job, &r);
    return true;
}

/* Answers and gives the job back; then does what could wait. */
void tt_serve_infer(struct tt_worker *w, struct tt_job *job)
{
    const int64_t most = w->daemon->settings->limits.queue_bytes / w->daemon->settings->workers;
    const enum tt_replayed replayed = tt_replays_find(job->lane->replays, job);
    struct tt_lane *lane = job->lane;
    const struct tt_policy *policy = lane->stream->policy;
    struct tt_pending *p = NULL;
    struct tt_plan *plan = NULL;
    struct tt_err err;
    float *x;

    if (answer_at_once(w, job, replayed)) {
        tt_loop_answer(job);
        return;
    }
    if (policy->adapt == TT_ADAPT_BACKGROUND)
        p = new_pending(job, lane->stream->capture != NULL);
    x = p ? p->x : TT_NEW(&w->scratch, job->request.inputs[0].n, float);
    if (!x || (policy->adapt == TT_ADAPT_BACKGROUND && !p)) {
        (void)tt_fail(&err, TT_ENOMEM, "out of memory for a batch of %" PRId64,
                      job->request.inputs[0].dim[0]);
        tt_reply_error(job, &err);
    } else if (tt_worker_plan(w, lane, job->request.inputs[0].dim[0], &plan, &err) != TT_OK) {
        tt_reply_error(job, &err);
    } else {
        tt_input_read(&job->request, lane->model, policy, x);
        if (step(w, job, replayed, plan, x, p))
            p = NULL; // the lane has it
    }
    free_pending(p);
    tt_loop_answer(job);
    if (!lane->pending)
        settle(w, lane, plan);
    else if (w->put_off > most)
        tt_serve_update(w, lane, false);
}
