// SPDX-License-Identifier: Apache-2.0
#include "monitor/guard.h"

#include <math.h>
#include <stdio.h>

#define WARN_SHARE 0.7 // of the threshold: worth a look

static const bool learns[] = {
#define LEARNS(sym, name, learns) learns,
    TT_GUARD_STATES(LEARNS)
#undef LEARNS
};

bool tt_guard_may_learn(const struct tt_guard *g)
{
    return learns[g->state];
}

static void enter(struct tt_guard *g, enum tt_guard_state state, int by, int64_t now_ms)
{
    g->state = state;
    g->by = by;
    g->since_ms = now_ms;
    g->since_sample = g->samples;
}

/* ---- rules ---------------------------------------------------------------------------------- */

static void read_rule(const struct tt_guard *g, const struct tt_guard_policy *p, int i,
                      struct tt_evidence *ret)
{
    struct tt_detect_options o = tt_guard_options(&p->rules[i]);

    tt_detectors[p->rules[i].detector].read(&o, g->rule[i].detector, ret);
}

static void arm(struct tt_guard *g, const struct tt_guard_policy *p)
{
    for (int i = 0; i < p->nrules; i++) {
        g->rule[i].tripped = false;
        g->rule[i].run = 0;
    }
}

/* Feed one rule; its run counts readings, so a batch that says nothing of the signal neither
 * lengthens nor breaks it. */
static void feed_rule(struct tt_guard *g, const struct tt_guard_policy *p, int i,
                      const struct tt_signals *signals, const struct tt_mark *at,
                      struct tt_evidence *ret)
{
    const struct tt_guard_rule *rule = &p->rules[i];
    struct tt_reading r = tt_signals_read(signals, (enum tt_signal)rule->signal);
    struct tt_detect_options o = tt_guard_options(rule);
    bool stale = rule->stale_after > 0 && r.age >= (double)rule->stale_after;

    if (r.fresh_n > 0)
        tt_detectors[rule->detector].feed(&o, g->rule[i].detector, &r, at);
    read_rule(g, p, i, ret);
    g->rule[i].missing = stale || !ret->conclusive;
    if (r.fresh_n > 0)
        g->rule[i].run = ret->alarm ? g->rule[i].run + 1 : 0;
    if (ret->clear && !stale)
        g->rule[i].tripped = false;
}

static bool wants_trip(const struct tt_guard *g, const struct tt_guard_policy *p, int i)
{
    return !g->rule[i].tripped && !g->rule[i].missing &&
           g->rule[i].run >= p->rules[i].consecutive && p->rules[i].signal != TT_SIG_NOT_FINITE;
}

static bool wants_hold(const struct tt_guard *g, const struct tt_guard_policy *p, int i)
{
    const struct tt_guard_rule *r = &p->rules[i];

    return g->rule[i].missing && !r->dry_run && r->on_inconclusive == TT_INCONCLUSIVE_HOLD &&
           tt_signals[r->signal].from != TT_FROM_LEARNING && r->signal != TT_SIG_NOT_FINITE;
}

static bool is_calm(const struct tt_guard *g, const struct tt_guard_policy *p,
                    const struct tt_evidence *e)
{
    for (int i = 0; i < p->nrules; i++) {
        if (p->rules[i].dry_run)
            continue;
        if (wants_hold(g, p, i) || g->rule[i].tripped || e[i].share > p->settings.soak_evidence)
            return false;
    }
    return true;
}

/* ---- decisions ------------------------------------------------------------------------------ */

static int64_t whole(double x)
{
    return x > -1e15 && x < 1e15 ? (int64_t)x : 0;
}

/* Everything but what the action adds.  e NULL: not a detector's, and it began with this batch. */
static void describe(const struct tt_guard *g, const struct tt_guard_policy *p, int by,
                     const struct tt_evidence *e, const struct tt_mark *start,
                     const struct tt_moment *at, struct tt_decision *ret)
{
    const struct tt_mark *since = e ? &e->since : start;

    *ret = (struct tt_decision){.by = by,
                                .rule = by >= 0 ? p->rules[by].name : "not_finite",
                                .signal = by >= 0 ? p->rules[by].signal : TT_SIG_NOT_FINITE,
                                .detector = by >= 0 ? p->rules[by].detector : -1,
                                .action = TT_ACTION_ROLLBACK,
                                .dry_run = by >= 0 && p->rules[by].dry_run,
                                .from_version = at->version,
                                .from_step = at->step,
                                .statistic = e ? e->statistic : NAN,
                                .threshold = e ? e->threshold : NAN,
                                .n = e ? e->n : (double)at->rows,
                                .baseline = e ? e->baseline : NAN,
                                .observed = e ? e->observed : NAN,
                                .change_point_ms = whole(since->ms),
                                .change_point_step = whole(since->step),
                                .change_point_sample = whole(since->sample)};
    if (by >= 0)
        ret->action = (enum tt_action)p->rules[by].action;
    ret->detect_delay_ms = at->now_ms - ret->change_point_ms;
    ret->samples_affected = g->samples - ret->change_point_sample;
    ret->batches_affected = g->batches - whole(since->batch);
}

/* Restores by the guard within the window, with one now. */
static int count_restores(struct tt_guard *g, const struct tt_guard_policy *p)
{
    int n = 1;

    for (int i = 0; i < g->nrestores && n < TT_MAXROLLBACKS; i++)
        if (g->samples - g->restores[i] < p->settings.rollback_window)
            n++;
    for (int i = n - 1; i > 0; i--)
        g->restores[i] = g->restores[i - 1];
    g->restores[0] = g->samples;
    g->nrestores = n;
    return n;
}

static bool on_trial(const struct tt_guard *g)
{
    return g->state == TT_GUARD_PROBATION || g->state == TT_GUARD_COOLDOWN ||
           g->state == TT_GUARD_ROLLED_BACK ||
           (g->state == TT_GUARD_HOLDING && g->resume == TT_GUARD_PROBATION);
}

static void act(struct tt_guard *g, const struct tt_guard_policy *p, const struct tt_moment *at,
                struct tt_decision *d)
{
    if (d->by >= 0)
        g->rule[d->by].tripped = !d->missing;
    if (d->action == TT_ACTION_HOLD) {
        if (g->state != TT_GUARD_HOLDING)
            g->resume = g->state;
        enter(g, TT_GUARD_HOLDING, d->by, at->now_ms);
    } else {
        d->suspect = on_trial(g);
        d->suspect_version = d->suspect ? g->restored : 0;
        g->resume = TT_GUARD_PROBATION;
        if (d->action == TT_ACTION_FREEZE) {
            enter(g, TT_GUARD_FROZEN, d->by, at->now_ms);
        } else {
            d->restores = count_restores(g, p);
            d->breaker = g->breaker = d->restores >= p->settings.max_rollbacks;
            g->cooldown =
                d->by >= 0 ? p->rules[d->by].cooldown_samples : p->settings.cooldown_samples;
            enter(g, TT_GUARD_TRIPPED, d->by, at->now_ms);
        }
    }
    tt_decision_write(d);
}

/* The rule to act upon: the most severe action, then the first rule.  TT_BY_NOBODY: none. */
static int choose(const struct tt_guard *g, const struct tt_guard_policy *p, bool not_finite)
{
    int best = TT_BY_NOBODY;

    if (not_finite) {
        for (int i = 0; i < p->nrules; i++)
            if (p->rules[i].signal == TT_SIG_NOT_FINITE)
                return i;
        return TT_BY_NOT_FINITE;
    }
    for (int i = 0; i < p->nrules; i++)
        if (!p->rules[i].dry_run && wants_trip(g, p, i) &&
            (best < 0 || p->rules[i].action > p->rules[best].action))
            best = i;
    return best;
}

static int hold_for_data(const struct tt_guard *g, const struct tt_guard_policy *p)
{
    for (int i = 0; i < p->nrules && g->state == TT_GUARD_ADAPTING; i++)
        if (wants_hold(g, p, i))
            return i;
    return TT_BY_NOBODY;
}

static bool judges(enum tt_guard_state s)
{
    return s == TT_GUARD_WARMING || s == TT_GUARD_ADAPTING || s == TT_GUARD_HOLDING ||
           s == TT_GUARD_PROBATION;
}

static int decide(struct tt_guard *g, const struct tt_guard_policy *p, const struct tt_evidence *e,
                  bool not_finite, const struct tt_mark *start, const struct tt_moment *at,
                  struct tt_decision *ret, int max)
{
    enum tt_guard_state before = g->state;
    int by = TT_BY_NOBODY, n = 0;
    bool missing = false;

    if (judges(before) || (not_finite && before != TT_GUARD_FROZEN && before != TT_GUARD_TRIPPED))
        by = choose(g, p, not_finite);
    if (by == TT_BY_NOBODY) {
        by = hold_for_data(g, p);
        missing = by != TT_BY_NOBODY;
    }
    if (by != TT_BY_NOBODY) {
        describe(g, p, by, by < 0 || missing || not_finite ? NULL : &e[by], start, at, ret);
        if (missing) {
            ret->missing = true;
            ret->action = TT_ACTION_HOLD;
            ret->n = e[by].n;
        }
        act(g, p, at, &ret[n++]);
    }
    for (int i = 0; i < p->nrules && judges(before); i++) {
        if (!p->rules[i].dry_run || !wants_trip(g, p, i))
            continue;
        g->rule[i].tripped = true;
        if (n == max)
            continue;
        describe(g, p, i, &e[i], start, at, &ret[n]);
        tt_decision_write(&ret[n++]);
    }
    return n;
}

/* ---- time ----------------------------------------------------------------------------------- */

static bool keeps_holding(const struct tt_guard *g, const struct tt_guard_policy *p)
{
    for (int i = 0; i < p->nrules; i++) {
        const struct tt_guard_rule *r = &p->rules[i];

        if (g->rule[i].tripped && !r->dry_run && r->action == TT_ACTION_HOLD)
            return true;
        if (g->resume == TT_GUARD_ADAPTING && wants_hold(g, p, i))
            return true;
    }
    return false;
}

/* What time alone does, counted in samples so that a replay takes the same way. */
static void proceed(struct tt_guard *g, const struct tt_guard_policy *p, int64_t now_ms)
{
    const struct tt_guard_settings *s = &p->settings;
    int64_t spent = g->samples - g->since_sample;

    if (g->state == TT_GUARD_ROLLED_BACK)
        enter(g, TT_GUARD_COOLDOWN, g->by, now_ms);
    else if ((g->state == TT_GUARD_WARMING && spent >= s->warmup_samples) ||
             (g->state == TT_GUARD_PROBATION && spent >= s->probation_samples))
        enter(g, TT_GUARD_ADAPTING, TT_BY_NOBODY, now_ms);
    else if (g->state == TT_GUARD_HOLDING && !keeps_holding(g, p))
        enter(g, g->resume, TT_BY_NOBODY, now_ms);
    else if (g->state == TT_GUARD_COOLDOWN && spent >= g->cooldown)
        enter(g, TT_GUARD_PROBATION, g->by, now_ms);
}

void tt_guard_init(struct tt_guard *g, const struct tt_guard_policy *p, int64_t now_ms)
{
    *g = (struct tt_guard){.resume = TT_GUARD_ADAPTING};
    for (int i = 0; i < p->nrules; i++) {
        struct tt_detect_options o = tt_guard_options(&p->rules[i]);

        tt_detectors[p->rules[i].detector].init(&o, g->rule[i].detector);
        g->rule[i].missing = true;
    }
    enter(g, TT_GUARD_WARMING, TT_BY_NOBODY, now_ms);
}

int tt_guard_feed(struct tt_guard *g, const struct tt_guard_policy *p, struct tt_signals *signals,
                  const struct tt_moment *at, struct tt_decision *ret, int max)
{
    const struct tt_mark start = {.sample = (double)g->samples,
                                  .batch = (double)g->batches,
                                  .ms = (double)at->now_ms,
                                  .step = (double)at->step};
    struct tt_evidence e[TT_MAXGUARDS];
    bool not_finite = tt_signals_read(signals, TT_SIG_NOT_FINITE).fresh > 0;
    int n;

    g->samples += at->rows > 0 ? at->rows : 0;
    g->batches++;
    for (int i = 0; i < p->nrules; i++)
        feed_rule(g, p, i, signals, &start, &e[i]);
    proceed(g, p, at->now_ms);
    n = decide(g, p, e, not_finite, &start, at, ret, max);
    if (not_finite || !is_calm(g, p, e))
        g->calm_since = g->samples;
    tt_signals_seen(signals);
    return n;
}

void tt_guard_restored(struct tt_guard *g, const struct tt_guard_policy *p,
                       struct tt_signals *signals, uint64_t version, int64_t now_ms)
{
    for (int i = 0; i < p->nrules; i++) {
        struct tt_detect_options o = tt_guard_options(&p->rules[i]);

        tt_detectors[p->rules[i].detector].restart(&o, g->rule[i].detector);
        g->rule[i].missing = true;
    }
    arm(g, p);
    tt_signals_restart(signals);
    g->restored = version;
    g->calm_since = g->samples;
    if (g->state == TT_GUARD_TRIPPED)
        enter(g, g->breaker ? TT_GUARD_FROZEN : TT_GUARD_ROLLED_BACK, g->by, now_ms);
}

bool tt_guard_order(struct tt_guard *g, const struct tt_guard_policy *p, enum tt_guard_order order,
                    int64_t now_ms)
{
    bool frozen = g->state == TT_GUARD_FROZEN, tripped = g->state == TT_GUARD_TRIPPED;

    switch (order) {
    case TT_ORDER_FREEZE:
        if (frozen)
            return false;
        if (tripped) { // frozen once restored
            g->breaker = true;
            g->by = TT_BY_OPERATOR;
            g->resume = TT_GUARD_ROLLED_BACK;
            return true;
        }
        g->resume = g->state == TT_GUARD_HOLDING ? g->resume : g->state;
        enter(g, TT_GUARD_FROZEN, TT_BY_OPERATOR, now_ms);
        return true;
    case TT_ORDER_THAW:
        if (!frozen)
            return false;
        g->nrestores = 0;
        g->breaker = false;
        arm(g, p);
        enter(g, g->resume, TT_BY_OPERATOR, now_ms);
        return true;
    case TT_ORDER_ROLLBACK:
        if (tripped)
            return false;
        g->breaker = false;
        g->cooldown = p->settings.cooldown_samples;
        if (!frozen)
            enter(g, TT_GUARD_TRIPPED, TT_BY_OPERATOR, now_ms);
        return true;
    }
    return false;
}

/* ---- looking at it -------------------------------------------------------------------------- */

bool tt_guard_soaked(const struct tt_guard *g, const struct tt_guard_policy *p, int64_t taken_at)
{
    return g->calm_since <= taken_at && g->samples - taken_at >= p->settings.soak_samples;
}

struct tt_guard_evidence tt_guard_evidence(const struct tt_guard *g,
                                           const struct tt_guard_policy *p, int rule)
{
    struct tt_guard_evidence ret;
    struct tt_evidence e;

    read_rule(g, p, rule, &e);
    ret = (struct tt_guard_evidence){.statistic = e.statistic,
                                     .threshold = e.threshold,
                                     .evidence = e.share,
                                     .n = e.n,
                                     .verdict = TT_VERDICT_OK,
                                     .dry_run = p->rules[rule].dry_run};
    if (g->rule[rule].tripped)
        ret.verdict = TT_VERDICT_TRIP;
    else if (g->rule[rule].missing)
        ret.verdict = TT_VERDICT_INCONCLUSIVE;
    else if (e.alarm || e.share >= WARN_SHARE)
        ret.verdict = TT_VERDICT_WARN;
    return ret;
}

double tt_guard_worst(const struct tt_guard *g, const struct tt_guard_policy *p, int *ret_rule)
{
    double worst = 0;

    *ret_rule = -1;
    for (int i = 0; i < p->nrules; i++) {
        struct tt_evidence e;

        read_rule(g, p, i, &e);
        if (!p->rules[i].dry_run && e.share > worst) {
            worst = e.share;
            *ret_rule = i;
        }
    }
    return worst;
}

void tt_guard_reason(const struct tt_guard *g, const struct tt_guard_policy *p, char *buf,
                     size_t size)
{
    const char *who = g->by >= 0                  ? p->rules[g->by].name
                      : g->by == TT_BY_NOT_FINITE ? "not_finite"
                      : g->by == TT_BY_OPERATOR   ? "an operator"
                                                  : "";

    if (size)
        *buf = '\0';
    if (g->state == TT_GUARD_WARMING)
        snprintf(buf, size, "warms up for %lld samples", (long long)p->settings.warmup_samples);
    else if (g->state == TT_GUARD_FROZEN && g->breaker && g->by != TT_BY_OPERATOR)
        snprintf(buf, size, "frozen after %d restores, the last for %s", g->nrestores, who);
    else if (g->state == TT_GUARD_FROZEN)
        snprintf(buf, size, "frozen by %s", *who ? who : "a guard that the policy had before");
    else if (g->state == TT_GUARD_HOLDING && g->by >= 0)
        snprintf(buf, size, "held by %s: %s %s", who, tt_signals[p->rules[g->by].signal].name,
                 g->rule[g->by].missing ? "has too few or too old data" : "has not cleared");
    else if (g->state != TT_GUARD_ADAPTING && *who)
        snprintf(buf, size, "restored for %s", who);
}
