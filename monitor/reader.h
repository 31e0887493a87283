// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_READER_H
#define TT_MONITOR_READER_H

#include "base/arena.h"
#include "base/err.h"
#include <stdbool.h>

/*
 * Questions to the record, over a read-only connection of the caller's own: one thread uses a
 * reader at a time, the writer is never held up.  It sees what is committed (tt_store_sync).
 * Texts are never NULL ("" when not known), numbers 0 when not known.
 */
struct tt_reader;

struct tt_known_stream {
    int64_t id;
    const char *stream, *model, *model_hash, *engine, *policy, *policy_hash;
    const char *state, *reason, *by;
    int64_t state_since_ms, ts_ms; // ts_ms: of the newest record
    const char *version;           // serving
    int64_t step;
};

struct tt_known_version {
    const char *version, *parent, *state, *reason;
    const char *file; // of its snapshot; "" when there is none
    int64_t step, ts_ms, bytes, batches, samples;
    int64_t set_aside_by; // the decision that went back from it; 0: none
};

struct tt_known_id {
    const char *id; // of a request
    bool adapted;   // its batch was learnt from
};

/* Open a file that tt_store_open has made; refused like there. */
TT_MUST_CHECK enum tt_code tt_reader_open(const char *path, struct tt_reader **ret,
                                          struct tt_err *err);
void tt_reader_close(struct tt_reader *r); // NULL is nothing

/* Every stream there was, by name.  In arena. */
TT_MUST_CHECK enum tt_code tt_reader_streams(struct tt_reader *r, struct tt_arena *arena,
                                             struct tt_known_stream **ret, int *ret_n,
                                             struct tt_err *err);

/* Versions of a stream, at most limit: those with a file, then the others, newest first. */
TT_MUST_CHECK enum tt_code tt_reader_versions(struct tt_reader *r, const char *stream, int limit,
                                              struct tt_arena *arena, struct tt_known_version **ret,
                                              int *ret_n, struct tt_err *err);

/* The newest decision that went back to a version of that stream; 0: there is none. */
TT_MUST_CHECK enum tt_code tt_reader_restored(struct tt_reader *r, const char *stream,
                                              int64_t *ret_decision, struct tt_err *err);

/* The versions that the newest decisions of a stream name, as numbers, at most max, oldest first.
 * In arena. */
TT_MUST_CHECK enum tt_code tt_reader_named(struct tt_reader *r, const char *stream, int max,
                                           struct tt_arena *arena, const uint64_t **ret, int *ret_n,
                                           struct tt_err *err);

/* The requests with an id that a stream has answered since a client last closed it: the newest
 * limit of them, oldest first.  In arena. */
TT_MUST_CHECK enum tt_code tt_reader_ids(struct tt_reader *r, const char *stream, int limit,
                                         struct tt_arena *arena, struct tt_known_id **ret,
                                         int *ret_n, struct tt_err *err);

/* The highest decision id and event sequence number in the record; 0 when there is none. */
TT_MUST_CHECK enum tt_code tt_reader_last(struct tt_reader *r, int64_t *ret_decision,
                                          int64_t *ret_event, struct tt_err *err);

#endif
