// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_GATE_H
#define TT_DAEMON_GATE_H

#include <jansson.h>

#include "config/field.h"
#include "daemon/job.h"

/*
 * The gate owns every connection: a thread that listens, speaks ZMTP 3 (daemon/zmtp.h), makes jobs
 * of the messages that come, and sends answers and events.  What peers can make the daemon hold is
 * bounded before it is held: connections, frames and bytes of a message, messages without answers,
 * bytes of all together and of one process, the time for a handshake, for a message, for reading
 * what was asked for.  A peer that would exceed a bound waits in its own socket where it may be
 * honest, and is cut off where it cannot be: with one line in the log, and counted by the rule
 * that it broke.
 */
struct tt_gate;

/*    rule                name            what is logged of a peer that broke it */
#define TT_CUTS(X)                                                              \
    X(TT_CUT_CONNECTIONS, "connections", "there is no room for its connection") \
    X(TT_CUT_HANDSHAKE, "handshake", "no handshake")                            \
    X(TT_CUT_ZMTP, "zmtp", "it does not speak ZMTP 3")                          \
    X(TT_CUT_MESSAGE, "message", "its message is beyond all limits")            \
    X(TT_CUT_SLOW, "slow", "its message does not end")                          \
    X(TT_CUT_UNREAD, "unread", "it does not read")                              \
    X(TT_CUT_MEMORY, "memory", "others wait for what its message holds")        \
    X(TT_CUT_SUBSCRIPTIONS, "subscriptions", "too many subscriptions")          \
    X(TT_CUT_SILENT, "silent", "it does not answer")

#define TT_CUT_ENUM(cut, name, what) cut,
enum tt_cut { TT_CUTS(TT_CUT_ENUM) TT_NCUTS };
#undef TT_CUT_ENUM

const char *tt_cut_name(enum tt_cut cut);

struct tt_gate_counts {
    int64_t connections, accepted;       // open, and ever
    int64_t bytes, most_bytes;           // held now, and the limit
    int64_t waiting;                     // peers that are not read from until memory is free
    int64_t subscribers, events_dropped; // that slow subscribers missed
    int64_t cut[TT_NCUTS];
};

enum tt_gate_door { TT_GATE_DATA, TT_GATE_CONTROL, TT_GATE_EVENTS, TT_GATE_DOORS };

struct tt_gate_limits {
    int connections;      // of each door
    size_t memory_bytes;  // of messages that come, wait, are worked on and answered
    size_t message_bytes; // of one message
    int unanswered;       // messages of one connection
};

/* Start the thread, which has no doors yet.  TT_ERANGE: the system does not let the process have
 * as many open files as connections need.  gone counts answers whose client was not there any
 * more. */
TT_MUST_CHECK enum tt_code tt_gate_start(const struct tt_gate_limits *limits,
                                         atomic_int_fast64_t *gone, struct tt_gate **ret,
                                         struct tt_err *err);

/* Listen at the endpoints; jobs go to inbox, which belongs to the caller and stays until
 * tt_gate_shut().  The events door has none. */
TT_MUST_CHECK enum tt_code tt_gate_open(struct tt_gate *g, enum tt_gate_door door,
                                        const struct tt_strs *endpoints, struct tt_mailbox *inbox,
                                        struct tt_err *err);

/* Take nothing more: when it returns, nothing is put into the inbox any more.  Answers still
 * leave.  A door that is not open is nothing. */
void tt_gate_shut(struct tt_gate *g, enum tt_gate_door door);

/* Send a job's answer and free the job.  Takes it.  Any thread. */
void tt_gate_send(struct tt_gate *g, struct tt_job *job);

/* Send [topic][seq][json] to who subscribed.  topic: of tt_gate_topics.  Any thread.  False: it
 * could not be queued. */
enum tt_gate_topic {
    TT_TOPIC_DECISION,
    TT_TOPIC_STATE,
    TT_TOPIC_DAEMON,
    TT_TOPIC_SAMPLE,
    TT_NTOPICS
};
bool tt_gate_publish(struct tt_gate *g, enum tt_gate_topic topic, int64_t seq, const char *json,
                     size_t n);

/* Whether anybody subscribed to that topic.  Any thread. */
bool tt_gate_wanted(const struct tt_gate *g, enum tt_gate_topic topic);

void tt_gate_counts(struct tt_gate *g, struct tt_gate_counts *ret);
json_t *tt_gate_json(struct tt_gate *g); // the same, for status

/* Send what is queued, for half a second at most; close everything, end the thread.  NULL is
 * nothing. */
void tt_gate_stop(struct tt_gate *g);

#endif
