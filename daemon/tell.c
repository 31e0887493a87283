// SPDX-License-Identifier: Apache-2.0
#include "daemon/tell.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "policies/policy.h"

static int64_t put(const struct tt_stream *s, struct tt_record *r)
{
    r->stream = s->name;
    return s->sink.put ? s->sink.put(s->sink.ctx, r) : 0;
}

int64_t tt_tell_state(const struct tt_stream *s, const char *by, int64_t decision_id,
                      int64_t now_ms)
{
    const struct tt_version *v = &s->versions.serving;
    struct tt_record r = {.kind = TT_REC_STREAM, .ts_ms = now_ms};

    r.state = (struct tt_rec_stream){.model = s->model_name,
                                     .model_hash = s->model->hash,
                                     .engine = s->policy->method.preset,
                                     .policy = s->policy->name,
                                     .policy_hash = s->policy->hash,
                                     .state = tt_guard_state_name(s->guard.state),
                                     .reason = s->reason,
                                     .by = by,
                                     .version = v->name,
                                     .step = v->step,
                                     .decision_id = decision_id ? decision_id : TT_UNKNOWN};
    return put(s, &r); // the store counts what it sheds
}

static double reading(const struct tt_stream *s, enum tt_signal signal)
{
    return tt_signals_read(&s->signals, signal).value;
}

void tt_tell_batch(const struct tt_stream *s, const struct tt_batch *b, const struct tt_observed *o,
                   const struct tt_outcome *out, const struct tt_result *res)
{
    const struct tt_version *v = &s->versions.serving;
    const double classes = (double)(s->classes > 1 ? s->classes : 2);
    struct tt_record r = {.kind = TT_REC_BATCH, .ts_ms = b->now_ms};

    r.batch = (struct tt_rec_batch){
        .request_id = b->id,
        .version = res->version,
        .step = res->step,
        .rows = b->rows,
        .adapted = res->adapted,
        .skip = tt_skip_name(res->skip),
        .loss = res->loss,
        .entropy = res->entropy,
        .entropy_ratio = res->entropy / log(classes),
        .confidence = o->confidence,
        .class_collapse = reading(s, TT_SIG_CLASS_COLLAPSE),
        .class_share = reading(s, TT_SIG_CLASS_SHARE),
        .grad_norm = o->grad_norm,
        .param_drift = o->param_drift,
        .base_disagreement =
            o->base_rows ? (double)o->base_differ / (double)o->base_rows : (double)NAN,
        .shadow_disagreement =
            o->shadow_rows ? (double)o->shadow_differ / (double)o->shadow_rows : (double)NAN,
        .queue_us = b->queue_us,
        .infer_us = res->infer_us,
        .adapt_us = res->adapt_us,
        .counts = o->counts,
        .classes = o->counts ? out->classes : 0,
        .serving = v->name,
        .serving_step = v->step,
    };
    (void)put(s, &r);
}

void tt_tell_guard(const struct tt_stream *s, int64_t now_ms)
{
    const struct tt_guard_policy *p = &s->policy->guard;

    for (int i = 0; i < p->nrules; i++) {
        const struct tt_guard_rule *rule = &p->rules[i];
        struct tt_guard_evidence e = tt_guard_evidence(&s->guard, p, i);
        struct tt_record r = {.kind = TT_REC_GUARD, .ts_ms = now_ms};

        r.guard = (struct tt_rec_guard){.rule = rule->name,
                                        .signal = tt_signals[rule->signal].name,
                                        .detector = tt_detectors[rule->detector].name,
                                        .state = tt_guard_state_name(s->guard.state),
                                        .statistic = e.statistic,
                                        .threshold = e.threshold,
                                        .evidence = e.evidence,
                                        .n = isfinite(e.n) ? (int64_t)e.n : 0,
                                        .verdict = tt_guard_verdict_name(e.verdict),
                                        .dry_run = e.dry_run};
        (void)put(s, &r);
    }
}

void tt_tell_version(const struct tt_stream *s, const struct tt_version *v, const char *reason,
                     const char *file)
{
    struct tt_record r = {.kind = TT_REC_VERSION, .ts_ms = v->ms};

    r.version = (struct tt_rec_version){.version = v->name,
                                        .parent = v->parent,
                                        .step = v->step,
                                        .state = tt_version_state_name(v->state),
                                        .reason = reason,
                                        .param_drift = v->param_drift,
                                        .bytes = s->versions.floats * (int64_t)sizeof(float),
                                        .file = file};
    (void)put(s, &r);
}

void tt_tell_judged(const struct tt_stream *s, const struct tt_version *v, const char *reason,
                    int64_t now_ms)
{
    struct tt_record r = {.kind = TT_REC_VERSION_STATE, .ts_ms = now_ms};

    r.version_state = (struct tt_rec_version_state){
        .version = v->name, .state = tt_version_state_name(v->state), .reason = reason};
    (void)put(s, &r);
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

/* What the decision was made on. */
static json_t *evidence(const struct tt_decision *d)
{
    json_t *o = json_object();

    json_object_set_new(o, "rule", json_string(d->rule));
    if (d->signal >= 0)
        json_object_set_new(o, "signal", json_string(tt_signals[d->signal].name));
    if (d->detector >= 0)
        json_object_set_new(o, "detector", json_string(tt_detectors[d->detector].name));
    json_object_set_new(o, "statistic", number(d->statistic));
    json_object_set_new(o, "threshold", number(d->threshold));
    json_object_set_new(o, "baseline", number(d->baseline));
    json_object_set_new(o, "observed", number(d->observed));
    json_object_set_new(o, "n", number(d->n));
    json_object_set_new(o, "change_point_sample", json_integer(d->change_point_sample));
    json_object_set_new(o, "change_point_step", json_integer(d->change_point_step));
    json_object_set_new(o, "detect_delay_ms", json_integer(d->detect_delay_ms));
    json_object_set_new(o, "breaker", json_boolean(d->breaker));
    return o;
}

static char *as_text(json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT);

    json_decref(o);
    return text;
}

int64_t tt_tell_number(const struct tt_stream *s)
{
    return s->sink.next_decision ? s->sink.next_decision(s->sink.ctx) : 0;
}

int64_t tt_tell_decision(const struct tt_stream *s, const struct tt_decision *d,
                         const struct tt_restored *what, const char *actor, int64_t id,
                         int64_t now_ms)
{
    struct tt_record r = {.kind = TT_REC_DECISION, .ts_ms = now_ms};
    char *json = as_text(evidence(d));
    int64_t ticket;

    r.decision = (struct tt_rec_decision){
        .decision_id = id,
        .rule = d->rule,
        .signal = d->signal >= 0 ? tt_signals[d->signal].name : NULL,
        .detector = d->detector >= 0 ? tt_detectors[d->detector].name : NULL,
        .action = what->action ? what->action : tt_action_name(d->action),
        .dry_run = d->dry_run,
        .statistic = d->statistic,
        .threshold = d->threshold,
        .baseline = d->baseline,
        .observed = d->observed,
        .n = isfinite(d->n) ? (int64_t)d->n : TT_UNKNOWN,
        .change_point_ms = d->change_point_ms,
        .from_version = what->from->name,
        .from_step = what->from->step,
        .to_version = what->to ? what->to->name : NULL,
        .to_step = what->to ? what->to->step : TT_UNKNOWN,
        .to_reason = what->reason,
        .batches_affected = d->batches_affected,
        .samples_affected = d->samples_affected,
        .actor = actor,
        .policy_hash = s->policy->hash,
        .sentence = d->sentence,
        .evidence = json,
    };
    ticket = put(s, &r);
    free(json);
    return ticket;
}

void tt_tell_event(const struct tt_stream *s, const char *kind, const char *severity,
                   const char *actor, int64_t now_ms, const char *text)
{
    struct tt_record r = {.kind = TT_REC_EVENT, .ts_ms = now_ms};

    r.event = (struct tt_rec_event){.kind = kind,
                                    .severity = severity,
                                    .actor = actor,
                                    .text = text,
                                    .version = s->versions.serving.name,
                                    .decision_id = TT_UNKNOWN};
    (void)put(s, &r);
}

void tt_tell_decided(const struct tt_stream *s, const struct tt_decision *d,
                     const struct tt_restored *what, const char *actor, int64_t id, int64_t now_ms)
{
    const char *action = what->action ? what->action : tt_action_name(d->action);
    struct tt_record r = {.kind = TT_REC_EVENT, .ts_ms = now_ms};
    json_t *o = evidence(d);
    char *json;

    json_object_set_new(o, "action", json_string(action));
    json_object_set_new(o, "dry_run", json_boolean(d->dry_run));
    json_object_set_new(o, "policy_hash", json_string(s->policy->hash));
    json_object_set_new(o, "from_version", json_string(what->from->name));
    json_object_set_new(o, "from_step", json_integer(what->from->step));
    json_object_set_new(o, "to_version", what->to ? json_string(what->to->name) : json_null());
    json_object_set_new(o, "to_step", what->to ? json_integer(what->to->step) : json_null());
    json = as_text(o);
    r.event = (struct tt_rec_event){.kind = d->dry_run                     ? "trip"
                                            : d->action == TT_ACTION_RESET ? "rollback"
                                                                           : action,
                                    .severity =
                                        d->by == TT_BY_OPERATOR || d->dry_run ? "info" : "warning",
                                    .actor = actor,
                                    .text = d->sentence,
                                    .version = s->versions.serving.name,
                                    .detail = json,
                                    .decision_id = id};
    (void)put(s, &r);
    free(json);
}
