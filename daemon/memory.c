// SPDX-License-Identifier: Apache-2.0
#include "daemon/memory.h"

#include <stdio.h>
#include <string.h>

/* Answers are a ring, and so are the rows: an answer's rows lie side by side, in the order of the
 * answers, so that forgetting the oldest frees the rows at the tail. */
struct tt_memory {
    int first, n; // answers
    int64_t head; // where the next rows go
    int32_t label[TT_MEMORY_ROWS], frozen[TT_MEMORY_ROWS];
    int64_t start[TT_MEMORY_ANSWERS];
    struct tt_answered answer[TT_MEMORY_ANSWERS];
};

struct tt_memory *tt_memory_new(struct tt_arena *arena)
{
    return TT_NEW(arena, 1, struct tt_memory);
}

static void forget_oldest(struct tt_memory *m)
{
    m->first = (m->first + 1) % TT_MEMORY_ANSWERS;
    m->n--;
}

/* Do rows [at, at + rows) meet those of the oldest answer? */
static bool meets_oldest(const struct tt_memory *m, int64_t at, int64_t rows)
{
    const int64_t start = m->start[m->first];

    return at < start + m->answer[m->first].rows && start < at + rows;
}

struct tt_answered *tt_memory_add(struct tt_memory *m, const char *id, int64_t rows)
{
    struct tt_answered *a;
    int64_t at;
    int i;

    if (rows > TT_MEMORY_ROWS)
        return NULL;
    a = tt_memory_find(m, id);
    if (a)
        a->id[0] = '\0'; // its rows are freed when its turn comes
    at = m->head + rows <= TT_MEMORY_ROWS ? m->head : 0;
    if (at != m->head) // the rows up to the end are skipped: whoever has them goes
        while (m->n && m->start[m->first] >= m->head)
            forget_oldest(m);
    while (m->n == TT_MEMORY_ANSWERS || (m->n && meets_oldest(m, at, rows)))
        forget_oldest(m);
    i = (m->first + m->n++) % TT_MEMORY_ANSWERS;
    a = &m->answer[i];
    *a = (struct tt_answered){.rows = rows, .label = m->label + at, .frozen = m->frozen + at};
    (void)snprintf(a->id, sizeof a->id, "%s", id); // the protocol has bounded it
    m->start[i] = at;
    m->head = at + rows;
    return a;
}

struct tt_answered *tt_memory_find(struct tt_memory *m, const char *id)
{
    for (int i = m->n - 1; i >= 0; i--) {
        struct tt_answered *a = &m->answer[(m->first + i) % TT_MEMORY_ANSWERS];

        if (a->id[0] && !strcmp(a->id, id))
            return a;
    }
    return NULL;
}
