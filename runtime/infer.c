// SPDX-License-Identifier: Apache-2.0
#include "runtime/infer.h"

#include <string.h>

const int64_t tt_probes[TT_PROBES] = {1, 2, 5};

/* Every dimension is at least 1 and their product fits. */
static enum tt_code check(const int64_t *dim, int ndim, struct tt_err *err)
{
    char text[TT_SHAPE_TEXT];
    int64_t n = sizeof(float);

    for (int i = 0; i < ndim; i++) {
        if (dim[i] < 1)
            return tt_fail(err, TT_ESHAPE, "shape %s: dimension %d is %lld, want 1 or more",
                           tt_shape_text(dim, ndim, text, sizeof text), i, (long long)dim[i]);
        if (!tt_mul(n, dim[i], &n))
            return tt_fail(err, TT_ESHAPE, "shape %s has too many elements to count",
                           tt_shape_text(dim, ndim, text, sizeof text));
    }
    return TT_OK;
}

enum tt_code tt_probe_set(struct tt_probe *p, const char *name, int ndim, const int64_t *dim,
                          const float *data, struct tt_err *err)
{
    struct tt_probe next = {.ndim = ndim, .name = name, .data = data};

    for (int k = 0; k < TT_PROBES; k++) {
        for (int i = 0; i < ndim; i++)
            next.dim[k][i] = dim[i] == -1 ? tt_probes[k] : dim[i];
        if (check(next.dim[k], ndim, err))
            return err->code;
    }
    *p = next;
    return TT_OK;
}

static void as_tensor(const struct tt_probe *p, int k, struct tt_tensor *ret)
{
    union {
        const float *from;
        float *to;
    } data = {.from = p->data}; // shape() reads constants and writes nothing

    *ret = (struct tt_tensor){
        .name = p->name,
        .ndim = p->ndim,
        .dtype = p->dtype,
        .x = data.to,
    };
    memcpy(ret->dim, p->dim[k], sizeof ret->dim);
}

static enum tt_code probe_once(const struct tt_op *op, const char *name, const void *attr, int nin,
                               const struct tt_probe *const *in, int k, struct tt_tensor *out,
                               struct tt_err *err)
{
    struct tt_tensor operand[TT_MAXIN];
    struct tt_node n = {
        .op = op, .name = name, .nin = nin, .out = out, .attr = attr, .batch = tt_probes[k]};
    enum tt_code rc;

    for (int i = 0; i < nin; i++) {
        if (!in[i])
            continue;
        as_tensor(in[i], k, &operand[i]);
        n.in[i] = &operand[i];
        n.constant[i] = in[i]->data != NULL;
    }
    out->dtype = n.in[0] ? n.in[0]->dtype : TT_FLOATS;
    rc = op->shape(&n, err);
    if (!rc && (out->ndim < 0 || out->ndim > TT_MAXDIM))
        rc = tt_fail(err, TT_EUNSUPPORTED, "a result of %d dimensions, at most %d are supported",
                     out->ndim, TT_MAXDIM);
    return rc ? rc : check(out->dim, out->ndim, err);
}

enum tt_code tt_probe_node(const struct tt_op *op, const char *name, const void *attr, int nin,
                           const struct tt_probe *const *in, struct tt_probe *ret,
                           struct tt_err *err)
{
    struct tt_probe next = {.name = ret->name};

    for (int k = 0; k < TT_PROBES; k++) {
        struct tt_tensor out = {.name = ret->name};

        if (probe_once(op, name, attr, nin, in, k, &out, err))
            return err->code;
        if (k && out.ndim != next.ndim)
            return tt_fail(err, TT_EUNSUPPORTED,
                           "the number of dimensions of the result depends on the batch");
        next.ndim = out.ndim;
        next.dtype = out.dtype;
        memcpy(next.dim[k], out.dim, sizeof out.dim);
    }
    *ret = next;
    return TT_OK;
}

enum tt_code tt_probe_graph(const struct tt_graph *g, struct tt_arena *arena, struct tt_probe **ret,
                            struct tt_err *err)
{
    struct tt_probe *probes = TT_NEW(arena, g->nvalues, struct tt_probe);

    if (!probes)
        return tt_fail(err, TT_ENOMEM, "out of memory for %d shapes", g->nvalues);
    for (int i = 0; i < g->nvalues; i++) {
        const struct tt_value *v = &g->values[i];

        probes[i].name = v->name;
        if (v->kind != TT_RESULT &&
            tt_probe_set(&probes[i], v->name, v->ndim, v->dim, v->data, err))
            return tt_fail_in(err, "'%s'", v->name);
        probes[i].dtype = v->dtype;
    }
    for (int i = 0; i < g->nnodes; i++) {
        const struct tt_gnode *n = &g->nodes[i];
        const struct tt_probe *in[TT_MAXIN] = {NULL};

        for (int k = 0; k < n->nin; k++)
            in[k] = n->in[k] < 0 ? NULL : &probes[n->in[k]];
        if (tt_probe_node(n->op, n->name, n->attr, n->nin, in, &probes[n->out], err))
            return tt_fail_in(err, "node '%s'", n->name);
    }
    *ret = probes;
    return TT_OK;
}

int64_t tt_probe_len(const struct tt_probe *p)
{
    int64_t n = 1;

    for (int i = 0; i < p->ndim; i++) {
        if (p->dim[0][i] != p->dim[1][i] || p->dim[0][i] != p->dim[2][i])
            return -1;
        n *= p->dim[0][i]; // it was found to fit
    }
    return n;
}

bool tt_probe_same(const struct tt_probe *a, const struct tt_probe *b)
{
    for (int k = 0; k < TT_PROBES; k++)
        if (a->ndim != b->ndim || memcmp(a->dim[k], b->dim[k], sizeof **a->dim * (size_t)a->ndim))
            return false;
    return true;
}

bool tt_probe_affine(const struct tt_probe *p, int i, struct tt_affine *ret)
{
    int64_t at1 = p->dim[0][i], at2 = p->dim[1][i], at5, b = at2 - at1;

    if (__builtin_mul_overflow(b, 4, &at5) || __builtin_add_overflow(at5, at1, &at5) ||
        at5 != p->dim[2][i])
        return false;
    *ret = (struct tt_affine){.a = at1 - b, .b = b};
    return true;
}
