// SPDX-License-Identifier: Apache-2.0
#include "daemon/reload.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/boot.h"
#include "daemon/changes.h"
#include "daemon/draft.h"
#include "daemon/follow.h"
#include "daemon/loop.h"
#include "daemon/reply.h"

#define USERS      1024 // pairs of model and policy that streams use, at most
#define RELEASE_MS 2000 // longest that an answer waits for a model to be freed
#define NAP_MS     2

struct tt_reload {
    struct tt_daemon *daemon;
    pthread_t thread;
    struct tt_mailbox jobs;
    atomic_bool stop;
};

/* ---- who uses what --------------------------------------------------------------------------- */

struct users {
    struct tt_arena arena;
    struct tt_user *user; // [USERS]
    int n;
};

static bool add_user(void *arg, struct tt_lane *lane)
{
    struct users *u = arg;
    bool known = false;

    pthread_mutex_lock(&lane->worker->lock);
    for (int i = 0; i < u->n && !known; i++)
        known = !strcmp(u->user[i].model, lane->model_name) &&
                !strcmp(u->user[i].policy, lane->policy_name);
    if (!known && lane->face.open && u->n < USERS) {
        const struct tt_user one = {
            tt_arena_strndup(&u->arena, lane->model_name, strlen(lane->model_name)),
            tt_arena_strndup(&u->arena, lane->policy_name, strlen(lane->policy_name)),
            tt_arena_strndup(&u->arena, lane->name, strlen(lane->name))};

        if (one.model && one.policy && one.stream)
            u->user[u->n++] = one;
    }
    pthread_mutex_unlock(&lane->worker->lock);
    return true;
}

static void find_users(struct tt_daemon *d, struct users *u)
{
    *u = (struct users){.n = 0};
    tt_arena_init(&u->arena, 0);
    u->user = TT_NEW(&u->arena, USERS, struct tt_user);
    if (u->user)
        tt_lanes_each(d->lanes, add_user, u);
}

/* ---- one change ------------------------------------------------------------------------------ */

/* What is asked for, by whom, and what comes of it. */
struct change {
    struct tt_daemon *daemon;
    struct tt_job *job; // NULL: SIGHUP
    const char *what, *actor;
    struct tt_catalogue *now;
    struct users users;
    struct tt_draft *draft;
};

static bool begin(struct change *c, struct tt_daemon *d, struct tt_job *job, const char *what)
{
    *c = (struct change){.daemon = d, .job = job, .what = what, .actor = "SIGHUP"};
    if (job)
        c->actor = *job->request.actor ? job->request.actor : "operator";
    c->now = tt_shelf_take(&d->shelf);
    find_users(d, &c->users);
    c->draft = TT_NEW(&c->users.arena, 1, struct tt_draft);
    if (c->draft && c->users.user) {
        tt_draft_init(c->draft);
        return true;
    }
    tt_log(TT_LOG_ERR, "%s: out of memory", what);
    if (job)
        tt_reply_error(job, &(struct tt_err){TT_ENOMEM, "out of memory"});
    return false;
}

static void end(struct change *c, bool begun)
{
    if (begun)
        tt_draft_end(c->draft);
    tt_catalogue_drop(c->now);
    tt_arena_release(&c->users.arena);
}

static void tell(const struct change *c, const char *severity, const char *text,
                 const json_t *detail)
{
    const struct tt_sink sink = tt_daemon_sink(c->daemon);
    struct tt_record r = {.kind = TT_REC_EVENT, .ts_ms = tt_now_ms()};
    char *json = json_dumps(detail, JSON_COMPACT);

    r.event = (struct tt_rec_event){.kind = "reload",
                                    .severity = severity,
                                    .actor = c->actor,
                                    .text = text,
                                    .detail = json,
                                    .decision_id = TT_UNKNOWN};
    (void)sink.put(sink.ctx, &r); // the store counts what it sheds
    free(json);
}

/* Put the draft in force; o tells what it changes. */
static void put(struct change *c, const json_t *o)
{
    struct tt_daemon *d = c->daemon;
    const int level = c->draft->next->config->settings->log_level;
    const bool more = c->draft->nmodels || c->draft->npolicies;
    char changes[TT_LINE_BYTES - 32], text[TT_LINE_BYTES];
    struct tt_err err;

    tt_changes_sentence(c->draft, changes, sizeof changes);
    (void)snprintf(text, sizeof text, "%s: %s", c->what, changes);
    if (level != c->now->config->settings->log_level)
        tt_log_level((enum tt_level)level);
    if (more && tt_boot_know(d, c->draft->next, &err) != TT_OK) // they may be served again
        tt_log(TT_LOG_WARN, "known streams: %s, ignoring", err.msg);
    tt_shelf_put(&d->shelf, c->draft->next);
    c->draft->next = NULL; // the shelf's
    tell(c, "info", text, o);
    tt_follow_wake(d);
}

/* Nothing has changed: tell why. */
static void refuse(struct change *c)
{
    const struct tt_mistakes *m = &c->draft->mistakes;
    json_t *o = json_pack("{s:o, s:i}", "mistakes", tt_changes_lines(m), "more", m->more);
    char text[TT_LINE_BYTES];
    struct tt_refusal r;
    struct tt_err err;

    (void)tt_mistakes_err(m, &err);
    for (int i = 1; i < m->n; i++) // the first is in the event
        tt_log(TT_LOG_ERR, "%s: %s", c->what, m->list[i]);
    (void)snprintf(text, sizeof text, "%s: %s: nothing has changed; %d more mistakes", c->what,
                   err.msg, m->n + m->more - 1);
    tell(c, "error", text, o);
    if (c->job) {
        (void)tt_refuse(&r, TT_WIRE_BAD_HEADER, "%s", err.msg);
        tt_reply_refusal_with(c->job, &r, "mistakes", json_object_get(o, "mistakes"));
    }
    json_decref(o);
}

/* ---- the ops --------------------------------------------------------------------------------- */

static void reload(struct tt_daemon *d, struct tt_job *job)
{
    struct change c;
    bool begun;
    json_t *o;

    tt_notify_reloading(&d->notify, tt_now_us());
    begun = begin(&c, d, job, "reload");
    if (begun) {
        tt_draft_reload(c.draft, c.now, d->config, c.users.user, c.users.n);
        if (c.draft->next) {
            o = tt_changes_json(c.draft);
            put(&c, o);
            if (job)
                tt_reply_json(job, json_incref(o));
            json_decref(o);
        } else {
            refuse(&c);
        }
    }
    end(&c, begun);
    tt_notify_reloaded(&d->notify);
}

static void load(struct tt_daemon *d, struct tt_job *job)
{
    const struct tt_request *q = &job->request;
    const struct tt_served_model *m;
    struct change c;
    const bool begun = begin(&c, d, job, "load");
    json_t *o = NULL;

    if (begun) {
        tt_draft_load(c.draft, c.now, q->model, q->path, q->replace, c.users.user, c.users.n);
        m = tt_catalogue_model(c.draft->next ? c.draft->next : c.now, q->model);
        if (c.draft->mistakes.n || !m) {
            refuse(&c);
        } else {
            o = json_pack("{s:s, s:s, s:o, s:i, s:b, s:o}", "model_name", q->model, "hash",
                          m->model->hash, "path", tt_json_text(m->path), "parameters",
                          m->model->nparams, "changed", c.draft->next != NULL, "refused",
                          tt_changes_lines(&c.draft->refused));
            if (c.draft->next)
                put(&c, o);
            tt_reply_json(job, o);
        }
    }
    end(&c, begun);
}

/* Wait until nobody but the caller holds m any more. */
static bool wait_released(const struct tt_reload *r, struct tt_served_model *m)
{
    const struct timespec nap = {.tv_nsec = NAP_MS * 1000000L};
    const int64_t until = tt_now_us() + RELEASE_MS * 1000;

    while (atomic_load(&m->refs) > 1 && tt_now_us() < until && !atomic_load(&r->stop))
        nanosleep(&nap, NULL);
    return atomic_load(&m->refs) == 1;
}

struct count {
    const char *model;
    int n;
};

static bool count_lane(void *arg, struct tt_lane *lane)
{
    struct count *c = arg;

    pthread_mutex_lock(&lane->worker->lock);
    c->n += lane->face.open && !strcmp(lane->model_name, c->model);
    pthread_mutex_unlock(&lane->worker->lock);
    return true;
}

/* The reply, or NULL: it was refused. */
static json_t *take_away(struct change *c, const struct tt_served_model *m)
{
    struct count streams = {.model = m->name};
    json_t *o;

    tt_draft_unload(c->draft, c->now, m->name);
    if (!c->draft->next) {
        refuse(c);
        return NULL;
    }
    tt_lanes_each(c->daemon->lanes, count_lane, &streams);
    o = json_pack("{s:o, s:s, s:i}", "model_name", tt_json_text(m->name), "hash", m->model->hash,
                  "streams", streams.n);
    put(c, o);
    return o;
}

static void unload(struct tt_reload *r, struct tt_job *job)
{
    const char *name = job->request.model;
    struct tt_served_model *m = NULL;
    struct tt_refusal refusal;
    struct change c;
    const bool begun = begin(&c, r->daemon, job, "unload");
    json_t *o = NULL;

    if (begun && *name)
        m = tt_catalogue_model(c.now, name);
    if (m)
        o = take_away(&c, tt_served_model_hold(m));
    else if (begun) {
        (void)tt_lanes_no_model(c.now, name, &refusal);
        tt_reply_refusal(job, &refusal);
    }
    end(&c, begun); // lets go of what was served before
    if (o) {
        json_object_set_new(o, "released", json_boolean(wait_released(r, m)));
        tt_reply_json(job, o);
    }
    tt_served_model_drop(m);
    if (m)
        (void)malloc_trim(0); // the system gets what the model had
}

/* ---- the thread ------------------------------------------------------------------------------ */

bool tt_reload_takes(enum tt_ask ask)
{
    return ask == TT_ASK_RELOAD || ask == TT_ASK_LOAD || ask == TT_ASK_UNLOAD;
}

void tt_reload_give(struct tt_reload *r, struct tt_job *job)
{
    tt_mailbox_put(&r->jobs, job);
}

static void do_job(struct tt_reload *r, struct tt_job *job)
{
    struct tt_refusal refusal;

    if (atomic_load(&r->stop)) {
        (void)tt_refuse(&refusal, TT_WIRE_DRAINING, "the daemon is stopping");
        tt_reply_refusal(job, &refusal);
    } else if (job->request.ask == TT_ASK_RELOAD) {
        reload(r->daemon, job);
    } else if (job->request.ask == TT_ASK_LOAD) {
        load(r->daemon, job);
    } else {
        unload(r, job);
    }
    tt_loop_answer(job);
}

static void *run(void *arg)
{
    struct tt_reload *r = arg;
    struct tt_daemon *d = r->daemon;
    struct tt_job *job;

    tt_log_name("reload");
    while (!atomic_load(&r->stop)) {
        struct pollfd fd[2] = {{.fd = r->jobs.fd, .events = POLLIN},
                               {.fd = d->hangup, .events = POLLIN}};
        uint64_t n = 0;

        if (poll(fd, 2, -1) < 0 && errno != EINTR) {
            tt_log(TT_LOG_ERR, "poll: %s", strerror(errno));
            break;
        }
        if (read(d->hangup, &n, sizeof n) > 0 && n && !atomic_load(&r->stop))
            reload(d, NULL);
        while ((job = tt_mailbox_take(&r->jobs)))
            do_job(r, job);
    }
    return NULL;
}

enum tt_code tt_reload_start(struct tt_daemon *d, struct tt_err *err)
{
    struct tt_reload *r = TT_NEW(&d->arena, 1, struct tt_reload);

    if (!r)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    r->daemon = d;
    if (tt_mailbox_init(&r->jobs, err) != TT_OK)
        return err->code;
    if (pthread_create(&r->thread, NULL, run, r) != 0) {
        tt_mailbox_end(&r->jobs);
        return tt_fail(err, TT_EIO, "no thread");
    }
    d->reload = r;
    return TT_OK;
}

void tt_reload_stop(struct tt_reload *r)
{
    const uint64_t one = 1;
    struct tt_job *job;

    if (!r)
        return;
    atomic_store(&r->stop, true);
    if (write(r->daemon->hangup, &one, sizeof one) < 0)
        tt_log(TT_LOG_ERR, "eventfd: %s", strerror(errno));
    pthread_join(r->thread, NULL);
    while ((job = tt_mailbox_take(&r->jobs)))
        do_job(r, job); // refused
    tt_mailbox_end(&r->jobs);
}
