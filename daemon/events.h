// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_EVENTS_H
#define TT_DAEMON_EVENTS_H

#include "config/field.h"
#include "monitor/record.h"

/*
 * The events socket, an XPUB owned by a thread of its own: [topic][sequence number][JSON].
 * Topics: decision, state, daemon, and sample (one a batch, only while somebody listens).
 * Numbers run over all topics without a gap, so a gap is something that was missed.
 */
struct tt_events;

/* Bind and start; last is the highest number ever given out.  *ret is the caller's. */
TT_MUST_CHECK enum tt_code tt_events_start(void *zmq, const struct tt_strs *endpoints, int64_t last,
                                           struct tt_events **ret, struct tt_err *err);

/* Publish a record of kind EVENT or BATCH; returns its number.  Never waits: what cannot be sent
 * is counted and leaves a gap.  Any thread. */
int64_t tt_events_put(struct tt_events *e, const struct tt_record *r);

int64_t tt_events_dropped(struct tt_events *e);

/* Send what is queued, end the thread, close.  NULL is nothing. */
void tt_events_stop(struct tt_events *e);

#endif
