// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_REPLAYS_H
#define TT_DAEMON_REPLAYS_H

#include "daemon/job.h"

/*
 * The last answers of a stream, so that a request that comes again under its id gets the same
 * answer and is not learnt from twice: at most TT_REPLAYS of them, and TT_REPLAY_BYTES together.
 */
#define TT_REPLAYS      32
#define TT_REPLAY_BYTES ((size_t)4 << 20)

struct tt_replays;

struct tt_replays *tt_replays_new(void);    // NULL: out of memory
void tt_replays_free(struct tt_replays *r); // NULL is nothing

/* Keep a copy of the job's answer.  One that is too large is not kept. */
void tt_replays_keep(struct tt_replays *r, const struct tt_job *job);

/* Answer the job as its id was answered before; false: it was not. */
bool tt_replays_answer(const struct tt_replays *r, struct tt_job *job);

#endif
