// SPDX-License-Identifier: Apache-2.0
#include "monitor/queue.h"

#include "monitor/fields.h"
#include <stdlib.h>
#include <string.h>

static size_t whole(size_t n)
{
    return (sizeof(struct tt_slot) + n + 7) / 8 * 8;
}

bool tt_queue_init(struct tt_queue *q, size_t cap)
{
    size_t least = 8 * whole(TT_PACK_MAX); // so that a quarter always takes two of any

    cap = cap < least ? least : cap / 8 * 8;
    *q = (struct tt_queue){.ring = malloc(cap), .cap = cap};
    return q->ring;
}

void tt_queue_release(struct tt_queue *q)
{
    free(q->ring);
    *q = (struct tt_queue){0};
}

/* Bytes up to the ring's end if a record of n cannot start here, else 0. */
static size_t gap(const struct tt_queue *q, size_t n)
{
    size_t left = q->cap - (size_t)(q->head % q->cap);

    return left < n ? left : 0;
}

bool tt_queue_fits(const struct tt_queue *q, size_t n, enum tt_tier tier)
{
    size_t need = whole(n);
    size_t limit = tier == TT_TIER_METRIC ? q->cap / 4 * 3
                   : tier == TT_TIER_LOG  ? q->cap / 8 * 7
                                          : q->cap;

    return (size_t)(q->head - q->tail) + gap(q, need) + need <= limit;
}

static struct tt_slot *slot_at(const struct tt_queue *q, uint64_t at)
{
    return (struct tt_slot *)(void *)(q->ring + at % q->cap);
}

void tt_queue_push(struct tt_queue *q, uint8_t kind, enum tt_tier tier, int64_t ticket,
                   const void *packed, size_t n)
{
    size_t skip = gap(q, whole(n));
    struct tt_slot *s;

    if (skip) { // a slot's first 8 bytes always fit
        s = slot_at(q, q->head);
        s->bytes = (uint32_t)skip;
        s->kind = TT_SLOT_SKIP;
        q->head += skip;
    }
    s = slot_at(q, q->head);
    *s = (struct tt_slot){
        .bytes = (uint32_t)whole(n), .kind = kind, .tier = (uint8_t)tier, .ticket = ticket};
    memcpy(s + 1, packed, n);
    q->head += s->bytes;
}

struct tt_slot *tt_queue_next(const struct tt_queue *q, uint64_t *at, uint64_t end)
{
    struct tt_slot *s;

    do {
        if (*at >= end)
            return NULL;
        s = slot_at(q, *at);
        *at += s->bytes;
    } while (s->kind == TT_SLOT_SKIP);
    return s;
}

int64_t tt_queue_pop_done(struct tt_queue *q, int64_t last)
{
    uint64_t at = q->tail;
    const struct tt_slot *s;

    while ((s = tt_queue_next(q, &at, q->head)) && s->done) {
        q->tail = at;
        last = s->ticket;
    }
    return last;
}
