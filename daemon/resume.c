// SPDX-License-Identifier: Apache-2.0
#include "daemon/resume.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/capture.h"
#include "daemon/journal.h"
#include "daemon/save.h"
#include "daemon/snapshots.h"
#include "daemon/tell.h"
#include "policies/policy.h"

#define MAX_FILES 512               // newest ones that are looked at
#define MAX_BYTES ((size_t)4 << 30) // of one file

#define SERVED    "served when the process ended"

struct scan {
    int n;
    struct tt_snapshot_file *file; // [MAX_FILES] newest first
};

static bool collect(void *arg, const struct tt_snapshot_file *f)
{
    struct scan *scan = arg;

    scan->file[scan->n++] = *f;
    return scan->n < MAX_FILES;
}

static const struct tt_known_version *find_known(const struct tt_known *known, const char *version)
{
    for (int i = 0; i < known->n; i++)
        if (!strcmp(known->version[i].version, version))
            return &known->version[i];
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

static void put_state(const struct tt_stream *s, const struct tt_rec_version_state *v,
                      int64_t now_ms)
{
    const struct tt_record r = {
        .kind = TT_REC_VERSION_STATE, .ts_ms = now_ms, .stream = s->name, .version_state = *v};

    if (s->sink.put)
        (void)s->sink.put(s->sink.ctx, &r); // found again at the next start
}

static void mark_lost(const struct tt_stream *s, const struct tt_snapshot_file *f, int64_t now_ms,
                      const char *why)
{
    put_state(s,
              &(struct tt_rec_version_state){.version = f->version, .state = "lost", .reason = why},
              now_ms);
    tt_tell_event(s, "snapshot", "error", "daemon", now_ms, why);
}

static bool set_aside(const struct tt_known_version *k)
{
    return k &&
           (!strcmp(k->state, "suspect") || !strcmp(k->state, "bad") || !strcmp(k->state, "lost"));
}

/* Rows whose file is not there: somebody took it, or retention did and was killed before it was
 * recorded. */
static void find_lost(const struct tt_stream *s, const struct tt_known *known, int64_t now_ms)
{
    char path[TT_LINE_BYTES + 2 * TT_SNAPSHOT_DIR], text[TT_LINE_BYTES];

    for (int i = 0; i < known->n; i++) {
        const struct tt_known_version *k = &known->version[i];
        const char *slash = strrchr(k->file, '/');

        (void)snprintf(path, sizeof path, "%s/%s", s->snapshots, slash ? slash + 1 : k->file);
        if (!*k->file || access(path, F_OK) == 0 || errno != ENOENT)
            continue;
        (void)snprintf(text, sizeof text, "snapshot %.100s of version %s is not there any more",
                       slash ? slash + 1 : k->file, k->version);
        put_state(s,
                  &(struct tt_rec_version_state){.version = k->version,
                                                 .state = set_aside(k) ? NULL : "lost",
                                                 .reason = set_aside(k) ? NULL : text,
                                                 .file_gone = true},
                  now_ms);
        tt_tell_event(s, "snapshot", "warning", "daemon", now_ms, text);
    }
}

/* A file without a row gets one. */
static void adopt_file(const struct tt_stream *s, const struct tt_snapshot_file *f,
                       const struct tt_version *v, int64_t now_ms)
{
    char file[TT_SNAPSHOT_DIR + TT_SNAPSHOT_NAME], text[TT_LINE_BYTES];

    tt_stream_file(s, f->name, file);
    tt_tell_version(s, v, "found without a row", file);
    (void)snprintf(text, sizeof text, "snapshot %s had no row in the record: it has one now",
                   f->name);
    tt_tell_event(s, "snapshot", "info", "daemon", now_ms, text);
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

struct resuming {
    struct tt_stream *s;
    const struct tt_plan *plan;
    const struct tt_known *known;
    int64_t now_ms;
    struct tt_arena arena; // of one file
    bool serving;          // something other than the source serves
    bool monitor;          // with its monitor's state
    bool changed;          // something was of another model or method
    const char *from;      // where it came from
};

/* Take one snapshot, if it is one to take. */
static void take(struct resuming *r, const struct tt_snapshot_file *f)
{
    const struct tt_known_version *k = find_known(r->known, f->version);
    struct tt_version *place = tt_versions_place(&r->s->versions, false);
    struct tt_decoded d = {.version = {.block = place ? place->block : NULL}};
    const bool adopt = r->known->read && (!k || !*k->file);
    struct tt_err why;

    tt_arena_reset(&r->arena);
    if (!place && adopt)
        d.version.block = TT_NEW(&r->arena, r->s->versions.floats + 1, float);
    if (!d.version.block)
        return;
    if (load(r->s, r->plan, f, &r->arena, &d, &why) != TT_OK) {
        if (why.code == TT_EDENIED)
            r->changed = true;
        else if (why.code != TT_ENOTFOUND) // it went meanwhile
            mark_lost(r->s, f, r->now_ms, why.msg);
        return;
    }
    if (k && !strcmp(k->state, "good"))
        d.version.state = TT_VERSION_GOOD;
    if (adopt)
        adopt_file(r->s, f, &d.version, r->now_ms);
    if (!place)
        return;
    *place = d.version;
    if (!r->serving) {
        r->monitor = adopt_monitor(r->s, &d);
        tt_versions_restore(&r->s->versions, place);
        r->serving = true;
        r->from = "";
    }
    clamp(r->s, place);
}

/* The journal, if it can serve once newer snapshots have been tried; else why not, as an event. */
static bool open_journal(struct resuming *r, struct tt_arena *arena, struct tt_journaled *j)
{
    struct tt_err why;
    char text[TT_LINE_BYTES];
    const enum tt_code code = tt_journal_read(r->s, arena, j, &why);

    if (code == TT_ENOTFOUND)
        return false;
    if (code == TT_EDENIED) {
        r->changed = true;
        return false;
    }
    if (code) {
        (void)snprintf(text, sizeof text, "the journal is damaged, the newest snapshot counts: %s",
                       why.msg);
        tt_tell_event(r->s, "journal", "error", "daemon", r->now_ms, text);
        return false;
    }
    tt_journal_adopt(r->s, j);
    if (j->cut)
        tt_tell_event(r->s, "journal", "warning", "daemon", r->now_ms,
                      "the newest write to the journal is not whole, the one before counts");
    if (r->known->decision <= j->decision)
        return true;
    (void)snprintf(text, sizeof text,
                   "the journal is older than decision %lld, which went back to an older version: "
                   "the newest snapshot counts",
                   (long long)r->known->decision);
    tt_tell_event(r->s, "journal", "warning", "daemon", r->now_ms, text);
    return false;
}

static void serve_journal(struct resuming *r, const struct tt_journaled *j)
{
    const struct tt_known_version *k = find_known(r->known, j->version.name);
    const struct tt_decoded d = {
        .signals = j->signals, .nsignals = j->nsignals, .guard = j->guard, .nguard = j->nguard};

    r->monitor = adopt_monitor(r->s, &d);
    tt_versions_restore(&r->s->versions, &j->version);
    clamp(r->s, &r->s->versions.serving);
    if (r->known->read && !k)
        tt_tell_version(r->s, &r->s->versions.serving, SERVED, NULL);
    else if (set_aside(k)) // a person went back to it, which the record does not know yet
        tt_tell_judged(r->s, &r->s->versions.serving, SERVED, r->now_ms);
    r->serving = true;
    r->from = " from the journal";
}

static void resume_all(struct resuming *r, const struct scan *scan)
{
    struct tt_journaled j;
    struct tt_arena arena;
    bool journal;

    tt_arena_init(&arena, 0);
    journal = open_journal(r, &arena, &j);
    for (int i = 0; i < scan->n; i++) {
        const struct tt_snapshot_file *f = &scan->file[i];

        if (journal && !r->serving && f->step <= j.step)
            serve_journal(r, &j);
        r->s->step = f->step > r->s->step ? f->step : r->s->step;
        if (!set_aside(find_known(r->known, f->version)))
            take(r, f);
    }
    if (journal && !r->serving)
        serve_journal(r, &j);
    tt_arena_release(&arena);
}

static void say(const struct resuming *r, int nfiles, char text[TT_LINE_BYTES])
{
    const struct tt_version *v = &r->s->versions.serving;
    const int64_t bytes = r->s->versions.floats * (int64_t)sizeof(float);
    const bool small = bytes <= r->s->journal.limit || !tt_plan_learns(r->plan);
    char how[TT_LINE_BYTES / 2];

    if (r->serving)
        (void)snprintf(how, sizeof how, "resumes at version %s of step %lld%s%s", v->name,
                       (long long)v->step, r->from,
                       r->monitor ? "" : ", the guard begins anew: its rules have changed");
    else if (nfiles || r->changed)
        (void)snprintf(how, sizeof how, "starts from the source: none of %d snapshots serves%s",
                       nfiles, r->changed ? ": the model or the method has changed" : "");
    else
        (void)snprintf(how, sizeof how, "starts from the source: no snapshot");
    if (small)
        (void)snprintf(text, TT_LINE_BYTES, "%s", how);
    else
        (void)snprintf(text, TT_LINE_BYTES,
                       "%s; a version has %lld bytes, journal_bytes is %lld: a kill loses what was "
                       "learnt since the last snapshot",
                       how, (long long)bytes, (long long)r->s->journal.limit);
}

enum tt_code tt_stream_resume(struct tt_stream *s, const struct tt_plan *plan,
                              const struct tt_known *known, int64_t now_ms,
                              char text[TT_LINE_BYTES], struct tt_err *err)
{
    struct resuming r = {.s = s, .plan = plan, .known = known, .now_ms = now_ms};
    struct scan scan = {.n = 0};
    struct tt_arena arena;
    enum tt_code code = TT_OK;

    (void)snprintf(text, TT_LINE_BYTES, "starts from the source: no snapshot");
    if (!s->snapshots)
        return TT_OK;
    tt_arena_init(&arena, 0);
    scan.file = TT_NEW(&arena, MAX_FILES, struct tt_snapshot_file);
    if (!scan.file)
        code = tt_fail(err, TT_ENOMEM, "out of memory");
    else
        code = tt_snapshot_scan(s->snapshots, collect, &scan, err);
    if (!code) {
        tt_arena_init(&r.arena, 0);
        for (int i = 0; i < known->n; i++)
            s->step = known->version[i].step > s->step ? known->version[i].step : s->step;
        for (int i = 0; i < known->nnamed; i++)
            tt_storage_pin(&s->storage, known->named[i]);
        find_lost(s, known, now_ms);
        resume_all(&r, &scan);
        tt_arena_release(&r.arena);
        if (known->decision > s->decision) // what is journaled from now on is newer than that
            s->decision = known->decision;
        say(&r, scan.n, text);
        s->told = s->guard.state;
    }
    tt_arena_release(&arena);
    return code;
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

        if (err.code == TT_ENOMEM || err.code == TT_EIO) { // not now; perhaps later
            tt_tell_event(s, "snapshot", "error", "daemon", now_ms, err.msg);
            return &s->versions.base;
        }

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

    if (v && s->snapshots && v->state != TT_VERSION_BASE)
        (void)tt_stream_save(s, plan, v, "drain", now_ms, &err); // told as an event
}

void tt_stream_closed(struct tt_stream *s, int64_t now_ms)
{
    struct tt_record r = {.kind = TT_REC_STREAM, .ts_ms = now_ms, .stream = s->name};
    const struct tt_version *v;

    r.state = (struct tt_rec_stream){.state = "closed",
                                     .reason = "closed by a client",
                                     .by = "client",
                                     .step = TT_UNKNOWN,
                                     .decision_id = TT_UNKNOWN};
    if (s->sink.put)
        (void)s->sink.put(s->sink.ctx, &r); // the store counts what it sheds
    tt_tell_event(s, "client", "info", "client", now_ms, "closed");
    v = tt_versions_find(&s->versions, s->versions.serving.name);
    if (v && (v->state == TT_VERSION_BASE || v->synced))
        tt_journal_remove(s); // its snapshot says the same
}
