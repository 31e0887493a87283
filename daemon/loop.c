// SPDX-License-Identifier: Apache-2.0
#include "daemon/loop.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/admit.h"
#include "daemon/control.h"
#include "daemon/gate.h"
#include "daemon/lanes.h"
#include "daemon/metrics.h"
#include "daemon/reload.h"
#include "daemon/reply.h"
#include "daemon/worker.h"

#define AT_ONCE     64 // messages received before answers are sent
#define MAX_CONTROL 64 // control requests that wait for workers

void tt_loop_limits(struct tt_loop *l)
{
    struct tt_catalogue *c;
    const struct tt_limits *limits;

    if (l->door != TT_DOOR_DATA || l->seen == atomic_load(&l->daemon->shelf.number))
        return;
    c = tt_shelf_take(&l->daemon->shelf);
    limits = &c->config->settings->limits;
    l->most = (int)limits->queue_total;
    l->credit = (int)limits->credit;
    l->per_stream = limits->queue_per_stream;
    l->seen = c->number;
    tt_catalogue_drop(c);
}

enum tt_code tt_loop_new(struct tt_daemon *d, enum tt_door door, struct tt_loop **ret,
                         struct tt_err *err)
{
    const struct tt_settings *s = d->settings;
    const bool data = door == TT_DOOR_DATA;
    struct tt_loop *l = TT_NEW(&d->arena, 1, struct tt_loop);

    if (!l)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    *l = (struct tt_loop){.daemon = d,
                          .name = data ? "data" : "control",
                          .door = door,
                          .most = MAX_CONTROL,
                          .most_held = data ? s->limits.queue_bytes : s->limits.max_message_bytes,
                          .credit = MAX_CONTROL,
                          .stop = -1};
    tt_loop_limits(l);
    tt_arena_init(&l->arena, 0);
    if (tt_mailbox_init(&l->done, err) != TT_OK)
        return err->code;
    if (tt_mailbox_init(&l->inbox, err) == TT_OK) {
        if (tt_gate_open(d->gate, data ? TT_GATE_DATA : TT_GATE_CONTROL,
                         data ? &s->data : &s->control, &l->inbox, err) == TT_OK) {
            *ret = l;
            return TT_OK;
        }
        tt_mailbox_end(&l->inbox);
    }
    tt_mailbox_end(&l->done);
    return err->code;
}

void tt_loop_answer(struct tt_job *job)
{
    tt_mailbox_put(&job->loop->done, job);
}

void tt_loop_finish(struct tt_loop *l, struct tt_job *job)
{
    atomic_fetch_add(&l->daemon->answered, 1);
    tt_metrics_answer(l->daemon->metrics, job);
    tt_gate_send(l->daemon->gate, job);
}

/* Answers that workers have given. */
static void send_done(struct tt_loop *l)
{
    struct tt_job *job;

    while ((job = tt_mailbox_take(&l->done))) {
        tt_admit_leave(l, job);
        tt_loop_finish(l, job);
    }
}

void tt_loop_free(struct tt_loop *l)
{
    if (!l)
        return;
    tt_gate_shut(l->daemon->gate, l->door == TT_DOOR_DATA ? TT_GATE_DATA : TT_GATE_CONTROL);
    send_done(l); // what workers have answered since
    tt_mailbox_end(&l->done);
    tt_mailbox_end(&l->inbox);
    tt_arena_release(&l->arena);
}

static void refuse(struct tt_loop *l, struct tt_job *job, const struct tt_refusal *r)
{
    atomic_fetch_add(r->code == TT_WIRE_BUSY ? &l->daemon->busy : &l->daemon->refused, 1);
    tt_reply_refusal(job, r);
    tt_loop_finish(l, job);
}

static void hand_over(struct tt_loop *l, struct tt_job *job)
{
    struct tt_refusal r = {.code = TT_WIRE_OK};

    if (tt_admit(l, job, &r)) {
        refuse(l, job, &r);
        return;
    }
    if (!job->lane) {
        tt_reload_give(l->daemon->reload, job);
        return;
    }
    tt_worker_give(job->lane->worker, job, l->door == TT_DOOR_CONTROL);
    job->client->expect_us += job->expect_us; // it comes back to this thread
}

static void take_job(struct tt_loop *l, struct tt_job *job)
{
    const size_t limit = (size_t)l->daemon->settings->limits.max_message_bytes;
    struct tt_refusal r = {.code = TT_WIRE_OK};

    atomic_fetch_add(&l->daemon->requests, 1);
    (void)tt_proto_decode(job->frame, job->nframes, l->door, &job->request, &r);
    if (job->came_frames > 2 + TTAD_WIRE_TENSORS) // decoded all the same, for its id
        (void)tt_refuse(&r, TT_WIRE_TOO_LARGE, "message has %" PRId64 " frames, the limit is %d",
                        job->came_frames, 2 + TTAD_WIRE_TENSORS);
    else if (job->came_bytes > limit)
        (void)tt_refuse(&r, TT_WIRE_TOO_LARGE, "message has %" PRIu64 " bytes, the limit is %zu",
                        job->came_bytes, limit);
    if (!r.code && job->request.ask == TT_ASK_CANCEL) {
        tt_admit_cancel(l, job);
        tt_loop_finish(l, job);
    } else if (!r.code && tt_control_here(l, job))
        tt_loop_finish(l, job);
    else if (!r.code && atomic_load(&l->daemon->draining)) {
        (void)tt_refuse(&r, TT_WIRE_DRAINING, "the daemon is stopping");
        refuse(l, job, &r);
    } else if (!r.code)
        hand_over(l, job);
    else
        refuse(l, job, &r);
}

/* Take one message; false: there is none. */
static bool receive(struct tt_loop *l)
{
    struct tt_job *job = tt_mailbox_take(&l->inbox);

    if (!job)
        return false;
    job->loop = l;
    take_job(l, job);
    return true;
}

static void turn(struct tt_loop *l, const struct pollfd items[2])
{
    tt_beat_busy(&l->beat, tt_now_us());
    if (items[0].revents & POLLIN)
        for (int i = 0; i < AT_ONCE && receive(l); i++)
            continue;
    if (items[1].revents & POLLIN)
        send_done(l);
    tt_beat_idle(&l->beat, tt_now_us());
}

/* The first signal begins to drain, the second ends at once. */
static bool check_drain(struct tt_loop *l)
{
    struct tt_daemon *d = l->daemon;
    uint64_t n = 0;

    if (read(d->wake, &n, sizeof n) > 0 && n) {
        if (l->drain_us || n > 1)
            return true;
        l->drain_us = tt_now_us() + d->settings->limits.drain_ms * 1000;
        atomic_store(&d->draining, true);
        tt_health_set(&d->health, TT_HEALTH_DRAINING, "takes no more work");
    }
    return l->drain_us && (!l->outstanding || tt_now_us() >= l->drain_us);
}

void tt_loop_run(struct tt_loop *l)
{
    bool over = false;

    tt_metrics_join(l->daemon->metrics, TT_TALLY_DATA);
    while (!over) {
        struct pollfd items[3] = {{.fd = l->inbox.fd, .events = POLLIN},
                                  {.fd = l->done.fd, .events = POLLIN},
                                  {.fd = l->daemon->wake, .events = POLLIN}};

        if (poll(items, 3, tt_notify_wait(&l->daemon->notify, l->drain_us ? 20 : -1, tt_now_us())) <
                0 &&
            errno != EINTR) {
            tt_log(TT_LOG_ERR, "poll: %s", strerror(errno));
            break;
        }
        turn(l, items);
        over = check_drain(l);
        tt_notify_turn(l->daemon, tt_now_us());
    }
}

static void *run(void *arg)
{
    struct tt_loop *l = arg;

    tt_log_name("control");
    tt_metrics_join(l->daemon->metrics, TT_TALLY_CONTROL);
    for (;;) {
        struct pollfd items[3] = {{.fd = l->inbox.fd, .events = POLLIN},
                                  {.fd = l->done.fd, .events = POLLIN},
                                  {.fd = l->stop, .events = POLLIN}};

        if (poll(items, 3, -1) < 0 && errno != EINTR)
            break;
        turn(l, items);
        if (items[2].revents & POLLIN)
            break;
    }
    return NULL;
}

enum tt_code tt_loop_start(struct tt_loop *l, struct tt_err *err)
{
    l->stop = eventfd(0, EFD_CLOEXEC);
    if (l->stop < 0)
        return tt_fail(err, TT_EIO, "eventfd: %s", strerror(errno));
    if (pthread_create(&l->thread, NULL, run, l) != 0) {
        close(l->stop);
        l->stop = -1;
        return tt_fail(err, TT_EIO, "no thread");
    }
    return TT_OK;
}

void tt_loop_stop(struct tt_loop *l)
{
    const uint64_t one = 1;

    if (!l || l->stop < 0)
        return;
    if (write(l->stop, &one, sizeof one) < 0)
        tt_log(TT_LOG_ERR, "eventfd: %s", strerror(errno));
    pthread_join(l->thread, NULL);
    close(l->stop);
    l->stop = -1;
}
