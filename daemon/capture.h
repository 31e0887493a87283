// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_CAPTURE_H
#define TT_DAEMON_CAPTURE_H

#include "daemon/capture_pool.h"
#include "daemon/decide.h"
#include "daemon/labels.h"
#include "daemon/stream.h"

/*
 * A stream's inputs kept on the disk (daemon/captured.h says as what), so that `ttad replay` can
 * run it again: each operation is appended with what came of it, once it is done.  A file that is
 * full is followed by another, which begins with the whole stream; the oldest go when
 * capture.max_bytes would be passed.  Nothing is synced, and nothing here fails: what cannot be
 * written is told as an event, serving goes on, and after a minute a new file is begun.
 *
 * All of these do nothing for a stream that is not captured.
 */
struct tt_capture;

struct tt_capture_spec {
    struct tt_capture_pool *pool; // where the files lie; kept
    const char *model_path, *policy;
    const char *why; // it begins now: "opened"
};

/* Capture s from now on as its policy says: begin, or begin another file, or end it. */
void tt_capture_begin(struct tt_stream *s, const struct tt_capture_spec *spec, int64_t now_ms);

/* After these had been done. */
void tt_capture_batch(struct tt_stream *s, const struct tt_plan *plan, const struct tt_batch *b,
                      const struct tt_result *r);
void tt_capture_settle(struct tt_stream *s, int64_t now_ms, int good);
void tt_capture_feedback(struct tt_stream *s, const struct tt_labels *l,
                         const struct tt_credited *got);
void tt_capture_order(struct tt_stream *s, const struct tt_order *o, const struct tt_ordered *got);
void tt_capture_keep(struct tt_stream *s, int64_t now_ms);

/* Checkpoints were given up, because memory or the disk wanted it so. */
void tt_capture_ring(struct tt_stream *s);

/* The stream has become something that no operation above says: a new file begins with it. */
void tt_capture_restate(struct tt_stream *s, const char *why, int64_t now_ms);

/* No more of it: the file is ended. */
void tt_capture_end(struct tt_stream *s);

#endif
