// SPDX-License-Identifier: Apache-2.0
#include "daemon/adopt.h"

#include <stdio.h>
#include <string.h>

#include "daemon/journal.h"
#include "daemon/resume.h"
#include "daemon/salt.h"
#include "daemon/save.h"
#include "daemon/tell.h"
#include "policies/policy.h"

#define SHOWN 12 // digits of a hash, for people

/* How the blocks of one layout become those of another, and what they became. */
struct carry {
    struct tt_arena arena;
    char salt[TT_HASH_HEX + 1];
    int64_t floats;
    float *source; // of the new layout; borrowed
    bool kept;     // numbers are carried over
    int npieces;
    struct piece {
        int64_t from, to, n;
    } * piece;
    struct tt_version serving, *ring; // what they become; ring [nring]
};

static bool has_prefix(const struct tt_slice *s, const char *prefix)
{
    return !strncmp(s->name, prefix, 2);
}

static const struct tt_slice *find_like(const struct tt_slice *list, int n,
                                        const struct tt_slice *like)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i].name, like->name) && list[i].ndim == like->ndim &&
            !memcmp(list[i].dim, like->dim, (size_t)like->ndim * sizeof *like->dim))
            return &list[i];
    return NULL;
}

/* Is every parameter of a also one of b? */
static bool all_adapted(const struct tt_slice *a, int na, const struct tt_slice *b, int nb)
{
    for (int i = 0; i < na; i++)
        if (has_prefix(&a[i], "p/") && !find_like(b, nb, &a[i]))
            return false;
    return true;
}

static const struct tt_part *optimizer(const struct tt_method *m)
{
    for (int i = 0; i < m->nuses; i++)
        if (m->uses[i].part->slot == TT_OPTIMIZER)
            return m->uses[i].part;
    return NULL;
}

/* Which numbers go where. */
static enum tt_code find_pieces(struct carry *c, const struct tt_stream *s,
                                const struct tt_policy *policy, const struct tt_plan *before,
                                const struct tt_plan *plan, struct tt_err *err)
{
    int nfrom, nto;
    const struct tt_slice *from = tt_plan_slices(before, &nfrom), *to = tt_plan_slices(plan, &nto);
    const bool same = optimizer(&s->policy->method) == optimizer(&policy->method) &&
                      all_adapted(to, nto, from, nfrom);

    c->kept = all_adapted(from, nfrom, to, nto);
    c->piece = TT_NEW(&c->arena, nto + 1, struct piece);
    c->ring = TT_NEW(&c->arena, s->versions.nring, struct tt_version);
    if (!c->piece || !c->ring)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    for (int i = 0; i < nto && c->kept; i++) {
        const struct tt_slice *was = find_like(from, nfrom, &to[i]);

        if (was && (same || !has_prefix(was, "o/")))
            c->piece[c->npieces++] = (struct piece){was->offset, to[i].offset, was->n};
    }
    return TT_OK;
}

/* The version that from becomes, with a block of its own. */
static enum tt_code convert(const struct carry *c, const struct tt_version *from,
                            struct tt_version *ret, struct tt_err *err)
{
    float *block = tt_block_new(c->floats);

    if (!block)
        return tt_fail(err, TT_ENOMEM, "out of memory for a version");
    memcpy(block, c->source, (size_t)c->floats * sizeof *block);
    for (int i = 0; i < c->npieces; i++)
        memcpy(block + c->piece[i].to, from->block + c->piece[i].from,
               (size_t)c->piece[i].n * sizeof *block);
    *ret = *from;
    ret->block = block;
    ret->stored = ret->synced = false;
    memcpy(ret->parent, from->name, sizeof ret->parent);
    tt_version_name(c->salt, block, c->floats, ret->name, &ret->id);
    return TT_OK;
}

/* All versions that are in memory; those that are only in a snapshot stay behind. */
static enum tt_code convert_all(struct carry *c, const struct tt_versions *v, struct tt_err *err)
{
    if (convert(c, &v->serving, &c->serving, err) != TT_OK)
        return err->code;
    for (int i = 0; i < v->nring && c->kept; i++)
        if (v->ring[i].name[0] && v->ring[i].block &&
            convert(c, &v->ring[i], &c->ring[i], err) != TT_OK)
            return err->code;
    return TT_OK;
}

static void drop(struct carry *c, int nring)
{
    tt_block_free(c->serving.block);
    for (int i = 0; c->ring && i < nring; i++)
        tt_block_free(c->ring[i].block);
    tt_arena_release(&c->arena);
}

/* The name that the version of that number has now; 0: it is gone. */
static uint64_t renamed(const struct tt_versions *old, const struct tt_versions *v, uint64_t id,
                        const struct tt_version *ring)
{
    if (id == old->base.id)
        return v->base.id;
    for (int i = 0; i < v->nring; i++)
        if (old->ring[i].name[0] && old->ring[i].id == id)
            return ring[i].id;
    return 0;
}

/* Put the new versions in the place of the old ones. */
static void take_over(struct tt_stream *s, struct carry *c, int64_t now_ms)
{
    struct tt_versions *v = &s->versions, old = *v;

    memcpy(s->salt, c->salt, sizeof s->salt);
    v->floats = c->floats;
    v->next = (struct tt_version){.block = NULL};
    v->base = (struct tt_version){.block = NULL};
    v->serving = (struct tt_version){.block = c->serving.block};
    if (c->kept && old.serving.state != TT_VERSION_BASE) {
        float *block = tt_block_share(c->source);

        tt_version_name(s->salt, block, v->floats, v->base.name, &v->base.id);
        v->base.block = block;
        v->base.state = TT_VERSION_BASE;
        v->base.ms = now_ms;
        v->serving = c->serving;
    } else {
        tt_versions_source(v, tt_block_share(c->source), now_ms);
    }
    s->guard.restored = renamed(&old, v, s->guard.restored, c->ring);
    tt_block_free(old.base.block);
    tt_block_free(old.serving.block);
    tt_block_free(old.next.block);
    for (int i = 0; i < v->nring; i++) {
        tt_block_free(v->ring[i].block);
        v->ring[i] = c->ring[i];
    }
    tt_arena_release(&c->arena);
}

/* Make every version anew for another method. */
static enum tt_code change_method(struct tt_stream *s, const struct tt_policy *policy,
                                  const struct tt_plan *before, const struct tt_plan *plan,
                                  float *source, const char *salt, int64_t now_ms, bool *ret_kept,
                                  struct tt_err *err)
{
    struct carry c = {.source = source, .floats = tt_plan_floats(plan)};

    tt_arena_init(&c.arena, 0);
    memcpy(c.salt, salt, sizeof c.salt);
    (void)tt_stream_target(s, before, INT64_MAX, now_ms); // in memory, or marked lost
    if (find_pieces(&c, s, policy, before, plan, err) != TT_OK ||
        convert_all(&c, &s->versions, err) != TT_OK) {
        drop(&c, s->versions.nring);
        return err->code;
    }
    *ret_kept = c.kept;
    take_over(s, &c, now_ms);
    s->updates = 0;
    s->journal.made = false; // its file is another method's
    return TT_OK;
}

static void tell_versions(const struct tt_stream *s)
{
    static const char why[] = "carried over when the method of the policy changed";
    const struct tt_versions *v = &s->versions;

    tt_tell_version(s, &v->base, "the model as it was loaded", NULL);
    for (int i = 0; i < v->nring; i++)
        if (v->ring[i].name[0])
            tt_tell_version(s, &v->ring[i], why, NULL);
    if (!tt_versions_find(v, v->serving.name))
        tt_tell_version(s, &v->serving, why, NULL);
}

/* What a restart goes on from, and what it could go back to. */
static void write_versions(struct tt_stream *s, const struct tt_plan *plan, int64_t now_ms)
{
    const struct tt_version *good = tt_versions_target(&s->versions, INT64_MAX);
    struct tt_version *v;
    struct tt_err err;

    if (!s->snapshots)
        return;
    for (int i = 0; i < s->versions.nring; i++)
        if (&s->versions.ring[i] == good)
            (void)tt_stream_save(s, plan, &s->versions.ring[i], "reload", now_ms, &err); // told
    v = tt_versions_keep(&s->versions);
    if (v && v->state != TT_VERSION_BASE)
        (void)tt_stream_save(s, plan, v, "reload", now_ms, &err);
}

/* The event that tells of it. */
static void tell(const struct tt_stream *s, const struct tt_policy *old, const struct tt_adopted *a,
                 int64_t now_ms)
{
    char text[TT_LINE_BYTES];

    (void)snprintf(text, sizeof text,
                   "policy '%s' %.*s -> %.*s: %d guards go on, %d changed, %d new, %d gone%s",
                   s->policy->name, SHOWN, old->hash, SHOWN, s->policy->hash, a->guard.kept,
                   a->guard.changed, a->guard.added, a->guard.removed,
                   !a->method ? ""
                   : a->kept  ? "; the method is another one, the parameters are kept"
                              : "; the method is another one, the source serves");
    tt_tell_event(s, "reload", "info", "daemon", now_ms, text);
}

enum tt_code tt_stream_adopt(struct tt_stream *s, const struct tt_policy *policy,
                             const struct tt_plan *before, const struct tt_plan *plan,
                             float *source, int64_t now_ms, struct tt_adopted *ret,
                             struct tt_err *err)
{
    const struct tt_policy *old = s->policy;
    const int64_t window = policy->guard.settings.window;
    char salt[TT_HASH_HEX + 1];
    bool other;

    *ret = (struct tt_adopted){.guard = {.kept = policy->guard.nrules}};
    if (tt_stream_salt(s->model, policy, salt, err) != TT_OK)
        return err->code;
    ret->method = strcmp(salt, s->salt) != 0;
    if (ret->method &&
        change_method(s, policy, before, plan, source, salt, now_ms, &ret->kept, err) != TT_OK)
        return err->code;
    s->policy = policy;
    if (!strcmp(old->hash, policy->hash))
        return TT_OK; // only its comments, its name or its place
    other = ret->method || window != old->guard.settings.window;
    ret->guard = tt_guard_adopt(&s->guard, &old->guard, &policy->guard, other, now_ms);
    if (other)
        tt_signals_rewindow(&s->signals, window);
    tt_guard_reason(&s->guard, &policy->guard, s->reason, sizeof s->reason);
    (void)tt_journal_keep(s, now_ms); // before anything names it; a failure holds the stream
    if (ret->method) {
        tell_versions(s);
        write_versions(s, plan, now_ms);
    }
    tt_tell_state(s, "reload", 0, now_ms);
    s->told = s->guard.state;
    tell(s, old, ret, now_ms);
    return TT_OK;
}
