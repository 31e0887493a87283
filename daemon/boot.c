// SPDX-License-Identifier: Apache-2.0
#include "daemon/boot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "daemon/file.h"
#include "daemon/job.h"
#include "daemon/lanes.h"
#include "daemon/load.h"
#include "daemon/worker.h"
#include "monitor/reader.h"
#include "policies/policy.h"

void tt_boot_nothing(struct tt_daemon *d)
{
    (void)d;
}

/* All mistakes to stderr as they are; the first one is the error. */
static enum tt_code tell_mistakes(const struct tt_diags *d, struct tt_err *err)
{
    fprintf(stderr, "%s", tt_diags_text(d));
    return tt_diags_err(d, err);
}

enum tt_code tt_boot_settings(struct tt_daemon *d, struct tt_err *err)
{
    unsigned char id[16];
    char run_dir[TT_RUN_DIR];
    struct tt_diags diags;
    char *text;
    size_t n;

    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
        return tt_fail(err, TT_EIO, "no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < sizeof id; i++)
        (void)snprintf(d->boot_id + 2 * i, 3, "%02x", id[i]);
    if (tt_file_read(d->config, TT_SETTINGS_BYTES, &d->arena, &text, &n, err) != TT_OK)
        return err->code;
    tt_hash_bytes(text, n, d->config_hash);
    tt_diags_init(&diags, &d->arena, d->config, text, n);
    tt_run_dir(run_dir);
    d->settings = tt_settings_read(d->config, text, n, run_dir, &d->arena, &diags);
    if (!d->settings)
        return tell_mistakes(&diags, err);
    if (diags.n)
        fprintf(stderr, "%s", tt_diags_text(&diags));
    if (!d->settings->nmodels || !d->settings->npolicies)
        return tt_fail(err, TT_ERANGE, "%s: wanted at least one model and one policy", d->config);
    tt_log_level((enum tt_level)d->settings->log_level);
    return TT_OK;
}

/* The input that batches come in: the first one. */
static const struct tt_value *find_input(const struct tt_model *m)
{
    for (int i = 0; i < m->graph.nvalues; i++)
        if (m->graph.values[i].kind == TT_INPUT)
            return &m->graph.values[i];
    return NULL;
}

static enum tt_code load_model(struct tt_served_model *m, const struct tt_named *named,
                               struct tt_err *err)
{
    m->name = named->name;
    if (tt_load_model(named->path, &m->model, err) != TT_OK)
        return tt_fail_in(err, "model '%s'", named->name);
    m->input = find_input(m->model);
    if (!m->input)
        return tt_fail(err, TT_EUNSUPPORTED, "model '%s' has no input", named->name);
    tt_log(TT_LOG_INFO, "model '%s': %s, %d parameters, hash %.16s", m->name, named->path,
           m->model->nparams, m->model->hash);
    return TT_OK;
}

enum tt_code tt_boot_models(struct tt_daemon *d, struct tt_err *err)
{
    const struct tt_settings *s = d->settings;

    d->models = TT_NEW(&d->arena, s->nmodels, struct tt_served_model);
    if (!d->models)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    for (int i = 0; i < s->nmodels; i++)
        if (load_model(&d->models[i], &s->models[i], err) != TT_OK) {
            tt_boot_free_models(d);
            return err->code;
        }
    return TT_OK;
}

void tt_boot_free_models(struct tt_daemon *d)
{
    for (int i = 0; i < d->settings->nmodels; i++) {
        tt_model_free(d->models[i].model);
        d->models[i].model = NULL;
    }
}

static enum tt_code read_policy(struct tt_daemon *d, struct tt_served_policy *p,
                                const struct tt_named *named, struct tt_err *err)
{
    struct tt_diags diags;
    char *text;
    size_t n;

    p->name = named->name;
    if (tt_file_read(named->path, TT_POLICY_BYTES, &d->arena, &text, &n, err) != TT_OK)
        return tt_fail_in(err, "policy '%s'", named->name);
    tt_diags_init(&diags, &d->arena, named->path, text, n);
    p->policy = tt_policy_read(named->path, text, n, &d->arena, &diags);
    if (!p->policy)
        return tell_mistakes(&diags, err);
    if (diags.n)
        fprintf(stderr, "%s", tt_diags_text(&diags));
    return TT_OK;
}

/* Compile for every model; at least one must do. */
static enum tt_code try_policy(const struct tt_daemon *d, const struct tt_policy *p,
                               struct tt_err *err)
{
    bool works = false;

    for (int i = 0; i < d->settings->nmodels; i++) {
        struct tt_plan *plan;

        if (tt_plan_new(d->models[i].model, &p->method, 1, &plan, err) != TT_OK) {
            (void)tt_fail_in(err, "model '%s'", d->models[i].name);
            continue;
        }
        tt_plan_free(plan);
        works = true;
    }
    return works ? TT_OK : err->code;
}

enum tt_code tt_boot_policies(struct tt_daemon *d, struct tt_err *err)
{
    const struct tt_settings *s = d->settings;

    d->policies = TT_NEW(&d->arena, s->npolicies, struct tt_served_policy);
    if (!d->policies)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    for (int i = 0; i < s->npolicies; i++)
        if (read_policy(d, &d->policies[i], &s->policies[i], err) != TT_OK ||
            try_policy(d, d->policies[i].policy, err) != TT_OK)
            return err->code;
    return TT_OK;
}

/* The name under which a policy of the record is configured now: its file's name may differ. */
static const char *policy_called(const struct tt_daemon *d, const char *name, const char *hash)
{
    for (int i = 0; i < d->settings->npolicies; i++)
        if (!strcmp(d->policies[i].policy->hash, hash))
            return d->policies[i].name;
    for (int i = 0; i < d->settings->npolicies; i++)
        if (!strcmp(d->policies[i].policy->name, name))
            return d->policies[i].name;
    return NULL;
}

static void know_stream(struct tt_daemon *d, const struct tt_known_stream *k)
{
    const char *policy = policy_called(d, k->policy, k->policy_hash);
    struct tt_request q = {.ask = TT_ASK_STREAM};
    struct tt_lane *lane;
    struct tt_refusal r;

    if (!strcmp(k->state, "closed") || !*k->stream)
        return;
    if (!policy || !tt_daemon_model(d, k->model)) {
        tt_log(TT_LOG_WARN, "stream '%s': %s '%s' is not configured any more, ignoring", k->stream,
               policy ? "model" : "policy", policy ? k->model : k->policy);
        return;
    }
    (void)snprintf(q.stream, sizeof q.stream, "%s", k->stream);
    (void)snprintf(q.model, sizeof q.model, "%s", k->model);
    (void)snprintf(q.policy, sizeof q.policy, "%s", policy);
    if (tt_lanes_open(d->lanes, &q, &lane, &r)) {
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

enum tt_code tt_boot_streams(struct tt_daemon *d, struct tt_err *err)
{
    struct tt_known_stream *known;
    struct tt_reader *reader;
    struct tt_arena arena;
    int n = 0;

    if (tt_reader_open(d->settings->database, &reader, err) != TT_OK)
        return err->code;
    tt_arena_init(&arena, 0);
    if (tt_reader_streams(reader, &arena, &known, &n, err) != TT_OK)
        tt_log(TT_LOG_WARN, "known streams: %s, ignoring", err->msg);
    for (int i = 0; i < n; i++)
        know_stream(d, &known[i]);
    tt_reader_close(reader);
    tt_arena_release(&arena);
    return TT_OK;
}
