// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "client/c/handle.h"

#define FRAMES 3 // topic, number, JSON

/* An event with its texts, in one block. */
struct owned {
    struct ttad_event pub; // first: the caller has a pointer to it
    char text[];
};

void ttad_event_free(struct ttad_event *event)
{
    free(event);
}

enum ttad_code ttad_subscribe(struct ttad *c, const char *topic)
{
    const int zero = 0;

    if (!c->zmq || !topic)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "no topic, or the handle was not connected");
    if (!c->events) {
        void *s = zmq_socket(c->zmq, ZMQ_SUB);

        if (!s || zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero) != 0 ||
            zmq_connect(s, c->events_endpoint) != 0) {
            (void)ttadi_fail(c, s ? TTAD_BAD_ARGUMENT : TTAD_NO_MEMORY, "endpoint '%s': %s",
                             c->events_endpoint, zmq_strerror(errno));
            if (s)
                zmq_close(s);
            return c->code;
        }
        c->events = s;
        ttadi_watch_events(c);
    }
    if (zmq_setsockopt(c->events, ZMQ_SUBSCRIBE, topic, strlen(topic)) != 0)
        return ttadi_fail(c, TTAD_NO_MEMORY, "topic '%.64s': %s", topic, zmq_strerror(errno));
    c->all_topics = c->all_topics || !*topic;
    ttadi_settle(c);
    return ttadi_good(c);
}

/* Copy a frame as text behind what is there. */
static char *put(char *to, zmq_msg_t *f)
{
    memcpy(to, zmq_msg_data(f), zmq_msg_size(f));
    to[zmq_msg_size(f)] = '\0';
    return to;
}

static enum ttad_code read_event(struct ttad *c, zmq_msg_t *f, int n, struct ttad_event **ret)
{
    const unsigned char *number;
    struct owned *e;
    json_t *json;
    uint64_t seq = 0;

    if (n != FRAMES || zmq_msg_size(&f[1]) != TTAD_WIRE_SEQ_BYTES)
        return ttadi_fail(c, TTAD_BAD_REPLY,
                          "an event of %d frames, wanted topic, number of %d bytes, JSON", n,
                          TTAD_WIRE_SEQ_BYTES);
    json = json_loadb((const char *)zmq_msg_data(&f[2]), zmq_msg_size(&f[2]), 0, NULL);
    json_decref(json);
    if (!json || memchr(zmq_msg_data(&f[0]), '\0', zmq_msg_size(&f[0])))
        return ttadi_fail(c, TTAD_BAD_REPLY, "an event that is not JSON");
    number = (const unsigned char *)zmq_msg_data(&f[1]);
    for (int i = 0; i < TTAD_WIRE_SEQ_BYTES; i++)
        seq = seq << 8 | number[i];
    if (seq && seq == c->last_seq)
        return TTAD_NOTHING; // once for each of two topics that begin alike
    e = (struct owned *)malloc(sizeof *e + zmq_msg_size(&f[0]) + zmq_msg_size(&f[2]) + 2);
    if (!e)
        return ttadi_fail(c, TTAD_NO_MEMORY, "out of memory for an event");
    e->pub = (struct ttad_event){.seq = seq};
    e->pub.topic = put(e->text, &f[0]);
    e->pub.json = put(e->text + zmq_msg_size(&f[0]) + 1, &f[2]);
    if (c->all_topics && c->last_seq && seq > c->last_seq + 1)
        e->pub.missed = seq - c->last_seq - 1;
    c->last_seq = seq;
    *ret = &e->pub;
    return TTAD_OK;
}

/* NOTHING: none is there, or it has been given before. */
static enum ttad_code receive(struct ttad *c, bool *ret_any, struct ttad_event **ret)
{
    enum ttad_code code = TTAD_NOTHING;
    zmq_msg_t f[FRAMES + 1];
    int n = 0, more = 1;

    while (more) {
        zmq_msg_t *to = &f[n < FRAMES ? n : FRAMES];

        (void)zmq_msg_init(to); // cannot fail
        if (zmq_msg_recv(to, c->events, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(to);
            break;
        }
        more = zmq_msg_more(to);
        if (n++ >= FRAMES)
            (void)zmq_msg_close(to);
    }
    if (n)
        code = read_event(c, f, n, ret);
    for (int i = 0; i < n && i < FRAMES; i++)
        (void)zmq_msg_close(&f[i]);
    *ret_any = n > 0;
    return code;
}

enum ttad_code ttad_event(struct ttad *c, int64_t timeout_ms, struct ttad_event **ret)
{
    const int64_t until = ttadi_until(timeout_ms);
    enum ttad_code code;

    *ret = NULL;
    (void)ttadi_good(c);
    if (!c->events)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "ttad_subscribe() comes first");
    for (;;) {
        bool any;
        int64_t wait;

        code = receive(c, &any, ret);
        if (code != TTAD_NOTHING)
            break;
        if (any)
            continue;
        wait = until == INT64_MAX ? -1 : (until - ttadi_now_us() + 999) / 1000;
        if (until != INT64_MAX && wait <= 0) {
            (void)ttadi_fail(c, TTAD_NOTHING, "no event");
            break;
        }
        zmq_pollitem_t item = {.socket = c->events, .events = ZMQ_POLLIN};
        (void)zmq_poll(&item, 1, wait > INT_MAX ? INT_MAX : (long)wait);
    }
    ttadi_settle(c);
    return code;
}
