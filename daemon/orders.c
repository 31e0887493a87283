// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "daemon/capture.h"
#include "daemon/decide.h"
#include "daemon/loop.h"
#include "daemon/reply.h"
#include "daemon/resume.h"
#include "daemon/save.h"
#include "daemon/serve.h"

#define LISTED 200 // versions of a stream, at most

static json_t *version_json(const struct tt_stream *s, const struct tt_version *v)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:I, s:b, s:b}", "version", v->name, "parent",
                     v->parent, "step", (json_int_t)v->step, "state",
                     tt_version_state_name(v->state), "samples", (json_int_t)v->samples, "ts_ms",
                     (json_int_t)v->ms, "stored", v->stored, "serving",
                     !strcmp(v->name, s->versions.serving.name));
}

static json_t *known_json(const struct tt_known_version *k)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:I, s:b, s:b}", "version", k->version, "parent",
                     k->parent, "step", (json_int_t)k->step, "state", k->state, "samples",
                     (json_int_t)k->samples, "ts_ms", (json_int_t)k->ts_ms, "stored",
                     *k->file != '\0', "serving", 0);
}

/* Insert by step, newest first. */
static void insert(json_t *list, json_t *o)
{
    const json_int_t step = json_integer_value(json_object_get(o, "step"));
    size_t i = 0;

    while (i < json_array_size(list) &&
           json_integer_value(json_object_get(json_array_get(list, i), "step")) > step)
        i++;
    json_array_insert_new(list, i, o);
}

/* Versions that only the record knows, with a file. */
static void add_known(struct tt_worker *w, const struct tt_stream *s, json_t *list)
{
    struct tt_known_version *known;
    struct tt_reader *reader;
    struct tt_err err;
    int n;

    if (tt_reader_open(w->daemon->settings->database, &reader, &err) != TT_OK) {
        tt_log(TT_LOG_WARN, "stream '%s': %s, ignoring", s->name, err.msg);
        return;
    }
    if (tt_reader_versions(reader, s->name, LISTED, &w->scratch, &known, &n, &err) == TT_OK)
        for (int i = 0; i < n; i++)
            if (*known[i].file && !tt_versions_find(&s->versions, known[i].version) &&
                strcmp(known[i].version, s->versions.serving.name) != 0)
                insert(list, known_json(&known[i]));
    tt_reader_close(reader);
}

static void snapshots(struct tt_worker *w, struct tt_job *job)
{
    const struct tt_stream *s = job->lane->stream;
    const struct tt_versions *v = &s->versions;
    json_t *list = json_array();

    insert(list, version_json(s, &v->base));
    for (int i = 0; i < v->nring; i++)
        if (v->ring[i].name[0])
            insert(list, version_json(s, &v->ring[i]));
    if (!tt_versions_find(v, v->serving.name))
        insert(list, version_json(s, &v->serving));
    add_known(w, s, list);
    tt_reply_json(job, json_pack("{s:s, s:o}", "stream_id", job->lane->name, "snapshots", list));
}

static void snapshot(struct tt_worker *w, struct tt_job *job)
{
    struct tt_stream *s = job->lane->stream;
    const char *reason = *job->request.reason ? job->request.reason : "asked for";
    struct tt_version *v = tt_versions_keep(&s->versions);
    struct tt_plan *plan;
    struct tt_err err;
    json_t *o;

    if (!v) {
        (void)tt_fail(&err, TT_ENOMEM, "out of memory");
        tt_reply_error(job, &err);
        return;
    }
    tt_capture_keep(s, tt_now_ms());
    if (v->state != TT_VERSION_BASE && !v->synced &&
        (tt_worker_plan(w, job->lane, 1, &plan, &err) != TT_OK ||
         tt_stream_save(s, plan, v, reason, tt_now_ms(), &err) != TT_OK)) {
        tt_reply_error(job, &err);
        return;
    }
    o = version_json(s, v);
    json_object_set_new(o, "stream_id", tt_json_text(job->lane->name));
    tt_reply_json(job, o);
}

static void order(struct tt_worker *w, struct tt_job *job)
{
    const struct tt_request *q = &job->request;
    struct tt_stream *s = job->lane->stream;
    struct tt_order o = {.action =
                             q->ask == TT_ASK_ROLLBACK ? TT_ACTION_ROLLBACK : TT_ACTION_FREEZE,
                         .thaw = q->ask == TT_ASK_THAW,
                         .version = q->version,
                         .actor = q->actor,
                         .reason = q->reason,
                         .now_ms = tt_now_ms()};
    struct tt_ordered got;
    struct tt_plan *plan;
    struct tt_err err;

    if (q->ask == TT_ASK_ROLLBACK &&
        (tt_worker_plan(w, job->lane, 1, &plan, &err) != TT_OK ||
         (*q->version && tt_stream_fetch(s, plan, q->version, &err) != TT_OK))) {
        tt_reply_error(job, &err);
        return;
    }
    if (q->ask == TT_ASK_ROLLBACK && !*q->version)
        (void)tt_stream_target(s, plan, INT64_MAX, o.now_ms); // in memory now
    if (tt_stream_order(s, &o, &got, &err) != TT_OK) {
        tt_reply_error(job, &err);
        return;
    }
    tt_worker_show(w, job->lane, 0, false);
    tt_reply_json(job,
                  json_pack("{s:s, s:I, s:s, s:s, s:I, s:s, s:b}", "stream_id", job->lane->name,
                            "decision_id", (json_int_t)got.decision_id, "from_version", got.from,
                            "version", got.to, "step", (json_int_t)got.to_step, "state",
                            tt_guard_state_name(s->guard.state), "recorded", (int)s->recorded));
}

void tt_serve_order(struct tt_worker *w, struct tt_job *job)
{
    if (job->request.ask == TT_ASK_SNAPSHOTS)
        snapshots(w, job);
    else if (job->request.ask == TT_ASK_SNAPSHOT)
        snapshot(w, job);
    else
        order(w, job);
    tt_loop_answer(job);
}
