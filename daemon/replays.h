// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_REPLAYS_H
#define TT_DAEMON_REPLAYS_H

#include "daemon/job.h"

/*
 * The replay window of a stream: the last ids that it answered, so that a request that comes again
 * is answered again and never learnt from twice.  The answers themselves are kept beside the ids
 * as long as a pool of bytes, which the streams of one worker share, has room for them; of an
 * older one only the id is known, as it is after a restart.  Belongs to the stream's worker.
 */
struct tt_replays;
struct tt_answer;

struct tt_replay_pool {
    size_t most, used;                 // bytes of answers
    struct tt_answer *oldest, *newest; // of all windows
};

/* One id of the window, as it is stored and read back. */
struct tt_replay {
    char id[TTAD_WIRE_ID_MAX + 1];
    uint64_t print; // of the tensors that it came with; 0: not known
    bool adapted;   // its batch was learnt from
};

enum tt_replayed {
    TT_REPLAY_NEW,      // the id is not in the window
    TT_REPLAY_ANSWERED, // the job has the answer of the first time now, byte for byte
    TT_REPLAY_KNOWN,    // it was answered, with what is not kept: answer, and do not learn
    TT_REPLAY_OTHER,    // it was answered for another batch: refuse
};

/* window: ids that are remembered.  NULL: out of memory. */
struct tt_replays *tt_replays_new(int window, struct tt_replay_pool *pool);
void tt_replays_free(struct tt_replays *r); // NULL is nothing

/* Was the job's id answered before?  A job without an id never was. */
enum tt_replayed tt_replays_find(struct tt_replays *r, struct tt_job *job);

/* The job is answered: keep its id, and a copy of the answer if there is room.  To be called
 * before the answer leaves.  An id that is kept already keeps its place and its adapted. */
void tt_replays_keep(struct tt_replays *r, const struct tt_job *job, bool adapted);

/* The update that followed an answer was published: that id's batch was learnt from. */
void tt_replays_adapted(struct tt_replays *r, const char *id);

/* The newest ids, at most max, oldest first; returns how many. */
int tt_replays_list(const struct tt_replays *r, struct tt_replay *ret, int max);

/* Know ids from before, oldest first, without their answers; those that are known stay as they
 * are. */
void tt_replays_restore(struct tt_replays *r, const struct tt_replay *ids, int n);

#endif
