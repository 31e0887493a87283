// SPDX-License-Identifier: Apache-2.0
#ifndef TTAD_CHANNEL_H
#define TTAD_CHANNEL_H

#include <stdbool.h>

#include "client/c/reply.h"

/*
 * A DEALER socket with several requests under way, each with its own deadline and its tries.
 * Nothing here waits; a turn does what can be done now.  A monitor beside the socket tells of a
 * lost connection, with which everything is lost that was sent and not answered.
 */
#define TTADI_FRAMES (2 + TTAD_WIRE_TENSORS)

enum ttadi_state {
    TTADI_QUEUED, // to be sent as soon as there is a connection and credit
    TTADI_SENT,   // until due_us, when this try counts as lost
    TTADI_PAUSED  // refused as BUSY or DRAINING; to be sent again at due_us
};

struct ttadi_request {
    struct ttadi_request *next;
    struct ttadi_reply *reply;
    char op[TTAD_ID_SIZE];
    zmq_msg_t frames[TTADI_FRAMES];
    int nframes;
    bool tensors; // the reply is an answer
    bool twice;   // may be sent again though it may have arrived
    bool counted; // takes credit: a worker of the daemon answers it
    enum ttadi_state state;
    int64_t due_us, until_us; // monotonic; the second: give up
    int64_t try_us, pause_us; // of the next try, the next pause
};

struct ttadi_list {
    struct ttadi_request *first, **last;
    int n;
};

struct ttadi_channel {
    void *zmq, *socket, *monitor;
    char *endpoint;
    int64_t max_bytes; // of a frame
    int64_t try_us;    // the first try's
    bool retry, connected;
    int credit;                      // how many may be on the wire
    struct ttadi_list pending, done; // in the order of submission, of the end
    uint64_t *random;
};

int64_t ttadi_now_us(void); // monotonic

/* Open the sockets where that was not done.  On an error, why has a sentence. */
enum ttad_code ttadi_channel_open(struct ttadi_channel *ch, char *why, size_t nwhy);
void ttadi_channel_close(struct ttadi_channel *ch); // also one that was not opened

struct ttadi_request *ttadi_request_new(const char *id); // NULL: no memory
void ttadi_request_free(struct ttadi_request *r);        // with its reply, if it still has it

/* Take a request, which is then the channel's. */
void ttadi_channel_add(struct ttadi_channel *ch, struct ttadi_request *r);

/* Hear, receive, expire and send what there is. */
void ttadi_channel_turn(struct ttadi_channel *ch);

/* The end of a request, NULL: not yet.  id NULL: of any.  ttadi_request_free() it. */
struct ttadi_request *ttadi_channel_take(struct ttadi_channel *ch, const char *id);
bool ttadi_channel_has(const struct ttadi_channel *ch, const char *id); // under way, or ended

/* Do not send this one any more; one that is not on the wire ends with CANCELLED. */
void ttadi_channel_cancel(struct ttadi_channel *ch, const char *id);

/* When the next turn is due though nothing arrives; INT64_MAX: never. */
int64_t ttadi_channel_due(const struct ttadi_channel *ch);
short ttadi_channel_events(const struct ttadi_channel *ch); // of the socket, to wait for

#endif
