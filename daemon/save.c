// SPDX-License-Identifier: Apache-2.0
#include "daemon/save.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/snapshots.h"
#include "daemon/tell.h"

#define RETRY_MS     1000 // after the first failure, then twice as long each time
#define RETRY_MS_MAX 60000

void tt_stream_file(const struct tt_stream *s, const char *file,
                    char ret[TT_SNAPSHOT_DIR + TT_SNAPSHOT_NAME])
{
    const char *slash = strrchr(s->snapshots, '/');

    (void)snprintf(ret, TT_SNAPSHOT_DIR + TT_SNAPSHOT_NAME, "%.*s/%.*s", TT_SNAPSHOT_DIR - 2,
                   slash ? slash + 1 : s->snapshots, TT_SNAPSHOT_NAME, file);
}

#define HOURLY 24 // the newest snapshot of each of so many hours stays
#define DAILY  7  // and of each of so many days

/* What serves, what a rollback would go to now, what a decision names. */
static bool pinned(void *arg, const struct tt_snapshot_file *f)
{
    const struct tt_stream *s = arg;
    const struct tt_version *target = tt_versions_target(&s->versions, INT64_MAX);
    const uint64_t id = strtoull(f->version, NULL, 16);

    for (int i = 0; i < TT_PINS && i < s->storage.npins; i++)
        if (s->storage.pin[i] == id)
            return true;
    return id == s->versions.serving.id || id == target->id;
}

/* Those of the ring that are, or may become, a place to go back to. */
static bool wanted(void *arg, const struct tt_snapshot_file *f)
{
    const struct tt_stream *s = arg;
    const struct tt_version *v = tt_versions_find(&s->versions, f->version);

    return v && (v->state == TT_VERSION_GOOD || v->state == TT_VERSION_SOAKING);
}

/* A checkpoint whose numbers were only there is none any more. */
static void forget(struct tt_stream *s, const char *version)
{
    for (int i = 0; i < s->versions.nring; i++) {
        struct tt_version *v = &s->versions.ring[i];

        if (strcmp(v->name, version) != 0)
            continue;
        v->stored = v->synced = false;
        if (!v->block)
            *v = (struct tt_version){.name = ""};
    }
}

static void removed(void *arg, const struct tt_snapshot_file *f)
{
    struct tt_stream *s = arg;
    struct tt_record r = {.kind = TT_REC_VERSION_STATE,
                          .ts_ms = s->versions.serving.ms,
                          .stream = s->name,
                          .version_state = {.version = f->version, .file_gone = true}};

    if (s->sink.put)
        (void)s->sink.put(s->sink.ctx, &r); // told again when the file is missed
    forget(s, f->version);
    if (s->storage.room)
        atomic_fetch_sub(&s->storage.room->used, f->bytes);
}

static bool add_up(void *arg, const struct tt_snapshot_file *f)
{
    *(int64_t *)arg += f->bytes;
    return true;
}

/* The bytes that this stream may have: its own bound, and when all streams have more than theirs,
 * so much less than it has: who writes makes room. */
static int64_t quota(const struct tt_stream *s)
{
    const struct tt_room *room = s->storage.room;
    const int64_t over = room && room->most ? atomic_load(&room->used) - room->most : 0;
    int64_t mine = 0;
    struct tt_err err;

    if (over <= 0 || tt_snapshot_scan(s->snapshots, add_up, &mine, &err) != TT_OK)
        return s->storage.bytes;
    mine = mine > over ? mine - over : 1;
    return s->storage.bytes && s->storage.bytes < mine ? s->storage.bytes : mine;
}

static void retain(struct tt_stream *s, int64_t now_ms)
{
    struct tt_snapshot_keep keep = {.newest = s->storage.newest,
                                    .quota = quota(s),
                                    .now_ms = now_ms,
                                    .hourly = HOURLY,
                                    .daily = DAILY,
                                    .pinned = pinned,
                                    .wanted = wanted,
                                    .removed = removed,
                                    .arg = s};
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
    size_t n = 0;

    tt_arena_init(&arena, 0);
    code = tt_snapshot_encode(s, plan, v, reason, &arena, &bytes, &n, err);
    if (!code)
        code = sync ? tt_snapshot_write(s->snapshots, name, bytes, n, err)
                    : tt_snapshot_put(s->snapshots, name, bytes, n, err);
    tt_arena_release(&arena);
    if (!code && s->storage.room)
        atomic_fetch_add(&s->storage.room->used, (int64_t)n);
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

/* The disk did not take it.  It is tried again later, ever less often; meanwhile the daemon's
 * health holds adaptation, and clears itself when the folder takes files. */
static enum tt_code failed(struct tt_stream *s, const struct tt_version *v, int64_t now_ms,
                           struct tt_err *err)
{
    (void)tt_fail_in(err, "stream '%.64s': snapshot of version %s", s->name, v->name);
    if (!s->save_wait_ms) // once, not at every try
        tt_tell_event(s, "snapshot", "error", "daemon", now_ms, err->msg);
    s->save_wait_ms = s->save_wait_ms && s->save_wait_ms < RETRY_MS_MAX ? 2 * s->save_wait_ms
                      : s->save_wait_ms                                 ? RETRY_MS_MAX
                                                                        : RETRY_MS;
    s->save_again_ms = now_ms + s->save_wait_ms;
    if (s->sink.snapshot)
        s->sink.snapshot(s->sink.ctx, s->versions.floats * (int64_t)sizeof(float), err->msg);
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

void tt_stream_keep(struct tt_stream *s, const struct tt_plan *plan, struct tt_version *v,
                    int64_t now_ms)
{
    char name[TT_SNAPSHOT_NAME];
    struct tt_err err;

    if (v->stored && !v->synced && s->sink.sync_file &&
        tt_snapshot_name(v->step, v->name, name, &err) == TT_OK)
        v->syncing = s->sink.sync_file(s->sink.ctx, s->snapshots, name);
    if (!v->syncing)
        (void)tt_stream_save(s, plan, v, "good", now_ms, &err); // told as an event
}

/* What has become of those that somebody else syncs. */
static void hear(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms)
{
    for (int i = 0; i < s->versions.nring; i++) {
        struct tt_version *v = &s->versions.ring[i];
        char name[TT_SNAPSHOT_NAME];
        enum tt_code code;
        struct tt_err err;

        if (!v->name[0] || !v->syncing)
            continue;
        code = s->sink.synced(s->sink.ctx, v->syncing, &err);
        if (code == TT_EBUSY)
            continue;
        v->syncing = 0;
        if (v->state != TT_VERSION_GOOD || v->synced)
            continue; // it was given up meanwhile, or an operator has waited for it
        if (code == TT_OK && tt_snapshot_name(v->step, v->name, name, &err) == TT_OK) {
            v->synced = true;
            written(s, v, name, "good", now_ms);
            retain(s, now_ms);
        } else if (code == TT_ENOTFOUND) {
            tt_stream_keep(s, plan, v, now_ms);
        } else {
            v->stored = !v->block; // written again, if there is anything to write
            (void)failed(s, v, now_ms, &err);
        }
    }
}

static void stow(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms)
{
    char name[TT_SNAPSHOT_NAME], file[TT_SNAPSHOT_DIR + TT_SNAPSHOT_NAME];
    struct tt_err err;
    bool stowed = false;

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
        stowed = true;
    }
    if (stowed)
        retain(s, now_ms);
}

/* Good versions whose snapshot failed. */
static bool save_again(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms)
{
    struct tt_err err;

    for (int i = 0; i < s->versions.nring; i++) {
        struct tt_version *v = &s->versions.ring[i];

        if (v->name[0] && v->state == TT_VERSION_GOOD && !v->synced && (v->stored || v->block) &&
            tt_stream_save(s, plan, v, "good", now_ms, &err) != TT_OK)
            return false;
    }
    return true;
}

void tt_stream_stow(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms)
{
    const int64_t wait_ms = s->save_wait_ms;

    if (!s->snapshots)
        return;
    hear(s, plan, now_ms);
    if (now_ms < s->save_again_ms)
        return;
    stow(s, plan, now_ms);
    if (wait_ms && s->save_wait_ms == wait_ms && save_again(s, plan, now_ms))
        s->save_wait_ms = s->save_again_ms = 0;
}
