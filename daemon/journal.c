// SPDX-License-Identifier: Apache-2.0
#include "daemon/journal.h"

#include <stdio.h>
#include <string.h>

#include "daemon/recent.h"
#include "daemon/tell.h"
#include "monitor/slots.h"
#include "monitor/snapshot.h"
#include "policies/policy.h"

#define LAYOUT 1

/* A slot: this, the signals', the guard's numbers, the version's block.  Of this machine alone. */
struct entry {
    int64_t layout, floats, nsignals, nguard;
    char stream[136], salt[TT_HASH_HEX + 8];
    char version[TT_HASH_SHORT + 8], parent[TT_HASH_SHORT + 8];
    int64_t state, version_step, version_samples, version_batches, version_ms, stored;
    double param_drift;
    int64_t step, updates, sample_turn, samples, adapted, skipped, rollbacks, decision;
    int64_t recent_used;
    unsigned char recent[TT_RECENT_BYTES];
};

static void fill(const struct tt_stream *s, struct entry *e)
{
    const struct tt_version *v = &s->versions.serving;

    e->layout = LAYOUT;
    e->floats = s->versions.floats;
    e->nsignals = (int64_t)tt_signals_doubles(s->classes);
    e->nguard = (int64_t)tt_guard_doubles(&s->policy->guard);
    (void)snprintf(e->stream, sizeof e->stream, "%s", s->name);
    (void)snprintf(e->salt, sizeof e->salt, "%s", s->salt);
    memcpy(e->version, v->name, sizeof v->name);
    memcpy(e->parent, v->parent, sizeof v->parent);
    e->state = v->state;
    e->version_step = v->step;
    e->version_samples = v->samples;
    e->version_batches = v->batches;
    e->version_ms = v->ms;
    e->stored = v->stored;
    e->param_drift = v->param_drift;
    e->step = s->step;
    e->updates = s->updates;
    e->sample_turn = s->sample_turn;
    e->samples = s->samples;
    e->adapted = s->adapted;
    e->skipped = s->skipped;
    e->rollbacks = s->rollbacks;
    e->decision = s->decision;
    e->recent_used = s->recent->used;
    memcpy(e->recent, s->recent->bytes, sizeof e->recent);
}

static enum tt_code write_slot(struct tt_stream *s, struct tt_arena *arena, struct tt_err *err)
{
    struct entry *e = TT_NEW(arena, 1, struct entry);
    double *numbers;
    size_t n;

    if (!e)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    fill(s, e);
    n = (size_t)(e->nsignals + e->nguard);
    numbers = TT_NEW(arena, n, double);
    if (!numbers)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    tt_signals_save(&s->signals, numbers);
    tt_guard_save(&s->guard, &s->policy->guard, numbers + e->nsignals);
    return tt_slots_write(s->snapshots, TT_JOURNAL_FILE, s->journal.seq + 1, !s->journal.made,
                          (struct tt_piece[]){{e, sizeof *e},
                                              {numbers, n * sizeof *numbers},
                                              {s->versions.serving.block,
                                               (size_t)s->versions.floats * sizeof(float)}},
                          3, err);
}

static void tell(struct tt_stream *s, bool failing, const char *why, int64_t now_ms)
{
    char text[TT_LINE_BYTES];

    if (s->sink.journal)
        s->sink.journal(s->sink.ctx, failing ? why : NULL);
    if (failing == s->journal.failing)
        return;
    s->journal.failing = failing;
    (void)snprintf(text, sizeof text, "%s%s",
                   failing ? "the newest version cannot be journaled, so nothing is learnt: "
                           : "the newest version is journaled again",
                   failing ? why : "");
    tt_tell_event(s, "journal", failing ? "error" : "info", "daemon", now_ms, text);
}

bool tt_journal_keep(struct tt_stream *s, int64_t now_ms)
{
    const int64_t bytes = s->versions.floats * (int64_t)sizeof(float);
    struct tt_arena arena;
    struct tt_err err;
    enum tt_code code;

    if (!s->snapshots || bytes > s->journal.limit)
        return true;
    if (!s->journal.made && !s->step && !s->rollbacks && !s->decision) // it has nothing of its own
        return true;
    tt_arena_init(&arena, 0);
    code = write_slot(s, &arena, &err);
    tt_arena_release(&arena);
    if (code == TT_OK) {
        s->journal.seq++;
        s->journal.made = true;
        tell(s, false, "", now_ms);
        return true;
    }
    tell(s, true, err.msg, now_ms);
    return false;
}

/* Lengths that agree with each other and with the slot, or the rest cannot be read. */
static enum tt_code check(const struct tt_stream *s, const struct entry *e, size_t n,
                          struct tt_err *err)
{
    const int64_t most = (int64_t)(n / sizeof(float));

    if (memchr(e->stream, '\0', sizeof e->stream) == NULL ||
        memchr(e->salt, '\0', sizeof e->salt) == NULL || e->version[TT_HASH_SHORT] ||
        e->parent[TT_HASH_SHORT])
        return tt_fail(err, TT_EPARSE, "a text without an end");
    if (strcmp(e->stream, s->name) != 0)
        return tt_fail(err, TT_EPARSE, "it is of stream '%s', wanted '%s'", e->stream, s->name);
    if (strcmp(e->salt, s->salt) != 0)
        return tt_fail(err, TT_EDENIED, "it is of another model or method");
    if (e->floats != s->versions.floats || e->nsignals < 0 || e->nguard < 0 || e->nsignals > most ||
        e->nguard > most ||
        sizeof *e + (size_t)(e->nsignals + e->nguard) * sizeof(double) +
                (size_t)e->floats * sizeof(float) !=
            n)
        return tt_fail(err, TT_EPARSE, "%zu bytes do not hold %lld floats and %lld + %lld numbers",
                       n, (long long)e->floats, (long long)e->nsignals, (long long)e->nguard);
    if (e->state < 0 || e->state >= TT_NVERSION_STATES || e->version_step < 0 || e->step < 0 ||
        e->version_samples < 0 || e->version_batches < 0 || e->updates < 0 || e->sample_turn < 0 ||
        e->samples < 0 || e->adapted < 0 || e->skipped < 0 || e->rollbacks < 0 || e->decision < 0)
        return tt_fail(err, TT_EPARSE, "a count is negative");
    return TT_OK;
}

static enum tt_code decode(const struct tt_stream *s, const void *bytes, size_t n,
                           struct tt_arena *arena, struct tt_journaled *ret, struct tt_err *err)
{
    struct entry *e = TT_NEW(arena, 1, struct entry);
    double *numbers;
    const char *p = bytes;
    char name[TT_HASH_SHORT + 1];

    if (!e)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (n < sizeof *e)
        return tt_fail(err, TT_EPARSE, "%zu bytes, wanted at least %zu", n, sizeof *e);
    memcpy(e, p, sizeof *e);
    if (e->layout != LAYOUT)
        return tt_fail(err, TT_EDENIED, "layout %lld, wanted %d", (long long)e->layout, LAYOUT);
    if (check(s, e, n, err) != TT_OK)
        return err->code;
    numbers = TT_NEW(arena, e->nsignals + e->nguard + 1, double);
    ret->version.block = TT_NEW(arena, e->floats + 1, float);
    if (!numbers || !ret->version.block)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    p += sizeof *e;
    memcpy(numbers, p, (size_t)(e->nsignals + e->nguard) * sizeof *numbers);
    p += (size_t)(e->nsignals + e->nguard) * sizeof *numbers;
    memcpy(ret->version.block, p, (size_t)e->floats * sizeof(float));
    tt_version_name(s->salt, ret->version.block, e->floats, name, &ret->version.id);
    if (strcmp(name, e->version) != 0)
        return tt_fail(err, TT_EPARSE, "its numbers are version %s, it says '%s'", name,
                       e->version);
    memcpy(ret->version.name, name, sizeof name);
    memcpy(ret->version.parent, e->parent, sizeof ret->version.parent);
    ret->version.state = (enum tt_version_state)e->state;
    ret->version.step = e->version_step;
    ret->version.samples = e->version_samples;
    ret->version.batches = e->version_batches;
    ret->version.ms = e->version_ms;
    ret->version.param_drift = e->param_drift;
    ret->version.stored = e->stored != 0;
    ret->step = e->step;
    ret->updates = e->updates;
    ret->sample_turn = e->sample_turn;
    ret->samples = e->samples;
    ret->adapted = e->adapted;
    ret->skipped = e->skipped;
    ret->rollbacks = e->rollbacks;
    ret->decision = e->decision;
    ret->signals = numbers;
    ret->nsignals = (size_t)e->nsignals;
    ret->guard = numbers + e->nsignals;
    ret->nguard = (size_t)e->nguard;
    ret->recent.used = (int)e->recent_used;
    memcpy(ret->recent.bytes, e->recent, sizeof e->recent);
    if (e->recent_used < 0 || e->recent_used > TT_RECENT_BYTES || !tt_recent_sound(&ret->recent))
        return tt_fail(err, TT_EPARSE, "its list of ids is malformed");
    return TT_OK;
}

enum tt_code tt_journal_read(const struct tt_stream *s, struct tt_arena *arena,
                             struct tt_journaled *ret, struct tt_err *err)
{
    const size_t most = 2 * ((size_t)s->versions.floats * sizeof(float) + ((size_t)16 << 20));
    struct tt_slots slots;

    if (tt_slots_read(s->snapshots, TT_JOURNAL_FILE, most, arena, &slots, err) != TT_OK)
        return err->code;
    memset(ret, 0, sizeof *ret);
    for (int i = 0; i < slots.n; i++) {
        if (decode(s, slots.slot[i].bytes, slots.slot[i].n, arena, ret, err) == TT_OK) {
            ret->seq = slots.slot[0].seq;
            ret->cut = slots.cut || i;
            return TT_OK;
        }
        if (err->code == TT_EDENIED || err->code == TT_ENOMEM)
            break;
    }
    return tt_fail_in(err, "'%s/" TT_JOURNAL_FILE "'", s->snapshots);
}

void tt_journal_adopt(struct tt_stream *s, const struct tt_journaled *j)
{
    s->journal.seq = j->seq;
    s->step = j->step > s->step ? j->step : s->step;
    s->updates = j->updates;
    s->sample_turn = j->sample_turn;
    s->samples = j->samples;
    s->adapted = j->adapted;
    s->skipped = j->skipped;
    s->rollbacks = j->rollbacks;
    s->decision = j->decision;
    *s->recent = j->recent;
}

void tt_journal_remove(struct tt_stream *s)
{
    struct tt_err err; // one that stays is only read again

    if (s->snapshots && tt_snapshot_remove(s->snapshots, TT_JOURNAL_FILE, &err) == TT_OK)
        s->journal.made = false;
}
