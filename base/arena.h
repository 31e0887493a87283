// SPDX-License-Identifier: Apache-2.0
#ifndef TT_BASE_ARENA_H
#define TT_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * An arena owns everything allocated from it and frees it all at once.
 * One thread uses an arena at a time; nothing in it is freed singly.
 */
struct tt_arena {
    struct tt_block *head; // newest first
    size_t used;           // bytes handed out, for reports
    size_t limit;          // bytes it may ever hold; 0 means no limit
};

#define TT_ALIGN 64 // bytes: a cache line, and the widest vector load

/* An empty arena.  limit bounds what it may ever hold, in bytes; 0: no bound. */
void tt_arena_init(struct tt_arena *a, size_t limit);

/* Zeroed memory for n items of size bytes, TT_ALIGN aligned.
 * NULL when n * size overflows, the limit is reached, or malloc fails. */
void *tt_arena_alloc(struct tt_arena *a, size_t n, size_t size)
    __attribute__((malloc, warn_unused_result));

/* Room for bytes more in one block, so that what is known beforehand wastes none.  Out of memory,
 * or at the limit, it does nothing: the next allocation tells. */
void tt_arena_reserve(struct tt_arena *a, size_t bytes);

/* A copy of the first n bytes of s with a NUL behind them; NULL: out of memory. */
char *tt_arena_strndup(struct tt_arena *a, const char *s, size_t n);

/* Forget every allocation; keep the newest block for the next round. */
void tt_arena_reset(struct tt_arena *a);

/* Give everything back.  The arena may be used again as if just initialised. */
void tt_arena_release(struct tt_arena *a);

#define TT_NEW(arena, n, type) ((type *)tt_arena_alloc((arena), (size_t)(n), sizeof(type)))

/* *ret = a * b, both not negative; false, and *ret untouched, when it does not fit. */
bool tt_mul(int64_t a, int64_t b, int64_t *ret);

#endif
