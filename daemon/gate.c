// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "daemon/doorway.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/sockets.h"

#define TURN        64            // connections that are looked at in one turn
#define LINGER_US   500000        // for what is queued, at the end
#define OTHER_FILES 256           // that are no connections
#define WAKE        ((uint64_t)0) // what epoll gives back: peers have generations
#define ANSWERS     ((uint64_t)1)

static void wake_up(struct tt_gate *g)
{
    const uint64_t one = 1;

    if (write(g->wake, &one, sizeof one) < 0)
        return; // full: it is awake
}

bool tt_gate_watch(struct tt_gate *g, int fd, uint64_t id)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = id};

    return epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

void tt_peer_interest(struct tt_gate *g, struct tt_peer *p)
{
    const uint32_t want =
        (tt_peer_may_read(g, p) ? EPOLLIN : 0u) | (tt_peer_pending(p) ? EPOLLOUT : 0u);
    struct epoll_event e = {.events = want, .data.u64 = (uint64_t)p->generation << 32 | p->slot};

    if (want != p->interest && epoll_ctl(g->epoll, EPOLL_CTL_MOD, p->fd, &e) == 0)
        p->interest = want;
}

/* ---- the thread ----------------------------------------------------------------------------- */

static struct tt_peer *find_peer(struct tt_gate *g, uint64_t id)
{
    struct tt_peer *p = (uint32_t)id < (uint32_t)g->npeers ? &g->peers[(uint32_t)id] : NULL;

    return p && p->state != TT_PEER_FREE && p->generation == id >> 32 ? p : NULL;
}

static void take_answers(struct tt_gate *g)
{
    struct tt_job *job;

    while ((job = tt_mailbox_take(&g->answers))) {
        struct tt_peer *p = find_peer(g, job->peer);

        if (!p) {
            atomic_fetch_add(g->gone, 1);
            tt_job_free(job);
            continue;
        }
        if (!tt_peer_pending(p))
            p->progress_us = g->now_us;
        job->next = NULL;
        if (p->out_tail)
            p->out_tail->next = job;
        else
            p->out = job;
        p->out_tail = job;
        if (p->out == job)
            (void)tt_peer_write(g, p); // gone is gone
    }
}

/* Events, and doors to shut. */
static void take_orders(struct tt_gate *g)
{
    uint64_t n;
    int shut;

    if (read(g->wake, &n, sizeof n) < 0)
        return;
    pthread_mutex_lock(&g->lock);
    shut = g->shut;
    pthread_mutex_unlock(&g->lock);
    for (int d = 0; d < TT_GATE_DOORS; d++)
        for (int i = 0; (shut >> d & 1) && g->doors[d].open && i < g->doors[d].nlisten; i++)
            tt_socket_close(&g->doors[d].listen[i]);
    for (int d = 0; d < TT_GATE_DOORS; d++)
        g->doors[d].open = g->doors[d].open && !(shut >> d & 1);
    for (int i = 0; i < g->npeers; i++) {
        struct tt_peer *p = &g->peers[i];

        if (p->state != TT_PEER_FREE && (shut || (p->subscriptions && !p->news)))
            (void)tt_peer_write(g, p); // gone is gone
    }
    pthread_mutex_lock(&g->lock);
    g->shut &= ~shut;
    pthread_cond_broadcast(&g->done);
    pthread_mutex_unlock(&g->lock);
}

static void look_at(struct tt_gate *g, const struct epoll_event *e)
{
    const uint64_t id = e->data.u64;
    struct tt_peer *p;

    if (id == WAKE)
        take_orders(g);
    else if (id == ANSWERS)
        take_answers(g);
    else if (!(id >> 32)) {
        const struct tt_doorway *d = &g->doors[id >> 8 & 0xff];

        if (d->open)
            tt_door_accept(g, (enum tt_gate_door)(id >> 8 & 0xff), &d->listen[id >> 16]);
    } else if ((p = find_peer(g, id))) {
        if ((e->events & EPOLLIN) && tt_peer_may_read(g, p)) {
            (void)tt_peer_read(g, p); // and writes
        } else if (e->events & (EPOLLHUP | EPOLLERR)) {
            tt_peer_drop(g, p);
        } else {
            (void)tt_peer_write(g, p);
        }
    }
}

static bool is_over(struct tt_gate *g, int64_t *since_us)
{
    bool stop;

    pthread_mutex_lock(&g->lock);
    stop = g->stop;
    pthread_mutex_unlock(&g->lock);
    if (!stop)
        return false;
    take_answers(g);
    if (!*since_us)
        *since_us = g->now_us;
    if (g->now_us - *since_us > LINGER_US)
        return true;
    for (int i = 0; i < g->npeers; i++)
        if (g->peers[i].state != TT_PEER_FREE && tt_peer_write(g, &g->peers[i]) &&
            tt_peer_pending(&g->peers[i]))
            return false;
    return true;
}

static void *run(void *arg)
{
    struct tt_gate *g = arg;
    struct epoll_event e[TURN];
    int64_t stop_us = 0;

    tt_log_name("gate");
    do {
        const int n = epoll_wait(g->epoll, e, TURN, stop_us ? 20 : TT_TICK_US / 1000);

        g->now_us = tt_now_us();
        if (n < 0 && errno != EINTR) {
            tt_log(TT_LOG_ERR, "epoll: %s", strerror(errno));
            break;
        }
        for (int i = 0; i < n; i++)
            look_at(g, &e[i]);
        if (g->nwaiting)
            tt_gate_relieve(g);
        tt_gate_tick(g);
    } while (!is_over(g, &stop_us));
    return NULL;
}

/* ---- for others ------------------------------------------------------------------------------ */

static enum tt_code raise_files(int connections, struct tt_err *err)
{
    const rlim_t want = (rlim_t)connections * TT_GATE_DOORS + OTHER_FILES;
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) != 0)
        return tt_fail(err, TT_EIO, "RLIMIT_NOFILE: %s", strerror(errno));
    if (l.rlim_cur >= want)
        return TT_OK;
    if (l.rlim_max != RLIM_INFINITY && l.rlim_max < want)
        return tt_fail(err, TT_ERANGE,
                       "limits: connections %d of each socket need %llu open files, the system "
                       "allows %llu (ulimit -Hn, or LimitNOFILE= of the service)",
                       connections, (unsigned long long)want, (unsigned long long)l.rlim_max);
    l.rlim_cur = want;
    if (setrlimit(RLIMIT_NOFILE, &l) != 0)
        return tt_fail(err, TT_EIO, "RLIMIT_NOFILE %llu: %s", (unsigned long long)want,
                       strerror(errno));
    return TT_OK;
}

static bool lay_out(struct tt_gate *g)
{
    const int most = g->limits.connections;

    g->npeers = TT_GATE_DOORS * most;
    g->peers = TT_NEW(&g->arena, g->npeers, struct tt_peer);
    g->origins = TT_NEW(&g->arena, g->npeers, struct tt_origin);
    for (int d = 0; d < TT_GATE_DOORS; d++)
        g->doors[d].free = TT_NEW(&g->arena, most, uint32_t);
    if (!g->peers || !g->origins || !g->doors[TT_GATE_DOORS - 1].free || !g->doors[0].free ||
        !g->doors[1].free)
        return false;
    for (int i = 0; i < g->npeers; i++) {
        struct tt_doorway *d = &g->doors[i / most];

        g->peers[i] = (struct tt_peer){.slot = (uint32_t)i, .generation = 1, .fd = -1};
        d->free[d->nfree++] = (uint32_t)i;
    }
    return true;
}

static enum tt_code start(struct tt_gate *g, struct tt_err *err)
{
    g->epoll = epoll_create1(EPOLL_CLOEXEC);
    g->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->done, NULL);
    if (g->epoll < 0 || g->wake < 0)
        return tt_fail(err, TT_EIO, "epoll: %s", strerror(errno));
    if (tt_mailbox_init(&g->answers, err) != TT_OK)
        return err->code;
    g->now_us = g->log_us = tt_now_us();
    if (tt_gate_watch(g, g->wake, WAKE) && tt_gate_watch(g, g->answers.fd, ANSWERS) &&
        pthread_create(&g->thread, NULL, run, g) == 0)
        return TT_OK;
    tt_mailbox_end(&g->answers);
    return tt_fail(err, TT_EIO, "no thread");
}

static void end(struct tt_gate *g)
{
    struct tt_arena arena = g->arena; // it owns g

    if (g->epoll >= 0)
        close(g->epoll);
    if (g->wake >= 0)
        close(g->wake);
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->done);
    tt_arena_release(&arena);
}

enum tt_code tt_gate_start(const struct tt_gate_limits *limits, atomic_int_fast64_t *gone,
                           struct tt_gate **ret, struct tt_err *err)
{
    struct tt_arena arena;
    struct tt_gate *g;

    if (raise_files(limits->connections, err) != TT_OK)
        return err->code;
    tt_arena_init(&arena, 0);
    g = TT_NEW(&arena, 1, struct tt_gate);
    if (!g)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    g->arena = arena;
    g->limits = *limits;
    g->gone = gone;
    if (!lay_out(g)) {
        arena = g->arena;
        tt_arena_release(&arena);
        return tt_fail(err, TT_ENOMEM, "out of memory for %d connections", limits->connections);
    }
    if (start(g, err) != TT_OK) {
        end(g);
        return err->code;
    }
    *ret = g;
    return TT_OK;
}

enum tt_code tt_gate_open(struct tt_gate *g, enum tt_gate_door door,
                          const struct tt_strs *endpoints, struct tt_mailbox *inbox,
                          struct tt_err *err)
{
    struct tt_doorway *d = &g->doors[door];
    int n = 0;

    d->listen = calloc((size_t)endpoints->n, sizeof *d->listen);
    if (!d->listen)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    while (n < endpoints->n && tt_socket_listen(endpoints->s[n], &d->listen[n], err) == TT_OK)
        n++;
    d->inbox = inbox;
    d->nlisten = n;
    if (n == endpoints->n) {
        bool watched = true;

        d->open = true; // before the thread hears of it
        for (int i = 0; i < n; i++)
            watched &= tt_gate_watch(g, d->listen[i].fd,
                                     TT_LISTENER | (uint64_t)door << 8 | (uint64_t)i << 16);
        if (watched)
            return TT_OK;
        tt_gate_shut(g, door);
        return tt_fail(err, TT_EIO, "epoll: %s", strerror(errno));
    }
    while (n-- > 0)
        tt_socket_close(&d->listen[n]);
    free(d->listen);
    d->listen = NULL;
    return err->code;
}

void tt_gate_shut(struct tt_gate *g, enum tt_gate_door door)
{
    pthread_mutex_lock(&g->lock);
    g->shut |= 1 << door;
    wake_up(g);
    while (g->shut >> door & 1)
        pthread_cond_wait(&g->done, &g->lock);
    pthread_mutex_unlock(&g->lock);
    free(g->doors[door].listen);
    g->doors[door].listen = NULL;
}

void tt_gate_send(struct tt_gate *g, struct tt_job *job)
{
    tt_job_settle(job);
    tt_mailbox_put(&g->answers, job);
}

void tt_gate_stop(struct tt_gate *g)
{
    if (!g)
        return;
    for (int d = 0; d < TT_GATE_DOORS; d++)
        tt_gate_shut(g, (enum tt_gate_door)d);
    pthread_mutex_lock(&g->lock);
    g->stop = true;
    pthread_mutex_unlock(&g->lock);
    wake_up(g);
    pthread_join(g->thread, NULL);
    for (int i = 0; i < g->npeers; i++)
        if (g->peers[i].state != TT_PEER_FREE)
            tt_peer_drop(g, &g->peers[i]);
    for (int i = 0; i < TT_NEWS; i++)
        tt_news_drop(g, g->ring[i]);
    tt_mailbox_end(&g->answers);
    end(g);
}
