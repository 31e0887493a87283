// SPDX-License-Identifier: Apache-2.0
#include "runtime/layers.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "runtime/ops/layer.h"

struct joining {
    struct tt_program *p;
    const bool *need;
    int *uses;           // [nvalues] by nodes that are needed, or from outside
    struct tt_tensor *t; // [nvalues] shapes at the program's limit
};

/* The nodes of one layer; -1: it has no such part. */
struct found {
    int conv, norm, sum, clamp;
    int added; // value: the sum's other operand
    float low, high;
};

/* ---- what is known of values ----------------------------------------------------------------- */

static void count_uses(struct joining *j, const struct tt_program_spec *spec)
{
    const struct tt_program *p = j->p;

    for (int i = 0; i < p->graph->nnodes; i++)
        for (int k = 0; j->need[i] && k < p->gnodes[i].nin; k++)
            if (p->gnodes[i].in[k] >= 0)
                j->uses[p->gnodes[i].in[k]]++;
    for (int i = 0; i < spec->noutputs; i++)
        j->uses[spec->outputs[i]]++;
    if (spec->loss >= 0)
        j->uses[spec->loss]++;
}

/* Whether no node of the program makes it. */
static bool is_given(const struct joining *j, int value)
{
    const struct tt_value *v = &j->p->graph->values[value];

    return v->kind != TT_RESULT || !j->need[v->node];
}

static void shape_given(struct joining *j, int value)
{
    const struct tt_value *v = &j->p->graph->values[value];
    struct tt_tensor *t = &j->t[value];

    *t = (struct tt_tensor){.name = v->name, .ndim = v->ndim, .dtype = v->dtype};
    for (int i = 0; i < v->ndim; i++)
        t->dim[i] = v->dim[i] < 0 ? j->p->limit : v->dim[i];
    memcpy(&t->x, &v->data, sizeof t->x); // shape() only reads
}

static enum tt_code find_shapes(struct joining *j, struct tt_err *err)
{
    const struct tt_graph *g = j->p->graph;

    for (int v = 0; v < g->nvalues; v++)
        if (is_given(j, v))
            shape_given(j, v);
    for (int i = 0; i < g->nnodes; i++) {
        const struct tt_gnode *from = &j->p->gnodes[i];
        struct tt_tensor *out = &j->t[from->out];
        struct tt_node n = {.op = from->op,
                            .name = from->name,
                            .attr = from->attr,
                            .nin = from->nin,
                            .batch = j->p->limit,
                            .out = out};

        if (!j->need[i])
            continue;
        for (int k = 0; k < from->nin; k++) {
            n.in[k] = from->in[k] < 0 ? NULL : &j->t[from->in[k]];
            n.constant[k] = from->in[k] >= 0 && is_given(j, from->in[k]);
        }
        *out = (struct tt_tensor){.name = g->values[from->out].name,
                                  .dtype = n.in[0] ? n.in[0]->dtype : TT_FLOATS};
        if (from->op->shape(&n, err) != TT_OK)
            return tt_fail_in(err, "node '%s' (%s)", from->name, from->op->name);
    }
    return TT_OK;
}

static bool same_shape(const struct joining *j, int a, int b)
{
    const struct tt_tensor *x = &j->t[a], *y = &j->t[b];

    return x->ndim == y->ndim && x->dtype == TT_FLOATS && y->dtype == TT_FLOATS &&
           !memcmp(x->dim, y->dim, sizeof *x->dim * (size_t)x->ndim);
}

/* ---- what is a layer ------------------------------------------------------------------------- */

static bool is(const struct joining *j, int node, const char *op)
{
    return node >= 0 && !strcmp(j->p->gnodes[node].op->name, op);
}

/* The node that makes a value for one user only; -1: there is none. */
static int maker(const struct joining *j, int value)
{
    return value < 0 || is_given(j, value) || j->uses[value] != 1 ? -1
                                                                  : j->p->graph->values[value].node;
}

/* A limit of a Clip that is the same in every run; not given: the default. */
static bool find_limit(const struct joining *j, const struct tt_gnode *clip, int k, float *ret)
{
    const struct tt_value *v;

    if (k >= clip->nin || clip->in[k] < 0)
        return true;
    v = &j->p->graph->values[clip->in[k]];
    if (!v->data || j->p->varies[clip->in[k]] || isnan(*v->data))
        return false;
    *ret = *v->data;
    return true;
}

static bool find_clamp(const struct joining *j, int node, struct found *f)
{
    const struct tt_gnode *n = &j->p->gnodes[node];

    f->low = -INFINITY;
    f->high = INFINITY;
    if (is(j, node, "Relu"))
        f->low = 0;
    else if (!is(j, node, "Clip") || n->nin < 2 || !find_limit(j, n, 1, &f->low) ||
             !find_limit(j, n, 2, &f->high) || f->low > f->high)
        return false;
    f->clamp = node;
    return true;
}

/* The operand of a sum that a layer can end with, the later one of two; its node, or -1. */
static int find_summand(const struct joining *j, int node, struct found *f)
{
    const struct tt_gnode *n = &j->p->gnodes[node];
    int best = -1;

    if (!same_shape(j, n->in[0], n->in[1]))
        return -1;
    for (int k = 0; k < 2; k++) {
        int m = maker(j, n->in[k]);

        if (m > best && (is(j, m, "BatchNormalization") || is(j, m, "Conv"))) {
            best = m;
            f->sum = node;
            f->added = n->in[1 - k];
        }
    }
    return best;
}

/* The layer that ends with that node; false: none does. */
static bool find_layer(const struct joining *j, int last, struct found *f)
{
    int at = last;

    *f = (struct found){.conv = -1, .norm = -1, .sum = -1, .clamp = -1, .added = -1};
    if (find_clamp(j, at, f))
        at = maker(j, j->p->gnodes[at].in[0]);
    if (is(j, at, "Add"))
        at = find_summand(j, at, f);
    if (is(j, at, "BatchNormalization")) {
        f->norm = at;
        at = maker(j, j->p->gnodes[at].in[0]);
    }
    if (is(j, at, "Conv"))
        f->conv = at;
    return (f->conv >= 0 || f->norm >= 0) &&
           (f->conv >= 0) + (f->norm >= 0) + (f->sum >= 0) + (f->clamp >= 0) > 1;
}

/* The last of its nodes becomes the layer. */
static enum tt_code join(struct joining *j, int last, const struct found *f, struct tt_err *err)
{
    struct tt_program *p = j->p;
    const struct tt_gnode *conv = f->conv < 0 ? NULL : &p->gnodes[f->conv];
    const struct tt_gnode *norm = f->norm < 0 ? NULL : &p->gnodes[f->norm];
    struct tt_layer *l = TT_NEW(&p->arena, 1, struct tt_layer);
    struct tt_gnode to = {.op = &tt_op_layer, .attr = l, .nin = TT_LAYER_OPERANDS};

    if (!l)
        return tt_fail(err, TT_ENOMEM, "out of memory while compiling the graph");
    *l = (struct tt_layer){.conv = conv ? conv->attr : NULL,
                           .norm = norm ? norm->attr : NULL,
                           .clamp = f->clamp >= 0,
                           .low = f->low,
                           .high = f->high,
                           .from = is(j, f->clamp, "Relu") ? FLT_TRUE_MIN : f->low};
    for (int k = 0; k < TT_LAYER_OPERANDS; k++)
        to.in[k] = -1;
    for (int k = 0; conv && k < conv->nin; k++)
        to.in[TT_LAYER_X + k] = conv->in[k];
    if (!conv)
        to.in[TT_LAYER_X] = norm->in[0];
    for (int k = 1; norm && k < norm->nin; k++)
        to.in[TT_LAYER_GAMMA + k - 1] = norm->in[k];
    to.in[TT_LAYER_SUM] = f->added;
    to.name = conv ? conv->name : norm->name;
    to.out = p->gnodes[last].out;
    p->gnodes[last] = to;
    p->normalises_as[last] = f->norm;
    return TT_OK;
}

enum tt_code tt_join_layers(struct tt_program *p, const struct tt_program_spec *spec,
                            const bool *need, struct tt_err *err)
{
    const struct tt_graph *g = p->graph;
    struct joining j = {.p = p, .need = need};
    bool *part = TT_NEW(&p->arena, g->nnodes + 1, bool);

    j.uses = TT_NEW(&p->arena, g->nvalues + 1, int);
    j.t = TT_NEW(&p->arena, g->nvalues + 1, struct tt_tensor);
    if (!part || !j.uses || !j.t)
        return tt_fail(err, TT_ENOMEM, "out of memory while compiling the graph");
    count_uses(&j, spec);
    if (find_shapes(&j, err) != TT_OK)
        return err->code;
    for (int i = g->nnodes - 1; i >= 0; i--) { // the whole of a layer before a part of it
        struct found f;

        if (!need[i] || part[i] || !find_layer(&j, i, &f))
            continue;
        part[f.conv < 0 ? i : f.conv] = part[f.norm < 0 ? i : f.norm] = true;
        part[f.sum < 0 ? i : f.sum] = true;
        if (join(&j, i, &f, err) != TT_OK)
            return err->code;
    }
    return TT_OK;
}
