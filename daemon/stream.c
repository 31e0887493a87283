// SPDX-License-Identifier: Apache-2.0
#include "daemon/stream.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "daemon/capture.h"
#include "daemon/decide.h"
#include "daemon/journal.h"
#include "daemon/save.h"
#include "daemon/tell.h"
#include "policies/policy.h"

#define RING          16 // checkpoints in memory
#define KEEP          10 // snapshots on the disk
#define MAX_DECISIONS 4  // of one batch: the one to act upon, and dry runs

/* What goes into the name of each version beside its numbers: the model, and the method as text. */
static const char *make_salt(struct tt_arena *arena, const struct tt_model *model,
                             const struct tt_policy *policy)
{
    struct tt_arena scratch;
    struct tt_hash h;
    char hex[TT_HASH_HEX + 1] = "";
    struct tt_out out;

    tt_arena_init(&scratch, 0);
    tt_out_init(&out, &scratch);
    tt_method_print(&policy->method, &out);
    if (tt_out_text(&out)) {
        tt_hash_init(&h);
        tt_hash_add(&h, model->hash, strlen(model->hash));
        tt_hash_add(&h, tt_out_text(&out), strlen(tt_out_text(&out)));
        tt_hash_end(&h, hex);
    }
    tt_arena_release(&scratch);
    return *hex ? tt_arena_strndup(arena, hex, TT_HASH_HEX) : NULL;
}

static enum tt_code fill(struct tt_stream *s, const struct tt_stream_spec *spec, struct tt_err *err)
{
    const char *dir = spec->snapshots;
    float *memory, *source = NULL;

    s->classes = tt_plan_classes(spec->plan);
    s->name = tt_arena_strndup(&s->arena, spec->name, strlen(spec->name));
    s->model_name = tt_arena_strndup(&s->arena, spec->model_name, strlen(spec->model_name));
    s->snapshots = dir ? tt_arena_strndup(&s->arena, dir, strlen(dir)) : NULL;
    s->salt = make_salt(&s->arena, spec->model, spec->policy);
    s->recent = TT_NEW(&s->arena, 1, struct tt_recent);
    memory = TT_NEW(&s->arena, 2 * (s->classes + 1), float);
    s->mean_p = TT_NEW(&s->arena, s->classes + 1, float);
    s->counts = TT_NEW(&s->arena, s->classes + 1, int64_t);
    if (!s->name || !s->model_name || (dir && !s->snapshots) || !s->salt || !s->recent || !memory ||
        !s->mean_p || !s->counts)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (tt_versions_init(&s->versions, &s->arena, tt_plan_floats(spec->plan),
                         spec->ring ? spec->ring : RING, s->salt, err) != TT_OK)
        return err->code;
    source = spec->source ? tt_block_share(spec->source) : tt_block_new(s->versions.floats);
    if (!source)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (!spec->source)
        tt_plan_source(spec->plan, source);
    tt_versions_source(&s->versions, source, spec->now_ms);
    tt_signals_init(&s->signals, s->classes, spec->policy->guard.settings.window, memory);
    tt_guard_init(&s->guard, &spec->policy->guard, spec->now_ms);
    s->told = s->guard.state;
    return TT_OK;
}

enum tt_code tt_stream_new(const struct tt_stream_spec *spec, struct tt_stream **ret,
                           struct tt_err *err)
{
    struct tt_arena arena;
    struct tt_stream *s;

    tt_arena_init(&arena, 0);
    s = TT_NEW(&arena, 1, struct tt_stream);
    if (!s)
        return tt_fail(err, TT_ENOMEM, "stream '%s': out of memory", spec->name);
    *s = (struct tt_stream){.arena = arena,
                            .model = spec->model,
                            .policy = spec->policy,
                            .sink = spec->sink,
                            .storage = {.newest = spec->keep ? spec->keep : KEEP,
                                        .bytes = spec->snapshot_bytes,
                                        .room = spec->room},
                            .feedback_ms = spec->feedback_ms};
    s->journal.limit = spec->journal_bytes ? spec->journal_bytes : TT_JOURNAL_BYTES;
    tt_arena_init(&s->scratch, 0);
    if (fill(s, spec, err) != TT_OK) {
        tt_stream_free(s);
        return tt_fail_in(err, "stream '%s'", spec->name);
    }
    tt_tell_version(s, &s->versions.base, "the model as it was loaded", NULL);
    tt_tell_state(s, "daemon", 0, spec->now_ms);
    *ret = s;
    return TT_OK;
}

void tt_stream_free(struct tt_stream *s)
{
    struct tt_arena arena;

    if (!s)
        return;
    tt_capture_end(s);
    tt_arena_release(&s->scratch);
    tt_memory_trim(&s->memory, 0);
    tt_versions_free(&s->versions);
    arena = s->arena; // it owns s
    tt_arena_release(&arena);
}

static int64_t clock_us(const struct tt_stream *s)
{
    return s->sink.clock_us ? s->sink.clock_us(s->sink.ctx) : 0;
}

/* Scratch for a batch of rows rows. */
static enum tt_code make_room(struct tt_stream *s, int64_t rows, struct tt_err *err)
{
    if (rows <= s->room)
        return TT_OK;
    tt_arena_release(&s->scratch);
    s->room = 0;
    s->frozen = TT_NEW(&s->scratch, rows * s->classes, float);
    s->labels = TT_NEW(&s->scratch, rows, int32_t);
    if (!s->frozen || !s->labels)
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

static enum tt_code step(struct tt_stream *s, struct tt_plan *plan, const struct tt_batch *b,
                         struct tt_result *ret, struct tt_err *err)
{
    struct tt_versions *v = &s->versions;
    const int64_t t0 = clock_us(s);
    struct tt_outcome o;
    struct tt_observed seen;
    struct tt_answered *a;
    enum tt_skip why;
    bool learn, clean;
    int64_t us;

    if (make_room(s, b->rows, err) != TT_OK || tt_versions_ready(v, err) != TT_OK)
        return tt_fail_in(err, "stream '%s'", s->name);
    if (s->journal.failing)
        (void)tt_journal_keep(s, b->now_ms); // does it work again?
    learn = may_learn(s, plan, b, &why);
    if (tt_step_run(plan, v->serving.block, v->next.block, b->x, b->rows, learn, why, b->logits, &o,
                    err) != TT_OK)
        return tt_fail_in(err, "stream '%s'", s->name);
    us = b->took_us ? b->took_us : clock_us(s) - t0;
    keep(s, &o);
    *ret = (struct tt_result){.skip = o.skip,
                              .loss = o.loss,
                              .entropy = o.entropy,
                              .infer_us = learn ? 0 : us,
                              .adapt_us = learn ? us : 0,
                              .labels = s->labels};
    name_answer(s, &o, ret);
    seen = observe(&o, b, us);
    a = remember(s, b, &o, ret);
    if (ask_frozen(s, plan, b, v->serving.block, &seen, a, err) != TT_OK)
        return tt_fail_in(err, "stream '%s': the frozen model", s->name);
    clean = judge(s, plan, b, &seen, ret);
    if (conclude(s, plan, b, &o, clean, a, ret, err) != TT_OK)
        return err->code;
    if (a)
        a->batch = s->signals.batches;
    tt_tell_batch(s, b, &seen, &o, ret);
    tt_tell_guard(s, b->now_ms);
    tt_capture_batch(s, plan, b, ret);
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

void tt_stream_settle(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms)
{
    struct tt_err err;
    int good = 0;

    tt_stream_stow(s, plan, now_ms);
    for (int i = 0; i < s->versions.nring; i++) {
        struct tt_version *v = &s->versions.ring[i];

        if (!v->name[0] || v->state != TT_VERSION_SOAKING ||
            !tt_guard_soaked(&s->guard, &s->policy->guard, v->samples))
            continue;
        v->state = TT_VERSION_GOOD;
        good++;
        tt_tell_judged(s, v, "the guard's evidence stayed low while it soaked", now_ms);
        if (s->snapshots)
            (void)tt_stream_save(s, plan, v, "good", now_ms, &err); // told as an event
    }
    tt_capture_settle(s, now_ms, good);
}

void tt_stream_rest(struct tt_stream *s)
{
    tt_arena_release(&s->scratch);
    s->room = 0;
    tt_block_free(s->versions.next.block);
    s->versions.next.block = NULL;
}

void tt_stream_trim(struct tt_stream *s, size_t bytes)
{
    const size_t need = s->arena.used + (size_t)s->versions.floats * sizeof(float);
    const size_t spare = bytes > need ? bytes - need : 0;
    const int held = tt_versions_held(&s->versions);

    if (tt_stream_bytes(s) <= bytes)
        return;
    tt_stream_rest(s);
    tt_memory_trim(&s->memory, spare / 4); // labels may come for the newest answers at least
    tt_versions_trim(&s->versions, spare - s->memory.bytes);
    if (tt_versions_held(&s->versions) != held)
        tt_capture_ring(s);
}

size_t tt_stream_bytes(const struct tt_stream *s)
{
    return s->arena.used + s->scratch.used + s->memory.bytes + tt_versions_bytes(&s->versions) +
           (size_t)s->versions.floats * sizeof(float);
}
