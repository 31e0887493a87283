// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_RERUN_H
#define TT_DAEMON_RERUN_H

#include "daemon/capture_read.h"
#include "monitor/history.h"

/*
 * A captured stream run again, from its files (daemon/captured.h), by the functions that had run
 * it.  Each operation is compared with what the capture says came of it, each batch and decision
 * with the record as well, until something differs.
 */
#define TT_RERUN_NOTES 8
#define TT_RERUN_TEXT  768

struct tt_rerun_model { // the one used last, for the streams to come
    char path[4096];
    struct tt_model *model;
};

struct tt_rerun {
    char stream[TTAD_WIRE_NAME_MAX + 1];
    int64_t files, operations, batches, samples;
    int64_t versions; // made, and equal to those of the capture
    int64_t rollbacks, labels, orders, decisions;
    int64_t rows, rows_missing; // of the record: equal; and not kept there (any more)
    char version[TT_HASH_SHORT + 1];
    int64_t step; // that it ended with
    bool differs;
    char difference[TT_RERUN_TEXT]; // the first one
    int nnotes;
    char note[TT_RERUN_NOTES][TT_RERUN_TEXT];
};

struct tt_rerun_spec {
    const char *dir;              // of the stream's files
    const char *model;            // file; NULL: where the capture says it is
    int64_t threads;              // 0: as many as then
    int64_t from;                 // step: begin with the newest file that begins at or before it
    struct tt_history *history;   // NULL: the record is not asked
    struct tt_rerun_model *cache; // the caller frees its model
    void (*progress)(void *arg, const struct tt_rerun *r);
    void *arg;
};

/* Run it.  TT_OK, too, when something differs; anything else: it could not be run (to its end), and
 * *ret says how far it was equal. */
TT_MUST_CHECK enum tt_code tt_rerun_stream(const struct tt_rerun_spec *spec, struct tt_rerun *ret,
                                           struct tt_err *err);

/* The run's own; shared by its files. */
struct tt_rerun_state {
    const struct tt_rerun_spec *spec;
    struct tt_rerun *ret;
    struct tt_arena arena, scratch; // of a beginning; of an operation
    struct tt_policy *policy;
    struct tt_plan *plan;
    int64_t limit; // of the plan
    struct tt_stream *stream;
    bool ready; // the daemon was, at the batch under way
    int ndecided;
    struct tt_past_decision decided[8]; // by the operation under way
};

/* Begin (again) with what a file begins with. */
TT_MUST_CHECK enum tt_code tt_rerun_begin(struct tt_rerun_state *run,
                                          const struct tt_capture_reader *r, struct tt_err *err);
void tt_rerun_release(struct tt_rerun_state *run);

/* Another stream as the file begins with it. */
TT_MUST_CHECK enum tt_code tt_rerun_new_stream(struct tt_rerun_state *run,
                                               const struct tt_capture_reader *r,
                                               struct tt_stream **ret, struct tt_err *err);

/* A plan for so many rows. */
TT_MUST_CHECK enum tt_code tt_rerun_plan(struct tt_rerun_state *run, int64_t rows,
                                         struct tt_err *err);

/* Compare what came of an operation with what the capture, then the record, says came of it; a
 * difference is written to ret.  An error: the record cannot be asked. */
TT_MUST_CHECK enum tt_code tt_rerun_compare(struct tt_rerun_state *run, const struct tt_captured *o,
                                            const struct tt_captured *got, struct tt_err *err);

/* Where and how far the version that serves is from that of *other, of the same plan. */
void tt_rerun_distance(struct tt_rerun_state *run, const struct tt_stream *other);

/* Write the first difference. */
void tt_rerun_differs(struct tt_rerun_state *run, const struct tt_captured *o, const char *fmt, ...)
    TT_PRINTF(3, 4);
void tt_rerun_note(struct tt_rerun *r, const char *fmt, ...) TT_PRINTF(2, 3);

#endif
