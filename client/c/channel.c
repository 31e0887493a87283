// SPDX-License-Identifier: Apache-2.0
#include "client/c/channel.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HWM           64
#define HEARTBEAT_MS  2000
#define HEARTBEAT_END 6000
#define RECONNECT_MS  50 // doubles up to RECONNECT_END, with libzmq's own jitter
#define RECONNECT_END 1000
#define CREDIT        8 // until the daemon has told
#define PAUSE_US      10000
#define PAUSE_END_US  1000000
#define TRY_END_US    60000000
#define MONITOR       "inproc://monitor-%p"

int64_t ttadi_now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t); // cannot fail: the clock is there
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- lists ------------------------------------------------------------------------------ */

static void append(struct ttadi_list *l, struct ttadi_request *r)
{
    if (!l->last)
        l->last = &l->first;
    r->next = NULL;
    *l->last = r;
    l->last = &r->next;
    l->n++;
}

static void unlink_one(struct ttadi_list *l, struct ttadi_request *r)
{
    struct ttadi_request **at = &l->first;

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    if (!r->next)
        l->last = at;
    l->n--;
}

static struct ttadi_request *find(const struct ttadi_list *l, const char *id)
{
    struct ttadi_request *r = l->first;

    while (r && id && strcmp(r->reply->id, id) != 0)
        r = r->next;
    return r;
}

static void drop_all(struct ttadi_list *l)
{
    while (l->first) {
        struct ttadi_request *r = l->first;

        unlink_one(l, r);
        ttadi_request_free(r);
    }
}

/* ---- requests --------------------------------------------------------------------------- */

struct ttadi_request *ttadi_request_new(const char *id)
{
    struct ttadi_request *r = (struct ttadi_request *)calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->reply = ttadi_reply_new(id);
    if (!r->reply) {
        free(r);
        return NULL;
    }
    return r;
}

void ttadi_request_free(struct ttadi_request *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->nframes; i++)
        (void)zmq_msg_close(&r->frames[i]); // they are ours
    if (r->reply)
        ttad_reply_free(&r->reply->pub);
    free(r);
}

static void end(struct ttadi_channel *ch, struct ttadi_request *r)
{
    unlink_one(&ch->pending, r);
    append(&ch->done, r);
    for (int i = 0; i < r->nframes; i++)
        (void)zmq_msg_close(&r->frames[i]);
    r->nframes = 0;
}

static int on_the_wire(const struct ttadi_channel *ch)
{
    int n = 0;

    for (const struct ttadi_request *r = ch->pending.first; r; r = r->next)
        n += r->state == TTADI_SENT && r->counted;
    return n;
}

void ttadi_channel_add(struct ttadi_channel *ch, struct ttadi_request *r)
{
    r->state = TTADI_QUEUED;
    r->try_us = ch->try_us;
    r->pause_us = PAUSE_US;
    append(&ch->pending, r);
}

struct ttadi_request *ttadi_channel_take(struct ttadi_channel *ch, const char *id)
{
    struct ttadi_request *r = find(&ch->done, id);

    if (r)
        unlink_one(&ch->done, r);
    return r;
}

bool ttadi_channel_has(const struct ttadi_channel *ch, const char *id)
{
    return find(&ch->pending, id) || find(&ch->done, id);
}

void ttadi_channel_cancel(struct ttadi_channel *ch, const char *id)
{
    struct ttadi_request *r = find(&ch->pending, id);

    if (!r)
        return;
    r->twice = false;
    if (r->state == TTADI_SENT)
        return;
    (void)ttadi_reply_fail(r->reply, TTAD_CANCELLED, "cancelled while it waited to be sent");
    end(ch, r);
}

/* ---- sockets ---------------------------------------------------------------------------- */

static int set(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value);
}

static int configure(void *s, int64_t max_bytes)
{
    return set(s, ZMQ_LINGER, 0) || set(s, ZMQ_IMMEDIATE, 1) || // queue nothing for nobody
           set(s, ZMQ_SNDHWM, HWM) || set(s, ZMQ_RCVHWM, HWM) ||
           set(s, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS) ||
           set(s, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_END) ||
           set(s, ZMQ_RECONNECT_IVL, RECONNECT_MS) ||
           set(s, ZMQ_RECONNECT_IVL_MAX, RECONNECT_END) ||
           zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &max_bytes, sizeof max_bytes);
}

static int open_monitor(struct ttadi_channel *ch)
{
    char name[64];

    (void)snprintf(name, sizeof name, MONITOR, ch->socket);
    if (zmq_socket_monitor(ch->socket, name,
                           ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) != 0)
        return -1;
    ch->monitor = zmq_socket(ch->zmq, ZMQ_PAIR);
    return !ch->monitor || set(ch->monitor, ZMQ_LINGER, 0) ||
           set(ch->monitor, ZMQ_RCVHWM, 0) || // a full pipe would block the connection
           zmq_connect(ch->monitor, name);
}

enum ttad_code ttadi_channel_open(struct ttadi_channel *ch, char *why, size_t nwhy)
{
    enum ttad_code code = TTAD_NO_MEMORY;

    if (ch->socket)
        return TTAD_OK;
    ch->credit = ch->retry ? CREDIT : INT_MAX;
    ch->socket = zmq_socket(ch->zmq, ZMQ_DEALER);
    if (!ch->socket || configure(ch->socket, ch->max_bytes) || open_monitor(ch)) {
        (void)snprintf(why, nwhy, "socket: %s", zmq_strerror(errno));
    } else if (zmq_connect(ch->socket, ch->endpoint) != 0) {
        (void)snprintf(why, nwhy, "endpoint '%s': %s", ch->endpoint, zmq_strerror(errno));
        code = TTAD_BAD_ARGUMENT;
    } else {
        return TTAD_OK;
    }
    ttadi_channel_close(ch);
    return code;
}

void ttadi_channel_close(struct ttadi_channel *ch)
{
    drop_all(&ch->pending);
    drop_all(&ch->done);
    if (ch->socket) // while somebody listens: an event without a listener would block for ever
        (void)zmq_socket_monitor(ch->socket, NULL, 0);
    if (ch->monitor)
        zmq_close(ch->monitor);
    if (ch->socket)
        zmq_close(ch->socket);
    ch->socket = ch->monitor = NULL;
}

/* ---- the connection --------------------------------------------------------------------- */

/* Everything that was sent and not answered is lost. */
static void lost(struct ttadi_channel *ch)
{
    struct ttadi_request *r, *next;

    for (r = ch->pending.first; r; r = next) {
        next = r->next;
        if (r->state != TTADI_SENT)
            continue;
        r->state = TTADI_QUEUED;
        if (ch->retry && r->twice)
            continue;
        (void)ttadi_reply_fail(r->reply, TTAD_DISCONNECTED,
                               "the connection to %s broke after '%s' was sent; it may have been "
                               "carried out",
                               ch->endpoint, r->op);
        end(ch, r);
    }
    if (ch->retry)
        ch->credit = CREDIT;
}

/* What the monitor has told since the last time; true: the connection was lost. */
static bool hear(struct ttadi_channel *ch)
{
    unsigned char head[6]; // 16 bits event, 32 bits value
    bool broke = false;
    uint16_t event;

    while (zmq_recv(ch->monitor, head, sizeof head, ZMQ_DONTWAIT) == (int)sizeof head) {
        char address[8]; // cut; it is of no interest

        (void)zmq_recv(ch->monitor, address, sizeof address, ZMQ_DONTWAIT);
        memcpy(&event, head, sizeof event);
        ch->connected = event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
        broke = broke || !ch->connected;
    }
    return broke;
}

/* ---- replies ---------------------------------------------------------------------------- */

/* Pauses grow, and differ between clients that were refused together. */
static void pause_request(struct ttadi_channel *ch, struct ttadi_request *r, int64_t wait_us)
{
    uint64_t x = *ch->random;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *ch->random = x;
    if (wait_us < r->pause_us)
        wait_us = r->pause_us;
    wait_us += (int64_t)(x % (uint64_t)(wait_us / 2 + 1));
    r->state = TTADI_PAUSED;
    r->due_us = ttadi_now_us() + wait_us;
    r->pause_us = r->pause_us < PAUSE_END_US / 2 ? 2 * r->pause_us : PAUSE_END_US;
    if (r->due_us >= r->until_us)
        end(ch, r);
}

static void refused(struct ttadi_channel *ch, struct ttadi_request *r, const json_t *root)
{
    const char *name = json_string_value(json_object_get(root, "code"));
    const char *why = json_string_value(json_object_get(root, "error"));
    const json_t *wait = json_object_get(root, "retry_after_ms");
    enum ttad_code code = ttadi_code_of(name ? name : "INTERNAL");
    double ms = json_is_number(wait) ? json_number_value(wait) : 0;

    r->reply->pub.retry_after_ms = ms > 0 && ms < 86400e3 ? (int64_t)ms : 0;
    why = why ? why : "the daemon gave no reason";
    if (code == TTAD_REFUSED)
        (void)ttadi_reply_fail(r->reply, code, "%.32s: %s", name, why);
    else
        (void)ttadi_reply_fail(r->reply, code, "%s", why);
    if (!ch->retry || (code != TTAD_BUSY && code != TTAD_DRAINING)) {
        end(ch, r);
        return;
    }
    pause_request(ch, r, r->reply->pub.retry_after_ms * 1000);
    if (code == TTAD_BUSY)
        ch->credit = on_the_wire(ch) ? on_the_wire(ch) : 1;
}

/* What names no request was sent for the oldest: replies come in order, as a rule. */
static struct ttadi_request *oldest(const struct ttadi_channel *ch)
{
    struct ttadi_request *r = ch->pending.first;

    while (r && r->state != TTADI_SENT)
        r = r->next;
    return r;
}

static void answered(struct ttadi_channel *ch, struct ttadi_request *r, json_t *root,
                     zmq_msg_t *frames, int nframes)
{
    const struct ttad_reply *reply = &r->reply->pub;
    const bool told = json_object_get(json_object_get(root, "parameters"), "credit") != NULL;

    (void)ttadi_reply_read(r->reply, root, frames, nframes, r->tensors); // its code tells
    end(ch, r);
    if (told && ch->retry && reply->code == TTAD_OK && reply->credit < INT_MAX / 2)
        ch->credit = on_the_wire(ch) + (reply->credit > 0 ? (int)reply->credit : 0);
    if (ch->credit < 1)
        ch->credit = 1;
}

static void judge(struct ttadi_channel *ch, zmq_msg_t *frames, int nframes)
{
    char why[256];
    json_t *root = ttadi_header_read(frames, nframes, why, sizeof why);
    const char *id = json_string_value(json_object_get(root, "id"));
    const char *op = json_string_value(json_object_get(root, "op"));
    const bool error = op && !strcmp(op, "error");
    struct ttadi_request *r;

    r = !root || (error && (!id || !*id)) ? oldest(ch) : id ? find(&ch->pending, id) : NULL;
    if (r && root && !error && op && strcmp(op, r->op) != 0)
        r = NULL; // an answer that came twice, under an id whose labels are under way
    if (r && !root) {
        (void)ttadi_reply_fail(r->reply, TTAD_BAD_REPLY, "%s", why);
        end(ch, r);
    } else if (r && error) {
        refused(ch, r, root);
    } else if (r) {
        r->reply->error[0] = '\0'; // of an earlier try
        answered(ch, r, root, frames, nframes);
    } // else nobody waits for it any more
    json_decref(root);
}

/* Receive a message; false: there is none. */
static bool receive(struct ttadi_channel *ch)
{
    zmq_msg_t frames[TTADI_FRAMES + 1];
    int n = 0, more = 1;

    while (more) {
        zmq_msg_t *f = &frames[n < TTADI_FRAMES ? n : TTADI_FRAMES];

        (void)zmq_msg_init(f); // cannot fail
        if (zmq_msg_recv(f, ch->socket, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(f);
            break; // only before the first: messages come whole
        }
        more = zmq_msg_more(f);
        if (n++ >= TTADI_FRAMES)
            (void)zmq_msg_close(f); // counted, and no more
    }
    if (n)
        judge(ch, frames, n < TTADI_FRAMES + 1 ? n : 0);
    for (int i = 0; i < n && i < TTADI_FRAMES; i++)
        (void)zmq_msg_close(&frames[i]);
    return n > 0;
}

/* ---- time ------------------------------------------------------------------------------- */

static void time_out(struct ttadi_channel *ch, struct ttadi_request *r)
{
    struct ttadi_reply *reply = r->reply;

    if (r->state == TTADI_SENT)
        (void)ttadi_reply_fail(reply, TTAD_TIMEOUT, "no reply from %s, sent %d time%s",
                               ch->endpoint, reply->pub.tries, reply->pub.tries == 1 ? "" : "s");
    else if (r->state == TTADI_QUEUED && !ch->connected)
        (void)ttadi_reply_fail(reply, TTAD_DISCONNECTED, "nothing takes requests at %s",
                               ch->endpoint);
    else if (r->state == TTADI_QUEUED)
        (void)ttadi_reply_fail(reply, TTAD_TIMEOUT, "%d other requests at %s have its credit",
                               on_the_wire(ch), ch->endpoint);
    end(ch, r); // one that is paused: with the newest refusal
}

static void expire(struct ttadi_channel *ch, int64_t now)
{
    struct ttadi_request *r, *next;

    for (r = ch->pending.first; r; r = next) {
        next = r->next;
        if (now >= r->until_us) {
            time_out(ch, r);
        } else if (r->state == TTADI_PAUSED && now >= r->due_us) {
            r->state = TTADI_QUEUED;
        } else if (r->state == TTADI_SENT && now >= r->due_us) {
            r->state = TTADI_QUEUED;
            r->try_us = r->try_us < TRY_END_US / 2 ? 2 * r->try_us : TRY_END_US;
        }
    }
}

/* False: it does not go out now. */
static bool send_one(struct ttadi_channel *ch, struct ttadi_request *r, int64_t now)
{
    for (int i = 0; i < r->nframes; i++) {
        const int more = i + 1 < r->nframes ? ZMQ_SNDMORE : 0;
        zmq_msg_t f;

        (void)zmq_msg_init(&f);                // neither fails: what is large is shared, */
        (void)zmq_msg_copy(&f, &r->frames[i]); // what is small is in the message
        if (zmq_msg_send(&f, ch->socket, ZMQ_DONTWAIT | more) < 0) {
            (void)zmq_msg_close(&f);
            return false; // only at the first frame: messages go whole
        }
    }
    r->reply->pub.tries++;
    r->state = TTADI_SENT;
    r->due_us = ch->retry && r->twice ? now + r->try_us : INT64_MAX;
    return true;
}

static bool sendable(const struct ttadi_channel *ch, const struct ttadi_request *r, int on_wire)
{
    return r->state == TTADI_QUEUED && (!r->counted || on_wire < ch->credit);
}

static void send_queued(struct ttadi_channel *ch, int64_t now)
{
    int n = on_the_wire(ch);

    for (struct ttadi_request *r = ch->pending.first; r; r = r->next) {
        if (!sendable(ch, r, n))
            continue;
        if (!send_one(ch, r, now))
            return;
        n += r->counted;
    }
}

void ttadi_channel_turn(struct ttadi_channel *ch)
{
    int64_t now;
    bool broke;

    if (!ch->socket)
        return;
    broke = hear(ch); // before anything goes over the next connection
    while (receive(ch))
        ;
    if (broke)
        lost(ch); // but for what was still to be received
    now = ttadi_now_us();
    expire(ch, now);
    send_queued(ch, now);
}

int64_t ttadi_channel_due(const struct ttadi_channel *ch)
{
    int64_t due = INT64_MAX;

    for (const struct ttadi_request *r = ch->pending.first; r; r = r->next) {
        if (r->until_us < due)
            due = r->until_us;
        if (r->state != TTADI_QUEUED && r->due_us < due)
            due = r->due_us;
    }
    return due;
}

short ttadi_channel_events(const struct ttadi_channel *ch)
{
    const struct ttadi_request *r = ch->pending.first;
    const int n = on_the_wire(ch);

    while (r && !sendable(ch, r, n))
        r = r->next;
    return r ? ZMQ_POLLIN | ZMQ_POLLOUT : ZMQ_POLLIN;
}
