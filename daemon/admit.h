// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_ADMIT_H
#define TT_DAEMON_ADMIT_H

#include "daemon/loop.h"

/*
 * Room for requests, in number and in bytes: of the daemon, of a client (its credit), of a stream.
 * What has no room is BUSY, with the time in which there should be some.  No client and no stream
 * may hold more than is left free for the others, so a flood of any shape leaves them room.  The
 * loop's thread only.
 */

/* Count the job and find its lane, or say why not. */
enum tt_wire tt_admit(struct tt_loop *l, struct tt_job *job, struct tt_refusal *r);

/* The job is answered: its room is free again, and its lane let go. */
void tt_admit_leave(struct tt_loop *l, struct tt_job *job);

/* Answer a `cancel`, and what it cancels. */
void tt_admit_cancel(struct tt_loop *l, struct tt_job *job);

#endif
