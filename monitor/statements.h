// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_STATEMENTS_H
#define TT_MONITOR_STATEMENTS_H

#include "base/err.h"
#include "monitor/fields.h"
#include <sqlite3.h>

/* Prepared statements of every kind of record; for the store's writer alone. */
struct tt_statements;

TT_MUST_CHECK enum tt_code tt_statements_new(sqlite3 *db, struct tt_statements **ret,
                                             struct tt_err *err);
void tt_statements_free(struct tt_statements *s); // NULL is nothing

/* Write one packed record within the transaction that is open; SQLite's (extended) result code.
 * late: newer records of its stream are there already, so it must not say what is true now. */
int tt_statements_run(struct tt_statements *s, enum tt_record_kind kind, bool late,
                      const unsigned char *packed);

#endif
