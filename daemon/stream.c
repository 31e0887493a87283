// SPDX-License-Identifier: Apache-2.0
#include "daemon/stream.h"

#include <string.h>

#include "daemon/capture.h"
#include "daemon/journal.h"
#include "daemon/salt.h"
#include "daemon/save.h"
#include "daemon/tell.h"
#include "policies/policy.h"

#define RING 16 // checkpoints in memory
#define KEEP 10 // snapshots on the disk

static enum tt_code fill(struct tt_stream *s, const struct tt_stream_spec *spec, struct tt_err *err)
{
    const char *dir = spec->snapshots;
    float *memory, *source = NULL;

    s->classes = tt_plan_classes(spec->plan);
    s->name = tt_arena_strndup(&s->arena, spec->name, strlen(spec->name));
    s->model_name = tt_arena_strndup(&s->arena, spec->model_name, strlen(spec->model_name));
    s->snapshots = dir ? tt_arena_strndup(&s->arena, dir, strlen(dir)) : NULL;
    s->recent = TT_NEW(&s->arena, 1, struct tt_recent);
    memory = TT_NEW(&s->arena, 2 * (s->classes + 1), float);
    s->mean_p = TT_NEW(&s->arena, s->classes + 1, float);
    s->counts = TT_NEW(&s->arena, s->classes + 1, int64_t);
    if (!s->name || !s->model_name || (dir && !s->snapshots) || !s->recent || !memory ||
        !s->mean_p || !s->counts)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (tt_stream_salt(spec->model, spec->policy, s->salt, err) != TT_OK)
        return err->code;
    if (tt_versions_init(&s->versions, &s->arena, tt_plan_floats(spec->plan),
                         spec->ring ? spec->ring : RING, s->salt, err) != TT_OK)
        return err->code;
    source = spec->source ? tt_block_share(spec->source) : tt_block_new(s->versions.floats);
    if (!source)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (!spec->source)
        tt_plan_source(spec->plan, source);
    tt_versions_source(&s->versions, source, spec->now_ms);
    tt_signals_init(&s->signals, s->classes, spec->policy->guard.settings.window, memory);
    tt_guard_init(&s->guard, &spec->policy->guard, spec->now_ms);
    s->told = s->guard.state;
    return TT_OK;
}

/* What a stream allocates for as long as it lives, names and padding put high: one block of it for
 * each of thousands of streams. */
static size_t bytes_of(const struct tt_stream_spec *spec)
{
    const size_t classes = (size_t)tt_plan_classes(spec->plan) + 1;

    return sizeof(struct tt_stream) + sizeof(struct tt_recent) +
           (size_t)(spec->ring ? spec->ring : RING) * sizeof(struct tt_version) +
           classes * (3 * sizeof(float) + sizeof(int64_t)) + strlen(spec->name) +
           strlen(spec->model_name) + (spec->snapshots ? strlen(spec->snapshots) : 0) +
           10 * (size_t)TT_ALIGN;
}

enum tt_code tt_stream_new(const struct tt_stream_spec *spec, struct tt_stream **ret,
                           struct tt_err *err)
{
    struct tt_arena arena;
    struct tt_stream *s;

    tt_arena_init(&arena, 0);
    tt_arena_reserve(&arena, bytes_of(spec));
    s = TT_NEW(&arena, 1, struct tt_stream);
    if (!s)
        return tt_fail(err, TT_ENOMEM, "stream '%s': out of memory", spec->name);
    *s = (struct tt_stream){.arena = arena,
                            .model = spec->model,
                            .policy = spec->policy,
                            .sink = spec->sink,
                            .storage = {.newest = spec->keep ? spec->keep : KEEP,
                                        .bytes = spec->snapshot_bytes,
                                        .room = spec->room},
                            .feedback_ms = spec->feedback_ms};
    s->journal.limit = spec->journal_bytes ? spec->journal_bytes : TT_JOURNAL_BYTES;
    tt_arena_init(&s->scratch, 0);
    if (fill(s, spec, err) != TT_OK) {
        tt_stream_free(s);
        return tt_fail_in(err, "stream '%s'", spec->name);
    }
    tt_tell_version(s, &s->versions.base, "the model as it was loaded", NULL);
    tt_tell_state(s, "daemon", 0, spec->now_ms);
    *ret = s;
    return TT_OK;
}

void tt_stream_free(struct tt_stream *s)
{
    struct tt_arena arena;

    if (!s)
        return;
    tt_capture_end(s);
    tt_arena_release(&s->scratch);
    tt_memory_trim(&s->memory, 0);
    tt_versions_free(&s->versions);
    arena = s->arena; // it owns s
    tt_arena_release(&arena);
}

void tt_stream_settle(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms)
{
    int good = 0;

    tt_stream_stow(s, plan, now_ms);
    for (int i = 0; i < s->versions.nring; i++) {
        struct tt_version *v = &s->versions.ring[i];

        if (!v->name[0] || v->state != TT_VERSION_SOAKING ||
            !tt_guard_soaked(&s->guard, &s->policy->guard, v->samples))
            continue;
        v->state = TT_VERSION_GOOD;
        good++;
        tt_tell_judged(s, v, "the guard's evidence stayed low while it soaked", now_ms);
        if (s->snapshots && !s->save_wait_ms)
            tt_stream_keep(s, plan, v, now_ms);
    }
    tt_capture_settle(s, now_ms, good);
}

void tt_stream_rest(struct tt_stream *s)
{
    tt_arena_release(&s->scratch);
    s->room = 0;
    tt_block_free(s->versions.next.block);
    s->versions.next.block = NULL;
}

void tt_stream_trim(struct tt_stream *s, size_t bytes)
{
    const size_t need = s->arena.used + (size_t)s->versions.floats * sizeof(float);
    const size_t spare = bytes > need ? bytes - need : 0;
    const int held = tt_versions_held(&s->versions);

    if (tt_stream_bytes(s) <= bytes)
        return;
    tt_stream_rest(s);
    tt_memory_trim(&s->memory, spare / 4); // labels may come for the newest answers at least
    tt_versions_trim(&s->versions, spare - s->memory.bytes);
    if (tt_versions_held(&s->versions) != held)
        tt_capture_ring(s);
}

size_t tt_stream_bytes(const struct tt_stream *s)
{
    return s->arena.used + s->scratch.used + s->memory.bytes + tt_versions_bytes(&s->versions) +
           (size_t)s->versions.floats * sizeof(float);
}
