// SPDX-License-Identifier: Apache-2.0
#ifndef TT_BASE_LOG_H
#define TT_BASE_LOG_H

#include "base/err.h"

/*
 * Log lines to stderr, one a record, each written with one write():
 *
 *     <6>2026-01-31T12:00:00.123Z worker 2: stream 'cam-7': rolled back to 7be2..
 *
 * The prefix is the level as journald reads it.  Control characters in the message are
 * written as \xNN, so a record never spans lines, whatever names came from outside.
 * Only daemon/ logs.  Any thread may.
 */
enum tt_level { TT_LOG_ERR = 3, TT_LOG_WARN = 4, TT_LOG_INFO = 6, TT_LOG_DEBUG = 7 };

/* Records above this level are not written.  TT_LOG_INFO until it is set. */
void tt_log_level(enum tt_level level);

/* Who speaks, put before each message of the calling thread: "worker 2"; kept, not copied. */
void tt_log_name(const char *name);

void tt_log(enum tt_level level, const char *fmt, ...) TT_PRINTF(2, 3);

#define TT_LOG_LINE 1024 // bytes of a record; longer ones end in "..."

/* The record that tt_log would write, with its newline; returns its length.  For tests. */
size_t tt_log_format(char ret[TT_LOG_LINE], enum tt_level level, int64_t utc_ms, const char *name,
                     const char *msg);

#endif
