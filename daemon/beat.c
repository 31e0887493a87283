// SPDX-License-Identifier: Apache-2.0
#include "daemon/beat.h"

void tt_beat_busy(struct tt_beat *b, int64_t now_us)
{
    tt_beat_idle(b, now_us); // from one piece of work to the next
    atomic_store_explicit(&b->since_us, now_us, memory_order_relaxed);
}

void tt_beat_idle(struct tt_beat *b, int64_t now_us)
{
    atomic_fetch_add_explicit(&b->busy_us, tt_beat_at_work_us(b, now_us), memory_order_relaxed);
    atomic_store_explicit(&b->since_us, 0, memory_order_relaxed);
}

int64_t tt_beat_at_work_us(const struct tt_beat *b, int64_t now_us)
{
    const int64_t since = atomic_load_explicit(&b->since_us, memory_order_relaxed);

    return since && now_us > since ? now_us - since : 0;
}

int64_t tt_beat_busy_us(const struct tt_beat *b, int64_t now_us)
{
    return atomic_load_explicit(&b->busy_us, memory_order_relaxed) + tt_beat_at_work_us(b, now_us);
}
