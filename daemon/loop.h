// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_LOOP_H
#define TT_DAEMON_LOOP_H

#include "daemon/beat.h"
#include "daemon/daemon.h"
#include "daemon/job.h"

/*
 * A loop is the way in and out of one door of the gate: it takes requests, refuses what cannot be,
 * answers what needs no worker, hands over the rest, and sends the answers that come back.  The
 * data loop runs in the main thread and watches signals too, the control loop in a thread of its
 * own.
 */
struct tt_loop {
    struct tt_daemon *daemon;
    const char *name;
    enum tt_door door;
    struct tt_arena arena;   // of clients
    struct tt_mailbox inbox; // what the gate received
    struct tt_mailbox done;  // answered by workers
    int outstanding, most;   // jobs under way; more are BUSY
    int64_t held, most_held; // bytes of these
    int credit;              // that a client has
    int64_t per_stream;      // requests that wait for one
    int64_t seen;            // number of the catalogue whose limits these are
    int64_t drain_us;        // when draining ends; 0: not draining
    struct tt_beat beat;
    pthread_t thread; // of the control loop
    int stop;         // its eventfd; -1
    struct tt_client *bucket[256], *free;
};

/* Open the door.  The loop belongs to the daemon's arena. */
TT_MUST_CHECK enum tt_code tt_loop_new(struct tt_daemon *d, enum tt_door door, struct tt_loop **ret,
                                       struct tt_err *err);
void tt_loop_free(struct tt_loop *l); // NULL is nothing

/* Take over the limits that count now.  The loop's thread only. */
void tt_loop_limits(struct tt_loop *l);

/* The data loop, in the calling thread, until the daemon has drained. */
void tt_loop_run(struct tt_loop *l);

/* The control loop, in a thread. */
TT_MUST_CHECK enum tt_code tt_loop_start(struct tt_loop *l, struct tt_err *err);
void tt_loop_stop(struct tt_loop *l);

/* Send the answer of a job and free it.  The loop's thread only. */
void tt_loop_finish(struct tt_loop *l, struct tt_job *job);

/* Give an answered job back to its loop, which sends the answer and frees it.  Any thread. */
void tt_loop_answer(struct tt_job *job);

#endif
