// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_SAVE_H
#define TT_DAEMON_SAVE_H

#include "daemon/stream.h"
#include "monitor/snapshot.h"

/* A stream's versions on the way to the disk, and off it again by retention. */

/* Have version v of s (a checkpoint, or the one that serves) in a snapshot that outlives a loss of
 * power, tell so, delete what retention no longer keeps.  A failure is told as an event too. */
enum tt_code tt_stream_save(struct tt_stream *s, const struct tt_plan *plan, struct tt_version *v,
                            const char *reason, int64_t now_ms, struct tt_err *err);

/* Write checkpoints that have no snapshot yet, without waiting for the disk: so that those that
 * soak outlive the process, and go on soaking in the next one.  After a failure: all that are to be
 * on the disk, once it is time to try again. */
void tt_stream_stow(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms);

/* The same for one that is good, but without waiting for the disk where somebody else can: then
 * tt_stream_stow() hears of it later. */
void tt_stream_keep(struct tt_stream *s, const struct tt_plan *plan, struct tt_version *v,
                    int64_t now_ms);

/* "<stream>/<file>": how the record names a snapshot. */
void tt_stream_file(const struct tt_stream *s, const char *file,
                    char ret[TT_SNAPSHOT_DIR + TT_SNAPSHOT_NAME]);

#endif
