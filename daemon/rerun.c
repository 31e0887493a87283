// SPDX-License-Identifier: Apache-2.0
#include "daemon/rerun.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/capture_files.h"
#include "daemon/input.h"
#include "daemon/resume.h"

/* ---- operations --------------------------------------------------------------------------- */

static void fill_result(struct tt_rerun_state *run, const struct tt_batch *b,
                        const struct tt_result *r, struct tt_captured_batch *got)
{
    const float *block = run->stream->versions.serving.block;
    int n;
    const struct tt_slice *slice = tt_plan_slices(run->plan, &n);

    memcpy(got->version, r->version, sizeof got->version);
    memcpy(got->rolled_back_to, r->rolled_back_to, sizeof got->rolled_back_to);
    (void)snprintf(got->guard, sizeof got->guard, "%s", r->guard);
    got->adapted = r->adapted;
    got->step = r->step;
    got->skip = r->skip;
    got->loss = r->loss;
    got->entropy = r->entropy;
    got->answer =
        tt_checksum(0, b->logits, (size_t)(b->rows * run->stream->classes) * sizeof *b->logits);
    got->slices = TT_NEW(&run->scratch, n, uint32_t);
    got->nslices = r->adapted && got->slices ? n : 0;
    for (int i = 0; i < got->nslices; i++)
        got->slices[i] =
            (uint32_t)tt_checksum(0, block + slice[i].offset, (size_t)slice[i].n * sizeof *block);
}

static enum tt_code run_batch(struct tt_rerun_state *run, const struct tt_captured_batch *c,
                              struct tt_captured_batch *got, struct tt_err *err)
{
    struct tt_request *q = TT_NEW(&run->scratch, 1, struct tt_request);
    struct tt_served_model m = {.name = run->stream->model_name, .model = run->spec->cache->model};
    struct tt_batch b = {.id = c->id,
                         .rows = c->tensor.dim[0],
                         .learn = c->learn,
                         .unkept = c->unkept,
                         .why = (enum tt_skip)c->why,
                         .now_ms = c->now_ms,
                         .queue_us = c->queue_us,
                         .took_us = c->took_us};
    float *x = TT_NEW(&run->scratch, c->tensor.n, float);
    struct tt_refusal refusal;
    struct tt_result r;

    if (tt_rerun_plan(run, b.rows, err) != TT_OK)
        return err->code;
    b.logits = TT_NEW(&run->scratch, b.rows * run->stream->classes, float);
    if (!q || !x || !b.logits)
        return tt_fail(err, TT_ENOMEM, "out of memory for a batch of %" PRId64, b.rows);
    q->ninputs = 1;
    q->inputs[0] = c->tensor;
    m.input = tt_plan_input(run->plan);
    if (tt_input_check(q, &m, run->policy, b.rows, &refusal))
        return tt_fail(err, TT_ESHAPE, "%s", refusal.msg);
    tt_input_read(q, &m, run->policy, x);
    b.x = x;
    if (tt_stream_step(run->stream, run->plan, &b, &r, err) != TT_OK ||
        (run->stream->follow.due &&
         tt_stream_follow(run->stream, run->plan, TT_SKIP_NONE, &r, err) != TT_OK))
        return err->code;
    fill_result(run, &b, &r, got);
    run->ret->samples += b.rows;
    run->ret->versions += r.adapted;
    run->ret->rollbacks += r.rolled_back_to[0] != '\0';
    return TT_OK;
}

static enum tt_code run_order(struct tt_rerun_state *run, const struct tt_captured_order *c,
                              struct tt_captured_order *got, struct tt_err *err)
{
    const struct tt_order o = {.action = (enum tt_action)c->action,
                               .thaw = c->thaw,
                               .version = c->version,
                               .actor = c->actor,
                               .reason = c->reason,
                               .now_ms = c->now_ms};
    struct tt_ordered done;

    if (!o.thaw && o.action == TT_ACTION_ROLLBACK && *o.version &&
        tt_stream_fetch(run->stream, run->plan, o.version, err) != TT_OK)
        return err->code;
    if (!o.thaw && o.action == TT_ACTION_ROLLBACK && !*o.version)
        (void)tt_stream_target(run->stream, run->plan, INT64_MAX, o.now_ms); // as the daemon does
    if (tt_stream_order(run->stream, &o, &done, err) != TT_OK)
        return err->code;
    memcpy(got->from, done.from, sizeof got->from);
    memcpy(got->to, done.to, sizeof got->to);
    got->to_step = done.to_step;
    run->ret->orders++;
    return TT_OK;
}

/* Give up the checkpoints that were given up then. */
static void run_ring(struct tt_versions *v, const struct tt_captured_ring *r)
{
    for (int i = 0; i < v->nring; i++) {
        struct tt_version *c = &v->ring[i];
        int64_t k = 0;

        if (!c->name[0])
            continue;
        while (k < r->n && strcmp(r->checkpoint[k].name, c->name) != 0)
            k++;
        if (k < r->n) {
            c->state = (enum tt_version_state)r->checkpoint[k].state;
            continue;
        }
        tt_block_free(c->block);
        *c = (struct tt_version){.name = ""};
    }
}

static enum tt_code run_operation(struct tt_rerun_state *run, const struct tt_captured *o,
                                  struct tt_captured *got, struct tt_err *err)
{
    const struct tt_captured_feedback *f = &o->feedback;
    const struct tt_labels labels = {f->id, f->label, f->n, f->now_ms};
    enum tt_code code = TT_OK;

    run->ndecided = 0;
    run->ret->operations++;
    if (o->kind == TT_CAPTURED_BATCH) {
        run->ret->batches++;
        run->ready = o->batch.skip != TT_SKIP_NOT_READY || o->batch.unkept;
        code = run_batch(run, &o->batch, &got->batch, err);
    } else if (o->kind == TT_CAPTURED_FEEDBACK) {
        run->ret->labels++;
        code = tt_stream_feedback(run->stream, &labels, &got->feedback.got, err);
    } else if (o->kind == TT_CAPTURED_ORDER) {
        code = run_order(run, &o->order, &got->order, err);
    } else if (o->kind == TT_CAPTURED_SETTLE) {
        tt_stream_settle(run->stream, run->plan, o->now_ms);
    } else if (o->kind == TT_CAPTURED_RING) {
        run_ring(&run->stream->versions, &o->ring);
    } else {
        (void)tt_versions_keep(&run->stream->versions);
    }
    if (code == TT_OK && !tt_captured_after(run->stream, &run->scratch, &got->after))
        code = tt_fail(err, TT_ENOMEM, "out of memory");
    return code;
}

/* Run one and compare; what the stream refuses now, it had done then. */
static enum tt_code one(struct tt_rerun_state *run, const struct tt_captured *o, struct tt_err *err)
{
    struct tt_captured got = {.kind = o->kind};

    if (run_operation(run, o, &got, err) == TT_OK) {
        memcpy(run->ret->version, got.after.serving, sizeof run->ret->version);
        run->ret->step = got.after.step;
        return run->ret->differs ? TT_OK : tt_rerun_compare(run, o, &got, err);
    }
    if (err->code == TT_ENOMEM || err->code == TT_EIO)
        return err->code;
    tt_rerun_differs(run, o, "it cannot be done again: %.400s", err->msg);
    return TT_OK;
}

/* ---- files -------------------------------------------------------------------------------- */

/* Go on with what ran up to here, or begin anew. */
static enum tt_code enter(struct tt_rerun_state *run, struct tt_capture_reader *r, bool next,
                          struct tt_err *err)
{
    struct tt_stream *other = NULL;
    struct tt_after now;

    if (!run->stream || !r->head.follows || !next)
        return tt_rerun_begin(run, r, err);
    if (run->ret->differs) { // how far it is by now
        if (tt_rerun_new_stream(run, r, &other, err) == TT_OK)
            tt_rerun_distance(run, other);
        tt_stream_free(other);
        return TT_OK;
    }
    if (!tt_captured_after(run->stream, &run->scratch, &now))
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (now.digest != r->after.digest)
        tt_rerun_differs(run, &(struct tt_captured){.kind = TT_CAPTURED_STATE},
                         "%s begins with another state than the file before ended with", r->path);
    return TT_OK;
}

static void tell_end(struct tt_rerun_state *run, const struct tt_capture_reader *r,
                     enum tt_capture_end end)
{
    if (end == TT_CAPTURE_TORN)
        tt_rerun_note(run->ret, "%s ends within a record: ttad was killed there, or is writing it",
                      r->path);
}

static enum tt_code run_file(struct tt_rerun_state *run, struct tt_capture_reader *r,
                             struct tt_err *err)
{
    enum tt_capture_end end = TT_CAPTURE_GOES_ON;
    struct tt_captured o;

    run->ret->files++;
    while (end == TT_CAPTURE_GOES_ON) {
        tt_arena_reset(&run->scratch);
        if (tt_capture_read_next(r, &run->scratch, &o, &end, err) != TT_OK)
            return err->code;
        if (end == TT_CAPTURE_GOES_ON && one(run, &o, err) != TT_OK)
            return err->code;
        if (run->spec->progress && end == TT_CAPTURE_GOES_ON)
            run->spec->progress(run->spec->arg, run->ret);
    }
    tell_end(run, r, end);
    return TT_OK;
}

/* One file; that it ends before its beginning does is only told.  Stops with the file that follows
 * a difference. */
static enum tt_code visit(struct tt_rerun_state *run, int64_t number, bool next, struct tt_err *err)
{
    const bool differed = run->ret->differs;
    char path[TT_CAPTURE_PATH];
    struct tt_capture_reader r;
    enum tt_code code;

    tt_capture_files_path(run->spec->dir, number, path);
    code = tt_capture_read_open(&r, path, err);
    if (code == TT_ENOTFOUND) {
        tt_rerun_note(run->ret, "%s", err->msg);
        code = TT_OK;
    } else if (code == TT_OK && (!differed || r.head.follows)) {
        code = enter(run, &r, next, err);
        if (code == TT_OK && !differed)
            code = run_file(run, &r, err);
    }
    tt_capture_read_close(&r);
    return code;
}

/* The newest file that begins at or before the step that was asked for. */
static enum tt_code find_first(const struct tt_rerun_spec *spec,
                               const struct tt_capture_file_size *file, int n, int *ret,
                               struct tt_err *err)
{
    *ret = 0;
    for (int i = 1; i < n && spec->from > 0; i++) {
        char path[TT_CAPTURE_PATH];
        struct tt_capture_reader r;
        enum tt_code code;

        tt_capture_files_path(spec->dir, file[i].number, path);
        code = tt_capture_read_open(&r, path, err);
        if (code == TT_OK && r.after.step <= spec->from)
            *ret = i;
        tt_capture_read_close(&r);
        if (code != TT_OK && code != TT_ENOTFOUND)
            return code;
    }
    return TT_OK;
}

enum tt_code tt_rerun_stream(const struct tt_rerun_spec *spec, struct tt_rerun *ret,
                             struct tt_err *err)
{
    struct tt_capture_file_size file[TT_CAPTURE_FILES];
    struct tt_rerun_state run = {.spec = spec, .ret = ret};
    enum tt_code code = TT_OK;
    int n, first;

    *ret = (struct tt_rerun){.files = 0};
    if (tt_capture_files_list(spec->dir, file, &n, err) != TT_OK ||
        find_first(spec, file, n, &first, err) != TT_OK)
        return err->code;
    if (!n)
        return tt_fail(err, TT_ENOTFOUND, "%s: no captured inputs", spec->dir);
    tt_arena_init(&run.arena, 0);
    tt_arena_init(&run.scratch, 0);
    for (int i = first; i < n && code == TT_OK; i++) {
        const bool differed = ret->differs;

        code =
            visit(&run, file[i].number, i > first && file[i].number == file[i - 1].number + 1, err);
        if (differed)
            break;
    }
    tt_rerun_release(&run);
    return code;
}
