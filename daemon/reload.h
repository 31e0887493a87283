// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_RELOAD_H
#define TT_DAEMON_RELOAD_H

#include "daemon/daemon.h"
#include "daemon/job.h"

/*
 * A thread that changes what is served: the ops reload, load and unload, and SIGHUP, one at a time.
 * It reads and checks (daemon/draft.h) while everything else goes on, swaps the catalogue when all
 * is right, wakes the workers, which follow (daemon/follow.h), and tells what changed.
 */
struct tt_reload;

TT_MUST_CHECK enum tt_code tt_reload_start(struct tt_daemon *d, struct tt_err *err);

/* Refuse what waits, finish what is under way, end the thread.  NULL is nothing. */
void tt_reload_stop(struct tt_reload *r);

/* Is it an op of this thread's? */
bool tt_reload_takes(enum tt_ask ask);

/* Hand over a job, which is answered through its loop. */
void tt_reload_give(struct tt_reload *r, struct tt_job *job);

#endif
