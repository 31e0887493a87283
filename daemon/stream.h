// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_STREAM_H
#define TT_DAEMON_STREAM_H

#include "daemon/batch.h"
#include "daemon/memory.h"
#include "daemon/recent.h"
#include "daemon/sink.h"
#include "daemon/storage.h"
#include "daemon/versions.h"
#include "monitor/guard.h"

/*
 * A stream: one client's flow of batches through one model under one policy, without sockets,
 * threads or clocks; the daemon's workers and `ttad adapt` call the same functions.  It owns its
 * versions, signals and guard; the plan belongs to the caller and may be shared, or replaced by
 * one of the same model and method with another limit.  One thread at a time.
 */
struct tt_policy;  // policies/policy.h
struct tt_capture; // daemon/capture.h

struct tt_stream_spec {
    const char *name; // copied, like model_name
    const char *model_name;
    const struct tt_model *model;
    const struct tt_policy *policy;
    const struct tt_plan *plan; // for the layout; not kept
    float *source;              // tt_plan_source's block, to share; NULL: one of its own
    struct tt_sink sink;
    const char *snapshots;  // directory of its snapshots; NULL: none are written; copied
    int keep;               // newest snapshots that stay; 0: 10
    int64_t snapshot_bytes; // most of its snapshots; 0: no bound
    struct tt_room *room;   // of the snapshots of all streams; NULL: none
    int ring;               // checkpoints in memory; 0: 16
    int64_t journal_bytes;  // largest version that is journaled; 0: TT_JOURNAL_BYTES; -1: none
    int64_t feedback_ms;    // age of an answer that still takes labels; 0: no bound
    int64_t now_ms;
};

struct tt_journal_state { // daemon/journal.h
    uint64_t seq;         // of the newest slot
    int64_t limit;        // bytes of a version
    bool made;            // this process has made the file
    bool failing;         // the last write failed
};

struct tt_stream {
    struct tt_arena arena;
    const char *name, *model_name, *snapshots;
    char salt[TT_HASH_HEX + 1]; // of each version's name (daemon/salt.h)
    const struct tt_model *model;
    const struct tt_policy *policy;
    struct tt_sink sink;
    struct tt_storage storage;
    int64_t feedback_ms;
    struct tt_versions versions;
    struct tt_signals signals;
    struct tt_guard guard;
    struct tt_memory memory;    // of answers
    struct tt_capture *capture; // NULL: inputs are not kept
    struct tt_recent *recent;   // ids learnt from
    struct tt_journal_state journal;
    int classes;
    int64_t step;                      // of the newest version there ever was
    int64_t updates;                   // since the last checkpoint
    int64_t sample_turn;               // batches since the frozen model was last asked
    int64_t samples, adapted, skipped; // answered in all; batches
    int64_t rollbacks;
    int64_t decision;           // the newest one that restored a version; 0: none
    enum tt_guard_state told;   // that the record knows
    int64_t save_wait_ms;       // after a snapshot that failed; 0: the last one did not
    int64_t save_again_ms;      // not before
    bool recorded;              // the last decision was on the disk when it was told
    struct tt_arena scratch;    // of one batch
    int64_t room;               // rows
    float *frozen, *mean_p;     // [room, classes] the frozen model's answer; [classes]
    float *answer;              // [room, classes] that an update follows; NULL: none ever does
    int32_t *labels;            // [room]
    int64_t *counts;            // [classes]
    char reason[TT_LINE_BYTES]; // of the guard's state
    int64_t answered_us;        // when the batch that is under way was answered; 0: not yet
    struct tt_follow follow;
    char went_back_to[TT_HASH_SHORT + 1]; // in an update; "": nowhere, or an answer has told it
};

/* A stream at the source version, the caller's. */
TT_MUST_CHECK enum tt_code tt_stream_new(const struct tt_stream_spec *spec, struct tt_stream **ret,
                                         struct tt_err *err);
void tt_stream_free(struct tt_stream *s); // NULL is nothing

/* What can wait until after the answer: versions that have soaked become good, and are written. */
void tt_stream_settle(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms);

/* Give back memory that the stream can do without, until at most bytes are held beyond what it
 * needs to answer: remembered answers, oldest first, and checkpoints that have a snapshot. */
void tt_stream_trim(struct tt_stream *s, size_t bytes);
void tt_stream_rest(struct tt_stream *s);          // give back what only a batch needs
size_t tt_stream_bytes(const struct tt_stream *s); // all that it holds

#endif
