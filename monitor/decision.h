// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_DECISION_H
#define TT_MONITOR_DECISION_H

#include "monitor/rule.h"

/*
 * The words of a guard: the states of a stream, verdicts, and a decision with its evidence, as
 * they stand on the wire, in the record and on the page.
 */

/*    TT_GUARD_..    name        learns */
#define TT_GUARD_STATES(X)                                                                  \
    X(WARMING, "warming", true) /* learning; missing data do not hold it yet */             \
    X(ADAPTING, "adapting", true)                                                           \
    X(HOLDING, "holding", false)         /* until the rule clears, or its data is back */   \
    X(TRIPPED, "tripped", false)         /* the caller is restoring */                      \
    X(ROLLED_BACK, "rolled_back", false) /* restored; until the next batch */               \
    X(COOLDOWN, "cooldown", false)                                                          \
    X(PROBATION, "probation", true) /* learning again; a trip makes the restored suspect */ \
    X(FROZEN, "frozen", false)

#define TT_GUARD_STATE_ENUM(sym, name, learns) TT_GUARD_##sym,
enum tt_guard_state { TT_GUARD_STATES(TT_GUARD_STATE_ENUM) TT_NGUARD_STATES };
#undef TT_GUARD_STATE_ENUM

enum tt_guard_verdict { TT_VERDICT_OK, TT_VERDICT_WARN, TT_VERDICT_INCONCLUSIVE, TT_VERDICT_TRIP };

const char *tt_guard_state_name(enum tt_guard_state state);
const char *tt_guard_verdict_name(enum tt_guard_verdict verdict); // ok warn inconclusive trip

/* Who caused a state or a decision: the index of a rule, or */
enum tt_guard_by { TT_BY_NOBODY = -3, TT_BY_OPERATOR = -2, TT_BY_NOT_FINITE = -1 };

struct tt_decision {
    int by;               // rule, or TT_BY_..
    const char *rule;     // its name, "not_finite" or "operator"; as long as the policy lives
    int signal, detector; // -1: none
    enum tt_action action;
    bool dry_run; // would have; do nothing
    bool missing; // held for want of data, not for what they say
    bool breaker; // too many rollbacks: the stream is frozen once restored
    int restores; // by the guard within the window, with this one
    bool suspect; // out of probation: mark suspect_version suspect
    uint64_t suspect_version, from_version;
    int64_t from_step;
    double statistic, threshold, n, baseline, observed; // NaN: has none
    int64_t change_point_ms, change_point_step, change_point_sample;
    int64_t detect_delay_ms, samples_affected, batches_affected; // since the change point
    char sentence[256]; // one line for people, no full stop
};

struct tt_guard_evidence {                    // a row of v_guard_timeline
    double statistic, threshold, evidence, n; // evidence: 0..1
    enum tt_guard_verdict verdict;
    bool dry_run;
};

/* Write d->sentence from what else d holds. */
void tt_decision_write(struct tt_decision *d);

#endif
