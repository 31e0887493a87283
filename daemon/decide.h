// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_DECIDE_H
#define TT_DAEMON_DECIDE_H

#include "daemon/stream.h"

/*
 * What a stream does about a decision of its guard, or an order of a person: restore a version,
 * set others aside, record why.  The decision is on the disk before these functions return.
 */

/* Do what the guard decided, or record a dry run.  Writes the version restored, or "".  The plan
 * is for its layout, when a version has to be read from its snapshot. */
void tt_stream_decide(struct tt_stream *s, const struct tt_plan *plan, const struct tt_decision *d,
                      int64_t now_ms, char ret_restored[TT_HASH_SHORT + 1]);

/* Tell that the guard's state changed, if it did since the last time, or if a decision was made:
 * then decision (its ticket) and state are on the disk before any event speaks of them. */
void tt_stream_watch_state(struct tt_stream *s, const char *by, int64_t decision_id, int64_t ticket,
                           int64_t now_ms);

struct tt_order {
    enum tt_action action; // TT_ACTION_RESET, _ROLLBACK, _FREEZE
    bool thaw;             // instead of an action
    const char *version;   // TT_ACTION_ROLLBACK: to that one; "": the newest good, or the source
    const char *actor, *reason;
    int64_t now_ms;
};
struct tt_ordered {
    int64_t decision_id;
    char from[TT_HASH_SHORT + 1], to[TT_HASH_SHORT + 1];
    int64_t to_step;
};

/* Do what a person ordered.  TT_ENOTFOUND: there is no such version; TT_EDENIED: not in this
 * state; TT_EBUSY: it could not be recorded, not even later. */
TT_MUST_CHECK enum tt_code tt_stream_order(struct tt_stream *s, const struct tt_order *o,
                                           struct tt_ordered *ret, struct tt_err *err);

#endif
