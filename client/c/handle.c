// SPDX-License-Identifier: Apache-2.0
#include "client/c/handle.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define TIMEOUT_MS 30000
#define TRY_MS     5000
#define REPLY_MAX  ((int64_t)64 << 20)
#define LONGEST_MS (86400000LL * 365)

const char *ttad_version(void)
{
    return TTAD_CLIENT_VERSION;
}

/* ---- errors ----------------------------------------------------------------------------- */

enum ttad_code ttadi_fail(struct ttad *c, enum ttad_code code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(c->error, sizeof c->error, fmt, ap); // cut when too long
    va_end(ap);
    c->code = code;
    c->retry_after_ms = 0;
    return code;
}

enum ttad_code ttadi_good(struct ttad *c)
{
    c->code = TTAD_OK;
    c->error[0] = '\0';
    c->retry_after_ms = 0;
    return TTAD_OK;
}

enum ttad_code ttad_errno(const struct ttad *c)
{
    return c ? c->code : TTAD_NO_MEMORY;
}

const char *ttad_error(const struct ttad *c)
{
    return c ? c->error : "out of memory";
}

int64_t ttad_retry_after_ms(const struct ttad *c)
{
    return c ? c->retry_after_ms : 0;
}

/* ---- from the beginning to the end ------------------------------------------------------ */

static char *copy_text(const char *text)
{
    const size_t n = strlen(text) + 1;
    char *to = (char *)malloc(n);

    return to ? (char *)memcpy(to, text, n) : NULL;
}

/* Where a daemon listens unless its configuration says otherwise. */
static char *endpoint_of(const char *given, const char *name)
{
    const char *dir = getenv("XDG_RUNTIME_DIR");
    char text[512];

    if (given)
        return copy_text(given);
    if (geteuid() == 0)
        (void)snprintf(text, sizeof text, "ipc:///run/ttad/%s.sock", name);
    else if (dir && *dir)
        (void)snprintf(text, sizeof text, "ipc://%s/ttad/%s.sock", dir, name);
    else
        (void)snprintf(text, sizeof text, "ipc:///run/user/%lu/ttad/%s.sock",
                       (unsigned long)geteuid(), name);
    return copy_text(text);
}

static enum ttad_code check_options(struct ttad *c, const struct ttad_options *o)
{
    if (o->size != sizeof *o)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT,
                          "options: size is %zu, wanted %zu: begin with TTAD_OPTIONS_INIT", o->size,
                          sizeof *o);
    if (o->timeout_ms < 0 || o->timeout_ms > LONGEST_MS || o->try_ms < 0 ||
        o->try_ms > LONGEST_MS || o->max_reply_bytes < 0 || o->flags & ~TTAD_NO_RETRY)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT,
                          "options: a number is negative or too large, or a flag is not known");
    return TTAD_OK;
}

static enum ttad_code start(struct ttad *c, const struct ttad_options *o)
{
    const int64_t max = o->max_reply_bytes ? o->max_reply_bytes : REPLY_MAX;
    const int64_t try_us = 1000 * (o->try_ms ? o->try_ms : TRY_MS);

    c->timeout_ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
    c->data = (struct ttadi_channel){.endpoint = endpoint_of(o->data, "data"),
                                     .max_bytes = max,
                                     .try_us = try_us,
                                     .retry = !(o->flags & TTAD_NO_RETRY),
                                     .random = &c->random};
    c->control = c->data;
    c->control.endpoint = endpoint_of(o->control, "control");
    c->events_endpoint = endpoint_of(o->events, "events");
    c->name = copy_text(o->name ? o->name : "c");
    c->data.zmq = c->control.zmq = c->zmq = zmq_ctx_new();
    if (!c->data.endpoint || !c->control.endpoint || !c->events_endpoint || !c->name || !c->zmq)
        return ttadi_fail(c, TTAD_NO_MEMORY, "out of memory");
    if (getrandom(&c->prefix, sizeof c->prefix, 0) != (ssize_t)sizeof c->prefix)
        return ttadi_fail(c, TTAD_NO_MEMORY, "no random numbers: %s", strerror(errno));
    c->random = c->prefix | 1;
    c->code = ttadi_channel_open(&c->data, c->error, sizeof c->error);
    return c->code;
}

enum ttad_code ttad_connect(const struct ttad_options *options, struct ttad **ret)
{
    const struct ttad_options none = TTAD_OPTIONS_INIT;
    struct ttad *c = (struct ttad *)calloc(1, sizeof *c);

    *ret = c;
    if (!c)
        return TTAD_NO_MEMORY;
    c->epoll = c->timer = c->wake = -1;
    if (check_options(c, options ? options : &none) == TTAD_OK)
        (void)start(c, options ? options : &none); // c has its code
    return c->code;
}

void ttad_close(struct ttad *c)
{
    if (!c)
        return;
    ttadi_channel_close(&c->data);
    ttadi_channel_close(&c->control);
    if (c->events)
        zmq_close(c->events);
    if (c->zmq)
        zmq_ctx_term(c->zmq);
    if (c->epoll >= 0)
        close(c->epoll);
    if (c->timer >= 0)
        close(c->timer);
    if (c->wake >= 0)
        close(c->wake);
    free(c->data.endpoint);
    free(c->control.endpoint);
    free(c->events_endpoint);
    free(c->name);
    free(c);
}

/* ---- asking ----------------------------------------------------------------------------- */

static enum ttad_code check_ask(struct ttad *c, struct ttadi_channel *ch,
                                const struct ttadi_ask *ask, char id[TTAD_ID_SIZE])
{
    if (!c->zmq || !c->data.socket)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "the handle was not connected");
    if (ask->id)
        (void)snprintf(id, TTAD_ID_SIZE, "%s", ask->id); // its length is checked next
    else
        (void)snprintf(id, TTAD_ID_SIZE, "%016" PRIx64 "-%" PRIx64, c->prefix, ++c->count);
    if (ask->id && (!*ask->id || strlen(ask->id) > TTAD_WIRE_ID_MAX))
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "an id of %zu bytes, wanted 1 to %d",
                          strlen(ask->id), TTAD_WIRE_ID_MAX);
    if (ttadi_channel_has(ch, id))
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "a request with id '%s' is under way", id);
    if (ask->timeout_ms < 0 || ask->timeout_ms > LONGEST_MS)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "a timeout of %" PRId64 " ms, wanted more than 0",
                          ask->timeout_ms);
    return TTAD_OK;
}

enum ttad_code ttadi_ask(struct ttad *c, struct ttadi_channel *ch, struct ttadi_ask *ask,
                         char ret_id[TTAD_ID_SIZE])
{
    struct ttadi_request *r = NULL;
    char why[256];

    (void)ttadi_good(c);
    if (check_ask(c, ch, ask, ret_id) == TTAD_OK &&
        ttadi_channel_open(ch, why, sizeof why) != TTAD_OK)
        (void)ttadi_fail(c, TTAD_BAD_ARGUMENT, "%s", why);
    if (!c->code && ttadi_encode(c, ask, ret_id, &r) == TTAD_OK) {
        r->until_us = ttadi_now_us() + 1000 * (ask->timeout_ms ? ask->timeout_ms : c->timeout_ms);
        ttadi_channel_add(ch, r);
        ttadi_channel_turn(ch);
    }
    json_decref(ask->parameters);
    ask->parameters = NULL;
    return c->code;
}

/* ---- waiting ---------------------------------------------------------------------------- */

int64_t ttadi_until(int64_t timeout_ms)
{
    if (timeout_ms < 0 || timeout_ms > LONGEST_MS)
        return INT64_MAX;
    return timeout_ms ? ttadi_now_us() + 1000 * timeout_ms : 0;
}

static int add_items(const struct ttadi_channel *ch, zmq_pollitem_t *items, int n)
{
    if (!ch->socket)
        return n;
    items[n] = (zmq_pollitem_t){.socket = ch->socket, .events = ttadi_channel_events(ch)};
    items[n + 1] = (zmq_pollitem_t){.socket = ch->monitor, .events = ZMQ_POLLIN};
    return n + 2;
}

static void sleep_until(const struct ttad *c, int64_t until_us)
{
    const int64_t due[] = {ttadi_channel_due(&c->data), ttadi_channel_due(&c->control)};
    zmq_pollitem_t items[4];
    int64_t wait;
    int n = add_items(&c->control, items, add_items(&c->data, items, 0));

    for (size_t i = 0; i < sizeof due / sizeof *due; i++)
        until_us = due[i] < until_us ? due[i] : until_us;
    wait = until_us == INT64_MAX ? -1 : (until_us - ttadi_now_us() + 999) / 1000;
    if (until_us != INT64_MAX && wait < 0)
        wait = 0;
    if (wait > INT_MAX)
        wait = INT_MAX;
    (void)zmq_poll(items, n, (long)wait); // a signal: looked, and waited again
}

struct ttadi_request *ttadi_wait(struct ttad *c, struct ttadi_channel *ch, const char *id,
                                 int64_t until_us)
{
    for (;;) {
        struct ttadi_request *r;

        ttadi_channel_turn(&c->data);
        ttadi_channel_turn(&c->control);
        r = ttadi_channel_take(ch, id);
        if (r || (!id && !ch->pending.n) || ttadi_now_us() >= until_us)
            return r;
        sleep_until(c, until_us);
    }
}

enum ttad_code ttadi_result(struct ttad *c, struct ttadi_channel *ch, const char *id,
                            struct ttad_reply **ret)
{
    struct ttadi_request *r = ttadi_wait(c, ch, id, INT64_MAX); // it ends by its own timeout
    struct ttad_reply *reply = &r->reply->pub;

    (void)ttadi_good(c);
    if (reply->code == TTAD_OK) {
        *ret = reply;
        r->reply = NULL; // the caller's
    } else {
        (void)ttadi_fail(c, reply->code, "%s", reply->error);
        c->retry_after_ms = reply->retry_after_ms;
    }
    ttadi_request_free(r);
    ttadi_settle(c);
    return c->code;
}

/* ---- the descriptor --------------------------------------------------------------------- */

static int watch(int epoll, int fd)
{
    struct epoll_event e = {.events = EPOLLIN};

    return fd < 0 ? -1 : epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}

static int fd_of(void *socket)
{
    size_t n = sizeof(int);
    int fd = -1;

    return socket && zmq_getsockopt(socket, ZMQ_FD, &fd, &n) == 0 ? fd : -1;
}

static bool ready(void *socket, int events)
{
    size_t n = sizeof(int);
    int got = 0;

    return socket && zmq_getsockopt(socket, ZMQ_EVENTS, &got, &n) == 0 && got & events;
}

int ttad_fd(struct ttad *c)
{
    (void)ttadi_good(c);
    if (c->epoll >= 0)
        return c->epoll;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->epoll < 0 || watch(c->epoll, c->timer) != 0 || watch(c->epoll, c->wake) != 0 ||
        watch(c->epoll, fd_of(c->data.socket)) != 0 ||
        watch(c->epoll, fd_of(c->data.monitor)) != 0 ||
        (c->events && watch(c->epoll, fd_of(c->events)) != 0)) {
        (void)ttadi_fail(c, TTAD_NO_MEMORY, "no descriptor: %s", strerror(errno));
        if (c->epoll >= 0)
            close(c->epoll);
        if (c->timer >= 0)
            close(c->timer);
        if (c->wake >= 0)
            close(c->wake);
        c->epoll = c->timer = c->wake = -1;
        return -1;
    }
    ttadi_settle(c);
    return c->epoll;
}

void ttadi_watch_events(struct ttad *c)
{
    if (c->epoll >= 0)
        (void)watch(c->epoll, fd_of(c->events)); // no memory: ttad_event() finds them all the same
}

/* The descriptors of libzmq tell only that something has changed since its sockets were looked at:
 * what is left over after this look is told by the eventfd, and time by the timer. */
void ttadi_settle(struct ttad *c)
{
    const int64_t due = ttadi_channel_due(&c->data);
    struct itimerspec when = {{0, 0}, {0, 0}};
    uint64_t n = 1;
    bool more;

    if (c->epoll < 0)
        return;
    if (due != INT64_MAX) {
        when.it_value.tv_sec = (time_t)(due / 1000000);
        when.it_value.tv_nsec = (long)(due % 1000000) * 1000 + 1; // 0 would mean never
    }
    (void)timerfd_settime(c->timer, TFD_TIMER_ABSTIME, &when, NULL);
    more = ready(c->data.monitor, ZMQ_POLLIN);
    more = ready(c->events, ZMQ_POLLIN) || more;
    more = ready(c->data.socket, ttadi_channel_events(&c->data)) || more;
    if (c->data.done.n || more)
        n = (uint64_t)write(c->wake, &n, sizeof n); // full: it is readable
    else
        n = (uint64_t)read(c->wake, &n, sizeof n); // empty: it is not
}
