// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_STORE_H
#define TT_MONITOR_STORE_H

#include "base/err.h"
#include "base/histogram.h"
#include "monitor/record.h"
#include "monitor/retain.h"

/*
 * The record: a SQLite database with one writer thread, which owns the only read-write
 * connection.  Any thread puts records into a bounded queue; the writer commits them in groups,
 * in the order they were put.  Metrics are shed, and counted in the record itself, when the queue
 * is full or the disk fails; decisions never are: they have an eighth of the queue to themselves
 * and wait in it until the disk takes them, which the writer tries again and again.  What somebody
 * waits for does not wait for a long queue of metrics: it is committed ahead of them.  When the
 * files are deleted or replaced under the daemon, the writer puts the record back
 * (monitor/files.h).  Everybody else reads (monitor/reader.h, or sqlite3
 * on the views).
 */
#define TT_STORE_APPLICATION 0x54544144 // "TTAD", the file's application_id

struct tt_store;

struct tt_store_options {
    const char *path;   // of the file; its directory exists
    size_t queue_bytes; // 0: 4 MiB
    int commit_ms;      // longest that a record waits for its commit; 0: 50
    struct tt_retain_options keep;
};

struct tt_store_stats {
    int64_t put, committed; // tickets; everything up to committed is on the disk or was shed
    int64_t commits, rows;  // rows written, in this run
    int64_t shed;     // rows not kept, in this run; metrics, unless the record failed for long
    int64_t lost;     // of them, such as must not be shed
    int64_t rejected; // records that the database refused; a fault of the program
    int64_t queued_bytes;
    int64_t wal_bytes;
    int64_t commit_us, commit_us_max; // newest and longest commit
    int64_t upkeep_failing;           // times in a row: retention, or moving the log, which grows
    int64_t mended;        // times that the files were deleted or replaced, and made whole
    char note[TT_ERR_MSG]; // what happened the last time
    int64_t silent_ms;     // since the newest commit, when something waits; else 0
    bool failing;          // the last commit failed; metrics are not being kept
    char why[TT_ERR_MSG];  // the last failure; "" when there was none
};

/* Open or create the file, migrate it to this program's schema, start the writer.  Refused, and
 * the file left as it is: another program's file, a newer schema, a damaged file, a directory
 * that cannot be written. */
TT_MUST_CHECK enum tt_code tt_store_open(const struct tt_store_options *o, struct tt_store **ret,
                                         struct tt_err *err);

/* Queue a record; its ticket, from 1 on.  0: there was no room: it was shed and counted, and if it
 * is one that must not be shed the caller must not go on as if it were recorded.  Waits, while
 * commits come quickly, for all but metrics. */
int64_t tt_store_put(struct tt_store *s, const struct tt_record *r);

/* Could an order's records still be taken?  TT_EBUSY: the disk has failed for so long that even the
 * room that decisions have to themselves is full. */
TT_MUST_CHECK enum tt_code tt_store_room(struct tt_store *s, struct tt_err *err);

/* Return when the record of that ticket is committed and on the disk.  TT_EBUSY: not within
 * timeout_ms, TT_EIO: the disk fails; in both cases it stays queued and is written as soon as that
 * is possible.  TT_EIO also when the database refused it.  Not for metrics: one that was shed
 * meanwhile counts as done. */
TT_MUST_CHECK enum tt_code tt_store_sync(struct tt_store *s, int64_t ticket, int timeout_ms,
                                         struct tt_err *err);

void tt_store_stats(struct tt_store *s, struct tt_store_stats *ret);

/* How long commits took; as long as the store.  Read without a lock. */
const struct tt_histogram *tt_store_commits(const struct tt_store *s);

/* The version of the SQLite that is linked. */
const char *tt_store_sqlite(void);

/* Commit what is queued, stop the writer, close.  TT_EIO: something queued could not be written
 * (closed all the same).  *s becomes NULL; a NULL *s is nothing. */
enum tt_code tt_store_close(struct tt_store **s, struct tt_err *err);

#endif
