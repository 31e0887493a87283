// SPDX-License-Identifier: Apache-2.0
#include "daemon/memory.h"

#include <stdio.h>
#include <string.h>

static size_t bytes_of(int64_t rows)
{
    return sizeof(struct tt_answered) + 2 * (size_t)rows * sizeof(int32_t);
}

/* Take a out, whose predecessor is before: NULL for the oldest. */
static void forget(struct tt_memory *m, struct tt_answered *before, struct tt_answered *a)
{
    struct tt_arena arena = a->arena;

    if (before)
        before->next = a->next;
    else
        m->oldest = a->next;
    if (m->newest == a)
        m->newest = before;
    m->n--;
    m->rows -= a->rows;
    m->bytes -= bytes_of(a->rows);
    tt_arena_release(&arena);
}

static void forget_id(struct tt_memory *m, const char *id)
{
    struct tt_answered *before = NULL;

    for (struct tt_answered *a = m->oldest; a; before = a, a = a->next)
        if (!strcmp(a->id, id)) {
            forget(m, before, a);
            return;
        }
}

struct tt_answered *tt_memory_add(struct tt_memory *m, const char *id, int64_t rows)
{
    struct tt_answered *a;
    struct tt_arena arena;

    if (rows > TT_MEMORY_ROWS)
        return NULL;
    forget_id(m, id);
    while (m->n && (m->n == TT_MEMORY_ANSWERS || m->rows + rows > TT_MEMORY_ROWS))
        forget(m, NULL, m->oldest);
    tt_arena_init(&arena, bytes_of(rows) + (size_t)TT_ALIGN); // a limit, so no more is taken
    a = (struct tt_answered *)tt_arena_alloc(&arena, bytes_of(rows), 1);
    if (!a)
        return NULL;
    *a = (struct tt_answered){.arena = arena, .rows = rows, .label = (int32_t *)(a + 1)};
    a->frozen = a->label + rows;
    (void)snprintf(a->id, sizeof a->id, "%s", id); // the protocol has bounded it
    if (m->newest)
        m->newest->next = a;
    else
        m->oldest = a;
    m->newest = a;
    m->n++;
    m->rows += rows;
    m->bytes += bytes_of(rows);
    return a;
}

struct tt_answered *tt_memory_find(const struct tt_memory *m, const char *id)
{
    for (struct tt_answered *a = m->oldest; a; a = a->next)
        if (!strcmp(a->id, id))
            return a;
    return NULL;
}

void tt_memory_trim(struct tt_memory *m, size_t bytes)
{
    while (m->n && m->bytes > bytes)
        forget(m, NULL, m->oldest);
}

static void walk_answer(struct tt_tape *t, struct tt_answered *a)
{
    tt_tape_text(t, a->version, sizeof a->version);
    tt_tape_i64(t, &a->step, 0, INT64_MAX);
    tt_tape_i64(t, &a->ms, INT64_MIN, INT64_MAX);
    tt_tape_i64(t, &a->batch, 0, INT64_MAX);
    tt_tape_bool(t, &a->base);
    tt_tape_bool(t, &a->labelled);
    tt_tape_bytes(t, a->label, (size_t)a->rows * sizeof *a->label);
    if (a->base)
        tt_tape_bytes(t, a->frozen, (size_t)a->rows * sizeof *a->frozen);
}

void tt_memory_walk(struct tt_tape *t, struct tt_memory *m)
{
    struct tt_answered *a = m->oldest;
    int64_t n = m->n;

    tt_tape_i64(t, &n, 0, TT_MEMORY_ANSWERS);
    for (; n > 0 && !t->bad; n--) {
        char id[TTAD_WIRE_ID_MAX + 1] = "";
        int64_t rows = 0;

        if (!tt_tape_reads(t)) {
            memcpy(id, a->id, sizeof id);
            rows = a->rows;
        }
        tt_tape_text(t, id, sizeof id);
        tt_tape_i64(t, &rows, 1, TT_MEMORY_ROWS);
        if (tt_tape_reads(t))
            a = t->bad ? NULL : tt_memory_add(m, id, rows);
        t->bad |= !a;
        if (t->bad)
            return;
        walk_answer(t, a);
        a = a->next;
    }
}
