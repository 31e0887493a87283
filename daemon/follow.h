// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_FOLLOW_H
#define TT_DAEMON_FOLLOW_H

#include "daemon/worker.h"

/*
 * How a worker follows what is served, when another catalogue lies on the shelf.  It does so
 * between two jobs, some streams at a time, so that batches are not kept waiting:
 *
 *     the policy is another one     the stream adopts it (daemon/adopt.h) before its next batch
 *     the model is another one      the stream parts with the old one and opens again with the new
 *     the model is gone             what was admitted is answered, then the stream parts with it
 *
 * To part is to write a snapshot and leave memory; replies to ids that come again stay.  Plans of
 * what is gone are freed.
 */

/* Is there something to follow?  Any thread that wakes the worker asks this too. */
bool tt_follow_due(const struct tt_worker *w);

/* Some of what there is to do. */
void tt_follow_some(struct tt_worker *w);

/* Before a job of the lane. */
void tt_follow_lane(struct tt_worker *w, struct tt_lane *lane);

/* Close the stream of a lane whose model or policy is not served: only the record knows it. */
void tt_follow_close(struct tt_worker *w, struct tt_lane *lane);

/* Another catalogue lies on the shelf: wake all workers. */
void tt_follow_wake(struct tt_daemon *d);

#endif
