// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_GUARD_H
#define TT_MONITOR_GUARD_H

#include "monitor/decision.h"

/*
 * The guard of one stream: rules over signals, and the stream's state.  It decides; the caller
 * acts, records, and says when a restore is done:
 *
 *     tt_signals_batch(&signals, &numbers);
 *     n = tt_guard_feed(&guard, policy, &signals, &at, decisions, max);
 *     if decisions[0] asks for a rollback or reset: restore, tt_guard_restored(&guard, ...)
 *
 * warming -> adapting <-> holding -> tripped -> rolled_back -> cooldown -> probation -> adapting,
 * and frozen.  NaN or Inf out of a finite input always trips, whatever the rules say.
 */
struct tt_guard {
    enum tt_guard_state state, resume; // resume: where holding or an operator's freeze goes back to
    int by;                            // rule that caused the state, or TT_BY_..
    int64_t since_ms, since_sample;    // of the state
    int64_t samples, batches;          // fed so far; they never go back
    int64_t calm_since;                // sample since which the evidence has been low
    int64_t cooldown;                  // samples of it, for the restore under way
    bool breaker;                      // freeze once restored
    uint64_t restored;                 // version under probation
    int64_t restores[TT_MAXROLLBACKS]; // samples at which the guard restored, newest first
    int nrestores;
    struct {
        bool tripped; // must clear before it trips again
        int64_t run;  // readings past the threshold in a row
        bool missing; // too few data, or too old
        double detector[TT_DETECT_STATE];
    } rule[TT_MAXGUARDS];
};

/* Where the stream is: the version that answered the batch just fed. */
struct tt_moment {
    int64_t now_ms;
    uint64_t version;
    int64_t step, rows;
};

void tt_guard_init(struct tt_guard *g, const struct tt_guard_policy *p, int64_t now_ms);

/* Judge one answered batch, of which tt_signals_batch has been told.  Returns how many decisions
 * were written: the one to act upon, if any, first, then the dry runs.  max >= 1 is enough to
 * act; what does not fit is dropped. */
int tt_guard_feed(struct tt_guard *g, const struct tt_guard_policy *p, struct tt_signals *signals,
                  const struct tt_moment *at, struct tt_decision *ret, int max);

/* The restore that a decision or an operator asked for is done: the stream answers from version.
 * Restarts signals and detectors. */
void tt_guard_restored(struct tt_guard *g, const struct tt_guard_policy *p,
                       struct tt_signals *signals, uint64_t version, int64_t now_ms);

bool tt_guard_may_learn(const struct tt_guard *g);

/* A version taken when g->samples was taken_at has since seen soak_samples of low evidence. */
bool tt_guard_soaked(const struct tt_guard *g, const struct tt_guard_policy *p, int64_t taken_at);

struct tt_guard_evidence tt_guard_evidence(const struct tt_guard *g,
                                           const struct tt_guard_policy *p, int rule);
/* The largest evidence of the rules that are not dry runs, and which (-1: none). */
double tt_guard_worst(const struct tt_guard *g, const struct tt_guard_policy *p, int *ret_rule);

/* Why the stream is in its state, for people, true as long as it is in it: "" when there is
 * nothing to say. */
void tt_guard_reason(const struct tt_guard *g, const struct tt_guard_policy *p, char *buf,
                     size_t size);

enum tt_guard_order { TT_ORDER_FREEZE, TT_ORDER_THAW, TT_ORDER_ROLLBACK };

/* An operator's order; false: not possible in this state (freeze: frozen already; thaw: not frozen;
 * rollback: a restore is under way).  After a rollback the caller restores as for a decision, and a
 * frozen stream stays frozen.  Thawing forgets old rollbacks; it leads to probation where a guard
 * had frozen the stream, else back to where it was. */
TT_MUST_CHECK bool tt_guard_order(struct tt_guard *g, const struct tt_guard_policy *p,
                                  enum tt_guard_order order, int64_t now_ms);

/* How the rules of another policy compare with those before. */
struct tt_guard_adopted {
    int kept, changed, added, removed;
};

/* Judge by policy to instead of from.  A rule that is the same in both, name and all, goes on with
 * its evidence; one that changed or is new begins anew, and while it has too few data a stream that
 * was adapting warms up, as at its start.  The state, its cooldown and the count of restores stay.
 * other: another method answers from now on, so that what was normal is kept and evidence is
 * forgotten, and rules over what only learning tells begin anew. */
struct tt_guard_adopted tt_guard_adopt(struct tt_guard *g, const struct tt_guard_policy *from,
                                       const struct tt_guard_policy *to, bool other,
                                       int64_t now_ms);

/* As numbers for a snapshot, and back; another length, layout or set of rules is refused. */
size_t tt_guard_doubles(const struct tt_guard_policy *p);
void tt_guard_save(const struct tt_guard *g, const struct tt_guard_policy *p, double *out);
TT_MUST_CHECK enum tt_code tt_guard_load(struct tt_guard *g, const struct tt_guard_policy *p,
                                         const double *in, size_t n, struct tt_err *err);

#endif
