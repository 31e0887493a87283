// SPDX-License-Identifier: Apache-2.0
#include "daemon/loop.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/clients.h"
#include "daemon/control.h"
#include "daemon/lanes.h"
#include "daemon/metrics.h"
#include "daemon/reply.h"
#include "daemon/sockets.h"
#include "daemon/worker.h"

#define AT_ONCE     64  // messages received before answers are sent
#define LINGER_MS   500 // that answers may take to leave at the end
#define MAX_CONTROL 64  // control requests that wait for workers

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
                          .most = data ? (int)s->limits.queue_total : MAX_CONTROL,
                          .credit = data ? (int)s->limits.credit : MAX_CONTROL,
                          .stop = -1};
    tt_arena_init(&l->arena, 0);
    if (tt_mailbox_init(&l->done, err) != TT_OK)
        return err->code;
    if (tt_socket_bind(d->zmq, ZMQ_ROUTER, data ? &s->data : &s->control,
                       s->limits.max_message_bytes, &l->socket, err) != TT_OK) {
        tt_mailbox_end(&l->done);
        return err->code;
    }
    *ret = l;
    return TT_OK;
}

void tt_loop_answer(struct tt_job *job)
{
    tt_mailbox_put(&job->loop->done, job);
}

/* Frames of an answer; a client that is gone, or does not read, loses it, which is counted. */
static void send_answer(struct tt_loop *l, const struct tt_job *job)
{
    const int more = ZMQ_SNDMORE | ZMQ_DONTWAIT;

    if (zmq_send(l->socket, job->identity, job->nidentity, more) < 0 ||
        zmq_send(l->socket, TTAD_WIRE_MAGIC, sizeof TTAD_WIRE_MAGIC - 1, more) < 0 ||
        zmq_send(l->socket, job->header, job->nheader, job->tensor ? more : ZMQ_DONTWAIT) < 0 ||
        (job->tensor && zmq_send(l->socket, job->tensor, job->ntensor, ZMQ_DONTWAIT) < 0))
        atomic_fetch_add(&l->daemon->unroutable, 1);
}

static void finish(struct tt_loop *l, struct tt_job *job)
{
    send_answer(l, job);
    atomic_fetch_add(&l->daemon->answered, 1);
    tt_metrics_answer(l->daemon->metrics, job);
    tt_job_free(job);
}

/* Answers that workers have given. */
static void send_done(struct tt_loop *l)
{
    struct tt_job *job;

    while ((job = tt_mailbox_take(&l->done))) {
        l->outstanding--;
        tt_clients_return(l, job->client);
        if (l->door == TT_DOOR_DATA)
            atomic_fetch_sub(&job->lane->waiting, 1);
        tt_lane_drop(job->lane);
        finish(l, job);
    }
}

void tt_loop_free(struct tt_loop *l)
{
    const int linger = LINGER_MS;

    if (!l)
        return;
    send_done(l); // what workers have answered since
    zmq_setsockopt(l->socket, ZMQ_LINGER, &linger, sizeof linger);
    tt_mailbox_end(&l->done);
    zmq_close(l->socket);
    tt_arena_release(&l->arena);
}

static void refuse(struct tt_loop *l, struct tt_job *job, const struct tt_refusal *r)
{
    atomic_fetch_add(r->code == TT_WIRE_BUSY ? &l->daemon->busy : &l->daemon->refused, 1);
    tt_reply_refusal(job, r);
    finish(l, job);
}

/* About how long a stream with that many requests waiting is busy. */
static int64_t retry_ms(struct tt_lane *lane, int waiting)
{
    int64_t us;

    pthread_mutex_lock(&lane->worker->lock);
    us = lane->face.step_us;
    pthread_mutex_unlock(&lane->worker->lock);
    us = us * waiting / 1000;
    return us < 10 ? 10 : us > 5000 ? 5000 : us;
}

static enum tt_wire find_lane(struct tt_loop *l, struct tt_job *job, struct tt_refusal *r)
{
    const struct tt_request *q = &job->request;

    if (q->ask == TT_ASK_INFER || (q->ask == TT_ASK_STREAM && q->action == TT_STREAM_OPEN))
        return tt_lanes_open(l->daemon->lanes, q, &job->lane, r);
    job->lane = tt_lanes_find(l->daemon->lanes, q->stream);
    if (!job->lane)
        return tt_refuse(r, TT_WIRE_NO_STREAM, "stream '%s' is not known", q->stream);
    return TT_WIRE_OK;
}

/* Queues are bounded: in all, per client, per stream. */
static enum tt_wire admit(struct tt_loop *l, struct tt_job *job, struct tt_refusal *r)
{
    const int64_t most = l->daemon->settings->limits.queue_per_stream;
    int waiting;

    if (l->outstanding >= l->most) {
        (void)tt_refuse(r, TT_WIRE_BUSY, "%d requests wait, the limit is %d", l->outstanding,
                        l->most);
        r->retry_after_ms = 50;
        return r->code;
    }
    if (!tt_clients_take(l, job)) {
        (void)tt_refuse(r, TT_WIRE_BUSY, "%d requests of this client wait, its credit is %d",
                        l->credit, l->credit);
        r->retry_after_ms = 20;
        return r->code;
    }
    if (find_lane(l, job, r))
        return r->code;
    waiting = l->door == TT_DOOR_DATA ? atomic_load(&job->lane->waiting) : 0;
    if (waiting >= most) {
        (void)tt_refuse(r, TT_WIRE_BUSY, "%d requests wait for stream '%s', the limit is %" PRId64,
                        waiting, job->lane->name, most);
        r->retry_after_ms = retry_ms(job->lane, waiting);
    }
    return waiting >= most ? TT_WIRE_BUSY : TT_WIRE_OK;
}

static void hand_over(struct tt_loop *l, struct tt_job *job)
{
    struct tt_refusal r = {.code = TT_WIRE_OK};

    if (admit(l, job, &r)) {
        tt_clients_return(l, job->client);
        job->client = NULL;
        if (job->lane)
            tt_lane_drop(job->lane);
        refuse(l, job, &r);
        return;
    }
    l->outstanding++;
    if (l->door == TT_DOOR_DATA)
        atomic_fetch_add(&job->lane->waiting, 1);
    tt_worker_give(job->lane->worker, job, l->door == TT_DOOR_CONTROL);
}

static void take_job(struct tt_loop *l, struct tt_job *job, int nframes, size_t bytes)
{
    const size_t limit = (size_t)l->daemon->settings->limits.max_message_bytes;
    struct tt_frame frames[2 + TTAD_WIRE_TENSORS];
    struct tt_refusal r = {.code = TT_WIRE_OK};

    atomic_fetch_add(&l->daemon->requests, 1);
    for (int i = 0; i < job->nframes; i++)
        frames[i] = (struct tt_frame){zmq_msg_data(&job->frame[i]), zmq_msg_size(&job->frame[i])};
    if (nframes > job->nframes)
        (void)tt_refuse(&r, TT_WIRE_TOO_LARGE, "message has %d frames, the limit is %d", nframes,
                        2 + TTAD_WIRE_TENSORS);
    else if (bytes > limit)
        (void)tt_refuse(&r, TT_WIRE_TOO_LARGE, "message has %zu bytes, the limit is %zu", bytes,
                        limit);
    else
        (void)tt_proto_decode(frames, job->nframes, l->door, &job->request, &r);
    if (!r.code && job->lane == NULL && tt_control_here(l, job))
        finish(l, job);
    else if (!r.code && atomic_load(&l->daemon->draining)) {
        (void)tt_refuse(&r, TT_WIRE_DRAINING, "the daemon is stopping");
        refuse(l, job, &r);
    } else if (!r.code)
        hand_over(l, job);
    else
        refuse(l, job, &r);
}

static bool receive_frame(struct tt_loop *l, zmq_msg_t *f, bool *ret_more, size_t *bytes)
{
    zmq_msg_init(f);
    if (zmq_msg_recv(f, l->socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(f);
        return false;
    }
    *bytes += zmq_msg_size(f);
    *ret_more = zmq_msg_more(f);
    return true;
}

/* Receive one message whole; false: there is none. */
static bool receive(struct tt_loop *l)
{
    struct tt_job *job;
    zmq_msg_t identity;
    size_t bytes = 0;
    int n = 0;

    zmq_msg_init(&identity);
    if (zmq_msg_recv(&identity, l->socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&identity);
        return false;
    }
    job = tt_job_new();
    if (job) {
        job->loop = l;
        job->arrived_us = tt_now_us();
        job->arrived_ms = tt_now_ms();
        job->nidentity = zmq_msg_size(&identity) < sizeof job->identity ? zmq_msg_size(&identity)
                                                                        : sizeof job->identity;
        memcpy(job->identity, zmq_msg_data(&identity), job->nidentity);
    }
    for (bool more = zmq_msg_more(&identity); more; n++) {
        const bool keep = job && n < 2 + TTAD_WIRE_TENSORS;
        zmq_msg_t extra;

        if (!receive_frame(l, keep ? &job->frame[n] : &extra, &more, &bytes))
            break; // not seen: a message arrives whole
        if (keep)
            job->nframes = n + 1;
        else
            zmq_msg_close(&extra);
    }
    zmq_msg_close(&identity);
    if (job)
        take_job(l, job, n, bytes);
    return true;
}

static void turn(struct tt_loop *l, const zmq_pollitem_t items[2])
{
    tt_beat_busy(&l->beat, tt_now_us());
    if (items[0].revents & ZMQ_POLLIN)
        for (int i = 0; i < AT_ONCE && receive(l); i++)
            continue;
    if (items[1].revents & ZMQ_POLLIN)
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
        zmq_pollitem_t items[3] = {{.socket = l->socket, .events = ZMQ_POLLIN},
                                   {.fd = l->done.fd, .events = ZMQ_POLLIN},
                                   {.fd = l->daemon->wake, .events = ZMQ_POLLIN}};

        if (zmq_poll(items, 3,
                     tt_notify_wait(&l->daemon->notify, l->drain_us ? 20 : -1, tt_now_us())) < 0 &&
            errno != EINTR) {
            tt_log(TT_LOG_ERR, "poll: %s", zmq_strerror(errno));
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
        zmq_pollitem_t items[3] = {{.socket = l->socket, .events = ZMQ_POLLIN},
                                   {.fd = l->done.fd, .events = ZMQ_POLLIN},
                                   {.fd = l->stop, .events = ZMQ_POLLIN}};

        if (zmq_poll(items, 3, -1) < 0 && errno != EINTR)
            break;
        turn(l, items);
        if (items[2].revents & ZMQ_POLLIN)
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
