// SPDX-License-Identifier: Apache-2.0
#include "daemon/captured.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "policies/policy.h"

#define MAX_LABELS 65536 // as many as a batch may have rows
#define MAX_SLICES 1048576
#define MAX_RING   65536

static_assert(sizeof(struct tt_captured_frame) == 40, "a frame has no gaps");

static const char *const kinds[TT_NCAPTURED_KINDS] = {
#define TT_CAPTURED_ROW(kind, name) [kind] = name,
    TT_CAPTURED_KINDS(TT_CAPTURED_ROW)
#undef TT_CAPTURED_ROW
};

const char *tt_captured_kind_name(enum tt_captured_kind kind)
{
    return (unsigned)kind < TT_NCAPTURED_KINDS ? kinds[kind] : "unknown";
}

uint64_t tt_captured_own(const struct tt_captured_frame *f)
{
    return tt_checksum(0, f, offsetof(struct tt_captured_frame, own));
}

uint64_t tt_captured_checksum(uint64_t before, const struct tt_captured_frame *f,
                              const void *walked, const void *rest)
{
    uint64_t sum = tt_checksum(before, f, offsetof(struct tt_captured_frame, checksum));

    sum = tt_checksum(sum, walked, f->walked);
    return f->bytes > f->walked ? tt_checksum(sum, rest, f->bytes - f->walked) : sum;
}

/* ---- operations --------------------------------------------------------------------------- */

static void any(struct tt_tape *t, int64_t *x)
{
    tt_tape_i64(t, x, INT64_MIN, INT64_MAX);
}

/* An array that is read is taken from the arena once its bytes are known to be there. */
static void *room(struct tt_tape *t, int64_t n, size_t size, void *have, struct tt_arena *arena)
{
    void *p = have;

    if (!tt_tape_reads(t) || t->bad)
        return p;
    if ((size_t)n > (t->end - t->at) / size) {
        t->bad = true;
        return NULL;
    }
    p = tt_arena_alloc(arena, (size_t)n + 1, size);
    t->bad = !p;
    return p;
}

void tt_captured_walk_after(struct tt_tape *t, struct tt_after *a)
{
    tt_tape_text(t, a->serving, sizeof a->serving);
    any(t, &a->step);
    tt_tape_i64(t, &a->guard, 0, TT_NGUARD_STATES - 1);
    tt_tape_u64(t, &a->digest);
}

static void walk_tensor(struct tt_tape *t, struct tt_wire_tensor *x)
{
    int64_t type = x->type, ndim = x->ndim, nmean = x->nmean, nstd = x->nstd;

    tt_tape_text(t, x->name, sizeof x->name);
    tt_tape_i64(t, &type, 0, TT_NDTYPES - 1);
    tt_tape_i64(t, &ndim, 1, TT_MAXDIM);
    x->type = (enum tt_dtype)type;
    x->ndim = (int)ndim;
    x->n = t->bad ? 0 : 1;
    for (int i = 0; i < x->ndim && !t->bad; i++) {
        tt_tape_i64(t, &x->dim[i], 1, INT64_MAX);
        t->bad |= !tt_mul(x->n, x->dim[i], &x->n);
    }
    tt_tape_bool(t, &x->prep);
    tt_tape_f64(t, &x->scale);
    tt_tape_i64(t, &nmean, 0, TTAD_WIRE_CHANNELS);
    tt_tape_i64(t, &nstd, 0, TTAD_WIRE_CHANNELS);
    x->nmean = (int)nmean;
    x->nstd = (int)nstd;
    for (int i = 0; i < x->nmean; i++)
        tt_tape_f64(t, &x->mean[i]);
    for (int i = 0; i < x->nstd; i++)
        tt_tape_f64(t, &x->std[i]);
}

static void walk_batch(struct tt_tape *t, struct tt_captured_batch *b, struct tt_arena *arena)
{
    tt_tape_text(t, b->id, sizeof b->id);
    any(t, &b->now_ms);
    any(t, &b->queue_us);
    any(t, &b->took_us);
    tt_tape_bool(t, &b->learn);
    tt_tape_bool(t, &b->unkept);
    tt_tape_i64(t, &b->why, 0, TT_NSKIPS - 1);
    walk_tensor(t, &b->tensor);
    tt_tape_text(t, b->version, sizeof b->version);
    tt_tape_text(t, b->rolled_back_to, sizeof b->rolled_back_to);
    tt_tape_text(t, b->guard, sizeof b->guard);
    tt_tape_bool(t, &b->adapted);
    any(t, &b->step);
    tt_tape_i64(t, &b->skip, 0, TT_NSKIPS - 1);
    tt_tape_f64(t, &b->loss);
    tt_tape_f64(t, &b->entropy);
    tt_tape_u64(t, &b->answer);
    tt_tape_i64(t, &b->nslices, 0, MAX_SLICES);
    b->slices = (uint32_t *)room(t, b->nslices, sizeof *b->slices, b->slices, arena);
    if (!t->bad)
        tt_tape_bytes(t, b->slices, (size_t)b->nslices * sizeof *b->slices);
}

static void walk_feedback(struct tt_tape *t, struct tt_captured_feedback *f, struct tt_arena *arena)
{
    tt_tape_text(t, f->id, sizeof f->id);
    any(t, &f->now_ms);
    tt_tape_i64(t, &f->n, 0, MAX_LABELS);
    f->label = (int64_t *)room(t, f->n, sizeof *f->label, f->label, arena);
    if (!t->bad)
        tt_tape_bytes(t, f->label, (size_t)f->n * sizeof *f->label);
    tt_tape_text(t, f->got.version, sizeof f->got.version);
    any(t, &f->got.n);
    any(t, &f->got.correct);
    any(t, &f->got.base_n);
    any(t, &f->got.base_correct);
}

static void walk_order(struct tt_tape *t, struct tt_captured_order *o)
{
    tt_tape_i64(t, &o->action, 0, TT_NACTIONS - 1);
    any(t, &o->now_ms);
    tt_tape_bool(t, &o->thaw);
    tt_tape_text(t, o->version, sizeof o->version);
    tt_tape_text(t, o->actor, sizeof o->actor);
    tt_tape_text(t, o->reason, sizeof o->reason);
    tt_tape_text(t, o->from, sizeof o->from);
    tt_tape_text(t, o->to, sizeof o->to);
    any(t, &o->to_step);
}

static void walk_ring(struct tt_tape *t, struct tt_captured_ring *r, struct tt_arena *arena)
{
    tt_tape_i64(t, &r->n, 0, MAX_RING);
    if (tt_tape_reads(t)) {
        r->checkpoint = TT_NEW(arena, t->bad ? 0 : r->n + 1, struct tt_captured_checkpoint);
        t->bad |= !r->checkpoint;
    }
    for (int64_t i = 0; i < r->n && !t->bad; i++) {
        tt_tape_text(t, r->checkpoint[i].name, sizeof r->checkpoint[i].name);
        tt_tape_i64(t, &r->checkpoint[i].state, 0, TT_NVERSION_STATES - 1);
    }
}

void tt_captured_walk(struct tt_tape *t, struct tt_captured *c, struct tt_arena *arena)
{
    if (c->kind == TT_CAPTURED_END) {
        tt_tape_text(t, c->why, sizeof c->why);
        return;
    }
    if (c->kind == TT_CAPTURED_RING) {
        walk_ring(t, &c->ring, arena);
        return;
    }
    tt_captured_walk_after(t, &c->after);
    if (c->kind == TT_CAPTURED_BATCH)
        walk_batch(t, &c->batch, arena);
    else if (c->kind == TT_CAPTURED_FEEDBACK)
        walk_feedback(t, &c->feedback, arena);
    else if (c->kind == TT_CAPTURED_ORDER)
        walk_order(t, &c->order);
    else
        any(t, &c->now_ms);
    if (c->kind == TT_CAPTURED_SETTLE)
        any(t, &c->good);
}

/* ---- the whole stream --------------------------------------------------------------------- */

static void name_only(struct tt_version *v, const char *name)
{
    memcpy(v->name, name, sizeof v->name);
    v->id = strtoull(name, NULL, 16);
}

static void walk_version(struct tt_tape *t, struct tt_stream *s, struct tt_version *v)
{
    int64_t state = v->state;
    bool block = v->block != NULL; // else its numbers are in its snapshot
    char name[TT_HASH_SHORT + 1];

    memcpy(name, v->name, sizeof name);
    tt_tape_text(t, name, sizeof name);
    tt_tape_text(t, v->parent, sizeof v->parent);
    tt_tape_i64(t, &state, 0, TT_NVERSION_STATES - 1);
    v->state = (enum tt_version_state)state;
    any(t, &v->step);
    any(t, &v->samples);
    any(t, &v->batches);
    any(t, &v->ms);
    tt_tape_f64(t, &v->param_drift);
    tt_tape_bool(t, &v->stored);
    tt_tape_bool(t, &block);
    if (tt_tape_reads(t) && block && !v->block)
        v->block = tt_block_new(s->versions.floats);
    t->bad |= block && !v->block;
    if (block && !t->bad)
        tt_tape_bytes(t, v->block, (size_t)s->versions.floats * sizeof *v->block);
    if (!tt_tape_reads(t) || t->bad)
        return;
    if (block)
        tt_version_name(s->salt, v->block, s->versions.floats, v->name, &v->id);
    else
        name_only(v, name);
    t->bad = strcmp(v->name, name) != 0; // of another model or method
}

static void walk_versions(struct tt_tape *t, struct tt_stream *s)
{
    struct tt_versions *v = &s->versions;
    int64_t nring = v->nring;

    any(t, &v->base.ms);
    walk_version(t, s, &v->serving);
    tt_tape_i64(t, &nring, v->nring, v->nring);
    for (int i = 0; i < v->nring && !t->bad; i++) {
        bool used = v->ring[i].name[0] != '\0';

        tt_tape_bool(t, &used);
        if (used && !t->bad)
            walk_version(t, s, &v->ring[i]);
    }
}

/* Doubles that the monitor's parts save and load themselves. */
static double *doubles(struct tt_tape *t, size_t n, struct tt_arena *arena)
{
    double *x = TT_NEW(arena, n, double);

    t->bad |= !x;
    return x;
}

static void walk_monitor(struct tt_tape *t, struct tt_stream *s)
{
    const size_t ns = tt_signals_doubles(s->classes), ng = tt_guard_doubles(&s->policy->guard);
    struct tt_arena arena;
    double *signals, *guard;
    struct tt_err err;

    tt_arena_init(&arena, 0);
    signals = doubles(t, ns, &arena);
    guard = doubles(t, ng, &arena);
    if (!t->bad && !tt_tape_reads(t)) {
        tt_signals_save(&s->signals, signals);
        tt_guard_save(&s->guard, &s->policy->guard, guard);
    }
    if (!t->bad) {
        tt_tape_bytes(t, signals, ns * sizeof *signals);
        tt_tape_bytes(t, guard, ng * sizeof *guard);
    }
    if (!t->bad && tt_tape_reads(t))
        t->bad = tt_signals_load(&s->signals, signals, ns, &err) != TT_OK ||
                 tt_guard_load(&s->guard, &s->policy->guard, guard, ng, &err) != TT_OK;
    tt_arena_release(&arena);
}

static void walk_recent(struct tt_tape *t, struct tt_recent *r)
{
    int64_t used = r->used;

    tt_tape_i64(t, &used, 0, TT_RECENT_BYTES);
    if (t->bad)
        return;
    tt_tape_bytes(t, r->bytes, (size_t)used);
    r->used = (int)used;
    t->bad |= tt_tape_reads(t) && !tt_recent_sound(r);
}

void tt_captured_state(struct tt_tape *t, struct tt_stream *s)
{
    int64_t *const numbers[] = {&s->step,    &s->updates, &s->sample_turn, &s->samples,
                                &s->adapted, &s->skipped, &s->rollbacks};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        tt_tape_i64(t, numbers[i], 0, INT64_MAX);
    walk_versions(t, s);
    walk_monitor(t, s);
    tt_memory_walk(t, &s->memory);
    walk_recent(t, s->recent);
    if (tt_tape_reads(t))
        s->told = s->guard.state;
}

/* ---- what a stream is --------------------------------------------------------------------- */

static uint64_t add(uint64_t sum, int64_t x)
{
    return tt_checksum(sum, &x, sizeof x);
}

bool tt_captured_after(const struct tt_stream *s, struct tt_arena *scratch, struct tt_after *ret)
{
    const size_t ns = tt_signals_doubles(s->classes), ng = tt_guard_doubles(&s->policy->guard);
    const struct tt_versions *v = &s->versions;
    double *x = TT_NEW(scratch, ns + ng, double);
    uint64_t sum = 0;

    if (!x)
        return false;
    tt_signals_save(&s->signals, x);
    tt_guard_save(&s->guard, &s->policy->guard, x + ns);
    sum = tt_checksum(sum, x, (ns + ng) * sizeof *x);
    sum = tt_checksum(sum, v->serving.name, sizeof v->serving.name);
    for (int i = 0; i < v->nring; i++) {
        const struct tt_version *c = &v->ring[i];

        if (c->name[0])
            sum = add(add(tt_checksum(sum, c->name, sizeof c->name), c->state), c->step + i);
    }
    sum = tt_checksum(sum, s->recent->bytes, (size_t)s->recent->used);
    sum = add(add(add(sum, s->step), s->updates), s->sample_turn);
    sum = add(add(add(add(sum, s->samples), s->adapted), s->skipped), s->rollbacks);
    memcpy(ret->serving, v->serving.name, sizeof ret->serving);
    ret->step = v->serving.step;
    ret->guard = s->guard.state;
    ret->digest = sum;
    return true;
}
