// SPDX-License-Identifier: Apache-2.0
#include "monitor/decision.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

const char *tt_guard_state_name(enum tt_guard_state state)
{
    static const char *const names[] = {
#define NAME(sym, name, learns) name,
        TT_GUARD_STATES(NAME)
#undef NAME
    };
    return (unsigned)state < TT_NGUARD_STATES ? names[state] : "unknown";
}

const char *tt_guard_verdict_name(enum tt_guard_verdict verdict)
{
    static const char *const names[] = {"ok", "warn", "inconclusive", "trip"};

    return (unsigned)verdict <= TT_VERDICT_TRIP ? names[verdict] : "unknown";
}

struct line {
    char *s;
    size_t n, size;
};

static void say(struct line *l, const char *fmt, ...) TT_PRINTF(2, 3);

static void say(struct line *l, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(l->s + l->n, l->size - l->n, fmt, ap);
    va_end(ap);
    if (n > 0)
        l->n = l->n + (size_t)n < l->size ? l->n + (size_t)n : l->size - 1;
}

static void say_evidence(struct line *l, const struct tt_decision *d)
{
    const char *signal = d->signal >= 0 ? tt_signals[d->signal].name : "";

    if (d->by == TT_BY_NOT_FINITE || d->signal == TT_SIG_NOT_FINITE)
        say(l, "NaN or Inf out of a finite input");
    else if (d->missing)
        say(l, "guard '%s': too few or too old data on %s (%.0f samples)", d->rule, signal, d->n);
    else if (d->detector == TT_DETECT_threshold)
        say(l, "guard '%s': %s is %.3g over %.0f samples, %s %.3g", d->rule, signal, d->statistic,
            d->n, d->statistic > d->threshold ? "above" : "below", d->threshold);
    else
        say(l, "guard '%s': %s is %.3g, %.1f sigmas from %.3g over %.0f samples, limit %.3g",
            d->rule, signal, d->observed, d->statistic, d->baseline, d->n, d->threshold);
    if (d->samples_affected > 0 && !d->missing)
        say(l, ", for %lld samples", (long long)d->samples_affected);
}

void tt_decision_write(struct tt_decision *d)
{
    static const char *const what[TT_NACTIONS] = {
        [TT_ACTION_HOLD] = "learning stops until it clears",
        [TT_ACTION_RESET] = "back to the source parameters",
        [TT_ACTION_ROLLBACK] = "back to the newest good version from before the change",
        [TT_ACTION_FREEZE] = "frozen until an operator thaws it",
    };
    struct line l = {d->sentence, 0, sizeof d->sentence};

    say_evidence(&l, d);
    if (d->dry_run) {
        say(&l, "; dry run of %s, nothing was done", tt_action_name(d->action));
        return;
    }
    say(&l, "; %s", what[d->action]);
    if (d->suspect)
        say(&l, "; the version on probation is suspect");
    if (d->breaker)
        say(&l, "; %d restores in short time, so frozen from then on", d->restores);
}
