// SPDX-License-Identifier: Apache-2.0
#ifndef TT_BASE_LOG_H
#define TT_BASE_LOG_H

#include "base/err.h"

/*
 * The log: one line a record, to stderr, each with one write():
 *
 *     ts=2026-01-31T12:00:00.123Z level=warning thread="worker 2" msg="disk is full" stream=cam-7
 *
 * or, as configured, a JSON object of the same members.  Before it stands the level as journald
 * reads it (<4>), if stderr is journald's.  Whatever comes from outside, in a message or in a
 * field, is escaped and bounded (base/log_line.h): a record never spans lines.  A line that is
 * repeated is written a few times and then counted (base/log_repeat.h).
 *
 * Only daemon/ logs.  Any thread may.
 */
enum tt_level { TT_LOG_ERR = 3, TT_LOG_WARN = 4, TT_LOG_INFO = 6, TT_LOG_DEBUG = 7 };
enum tt_log_format { TT_LOG_LOGFMT, TT_LOG_JSON };

struct tt_log_field {
    const char *key, *value; // NULL or "": left out; a list ends with a NULL key
};

/* How records are written.  TT_LOG_LOGFMT until it is set. */
void tt_log_format(enum tt_log_format format);

/* Records above this level are not written.  TT_LOG_INFO until it is set; at any time. */
void tt_log_level(enum tt_level level);

/* Who speaks, told with each message of the calling thread: "worker 2"; kept, not copied. */
void tt_log_name(const char *name);

void tt_log(enum tt_level level, const char *fmt, ...) TT_PRINTF(2, 3);

/* With fields, at most 8; fields may be NULL. */
void tt_log_with(enum tt_level level, const struct tt_log_field *fields, const char *fmt, ...)
    TT_PRINTF(3, 4);

/* Write how often lines were repeated that have not been told yet.  Before the program ends. */
void tt_log_flush(void);

#endif
