// SPDX-License-Identifier: Apache-2.0
#include "monitor/rule.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define MAXNAME 60 // bytes
#define BIG     1e12

/* "a|b|c" of a list that is written "|a|b|c". */
#define CHOICE(words) (&(words)[1])

static const char signal_names[] = ""
#define TT_SIGNAL(sym, name, bad, lo, hi, from, keep, help) "|" name
#include "monitor/signals.def"
#undef TT_SIGNAL
    ;
#define DETECTOR_NAME(name) "|" #name
static const char detector_names[] = "" TT_DETECTORS(DETECTOR_NAME);
#define ACTION_NAME(sym, name) "|" name
static const char action_names[] = "" TT_ACTIONS(ACTION_NAME);

#define RULE struct tt_guard_rule
const struct tt_field tt_guard_fields[] = {
    TT_F(TT_FSTR, RULE, name, NULL, 0, MAXNAME, TT_LIVE, "what decisions call this guard"),
    TT_E(RULE, signal, NULL, CHOICE(signal_names), TT_LIVE, "what is watched"),
    TT_E(RULE, detector, "threshold", CHOICE(detector_names), TT_LIVE, "how it is judged"),
    TT_F(TT_FFLOAT, RULE, above, "-1e9", TT_GUARD_UNSET, BIG, TT_LIVE,
         "threshold: trips when the windowed signal is more than this"),
    TT_F(TT_FFLOAT, RULE, below, "-1e9", TT_GUARD_UNSET, BIG, TT_LIVE,
         "threshold: trips when it is less than this"),
    TT_F(TT_FFLOAT, RULE, clear, "-1e9", TT_GUARD_UNSET, BIG, TT_LIVE,
         "back to here before it can trip again; ewma: in sigmas; default: where it trips, ewma: "
         "half of that"),
    TT_F(TT_FINT, RULE, min_samples, "200", 1, BIG, TT_LIVE,
         "fewer samples behind the statistic are inconclusive"),
    TT_F(TT_FINT, RULE, consecutive, "2", 1, 1e6, TT_LIVE, "readings past the threshold in a row"),
    TT_F(TT_FINT, RULE, stale_after, "0", 0, BIG, TT_LIVE,
         "samples without news of the signal until it is inconclusive; 0: never"),
    TT_F(TT_FINT, RULE, cooldown_samples, "1000", 0, BIG, TT_LIVE,
         "samples to answer without learning, after this guard restored a version"),
    TT_F(TT_FFLOAT, RULE, half_life, "500", 1, BIG, TT_LIVE, "ewma: samples"),
    TT_F(TT_FFLOAT, RULE, sigma, "6", 0.5, 1e6, TT_LIVE,
         "ewma: trips so many standard deviations from the baseline"),
    TT_F(TT_FFLOAT, RULE, baseline, "-1e9", TT_GUARD_UNSET, BIG, TT_LIVE,
         "the signal when all is well; default: ewma learns it"),
    TT_F(TT_FFLOAT, RULE, spread, "-1e9", TT_GUARD_UNSET, BIG, TT_LIVE,
         "ewma: standard deviation of one sample; default: learnt"),
    TT_F(TT_FINT, RULE, baseline_samples, "2000", 1, BIG, TT_LIVE,
         "ewma: first samples to learn from"),
    TT_E(RULE, action, NULL, CHOICE(action_names), TT_LIVE, "what a trip does"),
    TT_F(TT_FBOOL, RULE, dry_run, "false", 0, 0, TT_LIVE, "say what it would do, and do nothing"),
    TT_E(RULE, on_inconclusive, "hold", "hold|continue", TT_LIVE,
         "when there are too few data: stop learning, or go on"),
    {0},
};
#undef RULE

#define SETTINGS struct tt_guard_settings
const struct tt_field tt_guard_settings_fields[] = {
    TT_F(TT_FINT, SETTINGS, window, "512", 1, BIG, 0, "samples behind a signal"),
    TT_F(TT_FINT, SETTINGS, warmup_samples, "512", 0, BIG, TT_LIVE,
         "samples from the start during which too few data do not hold the stream"),
    TT_F(TT_FINT, SETTINGS, cooldown_samples, "1000", 0, BIG, TT_LIVE,
         "samples to answer without learning, after a rollback that no guard asked for"),
    TT_F(TT_FINT, SETTINGS, probation_samples, "1000", 0, BIG, TT_LIVE,
         "samples of learning after cooldown until the restored version is trusted"),
    TT_F(TT_FINT, SETTINGS, max_rollbacks, "3", 1, TT_MAXROLLBACKS, TT_LIVE,
         "so many within rollback_window freeze the stream until an operator thaws it"),
    TT_F(TT_FINT, SETTINGS, rollback_window, "100000", 1, BIG, TT_LIVE, "samples"),
    TT_F(TT_FINT, SETTINGS, soak_samples, "1024", 1, BIG, TT_LIVE,
         "samples of low evidence before a version is good"),
    TT_F(TT_FFLOAT, SETTINGS, soak_evidence, "0.5", 0, 1, TT_LIVE,
         "low evidence: every guard at most at this share of its threshold"),
    {0},
};
#undef SETTINGS

const char *tt_action_name(enum tt_action action)
{
    static const char *const names[] = {
#define NAME(sym, name) name,
        TT_ACTIONS(NAME)
#undef NAME
    };
    return (unsigned)action < TT_NACTIONS ? names[action] : "unknown";
}

static bool given(double x)
{
    return x != TT_GUARD_UNSET;
}

struct tt_detect_options tt_guard_options(const struct tt_guard_rule *r)
{
    const struct tt_signal_row *row = &tt_signals[r->signal];
    struct tt_detect_options o = {.bad = row->bad,
                                  .trip = r->sigma,
                                  .clear = r->sigma / 2,
                                  .min_samples = (double)r->min_samples,
                                  .half_life = r->half_life,
                                  .baseline = given(r->baseline) ? r->baseline : NAN,
                                  .spread = given(r->spread) ? r->spread : NAN,
                                  .baseline_samples = (double)r->baseline_samples,
                                  .unit = row->hi - row->lo <= 2 ? 1 : 0};

    if (r->detector == TT_DETECT_threshold) {
        o.bad = given(r->above) ? TT_BAD_ABOVE : TT_BAD_BELOW;
        o.trip = o.clear = given(r->above) ? r->above : r->below;
    }
    if (given(r->clear))
        o.clear = r->clear;
    return o;
}

static void check_threshold(const struct tt_guard_rule *r, const struct tt_guard_settings *settings,
                            struct tt_diags *d)
{
    const struct tt_signal_row *row = &tt_signals[r->signal];
    bool up = given(r->above);
    double trip = up ? r->above : r->below;
    const char *word = up ? "above" : "below";

    if (given(r->above) == given(r->below)) {
        tt_diag_error(d, r->line, r->col, "guard '%s': %s of above and below, want exactly one",
                      r->name, up ? "both" : "none");
        return;
    }
    if (up ? trip < row->lo || trip >= row->hi : trip <= row->lo || trip > row->hi)
        tt_diag_error(d, r->line, r->col,
                      "guard '%s': %s %g tells nothing apart, %s is within [%g, %g]", r->name, word,
                      trip, row->name, row->lo, row->hi);
    if (given(r->clear) && (up ? r->clear > trip : r->clear < trip))
        tt_diag_error(d, r->line, r->col, "guard '%s': clear %g is past %s %g, want it %s or equal",
                      r->name, r->clear, word, trip, up ? "lower" : "higher");
    if (given(r->baseline) && (up ? r->baseline >= trip : r->baseline <= trip))
        tt_diag_error(d, r->line, r->col, "guard '%s': baseline %g is past %s %g, want it %s",
                      r->name, r->baseline, word, trip, up ? "lower" : "higher");
    if (given(r->spread))
        tt_diag_error(d, r->line, r->col, "guard '%s': spread is for ewma, not for threshold",
                      r->name);
    if (r->min_samples > settings->window)
        tt_diag_error(d, r->line, r->col,
                      "guard '%s': min_samples %lld is more than the window of %lld holds", r->name,
                      (long long)r->min_samples, (long long)settings->window);
    if (up != (row->bad == TT_BAD_ABOVE))
        tt_diag_warning(d, r->line, r->col, "guard '%s': %s is worse when %s, and this looks %s",
                        r->name, row->name, up ? "lower" : "higher", word);
}

static void check_ewma(const struct tt_guard_rule *r, struct tt_diags *d)
{
    if (given(r->above) || given(r->below))
        tt_diag_error(d, r->line, r->col,
                      "guard '%s': above and below are for threshold; ewma trips at sigma",
                      r->name);
    if (tt_signals[r->signal].keep != TT_KEEP_MEAN)
        tt_diag_error(d, r->line, r->col,
                      "guard '%s': %s moves slowly by itself, which ewma takes for a change; "
                      "want detector threshold",
                      r->name, tt_signals[r->signal].name);
    if (given(r->clear) && (r->clear < 0 || r->clear > r->sigma))
        tt_diag_error(d, r->line, r->col, "guard '%s': clear %g is outside [0, sigma %g]", r->name,
                      r->clear, r->sigma);
    if (given(r->spread) && !(r->spread > 0))
        tt_diag_error(d, r->line, r->col, "guard '%s': spread %g, want more than 0", r->name,
                      r->spread);
}

static void check_rule(const struct tt_guard_rule *r, const struct tt_guard_settings *settings,
                       struct tt_diags *d)
{
    const struct tt_signal_row *row = &tt_signals[r->signal];

    if (!*r->name || strlen(r->name) > MAXNAME)
        tt_diag_error(d, r->line, r->col, "guard '%.*s': a name of %zu bytes, want 1 to %d",
                      MAXNAME, r->name, strlen(r->name), MAXNAME);
    if (r->detector == TT_DETECT_threshold)
        check_threshold(r, settings, d);
    else
        check_ewma(r, d);
    if (r->signal == TT_SIG_NOT_FINITE && (r->dry_run || r->action == TT_ACTION_HOLD))
        tt_diag_error(d, r->line, r->col,
                      "guard '%s': NaN always trips, and holding does not mend it; want reset, "
                      "rollback or freeze, and no dry_run",
                      r->name);
    if (row->from == TT_FROM_LEARNING && r->stale_after > 0 &&
        r->on_inconclusive == TT_INCONCLUSIVE_HOLD)
        tt_diag_error(d, r->line, r->col,
                      "guard '%s': only learning gives news of %s, so a stream held for being "
                      "stale_after %lld would never learn again; want on_inconclusive: continue",
                      r->name, row->name, (long long)r->stale_after);
}

bool tt_guard_check(const struct tt_guard_policy *p, struct tt_diags *d)
{
    int before = d->errors, n = p->nrules < TT_MAXGUARDS ? p->nrules : TT_MAXGUARDS;

    if (p->nrules > TT_MAXGUARDS)
        tt_diag_error(d, p->rules[TT_MAXGUARDS].line, p->rules[TT_MAXGUARDS].col,
                      "guards: %d rules, want at most %d", p->nrules, TT_MAXGUARDS);
    for (int i = 0; i < n; i++) {
        check_rule(&p->rules[i], &p->settings, d);
        for (int j = 0; j < i; j++)
            if (!strcmp(p->rules[i].name, p->rules[j].name))
                tt_diag_error(d, p->rules[i].line, p->rules[i].col,
                              "guard '%s': the name is taken by the guard of line %d",
                              p->rules[i].name, p->rules[j].line);
    }
    return d->errors == before;
}
