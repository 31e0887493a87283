// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "runtime/fuse_common.h"
#include "runtime/ops/patterns.h"

#define AXIS 1 // of rows: values are [batch, rows, ...]

struct rows {
    const struct tt_fusing *f;
    int nvalues, nnodes; // of the graph as it was read
    int64_t count;       // of rows that are asked for, the first ones
    int *uses;           // [nvalues]
    int *few;            // [nvalues] uses that ask for no more rows than that
    unsigned *narrow; // [nnodes] operands of which only those rows are read, as bits; 0: as it was
    int *slice;       // [nvalues] the value's first rows; -1: they are not taken yet
    bool *done;       // [nvalues] rows of this value were looked at
};

/* ---- what works row by row ------------------------------------------------------------------- */

static bool same_dims(const struct tt_probe *a, const struct tt_probe *b, int from, int to)
{
    for (int k = 0; k < TT_PROBES; k++)
        for (int i = from; i < to; i++)
            if (a->dim[k][i] != b->dim[k][i])
                return false;
    return true;
}

/* The operands of a sum or product of two, of which rows are read: those that have them. */
static unsigned operands_with_rows(const struct rows *r, const struct tt_gnode *n)
{
    const struct tt_probe *out = &r->f->probes[n->out];
    unsigned ret = 0;

    for (int k = 0; k < 2; k++) {
        const struct tt_probe *in = &r->f->probes[n->in[k]];

        if (tt_probe_same(in, out))
            ret |= 1u << k;
        else if (in->ndim > out->ndim - AXIS - 1) // it may have rows that are repeated
            return 0;
    }
    return ret;
}

/* Sizes behind the rows, which must not depend on the batch, are what a Reshape changes. */
static bool reshapes_rows(const struct rows *r, const struct tt_gnode *n)
{
    const struct tt_probe *in = &r->f->probes[n->in[0]], *out = &r->f->probes[n->out];

    if (in->ndim <= AXIS + 1 || out->ndim <= AXIS + 1 || !same_dims(in, out, 0, AXIS + 1))
        return false;
    for (int k = 1; k < TT_PROBES; k++)
        for (int i = AXIS + 1; i < out->ndim; i++)
            if (out->dim[k][i] != out->dim[0][i])
                return false;
    return true;
}

static bool is(const struct tt_gnode *n, const char *op)
{
    return !strcmp(n->op->name, op);
}

/* The operands whose rows are those of the result, one by one; 0: it does not work row by row. */
static unsigned row_by_row(const struct rows *r, const struct tt_gnode *n)
{
    static const char *const each[] = {"Gelu",    "tt.Swish", "Relu",     "Tanh",
                                       "Sigmoid", "Erf",      "HardSwish"};
    const struct tt_probe *in = n->in[0] < 0 ? NULL : &r->f->probes[n->in[0]];

    if (!in || in->ndim <= AXIS + 1 || r->f->g->values[n->out].data)
        return 0;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        if (is(n, each[i]))
            return 1;
    if (is(n, "tt.Linear") || is(n, "tt.Attention"))
        return 1;
    if (is(n, "tt.LinearSum"))
        return 1 | 2;
    if (is(n, "LayerNormalization"))
        return tt_layernorm_is_within(n->attr, in->ndim, AXIS + 1);
    if (is(n, "Add") || is(n, "Mul"))
        return operands_with_rows(r, n);
    return is(n, "Reshape") && reshapes_rows(r, n);
}

/* ---- which rows are asked for ---------------------------------------------------------------- */

/* How many first rows a Gather takes no others than; 0: it is not known. */
static int64_t first_rows(const struct rows *r, const struct tt_gnode *n)
{
    const struct tt_value *at;
    int64_t len = 1, ret = 0;

    if (!is(n, "Gather") || !tt_gather_is_along(n->attr, r->f->probes[n->in[0]].ndim, AXIS))
        return 0;
    at = &r->f->g->values[n->in[1]];
    if (at->kind != TT_WEIGHT || !at->data || at->dtype != TT_INTS)
        return 0;
    for (int i = 0; i < at->ndim; i++)
        len *= at->dim[i];
    for (int64_t i = 0; i < len; i++) {
        int64_t index;

        if (!(at->data[i] >= 0 && at->data[i] < (float)INT32_MAX))
            return 0;
        index = (int64_t)at->data[i];
        ret = index + 1 > ret ? index + 1 : ret;
    }
    return ret;
}

/* Rows of a value that its users ask for; 0: all, or it is not known. */
static int64_t rows_of(const struct rows *r, int value)
{
    const struct tt_probe *p = &r->f->probes[value];
    int64_t ret = 0;
    int users = 0;

    for (int i = 0; i < r->nnodes; i++) {
        const struct tt_gnode *n = &r->f->g->nodes[i];
        int64_t count = n->nin && n->in[0] == value ? first_rows(r, n) : 0;

        users += count > 0;
        ret = count > ret ? count : ret;
    }
    for (int k = 0; k < TT_PROBES; k++)
        if (p->ndim <= AXIS + 1 || ret >= p->dim[k][AXIS])
            return 0;
    return users == r->uses[value] ? ret : 0;
}

/* From the value back to where all rows are needed.  Whether a product becomes smaller. */
static bool follow_back(struct rows *r, int value)
{
    bool worth = false;

    memset(r->few, 0, sizeof *r->few * (size_t)r->nvalues);
    memset(r->narrow, 0, sizeof *r->narrow * (size_t)r->nnodes);
    r->few[value] = r->uses[value];
    for (int i = r->f->g->values[value].node; i >= 0; i--) {
        const struct tt_gnode *n = &r->f->g->nodes[i];

        if (!r->few[n->out] || r->few[n->out] != r->uses[n->out])
            continue;
        r->narrow[i] = row_by_row(r, n);
        for (int k = 0; k < n->nin; k++)
            if (r->narrow[i] & 1u << k)
                r->few[n->in[k]]++;
        worth |= r->narrow[i] && !strncmp(n->op->name, "tt.", 3);
    }
    return worth;
}

/* ---- making it so ---------------------------------------------------------------------------- */

/* Whether only the first rows of a value are made now. */
static bool is_narrow(const struct rows *r, int value)
{
    const struct tt_value *v = &r->f->g->values[value];

    return v->kind == TT_RESULT && r->narrow[v->node];
}

/* A node at the end of the graph takes the first rows of a value, which are along that axis. */
static enum tt_code take_rows(struct rows *r, int value, int64_t axis)
{
    const struct tt_op *op = tt_op_find("Slice");
    int64_t zero = 0;
    struct tt_attr list[] = {{.name = "starts", .type = TT_AINTS, .n = 1, .ints = &zero},
                             {.name = "ends", .type = TT_AINTS, .n = 1, .ints = &r->count},
                             {.name = "axes", .type = TT_AINTS, .n = 1, .ints = &axis}};
    struct tt_attrs a = {.n = 3, .list = list, .nin = 1};
    const char *from = r->f->g->values[value].name;
    size_t size = strlen(from) + 32;
    char *name = TT_NEW(r->f->arena, size, char);
    const void *attr;

    if (!name)
        return tt_fail(r->f->err, TT_ENOMEM, "out of memory");
    snprintf(name, size, "%s, %lld rows", from, (long long)r->count);
    if (tt_fuse_attr(r->f, op, &a, &attr) != TT_OK)
        return r->f->err->code;
    r->slice[value] = tt_graph_node(r->f->g, op, name, attr, 1, &value, name);
    return r->slice[value] >= 0 ? TT_OK : tt_fail(r->f->err, TT_ENOMEM, "out of memory");
}

/* A Reshape to the same sizes, with as many rows as there are. */
static enum tt_code reshape_rows(const struct rows *r, struct tt_gnode *n)
{
    const struct tt_probe *out = &r->f->probes[n->out];
    struct tt_affine dim[TT_MAXDIM] = {{0, 0}}; // 0: as the operand's
    struct tt_ints to = {.ndim = 1, .dim = {out->ndim}, .n = out->ndim, .v = dim};
    struct tt_attrs a = {.nin = 2, .ints = {[1] = &to}};

    for (int i = AXIS + 1; i < out->ndim; i++)
        dim[i].a = out->dim[0][i];
    return tt_fuse_attr(r->f, n->op, &a, &n->attr);
}

/* Is a mask the same for each query? */
static bool is_for_all_rows(const struct tt_probe *mask)
{
    for (int k = 0; k < TT_PROBES; k++)
        if (mask->ndim >= 2 && mask->dim[k][mask->ndim - 2] != 1)
            return false;
    return true;
}

/* The mask of attention is [.., queries, keys]. */
static enum tt_code narrow_mask(struct rows *r, int i)
{
    const struct tt_gnode *n = &r->f->g->nodes[i];
    int mask = n->nin < 4 ? -1 : n->in[3];

    if (mask < 0 || is_for_all_rows(&r->f->probes[mask]))
        return TT_OK;
    if (take_rows(r, mask, r->f->probes[mask].ndim - 2) != TT_OK)
        return r->f->err->code;
    r->f->g->nodes[i].in[3] = r->slice[mask];
    return TT_OK;
}

static enum tt_code narrow_node(struct rows *r, int i)
{
    if (is(&r->f->g->nodes[i], "tt.Attention") && narrow_mask(r, i) != TT_OK)
        return r->f->err->code;
    for (int k = 0; k < r->f->g->nodes[i].nin; k++) {
        int from = r->f->g->nodes[i].in[k];

        if (!(r->narrow[i] & 1u << k) || is_narrow(r, from))
            continue;
        if (r->slice[from] < 0 && take_rows(r, from, AXIS) != TT_OK)
            return r->f->err->code;
        r->f->g->nodes[i].in[k] = r->slice[from];
    }
    return is(&r->f->g->nodes[i], "Reshape") ? reshape_rows(r, &r->f->g->nodes[i]) : TT_OK;
}

/* The nodes from nnodes on go where their operand has been made. */
static enum tt_code put_in_order(const struct rows *r)
{
    struct tt_graph *g = r->f->g;
    struct tt_gnode *to = TT_NEW(g->arena, g->nnodes, struct tt_gnode);
    int n = 0;

    if (!to)
        return tt_fail(r->f->err, TT_ENOMEM, "out of memory");
    for (int i = -1; i < r->nnodes; i++) {
        if (i >= 0)
            to[n++] = g->nodes[i];
        for (int k = r->nnodes; k < g->nnodes; k++) {
            const struct tt_value *from = &g->values[g->nodes[k].in[0]];

            if ((from->kind == TT_RESULT ? from->node : -1) == i)
                to[n++] = g->nodes[k];
        }
    }
    for (int i = 0; i < g->nnodes; i++)
        g->values[to[i].out].node = i;
    memcpy(g->nodes, to, sizeof *to * (size_t)n);
    return TT_OK;
}

static enum tt_code find_memory(struct rows *r)
{
    struct tt_arena *arena = r->f->arena;

    r->few = TT_NEW(arena, r->nvalues + 1, int);
    r->slice = TT_NEW(arena, r->nvalues + 1, int);
    r->done = TT_NEW(arena, r->nvalues + 1, bool);
    r->narrow = TT_NEW(arena, r->nnodes + 1, unsigned);
    if (!r->few || !r->slice || !r->done || !r->narrow)
        return tt_fail(r->f->err, TT_ENOMEM, "out of memory");
    return TT_OK;
}

/* The first value with rows that nobody asks for, and that were not looked at. */
static int find_value(struct rows *r)
{
    for (int i = 0; i < r->nnodes; i++) {
        const struct tt_gnode *n = &r->f->g->nodes[i];
        int value = n->nin ? n->in[0] : -1;

        if (value < 0 || r->done[value] || !first_rows(r, n))
            continue;
        r->done[value] = true;
        r->count = rows_of(r, value);
        if (r->count && follow_back(r, value))
            return value;
    }
    return -1;
}

enum tt_code tt_fuse_rows(const struct tt_fusing *f)
{
    struct rows r = {.f = f, .nvalues = f->g->nvalues, .nnodes = f->g->nnodes};

    if (tt_fuse_uses(f, &r.uses) != TT_OK || find_memory(&r) != TT_OK)
        return f->err->code;
    if (find_value(&r) < 0)
        return TT_OK;
    for (int i = 0; i < r.nvalues; i++)
        r.slice[i] = -1;
    for (int i = 0; i < r.nnodes; i++)
        if (r.narrow[i] && narrow_node(&r, i) != TT_OK)
            return f->err->code;
    return put_in_order(&r);
}
