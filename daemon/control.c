// SPDX-License-Identifier: Apache-2.0
#include "daemon/control.h"
#include "daemon/commands.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/changes.h"
#include "daemon/gate.h"
#include "daemon/input.h"
#include "daemon/lanes.h"
#include "daemon/metrics.h"
#include "daemon/reply.h"
#include "daemon/serve.h"

static json_t *shape_json(const struct tt_value *v)
{
    json_t *list = json_array();

    for (int i = 0; i < v->ndim; i++)
        json_array_append_new(list, json_integer(v->dim[i]));
    return list;
}

static json_t *inputs_json(const struct tt_served_model *m)
{
    static const char *const datatype[] = {
        [TT_FLOATS] = "FP32", [TT_INTS] = "INT64", [TT_BOOLS] = "BOOL"};
    json_t *list = json_array();

    for (int i = 0; i < m->inputs.n; i++) {
        const struct tt_value *v = &m->model->graph.values[m->inputs.of[i].value];

        json_array_append_new(list,
                              json_pack("{s:o, s:s, s:o}", "name", tt_json_text(v->name),
                                        "datatype", datatype[v->dtype], "shape", shape_json(v)));
    }
    return list;
}

static json_t *models_json(const struct tt_catalogue *c)
{
    json_t *list = json_array();

    for (int i = 0; i < c->nmodels; i++) {
        const struct tt_served_model *m = c->models[i];

        json_array_append_new(
            list, json_pack("{s:o, s:s, s:i, s:o, s:[{s:s, s:s}]}", "name", tt_json_text(m->name),
                            "hash", m->model->hash, "parameters", m->model->nparams, "inputs",
                            inputs_json(m), "outputs", "name", TTAD_OUTPUT, "datatype", "FP32"));
    }
    return list;
}

static json_t *policies_json(const struct tt_catalogue *c)
{
    json_t *list = json_array();

    for (int i = 0; i < c->npolicies; i++)
        json_array_append_new(list, tt_json_text(c->policies[i]->name));
    return list;
}

static json_t *hashes_json(const struct tt_catalogue *c)
{
    json_t *o = json_object();

    for (int i = 0; i < c->npolicies; i++)
        json_object_set_new(o, c->policies[i]->name, json_string(c->policies[i]->policy->hash));
    return o;
}

static json_t *hello_json(struct tt_daemon *d)
{
    struct tt_catalogue *c = tt_shelf_take(&d->shelf);
    const struct tt_limits *m = &c->config->settings->limits;
    json_t *o = json_object();

    json_object_set_new(o, "server", json_string("ttad"));
    json_object_set_new(o, "version", json_string(TTAD_VERSION));
    json_object_set_new(o, "protocol", json_string(TTAD_WIRE_MAGIC));
    json_object_set_new(o, "boot_id", json_string(d->boot_id));
    json_object_set_new(o, "models", models_json(c));
    json_object_set_new(o, "policies", policies_json(c));
    json_object_set_new(o, "policy_hashes", hashes_json(c));
    json_object_set_new(o, "default_policy", tt_json_text(c->config->settings->default_policy));
    json_object_set_new(o, "limits",
                        json_pack("{s:I, s:i, s:I, s:I}", "message_bytes",
                                  (json_int_t)m->max_message_bytes, "header_bytes",
                                  TTAD_WIRE_HEADER_MAX, "batch_rows", (json_int_t)m->max_batch_rows,
                                  "streams", (json_int_t)m->max_streams));
    json_object_set_new(o, "credit", json_integer(m->credit));
    json_object_set_new(o, "curve", json_false());
    tt_catalogue_drop(c);
    return o;
}

struct counted {
    json_t *states;
    int streams, waiting;
};

static bool count_lane(void *arg, struct tt_lane *lane)
{
    struct counted *c = arg;
    char why[TT_LINE_BYTES];
    const char *state;
    json_t *n;

    pthread_mutex_lock(&lane->worker->lock);
    if (!lane->face.closed) {
        state = tt_serve_state(lane, why);
        n = json_object_get(c->states, state);
        json_object_set_new(c->states, state, json_integer(json_integer_value(n) + 1));
        c->streams++;
        c->waiting += atomic_load(&lane->waiting);
    }
    pthread_mutex_unlock(&lane->worker->lock);
    return true;
}

static json_t *record_json(struct tt_daemon *d)
{
    struct tt_store_stats s;

    tt_store_stats(d->store, &s);
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:I}", "put",
        (json_int_t)s.put, "committed", (json_int_t)s.committed, "lag",
        (json_int_t)(s.put - s.committed), "rows", (json_int_t)s.rows, "commits",
        (json_int_t)s.commits, "shed", (json_int_t)s.shed, "lost", (json_int_t)s.lost, "rejected",
        (json_int_t)s.rejected, "queued_bytes", (json_int_t)s.queued_bytes, "log_bytes",
        (json_int_t)s.wal_bytes, "commit_us_max", (json_int_t)s.commit_us_max, "silent_ms",
        (json_int_t)s.silent_ms, "mended", (json_int_t)s.mended, "failing", s.failing, "why",
        tt_json_text(s.why), "events_dropped", (json_int_t)tt_events_dropped(d->events));
}

static json_t *reasons_json(struct tt_daemon *d)
{
    struct tt_health_reason r[TT_NHEALTHS];
    json_t *list = json_array();
    const int n = tt_health_read(&d->health, r);

    for (int i = 0; i < n; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:b, s:I, s:o}", "source", r[i].name,
                                        "holds_adaptation", r[i].holds, "since_ms",
                                        (json_int_t)r[i].since_ms, "why", tt_json_text(r[i].why)));
    return list;
}

/* Batches, by why nothing was learnt from them; and requests that were given up. */
static void count_batches(const struct tt_daemon *d, json_t *o)
{
    struct tt_counts *c = calloc(1, sizeof *c);
    int64_t batches[TT_NSKIPS] = {0}, requests[TT_NWIRES] = {0};
    json_t *skipped = json_object();

    if (c)
        tt_metrics_read(d->metrics, c);
    for (int k = 0; c && k <= TT_SERIES; k++)
        for (int i = 0; i < TT_NSKIPS; i++)
            batches[i] += c->series[k].batches[i];
    for (int k = 0; c && k <= TT_NASKS; k++)
        for (int i = 0; i < TT_NWIRES; i++)
            requests[i] += c->requests[k][i];
    free(c);
    for (int i = TT_SKIP_NONE + 1; i < TT_NSKIPS; i++)
        if (batches[i])
            json_object_set_new(skipped, tt_skip_name((enum tt_skip)i), json_integer(batches[i]));
    json_object_set_new(o, "adapted", json_integer(batches[TT_SKIP_NONE]));
    json_object_set_new(o, "skipped", skipped);
    json_object_set_new(o, "late", json_integer(requests[TT_WIRE_DEADLINE]));
    json_object_set_new(o, "cancelled", json_integer(requests[TT_WIRE_CANCELLED]));
}

static void add_served(struct tt_daemon *d, json_t *o)
{
    struct tt_catalogue *c = tt_shelf_take(&d->shelf);

    json_object_set_new(o, "config", tt_json_text(d->config));
    json_object_set_new(o, "config_hash", json_string(c->config->hash));
    json_object_set_new(o, "default_policy", tt_json_text(c->config->settings->default_policy));
    json_object_set_new(o, "models", tt_changes_models(c));
    json_object_set_new(o, "policies", tt_changes_policies(c));
    tt_catalogue_drop(c);
}

static json_t *status_json(struct tt_daemon *d)
{
    struct counted c = {.states = json_object()};
    json_t *o = json_object();

    tt_lanes_each(d->lanes, count_lane, &c);
    json_object_set_new(o, "version", json_string(TTAD_VERSION));
    json_object_set_new(o, "boot_id", json_string(d->boot_id));
    add_served(d, o);
    json_object_set_new(o, "state",
                        json_string(atomic_load(&d->draining) ? "draining" : "serving"));
    json_object_set_new(o, "ready", json_boolean(tt_health_ready(&d->health)));
    json_object_set_new(o, "reasons", reasons_json(d));
    json_object_set_new(o, "uptime_ms", json_integer((tt_now_us() - d->started_us) / 1000));
    json_object_set_new(o, "workers", json_integer(d->settings->workers));
    json_object_set_new(o, "threads_per_worker", json_integer(d->settings->threads_per_worker));
    json_object_set_new(o, "queued", json_integer(c.waiting));
    json_object_set_new(o, "streams", json_integer(c.streams));
    json_object_set_new(o, "streams_by_state", c.states);
    json_object_set_new(o, "connections", tt_gate_json(d->gate));
    json_object_set_new(o, "requests", json_integer(atomic_load(&d->requests)));
    json_object_set_new(o, "answered", json_integer(atomic_load(&d->answered)));
    json_object_set_new(o, "refused", json_integer(atomic_load(&d->refused)));
    json_object_set_new(o, "busy", json_integer(atomic_load(&d->busy)));
    json_object_set_new(o, "unroutable", json_integer(atomic_load(&d->unroutable)));
    count_batches(d, o);
    json_object_set_new(o, "record", record_json(d));
    return o;
}

static bool list_lane(void *arg, struct tt_lane *lane)
{
    json_t *list = arg;

    pthread_mutex_lock(&lane->worker->lock);
    if (!lane->face.closed)
        json_array_append_new(list, tt_serve_describe(lane));
    pthread_mutex_unlock(&lane->worker->lock);
    return true;
}

static json_t *streams_json(struct tt_daemon *d)
{
    json_t *list = json_array();

    tt_lanes_each(d->lanes, list_lane, list);
    return json_pack("{s:o}", "streams", list);
}

static json_t *list_models(struct tt_daemon *d)
{
    struct tt_catalogue *c = tt_shelf_take(&d->shelf);
    json_t *o =
        json_pack("{s:o, s:o}", "models", models_json(c), "policies", tt_changes_policies(c));

    tt_catalogue_drop(c);
    return o;
}

bool tt_control_here(struct tt_loop *l, struct tt_job *job)
{
    struct tt_daemon *d = l->daemon;
    json_t *o = NULL;

    if (job->request.ask == TT_ASK_HELLO)
        o = hello_json(d);
    else if (job->request.ask == TT_ASK_PING)
        o = json_object();
    else if (job->request.ask == TT_ASK_STATUS)
        o = status_json(d);
    else if (job->request.ask == TT_ASK_MODELS)
        o = list_models(d);
    else if (job->request.ask == TT_ASK_STREAMS)
        o = streams_json(d);
    else if (job->request.ask == TT_ASK_LOG_LEVEL) {
        o = json_pack("{s:i}", "level", (int)job->request.level);
        tt_log_level(job->request.level);
    } else if (job->request.ask == TT_ASK_DRAIN) {
        o = json_pack("{s:s}", "state", "draining");
        tt_daemon_drain(d);
    }
    if (o)
        tt_reply_json(job, o);
    return o != NULL;
}
