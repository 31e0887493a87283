// SPDX-License-Identifier: Apache-2.0
#include "daemon/resume.h"

#include <stdio.h>
#include <string.h>

#include "daemon/capture.h"
#include "daemon/snapshots.h"
#include "daemon/tell.h"
#include "policies/policy.h"

#define MAX_FILES 64                // newest ones that are looked at
#define MAX_BYTES ((size_t)4 << 30) // of one file

/* "<stream>/<file>": how the record names a snapshot. */
static void record_name(const struct tt_stream *s, const char *file,
                        char ret[TT_SNAPSHOT_DIR + TT_SNAPSHOT_NAME])
{
    const char *slash = strrchr(s->snapshots, '/');

    (void)snprintf(ret, TT_SNAPSHOT_DIR + TT_SNAPSHOT_NAME, "%.*s/%.*s", TT_SNAPSHOT_DIR - 2,
                   slash ? slash + 1 : s->snapshots, TT_SNAPSHOT_NAME, file);
}

static bool pinned(void *arg, const struct tt_snapshot_file *f)
{
    const struct tt_stream *s = arg;
    const struct tt_version *v = tt_versions_find(&s->versions, f->version);

    return !strcmp(s->versions.serving.name, f->version) ||
           (v && (v->state == TT_VERSION_GOOD || v->state == TT_VERSION_SOAKING));
}

static void removed(void *arg, const struct tt_snapshot_file *f)
{
    const struct tt_stream *s = arg;
    struct tt_record r = {.kind = TT_REC_VERSION_STATE,
                          .ts_ms = s->versions.serving.ms,
                          .stream = s->name,
                          .version_state = {.version = f->version, .file_gone = true}};

    if (s->sink.put)
        (void)s->sink.put(s->sink.ctx, &r); // told again when the file is missed
}

static enum tt_code write_file(struct tt_stream *s, const struct tt_plan *plan,
                               const struct tt_version *v, const char *reason,
                               struct tt_arena *arena, char name[TT_SNAPSHOT_NAME],
                               struct tt_err *err)
{
    void *bytes;
    size_t n;

    if (tt_snapshot_name(v->step, v->name, name, err) != TT_OK ||
        tt_snapshot_encode(s, plan, v, reason, arena, &bytes, &n, err) != TT_OK)
        return err->code;
    return tt_snapshot_write(s->snapshots, name, bytes, n, err);
}

enum tt_code tt_stream_save(struct tt_stream *s, const struct tt_plan *plan, struct tt_version *v,
                            const char *reason, int64_t now_ms, struct tt_err *err)
{
    struct tt_snapshot_keep keep = {
        .newest = s->keep, .pinned = pinned, .removed = removed, .arg = s};
    char name[TT_SNAPSHOT_NAME], file[TT_SNAPSHOT_DIR + TT_SNAPSHOT_NAME], text[TT_LINE_BYTES];
    struct tt_arena arena;
    enum tt_code code;

    if (!s->snapshots)
        return tt_fail(err, TT_EUNSUPPORTED, "stream '%s' writes no snapshots", s->name);
    tt_arena_init(&arena, 0);
    code = write_file(s, plan, v, reason, &arena, name, err);
    tt_arena_release(&arena);
    if (code != TT_OK) {
        (void)tt_fail_in(err, "snapshot of version %s", v->name);
        tt_tell_event(s, "snapshot", "error", "daemon", now_ms, err->msg);
        return code;
    }
    v->stored = true;
    record_name(s, name, file);
    tt_tell_version(s, v, reason, file);
    (void)snprintf(text, sizeof text, "version %s of step %lld written: %s", v->name,
                   (long long)v->step, reason);
    tt_tell_event(s, "snapshot", "info", "daemon", now_ms, text);
    if (tt_snapshot_retain(s->snapshots, &keep, err) != TT_OK) // the snapshot itself is there
        tt_tell_event(s, "snapshot", "warning", "daemon", now_ms, err->msg);
    return TT_OK;
}

struct scan {
    int n;
    struct tt_snapshot_file file[MAX_FILES]; // newest first
};

static bool collect(void *arg, const struct tt_snapshot_file *f)
{
    struct scan *scan = arg;

    scan->file[scan->n++] = *f;
    return scan->n < MAX_FILES;
}

static const struct tt_known_version *find_known(const struct tt_known_version *known, int n,
                                                 const char *version)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(known[i].version, version))
            return &known[i];
    return NULL;
}

static enum tt_code load(const struct tt_stream *s, const struct tt_plan *plan,
                         const struct tt_snapshot_file *f, struct tt_arena *arena,
                         struct tt_decoded *ret, struct tt_err *err)
{
    void *bytes;
    size_t n;

    if (tt_snapshot_read(s->snapshots, f->name, MAX_BYTES, arena, &bytes, &n, err) != TT_OK ||
        tt_snapshot_decode(s, plan, bytes, n, arena, ret, err) != TT_OK)
        return tt_fail_in(err, "snapshot %s", f->name);
    return TT_OK;
}

static void mark_lost(const struct tt_stream *s, const struct tt_snapshot_file *f, int64_t now_ms,
                      const char *why)
{
    struct tt_record r = {.kind = TT_REC_VERSION_STATE,
                          .ts_ms = now_ms,
                          .stream = s->name,
                          .version_state = {.version = f->version, .state = "lost", .reason = why}};

    if (s->sink.put)
        (void)s->sink.put(s->sink.ctx, &r); // found again at the next start
    tt_tell_event(s, "snapshot", "error", "daemon", now_ms, why);
}

/* Continue with the monitor's state; where that does not fit any more, with a new one. */
static bool adopt_monitor(struct tt_stream *s, const struct tt_decoded *d)
{
    struct tt_err err = {TT_OK, ""};

    if (d->signals && d->guard &&
        tt_guard_load(&s->guard, &s->policy->guard, d->guard, d->nguard, &err) == TT_OK &&
        tt_signals_load(&s->signals, d->signals, d->nsignals, &err) == TT_OK)
        return true;
    tt_signals_restart(&s->signals);
    tt_guard_init(&s->guard, &s->policy->guard, s->versions.base.ms);
    return false;
}

/* The guard's clock may have been begun anew: nothing is from after it. */
static void clamp(const struct tt_stream *s, struct tt_version *v)
{
    if (v->samples > s->guard.samples)
        v->samples = s->guard.samples;
}

static bool set_aside(const struct tt_known_version *k)
{
    return k &&
           (!strcmp(k->state, "suspect") || !strcmp(k->state, "bad") || !strcmp(k->state, "lost"));
}

struct resumed {
    bool serving; // a snapshot serves
    bool monitor; // with its monitor's state
    bool changed; // one was of another model or method
};

/* Take one snapshot, if it is one to take. */
static void take(struct tt_stream *s, const struct tt_plan *plan, const struct tt_snapshot_file *f,
                 int64_t now_ms, struct tt_arena *arena, struct resumed *so_far)
{
    struct tt_version *place = tt_versions_place(&s->versions, false);
    struct tt_decoded d = {.version = {.block = place ? place->block : NULL}};
    struct tt_err why;

    if (!place)
        return;
    tt_arena_reset(arena);
    if (load(s, plan, f, arena, &d, &why) != TT_OK) {
        if (why.code == TT_EDENIED)
            so_far->changed = true;
        else
            mark_lost(s, f, now_ms, why.msg);
        return;
    }
    if (so_far->serving && d.version.state != TT_VERSION_GOOD)
        return;
    *place = d.version;
    if (!so_far->serving) {
        so_far->monitor = adopt_monitor(s, &d);
        tt_versions_restore(&s->versions, place);
        so_far->serving = true;
    }
    clamp(s, place);
}

enum tt_code tt_stream_resume(struct tt_stream *s, const struct tt_plan *plan,
                              const struct tt_known_version *known, int nknown, int64_t now_ms,
                              char text[TT_LINE_BYTES], struct tt_err *err)
{
    struct scan scan = {.n = 0};
    struct resumed so_far = {.serving = false};
    struct tt_arena arena;

    (void)snprintf(text, TT_LINE_BYTES, "starts from the source: no snapshot");
    if (!s->snapshots)
        return TT_OK;
    if (tt_snapshot_scan(s->snapshots, collect, &scan, err) != TT_OK)
        return err->code;
    for (int i = 0; i < nknown; i++)
        s->step = known[i].step > s->step ? known[i].step : s->step;
    tt_arena_init(&arena, 0);
    for (int i = 0; i < scan.n; i++) {
        s->step = scan.file[i].step > s->step ? scan.file[i].step : s->step;
        if (!set_aside(find_known(known, nknown, scan.file[i].version)))
            take(s, plan, &scan.file[i], now_ms, &arena, &so_far);
    }
    tt_arena_release(&arena);
    if (so_far.serving)
        (void)snprintf(text, TT_LINE_BYTES, "resumes at version %s of step %lld%s",
                       s->versions.serving.name, (long long)s->versions.serving.step,
                       so_far.monitor ? "" : ", the guard begins anew: its rules have changed");
    else if (scan.n)
        (void)snprintf(text, TT_LINE_BYTES, "starts from the source: none of %d snapshots serves%s",
                       scan.n, so_far.changed ? ": the model or the method has changed" : "");
    s->told = s->guard.state;
    return TT_OK;
}

struct wanted {
    const char *version;
    struct tt_snapshot_file file;
    bool found;
};

static bool match(void *arg, const struct tt_snapshot_file *f)
{
    struct wanted *w = arg;

    w->found = strlen(w->version) >= 8 && !strncmp(f->version, w->version, strlen(w->version));
    if (w->found)
        w->file = *f;
    return !w->found;
}

/* Read f into place, or, when that is NULL, into one that is found. */
static enum tt_code read_into(struct tt_stream *s, const struct tt_plan *plan,
                              const struct tt_snapshot_file *f, struct tt_version *place,
                              struct tt_err *err)
{
    struct tt_decoded d = {.version = {.block = tt_block_new(s->versions.floats)}};
    struct tt_arena arena;
    enum tt_code code;

    if (!d.version.block)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    tt_arena_init(&arena, 0);
    code = load(s, plan, f, &arena, &d, err);
    tt_arena_release(&arena);
    if (code == TT_OK && !place && !(place = tt_versions_place(&s->versions, true)))
        code = tt_fail(err, TT_ENOMEM, "out of memory");
    if (code != TT_OK) {
        tt_block_free(d.version.block);
        return code;
    }
    if (place->name[0]) // what has become known of it since it was written
        d.version.state = place->state;
    tt_block_free(place->block);
    *place = d.version;
    clamp(s, place);
    return TT_OK;
}

static struct tt_version *find_place(struct tt_stream *s, const char *version)
{
    const struct tt_version *v = tt_versions_find(&s->versions, version);

    for (int i = 0; i < s->versions.nring; i++)
        if (v == &s->versions.ring[i])
            return &s->versions.ring[i];
    return NULL; // the base
}

enum tt_code tt_stream_fetch(struct tt_stream *s, const struct tt_plan *plan, const char *version,
                             struct tt_err *err)
{
    const struct tt_version *known = tt_versions_find(&s->versions, version);
    struct wanted w = {.version = version};

    if (known && known->block)
        return TT_OK;
    if (s->snapshots && tt_snapshot_scan(s->snapshots, match, &w, err) != TT_OK)
        return err->code;
    if (!w.found)
        return tt_fail(err, TT_ENOTFOUND,
                       "stream '%s' has no version '%s' that it could go back to; op 'snapshots' "
                       "lists them",
                       s->name, version);
    if (read_into(s, plan, &w.file, known ? find_place(s, version) : NULL, err) != TT_OK)
        return err->code;
    if (!known)
        tt_capture_restate(s, "a version was read from its file", s->versions.serving.ms);
    return TT_OK;
}

const struct tt_version *tt_stream_target(struct tt_stream *s, const struct tt_plan *plan,
                                          int64_t samples, int64_t now_ms)
{
    const struct tt_version *to = tt_versions_target(&s->versions, samples);
    struct tt_err err;

    while (!to->block && tt_stream_fetch(s, plan, to->name, &err) != TT_OK) {
        struct tt_version *gone = find_place(s, to->name);
        struct tt_snapshot_file f = {.step = to->step};

        memcpy(f.version, to->name, sizeof f.version);
        gone->state = TT_VERSION_LOST;
        mark_lost(s, &f, now_ms, err.msg);
        tt_capture_ring(s);
        to = tt_versions_target(&s->versions, samples);
    }
    return to;
}

void tt_stream_opened(struct tt_stream *s, const char *text, int64_t now_ms)
{
    s->told = s->guard.state;
    tt_guard_reason(&s->guard, &s->policy->guard, s->reason, sizeof s->reason);
    tt_tell_state(s, "daemon", 0, now_ms);
    tt_tell_event(s, "client", "info", "daemon", now_ms, text);
}

void tt_stream_part(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms)
{
    struct tt_version *v = tt_versions_keep(&s->versions);
    struct tt_err err;

    if (v && s->snapshots && v->state != TT_VERSION_BASE && !v->stored)
        (void)tt_stream_save(s, plan, v, "drain", now_ms, &err); // told as an event
}

void tt_stream_closed(struct tt_stream *s, int64_t now_ms)
{
    struct tt_record r = {.kind = TT_REC_STREAM, .ts_ms = now_ms, .stream = s->name};

    r.state = (struct tt_rec_stream){.state = "closed",
                                     .reason = "closed by a client",
                                     .by = "client",
                                     .step = TT_UNKNOWN,
                                     .decision_id = TT_UNKNOWN};
    if (s->sink.put)
        (void)s->sink.put(s->sink.ctx, &r); // the store counts what it sheds
    tt_tell_event(s, "client", "info", "client", now_ms, "closed");
}
