// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_SCRIPT_H
#define TT_MONITOR_SCRIPT_H

#include "base/err.h"
#include <sqlite3.h>

/* Statements that are prepared once and run often, alone or as the text of a file under
 * monitor/schema/.  Integers in, integers out; for the store's writer alone. */
#define TT_SCRIPT_MAX 8 // statements of a text

struct tt_script {
    sqlite3_stmt *s[TT_SCRIPT_MAX];
    int n;
};

struct tt_span { // the parameters that a text may have, by these names
    int64_t stream, from, to, first, after, last, now, since, hold_alert, worse_alert;
};

TT_MUST_CHECK enum tt_code tt_script_read(sqlite3 *db, const char *name, struct tt_script *ret,
                                          struct tt_err *err);
void tt_script_free(struct tt_script *s);
TT_MUST_CHECK enum tt_code tt_script_run(sqlite3 *db, const struct tt_script *script,
                                         const struct tt_span *p, struct tt_err *err);

TT_MUST_CHECK enum tt_code tt_query_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret,
                                            struct tt_err *err);
void tt_query_bind(sqlite3_stmt *s, const char *name, int64_t value); // unless it has no such one
TT_MUST_CHECK enum tt_code tt_query_run(sqlite3 *db, sqlite3_stmt *s, struct tt_err *err);

/* One number; none when there is no row, or it is NULL. */
TT_MUST_CHECK enum tt_code tt_query_ask(sqlite3 *db, sqlite3_stmt *s, int64_t none, int64_t *ret,
                                        struct tt_err *err);
TT_MUST_CHECK enum tt_code tt_query_once(sqlite3 *db, const char *sql, int64_t none, int64_t *ret,
                                         struct tt_err *err);

#endif
