// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_HISTORY_H
#define TT_MONITOR_HISTORY_H

#include <stdbool.h>

#include "base/err.h"

/*
 * What the record says has happened, compared with what somebody knows: for `ttad replay`.  Over a
 * read-only connection of the caller's own.
 */
struct tt_history;

enum tt_found {
    TT_FOUND_NONE, // the record has no such row: it was shed, is not kept any more, or never was
    TT_FOUND_SAME,
    TT_FOUND_OTHER
};

/* What is asked for is known by stream, time and name; the rest is compared. */
struct tt_past_batch {
    const char *stream, *id; // id "": none
    int64_t ts_ms;
    char version[65];
    int64_t step, rows;
    bool adapted;
};

struct tt_past_decision {
    const char *stream, *rule;
    int64_t ts_ms;
    bool dry_run;
    char action[16], from[65], to[65]; // to "": nothing was gone back to
};

TT_MUST_CHECK enum tt_code tt_history_open(const char *path, struct tt_history **ret,
                                           struct tt_err *err);
void tt_history_close(struct tt_history *h); // NULL is nothing

/* TT_FOUND_OTHER: *ret_other is what the record says instead. */
TT_MUST_CHECK enum tt_code tt_history_batch(struct tt_history *h, const struct tt_past_batch *b,
                                            enum tt_found *ret, struct tt_past_batch *ret_other,
                                            struct tt_err *err);
TT_MUST_CHECK enum tt_code tt_history_decision(struct tt_history *h,
                                               const struct tt_past_decision *d, enum tt_found *ret,
                                               struct tt_past_decision *ret_other,
                                               struct tt_err *err);

#endif
