// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_EVENTS_H
#define TT_DAEMON_EVENTS_H

#include "config/field.h"
#include "monitor/record.h"

/*
 * What subscribers of the gate's events door hear: [topic][sequence number][JSON].
 * Topics: decision, state, daemon, and sample (one a batch, only while somebody listens).
 * Numbers run over all topics without a gap, so a gap is something that was missed.
 */
struct tt_events;
struct tt_gate;

/* Open the door; last is the highest number ever given out.  *ret is the caller's. */
TT_MUST_CHECK enum tt_code tt_events_start(struct tt_gate *gate, const struct tt_strs *endpoints,
                                           int64_t last, struct tt_events **ret,
                                           struct tt_err *err);

/* Publish a record of kind EVENT or BATCH; returns its number.  Never waits: what cannot be sent
 * is counted and leaves a gap.  Any thread. */
int64_t tt_events_put(struct tt_events *e, const struct tt_record *r);

/* How many could not be published, or were missed by a subscriber who was too slow. */
int64_t tt_events_dropped(struct tt_events *e);

/* Shut the door; what was published still leaves.  NULL is nothing. */
void tt_events_stop(struct tt_events *e);

#endif
