// SPDX-License-Identifier: Apache-2.0
#include "daemon/doorway.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"

#define LOG_US    ((int64_t)10 * 1000000) // in which
#define LOG_LINES 10                      // so many lines are written

static const struct {
    const char *name, *what;
} cuts[TT_NCUTS] = {
#define TT_CUT_ROW(cut, name, what) [cut] = {name, what},
    TT_CUTS(TT_CUT_ROW)
#undef TT_CUT_ROW
};

const char *tt_cut_name(enum tt_cut cut)
{
    return (unsigned)cut < TT_NCUTS ? cuts[cut].name : "";
}

void tt_cut_tick(struct tt_gate *g)
{
    if (g->now_us - g->log_us < LOG_US)
        return;
    if (g->unlogged)
        tt_log(TT_LOG_WARN, "%d more connections were cut off in the last %lld s", g->unlogged,
               (long long)((g->now_us - g->log_us) / 1000000));
    g->log_us = g->now_us;
    g->logged = g->unlogged = 0;
}

void tt_cut_tell(struct tt_gate *g, enum tt_gate_door door, const char *name, enum tt_cut cut,
                 const char *why)
{
    atomic_fetch_add(&g->cut[cut], 1);
    if (g->logged >= LOG_LINES) {
        g->unlogged++;
        return;
    }
    g->logged++;
    tt_log(TT_LOG_WARN, "%s: %s is cut off: %s: %s", tt_door_name(door), name, cuts[cut].what, why);
}

void tt_peer_cut(struct tt_gate *g, struct tt_peer *p, enum tt_cut cut, const char *fmt, ...)
{
    char why[TT_ERR_MSG];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof why, fmt, ap); // cut when too long
    va_end(ap);
    tt_text_clean(why);
    tt_cut_tell(g, p->door, p->name, cut, why);
    tt_peer_drop(g, p);
}

static void drop_subscriber(struct tt_gate *g, struct tt_peer *p)
{
    for (int t = 0; t < TT_NTOPICS; t++)
        if (p->topics[t])
            atomic_fetch_sub(&g->wanted[t], 1);
    if (p->subscriptions)
        atomic_fetch_sub(&g->subscribers, 1);
    pthread_mutex_lock(&g->lock);
    tt_news_drop(g, p->news);
    pthread_mutex_unlock(&g->lock);
}

/* Jobs that are on their way come back to nobody: the generation is another one then. */
void tt_peer_drop(struct tt_gate *g, struct tt_peer *p)
{
    struct tt_doorway *door = &g->doors[p->door];
    struct tt_job *job;

    while ((job = p->out)) {
        p->out = job->next;
        atomic_fetch_add(g->gone, 1);
        tt_job_free(job);
    }
    tt_job_free(p->job);
    drop_subscriber(g, p);
    if (p->wait_us)
        atomic_store(&g->waiting, --g->nwaiting);
    close(p->fd); // and so epoll forgets it
    p->origin->connections[p->door]--;
    atomic_fetch_sub(&g->connections, 1);
    door->npeers--;
    door->free[door->nfree++] = p->slot;
    *p = (struct tt_peer){.slot = p->slot, .generation = p->generation + 1, .fd = -1};
}

void tt_gate_counts(struct tt_gate *g, struct tt_gate_counts *ret)
{
    *ret = (struct tt_gate_counts){.connections = atomic_load(&g->connections),
                                   .accepted = atomic_load(&g->accepted),
                                   .bytes = (int64_t)atomic_load(&g->bytes),
                                   .most_bytes = (int64_t)g->limits.memory_bytes,
                                   .waiting = atomic_load(&g->waiting),
                                   .subscribers = atomic_load(&g->subscribers),
                                   .events_dropped = atomic_load(&g->dropped)};
    for (int i = 0; i < TT_NCUTS; i++)
        ret->cut[i] = atomic_load(&g->cut[i]);
}

json_t *tt_gate_json(struct tt_gate *g)
{
    struct tt_gate_counts c;
    json_t *cut = json_object();

    tt_gate_counts(g, &c);
    for (int i = 0; i < TT_NCUTS; i++)
        json_object_set_new(cut, cuts[i].name, json_integer(c.cut[i]));
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "open", (json_int_t)c.connections,
                     "accepted", (json_int_t)c.accepted, "memory_bytes", (json_int_t)c.bytes,
                     "memory_limit", (json_int_t)c.most_bytes, "waiting", (json_int_t)c.waiting,
                     "subscribers", (json_int_t)c.subscribers, "events_missed",
                     (json_int_t)c.events_dropped, "cut", cut);
}
