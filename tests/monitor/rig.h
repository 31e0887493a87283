// SPDX-License-Identifier: Apache-2.0
#ifndef TT_TESTS_MONITOR_RIG_H
#define TT_TESTS_MONITOR_RIG_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/guard.h"
#include "tests/support/check.h"

/* What the tests of the guard share: a stream that is fed one batch after the other. */

#define C     4
#define ROWS  32
#define MAXD  4
#define START 1000000

/* A stream: its signals, its guard, and what the last batch decided. */
struct rig {
    struct tt_signals signals;
    struct tt_guard guard;
    struct tt_guard_rule rules[4];
    struct tt_guard_policy policy;
    float memory[2 * C];
    struct tt_decision d[MAXD];
    int nd;
    uint64_t rng;
    int64_t step;
};

static inline struct tt_guard_rule rule(const char *name, enum tt_signal signal, double above,
                                        enum tt_action action)
{
    return (struct tt_guard_rule){.name = name,
                                  .signal = (int)signal,
                                  .detector = TT_DETECT_threshold,
                                  .above = above,
                                  .below = TT_GUARD_UNSET,
                                  .clear = TT_GUARD_UNSET,
                                  .min_samples = 256,
                                  .consecutive = 2,
                                  .cooldown_samples = 10 * ROWS,
                                  .half_life = 500,
                                  .sigma = 6,
                                  .baseline = TT_GUARD_UNSET,
                                  .spread = TT_GUARD_UNSET,
                                  .baseline_samples = 1000,
                                  .action = (int)action,
                                  .on_inconclusive = TT_INCONCLUSIVE_CONTINUE};
}

static inline void start(struct rig *r, int nrules)
{
    r->policy = (struct tt_guard_policy){.settings = {.window = 512,
                                                      .warmup_samples = 512,
                                                      .cooldown_samples = 5 * ROWS,
                                                      .probation_samples = 20 * ROWS,
                                                      .max_rollbacks = 3,
                                                      .rollback_window = 100000,
                                                      .soak_samples = 1024,
                                                      .soak_evidence = .5},
                                         .rules = r->rules,
                                         .nrules = nrules};
    r->rng = 88172645463325252u;
    r->step = 0;
    r->nd = 0;
    tt_signals_init(&r->signals, C, r->policy.settings.window, r->memory);
    tt_guard_init(&r->guard, &r->policy, START);
}

static inline double uniform(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (double)(*s >> 11) * 0x1p-53;
}

static inline struct tt_observed healthy(void)
{
    static const float p[C] = {.25f, .25f, .25f, .25f};
    static const int64_t counts[C] = {8, 8, 8, 8};

    return (struct tt_observed){.rows = ROWS,
                                .input_finite = true,
                                .answer_finite = true,
                                .update_finite = true,
                                .entropy = .4,
                                .confidence = .8,
                                .loss = .4,
                                .grad_norm = 1,
                                .param_drift = .02,
                                .latency_ms = 4,
                                .mean_p = p,
                                .counts = counts};
}

static inline int64_t now(const struct rig *r)
{
    return START + r->guard.batches * 100;
}

static inline void feed(struct rig *r, const struct tt_observed *b)
{
    struct tt_moment at = {now(r), 7000 + (uint64_t)r->step, r->step, b->rows};

    tt_signals_batch(&r->signals, b);
    r->nd = tt_guard_feed(&r->guard, &r->policy, &r->signals, &at, r->d, MAXD);
    r->step++;
}

/* One batch in which a share p of the answers differs from the frozen model's. */
static inline void disagree(struct rig *r, double p)
{
    struct tt_observed b = healthy();

    b.base_rows = ROWS;
    for (int i = 0; i < ROWS; i++)
        b.base_differ += uniform(&r->rng) < p;
    feed(r, &b);
}

static inline void restored(struct rig *r, uint64_t version)
{
    tt_guard_restored(&r->guard, &r->policy, &r->signals, version, now(r));
}

/* Batches of that share until something is decided, or the state is that; returns how many. */
static inline int until(struct rig *r, double p, enum tt_guard_state state, int most)
{
    for (int i = 1; i <= most; i++) {
        disagree(r, p);
        if (r->nd || r->guard.state == state)
            return i;
    }
    fail_msg("in state %s after %d batches", tt_guard_state_name(r->guard.state), most);
    return 0;
}

static inline void be_adapting(struct rig *r)
{
    until(r, .05, TT_GUARD_ADAPTING, 100);
    assert_int_equal(r->guard.state, TT_GUARD_ADAPTING);
    assert_int_equal(r->nd, 0);
}

static inline const char *state_of(const struct rig *r)
{
    return tt_guard_state_name(r->guard.state);
}

#endif
