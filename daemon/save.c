// SPDX-License-Identifier: Apache-2.0
#include "daemon/save.h"

#include <stdio.h>
#include <string.h>

#include "daemon/snapshots.h"
#include "daemon/tell.h"

void tt_stream_file(const struct tt_stream *s, const char *file,
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

static void retain(struct tt_stream *s, int64_t now_ms)
{
    const struct tt_snapshot_keep keep = {
        .newest = s->keep, .pinned = pinned, .removed = removed, .arg = s};
    struct tt_err err;

    if (tt_snapshot_retain(s->snapshots, &keep, &err) != TT_OK) // the snapshot itself is there
        tt_tell_event(s, "snapshot", "warning", "daemon", now_ms, err.msg);
}

static enum tt_code write_file(const struct tt_stream *s, const struct tt_plan *plan,
                               const struct tt_version *v, const char *reason, bool sync,
                               const char *name, struct tt_err *err)
{
    struct tt_arena arena;
    enum tt_code code;
    void *bytes;
    size_t n;

    tt_arena_init(&arena, 0);
    code = tt_snapshot_encode(s, plan, v, reason, &arena, &bytes, &n, err);
    if (!code)
        code = sync ? tt_snapshot_write(s->snapshots, name, bytes, n, err)
                    : tt_snapshot_put(s->snapshots, name, bytes, n, err);
    tt_arena_release(&arena);
    return code;
}

/* Tell of the file; whoever kills the process before that is recorded leaves a file without a row,
 * which is adopted. */
static void written(struct tt_stream *s, const struct tt_version *v, const char *name,
                    const char *reason, int64_t now_ms)
{
    char file[TT_SNAPSHOT_DIR + TT_SNAPSHOT_NAME], text[TT_LINE_BYTES];

    tt_stream_file(s, name, file);
    tt_tell_version(s, v, reason, file);
    (void)snprintf(text, sizeof text, "version %s of step %lld written: %s", v->name,
                   (long long)v->step, reason);
    tt_tell_event(s, "snapshot", "info", "daemon", now_ms, text);
}

static enum tt_code failed(struct tt_stream *s, const struct tt_version *v, int64_t now_ms,
                           struct tt_err *err)
{
    (void)tt_fail_in(err, "snapshot of version %s", v->name);
    tt_tell_event(s, "snapshot", "error", "daemon", now_ms, err->msg);
    return err->code;
}

enum tt_code tt_stream_save(struct tt_stream *s, const struct tt_plan *plan, struct tt_version *v,
                            const char *reason, int64_t now_ms, struct tt_err *err)
{
    char name[TT_SNAPSHOT_NAME];
    enum tt_code code;

    if (!s->snapshots)
        return tt_fail(err, TT_EUNSUPPORTED, "stream '%s' writes no snapshots", s->name);
    if (v->synced)
        return TT_OK;
    if (!v->stored && !v->block)
        return tt_fail(err, TT_ENOTFOUND, "the numbers of version %s are lost", v->name);
    code = tt_snapshot_name(v->step, v->name, name, err);
    if (!code)
        code = v->stored ? tt_snapshot_sync(s->snapshots, name, err)
                         : write_file(s, plan, v, reason, true, name, err);
    if (code) {
        v->stored = false;
        return failed(s, v, now_ms, err);
    }
    v->stored = v->synced = true;
    written(s, v, name, reason, now_ms);
    retain(s, now_ms);
    return TT_OK;
}

void tt_stream_stow(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms)
{
    char name[TT_SNAPSHOT_NAME], file[TT_SNAPSHOT_DIR + TT_SNAPSHOT_NAME];
    struct tt_err err;

    for (int i = 0; s->snapshots && i < s->versions.nring; i++) {
        struct tt_version *v = &s->versions.ring[i];

        if (!v->name[0] || !v->block || v->stored || v->state != TT_VERSION_SOAKING)
            continue;
        if (tt_snapshot_name(v->step, v->name, name, &err) != TT_OK ||
            write_file(s, plan, v, "checkpoint", false, name, &err) != TT_OK) {
            (void)failed(s, v, now_ms, &err);
            return;
        }
        v->stored = true;
        tt_stream_file(s, name, file);
        tt_tell_version(s, v, "checkpoint", file);
    }
}
