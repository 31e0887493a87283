// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_DOORWAY_H
#define TT_DAEMON_DOORWAY_H

#include <pthread.h>

#include "daemon/peer.h"
#include "daemon/sockets.h"

/* The gate and its doors, for its own files; nobody else includes this. */
#define TT_TICK_US  250000              // between looks at what has not happened
#define TT_LISTENER ((uint64_t)2)       // epoll's id of one, with its door and which one of it
#define TT_READ     ((size_t)256 << 10) // bytes of one read

struct tt_doorway {
    atomic_bool open;
    int nlisten;
    struct tt_listener *listen; // [nlisten]
    struct tt_mailbox *inbox;
    int npeers, nfree;
    uint32_t *free; // slots
};

struct tt_gate {
    struct tt_arena arena; // owns it
    struct tt_gate_limits limits;
    atomic_int_fast64_t *gone;
    pthread_t thread;
    int epoll, wake;
    struct tt_mailbox answers;
    struct tt_peer *peers; // [npeers], those of a door side by side
    struct tt_origin *origins;
    int npeers, nwaiting;
    struct tt_doorway doors[TT_GATE_DOORS];
    bool deaf;                 // a listener waits for the next tick: no file was left
    unsigned char in[TT_READ]; // what one peer sent, until it is looked at
    int64_t now_us, tick_us, log_us;
    int logged, unlogged; // lines since log_us
    atomic_size_t bytes;  // of all origins, and of news
    atomic_int_fast64_t accepted, connections, waiting, subscribers, dropped;
    atomic_int_fast64_t cut[TT_NCUTS];
    atomic_int wanted[TT_NTOPICS];
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t done;
    int shut; // doors to shut, bits
    bool stop;
    struct tt_news *ring[TT_NEWS];
    uint64_t next;
    int64_t put[TT_NTOPICS];
};

/* cut.c: count, and log unless there was much to log. */
void tt_cut_tell(struct tt_gate *g, enum tt_gate_door door, const char *name, enum tt_cut cut,
                 const char *why);
void tt_cut_tick(struct tt_gate *g);

/* door.c: who may come in. */
void tt_door_accept(struct tt_gate *g, enum tt_gate_door door, const struct tt_listener *l);
void tt_door_listen_again(struct tt_gate *g);
void tt_door_add(struct tt_gate *g, enum tt_gate_door door, int fd, struct tt_origin *origin,
                 const char *name); // name [TT_PEER_NAME]; takes fd

/* overdue.c: what has not happened in time; memory for who waits for it. */
void tt_gate_tick(struct tt_gate *g);
void tt_gate_relieve(struct tt_gate *g);

/* gate.c */
bool tt_gate_watch(struct tt_gate *g, int fd, uint64_t id);
void tt_peer_interest(struct tt_gate *g, struct tt_peer *p);
const char *tt_door_name(enum tt_gate_door door);

#endif
