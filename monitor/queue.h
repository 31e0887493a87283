// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_QUEUE_H
#define TT_MONITOR_QUEUE_H

#include "monitor/record.h"
#include <stddef.h>

/*
 * The store's queue: a ring of bytes that holds packed records in order.  The caller locks.  A
 * record stays until it is committed, so that a failed commit loses nothing; between
 * tt_queue_first and tt_queue_pop the writer reads records without the lock, as nobody moves them.
 */
struct tt_slot {
    uint32_t bytes; // of slot and record, a multiple of 8
    uint8_t kind;   // enum tt_record_kind, or TT_SLOT_SKIP
    uint8_t tier;
    bool done; // dropped, or committed before others: only its room is left
    int64_t ticket;
};
#define TT_SLOT_SKIP UINT8_MAX // fills the ring's end; the next record is at its start

struct tt_queue {
    unsigned char *ring;
    size_t cap;
    uint64_t head, tail; // bytes ever put and taken
};

/* false: no memory.  cap is rounded up to what one record needs. */
bool tt_queue_init(struct tt_queue *q, size_t cap);
void tt_queue_release(struct tt_queue *q);

/* Is there room?  Metrics may fill three quarters, the log seven eighths, the rest everything. */
bool tt_queue_fits(const struct tt_queue *q, size_t n, enum tt_tier tier);

/* Copy n packed bytes in; tt_queue_fits has said yes. */
void tt_queue_push(struct tt_queue *q, uint8_t kind, enum tt_tier tier, int64_t ticket,
                   const void *packed, size_t n);

/* The record at position *at (tail to begin with) or behind the ring's end, *at moved behind it;
 * NULL at end. */
struct tt_slot *tt_queue_next(const struct tt_queue *q, uint64_t *at, uint64_t end);

/* Take what is done from the tail on; the ticket of the last one taken, or last. */
int64_t tt_queue_pop_done(struct tt_queue *q, int64_t last);

static inline const unsigned char *tt_slot_packed(const struct tt_slot *s)
{
    return (const unsigned char *)(s + 1);
}

#endif
