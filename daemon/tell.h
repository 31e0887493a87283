// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_TELL_H
#define TT_DAEMON_TELL_H

#include "daemon/stream.h"

/* The records of a stream: what happened, as monitor/record.h wants it. */

/* The stream's row: model, engine, policy, state and why, version.  by: who made it so.  Returns
 * the sink's ticket. */
int64_t tt_tell_state(const struct tt_stream *s, const char *by, int64_t decision_id,
                      int64_t now_ms);

void tt_tell_batch(const struct tt_stream *s, const struct tt_batch *b, const struct tt_observed *o,
                   const struct tt_outcome *out, const struct tt_result *r);

/* One row a rule. */
void tt_tell_guard(const struct tt_stream *s, int64_t now_ms);

/* A version, and with file its snapshot. */
void tt_tell_version(const struct tt_stream *s, const struct tt_version *v, const char *reason,
                     const char *file);

/* That a version of before is now in another state. */
void tt_tell_judged(const struct tt_stream *s, const struct tt_version *v, const char *reason,
                    int64_t now_ms);

struct tt_restored {
    const struct tt_version *from, *to; // to NULL: nothing was restored
    const char *reason;                 // why that target
    const char *action;                 // NULL: as the decision says
};

/* A number that no decision ever had. */
int64_t tt_tell_number(const struct tt_stream *s);

/* A decision of that number with its evidence; returns its record's ticket. */
int64_t tt_tell_decision(const struct tt_stream *s, const struct tt_decision *d,
                         const struct tt_restored *what, const char *actor, int64_t id,
                         int64_t now_ms);

/* A line of the log.  text is one line. */
void tt_tell_event(const struct tt_stream *s, const char *kind, const char *severity,
                   const char *actor, int64_t now_ms, const char *text);

/* The decision of that number as a line of the log, with what it did as its detail. */
void tt_tell_decided(const struct tt_stream *s, const struct tt_decision *d,
                     const struct tt_restored *what, const char *actor, int64_t id, int64_t now_ms);

#endif
