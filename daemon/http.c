// SPDX-License-Identifier: Apache-2.0
#include "daemon/http.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/http_routes.h"
#include "daemon/job.h"

/*
 * libmicrohttpd gives up only on a silent connection: one byte now and then keeps it.  So each
 * connection has a time until which what it does next must be done, and the thread looks once a
 * second.  That thread drives libmicrohttpd itself (its epoll descriptor beside an eventfd), since
 * then one thread has all of it and nothing needs a lock.  It accepts connections, too:
 * libmicrohttpd hangs up on those above its limit, here they wait until there is room.
 */
#define HEAD_US    (10 * 1000000LL)  // from the first byte of a head to its end
#define ANSWER_US  (30 * 1000000LL)  // that an answer may take to be read
#define IDLE_US    (120 * 1000000LL) // between requests; pools of clients keep 60 s
#define FULL_US    (2 * 1000000LL)   // all connections are taken: that one may wait for its client
#define SWEEP_MS   1000
#define STOP_MS    500 // that answers may take to leave at the end
#define HEAD_BYTES ((size_t)32 << 10)

const int tt_http_statuses[TT_HTTP_STATUSES] = {200, 400, 403, 404, 405, 414, 503, 500};

struct peer { // a connection
    int fd;   // -1: not in use
    bool answering;
    int64_t since_us, until_us; // it has waited for its client since, and may until
};

struct tt_http {
    struct tt_daemon *daemon;
    struct tt_arena arena; // of one answer
    struct MHD_Daemon *mhd;
    int listen, epoll, wake;
    bool full; // no descriptor was left, until the next sweep
    pthread_t thread;
    atomic_bool stop;
    struct peer peers[TT_HTTP_CONNECTIONS];
    _Atomic int64_t connections, cut, answered[TT_HTTP_STATUSES];
};

static void wait_for_client(struct peer *p, int64_t us)
{
    p->answering = false;
    p->since_us = tt_now_us();
    p->until_us = p->since_us + us;
}

static void on_connection(void *cls, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct tt_http *h = cls;
    struct peer *p = *context;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        atomic_fetch_sub(&h->connections, 1);
        if (p)
            p->fd = -1;
        return;
    }
    atomic_fetch_add(&h->connections, 1);
    for (int i = 0; i < TT_HTTP_CONNECTIONS && !p; i++)
        if (h->peers[i].fd < 0)
            p = &h->peers[i];
    if (p && info) {
        p->fd = info->connect_fd;
        wait_for_client(p, HEAD_US);
        *context = p;
    }
}

static struct peer *peer_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

/* The first line of a request has come. */
static void *on_line(void *cls, const char *uri, struct MHD_Connection *c)
{
    struct peer *p = peer_of(c);

    (void)cls;
    (void)uri;
    if (p && p->until_us > tt_now_us() + HEAD_US)
        p->until_us = tt_now_us() + HEAD_US;
    return NULL;
}

static void on_completed(void *cls, struct MHD_Connection *c, void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct peer *p = peer_of(c);

    (void)cls;
    (void)request;
    (void)code;
    if (p)
        wait_for_client(p, IDLE_US);
}

static void on_message(void *cls, const char *fmt, va_list ap) TT_PRINTF(2, 0);

static void on_message(void *cls, const char *fmt, va_list ap)
{
    char text[256];

    (void)cls;
    (void)vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    tt_log(TT_LOG_DEBUG, "libmicrohttpd: %s", text);
}

/* Paths are decoded by us, segment by segment: "%2F" is not a '/' between them. */
static size_t keep_escaped(void *cls, struct MHD_Connection *c, char *s)
{
    (void)cls;
    (void)c;
    return strlen(s);
}

static enum MHD_Result take_header(void *cls, enum MHD_ValueKind kind, const char *key,
                                   const char *value)
{
    (void)kind;
    tt_http_header(cls, key, value ? value : "");
    return MHD_YES;
}

static void count_answer(struct tt_http *h, int status)
{
    int i = 0;

    while (i < TT_HTTP_STATUSES - 1 && tt_http_statuses[i] != status)
        i++;
    atomic_fetch_add_explicit(&h->answered[i], 1, memory_order_relaxed);
}

/* Queue the answer; the connection ends with it if that is how it must be. */
static enum MHD_Result answer_with(struct tt_http *h, struct MHD_Connection *c,
                                   const struct tt_http_answer *a, bool last)
{
    struct peer *p = peer_of(c);
    const size_t n = strlen(a->body);
    enum MHD_Result ok;
    struct MHD_Response *r;

    /* MHD only reads it, and copies it: its type is older than const in it. */
    r = MHD_create_response_from_buffer(n, (void *)(uintptr_t)a->body, MHD_RESPMEM_MUST_COPY);
    if (!r)
        return MHD_NO;
    (void)MHD_add_response_header(r, "Content-Type", a->type); // without a header it is still sent
    (void)MHD_add_response_header(r, "Cache-Control", "no-store");
    (void)MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
    (void)MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (a->allow)
        (void)MHD_add_response_header(r, "Allow", a->allow);
    if (last)
        (void)MHD_add_response_header(r, "Connection", "close");
    ok = MHD_queue_response(c, (unsigned)a->status, r);
    MHD_destroy_response(r);
    count_answer(h, a->status);
    if (p) {
        p->answering = true;
        p->until_us = tt_now_us() + ANSWER_US;
    }
    return ok;
}

/* Called when the head is complete, and again when the request is. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **request)
{
    struct tt_http *h = cls;
    struct tt_http_head head = {.version = version};
    struct tt_http_refusal refusal;
    struct tt_http_answer answer;
    bool body, sound;

    (void)upload;
    (void)upload_size;
    (void)MHD_get_connection_values(c, MHD_HEADER_KIND, take_header, &head);
    body = tt_http_has_body(&head);
    sound = tt_http_check(&head, &refusal);
    if (!*request && sound && !body) {
        *request = h; // answered early, it would be the connection's last
        return MHD_YES;
    }
    tt_arena_reset(&h->arena);
    if (sound)
        tt_http_answer(h->daemon, method, url, body, &h->arena, &answer);
    else
        tt_http_refuse(&refusal, &h->arena, &answer);
    return answer_with(h, c, &answer, !sound || body);
}

/* Cut off who is too slow. */
static void sweep(struct tt_http *h)
{
    const bool full = atomic_load(&h->connections) >= TT_HTTP_CONNECTIONS;
    const int64_t now = tt_now_us();

    for (int i = 0; i < TT_HTTP_CONNECTIONS; i++) {
        struct peer *p = &h->peers[i];

        if (p->fd < 0 ||
            (now < p->until_us && (!full || p->answering || now < p->since_us + FULL_US)))
            continue;
        (void)shutdown(p->fd, SHUT_RDWR); // libmicrohttpd sees it, and closes
        p->until_us = INT64_MAX;
        p->since_us = now;
        atomic_fetch_add_explicit(&h->cut, 1, memory_order_relaxed);
    }
}

static bool is_answering(const struct tt_http *h)
{
    for (int i = 0; i < TT_HTTP_CONNECTIONS; i++)
        if (h->peers[i].fd >= 0 && h->peers[i].answering)
            return true;
    return false;
}

static void accept_some(struct tt_http *h)
{
    while (atomic_load(&h->connections) < TT_HTTP_CONNECTIONS) {
        struct sockaddr_storage from;
        socklen_t n = sizeof from;
        const int fd = accept(h->listen, (struct sockaddr *)&from, &n);

        if (fd < 0) {
            h->full = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
            return;
        }
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
        (void)MHD_add_connection(h->mhd, fd, (struct sockaddr *)&from, n); // closes it, or has it
    }
}

static void turn(struct tt_http *h, int most_ms, bool listens)
{
    const bool room = atomic_load(&h->connections) < TT_HTTP_CONNECTIONS && !h->full;
    struct pollfd fds[3] = {{.fd = h->epoll, .events = POLLIN},
                            {.fd = h->wake, .events = POLLIN},
                            {.fd = listens && room ? h->listen : -1, .events = POLLIN}};
    MHD_UNSIGNED_LONG_LONG ms;

    if (MHD_get_timeout(h->mhd, &ms) == MHD_YES && (most_ms < 0 || ms < (unsigned)most_ms))
        most_ms = (int)ms;
    if (poll(fds, 3, most_ms) < 0 && errno != EINTR)
        tt_log(TT_LOG_ERR, "poll: %s", strerror(errno));
    if (fds[2].revents)
        accept_some(h);
    (void)MHD_run(h->mhd);
}

static void *run(void *arg)
{
    struct tt_http *h = arg;
    int64_t swept = 0, end;

    tt_log_name("http");
    while (!atomic_load(&h->stop)) {
        turn(h, atomic_load(&h->connections) || h->full ? SWEEP_MS : -1, true);
        if (tt_now_us() - swept >= SWEEP_MS * 1000) {
            sweep(h);
            swept = tt_now_us();
            h->full = false;
        }
    }
    end = tt_now_us() + STOP_MS * 1000;
    while (is_answering(h) && tt_now_us() < end)
        turn(h, 10, false);
    return NULL;
}

static enum tt_code start_mhd(struct tt_http *h, struct tt_err *err)
{
    const union MHD_DaemonInfo *info;

    h->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, h,
        MHD_OPTION_EXTERNAL_LOGGER, on_message, h, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)TT_HTTP_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(IDLE_US / 1000000),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEAD_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escaped, h, MHD_OPTION_URI_LOG_CALLBACK, on_line, h,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        h, MHD_OPTION_END);
    if (!h->mhd)
        return tt_fail(err, TT_EIO, "libmicrohttpd does not start");
    info = MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    h->epoll = info ? info->epoll_fd : -1;
    return h->epoll >= 0 ? TT_OK : tt_fail(err, TT_EIO, "libmicrohttpd has no epoll");
}

/* Stops what has started; the thread has not, or has ended. */
static void dispose(struct tt_http *h)
{
    if (h->mhd)
        MHD_stop_daemon(h->mhd); // closes the connections
    if (h->listen >= 0)
        close(h->listen);
    if (h->wake >= 0)
        close(h->wake);
    tt_arena_release(&h->arena);
}

enum tt_code tt_http_start(struct tt_daemon *d, struct tt_http **ret, struct tt_err *err)
{
    struct tt_http *h;

    *ret = NULL;
    if (!*d->settings->http)
        return TT_OK;
    h = TT_NEW(&d->arena, 1, struct tt_http);
    if (!h)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    *h = (struct tt_http){.daemon = d, .listen = -1, .wake = -1};
    for (int i = 0; i < TT_HTTP_CONNECTIONS; i++)
        h->peers[i].fd = -1;
    tt_arena_init(&h->arena, 0);
    h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->wake < 0)
        (void)tt_fail(err, TT_EIO, "eventfd: %s", strerror(errno));
    else if (tt_http_listen(d->settings->http, &h->listen, err) == TT_OK &&
             start_mhd(h, err) == TT_OK) {
        if (pthread_create(&h->thread, NULL, run, h) == 0) {
            *ret = h;
            return TT_OK;
        }
        (void)tt_fail(err, TT_EIO, "no thread");
    }
    dispose(h);
    return err->code;
}

void tt_http_stop(struct tt_http *h)
{
    const uint64_t one = 1;

    if (!h)
        return;
    atomic_store(&h->stop, true);
    if (write(h->wake, &one, sizeof one) < 0)
        tt_log(TT_LOG_ERR, "eventfd: %s", strerror(errno));
    pthread_join(h->thread, NULL);
    dispose(h);
    if (!strncmp(h->daemon->settings->http, "unix:", 5))
        (void)unlink(h->daemon->settings->http + 5); // a later start would remove it, too
}

void tt_http_stats(const struct tt_http *h, struct tt_http_stats *ret)
{
    *ret = (struct tt_http_stats){.connections = 0};
    if (!h)
        return;
    ret->connections = atomic_load(&h->connections);
    ret->cut = atomic_load(&h->cut);
    for (int i = 0; i < TT_HTTP_STATUSES; i++)
        ret->answered[i] = atomic_load(&h->answered[i]);
}
