// SPDX-License-Identifier: Apache-2.0
#include "daemon/versions.h"

#include <stdlib.h>
#include <string.h>

#define MIN_DIGITS 8 // of a name that a person types

static const char *const states[TT_NVERSION_STATES] = {
#define TT_VERSION_ROW(state, name) [state] = name,
    TT_VERSION_STATES(TT_VERSION_ROW)
#undef TT_VERSION_ROW
};

const char *tt_version_state_name(enum tt_version_state state)
{
    return (unsigned)state < TT_NVERSION_STATES ? states[state] : "";
}

void tt_version_name(const char *salt, const float *block, int64_t floats,
                     char ret[TT_HASH_SHORT + 1], uint64_t *ret_id)
{
    char hex[TT_HASH_HEX + 1];
    struct tt_hash h;

    tt_hash_init(&h);
    tt_hash_add(&h, salt, strlen(salt));
    tt_hash_add(&h, block, (size_t)floats * sizeof *block);
    tt_hash_end(&h, hex);
    memcpy(ret, hex, TT_HASH_SHORT);
    ret[TT_HASH_SHORT] = '\0';
    *ret_id = strtoull(ret, NULL, 16);
}

static bool add_block(struct tt_version *v, struct tt_arena *arena, int64_t floats)
{
    v->block = TT_NEW(arena, floats ? floats : 1, float);
    return v->block != NULL;
}

enum tt_code tt_versions_init(struct tt_versions *v, struct tt_arena *arena, int64_t floats,
                              int nring, const char *salt, struct tt_err *err)
{
    bool ok;

    *v = (struct tt_versions){.arena = arena, .floats = floats, .nring = nring, .salt = salt};
    v->ring = TT_NEW(arena, nring, struct tt_version);
    ok = v->ring && add_block(&v->base, arena, floats) && add_block(&v->serving, arena, floats) &&
         add_block(&v->next, arena, floats);
    if (!ok || !add_block(&v->ring[0], arena, floats)) // the others when they are first needed
        return tt_fail(err, TT_ENOMEM, "out of memory for versions of %lld bytes",
                       (long long)floats * (long long)sizeof(float));
    return TT_OK;
}

/* Everything but the place of the numbers, which are copied. */
static void copy(const struct tt_versions *v, struct tt_version *to, const struct tt_version *from)
{
    float *block = to->block;

    *to = *from;
    to->block = block;
    memcpy(block, from->block, (size_t)v->floats * sizeof *block);
}

void tt_versions_source(struct tt_versions *v, int64_t now_ms)
{
    v->base.state = TT_VERSION_BASE;
    v->base.ms = now_ms;
    tt_version_name(v->salt, v->base.block, v->floats, v->base.name, &v->base.id);
    copy(v, &v->serving, &v->base);
}

void tt_versions_publish(struct tt_versions *v, int64_t step, int64_t samples, int64_t batches,
                         int64_t now_ms, double param_drift)
{
    struct tt_version old = v->serving;

    v->serving = (struct tt_version){.state = TT_VERSION_SOAKING,
                                     .step = step,
                                     .samples = samples,
                                     .batches = batches,
                                     .ms = now_ms,
                                     .param_drift = param_drift,
                                     .block = v->next.block};
    tt_version_name(v->salt, v->serving.block, v->floats, v->serving.name, &v->serving.id);
    memcpy(v->serving.parent, old.name, sizeof old.name);
    v->next = (struct tt_version){.block = old.block};
}

static bool used(const struct tt_version *c)
{
    return c->name[0] != '\0';
}

static struct tt_version *newest_good(const struct tt_versions *v, int64_t samples)
{
    struct tt_version *best = NULL;

    for (int i = 0; i < v->nring; i++) {
        struct tt_version *c = &v->ring[i];

        if (used(c) && c->state == TT_VERSION_GOOD && c->samples <= samples &&
            (!best || c->step > best->step))
            best = c;
    }
    return best;
}

/* The oldest checkpoint that is (not) a place to go back to, or may become one. */
static struct tt_version *oldest(const struct tt_versions *v, bool good, bool soaking, int *ret_n)
{
    struct tt_version *old = NULL;

    *ret_n = 0;
    for (int i = 0; i < v->nring; i++) {
        struct tt_version *c = &v->ring[i];

        if (!used(c) || (c->state == TT_VERSION_GOOD) != good ||
            (c->state == TT_VERSION_SOAKING) != soaking)
            continue;
        ++*ret_n;
        if (!old || c->step < old->step)
            old = c;
    }
    return old;
}

struct tt_version *tt_versions_place(struct tt_versions *v, bool force)
{
    struct tt_version *c = NULL;
    int n;

    for (int i = 0; i < v->nring; i++)
        if (!used(&v->ring[i]) && (v->ring[i].block || add_block(&v->ring[i], v->arena, v->floats)))
            return &v->ring[i];
    if (force)
        c = oldest(v, false, false, &n);
    if (force && !c)
        c = oldest(v, true, false, &n);
    if (force && !c)
        c = oldest(v, false, true, &n);
    return c;
}

/* A version that soaks stays until it is judged, or none would ever become good. */
static struct tt_version *make_room(struct tt_versions *v)
{
    struct tt_version *c = tt_versions_place(v, false);
    int n;

    if (!c)
        c = oldest(v, false, false, &n);
    if (!c) {
        c = oldest(v, true, false, &n);
        if (n <= v->nring / 2)
            c = NULL;
    }
    return c;
}

struct tt_version *tt_versions_checkpoint(struct tt_versions *v)
{
    struct tt_version *place;

    if (tt_versions_find(v, v->serving.name))
        return NULL;
    place = make_room(v);
    if (!place)
        return NULL;
    copy(v, place, &v->serving);
    return place;
}

struct tt_version *tt_versions_keep(struct tt_versions *v)
{
    struct tt_version *place;

    if (!strcmp(v->base.name, v->serving.name))
        return &v->base;
    for (int i = 0; i < v->nring; i++)
        if (used(&v->ring[i]) && !strcmp(v->ring[i].name, v->serving.name))
            return &v->ring[i];
    place = tt_versions_place(v, true);
    copy(v, place, &v->serving);
    return place;
}

const struct tt_version *tt_versions_target(const struct tt_versions *v, int64_t samples)
{
    const struct tt_version *good = newest_good(v, samples);

    return good ? good : &v->base;
}

const struct tt_version *tt_versions_find(const struct tt_versions *v, const char *name)
{
    const size_t n = strlen(name);

    if (n < MIN_DIGITS || n > TT_HASH_SHORT)
        return NULL;
    if (!strncmp(v->base.name, name, n))
        return &v->base;
    for (int i = 0; i < v->nring; i++)
        if (used(&v->ring[i]) && !strncmp(v->ring[i].name, name, n))
            return &v->ring[i];
    return NULL;
}

void tt_versions_restore(struct tt_versions *v, const struct tt_version *to)
{
    copy(v, &v->serving, to);
}
