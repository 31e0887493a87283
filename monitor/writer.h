// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_WRITER_H
#define TT_MONITOR_WRITER_H

#include "monitor/files.h"
#include "monitor/queue.h"
#include "monitor/retain.h"
#include "monitor/statements.h"

/* The record's read-write connection: a group of records in one transaction, the log's checkpoints.
 * For the store's thread alone. */
#define TT_REJECTED 16 // refused tickets remembered, for tt_store_sync

struct tt_writer {
    struct tt_files files;
    sqlite3 *db; // NULL: nothing could be opened under the name
    struct tt_statements *statements;
    sqlite3_stmt *add_loss;
    struct tt_retain_options keep;
    struct tt_retain *retain;
    int64_t mended;        // times that the files were made whole again
    char note[TT_ERR_MSG]; // what the last time was
};

/* One group, as far as the writer has come with it. */
struct tt_group {
    uint64_t at, end; // positions in the queue
    bool ahead;       // only what is no metric; the rest stays
    int64_t ticket;   // of its last record
    int64_t ahead_of; // up to which ticket what is no metric had been written before
    int64_t shed;     // rows lost so far, to be noted with it
    const char *shed_why;
    int64_t newest_ms;
    int64_t rows; // written
    int64_t rejected[TT_REJECTED];
    int nrejected;
    char why[TT_ERR_MSG];
};

/* Open or create the file; path is kept.  On an error nothing is open. */
TT_MUST_CHECK enum tt_code tt_writer_open(struct tt_writer *w, const char *path,
                                          const struct tt_retain_options *keep, struct tt_err *err);
void tt_writer_close(struct tt_writer *w);

/* All of the group in one transaction that is on the disk, in the file of that name; or nothing.
 * When the file is another one, or gone, it is mended first. */
TT_MUST_CHECK enum tt_code tt_writer_commit(struct tt_writer *w, const struct tt_queue *q,
                                            struct tt_group *g, struct tt_err *err);

/* Retention, as far as time allows (tt_retain_work); then move the log into the database, as far as
 * readers let it.  *ret_bytes: of the log. */
TT_MUST_CHECK enum tt_code tt_writer_upkeep(struct tt_writer *w, int64_t newest_ms,
                                            bool (*enough)(void *arg), void *arg, bool *ret_more,
                                            int64_t *ret_bytes, struct tt_err *err);

#endif
