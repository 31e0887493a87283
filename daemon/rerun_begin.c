// SPDX-License-Identifier: Apache-2.0
#include "daemon/rerun.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "daemon/commands.h"
#include "daemon/load.h"
#include "daemon/snapshots.h"
#include "monitor/snapshot.h"
#include "runtime/machine.h"

/* Decisions are kept until the operation has been compared. */
static int64_t put(void *ctx, const struct tt_record *r)
{
    struct tt_rerun_state *run = ctx;
    const struct tt_rec_decision *d = &r->decision;
    struct tt_past_decision *to = &run->decided[run->ndecided];

    if (r->kind != TT_REC_DECISION)
        return 0;
    run->ret->decisions++;
    if (run->ndecided == (int)(sizeof run->decided / sizeof *run->decided))
        return 0;
    *to =
        (struct tt_past_decision){.stream = run->ret->stream,
                                  .rule = tt_arena_strndup(&run->scratch, d->rule, strlen(d->rule)),
                                  .ts_ms = r->ts_ms,
                                  .dry_run = d->dry_run};
    (void)snprintf(to->action, sizeof to->action, "%s", d->action);
    (void)snprintf(to->from, sizeof to->from, "%s", d->from_version);
    (void)snprintf(to->to, sizeof to->to, "%s", d->to_version ? d->to_version : "");
    run->ndecided += to->rule != NULL;
    return 0;
}

/* Whether the daemon was ready to keep what is learnt, at the batch under way. */
static bool may_learn(void *ctx)
{
    return ((const struct tt_rerun_state *)ctx)->ready;
}

static enum tt_code need_model(struct tt_rerun_state *run, const struct tt_captured_head *h,
                               struct tt_err *err)
{
    const char *path = run->spec->model ? run->spec->model : h->model_path;
    struct tt_rerun_model *m = run->spec->cache;

    if (!m->model || strcmp(m->path, path) != 0) {
        tt_model_free(m->model);
        m->model = NULL;
        (void)snprintf(m->path, sizeof m->path, "%s", path);
        if (tt_load_model(path, &m->model, err) != TT_OK)
            return tt_fail_in(err, "model '%s'", h->model);
    }
    if (strcmp(m->model->hash, h->model_hash) != 0)
        return tt_fail(err, TT_EDENIED,
                       "model '%s': %.256s has hash %.16s, captured was %.16s; --model names "
                       "another file",
                       h->model, path, m->model->hash, h->model_hash);
    return TT_OK;
}

static enum tt_code need_policy(struct tt_rerun_state *run, const struct tt_captured_head *h,
                                struct tt_err *err)
{
    struct tt_diags d;
    const char *text = tt_arena_strndup(&run->arena, h->policy_text, strlen(h->policy_text));
    const char *name = tt_arena_strndup(&run->arena, h->policy, strlen(h->policy));

    if (!text || !name)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    tt_diags_init(&d, &run->arena, name, text, strlen(text));
    run->policy = tt_policy_read(name, text, strlen(text), &run->arena, &d);
    if (!run->policy)
        return tt_diags_err(&d, err);
    if (strcmp(run->policy->hash, h->policy_hash) != 0)
        return tt_fail(err, TT_EDENIED,
                       "policy '%s' is another one to this program: hash %.16s, captured was %.16s "
                       "by ttad %s",
                       h->policy, run->policy->hash, h->policy_hash, h->ttad);
    return TT_OK;
}

enum tt_code tt_rerun_plan(struct tt_rerun_state *run, int64_t rows, struct tt_err *err)
{
    if (run->plan && rows <= run->limit)
        return TT_OK;
    tt_plan_free(run->plan);
    run->plan = NULL;
    run->limit = tt_plan_room(rows);
    return tt_plan_new(run->spec->cache->model, &run->policy->method, run->limit, &run->plan, err);
}

/* The numbers of a checkpoint that were only in its snapshot when the file was begun. */
static enum tt_code read_numbers(struct tt_rerun_state *run, struct tt_stream *s,
                                 const char *snapshots, struct tt_version *v, struct tt_err *err)
{
    struct tt_decoded d = {.version = {.block = tt_block_new(s->versions.floats)}};
    char name[TT_SNAPSHOT_NAME];
    enum tt_code code;
    void *bytes;
    size_t n;

    if (!d.version.block)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    code = tt_snapshot_name(v->step, v->name, name, err);
    if (code == TT_OK)
        code = tt_snapshot_read(snapshots, name, TT_MODEL_BYTES, &run->scratch, &bytes, &n, err);
    if (code == TT_OK)
        code = tt_snapshot_decode(s, run->plan, bytes, n, &run->scratch, &d, err);
    if (code == TT_OK && strcmp(d.version.name, v->name) != 0)
        code = tt_fail(err, TT_EPARSE, "%s holds version %s", name, d.version.name);
    if (code == TT_OK)
        v->block = d.version.block;
    else
        tt_block_free(d.version.block);
    return code;
}

static void read_checkpoints(struct tt_rerun_state *run, struct tt_stream *s, const char *snapshots)
{
    struct tt_err err;

    for (int i = 0; i < s->versions.nring; i++) {
        struct tt_version *v = &s->versions.ring[i];

        if (v->name[0] && !v->block && read_numbers(run, s, snapshots, v, &err) != TT_OK)
            tt_rerun_note(run->ret,
                          "checkpoint %s was only in its snapshot, which cannot be read any more: "
                          "going back to it cannot be repeated: %.300s",
                          v->name, err.msg);
    }
}

/* A stream as the file begins with it. */
enum tt_code tt_rerun_new_stream(struct tt_rerun_state *run, const struct tt_capture_reader *r,
                                 struct tt_stream **ret, struct tt_err *err)
{
    struct tt_stream_spec spec = {.name = r->head.stream,
                                  .model_name = r->head.model,
                                  .model = run->spec->cache->model,
                                  .policy = run->policy,
                                  .plan = run->plan,
                                  .sink = {.ctx = run, .put = put, .may_learn = may_learn},
                                  .ring = (int)r->head.ring,
                                  .feedback_ms = r->head.feedback_ms,
                                  .now_ms = r->head.now_ms};
    struct tt_tape t;

    if (tt_stream_new(&spec, ret, err) != TT_OK)
        return err->code;
    tt_tape_read(&t, r->state, r->nstate);
    tt_captured_state(&t, *ret);
    if (!tt_tape_done(&t)) {
        tt_stream_free(*ret);
        *ret = NULL;
        return tt_fail(err, TT_EPARSE,
                       "%s: the stream that it begins with is not one of this model and policy",
                       r->path);
    }
    read_checkpoints(run, *ret, r->head.snapshots);
    return TT_OK;
}

void tt_rerun_release(struct tt_rerun_state *run)
{
    tt_stream_free(run->stream);
    tt_plan_free(run->plan);
    tt_arena_release(&run->scratch);
    tt_arena_release(&run->arena);
    run->stream = NULL;
    run->plan = NULL;
    run->policy = NULL;
}

/* What is not as it was then, and may change the last bits. */
static void note_changes(struct tt_rerun_state *run, const struct tt_captured_head *h)
{
    const int64_t threads = run->spec->threads ? run->spec->threads : h->threads;
    char machine[TT_MACHINE_BYTES];

    tt_machine(machine);
    omp_set_num_threads((int)threads);
    if (threads != h->threads)
        tt_rerun_note(run->ret, "%" PRId64 " threads, captured with %" PRId64, threads, h->threads);
    if (strcmp(machine, h->machine) != 0)
        tt_rerun_note(run->ret, "here: %s; captured with: %s", machine, h->machine);
    if (strcmp(h->ttad, TTAD_VERSION) != 0)
        tt_rerun_note(run->ret, "ttad " TTAD_VERSION ", captured by ttad %s", h->ttad);
}

enum tt_code tt_rerun_begin(struct tt_rerun_state *run, const struct tt_capture_reader *r,
                            struct tt_err *err)
{
    tt_rerun_release(run);
    (void)snprintf(run->ret->stream, sizeof run->ret->stream, "%s", r->head.stream);
    if (!run->ret->files)
        note_changes(run, &r->head);
    if (need_model(run, &r->head, err) != TT_OK || need_policy(run, &r->head, err) != TT_OK ||
        tt_rerun_plan(run, 1, err) != TT_OK ||
        tt_rerun_new_stream(run, r, &run->stream, err) != TT_OK)
        return err->code;
    return TT_OK;
}
