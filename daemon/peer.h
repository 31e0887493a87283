// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_PEER_H
#define TT_DAEMON_PEER_H

#include <sys/types.h>

#include "daemon/gate.h"
#include "daemon/zmtp.h"

/*
 * What the gate's own files share (gate.c inbound.c outbound.c cut.c); nobody else includes this.
 * All of it belongs to the gate's thread but for what says otherwise.
 */
#define TT_PEER_NAME 64
#define TT_NEWS      1024               // events that subscribers may lag behind
#define TT_JOB_BYTES ((size_t)16 << 10) // what a job takes beside its frames, until it is answered
#define TT_SMALL     ((size_t)64 << 10) // a frame up to this may use the last eighth of the memory

/* A process (ipc), or an address (tcp).  Used while it has connections or jobs. */
struct tt_origin {
    bool used;
    pid_t pid; // 0: an address
    unsigned char address[16];
    int connections[TT_GATE_DOORS];
    struct tt_account account; // atomic
};

enum tt_peer_state {
    TT_PEER_FREE,
    TT_PEER_GREETING,
    TT_PEER_HANDSHAKE,
    TT_PEER_OPEN,
    TT_PEER_CLOSING
};

struct tt_peer {
    enum tt_peer_state state;
    uint32_t slot, generation;
    int fd, minor; // version 3.minor
    enum tt_gate_door door;
    struct tt_origin *origin;
    char name[TT_PEER_NAME];
    uint32_t interest;                     // what epoll was asked for
    int64_t since_us, heard_us, pinged_us; // accepted (or closing); last byte; last PING
    /* what comes */
    unsigned char small[TT_ZMTP_COMMAND]; // greeting, head, command that has not come whole
    size_t nsmall;
    bool in_frame;
    struct tt_zmtp_frame frame;
    uint64_t left;              // bytes of the frame that have not come
    unsigned char *into;        // where they go; NULL: a command, or nowhere
    struct tt_job *job;         // the message that comes
    int64_t nframes;            // of it, those that are not kept too
    uint64_t declared, came;    // bytes of its frames, and of them that came
    bool refused;               // beyond a limit: what comes is dropped
    int64_t started_us;         // the message (or command); 0: none
    int64_t wait_us, waited_us; // waits for memory since (0: no), has waited
    int unanswered;
    /* what leaves */
    struct tt_job *out, *out_tail;
    size_t sent; // of the first
    unsigned char control[4 * TT_ZMTP_GREETING];
    size_t ncontrol, control_sent;
    int64_t progress_us; // when something left, or began to wait
    /* a subscriber: how many subscriptions match each topic, and what it has had */
    int subscriptions, topics[TT_NTOPICS];
    uint64_t cursor;
    int64_t passed[TT_NTOPICS];
    struct tt_news *news; // on its way
};

struct tt_news {
    enum tt_gate_topic topic;
    unsigned char seq[8];
    int64_t before[TT_NTOPICS]; // news of each topic before this one
    int refs;                   // the ring, and peers that it is on its way to
    size_t n;
    char json[];
};

/* inbound.c: take what has come.  False: the peer is gone. */
bool tt_peer_read(struct tt_gate *g, struct tt_peer *p);
bool tt_peer_may_read(const struct tt_gate *g, const struct tt_peer *p);

/* outbound.c: send what can be sent.  False: the peer is gone. */
bool tt_peer_write(struct tt_gate *g, struct tt_peer *p);
bool tt_peer_pending(const struct tt_peer *p);
void tt_peer_control(struct tt_peer *p, const unsigned char *b, size_t n, int64_t now_us);
void tt_news_drop(struct tt_gate *g, struct tt_news *news); // under the lock
void tt_peer_subscribe(struct tt_gate *g, struct tt_peer *p, const unsigned char *prefix, size_t n,
                       bool on);

/* cut.c: end a connection, and say why.  A peer that closed itself is dropped. */
void tt_peer_cut(struct tt_gate *g, struct tt_peer *p, enum tt_cut cut, const char *fmt, ...)
    TT_PRINTF(4, 5);
void tt_peer_drop(struct tt_gate *g, struct tt_peer *p);

#endif
