// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "daemon/doorway.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define WRITES 64 // of one peer before others have their turn

/* A message as parts: heads of frames, which are made each time, and what lies in job or news. */
struct parcel {
    struct iovec part[4];
    int n;
    unsigned char lead[48], mid[TT_ZMTP_HEAD];
};

static const char *const topics[TT_NTOPICS] = {"decision", "state", "daemon", "sample"};

static void add_part(struct parcel *v, const void *data, size_t n)
{
    v->part[v->n++] = (struct iovec){(void *)(uintptr_t)data, n};
}

static size_t put_frame(unsigned char *to, const void *data, size_t n)
{
    const size_t head = tt_zmtp_head(to, true, n);

    memcpy(to + head, data, n);
    return head + n;
}

static void wrap_job(const struct tt_job *job, struct parcel *ret)
{
    size_t n = put_frame(ret->lead, TTAD_WIRE_MAGIC, sizeof TTAD_WIRE_MAGIC - 1);

    n += tt_zmtp_head(ret->lead + n, job->tensor != NULL, job->nheader);
    ret->n = 0;
    add_part(ret, ret->lead, n);
    add_part(ret, job->header, job->nheader);
    if (job->tensor) {
        add_part(ret, ret->mid, tt_zmtp_head(ret->mid, false, job->ntensor));
        add_part(ret, job->tensor, job->ntensor);
    }
}

static void wrap_news(const struct tt_news *news, struct parcel *ret)
{
    const char *topic = topics[news->topic];
    size_t n = put_frame(ret->lead, topic, strlen(topic));

    n += put_frame(ret->lead + n, news->seq, sizeof news->seq);
    n += tt_zmtp_head(ret->lead + n, false, news->n);
    ret->n = 0;
    add_part(ret, ret->lead, n);
    add_part(ret, news->json, news->n);
}

/* Send a parcel from byte *sent on; true: all of it has left now, false: errno says why not. */
static bool send_parcel(int fd, struct parcel *v, size_t *sent)
{
    struct msghdr m = {.msg_iov = v->part, .msg_iovlen = (size_t)v->n};
    size_t skip = *sent, left = 0;
    ssize_t n;

    while (m.msg_iovlen && skip >= m.msg_iov->iov_len) {
        skip -= m.msg_iov->iov_len;
        m.msg_iov++;
        m.msg_iovlen--;
    }
    if (m.msg_iovlen) {
        m.msg_iov->iov_base = (char *)m.msg_iov->iov_base + skip;
        m.msg_iov->iov_len -= skip;
    }
    for (size_t i = 0; i < m.msg_iovlen; i++)
        left += m.msg_iov[i].iov_len;
    n = left ? sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    if (n < 0)
        return false;
    *sent += (size_t)n;
    errno = EAGAIN;
    return (size_t)n == left;
}

void tt_news_drop(struct tt_gate *g, struct tt_news *news)
{
    if (!news || --news->refs > 0)
        return;
    atomic_fetch_sub(&g->bytes, sizeof *news + news->n);
    free(news);
}

/* The next event that the peer asked for; what it was too slow for is counted. */
static struct tt_news *next_news(struct tt_gate *g, struct tt_peer *p)
{
    struct tt_news *ret = NULL;

    pthread_mutex_lock(&g->lock);
    if (g->next > TT_NEWS && p->cursor < g->next - TT_NEWS) {
        const struct tt_news *oldest = g->ring[g->next % TT_NEWS];

        for (int t = 0; oldest && t < TT_NTOPICS; t++) {
            if (p->topics[t])
                atomic_fetch_add(&g->dropped, oldest->before[t] - p->passed[t]);
            p->passed[t] = oldest->before[t];
        }
        p->cursor = g->next - TT_NEWS;
    }
    while (!ret && p->cursor < g->next) {
        ret = g->ring[p->cursor++ % TT_NEWS];
        if (ret)
            p->passed[ret->topic] = ret->before[ret->topic] + 1;
        if (ret && !p->topics[ret->topic])
            ret = NULL;
    }
    if (ret)
        ret->refs++;
    pthread_mutex_unlock(&g->lock);
    return ret;
}

static void find_news(struct tt_gate *g, struct tt_peer *p)
{
    if (p->news || !p->subscriptions || p->state != TT_PEER_OPEN)
        return;
    p->news = next_news(g, p);
    if (p->news && !p->ncontrol)
        p->progress_us = g->now_us;
}

bool tt_peer_pending(const struct tt_peer *p)
{
    return p->ncontrol || p->out || p->news;
}

void tt_peer_control(struct tt_peer *p, const unsigned char *b, size_t n, int64_t now_us)
{
    if (n > sizeof p->control - p->ncontrol)
        return; // a PONG to who sends PINGs and does not read
    if (!tt_peer_pending(p))
        p->progress_us = now_us;
    memcpy(p->control + p->ncontrol, b, n);
    p->ncontrol += n;
}

/* Commands go between messages, before the next one.  False: errno says why not. */
static bool send_control(struct tt_peer *p)
{
    struct parcel v = {.n = 0};

    add_part(&v, p->control, p->ncontrol);
    if (!send_parcel(p->fd, &v, &p->control_sent))
        return false;
    p->ncontrol = p->control_sent = 0;
    return true;
}

static bool send_job(struct tt_peer *p)
{
    struct tt_job *job = p->out;
    struct parcel v;

    wrap_job(job, &v);
    if (!send_parcel(p->fd, &v, &p->sent))
        return false;
    p->sent = 0;
    p->out = job->next;
    if (!p->out)
        p->out_tail = NULL;
    p->unanswered--;
    tt_job_free(job);
    return true;
}

static bool send_news(struct tt_gate *g, struct tt_peer *p)
{
    struct parcel v;

    wrap_news(p->news, &v);
    if (!send_parcel(p->fd, &v, &p->sent))
        return false;
    p->sent = 0;
    pthread_mutex_lock(&g->lock);
    tt_news_drop(g, p->news);
    pthread_mutex_unlock(&g->lock);
    p->news = NULL;
    return true;
}

bool tt_peer_write(struct tt_gate *g, struct tt_peer *p)
{
    bool sent = true;

    for (int i = 0; i < WRITES && sent; i++) {
        const size_t before = p->sent + p->control_sent;

        find_news(g, p);
        if (p->ncontrol && !p->sent)
            sent = send_control(p);
        else if (p->out)
            sent = send_job(p);
        else if (p->news)
            sent = send_news(g, p);
        else
            break;
        if (!sent && errno != EAGAIN && errno != EINTR) {
            tt_peer_drop(g, p);
            return false;
        }
        if (sent || p->sent + p->control_sent > before)
            p->progress_us = g->now_us;
    }
    find_news(g, p);
    if (p->state == TT_PEER_CLOSING && !p->unanswered && !tt_peer_pending(p))
        shutdown(p->fd, SHUT_WR); // it reads the end, and closes
    tt_peer_interest(g, p);
    return true;
}

void tt_peer_subscribe(struct tt_gate *g, struct tt_peer *p, const unsigned char *prefix, size_t n,
                       bool on)
{
    const bool first = !p->subscriptions;

    if (!on && first)
        return;
    p->subscriptions += on ? 1 : -1;
    for (int t = 0; t < TT_NTOPICS; t++) {
        const bool before = p->topics[t] > 0;

        if (n > strlen(topics[t]) || memcmp(topics[t], prefix, n) != 0)
            continue;
        p->topics[t] += on ? 1 : p->topics[t] > 0 ? -1 : 0;
        if (before != (p->topics[t] > 0))
            atomic_fetch_add(&g->wanted[t], before ? -1 : 1);
    }
    if (!first && p->subscriptions)
        return;
    atomic_fetch_add(&g->subscribers, on ? 1 : -1);
    pthread_mutex_lock(&g->lock);
    if (first) { // from here on
        p->cursor = g->next;
        memcpy(p->passed, g->put, sizeof p->passed);
    }
    pthread_mutex_unlock(&g->lock);
}

bool tt_gate_wanted(const struct tt_gate *g, enum tt_gate_topic topic)
{
    return atomic_load(&g->wanted[topic]) > 0;
}

bool tt_gate_publish(struct tt_gate *g, enum tt_gate_topic topic, int64_t seq, const char *json,
                     size_t n)
{
    struct tt_news *news = malloc(sizeof *news + n);
    const uint64_t one = 1;

    if (!news)
        return false;
    *news = (struct tt_news){.topic = topic, .refs = 1, .n = n};
    for (int i = 0; i < 8; i++)
        news->seq[i] = (unsigned char)((uint64_t)seq >> (8 * (7 - i)));
    memcpy(news->json, json, n);
    atomic_fetch_add(&g->bytes, sizeof *news + n);
    pthread_mutex_lock(&g->lock);
    memcpy(news->before, g->put, sizeof news->before);
    g->put[topic]++;
    tt_news_drop(g, g->ring[g->next % TT_NEWS]);
    g->ring[g->next++ % TT_NEWS] = news;
    pthread_mutex_unlock(&g->lock);
    if (atomic_load(&g->subscribers) && write(g->wake, &one, sizeof one) < 0)
        return true; // full: it is awake
    return true;
}
