// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_OPENED_H
#define TT_DAEMON_OPENED_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "client/c/wire.h"

/*
 * A stream's model and policy in a small file of its folder, written before its first answer, and
 * whether a client has closed it.  The record says the same, but only once its rows are committed:
 * a process that is killed at once still knows then what it was asked for.  Not synced, like the
 * journal.
 */
#define TT_OPENED_FILE "opened.json"

struct tt_opened {
    char stream[TTAD_WIRE_NAME_MAX + 1];
    char model[TTAD_WIRE_NAME_MAX + 1], policy[TTAD_WIRE_NAME_MAX + 1];
    bool closed;
};

/* Write dir's file, making dir where it is missing.  A failure leaves the one before. */
TT_MUST_CHECK enum tt_code tt_opened_write(const char *dir, const struct tt_opened *o,
                                           struct tt_err *err);

/* What the folders of dir hold, in arena.  A file that is damaged, or names another stream than
 * its folder does, is passed over; *ret_bad counts those. */
TT_MUST_CHECK enum tt_code tt_opened_list(const char *dir, struct tt_arena *arena,
                                          struct tt_opened **ret, int *ret_n, int *ret_bad,
                                          struct tt_err *err);

#endif
