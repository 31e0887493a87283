// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_RESUME_H
#define TT_DAEMON_RESUME_H

#include "daemon/stream.h"
#include "monitor/reader.h"
#include "monitor/snapshot.h"

/* A stream's versions on the disk, read back: after a restart, or to go back to one. */

struct tt_known {                           // what the record knows
    const struct tt_known_version *version; // those with a file first
    int n;
    int64_t decision;      // the newest one that restored a version of this stream; 0: none
    bool read;             // it could be read
    const uint64_t *named; // versions that its newest decisions name, oldest first
    int nnamed;
};

/* Serve the journal's version, unless the record knows of a decision that went back from it, or a
 * snapshot is newer; else the newest snapshot that is whole, of this model and method, and not
 * known as suspect, bad or lost; else the source.  The good and the soaking ones before it are
 * checkpoints again.  What is damaged or missing is marked lost, a file without a row gets one,
 * temporaries go.  Says what it did in text, one line. */
TT_MUST_CHECK enum tt_code tt_stream_resume(struct tt_stream *s, const struct tt_plan *plan,
                                            const struct tt_known *known, int64_t now_ms,
                                            char text[TT_LINE_BYTES], struct tt_err *err);

/* The stream was opened; text says from what. */
void tt_stream_opened(struct tt_stream *s, const char *text, int64_t now_ms);

/* Before the stream leaves memory: have the version that serves on the disk. */
void tt_stream_part(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms);

/* A client has closed the stream, after tt_stream_part(): its journal goes, the snapshot stays. */
void tt_stream_closed(struct tt_stream *s, int64_t now_ms);

/* Bring a version whose numbers are only on the disk into the ring, so that it can be gone back to.
 * TT_ENOTFOUND: there is no such file. */
TT_MUST_CHECK enum tt_code tt_stream_fetch(struct tt_stream *s, const struct tt_plan *plan,
                                           const char *version, struct tt_err *err);

/* The newest good checkpoint made when at most samples had been answered, with its numbers in
 * memory, else the base.  One whose snapshot cannot be read back is marked lost; when there is no
 * memory to read it, or the disk fails, the base. */
const struct tt_version *tt_stream_target(struct tt_stream *s, const struct tt_plan *plan,
                                          int64_t samples, int64_t now_ms);

#endif
