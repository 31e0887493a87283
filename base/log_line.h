// SPDX-License-Identifier: Apache-2.0
#ifndef TT_BASE_LOG_LINE_H
#define TT_BASE_LOG_LINE_H

#include <stdbool.h>

#include "base/log.h"

/*
 * A record as a line of text.  Pure.  Control characters (C1's too), line separators, quotes and
 * backslashes are escaped as JSON does, in logfmt as well; bytes that are not UTF-8 become U+FFFD.
 * Each value is bounded by itself, so a line is whole, and less than a pipe takes at once.
 */
#define TT_LOG_LINE   4096 // bytes of a line, with its newline
#define TT_LOG_MSG    1536 // bytes of a message as it is written; a longer one ends in "..."
#define TT_LOG_VALUE  256  // and of a field
#define TT_LOG_FIELDS 8    // more are left out

struct tt_log_record {
    enum tt_level level;
    int64_t utc_ms;
    const char *thread; // NULL: none
    const char *msg;
    const struct tt_log_field *fields; // NULL: none
    int64_t repeated;                  // it stands for so many more; 0: for itself
};

/* Write the line, with its newline, and before it the level as journald reads it; its length. */
size_t tt_log_line(char ret[TT_LOG_LINE], const struct tt_log_record *r, enum tt_log_format format,
                   bool journal);

#endif
