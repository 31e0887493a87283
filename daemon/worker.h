// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_WORKER_H
#define TT_DAEMON_WORKER_H

#include "daemon/beat.h"
#include "daemon/lanes.h"
#include "daemon/replays.h"

/*
 * A worker is a thread that owns streams.  It takes turns between those that have something to do,
 * one job at a time (daemon/line.h).  Nobody else touches a stream.
 */
#define TT_WORKER_PLANS 16 // compiled plans that a worker keeps

struct tt_plan_slot { // holds what it was compiled from
    struct tt_served_model *model;
    struct tt_served_policy *policy;
    struct tt_plan *plan;
    float *source; // the parameters that its streams start from, shared by them; NULL: not yet
    int64_t limit, used; // used: turn of the last use
};

struct tt_worker {
    struct tt_daemon *daemon;
    int index;
    char name[16]; // "worker 2"
    pthread_t thread;
    pthread_mutex_t lock; // of the queues and the faces of its lanes
    pthread_cond_t wake;
    struct tt_job *urgent, *urgent_tail; // orders of people
    struct tt_turns turns;               // lanes that have something to do
    struct tt_lane *serving;             // out of line meanwhile
    int64_t waiting_us;                  // expected, of all jobs that wait
    struct tt_pace pace;                 // of all lanes, for those that have none yet
    bool stop;
    int lanes; // it was given; under the lock of all lanes
    struct tt_beat beat;
    _Atomic int64_t plan_bytes; // of all plans
    /* the thread's own */
    struct tt_plan_slot plans[TT_WORKER_PLANS];
    int64_t turn;
    size_t freed;                  // of streams and plans, since the system got some
    int64_t seen;                  // number of the catalogue that it follows (daemon/follow.h)
    bool late;                     // with some of its streams
    struct tt_arena scratch;       // of one job
    struct tt_replay_pool answers; // of its lanes' replay windows
    int64_t put_off;               // bytes of batches that are to be learnt from
};

TT_MUST_CHECK enum tt_code tt_worker_start(struct tt_worker *w, struct tt_daemon *d, int index,
                                           struct tt_err *err);

/* Hand over a job of a lane of this worker; urgent ones go before all others. */
void tt_worker_give(struct tt_worker *w, struct tt_job *job, bool urgent);

/* Do what is queued, write snapshots of what has adapted since the last one, end the thread. */
void tt_worker_stop(struct tt_worker *w);

/* For the jobs: a plan of the lane's model and policy for at least rows rows, until the next call
 * for the same two, or the next but one. */
TT_MUST_CHECK enum tt_code tt_worker_plan(struct tt_worker *w, const struct tt_lane *lane,
                                          int64_t rows, struct tt_plan **ret, struct tt_err *err);

/* The parameters that streams of the lane's plan start from, to share.  NULL: out of memory. */
float *tt_worker_source(struct tt_worker *w, const struct tt_lane *lane);

/* Free plans of models and policies that are not in the catalogue. */
void tt_worker_tidy(struct tt_worker *w, const struct tt_catalogue *c);

/* Open the stream of a lane, at its newest snapshot, unless it is open.  TT_ENOTFOUND: its model or
 * policy is not served. */
TT_MUST_CHECK enum tt_code tt_worker_open(struct tt_worker *w, struct tt_lane *lane,
                                          struct tt_err *err);

/* Capture the lane's stream from now on, if its policy says so. */
void tt_worker_capture(struct tt_worker *w, struct tt_lane *lane, const char *why);

/* What was asked for, in the folder of the lane's snapshots, for the case that the process ends
 * before the record has it.  A failure is logged. */
void tt_worker_remember(const struct tt_lane *lane, const char *dir, bool closed);

/* Let the lane's stream give back what is beyond its share of the streams' memory. */
void tt_worker_trim(struct tt_worker *w, struct tt_lane *lane);

/* Show the others what has become of a lane's stream. */
void tt_worker_show(struct tt_worker *w, struct tt_lane *lane, int64_t step_us, bool closed);

#endif
