// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_JOURNAL_H
#define TT_DAEMON_JOURNAL_H

#include "daemon/stream.h"

/*
 * The journal of a stream: its newest version, with all that the stream counts and judges by, in
 * one file beside its snapshots.  It is written before a reply or an event names that version, so
 * a process that is killed at any instruction goes on from just there.  It is not synced: after a
 * loss of power it may be old, or gone, and then the newest snapshot counts.
 *
 * What cannot be journaled is not learnt: a version that could not be written is not published,
 * the stream answers from the one before and tries again with its next batch.
 */
#define TT_JOURNAL_FILE  "newest.journal"
#define TT_JOURNAL_BYTES ((int64_t)4 << 20) // of a version, unless the settings say otherwise

/* Write what serves now.  True: it is kept, or this stream has no journal (no folder, or versions
 * larger than its limit).  False: it is not; told as an event when that is new. */
bool tt_journal_keep(struct tt_stream *s, int64_t now_ms);

struct tt_journaled {
    struct tt_version version; // its block points into the arena
    uint64_t seq;
    int64_t step, updates, sample_turn, samples, adapted, skipped, rollbacks, decision;
    const double *signals, *guard;
    size_t nsignals, nguard;
    struct tt_recent recent;
    bool cut; // the newest slot was not whole, this is the one before
};

/* The newest version that is whole.  In arena.  TT_ENOTFOUND: there is no journal; TT_EDENIED: it
 * is sound, but of another model or method; anything else: it is damaged. */
TT_MUST_CHECK enum tt_code tt_journal_read(const struct tt_stream *s, struct tt_arena *arena,
                                           struct tt_journaled *ret, struct tt_err *err);

/* The stream goes on from it: counters, ids; not the version, signals and guard. */
void tt_journal_adopt(struct tt_stream *s, const struct tt_journaled *j);

/* Remove the file: all that it says is in a snapshot, or was given up. */
void tt_journal_remove(struct tt_stream *s);

#endif
