// SPDX-License-Identifier: Apache-2.0
#ifndef TT_BASE_LOG_REPEAT_H
#define TT_BASE_LOG_REPEAT_H

#include <stdbool.h>

#include "base/log_line.h"

/*
 * Lines that are repeated: of the same level, message and fields, the first TT_LOG_BURST within
 * TT_LOG_WINDOW_MS are written, the others counted, and the count is told once the window is over.
 * The TT_LOG_KNOWN lines said last are known.  Pure; one thread at a time.
 */
#define TT_LOG_BURST     5
#define TT_LOG_WINDOW_MS 10000
#define TT_LOG_KNOWN     64
#define TT_LOG_EXCERPT   200 // bytes of a message by which its count is told

struct tt_log_repeat {
    uint64_t hash; // 0: not in use
    int64_t since_ms, seen_ms;
    int64_t said, held; // written, and counted instead, in this window
    enum tt_level level;
    char msg[TT_LOG_EXCERPT];
};

struct tt_log_repeats {
    struct tt_log_repeat line[TT_LOG_KNOWN];
    struct tt_log_repeat gone; // had to make room and has held something; hash 0: none
    int64_t due_ms;            // nothing is to be told before; 0: nothing is held
};

/* Is the record to be written?  false: it was counted. */
bool tt_log_repeat_take(struct tt_log_repeats *r, const struct tt_log_record *record);

/* A line whose count is to be told (held more), or with all any that has one; false: none. */
bool tt_log_repeat_due(struct tt_log_repeats *r, int64_t now_ms, bool all,
                       struct tt_log_repeat *ret);

#endif
