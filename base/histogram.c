// SPDX-License-Identifier: Apache-2.0
#include "base/histogram.h"

const int64_t tt_bounds_us[TT_BOUNDS] = {50,     100,     250,     500,     1000,     2500,
                                         5000,   10000,   25000,   50000,   100000,   250000,
                                         500000, 1000000, 2500000, 5000000, 10000000, 30000000};

void tt_histogram_add(struct tt_histogram *h, int64_t us)
{
    int i = 0;

    if (us < 0)
        us = 0;
    while (i < TT_BOUNDS && us > tt_bounds_us[i])
        i++;
    atomic_fetch_add_explicit(&h->count[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, us, memory_order_relaxed);
}

void tt_histogram_read(const struct tt_histogram *h, struct tt_durations *sum)
{
    for (int i = 0; i <= TT_BOUNDS; i++)
        sum->count[i] += atomic_load_explicit(&h->count[i], memory_order_relaxed);
    sum->sum_us += atomic_load_explicit(&h->sum_us, memory_order_relaxed);
}

int64_t tt_durations_count(const struct tt_durations *d)
{
    int64_t n = 0;

    for (int i = 0; i <= TT_BOUNDS; i++)
        n += d->count[i];
    return n;
}
