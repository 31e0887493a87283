// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_SYNC_H
#define TT_DAEMON_SYNC_H

#include "daemon/daemon.h"

/*
 * A thread that syncs snapshot files, so that no worker waits for a disk.  A worker hands over the
 * name of a file that is written, goes on with its batches, and asks later what became of it; until
 * then nobody counts on the file.
 */
TT_MUST_CHECK enum tt_code tt_sync_start(struct tt_daemon *d, struct tt_err *err);
void tt_sync_stop(struct tt_daemon *d); // what is queued is left: workers have synced what matters

/* Have a file, and the folder's entry for it, synced.  Returns a ticket; 0: no room, the caller
 * does it.  Any thread. */
int64_t tt_sync_put(struct tt_daemon *d, const char *dir, const char *name);

/* What became of it.  TT_EBUSY: not done yet; TT_ENOTFOUND: nobody knows of that ticket any more.
 */
TT_MUST_CHECK enum tt_code tt_sync_take(struct tt_daemon *d, int64_t ticket, struct tt_err *err);

#endif
