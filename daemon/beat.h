// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_BEAT_H
#define TT_DAEMON_BEAT_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * Whether a thread moves: it says when it begins to work and when it waits for work again.  Others
 * see since when it has worked without a pause, and how long in all.  Only the thread writes.
 */
struct tt_beat {
    _Atomic int64_t since_us; // monotonic; 0: it waits for work
    _Atomic int64_t busy_us;  // before that
};

void tt_beat_busy(struct tt_beat *b, int64_t now_us);
void tt_beat_idle(struct tt_beat *b, int64_t now_us);

/* How long it has worked without a pause, 0: it waits. */
int64_t tt_beat_at_work_us(const struct tt_beat *b, int64_t now_us);

/* How long it has worked in all. */
int64_t tt_beat_busy_us(const struct tt_beat *b, int64_t now_us);

#endif
