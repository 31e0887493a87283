// SPDX-License-Identifier: Apache-2.0
#include "daemon/turns.h"

#include <stdbool.h>
#include <stddef.h>

static bool before(const struct tt_turn *a, const struct tt_turn *b)
{
    if (a->rank != b->rank)
        return a->rank < b->rank;
    if (a->end_us != b->end_us)
        return a->end_us < b->end_us;
    return a->order < b->order;
}

static void set(struct tt_turns *t, int at, struct tt_turn *turn)
{
    t->line[at - 1] = turn;
    turn->at = at;
}

static void rise(struct tt_turns *t, struct tt_turn *turn)
{
    int at = turn->at;

    for (; at > 1 && before(turn, t->line[at / 2 - 1]); at /= 2)
        set(t, at, t->line[at / 2 - 1]);
    set(t, at, turn);
}

static void sink(struct tt_turns *t, struct tt_turn *turn)
{
    int at = turn->at, child;

    while ((child = 2 * at) <= t->n) {
        if (child < t->n && before(t->line[child], t->line[child - 1]))
            child++;
        if (!before(t->line[child - 1], turn))
            break;
        set(t, at, t->line[child - 1]);
        at = child;
    }
    set(t, at, turn);
}

void tt_turns_join(struct tt_turns *t, struct tt_turn *turn, int rank, int64_t us)
{
    if (turn->at && turn->rank <= rank)
        return;
    tt_turns_leave(t, turn);
    if (turn->clock_us < t->now_us)
        turn->clock_us = t->now_us;
    turn->rank = rank;
    turn->end_us = turn->clock_us + (us > 0 ? us : 0);
    turn->order = ++t->joined;
    set(t, ++t->n, turn);
    rise(t, turn);
}

void tt_turns_leave(struct tt_turns *t, struct tt_turn *turn)
{
    struct tt_turn *last = t->n ? t->line[t->n - 1] : NULL;
    const int at = turn->at;

    if (!at)
        return;
    t->n--;
    turn->at = 0;
    if (last == turn)
        return;
    set(t, at, last);
    rise(t, last);
    sink(t, last);
}

struct tt_turn *tt_turns_next(struct tt_turns *t)
{
    struct tt_turn *turn = t->n ? t->line[0] : NULL;

    if (!turn)
        return NULL;
    tt_turns_leave(t, turn);
    if (turn->clock_us > t->now_us)
        t->now_us = turn->clock_us;
    return turn;
}

void tt_turns_spend(struct tt_turn *turn, int64_t us)
{
    turn->clock_us += us > 0 ? us : 0;
}
