// SPDX-License-Identifier: Apache-2.0
#include "daemon/versions.h"

#include <stdatomic.h>
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

/* The arena that owns a block lies before it, with the number of the block's owners. */
struct owner {
    struct tt_arena arena;
    atomic_int owners;
};

#define BEFORE ((sizeof(struct owner) + TT_ALIGN - 1) / TT_ALIGN * TT_ALIGN)

static struct owner *owner_of(float *block)
{
    return (struct owner *)(void *)((char *)block - BEFORE);
}

float *tt_block_new(int64_t floats)
{
    const size_t bytes = (size_t)(floats ? floats : 1) * sizeof(float) + BEFORE;
    struct tt_arena arena;
    struct owner *o;

    tt_arena_init(&arena, bytes + (size_t)TT_ALIGN); // a limit, so no more is taken
    o = (struct owner *)tt_arena_alloc(&arena, bytes, 1);
    if (!o)
        return NULL;
    o->arena = arena;
    atomic_init(&o->owners, 1);
    return (float *)(void *)((char *)o + BEFORE);
}

float *tt_block_share(float *block)
{
    atomic_fetch_add(&owner_of(block)->owners, 1);
    return block;
}

void tt_block_free(float *block)
{
    struct tt_arena arena;

    if (!block || atomic_fetch_sub(&owner_of(block)->owners, 1) > 1)
        return;
    arena = owner_of(block)->arena; // it owns the block
    tt_arena_release(&arena);
}

enum tt_code tt_versions_init(struct tt_versions *v, struct tt_arena *arena, int64_t floats,
                              int nring, const char *salt, struct tt_err *err)
{
    *v = (struct tt_versions){.floats = floats, .nring = nring, .salt = salt};
    v->ring = TT_NEW(arena, nring, struct tt_version);
    v->serving.block = tt_block_new(floats);
    if (v->ring && v->serving.block && tt_versions_ready(v, err) == TT_OK)
        return TT_OK;
    return tt_fail(err, TT_ENOMEM, "out of memory for versions of %lld bytes",
                   (long long)floats * (long long)sizeof(float));
}

void tt_versions_free(struct tt_versions *v)
{
    tt_block_free(v->base.block);
    tt_block_free(v->serving.block);
    tt_block_free(v->next.block);
    for (int i = 0; v->ring && i < v->nring; i++)
        tt_block_free(v->ring[i].block);
    *v = (struct tt_versions){.floats = 0};
}

enum tt_code tt_versions_ready(struct tt_versions *v, struct tt_err *err)
{
    if (!v->next.block)
        v->next.block = tt_block_new(v->floats);
    if (v->next.block)
        return TT_OK;
    return tt_fail(err, TT_ENOMEM, "out of memory for a version of %lld bytes",
                   (long long)v->floats * (long long)sizeof(float));
}

/* Everything but the place of the numbers, which are copied. */
static void copy(const struct tt_versions *v, struct tt_version *to, const struct tt_version *from)
{
    float *block = to->block;

    *to = *from;
    to->block = block;
    memcpy(block, from->block, (size_t)v->floats * sizeof *block);
}

void tt_versions_source(struct tt_versions *v, float *block, int64_t now_ms)
{
    v->base.block = block;
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

void tt_versions_withdraw(struct tt_versions *v, const struct tt_version *before)
{
    v->next = (struct tt_version){.block = v->serving.block};
    v->serving = *before; // whose block publishing had made the next
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

/* c with a block, or NULL: out of memory. */
static struct tt_version *give_block(const struct tt_versions *v, struct tt_version *c)
{
    if (!c->block)
        c->block = tt_block_new(v->floats);
    return c->block ? c : NULL;
}

struct tt_version *tt_versions_place(struct tt_versions *v, bool force)
{
    struct tt_version *c = NULL;
    int n;

    for (int i = 0; i < v->nring; i++)
        if (!used(&v->ring[i]))
            return give_block(v, &v->ring[i]);
    if (force)
        c = oldest(v, false, false, &n);
    if (force && !c)
        c = oldest(v, true, false, &n);
    if (force && !c)
        c = oldest(v, false, true, &n);
    return c ? give_block(v, c) : NULL;
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
    return c ? give_block(v, c) : NULL;
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
    if (place)
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

/* The checkpoint that can be had again from its snapshot and is needed last. */
static struct tt_version *spare(const struct tt_versions *v)
{
    struct tt_version *old = NULL;

    for (int i = 0; i < v->nring; i++) {
        struct tt_version *c = &v->ring[i];

        if (c->block && (!used(c) || c->stored) && (!old || c->step < old->step))
            old = c;
    }
    return old;
}

/* The newest of several that soak: the others are judged earlier. */
static struct tt_version *newest_soaking(const struct tt_versions *v)
{
    struct tt_version *best = NULL;
    int n = 0;

    for (int i = 0; i < v->nring; i++) {
        struct tt_version *c = &v->ring[i];

        if (!used(c) || c->state != TT_VERSION_SOAKING)
            continue;
        n++;
        if (!best || c->step > best->step)
            best = c;
    }
    return n > 1 ? best : NULL;
}

size_t tt_versions_bytes(const struct tt_versions *v)
{
    size_t blocks = v->next.block != NULL;

    for (int i = 0; i < v->nring; i++)
        blocks += v->ring[i].block != NULL;
    return blocks * (size_t)v->floats * sizeof(float);
}

int tt_versions_held(const struct tt_versions *v)
{
    int n = 0;

    for (int i = 0; i < v->nring; i++)
        n += used(&v->ring[i]);
    return n;
}

void tt_versions_trim(struct tt_versions *v, size_t bytes)
{
    struct tt_version *c;

    if (tt_versions_bytes(v) > bytes) {
        tt_block_free(v->next.block);
        v->next.block = NULL;
    }
    while (tt_versions_bytes(v) > bytes && (c = spare(v))) {
        tt_block_free(c->block);
        c->block = NULL;
    }
    while (tt_versions_bytes(v) > bytes && (c = newest_soaking(v))) {
        tt_block_free(c->block);
        *c = (struct tt_version){.name = ""};
    }
}

void tt_versions_restore(struct tt_versions *v, const struct tt_version *to)
{
    copy(v, &v->serving, to);
}
