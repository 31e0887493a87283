// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_DISK_H
#define TT_DAEMON_DISK_H

#include "daemon/daemon.h"

/*
 * A thread that looks at the disk, five times a second: whether the record is being written, so
 * also whether its writer hangs in a call that does not come back, and, once a snapshot has failed,
 * whether the folder of the snapshots takes files again.  It sets and clears the reasons of
 * daemon/health.h; nothing else does so for these two.
 */
TT_MUST_CHECK enum tt_code tt_disk_start(struct tt_daemon *d, struct tt_err *err);
void tt_disk_stop(struct tt_daemon *d);

/* A snapshot of so many bytes could not be written: why.  Any thread. */
void tt_disk_snapshot_failed(struct tt_daemon *d, int64_t bytes, const char *why);

#endif
