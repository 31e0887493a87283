// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_MEMORY_H
#define TT_DAEMON_MEMORY_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/tape.h"
#include "client/c/wire.h"

/*
 * What a stream remembers of its answers, so that labels that come later can be credited to the
 * version that gave them: the last TT_MEMORY_ANSWERS requests with an id, at most TT_MEMORY_ROWS
 * rows together.  The oldest is forgotten first, and gives its memory back.
 */
#define TT_MEMORY_ANSWERS 256
#define TT_MEMORY_ROWS    16384

struct tt_answered {
    struct tt_arena arena;    // owns it
    struct tt_answered *next; // the one after it
    char id[TTAD_WIRE_ID_MAX + 1];
    char version[TT_HASH_SHORT + 1];
    int64_t step, ms;
    int64_t batch; // tt_signals.batches once it was answered
    int64_t rows;
    bool base;       // the frozen model's classes are known
    bool labelled;   // labels have come
    int32_t *label;  // [rows] predicted
    int32_t *frozen; // [rows] the frozen model's, when base
};

/* Empty when zero. */
struct tt_memory {
    struct tt_answered *oldest, *newest;
    int n;
    int64_t rows;
    size_t bytes; // that it holds
};

/* Room for an answer of rows rows, whose label and frozen are to be filled in.  An older answer of
 * that id is replaced.  NULL: too many rows to remember, or out of memory. */
struct tt_answered *tt_memory_add(struct tt_memory *m, const char *id, int64_t rows);

/* The answer to that request, or NULL. */
struct tt_answered *tt_memory_find(const struct tt_memory *m, const char *id);

/* All of it as bytes; or back, into an empty one. */
void tt_memory_walk(struct tt_tape *t, struct tt_memory *m);

/* Forget the oldest until at most bytes are held. */
void tt_memory_trim(struct tt_memory *m, size_t bytes);

/* All of it as bytes, or back. */
void tt_memory_walk(struct tt_tape *t, struct tt_memory *m);

#endif
