// SPDX-License-Identifier: Apache-2.0
#include "daemon/batch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "daemon/capture.h"
#include "daemon/decide.h"
#include "daemon/journal.h"
#include "daemon/stream.h"
#include "daemon/tell.h"
#include "policies/policy.h"

#define MAX_DECISIONS 4 // of one batch: the one to act upon, and dry runs

static int64_t clock_us(const struct tt_stream *s)
{
    return s->sink.clock_us ? s->sink.clock_us(s->sink.ctx) : 0;
}

/* The plan has answered, and goes on to learn. */
static void note_answer(void *ctx)
{
    struct tt_stream *s = ctx;

    s->answered_us = clock_us(s);
}

/* tt_step_run, and how long it took until there was an answer; all of it when that comes last. */
static enum tt_code run_passes(struct tt_stream *s, struct tt_plan *plan, const struct tt_batch *b,
                               bool learn, enum tt_skip why, struct tt_outcome *ret,
                               int64_t *ret_infer_us, int64_t *ret_us, struct tt_err *err)
{
    const int64_t start_us = clock_us(s);
    enum tt_code code;

    s->answered_us = 0;
    tt_plan_watch(plan, note_answer, s);
    code = tt_step_run(plan, s->versions.serving.block, s->versions.next.block, b->x, b->rows,
                       learn, why, b->logits, ret, err);
    tt_plan_watch(plan, NULL, NULL);
    *ret_us = clock_us(s) - start_us;
    *ret_infer_us = s->answered_us && learn ? s->answered_us - start_us : learn ? 0 : *ret_us;
    return code;
}

/* Scratch for a batch of rows rows. */
static enum tt_code make_room(struct tt_stream *s, int64_t rows, struct tt_err *err)
{
    const bool follows = s->policy->adapt == TT_ADAPT_BACKGROUND;

    if (rows <= s->room && (s->answer || !follows))
        return TT_OK;
    tt_arena_release(&s->scratch);
    s->room = 0;
    s->frozen = TT_NEW(&s->scratch, rows * s->classes, float);
    s->answer = follows ? TT_NEW(&s->scratch, rows * s->classes, float) : NULL;
    s->labels = TT_NEW(&s->scratch, rows, int32_t);
    if (!s->frozen || !s->labels || (follows && !s->answer))
        return tt_fail(err, TT_ENOMEM, "out of memory for a batch of %lld", (long long)rows);
    s->room = rows;
    return TT_OK;
}

/* May this batch be learnt from?  Writes why not. */
static bool may_learn(const struct tt_stream *s, const struct tt_plan *plan,
                      const struct tt_batch *b, enum tt_skip *ret_why)
{
    *ret_why = TT_SKIP_NONE;
    if (!b->learn && b->why == TT_SKIP_REPLAYED)
        *ret_why = b->why; // whatever else there is: the first answer says that
    else if (!tt_plan_learns(plan))
        *ret_why = TT_SKIP_SOURCE;
    else if (s->guard.state == TT_GUARD_FROZEN)
        *ret_why = TT_SKIP_FROZEN;
    else if (!tt_guard_may_learn(&s->guard))
        *ret_why = TT_SKIP_HOLD;
    else if (s->journal.failing || (s->sink.may_learn && !s->sink.may_learn(s->sink.ctx)))
        *ret_why = TT_SKIP_NOT_READY;
    else if (b->id && tt_recent_has(s->recent, b->id))
        *ret_why = TT_SKIP_REPLAYED;
    else if (!b->learn)
        *ret_why = b->why;
    return *ret_why == TT_SKIP_NONE;
}

/* Copy what belongs to the plan and does not outlive its next step. */
static void keep(struct tt_stream *s, struct tt_outcome *o)
{
    memcpy(s->labels, o->labels, (size_t)o->rows * sizeof *s->labels);
    memcpy(s->mean_p, o->mean_p, (size_t)o->classes * sizeof *s->mean_p);
    memcpy(s->counts, o->counts, (size_t)o->classes * sizeof *s->counts);
    o->labels = s->labels;
    o->mean_p = s->mean_p;
    o->counts = s->counts;
}

static int32_t argmax(const float *p, int64_t n)
{
    int32_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (p[i] > p[best])
            best = (int32_t)i;
    return best;
}

/* Let the frozen model answer too, when it is its turn, and compare. */
static enum tt_code ask_frozen(struct tt_stream *s, struct tt_plan *plan, const struct tt_batch *b,
                               const float *before, struct tt_observed *o, struct tt_answered *a,
                               struct tt_err *err)
{
    const struct tt_monitor_options *m = &s->policy->monitor;
    const int64_t C = s->classes;

    if (!m->shadow_every || s->sample_turn++ % m->shadow_every || !o->input_finite)
        return TT_OK;
    if (m->shadow_stats & TT_SHADOW_SOURCE) {
        if (tt_step_frozen(plan, before, b->x, b->rows, false, s->frozen, err) != TT_OK)
            return err->code;
        o->base_rows = b->rows;
        o->base_differ =
            llround(tt_disagreement(b->logits, s->frozen, b->rows, C) * (double)b->rows);
        for (int64_t i = 0; a && i < b->rows; i++)
            a->frozen[i] = argmax(s->frozen + i * C, C);
        if (a)
            a->base = true;
    }
    if (m->shadow_stats & TT_SHADOW_SAME) {
        if (tt_step_frozen(plan, before, b->x, b->rows, true, s->frozen, err) != TT_OK)
            return err->code;
        o->shadow_rows = b->rows;
        o->shadow_differ =
            llround(tt_disagreement(b->logits, s->frozen, b->rows, C) * (double)b->rows);
    }
    return TT_OK;
}

static struct tt_observed observe(const struct tt_outcome *o, const struct tt_batch *b,
                                  int64_t step_us)
{
    return (struct tt_observed){
        .rows = o->rows,
        .input_finite = o->input_finite,
        .answer_finite = o->answer_finite,
        .update_finite = o->skip != TT_SKIP_NOT_FINITE || !o->input_finite || !o->answer_finite,
        .entropy = o->entropy,
        .confidence = o->confidence,
        .loss = o->loss,
        .grad_norm = o->grad_norm,
        .param_drift = o->param_drift,
        .latency_ms = (double)(b->queue_us + step_us) / 1e3,
        .mean_p = o->mean_p,
        .counts = o->counts,
    };
}

static void count(struct tt_stream *s, const struct tt_batch *b, bool adapted)
{
    s->samples += b->rows;
    if (adapted)
        s->adapted++;
    else
        s->skipped++;
}

/* Every so many updates a version is set aside to soak. */
static void checkpoint(struct tt_stream *s)
{
    const int64_t every = s->policy->snapshots.every_updates;
    const struct tt_version *v;

    if (!every || s->updates < every)
        return;
    v = tt_versions_checkpoint(&s->versions);
    if (!v)
        return;
    s->updates = 0;
    tt_tell_version(s, v, "checkpoint", NULL);
}

/* Let the new version serve, once it is journaled; false: it could not be, and nothing is learnt.
 */
static bool publish(struct tt_stream *s, const struct tt_outcome *o, const struct tt_batch *b)
{
    const int64_t updates = o->updates > 0 ? o->updates : 1;
    const struct tt_version before = s->versions.serving;

    s->step += updates;
    s->updates += updates;
    count(s, b, true);
    tt_recent_add(s->recent, b->id ? b->id : "");
    tt_versions_publish(&s->versions, s->step, s->guard.samples, s->guard.batches, b->now_ms,
                        o->param_drift);
    if (!b->unkept && tt_journal_keep(s, b->now_ms)) {
        checkpoint(s);
        return true;
    }
    tt_versions_withdraw(&s->versions, &before);
    tt_recent_drop(s->recent, b->id ? b->id : "");
    s->step -= updates;
    s->updates -= updates;
    s->samples -= b->rows;
    s->adapted--;
    return false;
}

/* The guard in one word, for the reply. */
static const char *guard_word(const struct tt_stream *s, bool tripped)
{
    const struct tt_guard_policy *p = &s->policy->guard;

    if (tripped)
        return "tripped";
    if (!tt_guard_may_learn(&s->guard))
        return "hold";
    for (int i = 0; i < p->nrules; i++)
        if (tt_guard_evidence(&s->guard, p, i).verdict == TT_VERDICT_WARN)
            return "warn";
    return "ok";
}

/* Let the guard judge the batch; act.  Returns whether the update may be published. */
static bool judge(struct tt_stream *s, const struct tt_plan *plan, const struct tt_batch *b,
                  const struct tt_observed *seen, struct tt_result *ret)
{
    struct tt_decision d[MAX_DECISIONS];
    struct tt_moment at = {.now_ms = b->now_ms,
                           .version = s->versions.serving.id,
                           .step = s->versions.serving.step,
                           .rows = b->rows};
    bool clean = true;
    int n;

    tt_signals_batch(&s->signals, seen);
    n = tt_guard_feed(&s->guard, &s->policy->guard, &s->signals, &at, d, MAX_DECISIONS);
    for (int i = 0; i < n; i++) {
        char restored[TT_HASH_SHORT + 1];

        tt_stream_decide(s, plan, &d[i], b->now_ms, restored);
        if (d[i].dry_run)
            continue;
        clean = false;
        memcpy(ret->rolled_back_to, restored, sizeof restored);
    }
    tt_stream_watch_state(s, "guard", 0, 0, b->now_ms);
    ret->guard = guard_word(s, !clean);
    return clean;
}

/* Name the version that answered: the one before, unless the policy answers from after. */
static void name_answer(const struct tt_stream *s, const struct tt_outcome *o,
                        struct tt_result *ret)
{
    const struct tt_version *v = &s->versions.serving;
    uint64_t id;

    memcpy(ret->version, v->name, sizeof v->name);
    ret->step = v->step;
    if (s->policy->method.predict_order != TT_PREDICT_AFTER || !o->adapted)
        return;
    tt_version_name(s->salt, s->versions.next.block, s->versions.floats, ret->version, &id);
    ret->step = s->step + (o->updates > 0 ? o->updates : 1);
}

/* The update was not published, so what it answered must not be told either: the version that
 * serves now answers. */
static enum tt_code answer_again(struct tt_stream *s, struct tt_plan *plan,
                                 const struct tt_batch *b, struct tt_answered *a,
                                 struct tt_result *ret, struct tt_err *err)
{
    struct tt_versions *v = &s->versions;
    struct tt_outcome o;

    if (tt_step_run(plan, v->serving.block, v->next.block, b->x, b->rows, false, TT_SKIP_HOLD,
                    b->logits, &o, err) != TT_OK)
        return tt_fail_in(err, "stream '%s'", s->name);
    keep(s, &o);
    name_answer(s, &o, ret);
    if (a) {
        memcpy(a->version, ret->version, sizeof a->version);
        memcpy(a->label, o.labels, (size_t)b->rows * sizeof *a->label);
        a->step = ret->step;
    }
    return TT_OK;
}

static struct tt_answered *remember(struct tt_stream *s, const struct tt_batch *b,
                                    const struct tt_outcome *o, const struct tt_result *r)
{
    struct tt_answered *a = NULL;

    if (b->id && *b->id)
        a = tt_memory_add(&s->memory, b->id, b->rows);
    if (!a)
        return NULL;
    memcpy(a->version, r->version, sizeof a->version);
    memcpy(a->label, o->labels, (size_t)b->rows * sizeof *a->label);
    a->step = r->step;
    a->ms = b->now_ms;
    return a;
}

/* Publish what was learnt from the batch, unless the guard objects or it cannot be kept. */
static enum tt_code conclude(struct tt_stream *s, struct tt_plan *plan, const struct tt_batch *b,
                             const struct tt_outcome *o, bool clean, struct tt_answered *a,
                             struct tt_result *ret, struct tt_err *err)
{
    ret->adapted = o->adapted && clean && publish(s, o, b);
    ret->unkept = o->adapted && clean && !ret->adapted;
    if (ret->adapted)
        return TT_OK;
    count(s, b, false);
    if (o->adapted) {
        ret->skip = clean ? TT_SKIP_NOT_READY : TT_SKIP_HOLD;
        if (s->policy->method.predict_order != TT_PREDICT_BEFORE &&
            answer_again(s, plan, b, a, ret, err) != TT_OK)
            return err->code;
    }
    (void)tt_journal_keep(s, b->now_ms); // what was counted; a failure holds the next batch
    return TT_OK;
}

/* What comes after the passes over a batch: compare, judge, act, record.  answer: what the version
 * that served before says, for the comparison. */
static enum tt_code finish(struct tt_stream *s, struct tt_plan *plan, const struct tt_batch *b,
                           const struct tt_outcome *o, struct tt_answered *a, struct tt_result *ret,
                           struct tt_err *err)
{
    struct tt_observed seen = observe(o, b, ret->took_us);
    bool clean;

    if (ask_frozen(s, plan, b, s->versions.serving.block, &seen, a, err) != TT_OK)
        return tt_fail_in(err, "stream '%s': the frozen model", s->name);
    clean = judge(s, plan, b, &seen, ret);
    if (conclude(s, plan, b, o, clean, a, ret, err) != TT_OK)
        return err->code;
    if (a)
        a->batch = s->signals.batches;
    tt_tell_batch(s, b, &seen, o, ret);
    tt_tell_guard(s, b->now_ms);
    tt_capture_batch(s, plan, b, ret);
    return TT_OK;
}

/* The answer is all that there is yet: keep what the update wants. */
static void put_off(struct tt_stream *s, const struct tt_batch *b, const struct tt_outcome *o,
                    struct tt_result *ret)
{
    memcpy(s->answer, b->logits, (size_t)(b->rows * s->classes) * sizeof *s->answer);
    s->follow = (struct tt_follow){.due = true, .batch = *b, .outcome = *o};
    (void)snprintf(s->follow.id, sizeof s->follow.id, "%s", b->id ? b->id : "");
    s->follow.batch.id = s->follow.id;
    s->follow.batch.logits = s->answer;
    ret->guard = guard_word(s, false);
    s->follow.result = *ret;
}

static enum tt_code step(struct tt_stream *s, struct tt_plan *plan, const struct tt_batch *b,
                         struct tt_result *ret, struct tt_err *err)
{
    struct tt_outcome o;
    struct tt_answered *a;
    enum tt_skip why;
    bool learn, follows;
    int64_t us, infer_us;

    if (make_room(s, b->rows, err) != TT_OK || tt_versions_ready(&s->versions, err) != TT_OK)
        return tt_fail_in(err, "stream '%s'", s->name);
    if (s->journal.failing)
        (void)tt_journal_keep(s, b->now_ms); // does it work again?
    learn = may_learn(s, plan, b, &why);
    follows = learn && s->policy->adapt == TT_ADAPT_BACKGROUND;
    if (run_passes(s, plan, b, learn && !follows, follows ? TT_SKIP_BACKGROUND : why, &o, &infer_us,
                   &us, err) != TT_OK)
        return tt_fail_in(err, "stream '%s'", s->name);
    if (follows && !o.input_finite)
        o.skip = TT_SKIP_NOT_FINITE;
    follows = follows && o.input_finite;
    keep(s, &o);
    *ret = (struct tt_result){.skip = o.skip,
                              .loss = o.loss,
                              .entropy = o.entropy,
                              .infer_us = infer_us,
                              .adapt_us = us - infer_us,
                              .took_us = b->took_us ? b->took_us : us,
                              .labels = s->labels};
    name_answer(s, &o, ret);
    a = remember(s, b, &o, ret);
    if (!follows)
        return finish(s, plan, b, &o, a, ret, err);
    put_off(s, b, &o, ret);
    return TT_OK;
}

enum tt_code tt_stream_step(struct tt_stream *s, struct tt_plan *plan, const struct tt_batch *b,
                            struct tt_result *ret, struct tt_err *err)
{
    if (step(s, plan, b, ret, err) == TT_OK)
        return TT_OK;
    tt_capture_restate(s, "a batch failed", b->now_ms); // its turn may have been counted
    return err->code;
}

/* The passes that learn from a batch that was answered; when they cannot be made, nothing is learnt
 * from it. */
static struct tt_outcome learn_later(struct tt_stream *s, struct tt_plan *plan,
                                     const struct tt_batch *b, struct tt_result *ret)
{
    struct tt_versions *v = &s->versions;
    struct tt_outcome o = s->follow.outcome;
    const int64_t t0 = clock_us(s);
    struct tt_err err;
    enum tt_skip why;

    o.skip = TT_SKIP_NONE;
    if (!may_learn(s, plan, b, &why)) {
        o.skip = why;
        return o;
    }
    if (tt_versions_ready(v, &err) != TT_OK ||
        tt_step_run(plan, v->serving.block, v->next.block, b->x, b->rows, true, TT_SKIP_NONE,
                    s->frozen, &o, &err) != TT_OK) {
        tt_tell_event(s, "adapt", "error", "daemon", b->now_ms, err.msg);
        o = s->follow.outcome;
        o.skip = TT_SKIP_NOT_READY;
        return o;
    }
    keep(s, &o);
    ret->adapt_us = clock_us(s) - t0;
    return o;
}

enum tt_code tt_stream_follow(struct tt_stream *s, struct tt_plan *plan, enum tt_skip why,
                              struct tt_result *ret, struct tt_err *err)
{
    struct tt_batch b = s->follow.batch;
    struct tt_outcome o;

    b.learn = why == TT_SKIP_NONE;
    b.why = why;
    *ret = s->follow.result;
    s->follow.due = false;
    o = learn_later(s, plan, &b, ret);
    ret->skip = o.skip;
    ret->loss = o.loss;
    ret->rolled_back_to[0] = '\0';
    if (finish(s, plan, &b, &o, b.id && *b.id ? tt_memory_find(&s->memory, b.id) : NULL, ret,
               err) != TT_OK) {
        tt_capture_restate(s, "an update failed", b.now_ms);
        return err->code;
    }
    if (ret->rolled_back_to[0])
        memcpy(s->went_back_to, ret->rolled_back_to, sizeof s->went_back_to);
    return TT_OK;
}
