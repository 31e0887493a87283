// SPDX-License-Identifier: Apache-2.0
#include "daemon/doorway.h"

#define HANDSHAKE_US 5000000              // to finish the handshake
#define MESSAGE_US   5000000              // to finish a message, and
#define RATE         ((uint64_t)64 << 10) // a second more for so many bytes of it
#define UNREAD_US    10000000             // in which a peer must read some of its answers
#define CLOSING_US   2000000              // to read the last answer
#define PRESSURE_US  2000000              // that others wait for the memory of a message
#define PING_US      2000000              // of silence, before a peer is asked
#define SILENT_US    6000000              // of silence, before it is cut off
#define PAUSE_US     1000000              // late by more: the gate itself did not run

static int64_t message_age(const struct tt_gate *g, const struct tt_peer *p)
{
    const int64_t waits = p->wait_us ? g->now_us - p->wait_us : 0;

    return p->started_us ? g->now_us - p->started_us - p->waited_us - waits : 0;
}

/* False: the peer is gone. */
static bool check_peer(struct tt_gate *g, struct tt_peer *p)
{
    const int64_t now = g->now_us, age = message_age(g, p);
    const bool reads = tt_peer_may_read(g, p), pending = tt_peer_pending(p);
    unsigned char ping[TT_ZMTP_PING];

    if (p->state == TT_PEER_CLOSING) {
        if (now - p->since_us > CLOSING_US && (!p->unanswered || pending))
            return tt_peer_drop(g, p), false;
        return true;
    }
    if (p->state < TT_PEER_OPEN && now - p->since_us > HANDSHAKE_US)
        return tt_peer_cut(g, p, TT_CUT_HANDSHAKE, "%zu bytes of %s in %d ms", p->nsmall,
                           p->state == TT_PEER_GREETING ? "a greeting" : "READY",
                           HANDSHAKE_US / 1000),
               false;
    if (age > MESSAGE_US + (int64_t)(p->came / RATE) * 1000000)
        return tt_peer_cut(g, p, TT_CUT_SLOW, "%lld frames, %llu of %llu bytes in %lld ms",
                           (long long)p->nframes, (unsigned long long)p->came,
                           (unsigned long long)p->declared, (long long)(age / 1000)),
               false;
    if (pending && p->door != TT_GATE_EVENTS && now - p->progress_us > UNREAD_US)
        return tt_peer_cut(g, p, TT_CUT_UNREAD, "%d answers wait, none was read for %lld ms",
                           p->unanswered, (long long)((now - p->progress_us) / 1000)),
               false;
    if (p->state != TT_PEER_OPEN || !p->minor || !reads || pending || now - p->heard_us < PING_US)
        return true;
    if (now - p->heard_us > SILENT_US)
        return tt_peer_cut(g, p, TT_CUT_SILENT, "nothing came for %lld ms",
                           (long long)((now - p->heard_us) / 1000)),
               false;
    if (now - p->pinged_us < PING_US)
        return true;
    p->pinged_us = now;
    tt_peer_control(p, ping, tt_zmtp_ping(ping, SILENT_US / 1000), now);
    return tt_peer_write(g, p);
}

/* Who waits for memory tries again.  If it waited for long because of messages that have not come
 * whole, the one of them that holds most is given up. */
void tt_gate_relieve(struct tt_gate *g)
{
    struct tt_peer *most = NULL;
    int64_t longest = 0;
    size_t unfinished = 0;

    for (int i = 0; i < g->npeers && g->nwaiting; i++) {
        struct tt_peer *p = &g->peers[i];
        const int64_t since = p->wait_us;

        if (p->state != TT_PEER_FREE && p->job) {
            unfinished += p->job->charged;
            if (message_age(g, p) > PRESSURE_US && (!most || p->job->charged > most->job->charged))
                most = p;
        }
        if (!since)
            continue;
        p->wait_us = 0;
        atomic_store(&g->waiting, --g->nwaiting);
        if (!tt_peer_read(g, p))
            continue;
        if (p->wait_us) {
            p->wait_us = since;
            if (g->now_us - since > longest)
                longest = g->now_us - since;
        } else {
            p->waited_us += p->started_us ? g->now_us - since : 0;
            p->heard_us = g->now_us;
        }
    }
    if (longest > PRESSURE_US && most && most->job && unfinished > g->limits.memory_bytes / 4)
        tt_peer_cut(g, most, TT_CUT_MEMORY, "%zu bytes for %lld ms", most->job->charged,
                    (long long)(message_age(g, most) / 1000));
}

static void put_off(const struct tt_gate *g, int64_t *when_us, int64_t by)
{
    if (*when_us)
        *when_us = *when_us + by < g->now_us ? *when_us + by : g->now_us;
}

/* The time in which nothing was read, written or asked, because the process was stopped or had no
 * processor, is no peer's. */
static void forgive(struct tt_gate *g, int64_t us)
{
    for (int i = 0; i < g->npeers; i++) {
        struct tt_peer *p = &g->peers[i];

        if (p->state == TT_PEER_FREE)
            continue;
        put_off(g, &p->since_us, us);
        put_off(g, &p->heard_us, us);
        put_off(g, &p->pinged_us, us);
        put_off(g, &p->progress_us, us);
        put_off(g, &p->started_us, us);
        put_off(g, &p->wait_us, us);
    }
}

void tt_gate_tick(struct tt_gate *g)
{
    const int64_t late = g->now_us - g->tick_us - TT_TICK_US;

    if (late < 0)
        return;
    if (g->tick_us && late > PAUSE_US)
        forgive(g, late);
    g->tick_us = g->now_us;
    for (int i = 0; i < g->npeers; i++)
        if (g->peers[i].state != TT_PEER_FREE)
            (void)check_peer(g, &g->peers[i]);
    tt_door_listen_again(g);
    tt_cut_tick(g);
}
