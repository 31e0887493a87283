// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_RULE_H
#define TT_MONITOR_RULE_H

#include "config/field.h"
#include "monitor/detect.h"

/*
 * The guards of a policy, as its YAML says them: what is watched, when it is too much, and what is
 * then done.  `guards:` is a list of maps read with tt_guard_fields, `guard:` one map read with
 * tt_guard_settings_fields; tt_guard_check then judges them together.
 */
#define TT_MAXGUARDS    16
#define TT_MAXROLLBACKS 16
#define TT_GUARD_UNSET  (-1e9) // a number that the policy does not give; no signal goes there

/* From the mildest; of several that trip at once the most severe acts. */
#define TT_ACTIONS(X)                                                                          \
    X(HOLD, "hold")         /* keep answering, stop learning until it clears */                \
    X(RESET, "reset")       /* back to the source parameters */                                \
    X(ROLLBACK, "rollback") /* back to the newest good version from before the change point */ \
    X(FREEZE, "freeze")     /* keep answering, learn no more until an operator thaws it */

#define TT_ACTION_ENUM(sym, name) TT_ACTION_##sym,
enum tt_action { TT_ACTIONS(TT_ACTION_ENUM) TT_NACTIONS };
#undef TT_ACTION_ENUM

const char *tt_action_name(enum tt_action action);

enum tt_inconclusive { TT_INCONCLUSIVE_HOLD, TT_INCONCLUSIVE_CONTINUE };

struct tt_guard_rule {
    const char *name;
    int signal;          // enum tt_signal
    int detector;        // enum tt_detector_kind
    double above, below; // threshold: trips past this; TT_GUARD_UNSET: not given, also below
    double clear;        // hysteresis
    int64_t min_samples, consecutive, stale_after, cooldown_samples;
    double half_life, sigma, baseline, spread; // ewma
    int64_t baseline_samples;
    int action; // enum tt_action
    bool dry_run;
    int on_inconclusive; // enum tt_inconclusive
    int line, col;       // in the policy file; the parser fills them
};
extern const struct tt_field tt_guard_fields[]; // of struct tt_guard_rule

struct tt_guard_settings {
    int64_t window;            // samples behind a windowed signal
    int64_t warmup_samples;    // learn, and judge nothing as missing, for so long
    int64_t cooldown_samples;  // after a rollback that no rule asked for
    int64_t probation_samples; // after cooldown, until the stream counts as sound again
    int64_t max_rollbacks, rollback_window; // so many within so many samples: frozen
    int64_t soak_samples;                   // of low evidence before a version is good
    double soak_evidence; // low: every rule's share of its threshold is at most this
};
extern const struct tt_field tt_guard_settings_fields[]; // of struct tt_guard_settings

struct tt_guard_policy {
    struct tt_guard_settings settings;
    const struct tt_guard_rule *rules;
    int nrules;
};

/* Refuse what single keys cannot tell: one of above and below, clear on the right side, bounds of
 * the signal, names given twice, too many rules.  For rules that were read without errors.  Returns
 * whether no error was added. */
bool tt_guard_check(const struct tt_guard_policy *p, struct tt_diags *d);

/* What the rule's detector is to be told. */
struct tt_detect_options tt_guard_options(const struct tt_guard_rule *rule);

#endif
