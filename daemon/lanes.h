// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_LANES_H
#define TT_DAEMON_LANES_H

#include "daemon/daemon.h"
#include "daemon/job.h"
#include "daemon/pace.h"
#include "daemon/turns.h"

/*
 * A lane is a stream as the daemon sees it: which model, policy and worker it has, its queue, and
 * what status tells of it.  Lanes are found by name; the main loop opens them, every loop looks
 * them up, a worker runs them.  A closed lane that nobody holds is used again for another stream.
 * A lane names its model and policy; it holds them while its stream is open (daemon/catalogue.h).
 */
struct tt_face { // what others may know of a stream without asking its worker
    bool open;   // it is in memory
    bool closed; // a client closed it
    char state[16], version[TT_HASH_SHORT + 1], reason[TT_LINE_BYTES];
    char engine[TT_POLICY_NAME], policy_hash[TT_HASH_HEX + 1];
    int64_t step, samples, adapted, skipped, rollbacks, step_us, last_ms, bytes;
};

struct tt_replays; // answers given, for requests that come twice
struct tt_pending; // a batch that was answered and is to be learnt from (daemon/infer.c)

struct tt_lane {
    struct tt_lane *next; // of its bucket
    char name[TTAD_WIRE_NAME_MAX + 1];
    struct tt_worker *worker;
    atomic_int refs;    // jobs that hold it
    atomic_int waiting; // data requests queued or under way
    int64_t held;       // bytes of these; the data loop's own
    /* under the worker's lock */
    struct tt_job *head, *tail; // requests that wait
    struct tt_turn turn;        // among the worker's lanes
    struct tt_pace pace;
    int64_t waiting_us;                 // expected, of the requests that wait
    char running[TTAD_WIRE_ID_MAX + 1]; // id of the one that is being worked on
    bool due;                           // an update that follows an answer is to be made
    struct tt_face face;
    char model_name[TTAD_WIRE_NAME_MAX + 1], policy_name[TTAD_WIRE_NAME_MAX + 1]; // as configured
    /* the worker's own */
    struct tt_stream *stream; // NULL: not open, and then it holds neither of
    struct tt_served_model *model;
    struct tt_served_policy *policy;
    int64_t seen; // number of the catalogue that they are from (daemon/follow.h)
    struct tt_replays *replays;
    struct tt_pending *pending; // an update that follows an answer; NULL: none
    bool browned;               // nothing is learnt while too much waits
};

TT_MUST_CHECK enum tt_code tt_lanes_new(struct tt_daemon *d, struct tt_lanes **ret,
                                        struct tt_err *err);
void tt_lanes_free(struct tt_lanes *l);

/* The lane of that name, held until tt_lane_drop(); NULL: there is none, or it was closed. */
struct tt_lane *tt_lanes_find(struct tt_lanes *l, const char *name);
void tt_lane_drop(struct tt_lane *lane);

void tt_face_policy(struct tt_face *f, const struct tt_policy *p);

/* For its worker, once the stream is freed: hold model and policy no longer. */
void tt_lane_let_go(struct tt_lane *lane);

/* Refuse, if the lane's model or policy is not served any more. */
enum tt_wire tt_lanes_served(struct tt_lanes *l, const struct tt_lane *lane, struct tt_refusal *r);

/* Refuse: there is no model of that name, and what there is. */
enum tt_wire tt_lanes_no_model(const struct tt_catalogue *c, const char *name,
                               struct tt_refusal *r);

/* The lane that a request is for, opened if need be, and held. */
enum tt_wire tt_lanes_open(struct tt_lanes *l, const struct tt_request *q, struct tt_lane **ret,
                           struct tt_refusal *r);

/* Likewise, by a catalogue that does not count yet. */
enum tt_wire tt_lanes_open_in(struct tt_lanes *l, const struct tt_catalogue *c,
                              const struct tt_request *q, struct tt_lane **ret,
                              struct tt_refusal *r);

/* Call each() for every lane until it returns false; it may lock the lane's worker, not more. */
void tt_lanes_each(struct tt_lanes *l, bool (*each)(void *arg, struct tt_lane *lane), void *arg);

/* The same for lanes [from, from + most) in the order they were made, so that nobody waits long for
 * the list; returns where to go on, -1: that were all. */
int tt_lanes_some(struct tt_lanes *l, int from, int most,
                  bool (*each)(void *arg, struct tt_lane *lane), void *arg);

#endif
