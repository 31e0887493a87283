// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_TURNS_H
#define TT_DAEMON_TURNS_H

#include <stdint.h>

/*
 * Whose turn it is: fair queueing by finish times.  Each has a clock of the time that was spent on
 * it, and the one whose next turn would end at the earliest clock is next.  So all get the same
 * time, however long one turn of each takes, and who asks for little waits for little.  Who was
 * away joins at the clock of who is being served: time that nobody asked for is not saved up, but
 * what was spent in advance stays spent.  A lower rank goes first whatever the clocks say.  Not
 * locked.
 */
struct tt_turn {
    void *owner;
    int64_t clock_us; // spent on it
    int64_t end_us;   // the clock after its next turn, as far as is known
    int64_t order;    // of joining, among equals
    int rank, at;     // at: its place in line, from 1 on; 0: not in line
};

struct tt_turns {
    struct tt_turn **line; // [n], a heap; room is the owner's
    int n;
    int64_t now_us, joined;
};

/* Get in line for a turn that will take us, or a better rank there.  line has room for all. */
void tt_turns_join(struct tt_turns *t, struct tt_turn *turn, int rank, int64_t us);

/* The next one, out of line now; NULL: nobody is in line. */
struct tt_turn *tt_turns_next(struct tt_turns *t);

/* So much was spent on one that is not in line. */
void tt_turns_spend(struct tt_turn *turn, int64_t us);

/* Leave the line, if it is in it. */
void tt_turns_leave(struct tt_turns *t, struct tt_turn *turn);

#endif
