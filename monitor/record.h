// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_RECORD_H
#define TT_MONITOR_RECORD_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What the daemon records.  Pointers are borrowed for the call that takes the record; texts are
 * cut to their limit at a character's boundary.  Not known: a text is NULL or "", a double is not
 * finite, an int64_t is TT_UNKNOWN, change_point_ms or an id is 0; each is stored as NULL.  Times
 * are UTC milliseconds of the caller's clock; the store reads none.
 */
#define TT_UNKNOWN      INT64_MIN
#define TT_STREAM_BYTES 128  // longest stream name; the caller has refused longer ones
#define TT_ID_BYTES     64   // longest request id, version, hash, rule, signal, actor ...
#define TT_LINE_BYTES   512  // longest reason, sentence, event text, file
#define TT_JSON_BYTES   4096 // longest evidence or detail; longer ones are replaced by {"cut":true}
#define TT_MAXCLASSES   1000 // longest list of class counts; the rest is not kept

enum tt_record_kind {
    TT_REC_BOOT,          // the daemon started
    TT_REC_STREAM,        // a stream was opened, closed, or changed its state
    TT_REC_BATCH,         // one request answered
    TT_REC_GUARD,         // one rule over one batch
    TT_REC_DECISION,      // a guard or a person acted; dry runs too
    TT_REC_VERSION,       // a version came to be
    TT_REC_VERSION_STATE, // a version became good, suspect, bad or lost, or its file went
    TT_REC_FEEDBACK,      // labels, credited to the version that answered
    TT_REC_EVENT,         // a line of the log
    TT_NRECORDS
};

struct tt_rec_boot {
    const char *boot_id, *version, *config_hash;
};
struct tt_rec_stream { // what is not known stays as it was
    const char *model, *model_hash, *engine, *policy, *policy_hash;
    const char *state, *reason, *by, *version; // the version that serves from now on
    int64_t step, decision_id;
};
struct tt_rec_batch {
    const char *request_id, *version; // the version that answered
    int64_t step, rows;
    bool adapted;
    const char *skip; // why not, as tt_skip_name says it
    double loss, entropy, entropy_ratio, confidence, class_collapse, class_share, grad_norm,
        param_drift;
    double base_disagreement, shadow_disagreement; // NaN: not sampled
    int64_t queue_us, infer_us, adapt_us;
    const int64_t *counts; // [classes] of the predicted labels; NULL: not kept
    int64_t classes;
    const char *serving; // the version after this batch, NULL: the one that answered
    int64_t serving_step;
};
struct tt_rec_guard {
    const char *rule, *signal, *detector, *state;
    double statistic, threshold, evidence; // evidence: share of the threshold, 1 trips
    int64_t n;
    const char *verdict; // ok, warn, inconclusive, trip
    bool dry_run;
};
struct tt_rec_decision {
    int64_t decision_id; // the daemon counts them, from tt_reader_last's on
    const char *rule, *signal, *detector;
    const char *action; // hold, reset, rollback, freeze, thaw ...
    bool dry_run;
    double statistic, threshold, baseline, observed;
    int64_t n, change_point_ms;
    const char *from_version, *to_version, *to_reason; // to_reason: why that target
    int64_t from_step, to_step;
    int64_t batches_affected, samples_affected;
    const char *actor, *policy_hash, *sentence, *evidence; // evidence: JSON
};
struct tt_rec_version {
    const char *version, *parent;
    int64_t step;
    const char *state, *reason; // base, soaking, good, suspect, bad, lost
    double param_drift;
    int64_t bytes;
    const char *file; // of its snapshot, from the snapshots' root; NULL: in memory only
};
struct tt_rec_version_state { // what is not known stays as it was
    const char *version, *state, *reason, *file;
    bool file_gone; // the snapshot was deleted by retention, or is missing
};
struct tt_rec_feedback {
    const char *request_id, *version; // the version that answered
    int64_t n, correct;
    int64_t base_n, base_correct; // of the frozen model, over the base_n rows where it is known
    int64_t delay_ms;             // from the answer to the labels
};
struct tt_rec_event { // of no stream when stream is NULL
    int64_t seq;      // the daemon counts them, from tt_reader_last's on
    const char *kind, *severity, *actor, *text, *version;
    const char *detail; // JSON
    int64_t decision_id;
};

struct tt_record {
    enum tt_record_kind kind;
    int64_t ts_ms;
    const char *stream; // NULL for TT_REC_BOOT and events of the whole daemon
    union {
        struct tt_rec_boot boot;
        struct tt_rec_stream state;
        struct tt_rec_batch batch;
        struct tt_rec_guard guard;
        struct tt_rec_decision decision;
        struct tt_rec_version version;
        struct tt_rec_version_state version_state;
        struct tt_rec_feedback feedback;
        struct tt_rec_event event;
    };
};

/* What goes first when there is no room. */
enum tt_tier {
    TT_TIER_METRIC, // may be shed: one of very many
    TT_TIER_LOG,    // may be shed once the record has failed for long: events, openings of streams
    TT_TIER_VITAL,  // never: decisions, states that they led to, snapshots
};
enum tt_tier tt_record_tier(const struct tt_record *r);

#endif
