// SPDX-License-Identifier: Apache-2.0
#include "daemon/boot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "daemon/draft.h"
#include "daemon/job.h"
#include "daemon/lanes.h"
#include "daemon/opened.h"
#include "daemon/worker.h"
#include "monitor/reader.h"
#include "policies/policy.h"

void tt_boot_nothing(struct tt_daemon *d)
{
    (void)d;
}

/* All mistakes to stderr as they are; the first one is the error. */
static enum tt_code tell_mistakes(struct tt_mistakes *m, bool failed, struct tt_err *err)
{
    if (m->text.n)
        fputs(tt_out_text(&m->text) ? tt_out_text(&m->text) : "out of memory\n", stderr);
    if (failed)
        (void)tt_mistakes_err(m, err);
    tt_mistakes_end(m);
    return failed ? err->code : TT_OK;
}

enum tt_code tt_boot_settings(struct tt_daemon *d, struct tt_err *err)
{
    unsigned char id[16];
    struct tt_mistakes m;

    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
        return tt_fail(err, TT_EIO, "no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < sizeof id; i++)
        (void)snprintf(d->boot_id + 2 * i, 3, "%02x", id[i]);
    tt_mistakes_init(&m);
    d->booted = tt_config_read(d->config, &m);
    if (tell_mistakes(&m, !d->booted, err) != TT_OK)
        return err->code;
    d->settings = TT_NEW(&d->arena, 1, struct tt_settings);
    if (!d->settings || !d->booted->settings->nmodels || !d->booted->settings->npolicies) {
        tt_config_drop(d->booted);
        return d->settings ? tt_fail(err, TT_ERANGE, "%s: wanted at least one model and one policy",
                                     d->config)
                           : tt_fail(err, TT_ENOMEM, "out of memory");
    }
    *d->settings = *d->booted->settings;
    tt_log_level((enum tt_level)d->settings->log_level);
    tt_log_format((enum tt_log_format)d->settings->log_format);
    return TT_OK;
}

void tt_boot_free_settings(struct tt_daemon *d)
{
    tt_config_drop(d->booted);
}

static enum tt_code add_model(struct tt_catalogue *c, const struct tt_named *named,
                              struct tt_err *err)
{
    struct tt_served_model *m;

    if (tt_served_model_read(named->name, named->path, &m, err) != TT_OK)
        return err->code;
    if (tt_catalogue_add_model(c, m, err) != TT_OK) {
        tt_served_model_drop(m);
        return err->code;
    }
    tt_log(TT_LOG_INFO, "model '%s': %s, %d parameters, hash %.16s", m->name, m->path,
           m->model->nparams, m->model->hash);
    return TT_OK;
}

enum tt_code tt_boot_models(struct tt_daemon *d, struct tt_err *err)
{
    struct tt_catalogue *c = tt_catalogue_new(d->booted);

    if (!c)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    for (int i = 0; i < d->settings->nmodels; i++)
        if (add_model(c, &d->settings->models[i], err) != TT_OK) {
            tt_catalogue_drop(c);
            return err->code;
        }
    tt_shelf_init(&d->shelf);
    tt_shelf_put(&d->shelf, c);
    return TT_OK;
}

void tt_boot_free_models(struct tt_daemon *d)
{
    tt_shelf_end(&d->shelf);
}

/* Read all policies, so that all mistakes are told. */
static enum tt_code read_policies(struct tt_catalogue *c, struct tt_err *err)
{
    const struct tt_settings *s = c->config->settings;
    struct tt_mistakes m;
    bool failed = false;

    tt_mistakes_init(&m);
    for (int i = 0; i < s->npolicies; i++) {
        struct tt_served_policy *p =
            tt_served_policy_read(s->policies[i].name, s->policies[i].path, &m);

        if (p && tt_catalogue_add_policy(c, p, err) == TT_OK)
            continue;
        if (p)
            tt_mistakes_say(&m, "%s", err->msg);
        tt_served_policy_drop(p);
        failed = true;
    }
    return tell_mistakes(&m, failed, err);
}

enum tt_code tt_boot_policies(struct tt_daemon *d, struct tt_err *err)
{
    struct tt_catalogue *c = d->shelf.now; // nobody else has it yet

    if (read_policies(c, err) != TT_OK)
        return err->code;
    for (int i = 0; i < c->npolicies; i++)
        if (tt_draft_try(c, c->policies[i]->policy, err) != TT_OK)
            return err->code;
    return TT_OK;
}

/* The name under which a policy of the record is configured now: its file's name may differ. */
static const char *policy_called(const struct tt_catalogue *c, const char *name, const char *hash)
{
    for (int i = 0; i < c->npolicies; i++)
        if (!strcmp(c->policies[i]->policy->hash, hash))
            return c->policies[i]->name;
    for (int i = 0; i < c->npolicies; i++)
        if (!strcmp(c->policies[i]->policy->name, name))
            return c->policies[i]->name;
    return NULL;
}

/* Know a stream of the record, under the policy that is called so (NULL: none is), or one that was
 * opened so shortly before the end that the record does not have it, or has it as closed. */
static void know_stream(struct tt_daemon *d, const struct tt_catalogue *c,
                        const struct tt_known_stream *k, const char *policy)
{
    struct tt_request q = {.ask = TT_ASK_STREAM};
    struct tt_lane *lane;
    struct tt_refusal r;

    lane = tt_lanes_find(d->lanes, k->stream);
    if (lane)
        tt_lane_drop(lane);
    if (lane || !strcmp(k->state, "closed") || !*k->stream)
        return;
    if (!policy || !tt_catalogue_model(c, k->model)) {
        tt_log(TT_LOG_WARN, "stream '%s': %s '%s' is not configured any more, ignoring", k->stream,
               policy ? "model" : "policy", policy ? k->model : k->policy);
        return;
    }
    (void)snprintf(q.stream, sizeof q.stream, "%s", k->stream);
    (void)snprintf(q.model, sizeof q.model, "%s", k->model);
    (void)snprintf(q.policy, sizeof q.policy, "%s", policy);
    if (tt_lanes_open_in(d->lanes, c, &q, &lane, &r)) {
        tt_log(TT_LOG_WARN, "stream '%s': %s, ignoring", k->stream, r.msg);
        return;
    }
    pthread_mutex_lock(&lane->worker->lock);
    (void)snprintf(lane->face.state, sizeof lane->face.state, "%s", k->state);
    (void)snprintf(lane->face.version, sizeof lane->face.version, "%s", k->version);
    (void)snprintf(lane->face.reason, sizeof lane->face.reason, "%s", k->reason);
    lane->face.step = k->step;
    lane->face.last_ms = k->ts_ms;
    pthread_mutex_unlock(&lane->worker->lock);
    tt_lane_drop(lane);
}

static const struct tt_opened *find_opened(const struct tt_opened *list, int n, const char *stream)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i].stream, stream))
            return &list[i];
    return NULL;
}

/* What was opened last has the say over model and policy, and whether it was closed. */
static void know_all(struct tt_daemon *d, const struct tt_catalogue *c,
                     struct tt_known_stream *known, int nknown, const struct tt_opened *opened,
                     int nopened)
{
    for (int i = 0; i < nknown; i++) {
        const struct tt_opened *o = find_opened(opened, nopened, known[i].stream);
        struct tt_known_stream *k = &known[i];

        if (o)
            k->model = o->model;
        if (o && o->closed)
            k->state = "closed";
        else if (o && !strcmp(k->state, "closed"))
            k->state = "opening";
        know_stream(d, c, k,
                    o && tt_catalogue_policy(c, o->policy)
                        ? o->policy
                        : policy_called(c, k->policy, k->policy_hash));
    }
    for (int i = 0; i < nopened; i++) { // those that are known by now are passed over
        const struct tt_opened *o = &opened[i];
        const struct tt_known_stream k = {.stream = o->stream,
                                          .model = o->model,
                                          .policy = o->policy,
                                          .state = o->closed ? "closed" : "opening",
                                          .version = "",
                                          .reason = ""};

        know_stream(d, c, &k, tt_catalogue_policy(c, o->policy) ? o->policy : NULL);
    }
}

enum tt_code tt_boot_know(struct tt_daemon *d, const struct tt_catalogue *c, struct tt_err *err)
{
    struct tt_known_stream *known = NULL;
    struct tt_opened *opened = NULL;
    struct tt_reader *reader;
    struct tt_arena arena;
    int n = 0, nopened = 0, bad = 0;

    if (tt_reader_open(d->settings->database, &reader, err) != TT_OK)
        return err->code;
    tt_arena_init(&arena, 0);
    if (tt_reader_streams(reader, &arena, &known, &n, err) != TT_OK)
        tt_log(TT_LOG_WARN, "known streams: %s, ignoring", err->msg);
    if (tt_opened_list(d->snapshots, &arena, &opened, &nopened, &bad, err) != TT_OK)
        tt_log(TT_LOG_WARN, "known streams: %s, ignoring", err->msg);
    if (bad)
        tt_log(TT_LOG_WARN, "known streams: %d files '%s' say nothing, ignoring", bad,
               TT_OPENED_FILE);
    know_all(d, c, known, n, opened, nopened);
    tt_reader_close(reader);
    tt_arena_release(&arena);
    return TT_OK;
}

enum tt_code tt_boot_streams(struct tt_daemon *d, struct tt_err *err)
{
    struct tt_catalogue *c = tt_shelf_take(&d->shelf);
    const enum tt_code code = tt_boot_know(d, c, err);

    tt_catalogue_drop(c);
    return code;
}
