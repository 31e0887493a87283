// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_CAPTURE_POOL_H
#define TT_DAEMON_CAPTURE_POOL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"

/*
 * The folder of all captured streams, and what they may have together: a stream that is not used
 * any more deletes nothing itself.  Any thread.
 */
struct tt_capture_pool {
    char root[4000];
    int64_t max;                // bytes; 0: no bound
    pthread_mutex_t lock;       // of looking and deleting
    atomic_int_fast64_t unseen; // bytes written since somebody looked
};

/* <database>.captures */
void tt_capture_pool_init(struct tt_capture_pool *p, const char *database, int64_t max);
void tt_capture_pool_end(struct tt_capture_pool *p);

/* n bytes more.  From time to time all files are looked at, and the oldest go until the bound holds
 * with an eighth to spare; a file that is being written stays. */
void tt_capture_pool_grew(struct tt_capture_pool *p, int64_t n);

#endif
