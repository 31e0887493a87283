// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/doorway.h"

#define MEMORY     ((size_t)1 << 20)
#define MESSAGE    ((size_t)64 << 10)
#define UNANSWERED 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A gate without its thread, and one place at each door. */
static struct tt_gate g;
static struct tt_peer peers[TT_GATE_DOORS];
static struct tt_origin origin;
static uint32_t slots[TT_GATE_DOORS];
static struct tt_mailbox inbox;
static atomic_int_fast64_t gone;

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void set_up(void)
{
    struct tt_err err;

    if (g.peers)
        return;
    g.limits = (struct tt_gate_limits){1, MEMORY, MESSAGE, UNANSWERED};
    g.gone = &gone;
    g.logged = 1 << 20; // no lines
    g.now_us = 1;
    g.peers = peers;
    g.npeers = TT_GATE_DOORS;
    g.origins = &origin;
    origin = (struct tt_origin){.used = true, .account.total = &g.bytes};
    pthread_mutex_init(&g.lock, NULL);
    g.epoll = epoll_create1(0);
    g.wake = eventfd(0, EFD_NONBLOCK);
    must(tt_mailbox_init(&inbox, &err) == TT_OK && g.epoll >= 0 && g.wake >= 0);
    for (uint32_t d = 0; d < TT_GATE_DOORS; d++) {
        peers[d] = (struct tt_peer){.slot = d, .generation = 1, .fd = -1};
        g.doors[d].free = &slots[d];
        slots[d] = d;
        g.doors[d].nfree = 1;
        g.doors[d].inbox = d == TT_GATE_EVENTS ? NULL : &inbox;
        atomic_store(&g.doors[d].open, true);
    }
}

/* What a loop and the gate do with a message, when the fuzzer says so. */
static void answer(struct tt_peer *p)
{
    struct tt_job *job = tt_mailbox_take(&inbox);
    size_t bytes = 0;

    if (!job)
        return;
    for (int i = 0; i < job->nframes; i++) {
        must(job->frame[i].data != NULL);
        bytes += job->frame[i].size;
    }
    must(bytes <= MESSAGE && job->nframes <= 2 + TTAD_WIRE_TENSORS);
    must(job->came_frames >= job->nframes && job->came_bytes >= bytes);
    for (int i = 0; i < job->nframes; i++)
        tt_job_drop_frame(job, i);
    job->header = "{}";
    job->nheader = 2;
    job->next = NULL;
    if (p->state == TT_PEER_FREE) {
        tt_job_free(job);
        return;
    }
    if (p->out_tail)
        p->out_tail->next = job;
    else
        p->out = job;
    p->out_tail = job;
    (void)tt_peer_write(&g, p);
}

/* [door][length, and whether to answer][bytes]...: what a peer sends, piece by piece. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char name[TT_PEER_NAME] = "fuzzer";
    enum tt_gate_door door;
    unsigned char sink[4096];
    struct tt_peer *p;
    int pair[2];

    if (!n)
        return 0;
    set_up();
    door = data[0] % TT_GATE_DOORS;
    p = &peers[door];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    tt_door_add(&g, door, pair[0], &origin, name);
    for (size_t at = 1; at < n && p->state != TT_PEER_FREE;) {
        size_t piece = 1 + (data[at] & 0x7f);
        const bool answers = data[at++] & 0x80;

        piece = piece < n - at ? piece : n - at;
        if (piece && send(pair[1], data + at, piece, MSG_NOSIGNAL) < 0)
            break;
        at += piece;
        for (int i = 0; i < 8 && p->state != TT_PEER_FREE && tt_peer_may_read(&g, p); i++)
            if (!tt_peer_read(&g, p))
                break;
        must(p->unanswered <= UNANSWERED && atomic_load(&g.bytes) <= MEMORY + TT_JOB_BYTES);
        if (answers)
            answer(p);
        if (p->wait_us)
            tt_gate_relieve(&g);
        while (recv(pair[1], sink, sizeof sink, 0) > 0)
            continue;
    }
    if (p->state != TT_PEER_FREE)
        tt_peer_drop(&g, p);
    while (inbox.head)
        answer(p);
    close(pair[1]);
    must(!atomic_load(&g.bytes) && !atomic_load(&origin.account.jobs) && !g.nwaiting &&
         !atomic_load(&g.connections) && !origin.connections[door]);
    for (int t = 0; t < TT_NTOPICS; t++)
        must(!atomic_load(&g.wanted[t]));
    return 0;
}
