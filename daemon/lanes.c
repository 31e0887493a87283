// SPDX-License-Identifier: Apache-2.0
#include "daemon/lanes.h"

#include <stdio.h>
#include <string.h>

#include "daemon/worker.h"

#define BUCKETS 1024
#define LOOKED  16 // lanes, for a closed one, before a new one is made

struct tt_lanes {
    struct tt_daemon *daemon;
    struct tt_arena arena;
    pthread_mutex_t lock; // of the list and the arena
    struct tt_lane *bucket[BUCKETS];
    struct tt_lane **all; // [max]
    int n, max;
    int looked; // where the next look for a closed one begins
};

enum tt_code tt_lanes_new(struct tt_daemon *d, struct tt_lanes **ret, struct tt_err *err)
{
    struct tt_lanes *l = TT_NEW(&d->arena, 1, struct tt_lanes);

    if (!l)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    l->daemon = d;
    l->max = (int)d->settings->limits.max_streams;
    l->all = TT_NEW(&d->arena, l->max, struct tt_lane *);
    if (!l->all)
        return tt_fail(err, TT_ENOMEM, "out of memory for %d streams", l->max);
    tt_arena_init(&l->arena, 0);
    pthread_mutex_init(&l->lock, NULL);
    *ret = l;
    return TT_OK;
}

void tt_lanes_free(struct tt_lanes *l)
{
    if (!l)
        return;
    pthread_mutex_destroy(&l->lock);
    tt_arena_release(&l->arena);
}

static unsigned hash(const char *name)
{
    uint32_t h = 2166136261u;

    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return h % BUCKETS;
}

static bool is_closed(struct tt_lane *lane)
{
    bool closed;

    pthread_mutex_lock(&lane->worker->lock);
    closed = lane->face.closed;
    pthread_mutex_unlock(&lane->worker->lock);
    return closed;
}

static struct tt_lane *look_up(const struct tt_lanes *l, const char *name)
{
    struct tt_lane *lane = l->bucket[hash(name)];

    while (lane && strcmp(lane->name, name) != 0)
        lane = lane->next;
    return lane;
}

struct tt_lane *tt_lanes_find(struct tt_lanes *l, const char *name)
{
    struct tt_lane *lane;

    pthread_mutex_lock(&l->lock);
    lane = look_up(l, name);
    if (lane && is_closed(lane))
        lane = NULL;
    if (lane)
        atomic_fetch_add(&lane->refs, 1);
    pthread_mutex_unlock(&l->lock);
    return lane;
}

void tt_lane_drop(struct tt_lane *lane)
{
    atomic_fetch_sub(&lane->refs, 1);
}

void tt_face_policy(struct tt_face *f, const struct tt_policy *p)
{
    (void)snprintf(f->engine, sizeof f->engine, "%s", p->method.preset);
    memcpy(f->policy_hash, p->hash, sizeof f->policy_hash);
}

void tt_lane_let_go(struct tt_lane *lane)
{
    tt_served_model_drop(lane->model);
    tt_served_policy_drop(lane->policy);
    lane->model = NULL;
    lane->policy = NULL;
}

/* A lane for one more stream: a new one, or that of a stream that was closed. */
/* A lane from from on, in at most tries, that was closed and that nobody holds, taken out of its
 * bucket; NULL: none of these is. */
static struct tt_lane *find_closed(struct tt_lanes *l, int from, int tries)
{
    for (int i = 0; i < tries && i < l->n; i++) {
        struct tt_lane *lane = l->all[(from + i) % l->n], **at;

        if (atomic_load(&lane->refs) || !is_closed(lane))
            continue;
        at = &l->bucket[hash(lane->name)];
        while (*at && *at != lane)
            at = &(*at)->next;
        if (*at)
            *at = lane->next;
        return lane;
    }
    return NULL;
}

/* A few are looked at each time, so that whoever comes and goes takes the same places again. */
static struct tt_lane *find_place(struct tt_lanes *l)
{
    struct tt_lane *lane = find_closed(l, l->looked, LOOKED);

    l->looked = l->n ? (l->looked + LOOKED) % l->n : 0;
    if (!lane && l->n == l->max)
        lane = find_closed(l, 0, l->n);
    if (lane || l->n == l->max)
        return lane;
    lane = TT_NEW(&l->arena, 1, struct tt_lane);
    if (lane)
        l->all[l->n++] = lane;
    return lane;
}

/* The worker with the fewest lanes. */
static struct tt_worker *choose_worker(const struct tt_lanes *l)
{
    struct tt_worker *best = &l->daemon->workers[0];

    for (int i = 1; i < l->daemon->settings->workers; i++)
        if (l->daemon->workers[i].lanes < best->lanes)
            best = &l->daemon->workers[i];
    best->lanes++;
    return best;
}

enum tt_wire tt_lanes_no_model(const struct tt_catalogue *c, const char *name, struct tt_refusal *r)
{
    char served[TTAD_WIRE_NAME_MAX + 32];

    tt_catalogue_say_models(c, served, sizeof served);
    return tt_refuse(r, TT_WIRE_NO_MODEL, "model '%s' is not served; %s", name, served);
}

static enum tt_wire no_policy(const struct tt_catalogue *c, const char *name, struct tt_refusal *r)
{
    char configured[TTAD_WIRE_NAME_MAX + 32];

    tt_catalogue_say_policies(c, configured, sizeof configured);
    return tt_refuse(r, TT_WIRE_BAD_HEADER, "policy '%s' is not configured; %s", name, configured);
}

static enum tt_wire check_served(const struct tt_catalogue *c, const struct tt_lane *lane,
                                 struct tt_refusal *r)
{
    if (!tt_catalogue_model(c, lane->model_name))
        return tt_lanes_no_model(c, lane->model_name, r);
    if (!tt_catalogue_policy(c, lane->policy_name))
        return no_policy(c, lane->policy_name, r);
    return TT_WIRE_OK;
}

enum tt_wire tt_lanes_served(struct tt_lanes *l, const struct tt_lane *lane, struct tt_refusal *r)
{
    struct tt_catalogue *c = tt_shelf_take(&l->daemon->shelf);
    enum tt_wire code;

    pthread_mutex_lock(&lane->worker->lock);
    code = check_served(c, lane, r);
    pthread_mutex_unlock(&lane->worker->lock);
    tt_catalogue_drop(c);
    return code;
}

static enum tt_wire check_same(const struct tt_catalogue *c, const struct tt_lane *lane,
                               const struct tt_request *q, struct tt_refusal *r)
{
    if (*q->model && strcmp(q->model, lane->model_name) != 0) {
        if (!tt_catalogue_model(c, q->model))
            return tt_refuse(r, TT_WIRE_NO_MODEL, "model '%s' is not served; stream '%s' has '%s'",
                             q->model, lane->name, lane->model_name);
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "stream '%s' is open with model '%s', not '%s'",
                         lane->name, lane->model_name, q->model);
    }
    if (*q->policy && strcmp(q->policy, lane->policy_name) != 0)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "stream '%s' is open with policy '%s', not '%s'",
                         lane->name, lane->policy_name, q->policy);
    return check_served(c, lane, r);
}

/* Make lane the stream of q, or open it again. */
static void begin(struct tt_lanes *l, struct tt_lane *lane, const struct tt_request *q,
                  const struct tt_served_model *model, const struct tt_served_policy *policy,
                  bool fresh)
{
    if (fresh) {
        struct tt_worker *w = lane->worker ? lane->worker : choose_worker(l);

        (void)snprintf(lane->name, sizeof lane->name, "%s", q->stream);
        lane->worker = w;
        lane->next = l->bucket[hash(lane->name)];
        l->bucket[hash(lane->name)] = lane;
    }
    pthread_mutex_lock(&lane->worker->lock);
    lane->face = (struct tt_face){.state = "opening"};
    (void)snprintf(lane->model_name, sizeof lane->model_name, "%s", model->name);
    (void)snprintf(lane->policy_name, sizeof lane->policy_name, "%s", policy->name);
    tt_face_policy(&lane->face, policy->policy);
    pthread_mutex_unlock(&lane->worker->lock);
}

/* Open the stream of q: in *lane, which was closed, or, when that is NULL, in a place for it. */
static enum tt_wire open_lane(struct tt_lanes *l, const struct tt_catalogue *c,
                              const struct tt_request *q, struct tt_lane **lane,
                              struct tt_refusal *r)
{
    const struct tt_served_model *model = tt_catalogue_model(c, q->model);
    const struct tt_served_policy *policy = tt_catalogue_policy(c, q->policy);
    const bool fresh = !*lane;

    if (!model)
        return tt_lanes_no_model(c, q->model, r);
    if (!policy)
        return no_policy(c, q->policy, r);
    if (fresh)
        *lane = find_place(l);
    if (!*lane) {
        (void)tt_refuse(r, TT_WIRE_BUSY, "%d streams are open, the limit is %d", l->n, l->max);
        r->retry_after_ms = 1000;
        return r->code;
    }
    begin(l, *lane, q, model, policy, fresh);
    return TT_WIRE_OK;
}

enum tt_wire tt_lanes_open_in(struct tt_lanes *l, const struct tt_catalogue *c,
                              const struct tt_request *q, struct tt_lane **ret,
                              struct tt_refusal *r)
{
    struct tt_lane *lane;
    enum tt_wire code;

    pthread_mutex_lock(&l->lock);
    lane = look_up(l, q->stream);
    code = lane && !is_closed(lane) ? check_same(c, lane, q, r) : open_lane(l, c, q, &lane, r);
    if (!code) {
        atomic_fetch_add(&lane->refs, 1);
        *ret = lane;
    }
    pthread_mutex_unlock(&l->lock);
    return code;
}

enum tt_wire tt_lanes_open(struct tt_lanes *l, const struct tt_request *q, struct tt_lane **ret,
                           struct tt_refusal *r)
{
    struct tt_catalogue *c = tt_shelf_take(&l->daemon->shelf);
    const enum tt_wire code = tt_lanes_open_in(l, c, q, ret, r);

    tt_catalogue_drop(c);
    return code;
}

void tt_lanes_each(struct tt_lanes *l, bool (*each)(void *arg, struct tt_lane *lane), void *arg)
{
    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < l->n; i++)
        if (!each(arg, l->all[i]))
            break;
    pthread_mutex_unlock(&l->lock);
}

int tt_lanes_some(struct tt_lanes *l, int from, int most,
                  bool (*each)(void *arg, struct tt_lane *lane), void *arg)
{
    int i = from;

    pthread_mutex_lock(&l->lock);
    while (i < l->n && i < from + most && each(arg, l->all[i]))
        i++;
    if (i >= l->n)
        i = -1;
    pthread_mutex_unlock(&l->lock);
    return i;
}
