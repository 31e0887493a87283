// SPDX-License-Identifier: Apache-2.0
#include "daemon/capture.h"

#include <errno.h>
#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daemon/capture_files.h"
#include "daemon/capture_head.h"
#include "daemon/captured.h"
#include "daemon/commands.h"
#include "daemon/tell.h"
#include "monitor/snapshot.h"
#include "policies/policy.h"
#include "runtime/machine.h"

#define RETRY_MS 60000
#define PARTS    8 // a file is at least such a part of what all may have

struct tt_capture {
    struct tt_capture_files files;
    struct tt_capture_pool *pool;
    const char *model_path, *policy, *snapshots;
    int fd;           // of the newest file; -1: none is being written
    int64_t seq;      // of the next operation
    int64_t full;     // bytes at which the next file is begun
    uint64_t chain;   // checksum of the newest record
    int64_t retry_ms; // when to begin again; INT64_MAX: never
    struct tt_arena scratch;
};

/* ---- records ------------------------------------------------------------------------------ */

static enum tt_code append(struct tt_capture *c, enum tt_captured_kind kind, const void *walked,
                           size_t nwalked, const void *rest, size_t nrest, struct tt_err *err)
{
    struct tt_captured_frame f = {.kind = (uint32_t)kind,
                                  .walked = (uint32_t)nwalked,
                                  .seq = (uint64_t)c->seq,
                                  .bytes = nwalked + nrest};
    const struct iovec parts[] = {
        {&f, sizeof f}, {(void *)(uintptr_t)walked, nwalked}, {(void *)(uintptr_t)rest, nrest}};
    const ssize_t want = (ssize_t)(sizeof f + nwalked + nrest);
    ssize_t n;

    f.checksum = tt_captured_checksum(c->chain, &f, walked, rest);
    f.own = tt_captured_own(&f);
    if (tt_capture_files_room(&c->files, want, err) != TT_OK)
        return err->code;
    n = writev(c->fd, parts, 3);
    if (n != want)
        return tt_fail(err, TT_EIO, "%s", n < 0 ? strerror(errno) : "no room for all of it");
    tt_capture_files_grew(&c->files, want);
    c->chain = f.checksum;
    return TT_OK;
}

/* ---- files -------------------------------------------------------------------------------- */

static const char *head_text(const struct tt_stream *s, const char *why, bool follows,
                             int64_t now_ms)
{
    struct tt_capture *c = s->capture;
    char machine[TT_MACHINE_BYTES];
    struct tt_captured_head h = {.stream = s->name,
                                 .model = s->model_name,
                                 .model_path = c->model_path,
                                 .model_hash = s->model->hash,
                                 .policy = c->policy,
                                 .policy_hash = s->policy->hash,
                                 .policy_text = s->policy->text,
                                 .ttad = TTAD_VERSION,
                                 .machine = machine,
                                 .snapshots = c->snapshots,
                                 .why = why,
                                 .number = c->files.next,
                                 .threads = omp_get_max_threads(),
                                 .ring = s->versions.nring,
                                 .feedback_ms = s->feedback_ms,
                                 .now_ms = now_ms,
                                 .follows = follows};

    tt_machine(machine);
    return tt_captured_head_text(&h, &c->scratch);
}

/* What s is, then all of it. */
static void walk_state(struct tt_tape *t, struct tt_stream *s, struct tt_after *after)
{
    tt_captured_walk_after(t, after);
    tt_captured_state(t, s);
}

static enum tt_code write_opening(struct tt_stream *s, const char *head, const void *state,
                                  size_t nstate, struct tt_err *err)
{
    struct tt_capture *c = s->capture;
    const int64_t n = sizeof TT_CAPTURE_MAGIC;

    if (tt_capture_files_room(&c->files, n, err) != TT_OK)
        return err->code;
    if (write(c->fd, TT_CAPTURE_MAGIC, (size_t)n) != n)
        return tt_fail(err, TT_EIO, "%s", strerror(errno));
    tt_capture_files_grew(&c->files, n);
    c->chain = 0;
    if (append(c, TT_CAPTURED_HEAD, head, strlen(head), NULL, 0, err) != TT_OK)
        return err->code;
    return append(c, TT_CAPTURED_STATE, state, nstate, NULL, 0, err);
}

/* End the file that is being written; that this fails, a reader can live with. */
static void end_file(struct tt_capture *c, const char *why)
{
    struct tt_captured end = {.kind = TT_CAPTURED_END};
    unsigned char bytes[sizeof end.why + sizeof(int64_t)];
    struct tt_tape t;
    struct tt_err err;

    if (c->fd < 0)
        return;
    (void)snprintf(end.why, sizeof end.why, "%s", why);
    tt_tape_write(&t, bytes);
    tt_captured_walk(&t, &end, &c->scratch);
    (void)append(c, TT_CAPTURED_END, bytes, t.at, NULL, 0, &err);
    close(c->fd);
    c->fd = -1;
}

/* Begin a file with s as it is. */
static enum tt_code begin_file(struct tt_stream *s, const char *why, bool follows, int64_t now_ms,
                               struct tt_err *err)
{
    struct tt_capture *c = s->capture;
    const int64_t max = s->policy->capture.max_bytes;
    struct tt_after after = {.step = 0};
    struct tt_tape t;
    const char *head;
    void *state;
    int64_t all;

    end_file(c, why);
    if (!tt_captured_after(s, &c->scratch, &after))
        return tt_fail(err, TT_ENOMEM, "out of memory");
    tt_tape_count(&t);
    walk_state(&t, s, &after);
    head = head_text(s, why, follows, now_ms);
    state = tt_arena_alloc(&c->scratch, t.at, 1);
    if (!head || !state)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    all = (int64_t)(t.at + strlen(head)) + 128;
    if (all > max / PARTS) {
        c->retry_ms = INT64_MAX;
        return tt_fail(err, TT_ERANGE,
                       "each file begins with the stream's %" PRId64
                       " bytes: capture.max_bytes is %" PRId64 ", wanted at least %" PRId64,
                       all, max, all * PARTS);
    }
    c->full = max / PARTS > 2 * all ? max / PARTS : 2 * all;
    tt_tape_write(&t, state);
    walk_state(&t, s, &after);
    if (t.bad)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (tt_capture_files_new(&c->files, &c->fd, err) != TT_OK)
        return err->code;
    return write_opening(s, head, state, t.at, err);
}

/* Tell why nothing is captured for a while, and leave a file that reads well. */
static void stop(struct tt_stream *s, int64_t now_ms, struct tt_err *err)
{
    struct tt_capture *c = s->capture;
    char text[TT_LINE_BYTES];

    if (c->fd >= 0) {
        tt_capture_files_cut(&c->files, c->fd);
        close(c->fd);
        c->fd = -1;
    }
    if (c->retry_ms != INT64_MAX)
        c->retry_ms = now_ms + RETRY_MS;
    (void)snprintf(text, sizeof text, "inputs are not captured%s: %.400s",
                   c->retry_ms == INT64_MAX ? "" : " for a minute", err->msg);
    tt_tell_event(s, "capture", "error", "daemon", now_ms, text);
}

static void next_file(struct tt_stream *s, const char *why, bool follows, int64_t now_ms)
{
    const int64_t before = tt_capture_files_size(&s->capture->files);
    struct tt_err err;

    if (begin_file(s, why, follows, now_ms, &err) != TT_OK)
        stop(s, now_ms, &err);
    tt_arena_release(&s->capture->scratch); // it held the whole stream
    tt_capture_pool_grew(s->capture->pool, before + tt_capture_files_size(&s->capture->files));
}

/* ---- operations --------------------------------------------------------------------------- */

/* Append o to the file, with what s is now. */
static enum tt_code append_op(struct tt_stream *s, struct tt_captured *o, const void *rest,
                              size_t nrest, struct tt_err *err)
{
    struct tt_capture *c = s->capture;
    struct tt_tape t;
    void *walked = NULL;

    if (tt_captured_after(s, &c->scratch, &o->after)) {
        tt_tape_count(&t);
        tt_captured_walk(&t, o, &c->scratch);
        walked = tt_arena_alloc(&c->scratch, t.at, 1);
    }
    if (!walked)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    tt_tape_write(&t, walked);
    tt_captured_walk(&t, o, &c->scratch);
    return append(c, o->kind, walked, t.at, rest, nrest, err);
}

/* The operation was done; when the file is full, begin the next. */
static void put(struct tt_stream *s, struct tt_captured *o, const void *rest, size_t nrest,
                int64_t now_ms)
{
    struct tt_capture *c = s->capture;
    const bool within = o->kind == TT_CAPTURED_RING; // another operation, perhaps
    struct tt_err err;

    if (c->fd < 0) {
        if (!within)
            tt_capture_restate(s, "tried again", now_ms);
        return;
    }
    if (append_op(s, o, rest, nrest, &err) != TT_OK) {
        stop(s, now_ms, &err);
    } else {
        c->seq++;
        if (!within && tt_capture_files_size(&c->files) >= c->full)
            next_file(s, "full", true, now_ms);
    }
    tt_arena_reset(&c->scratch);
}

/* Checksums of the slices of the version that serves. */
static void sum_slices(const struct tt_stream *s, const struct tt_plan *plan,
                       struct tt_captured_batch *b)
{
    const float *block = s->versions.serving.block;
    int n;
    const struct tt_slice *slice = tt_plan_slices(plan, &n);

    b->slices = TT_NEW(&s->capture->scratch, n, uint32_t);
    for (int i = 0; b->slices && i < n; i++)
        b->slices[i] =
            (uint32_t)tt_checksum(0, block + slice[i].offset, (size_t)slice[i].n * sizeof *block);
    b->nslices = b->slices ? n : 0;
}

/* The batch as the model takes it, where nobody knows how it came. */
static struct tt_wire_tensor as_tensor(const struct tt_plan *plan, const struct tt_batch *b)
{
    const struct tt_value *want = tt_plan_input(plan);
    struct tt_wire_tensor t = {.type = TT_FP32, .ndim = want->ndim, .data = b->x, .scale = 1};

    memcpy(t.dim, want->dim, (size_t)t.ndim * sizeof *t.dim);
    t.dim[0] = b->rows;
    t.n = b->rows * tt_plan_row(plan);
    return t;
}

void tt_capture_batch(struct tt_stream *s, const struct tt_plan *plan, const struct tt_batch *b,
                      const struct tt_result *r)
{
    struct tt_captured o = {.kind = TT_CAPTURED_BATCH};
    struct tt_captured_batch *to = &o.batch;

    if (!s->capture)
        return;
    (void)snprintf(to->id, sizeof to->id, "%s", b->id ? b->id : "");
    to->now_ms = b->now_ms;
    to->queue_us = b->queue_us;
    to->took_us = r->took_us;
    to->learn = b->learn;
    to->unkept = r->unkept;
    to->why = b->why;
    to->tensor = b->tensor ? *b->tensor : as_tensor(plan, b);
    memcpy(to->version, r->version, sizeof to->version);
    memcpy(to->rolled_back_to, r->rolled_back_to, sizeof to->rolled_back_to);
    (void)snprintf(to->guard, sizeof to->guard, "%s", r->guard);
    to->adapted = r->adapted;
    to->step = r->step;
    to->skip = r->skip;
    to->loss = r->loss;
    to->entropy = r->entropy;
    to->answer = tt_checksum(0, b->logits, (size_t)(b->rows * s->classes) * sizeof *b->logits);
    if (r->adapted)
        sum_slices(s, plan, to);
    put(s, &o, to->tensor.data, (size_t)to->tensor.n * tt_dtype_size(to->tensor.type), b->now_ms);
}

void tt_capture_settle(struct tt_stream *s, int64_t now_ms, int good)
{
    struct tt_captured o = {.kind = TT_CAPTURED_SETTLE, .now_ms = now_ms, .good = good};

    if (s->capture && good)
        put(s, &o, NULL, 0, now_ms);
}

void tt_capture_keep(struct tt_stream *s, int64_t now_ms)
{
    struct tt_captured o = {.kind = TT_CAPTURED_KEEP, .now_ms = now_ms};

    if (s->capture)
        put(s, &o, NULL, 0, now_ms);
}

void tt_capture_ring(struct tt_stream *s)
{
    struct tt_captured o = {.kind = TT_CAPTURED_RING};
    struct tt_captured_ring *to = &o.ring;

    if (!s->capture)
        return;
    to->checkpoint = TT_NEW(&s->capture->scratch, s->versions.nring, struct tt_captured_checkpoint);
    for (int i = 0; to->checkpoint && i < s->versions.nring; i++) {
        const struct tt_version *v = &s->versions.ring[i];

        if (!v->name[0])
            continue;
        memcpy(to->checkpoint[to->n].name, v->name, sizeof v->name);
        to->checkpoint[to->n++].state = v->state;
    }
    put(s, &o, NULL, 0, s->versions.serving.ms);
}

void tt_capture_feedback(struct tt_stream *s, const struct tt_labels *l,
                         const struct tt_credited *got)
{
    struct tt_captured o = {.kind = TT_CAPTURED_FEEDBACK};

    if (!s->capture)
        return;
    (void)snprintf(o.feedback.id, sizeof o.feedback.id, "%s", l->id);
    o.feedback.now_ms = l->now_ms;
    o.feedback.n = l->n;
    o.feedback.label = (int64_t *)(uintptr_t)l->label; // only read
    o.feedback.got = *got;
    put(s, &o, NULL, 0, l->now_ms);
}

void tt_capture_order(struct tt_stream *s, const struct tt_order *o, const struct tt_ordered *got)
{
    struct tt_captured c = {.kind = TT_CAPTURED_ORDER};
    struct tt_captured_order *to = &c.order;

    if (!s->capture)
        return;
    to->action = o->action;
    to->thaw = o->thaw;
    to->now_ms = o->now_ms;
    (void)snprintf(to->version, sizeof to->version, "%s", o->version ? o->version : "");
    (void)snprintf(to->actor, sizeof to->actor, "%s", o->actor ? o->actor : "");
    (void)snprintf(to->reason, sizeof to->reason, "%s", o->reason ? o->reason : "");
    memcpy(to->from, got->from, sizeof to->from);
    memcpy(to->to, got->to, sizeof to->to);
    to->to_step = got->to_step;
    put(s, &c, NULL, 0, o->now_ms);
}

void tt_capture_restate(struct tt_stream *s, const char *why, int64_t now_ms)
{
    if (s->capture && (s->capture->fd >= 0 || now_ms >= s->capture->retry_ms))
        next_file(s, why, false, now_ms);
}

/* ---- begin and end ------------------------------------------------------------------------ */

/* A path that means the same from another folder. */
static const char *whole_path(struct tt_arena *arena, const char *path)
{
    char dir[TT_CAPTURE_PATH], whole[2 * TT_CAPTURE_PATH];

    if (*path == '/' || !getcwd(dir, sizeof dir))
        return tt_arena_strndup(arena, path, strlen(path));
    (void)snprintf(whole, sizeof whole, "%s/%.4000s", dir, path);
    return tt_arena_strndup(arena, whole, strlen(whole));
}

static enum tt_code begin(struct tt_stream *s, const struct tt_capture_spec *spec,
                          struct tt_capture *c, struct tt_err *err)
{
    char encoded[TT_SNAPSHOT_DIR];

    *c = (struct tt_capture){.fd = -1, .pool = spec->pool};
    tt_arena_init(&c->scratch, 0);
    c->model_path = whole_path(&s->arena, spec->model_path);
    c->policy = tt_arena_strndup(&s->arena, spec->policy, strlen(spec->policy));
    c->snapshots = whole_path(&s->arena, s->snapshots ? s->snapshots : "/");
    if (!c->model_path || !c->policy || !c->snapshots)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (tt_snapshot_dir(s->name, encoded, err) != TT_OK)
        return err->code;
    return tt_capture_files_open(&c->files, spec->pool->root, encoded, s->policy->capture.max_bytes,
                                 err);
}

void tt_capture_begin(struct tt_stream *s, const struct tt_capture_spec *spec, int64_t now_ms)
{
    struct tt_capture *c;
    struct tt_err err;

    if (s->policy->capture.mode != TT_CAPTURE_ON) {
        tt_capture_end(s);
        return;
    }
    if (s->capture) {
        s->capture->files.max = s->policy->capture.max_bytes;
        s->capture->retry_ms = 0; // what was too large may fit now
        next_file(s, spec->why, false, now_ms);
        return;
    }
    c = TT_NEW(&s->arena, 1, struct tt_capture);
    if (!c || begin(s, spec, c, &err) != TT_OK) {
        char text[TT_LINE_BYTES];

        (void)snprintf(text, sizeof text, "inputs are not captured: %.400s",
                       c ? err.msg : "out of memory");
        tt_tell_event(s, "capture", "error", "daemon", now_ms, text);
        return;
    }
    s->capture = c;
    next_file(s, spec->why, false, now_ms);
}

void tt_capture_end(struct tt_stream *s)
{
    if (!s->capture)
        return;
    end_file(s->capture, "closed");
    tt_arena_release(&s->capture->scratch);
    s->capture = NULL;
}
