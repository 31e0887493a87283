// SPDX-License-Identifier: Apache-2.0
#include "daemon/decide.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "daemon/capture.h"
#include "daemon/journal.h"
#include "daemon/resume.h"
#include "daemon/tell.h"
#include "monitor/snapshot.h"
#include "policies/policy.h"

#define ASIDE "set aside when the stream went back to an older version"

struct aside {
    struct tt_stream *s;
    int64_t step, now_ms;
};

/* A file newer than the version restored, unless it is in the ring and so was told. */
static bool set_file_aside(void *arg, const struct tt_snapshot_file *f)
{
    const struct aside *a = arg;
    struct tt_version v = {.state = TT_VERSION_SUSPECT};

    if (f->step <= a->step)
        return false; // the rest is older
    (void)snprintf(v.name, sizeof v.name, "%s", f->version);
    if (!tt_versions_find(&a->s->versions, v.name))
        tt_tell_judged(a->s, &v, ASIDE, a->now_ms);
    return true;
}

/* Versions newer than the one restored are not gone back to by themselves again, nor resumed after
 * a restart: bad when they came after the change point, suspect for their age alone. */
static void set_aside(struct tt_stream *s, const struct tt_version *to, int64_t change_point,
                      int64_t now_ms)
{
    struct aside a = {s, to->step, now_ms};
    struct tt_err err;

    for (int i = 0; i < s->versions.nring; i++) {
        struct tt_version *v = &s->versions.ring[i];

        if (!v->name[0] || v->step <= to->step || v->state == TT_VERSION_BAD)
            continue;
        v->state = v->samples > change_point ? TT_VERSION_BAD : TT_VERSION_SUSPECT;
        tt_tell_judged(s, v, ASIDE, now_ms);
    }
    if (s->snapshots && tt_snapshot_scan(s->snapshots, set_file_aside, &a, &err) != TT_OK)
        tt_tell_event(s, "snapshot", "error", "daemon", now_ms, err.msg);
}

static void mark_suspect(struct tt_stream *s, uint64_t id, int64_t now_ms)
{
    for (int i = 0; i < s->versions.nring; i++) {
        struct tt_version *v = &s->versions.ring[i];

        if (!v->name[0] || v->id != id || v->state == TT_VERSION_BAD)
            continue;
        v->state = TT_VERSION_SUSPECT;
        tt_tell_judged(s, v, "tripped again after it had been restored", now_ms);
    }
}

/* Serve to.  Returns a copy of it, since restoring may take its place in the ring. */
static struct tt_version restore(struct tt_stream *s, const struct tt_version *to,
                                 int64_t change_point, int64_t now_ms)
{
    struct tt_version copy = *to;

    set_aside(s, to, change_point, now_ms);
    tt_versions_restore(&s->versions, to);
    tt_guard_restored(&s->guard, &s->policy->guard, &s->signals, copy.id, now_ms);
    s->updates = 0;
    s->rollbacks++;
    return copy;
}

/* Who names a version has judged it: whatever set it aside, it is resumed after a restart again,
 * and soaks anew. */
static void readmit(struct tt_stream *s, const char *name, int64_t now_ms)
{
    for (int i = 0; i < s->versions.nring; i++) {
        struct tt_version *v = &s->versions.ring[i];

        if (strcmp(v->name, name) != 0)
            continue;
        if (v->state != TT_VERSION_GOOD) {
            v->state = TT_VERSION_SOAKING;
            v->samples = s->guard.samples;
        }
        tt_tell_judged(s, v, "a person went back to it", now_ms);
    }
}

/* Retention leaves what a decision names. */
static void pin(struct tt_stream *s, const struct tt_restored *what)
{
    tt_storage_pin(&s->storage, what->from->id);
    if (what->to)
        tt_storage_pin(&s->storage, what->to->id);
}

/* The newest good version from before the change point less one detection delay. */
static const struct tt_version *choose(struct tt_stream *s, const struct tt_plan *plan,
                                       const struct tt_decision *d, int64_t now_ms,
                                       const char **ret_why)
{
    const struct tt_version *to;

    if (d->action == TT_ACTION_RESET) {
        *ret_why = "the rule asks for the source";
        return &s->versions.base;
    }
    to = tt_stream_target(s, plan, d->change_point_sample - d->samples_affected, now_ms);
    *ret_why = to == &s->versions.base
                   ? "no version from before the change point is good, so the source"
                   : "the newest good version from before the change point";
    return to;
}

/* Wait until the decision and the state that it led to, whose tickets these are, are on the disk.
 */
static bool sync_record(const struct tt_stream *s, int64_t ticket, int64_t row, int64_t now_ms)
{
    struct tt_err err = {TT_OK, ""};
    char text[TT_LINE_BYTES];

    if (!s->sink.sync)
        return true;
    if (!ticket || !row)
        (void)tt_fail(&err, TT_EIO, "the record has no room for it");
    else if (s->sink.sync(s->sink.ctx, row > ticket ? row : ticket, &err) == TT_OK)
        return true;
    (void)snprintf(text, sizeof text, "the decision is not on the disk yet: %s", err.msg);
    tt_tell_event(s, "record", "error", "daemon", now_ms, text);
    return false;
}

void tt_stream_watch_state(struct tt_stream *s, const char *by, int64_t decision_id, int64_t ticket,
                           int64_t now_ms)
{
    char text[TT_LINE_BYTES];
    int64_t row;

    if (s->told == s->guard.state && !decision_id)
        return;
    tt_guard_reason(&s->guard, &s->policy->guard, s->reason, sizeof s->reason);
    row = tt_tell_state(s, by, decision_id, now_ms);
    if (decision_id)
        s->recorded = sync_record(s, ticket, row, now_ms);
    if (s->told != s->guard.state) {
        (void)snprintf(text, sizeof text, "%s -> %s%s%s", tt_guard_state_name(s->told),
                       tt_guard_state_name(s->guard.state), s->reason[0] ? ": " : "", s->reason);
        tt_tell_event(s, "state", "info", by, now_ms, text);
    }
    s->told = s->guard.state;
}

void tt_stream_decide(struct tt_stream *s, const struct tt_plan *plan, const struct tt_decision *d,
                      int64_t now_ms, char ret_restored[TT_HASH_SHORT + 1])
{
    struct tt_version from = s->versions.serving, to;
    struct tt_restored what = {.from = &from};
    const bool back = d->action == TT_ACTION_RESET || d->action == TT_ACTION_ROLLBACK;
    int64_t ticket, id;

    ret_restored[0] = '\0';
    if (back && !d->dry_run) {
        if (d->suspect)
            mark_suspect(s, d->suspect_version, now_ms);
        what.to = choose(s, plan, d, now_ms, &what.reason);
        if (from.state != TT_VERSION_BASE) {
            from.state = TT_VERSION_BAD;
            tt_tell_version(s, &from, "it served when the guard tripped", NULL);
        }
        to = restore(s, what.to, d->change_point_sample, now_ms);
        what.to = &to;
        memcpy(ret_restored, to.name, sizeof to.name);
    } else if (back) {
        what.to = choose(s, plan, d, now_ms, &what.reason);
    }
    pin(s, &what);
    id = tt_tell_number(s);
    if (what.to == &to) // restored
        s->decision = id;
    if (!d->dry_run)
        (void)tt_journal_keep(s, now_ms); // before anybody hears of it; a failure holds the stream
    ticket = tt_tell_decision(s, d, &what, "guard", id, now_ms);
    if (!d->dry_run)
        tt_stream_watch_state(s, "guard", id, ticket, now_ms);
    tt_tell_decided(s, d, &what, "guard", id, now_ms);
}

static enum tt_code refuse_order(const struct tt_stream *s, const char *what, struct tt_err *err)
{
    return tt_fail(err, TT_EDENIED, "stream '%s' is %s: it cannot %s", s->name,
                   tt_guard_state_name(s->guard.state), what);
}

/* What a person's order looks like as a decision: there is no statistic. */
static struct tt_decision as_decision(const struct tt_stream *s, const struct tt_order *o)
{
    struct tt_decision d = {.by = TT_BY_OPERATOR,
                            .rule = "operator",
                            .signal = -1,
                            .detector = -1,
                            .action = o->action,
                            .from_version = s->versions.serving.id,
                            .from_step = s->versions.serving.step,
                            .statistic = NAN,
                            .threshold = NAN,
                            .n = NAN,
                            .baseline = NAN,
                            .observed = NAN,
                            .change_point_sample = s->guard.samples};

    return d;
}

static const struct tt_version *ordered_target(const struct tt_stream *s, const struct tt_order *o,
                                               const char **ret_why, struct tt_err *err)
{
    const struct tt_version *to;

    if (o->action == TT_ACTION_RESET) {
        *ret_why = "asked for the source";
        return &s->versions.base;
    }
    if (!o->version || !*o->version) {
        to = tt_versions_target(&s->versions, INT64_MAX);
        *ret_why = to == &s->versions.base ? "no version is good, so the source"
                                           : "the newest good version";
        return to;
    }
    *ret_why = "asked for by name";
    to = tt_versions_find(&s->versions, o->version);
    if (!to)
        (void)tt_fail(err, TT_ENOTFOUND,
                      "stream '%s' has no version '%s' that it could go back to; op 'snapshots' "
                      "lists them",
                      s->name, o->version);
    return to;
}

static void order_sentence(const struct tt_order *o, const char *verb, const char *to,
                           struct tt_decision *d)
{
    const bool why = o->reason && *o->reason;

    (void)snprintf(d->sentence, sizeof d->sentence, "%s%s%s by %s%s%.100s", verb, *to ? " to " : "",
                   to, o->actor, why ? ": " : "", why ? o->reason : "");
}

static enum tt_code go_back(struct tt_stream *s, const struct tt_order *o, struct tt_decision *d,
                            struct tt_restored *what, struct tt_version *to, struct tt_err *err)
{
    const struct tt_version *target = ordered_target(s, o, &what->reason, err);

    if (!target)
        return err->code;
    if (!tt_guard_order(&s->guard, &s->policy->guard, TT_ORDER_ROLLBACK, o->now_ms))
        return refuse_order(s, "go back", err);
    if (o->version && *o->version)
        readmit(s, target->name, o->now_ms);
    *to = restore(s, target, s->guard.samples, o->now_ms);
    what->to = to;
    order_sentence(o, o->action == TT_ACTION_RESET ? "reset" : "rolled back", to->name, d);
    return TT_OK;
}

enum tt_code tt_stream_order(struct tt_stream *s, const struct tt_order *o, struct tt_ordered *ret,
                             struct tt_err *err)
{
    const struct tt_guard_policy *p = &s->policy->guard;
    const char *actor = o->actor && *o->actor ? o->actor : "operator";
    const bool back = o->action == TT_ACTION_RESET || o->action == TT_ACTION_ROLLBACK;
    struct tt_order named = *o;
    struct tt_decision d = as_decision(s, o);
    struct tt_version from = s->versions.serving, to = {.name = ""};
    struct tt_restored what = {
        .from = &from, .reason = o->reason, .action = o->thaw ? "thaw" : NULL};
    int64_t ticket;

    if (s->sink.room && s->sink.room(s->sink.ctx, err) != TT_OK)
        return tt_fail_in(err, "stream '%s'", s->name);
    named.actor = actor;
    if (o->thaw) {
        if (!tt_guard_order(&s->guard, p, TT_ORDER_THAW, o->now_ms))
            return refuse_order(s, "be thawed", err);
        order_sentence(&named, "thawed", "", &d);
    } else if (back) {
        if (go_back(s, &named, &d, &what, &to, err) != TT_OK)
            return err->code;
    } else {
        if (!tt_guard_order(&s->guard, p, TT_ORDER_FREEZE, o->now_ms))
            return refuse_order(s, "be frozen", err);
        order_sentence(&named, "frozen", "", &d);
    }
    *ret = (struct tt_ordered){.to_step = s->versions.serving.step};
    memcpy(ret->from, from.name, sizeof ret->from);
    memcpy(ret->to, s->versions.serving.name, sizeof ret->to);
    if (what.to && from.state != TT_VERSION_BASE) { // its number is not given again
        if (from.step > to.step)
            from.state = TT_VERSION_SUSPECT;
        tt_tell_version(s, &from, "it served when a person went back", NULL);
    }
    pin(s, &what);
    ret->decision_id = tt_tell_number(s);
    if (what.to)
        s->decision = ret->decision_id;
    (void)tt_journal_keep(s, o->now_ms); // before anybody hears of it; a failure holds the stream
    ticket = tt_tell_decision(s, &d, &what, actor, ret->decision_id, o->now_ms);
    tt_stream_watch_state(s, actor, ret->decision_id, ticket, o->now_ms);
    tt_tell_decided(s, &d, &what, actor, ret->decision_id, o->now_ms);
    tt_capture_order(s, o, ret);
    return TT_OK;
}
