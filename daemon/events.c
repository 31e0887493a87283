// SPDX-License-Identifier: Apache-2.0
#include "daemon/events.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include "base/arena.h"
#include "base/log.h"
#include "client/c/wire.h"
#include "daemon/reply.h"
#include "daemon/sockets.h"

#define MAX_QUEUED 4096

struct event {
    struct tt_arena arena; // owns it
    struct event *next;
    const char *topic;
    int64_t seq;
    char *json;
    size_t n;
};

struct tt_events {
    struct tt_arena arena; // owns it
    void *socket;
    pthread_t thread;
    int fd;
    pthread_mutex_t lock; // of what follows
    struct event *head, *tail;
    int queued;
    int64_t seq, dropped;
    bool stop;
    atomic_bool samples; // somebody listens to every topic, or to this one
};

static struct event *take(struct tt_events *e, bool *ret_stop)
{
    struct event *ev;

    pthread_mutex_lock(&e->lock);
    ev = e->head;
    if (ev) {
        e->head = ev->next;
        e->queued--;
        if (!e->head)
            e->tail = NULL;
    }
    *ret_stop = e->stop;
    pthread_mutex_unlock(&e->lock);
    return ev;
}

static void free_event(struct event *ev)
{
    struct tt_arena arena = ev->arena;

    tt_arena_release(&arena);
}

static void send_event(struct tt_events *e, const struct event *ev)
{
    unsigned char seq[TTAD_WIRE_SEQ_BYTES];

    for (int i = 0; i < TTAD_WIRE_SEQ_BYTES; i++)
        seq[i] = (unsigned char)((uint64_t)ev->seq >> (8 * (TTAD_WIRE_SEQ_BYTES - 1 - i)));
    if (zmq_send(e->socket, ev->topic, strlen(ev->topic), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
        zmq_send(e->socket, seq, sizeof seq, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
        zmq_send(e->socket, ev->json, ev->n, ZMQ_DONTWAIT) >= 0)
        return;
    pthread_mutex_lock(&e->lock);
    e->dropped++;
    pthread_mutex_unlock(&e->lock);
}

/* Subscriptions say whether samples are wanted; whoever left after that costs a message a batch. */
static void read_subscriptions(struct tt_events *e)
{
    unsigned char s[8];
    int n;

    while ((n = zmq_recv(e->socket, s, sizeof s, ZMQ_DONTWAIT)) >= 0)
        if (n >= 1 && s[0] == 1 && (n == 1 || (n <= 7 && !memcmp(s + 1, "sample", (size_t)n - 1))))
            atomic_store(&e->samples, true);
}

static void *run(void *arg)
{
    struct tt_events *e = arg;
    bool stop = false;

    tt_log_name("events");
    while (!stop) {
        zmq_pollitem_t items[2] = {{.socket = e->socket, .events = ZMQ_POLLIN},
                                   {.fd = e->fd, .events = ZMQ_POLLIN}};
        struct event *ev;
        uint64_t n;

        if (zmq_poll(items, 2, -1) < 0 && errno != EINTR)
            break;
        if (read(e->fd, &n, sizeof n) < 0)
            n = 0; // nothing was put
        read_subscriptions(e);
        while ((ev = take(e, &stop))) {
            send_event(e, ev);
            free_event(ev);
        }
    }
    return NULL;
}

enum tt_code tt_events_start(void *zmq, const struct tt_strs *endpoints, int64_t last,
                             struct tt_events **ret, struct tt_err *err)
{
    struct tt_arena arena;
    struct tt_events *e;

    tt_arena_init(&arena, 0);
    e = TT_NEW(&arena, 1, struct tt_events);
    if (!e)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    e->arena = arena;
    e->seq = last;
    e->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&e->lock, NULL);
    if (e->fd < 0)
        (void)tt_fail(err, TT_EIO, "eventfd: %s", strerror(errno));
    else if (tt_socket_bind(zmq, ZMQ_XPUB, endpoints, 0, &e->socket, err) == TT_OK) {
        if (pthread_create(&e->thread, NULL, run, e) == 0) {
            *ret = e;
            return TT_OK;
        }
        (void)tt_fail(err, TT_EIO, "no thread");
        zmq_close(e->socket);
    }
    close(e->fd);
    arena = e->arena;
    tt_arena_release(&arena);
    return err->code;
}

static const char *topic_of(const struct tt_record *r)
{
    static const char *const decisions[] = {"trip",  "rollback", "freeze", "thaw",
                                            "reset", "hold",     NULL};

    if (r->kind == TT_REC_BATCH)
        return "sample";
    for (int i = 0; decisions[i]; i++)
        if (!strcmp(r->event.kind, decisions[i]))
            return "decision";
    return !strcmp(r->event.kind, "state") ? "state" : "daemon";
}

static json_t *event_json(const struct tt_rec_event *v)
{
    json_t *o = json_object(), *detail = v->detail ? json_loads(v->detail, 0, NULL) : NULL;

    json_object_set_new(o, "kind", tt_json_text(v->kind));
    json_object_set_new(o, "severity", tt_json_text(v->severity));
    json_object_set_new(o, "actor", tt_json_text(v->actor));
    json_object_set_new(o, "text", tt_json_text(v->text));
    json_object_set_new(o, "version", tt_json_text(v->version));
    if (v->decision_id != TT_UNKNOWN)
        json_object_set_new(o, "decision_id", json_integer(v->decision_id));
    if (detail)
        json_object_set_new(o, "detail", detail);
    return o;
}

static json_t *sample_json(const struct tt_rec_batch *b)
{
    json_t *o = json_object();

    json_object_set_new(o, "id", tt_json_text(b->request_id));
    json_object_set_new(o, "version", tt_json_text(b->version));
    json_object_set_new(o, "step", json_integer(b->step));
    json_object_set_new(o, "rows", json_integer(b->rows));
    json_object_set_new(o, "adapted", json_boolean(b->adapted));
    json_object_set_new(o, "skipped", tt_json_text(b->skip));
    json_object_set_new(o, "loss", tt_json_number(b->loss));
    json_object_set_new(o, "entropy_ratio", tt_json_number(b->entropy_ratio));
    json_object_set_new(o, "confidence", tt_json_number(b->confidence));
    json_object_set_new(o, "class_collapse", tt_json_number(b->class_collapse));
    json_object_set_new(o, "param_drift", tt_json_number(b->param_drift));
    json_object_set_new(o, "base_disagreement", tt_json_number(b->base_disagreement));
    return o;
}

static struct event *make_event(const struct tt_record *r)
{
    json_t *o = r->kind == TT_REC_BATCH ? sample_json(&r->batch) : event_json(&r->event);
    struct tt_arena arena;
    struct event *ev;
    char *text;
    size_t n;

    json_object_set_new(o, "stream", tt_json_text(r->stream));
    json_object_set_new(o, "ts_ms", json_integer(r->ts_ms));
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (!text)
        return NULL;
    n = strlen(text);
    tt_arena_init(&arena, sizeof *ev + n + (size_t)TT_ALIGN); // a limit, so no more is taken
    ev = (struct event *)tt_arena_alloc(&arena, sizeof *ev + n, 1);
    if (ev) {
        *ev =
            (struct event){.arena = arena, .topic = topic_of(r), .json = (char *)(ev + 1), .n = n};
        memcpy(ev->json, text, n);
    }
    free(text);
    return ev;
}

int64_t tt_events_put(struct tt_events *e, const struct tt_record *r)
{
    const uint64_t one = 1;
    struct event *ev;
    int64_t seq;

    if (r->kind == TT_REC_BATCH && !atomic_load(&e->samples))
        return 0;
    ev = make_event(r);
    pthread_mutex_lock(&e->lock);
    seq = ++e->seq;
    if (!ev || e->queued >= MAX_QUEUED) {
        e->dropped++;
        if (ev)
            free_event(ev);
    } else {
        ev->seq = seq;
        if (e->tail)
            e->tail->next = ev;
        else
            e->head = ev;
        e->tail = ev;
        e->queued++;
    }
    pthread_mutex_unlock(&e->lock);
    if (write(e->fd, &one, sizeof one) < 0)
        return seq; // full: the thread wakes all the same
    return seq;
}

int64_t tt_events_dropped(struct tt_events *e)
{
    int64_t n;

    pthread_mutex_lock(&e->lock);
    n = e->dropped;
    pthread_mutex_unlock(&e->lock);
    return n;
}

void tt_events_stop(struct tt_events *e)
{
    const uint64_t one = 1;
    struct tt_arena arena;

    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_mutex_unlock(&e->lock);
    if (write(e->fd, &one, sizeof one) < 0)
        tt_log(TT_LOG_WARN, "events: wake-up: %s", strerror(errno));
    pthread_join(e->thread, NULL);
    zmq_close(e->socket);
    close(e->fd);
    pthread_mutex_destroy(&e->lock);
    arena = e->arena;
    tt_arena_release(&arena);
}
