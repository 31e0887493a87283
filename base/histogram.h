// SPDX-License-Identifier: Apache-2.0
#ifndef TT_BASE_HISTOGRAM_H
#define TT_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * How long things took, in fixed buckets: what a scrape reads while others count.  Counting is two
 * relaxed additions, reading takes no lock; so a reader may see a duration whose sum is still to
 * come, but never a count that shrinks.
 *
 * The bounds are 1, 2.5, 5 of each decade from 50 us, where a request that needs no worker ends, to
 * 30 s, past which a supervisor loses patience: twice the resolution around a step of 1 to 100 ms
 * would cost a third more lines and say no more to an alert.
 */
#define TT_BOUNDS 18

extern const int64_t tt_bounds_us[TT_BOUNDS]; // upper ends, rising; what is longer has no bound

struct tt_histogram {
    _Atomic int64_t count[TT_BOUNDS + 1]; // at most that bound, and above the one before
    _Atomic int64_t sum_us;
};

struct tt_durations { // what was read
    int64_t count[TT_BOUNDS + 1], sum_us;
};

/* A duration below 0, of a clock that was set back, counts as 0. */
void tt_histogram_add(struct tt_histogram *h, int64_t us);

/* Add what h has counted to *sum. */
void tt_histogram_read(const struct tt_histogram *h, struct tt_durations *sum);

int64_t tt_durations_count(const struct tt_durations *d);

#endif
