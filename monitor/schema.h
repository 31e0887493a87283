// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_SCHEMA_H
#define TT_MONITOR_SCHEMA_H

#include "base/err.h"
#include <sqlite3.h>

/*
 * Opening the record's file: whose it is, which version, the settings of a connection, and the
 * migrations monitor/schema/NNN.sql, each in a transaction of its own.  The views are made anew
 * whenever their text has changed.
 */

/* The text of a file that is compiled in, by its path from the root; NULL: there is none. */
const char *tt_schema_text(const char *path);

/* The newest schema version that this program knows. */
int tt_schema_newest(void);

/* The one read-write connection: creates, migrates. */
TT_MUST_CHECK enum tt_code tt_schema_open(const char *path, sqlite3 **ret, struct tt_err *err);

/* A read-only connection to a file of exactly this schema. */
TT_MUST_CHECK enum tt_code tt_schema_open_read(const char *path, sqlite3 **ret, struct tt_err *err);

/* Fill *err with what SQLite says about the last call on db, after "doing: ". */
enum tt_code tt_schema_fail(sqlite3 *db, struct tt_err *err, const char *doing);

#endif
