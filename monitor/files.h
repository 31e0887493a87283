// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_FILES_H
#define TT_MONITOR_FILES_H

#include "base/err.h"
#include <sqlite3.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * The record's two files, the database and its log, as the open connection has them, and what
 * lies under their names.  Somebody may delete, rename or replace them while the daemon runs; what
 * is committed then goes into files that nobody will find again.  For the store's writer alone.
 */
struct tt_file_id {
    dev_t dev;
    ino_t ino; // 0: not known
};
struct tt_files {
    const char *path;
    struct tt_file_id db, log;
};

enum tt_files_state { TT_FILES_OURS, TT_FILES_GONE, TT_FILES_REPLACED, TT_FILES_LOG_GONE };

/* Remember what is under the names now: those files are open.  path is kept. */
void tt_files_note(struct tt_files *f, const char *path);

/* What is under the names, compared with that. */
enum tt_files_state tt_files_look(struct tt_files *f);

/* The sentence for a state other than OURS. */
enum tt_code tt_files_fail(const struct tt_files *f, enum tt_files_state state, struct tt_err *err);

/* Make the record whole again.  A deleted file is written anew from the open connection, so that
 * nothing is lost; a log that was deleted is first moved into the database; a file that took the
 * place of ours is opened when it is a record, and refused when not.  On success *db is the new
 * connection and the old one is closed.  On an error the old one stays, or *db is NULL and only
 * the opening is left to be tried. */
TT_MUST_CHECK enum tt_code tt_files_mend(struct tt_files *f, enum tt_files_state state,
                                         sqlite3 **db, struct tt_err *err);

#endif
