// SPDX-License-Identifier: Apache-2.0
#include "daemon/offline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "daemon/file.h"
#include "daemon/load.h"

#define ARRAY_LIMIT ((size_t)64 << 30)

static enum tt_code read_policy(struct tt_offline *o, const char *path, struct tt_err *err)
{
    struct tt_diags d;

    o->policy = tt_load_policy(path, &o->arena, &d);
    fputs(tt_diags_text(&d), stderr);
    if (!o->policy)
        return tt_fail(err, TT_EPARSE, "%s: %d %s", path, d.errors + d.dropped,
                       d.errors + d.dropped == 1 ? "mistake" : "mistakes");
    return TT_OK;
}

static enum tt_code read_array(struct tt_offline *o, const char *path, struct tt_npy *ret,
                               struct tt_err *err)
{
    char *data;
    size_t n;

    if (tt_file_read(path, ARRAY_LIMIT, &o->arena, &data, &n, err) != TT_OK)
        return err->code;
    if (tt_npy_read(data, n, ret, err) != TT_OK)
        return tt_fail_in(err, "%s", path);
    return TT_OK;
}

static const char *type_name(enum tt_npy_type type)
{
    static const char *const names[TT_NPY_NTYPES] = {"uint8", "int32", "int64", "float32",
                                                     "float64"};

    return names[type];
}

static int64_t label_at(const struct tt_npy *a, int64_t i)
{
    const char *p = (const char *)a->data + (size_t)i * tt_npy_size(a->type);
    int64_t wide;
    int32_t narrow;

    if (a->type == TT_NPY_U8)
        return *(const uint8_t *)p;
    if (a->type == TT_NPY_I32) {
        memcpy(&narrow, p, sizeof narrow);
        return narrow;
    }
    memcpy(&wide, p, sizeof wide);
    return wide;
}

static enum tt_code read_labels(struct tt_offline *o, const char *path, struct tt_err *err)
{
    const int64_t classes = tt_plan_classes(o->plan);
    struct tt_npy a = {.ndim = 0};
    char shape[TT_SHAPE_TEXT];

    if (!path)
        return TT_OK;
    if (read_array(o, path, &a, err) != TT_OK)
        return err->code;
    if (a.ndim != 1 || a.n != o->n || a.type == TT_NPY_F32 || a.type == TT_NPY_F64)
        return tt_fail(
            err, TT_ESHAPE,
            "%s: %s of shape %s, want %lld labels of uint8, int32 or int64, shape [%lld]", path,
            type_name(a.type), tt_shape_text(a.dim, a.ndim, shape, sizeof shape), (long long)o->n,
            (long long)o->n);
    o->label = TT_NEW(&o->arena, o->n, int32_t);
    if (!o->label)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    for (int64_t i = 0; i < o->n; i++) {
        int64_t v = label_at(&a, i);

        if (v < 0 || v >= classes)
            return tt_fail(err, TT_ERANGE, "%s: label %lld is %lld, want 0 to %lld", path,
                           (long long)i, (long long)v, (long long)classes - 1);
        o->label[i] = (int32_t)v;
    }
    return TT_OK;
}

/* Sorted by label, equal ones as given; or shuffled (Fisher and Yates). */
static enum tt_code order_rows(struct tt_offline *o, enum tt_order order, int64_t seed,
                               struct tt_err *err)
{
    struct tt_rng rng;
    int64_t at = 0, left = o->n;

    o->index = TT_NEW(&o->arena, o->n, int64_t);
    if (!o->index)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    for (int64_t i = 0; i < o->n; i++)
        o->index[i] = i;
    if (order == TT_ORDER_SORTED) {
        if (!o->label)
            return tt_fail(err, TT_ENOTFOUND, "--order sorted wants --labels to sort by");
        for (int32_t c = 0; left; c++)
            for (int64_t i = 0; i < o->n; i++)
                if (o->label[i] == c) {
                    o->index[at++] = i;
                    left--;
                }
    }
    if (order == TT_ORDER_SHUFFLE) {
        tt_rng_seed(&rng, (uint64_t)seed);
        for (int64_t i = o->n - 1; i > 0; i--) {
            int64_t k = (int64_t)(tt_rng_next(&rng) % (uint64_t)(i + 1)), swap = o->index[i];

            o->index[i] = o->index[k];
            o->index[k] = swap;
        }
    }
    return TT_OK;
}

static enum tt_code check_inputs(struct tt_offline *o, const char *path, struct tt_err *err)
{
    const struct tt_value *want = tt_plan_input(o->plan);
    char a[TT_SHAPE_TEXT], b[TT_SHAPE_TEXT];
    bool fits = o->inputs.ndim == want->ndim;

    o->images = o->inputs.type == TT_NPY_U8 && want->ndim == 4;
    if (o->images) {
        if (tt_preprocess_check(&o->policy->preprocess, o->inputs.ndim, o->inputs.dim, want, err) !=
            TT_OK)
            return tt_fail_in(err, "%s", path);
        return TT_OK;
    }
    if (o->inputs.type != TT_NPY_F32)
        return tt_fail(err, TT_EUNSUPPORTED, "%s: %s, want float32, or uint8 images", path,
                       type_name(o->inputs.type));
    for (int i = 1; fits && i < want->ndim; i++)
        fits = o->inputs.dim[i] == want->dim[i];
    if (!fits)
        return tt_fail(err, TT_ESHAPE, "%s: shape %s, the model wants %s", path,
                       tt_shape_text(o->inputs.dim, o->inputs.ndim, a, sizeof a),
                       tt_shape_text(want->dim, want->ndim, b, sizeof b));
    return TT_OK;
}

/* Read the inputs; batches have no more rows than there are. */
static enum tt_code read_inputs(struct tt_offline *o, const struct tt_offline_spec *s,
                                struct tt_err *err)
{
    if (read_array(o, s->inputs, &o->inputs, err) != TT_OK)
        return err->code;
    if (o->inputs.ndim == 0 || o->inputs.n == 0)
        return tt_fail(err, TT_ESHAPE, "%s: no rows", s->inputs);
    o->n = o->inputs.dim[0];
    o->batch = s->batch < o->n ? s->batch : o->n;
    return TT_OK;
}

enum tt_code tt_offline_open(struct tt_offline *o, const struct tt_offline_spec *s,
                             struct tt_err *err)
{
    *o = (struct tt_offline){0};
    tt_arena_init(&o->arena, 0);
    if (tt_load_model(s->model, &o->model, err) != TT_OK ||
        read_policy(o, s->policy, err) != TT_OK || read_inputs(o, s, err) != TT_OK ||
        tt_plan_new(o->model, &o->policy->method, o->batch, &o->plan, err) != TT_OK ||
        check_inputs(o, s->inputs, err) != TT_OK || read_labels(o, s->labels, err) != TT_OK ||
        order_rows(o, s->order, s->seed, err) != TT_OK)
        return err->code;
    o->floats = (size_t)tt_plan_row(o->plan);
    return TT_OK;
}

void tt_offline_close(struct tt_offline *o)
{
    tt_plan_free(o->plan);
    tt_model_free(o->model);
    tt_arena_release(&o->arena);
}

void tt_offline_rows(const struct tt_offline *o, int64_t first, int64_t n, float *x)
{
    const struct tt_value *want = tt_plan_input(o->plan);
    size_t bytes = o->floats * tt_npy_size(o->inputs.type);

    for (int64_t i = 0; i < n; i++) {
        const char *row = (const char *)o->inputs.data + (size_t)o->index[first + i] * bytes;
        float *to = x + (size_t)i * o->floats;

        if (o->images)
            tt_preprocess_run(&o->policy->preprocess, (const uint8_t *)row, 1, want->dim[1],
                              want->dim[2], want->dim[3], to);
        else
            memcpy(to, row, bytes);
    }
}
