// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_LINE_H
#define TT_DAEMON_LINE_H

#include "daemon/worker.h"

/*
 * What waits for a worker.  Orders of people come first.  Then the lanes that have requests take
 * turns by the time that was spent on them (daemon/turns.h), one job at a time, each lane's in the
 * order they came.  When no request waits, updates that follow answers are made.  Everything here
 * takes the worker's lock; what is waited for is measured in the time that it will take to answer
 * and learn from it all, as far as is known (daemon/pace.h).
 */
struct tt_task {
    struct tt_lane *lane;
    struct tt_job *job; // NULL: the update that follows the lane's last answer
    bool urgent;
};

/* The next thing to do, waited for; false: there is nothing, and the worker is to stop, or to
 * follow another catalogue (daemon/follow.h). */
bool tt_line_next(struct tt_worker *w, struct tt_task *ret);

/* It was done, in us of the worker's time.  The lane goes to its place in line if there is more. */
void tt_line_done(struct tt_worker *w, const struct tt_task *task, int64_t us);

/* A batch of the lane took so long. */
void tt_line_saw(struct tt_worker *w, struct tt_lane *lane, int64_t rows, bool learnt, int64_t us);

/* What a batch of the lane will take; 0: nothing is known. */
int64_t tt_line_expect(struct tt_worker *w, struct tt_lane *lane, int64_t rows, bool learn);

/* What waits for the worker; with a lane, only what this has to wait for. */
int64_t tt_line_waiting_us(struct tt_worker *w, const struct tt_lane *lane);

/* Take the requests of that id out of the lane's queue: a list by next, or NULL.  *ret_running:
 * one is being worked on. */
struct tt_job *tt_line_cancel(struct tt_worker *w, struct tt_lane *lane, const char *id,
                              bool *ret_running);

#endif
