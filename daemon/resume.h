// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_RESUME_H
#define TT_DAEMON_RESUME_H

#include "daemon/stream.h"
#include "monitor/reader.h"
#include "monitor/snapshot.h"

/* A stream's versions on the disk: written, read back after a restart, deleted by retention. */

/* Write version v of s (a checkpoint, or the one that serves), tell so, delete what retention no
 * longer keeps.  A failure is told as an event too. */
enum tt_code tt_stream_save(struct tt_stream *s, const struct tt_plan *plan, struct tt_version *v,
                            const char *reason, int64_t now_ms, struct tt_err *err);

/* Serve the newest snapshot that is whole, of this model and method, and not known as suspect, bad
 * or lost; the good ones before it are checkpoints again.  What is damaged is marked lost, and the
 * next older is tried; nothing usable: the source serves.  Says what it did in text, one line.
 * known: what the record knows of versions, newest first. */
TT_MUST_CHECK enum tt_code tt_stream_resume(struct tt_stream *s, const struct tt_plan *plan,
                                            const struct tt_known_version *known, int nknown,
                                            int64_t now_ms, char text[TT_LINE_BYTES],
                                            struct tt_err *err);

/* The stream was opened; text says from what. */
void tt_stream_opened(struct tt_stream *s, const char *text, int64_t now_ms);

/* Before the stream leaves memory: write the version that serves, unless it is on the disk. */
void tt_stream_part(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms);

/* A client has closed the stream. */
void tt_stream_closed(struct tt_stream *s, int64_t now_ms);

/* Bring a version whose numbers are only on the disk into the ring, so that it can be gone back to.
 * TT_ENOTFOUND: there is no such file. */
TT_MUST_CHECK enum tt_code tt_stream_fetch(struct tt_stream *s, const struct tt_plan *plan,
                                           const char *version, struct tt_err *err);

/* The newest good checkpoint made when at most samples had been answered, with its numbers in
 * memory, else the base.  One whose snapshot cannot be read back is marked lost. */
const struct tt_version *tt_stream_target(struct tt_stream *s, const struct tt_plan *plan,
                                          int64_t samples, int64_t now_ms);

#endif
