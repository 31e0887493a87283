// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "daemon/doorway.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/*
 * Heads and small bodies are looked at where they lie, and only what can be taken is taken: the
 * rest stays in the kernel's buffer, which is the peer's.  Large bodies are read where they
 * belong.  So a peer that has to wait costs nothing.
 */
#define READS              2                  // of one peer before others have their turn
#define PEEK               ((size_t)16 << 10) // bytes that are looked at
#define FRAMES             (2 + TTAD_WIRE_TENSORS)
#define MOST_FRAMES        1024                // of a message that is answered, and not cut off
#define MOST_DROPPED       ((uint64_t)1 << 20) // bytes after the last answer, before the end
#define MOST_SUBSCRIPTIONS 64

enum taken { TAKEN, WAITS, GONE };

bool tt_peer_may_read(const struct tt_gate *g, const struct tt_peer *p)
{
    if (p->state == TT_PEER_CLOSING)
        return true; // and drops it, so that what was sent to it arrives
    return g->doors[p->door].open && !p->wait_us && p->unanswered < g->limits.unanswered &&
           p->ncontrol < sizeof p->control - 2 * TT_ZMTP_GREETING;
}

/* Whether n more bytes may be held for the peer: a process has half of the memory at most, and
 * the last eighth is for what is small, so that large messages never keep a ping out. */
static bool fits(const struct tt_gate *g, const struct tt_peer *p, size_t n)
{
    size_t most = g->limits.memory_bytes;

    if (n > TT_SMALL + TT_JOB_BYTES)
        most -= most / 8;
    return atomic_load(&g->bytes) + n <= most &&
           atomic_load(&p->origin->account.bytes) + n <= most / 2;
}

static enum taken wait_for_memory(struct tt_gate *g, struct tt_peer *p)
{
    p->wait_us = g->now_us;
    g->nwaiting++;
    atomic_store(&g->waiting, g->nwaiting);
    return WAITS;
}

static void deliver(struct tt_gate *g, struct tt_peer *p)
{
    struct tt_job *job = p->job;

    job->peer = (uint64_t)p->generation << 32 | p->slot;
    memcpy(job->identity, &job->peer, sizeof job->peer);
    job->nidentity = sizeof job->peer;
    job->came_frames = p->nframes;
    job->came_bytes = p->declared;
    job->arrived_us = g->now_us;
    job->arrived_ms = tt_now_ms();
    p->job = NULL;
    p->nframes = 0;
    p->declared = p->came = 0;
    p->refused = false;
    p->started_us = p->waited_us = 0;
    p->unanswered++;
    tt_mailbox_put(g->doors[p->door].inbox, job);
}

/* A message beyond the limits is read and dropped as long as its sender may be honest, so that
 * it can be answered; beyond twice the limits it is answered, and that was all. */
static enum taken refuse_frame(struct tt_gate *g, struct tt_peer *p)
{
    p->refused = true;
    p->into = NULL;
    for (int i = 2; i < p->job->nframes; i++)
        tt_job_drop_frame(p->job, i);
    if (p->job->nframes > 2)
        p->job->nframes = 2;
    if (p->nframes <= MOST_FRAMES && p->declared / 2 <= g->limits.message_bytes)
        return TAKEN;
    char why[128];

    (void)snprintf(why, sizeof why, "%" PRId64 " frames, %" PRIu64 " bytes; the limit is %zu",
                   p->nframes, p->declared, g->limits.message_bytes);
    tt_cut_tell(g, p->door, p->name, TT_CUT_MESSAGE, why);
    deliver(g, p);
    p->state = TT_PEER_CLOSING;
    p->since_us = g->now_us;
    return TAKEN;
}

static enum taken begin_message_frame(struct tt_gate *g, struct tt_peer *p, size_t size)
{
    const bool keeps =
        !p->refused && p->nframes < FRAMES && size <= g->limits.message_bytes - p->declared;

    if (!fits(g, p, (p->job ? 0 : TT_JOB_BYTES) + (keeps ? size : 0)))
        return wait_for_memory(g, p);
    if (!p->job) {
        p->job = tt_job_new();
        if (!p->job)
            return wait_for_memory(g, p);
        tt_job_charge(p->job, &p->origin->account, TT_JOB_BYTES);
    }
    if (keeps && !tt_job_add_frame(p->job, size))
        return wait_for_memory(g, p);
    p->nframes++;
    p->declared += size;
    if (!keeps)
        return refuse_frame(g, p);
    p->into = size ? p->job->buffer[p->job->nframes - 1] : NULL;
    return TAKEN;
}

static enum taken begin_frame(struct tt_gate *g, struct tt_peer *p, const struct tt_zmtp_frame *f)
{
    const bool small = f->command || p->door == TT_GATE_EVENTS;

    p->into = NULL;
    if (p->state == TT_PEER_HANDSHAKE && !f->command) {
        tt_peer_cut(g, p, TT_CUT_ZMTP, "a message before READY");
        return GONE;
    }
    if (small && (f->size > sizeof p->small || f->more)) {
        tt_peer_cut(g, p, f->command ? TT_CUT_ZMTP : TT_CUT_MESSAGE,
                    "a %s of %" PRIu64 " bytes%s, wanted %zu at most",
                    f->command ? "command" : "subscription", f->size,
                    f->more ? " and more frames" : "", sizeof p->small);
        return GONE;
    }
    if (!small)
        return begin_message_frame(g, p, f->size);
    return TAKEN;
}

/* READY came: what the peer is decides whether it may speak to this door. */
static enum taken greet(struct tt_gate *g, struct tt_peer *p, const struct tt_zmtp_command *c)
{
    const char *types = p->door == TT_GATE_EVENTS ? "SUB XSUB " : "DEALER REQ ROUTER ";
    unsigned char out[TT_ZMTP_GREETING];
    struct tt_err err;

    if (c->verb != TT_ZMTP_READY) {
        tt_peer_cut(g, p, TT_CUT_ZMTP, "its first command is not READY");
        return GONE;
    }
    if (tt_zmtp_check_ready(c, types, &err) != TT_OK) {
        tt_peer_control(p, out, tt_zmtp_error(out, err.msg), g->now_us);
        if (tt_peer_write(g, p))
            tt_peer_cut(g, p, TT_CUT_ZMTP, "%s", err.msg);
        return GONE;
    }
    tt_peer_control(p, out, tt_zmtp_ready(out, p->door == TT_GATE_EVENTS ? "XPUB" : "ROUTER"),
                    g->now_us);
    p->state = TT_PEER_OPEN;
    p->pinged_us = g->now_us;
    return TAKEN;
}

static enum taken subscribe(struct tt_gate *g, struct tt_peer *p, const unsigned char *prefix,
                            size_t n, bool on)
{
    tt_peer_subscribe(g, p, prefix, n, on);
    if (p->subscriptions <= MOST_SUBSCRIPTIONS)
        return TAKEN;
    tt_peer_cut(g, p, TT_CUT_SUBSCRIPTIONS, "more than %d", MOST_SUBSCRIPTIONS);
    return GONE;
}

static enum taken obey(struct tt_gate *g, struct tt_peer *p)
{
    unsigned char out[TT_ZMTP_GREETING];
    struct tt_zmtp_command c;
    struct tt_err err;

    if (tt_zmtp_read_command(p->small, p->nsmall, &c, &err) != TT_OK) {
        tt_peer_cut(g, p, TT_CUT_ZMTP, "%s", err.msg);
        return GONE;
    }
    if (p->state == TT_PEER_HANDSHAKE)
        return greet(g, p, &c);
    if (c.verb == TT_ZMTP_PINGED)
        tt_peer_control(p, out, tt_zmtp_pong(out, c.rest, c.nrest), g->now_us);
    else if (p->door == TT_GATE_EVENTS && (c.verb == TT_ZMTP_SUBSCRIBE || c.verb == TT_ZMTP_CANCEL))
        return subscribe(g, p, c.rest, c.nrest, c.verb == TT_ZMTP_SUBSCRIBE);
    return TAKEN;
}

static enum taken end_frame(struct tt_gate *g, struct tt_peer *p)
{
    enum taken t = TAKEN;

    p->in_frame = false;
    if (p->frame.command)
        t = obey(g, p);
    else if (p->door == TT_GATE_EVENTS && p->nsmall && p->small[0] <= 1)
        t = subscribe(g, p, p->small + 1, p->nsmall - 1, p->small[0]);
    else if (p->door != TT_GATE_EVENTS && !p->frame.more && p->state == TT_PEER_OPEN)
        deliver(g, p);
    if (t == GONE)
        return GONE;
    p->nsmall = 0;
    if (!p->job)
        p->started_us = p->waited_us = 0;
    return t;
}

static enum taken take_greeting(struct tt_gate *g, struct tt_peer *p, const unsigned char *b,
                                size_t n, size_t *ret_used)
{
    const size_t want = TT_ZMTP_GREETING - p->nsmall, take = n < want ? n : want;
    struct tt_err err;

    memcpy(p->small + p->nsmall, b, take);
    p->nsmall += take;
    *ret_used = take;
    if (tt_zmtp_read_greeting(p->small, p->nsmall, &p->minor, &err) != TT_OK) {
        tt_peer_cut(g, p, TT_CUT_ZMTP, "%s", err.msg);
        return GONE;
    }
    if (p->nsmall == TT_ZMTP_GREETING) {
        p->state = TT_PEER_HANDSHAKE;
        p->nsmall = 0;
    }
    return TAKEN;
}

static enum taken take_head(struct tt_gate *g, struct tt_peer *p, const unsigned char *b, size_t n,
                            size_t *ret_used)
{
    const size_t want = TT_ZMTP_HEAD - p->nsmall, take = n < want ? n : want;
    unsigned char head[TT_ZMTP_HEAD];
    struct tt_zmtp_frame f;
    struct tt_err err;
    enum taken t;
    size_t len;

    if (!p->started_us)
        p->started_us = g->now_us;
    memcpy(head, p->small, p->nsmall);
    memcpy(head + p->nsmall, b, take);
    if (tt_zmtp_read_head(head, p->nsmall + take, &f, &len, &err) != TT_OK) {
        tt_peer_cut(g, p, TT_CUT_ZMTP, "%s", err.msg);
        return GONE;
    }
    if (!len) {
        memcpy(p->small + p->nsmall, b, take);
        p->nsmall += take;
        *ret_used = take;
        return TAKEN;
    }
    t = begin_frame(g, p, &f);
    if (t != TAKEN)
        return t;
    *ret_used = len - p->nsmall;
    p->nsmall = 0;
    p->frame = f;
    p->left = f.size;
    p->in_frame = true;
    return p->left || p->state == TT_PEER_CLOSING ? TAKEN : end_frame(g, p);
}

static enum taken take_body(struct tt_gate *g, struct tt_peer *p, const unsigned char *b, size_t n,
                            size_t *ret_used)
{
    const size_t take = n < p->left ? n : (size_t)p->left;

    if (p->frame.command || p->door == TT_GATE_EVENTS) {
        memcpy(p->small + p->nsmall, b, take);
        p->nsmall += take;
    } else if (p->into) {
        memcpy(p->into, b, take);
        p->into += take;
    }
    p->came += take;
    p->left -= take;
    *ret_used = take;
    return p->left ? TAKEN : end_frame(g, p);
}

/* What of the n bytes can be taken; GONE: the peer is. */
static enum taken feed(struct tt_gate *g, struct tt_peer *p, const unsigned char *b, size_t n,
                       size_t *ret_used)
{
    enum taken t = TAKEN;

    for (*ret_used = 0; *ret_used < n && t == TAKEN && tt_peer_may_read(g, p);) {
        const unsigned char *at = b + *ret_used;
        size_t used = 0;

        if (p->state == TT_PEER_CLOSING)
            used = n - *ret_used;
        else if (p->state == TT_PEER_GREETING)
            t = take_greeting(g, p, at, n - *ret_used, &used);
        else if (p->in_frame)
            t = take_body(g, p, at, n - *ret_used, &used);
        else
            t = take_head(g, p, at, n - *ret_used, &used);
        *ret_used += used;
    }
    return t;
}

/* One read; its length as recv() says it, or -1 with errno EAGAIN when the peer has to wait. */
static ssize_t read_once(struct tt_gate *g, struct tt_peer *p, enum taken *ret)
{
    const bool closing = p->state == TT_PEER_CLOSING,
               body = p->in_frame && !p->frame.command && p->door != TT_GATE_EVENTS;
    size_t want = closing ? TT_READ
                  : body  ? (p->left < TT_READ ? (size_t)p->left : TT_READ)
                          : PEEK,
           used;
    unsigned char *to = body && !closing && p->into ? p->into : g->in;
    ssize_t n = recv(p->fd, to, want, MSG_DONTWAIT | (body || closing ? 0 : MSG_PEEK));

    *ret = TAKEN;
    if (n > 0 && closing)
        p->came += (uint64_t)n;
    if (closing && p->came > MOST_DROPPED && !p->unanswered && !tt_peer_pending(p))
        return 0; // it was told, and goes on
    if (n <= 0 || closing)
        return n;
    if (!body) {
        *ret = feed(g, p, g->in, (size_t)n, &used);
        if (*ret != GONE && used && recv(p->fd, g->in, used, MSG_DONTWAIT) != (ssize_t)used)
            return 0; // cannot be: they lie there
        return n;
    }
    if (p->into)
        p->into += n;
    p->came += (uint64_t)n;
    p->left -= (uint64_t)n;
    if (!p->left)
        *ret = end_frame(g, p);
    return n;
}

bool tt_peer_read(struct tt_gate *g, struct tt_peer *p)
{
    for (int i = 0; i < READS && tt_peer_may_read(g, p); i++) {
        enum taken t;
        const ssize_t n = read_once(g, p, &t);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (t == GONE)
            return false;
        if (n <= 0) {
            tt_peer_drop(g, p);
            return false;
        }
        p->heard_us = g->now_us;
    }
    return tt_peer_write(g, p);
}
