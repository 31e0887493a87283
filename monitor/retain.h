// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_RETAIN_H
#define TT_MONITOR_RETAIN_H

#include "base/err.h"
#include <sqlite3.h>
#include <stdbool.h>

/*
 * How long the record keeps what.  Raw rows are rolled up to minutes and hours, of each stream and
 * of the fleet (stream_id 0), and deleted when they are old, but for those around a decision;
 * minutes, hours and the log are deleted at ages of their own, decisions never.  A bound in bytes
 * goes before all ages: the oldest rows go first, those around decisions and the hours last.
 *
 * Work comes in small pieces, the deletion of at most a thousand rows or the roll-up of some
 * streams, within one transaction of the writer's connection.  Time is the newest time of any
 * record; no clock is read.
 */
struct tt_retain_options { // 0: for ever
    int64_t raw_ms;    // batches and guard rows, versions without a file; 0: nothing here is done
    int64_t around_ms; // of a decision, before and after: raw rows that stay longer
    int64_t minute_ms; // roll-ups of a minute, labels as they came
    int64_t hour_ms;   // roll-ups of an hour
    int64_t log_ms;    // events and states that no decision belongs to
    int64_t bytes;     // of the whole database
    int64_t hold_alert_ms, worse_alert_ms; // after which a stream needs a person
};
struct tt_retain;

TT_MUST_CHECK enum tt_code tt_retain_new(sqlite3 *db, const struct tt_retain_options *o,
                                         struct tt_retain **ret, struct tt_err *err);
void tt_retain_free(struct tt_retain *r); // NULL is nothing

/* Do pieces of work until none is left or enough() says so; *ret_more: some is left.  On an error
 * nothing of it was done. */
TT_MUST_CHECK enum tt_code tt_retain_work(struct tt_retain *r, int64_t newest_ms,
                                          bool (*enough)(void *arg), void *arg, bool *ret_more,
                                          struct tt_err *err);

#endif
