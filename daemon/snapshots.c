// SPDX-License-Identifier: Apache-2.0
#include "daemon/snapshots.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policies/policy.h"
#include "runtime/safetensors.h"

#define NMETA 16
#define EXTRA 2 // d/signals, d/guard

/* The hash of all numbers, in the order of the list. */
static void hash_payload(const struct tt_st_tensor *t, int n, char ret[TT_HASH_HEX + 1])
{
    struct tt_hash h;

    tt_hash_init(&h);
    for (int i = 0; i < n; i++) {
        tt_hash_add(&h, t[i].name, strlen(t[i].name) + 1);
        tt_hash_add(&h, t[i].data, t[i].bytes);
    }
    tt_hash_end(&h, ret);
}

static struct tt_st_tensor doubles(const char *name, const double *x, size_t n)
{
    return (struct tt_st_tensor){.name = name,
                                 .dtype = "F64",
                                 .ndim = 1,
                                 .dim = {(int64_t)n},
                                 .data = x,
                                 .bytes = n * sizeof *x};
}

/* The tensors of a version: slices of its block, then the monitor's state. */
static enum tt_code list_tensors(const struct tt_stream *s, const struct tt_plan *plan,
                                 const struct tt_version *v, struct tt_arena *arena,
                                 struct tt_st_file *f, struct tt_err *err)
{
    const size_t nsignals = tt_signals_doubles(s->classes);
    const size_t nguard = tt_guard_doubles(&s->policy->guard);
    double *signals = TT_NEW(arena, nsignals, double), *guard = TT_NEW(arena, nguard, double);
    int n;
    const struct tt_slice *slice = tt_plan_slices(plan, &n);

    f->tensors = TT_NEW(arena, n + EXTRA, struct tt_st_tensor);
    if (!signals || !guard || !f->tensors)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    for (int i = 0; i < n; i++) {
        struct tt_st_tensor *t = &f->tensors[i];

        *t = (struct tt_st_tensor){.name = slice[i].name,
                                   .dtype = "F32",
                                   .ndim = slice[i].ndim,
                                   .data = v->block + slice[i].offset,
                                   .bytes = (size_t)slice[i].n * sizeof(float)};
        memcpy(t->dim, slice[i].dim, (size_t)t->ndim * sizeof *t->dim);
    }
    tt_signals_save(&s->signals, signals);
    tt_guard_save(&s->guard, &s->policy->guard, guard);
    f->tensors[n] = doubles("d/signals", signals, nsignals);
    f->tensors[n + 1] = doubles("d/guard", guard, nguard);
    f->ntensors = n + EXTRA;
    return TT_OK;
}

static void add_meta(struct tt_st_file *f, const char *key, const char *value)
{
    f->meta[f->nmeta][0] = key;
    f->meta[f->nmeta++][1] = value;
}

static void add_number(struct tt_st_file *f, struct tt_arena *arena, const char *key, int64_t x)
{
    char text[32];
    const int n = snprintf(text, sizeof text, "%" PRId64, x);
    const char *copy = tt_arena_strndup(arena, text, (size_t)n);

    add_meta(f, key, copy ? copy : "");
}

enum tt_code tt_snapshot_encode(const struct tt_stream *s, const struct tt_plan *plan,
                                const struct tt_version *v, const char *reason,
                                struct tt_arena *arena, void **ret, size_t *ret_n,
                                struct tt_err *err)
{
    char payload[TT_HASH_HEX + 1];
    struct tt_st_file f = {0};

    f.meta = (const char *(*)[2])tt_arena_alloc(arena, NMETA, sizeof *f.meta);
    if (!f.meta)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (list_tensors(s, plan, v, arena, &f, err) != TT_OK)
        return err->code;
    hash_payload(f.tensors, f.ntensors, payload);
    add_meta(&f, "format", TT_SNAPSHOT_FORMAT);
    add_meta(&f, "stream", s->name);
    add_meta(&f, "version", v->name);
    add_meta(&f, "parent", v->parent);
    add_meta(&f, "state", tt_version_state_name(v->state));
    add_meta(&f, "reason", reason);
    add_meta(&f, "model", s->model->hash);
    add_meta(&f, "method", s->salt);
    add_meta(&f, "engine", s->policy->method.preset);
    add_meta(&f, "policy", s->policy->hash);
    add_meta(&f, "payload", payload);
    add_number(&f, arena, "step", v->step);
    add_number(&f, arena, "samples", v->samples);
    add_number(&f, arena, "batches", v->batches);
    add_number(&f, arena, "time_ms", v->ms);
    return tt_st_write(&f, arena, ret, ret_n, err);
}

/* A decimal number of the metadata that is not negative. */
static enum tt_code read_number(const struct tt_st_file *f, const char *key, int64_t *ret,
                                struct tt_err *err)
{
    const char *text = tt_st_meta(f, key);
    char *end;

    *ret = text ? strtoll(text, &end, 10) : -1;
    if (!text || !*text || *end || *ret < 0)
        return tt_fail(err, TT_EPARSE, "%s is '%s', wanted a number", key, text ? text : "missing");
    return TT_OK;
}

static enum tt_code want_meta(const struct tt_st_file *f, const char *key, const char *want,
                              enum tt_code code, struct tt_err *err)
{
    const char *got = tt_st_meta(f, key);

    if (!got || strcmp(got, want) != 0)
        return tt_fail(err, got ? code : TT_EPARSE, "%s is '%.64s', wanted '%s'", key,
                       got ? got : "missing", want);
    return TT_OK;
}

static enum tt_code read_blocks(const struct tt_plan *plan, const struct tt_st_file *f,
                                float *block, struct tt_err *err)
{
    int n;
    const struct tt_slice *slice = tt_plan_slices(plan, &n);

    for (int i = 0; i < n; i++) {
        const struct tt_st_tensor *t = tt_st_find(f, slice[i].name);

        if (!t)
            return tt_fail(err, TT_EPARSE, "tensor '%s' is missing", slice[i].name);
        if (strcmp(t->dtype, "F32") != 0 || t->bytes != (size_t)slice[i].n * sizeof *block)
            return tt_fail(err, TT_ESHAPE, "tensor '%s' is %s of %zu bytes, wanted F32 of %zu",
                           slice[i].name, t->dtype, t->bytes, (size_t)slice[i].n * sizeof *block);
        memcpy(block + slice[i].offset, t->data, t->bytes);
    }
    return TT_OK;
}

/* A copy of the doubles of that name; none is no error. */
static enum tt_code read_doubles(const struct tt_st_file *f, const char *name,
                                 struct tt_arena *arena, const double **ret, size_t *ret_n,
                                 struct tt_err *err)
{
    const struct tt_st_tensor *t = tt_st_find(f, name);
    double *x;

    *ret = NULL;
    *ret_n = 0;
    if (!t || strcmp(t->dtype, "F64") != 0)
        return TT_OK;
    x = TT_NEW(arena, t->bytes / sizeof *x + 1, double);
    if (!x)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    memcpy(x, t->data, t->bytes);
    *ret = x;
    *ret_n = t->bytes / sizeof *x;
    return TT_OK;
}

static enum tt_version_state read_state(const struct tt_st_file *f)
{
    const char *text = tt_st_meta(f, "state");

    return text && !strcmp(text, "good") ? TT_VERSION_GOOD : TT_VERSION_SOAKING;
}

static enum tt_code read_version(const struct tt_stream *s, const struct tt_st_file *f,
                                 struct tt_version *v, struct tt_err *err)
{
    const char *name = tt_st_meta(f, "version"), *parent = tt_st_meta(f, "parent");

    tt_version_name(s->salt, v->block, s->versions.floats, v->name, &v->id);
    if (!name || strcmp(name, v->name) != 0)
        return tt_fail(err, TT_EPARSE, "its numbers are version %s, it says '%.64s'", v->name,
                       name ? name : "nothing");
    (void)snprintf(v->parent, sizeof v->parent, "%s", parent ? parent : "");
    v->state = read_state(f);
    if (read_number(f, "step", &v->step, err) || read_number(f, "samples", &v->samples, err) ||
        read_number(f, "batches", &v->batches, err) || read_number(f, "time_ms", &v->ms, err))
        return err->code;
    v->stored = true;
    v->synced = false; // which is not known
    return TT_OK;
}

enum tt_code tt_snapshot_decode(const struct tt_stream *s, const struct tt_plan *plan,
                                const void *bytes, size_t n, struct tt_arena *arena,
                                struct tt_decoded *ret, struct tt_err *err)
{
    struct tt_st_file f;
    char payload[TT_HASH_HEX + 1];

    if (tt_st_read(bytes, n, arena, &f, err) != TT_OK)
        return err->code;
    hash_payload(f.tensors, f.ntensors, payload);
    if (want_meta(&f, "format", TT_SNAPSHOT_FORMAT, TT_EPARSE, err) ||
        want_meta(&f, "payload", payload, TT_EPARSE, err) ||
        want_meta(&f, "stream", s->name, TT_EPARSE, err) ||
        want_meta(&f, "model", s->model->hash, TT_EDENIED, err) ||
        want_meta(&f, "method", s->salt, TT_EDENIED, err) ||
        read_blocks(plan, &f, ret->version.block, err) || read_version(s, &f, &ret->version, err) ||
        read_doubles(&f, "d/signals", arena, &ret->signals, &ret->nsignals, err) ||
        read_doubles(&f, "d/guard", arena, &ret->guard, &ret->nguard, err))
        return err->code;
    return TT_OK;
}
