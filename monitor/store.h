// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_STORE_H
#define TT_MONITOR_STORE_H

#include "base/err.h"
#include "base/histogram.h"
#include "monitor/record.h"

/*
 * The record: a SQLite database with one writer thread, which owns the only read-write
 * connection.  Any thread puts records into a bounded queue; the writer commits them in groups,
 * in the order they were put.  Metrics are shed, and counted in the record itself, when the queue
 * is full or the disk fails; decisions never are: they have a quarter of the queue to themselves
 * and wait in it until the disk takes them.  Everybody else reads (monitor/reader.h, or sqlite3
 * on the views).
 */
#define TT_STORE_APPLICATION 0x54544144 // "TTAD", the file's application_id

struct tt_store;

struct tt_store_options {
    const char *path;    // of the file; its directory exists
    size_t queue_bytes;  // 0: 4 MiB
    int commit_ms;       // longest that a record waits for its commit; 0: 50
    int64_t keep_raw_ms; // batch and guard rows older than that are deleted; 0: kept
};

struct tt_store_stats {
    int64_t put, committed; // tickets
    int64_t commits;
    int64_t shed;     // metrics not kept, in this run
    int64_t rejected; // records that the database refused; a fault of the program
    int64_t queued_bytes;
    int64_t wal_bytes;
    int64_t commit_us, commit_us_max; // newest and longest commit
    int64_t silent_ms;                // since the newest commit, when something waits; else 0
    bool failing;                     // the last commit failed; metrics are not being kept
    char why[TT_ERR_MSG];             // the last failure; "" when there was none
};

/* Open or create the file, migrate it to this program's schema, start the writer.  Refused, and
 * the file left as it is: another program's file, a newer schema, a damaged file, a directory
 * that cannot be written. */
TT_MUST_CHECK enum tt_code tt_store_open(const struct tt_store_options *o, struct tt_store **ret,
                                         struct tt_err *err);

/* Queue a record; its ticket, from 1 on.  0: it was shed and counted; or, for one that must not be
 * shed, that the store has failed for so long that even its reserved room is full, and then the
 * caller must not go on as if it were recorded.  Never waits for a record that may be shed. */
int64_t tt_store_put(struct tt_store *s, const struct tt_record *r);

/* Return when everything up to ticket is committed and on the disk.  TT_EBUSY: not within
 * timeout_ms, still queued; TT_EIO: the disk fails (still queued), or the record was refused. */
TT_MUST_CHECK enum tt_code tt_store_sync(struct tt_store *s, int64_t ticket, int timeout_ms,
                                         struct tt_err *err);

void tt_store_stats(struct tt_store *s, struct tt_store_stats *ret);

/* How long commits took; as long as the store.  Read without a lock. */
const struct tt_histogram *tt_store_commits(const struct tt_store *s);

/* Commit what is queued, stop the writer, close.  TT_EIO: something queued could not be written
 * (closed all the same).  *s becomes NULL; a NULL *s is nothing. */
enum tt_code tt_store_close(struct tt_store **s, struct tt_err *err);

#endif
