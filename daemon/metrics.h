// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_METRICS_H
#define TT_DAEMON_METRICS_H

#include "base/arena.h"
#include "base/histogram.h"
#include "client/c/wire.h"
#include "daemon/protocol.h"
#include "engines/step.h"
#include "monitor/record.h"
#include "monitor/rule.h"

/*
 * What the daemon counts.  Each thread that serves has a tally of its own, so that no cache line
 * is written by two; whoever reads adds them up, without a lock.  Counters never fall while the
 * process lives.  What has a state of its own (the store, the streams, the sockets) is asked when
 * somebody reads, in daemon/families.c.
 *
 * Labels are names out of the program and the configuration, never a client's: a series for each
 * model under each policy, at most TT_SERIES of them; whatever comes after is counted as "other".
 */
#define TT_SERIES 64

struct tt_job;
struct tt_metrics;

enum tt_stage { TT_STAGE_QUEUE, TT_STAGE_INFER, TT_STAGE_ADAPT, TT_NSTAGES };

struct tt_series { // one model under one policy
    char model[TTAD_WIRE_NAME_MAX + 1], policy[TT_ID_BYTES + 1];
    int64_t batches[TT_NSKIPS], samples[TT_NSKIPS]; // by reason; TT_SKIP_NONE: adapted
    int64_t trips[TT_NACTIONS][2];                  // of guards; [1]: dry runs
    int64_t restored[2];                            // by guards; [1]: by people
    int64_t labels, correct;
    struct tt_durations stage[TT_NSTAGES];
};

struct tt_counts {                             // of all threads
    int64_t requests[TT_NASKS + 1][TT_NWIRES]; // [TT_NASKS]: the op could not be read
    struct tt_durations taken[TT_NASKS + 1];   // from arrival to the answer on its way
    int64_t events[3];                         // info, warning, error
    int64_t snapshots;
    int nseries;
    struct tt_series series[TT_SERIES + 1];
};

/* The tallies of the daemon's threads: the two loops, then the workers. */
enum { TT_TALLY_DATA, TT_TALLY_CONTROL, TT_TALLY_WORKERS };

/* For so many threads.  In arena; NULL: out of memory. */
struct tt_metrics *tt_metrics_new(struct tt_arena *arena, int threads);

/* The calling thread counts in tally i of the metrics' threads.  Threads that never join share one
 * more. */
void tt_metrics_join(const struct tt_metrics *m, int i);

/* The calling thread now serves a stream of that model and policy.  Both are copied. */
void tt_metrics_serves(struct tt_metrics *m, const char *model, const char *policy);

/* Count.  m may be NULL, then nobody does. */
void tt_metrics_answer(struct tt_metrics *m, const struct tt_job *job);
void tt_metrics_record(struct tt_metrics *m, const struct tt_record *r);

/* What was counted so far. */
void tt_metrics_read(const struct tt_metrics *m, struct tt_counts *ret);

#endif
