// SPDX-License-Identifier: Apache-2.0
/*
 * From a graph to a list of nodes that can run: what is needed for the outputs, each node's
 * operands in the layout that it wants (a conversion is a node like any other), shapes at the
 * largest batch, and which tensors carry a gradient.
 */
#include "runtime/compile.h"

#include <string.h>

#include "runtime/layers.h"

static enum tt_code out_of_memory(struct tt_err *err)
{
    return tt_fail(err, TT_ENOMEM, "out of memory while compiling the graph");
}

/* A weight or an input; or a result that is known, because no weight behind it is variable. */
static bool is_leaf(const struct tt_program *p, int value)
{
    return p->graph->values[value].kind != TT_RESULT ||
           (p->graph->values[value].data && !p->varies[value]);
}

/* Which values are others than the model's own from one run to the next. */
static void find_varying(struct tt_program *p, const struct tt_program_spec *spec)
{
    const struct tt_graph *g = p->graph;

    for (int i = 0; i < g->nvalues; i++)
        p->varies[i] = g->values[i].kind == TT_INPUT;
    for (int i = 0; i < spec->nvariable; i++)
        p->varies[spec->variable[i]] = true;
    for (int i = 0; i < spec->nwanted; i++)
        p->varies[spec->wanted[i]] = true;
    for (int i = 0; i < g->nnodes; i++)
        for (int k = 0; k < g->nodes[i].nin; k++)
            if (g->nodes[i].in[k] >= 0 && p->varies[g->nodes[i].in[k]])
                p->varies[g->nodes[i].out] = true;
}

/* Mark the node that makes a value.  need [graph->nnodes] */
static void mark(const struct tt_graph *g, bool *need, int value)
{
    if (value >= 0 && g->values[value].kind == TT_RESULT)
        need[g->values[value].node] = true;
}

/* Mark the nodes that outputs and loss are made from. */
static void mark_all(const struct tt_program *p, const struct tt_program_spec *spec, bool *need)
{
    const struct tt_graph *g = p->graph;

    memset(need, 0, sizeof *need * (size_t)g->nnodes);
    for (int i = 0; i < spec->noutputs; i++)
        mark(g, need, spec->outputs[i]);
    mark(g, need, spec->loss);
    for (int i = g->nnodes - 1; i >= 0; i--)
        for (int k = 0; need[i] && k < p->gnodes[i].nin; k++)
            if (p->gnodes[i].in[k] >= 0 && !is_leaf(p, p->gnodes[i].in[k]))
                mark(g, need, p->gnodes[i].in[k]);
}

static int add_tensor(struct tt_program *p, int value, const char *name)
{
    struct tt_ptensor *t = &p->tensors[p->ntensors];

    *t = (struct tt_ptensor){
        .t = {.name = name}, .value = value, .node = -1, .last = -1, .xstore = -1, .gstore = -1};
    p->twin[p->ntensors] = -1;
    return p->ntensors++;
}

/* The tensor of a value that no node makes here, made when first used. */
static int leaf(struct tt_program *p, int value)
{
    const struct tt_value *v = &p->graph->values[value];
    struct tt_ptensor *t;

    if (p->of_value[value] >= 0)
        return p->of_value[value];
    p->of_value[value] = add_tensor(p, value, v->name);
    t = &p->tensors[p->of_value[value]];
    t->input = v->kind == TT_INPUT;
    t->t.ndim = v->ndim;
    t->t.dtype = v->dtype;
    for (int i = 0; i < v->ndim; i++)
        t->t.dim[i] = v->dim[i] < 0 ? p->limit : v->dim[i];
    memcpy(&t->t.x, &v->data, sizeof t->t.x); // weights are only read
    return p->of_value[value];
}

static bool full_size(const struct tt_tensor *t, const struct tt_tensor *out)
{
    if (t->ndim != out->ndim)
        return false;
    for (int i = 0; i < t->ndim; i++)
        if (t->dim[i] != out->dim[i])
            return false;
    return true;
}

static struct tt_pnode *add_node(struct tt_program *p, const struct tt_op *op, const char *name,
                                 const void *attr)
{
    struct tt_pnode *n = &p->nodes[p->nnodes++];

    *n = (struct tt_pnode){.n = {.op = op, .name = name, .attr = attr, .batch = p->limit},
                           .tape = -1,
                           .kept = -1,
                           .scratch = {-1, -1},
                           .gnode = -1,
                           .norm = -1};
    for (int i = 0; i < TT_MAXSAVED; i++)
        n->saved[i] = -1;
    for (int i = 0; i < TT_MAXIN; i++)
        n->in[i] = -1;
    return n;
}

/* The tensor that holds t's values in the wanted layout; appends a conversion when needed. */
static int in_layout(struct tt_program *p, int t, enum tt_layout want)
{
    struct tt_tensor *from = &p->tensors[t].t, *to;
    struct tt_pnode *n;
    int made;

    if (from->ndim < 3 || from->layout == want)
        return t;
    if (p->twin[t] >= 0)
        return p->twin[t];
    n = add_node(p, tt_op_find("tt.Layout"), from->name, NULL);
    made = add_tensor(p, -1, from->name);
    to = &p->tensors[made].t;
    *to = *from;
    to->layout = want;
    to->x = NULL;
    n->n.nin = 1;
    n->in[0] = t;
    n->n.in[0] = from;
    n->out = made;
    n->n.out = to;
    n->alias = from->dim[1] == 1 || tt_len(from) == from->dim[0] * from->dim[1];
    p->tensors[made].node = p->nnodes - 1;
    p->twin[t] = made;
    p->twin[made] = t;
    return made;
}

/* Layouts of operands and result by the operator's rule.  The result's shape is known. */
static void choose_layouts(struct tt_program *p, const struct tt_op *op, int nin, int *in,
                           struct tt_tensor *out)
{
    enum tt_layout want = TT_PLAIN;

    if (op->layout == TT_WANTS_LAST)
        want = TT_LAST;
    else if (op->layout == TT_STRIDED)
        want = p->tensors[in[0]].t.layout;
    for (int i = 0; op->layout == TT_FOLLOWS && i < nin; i++)
        if (in[i] >= 0 && full_size(&p->tensors[in[i]].t, out) &&
            p->tensors[in[i]].t.layout == TT_LAST)
            want = TT_LAST;
    out->layout = out->ndim >= 3 ? want : TT_PLAIN;
    for (int i = 0; i < nin; i++) {
        if (in[i] < 0 || op->layout == TT_STRIDED)
            continue;
        if (op->layout == TT_FOLLOWS && !full_size(&p->tensors[in[i]].t, out))
            continue;
        in[i] = in_layout(p, in[i],
                          op->layout == TT_WANTS_LAST && i > 0 && !(op->follow >> i & 1) ? TT_PLAIN
                                                                                         : want);
    }
}

static enum tt_code append(struct tt_program *p, int index, struct tt_err *err)
{
    const struct tt_gnode *g = &p->gnodes[index];
    struct tt_node shaped = {.op = g->op, .name = g->name, .attr = g->attr, .batch = p->limit};
    struct tt_tensor result = {.name = p->graph->values[g->out].name};
    int in[TT_MAXIN], out, same;
    struct tt_pnode *n;

    shaped.nin = g->nin;
    shaped.exact = p->exact;
    shaped.out = &result;
    for (int i = 0; i < TT_MAXIN; i++)
        in[i] = -1;
    for (int i = 0; i < g->nin; i++) {
        const int value = g->in[i];

        if (value < 0)
            continue;
        in[i] = leaf(p, value); // or what was made before
        shaped.in[i] = &p->tensors[in[i]].t;
        shaped.constant[i] =
            p->tensors[in[i]].node < 0 && !p->tensors[in[i]].input && !p->tensors[in[i]].variable;
    }
    result.dtype = shaped.in[0] ? shaped.in[0]->dtype : TT_FLOATS;
    if (g->op->shape(&shaped, err) != TT_OK)
        return tt_fail_in(err, "node '%s' (%s)", g->name, g->op->name);
    choose_layouts(p, g->op, g->nin, in, &result);
    same = g->op->same_order ? g->op->same_order(&shaped) : -1;
    if (same >= 0)
        result.layout = (enum tt_layout)same;
    n = add_node(p, g->op, g->name, g->attr);
    out = add_tensor(p, g->out, result.name);
    n->n = shaped;
    p->tensors[out].t = result;
    p->tensors[out].node = p->nnodes - 1;
    p->of_value[g->out] = out;
    n->out = out;
    n->gnode = index;
    n->alias = g->op->view || same >= 0;
    memcpy(n->in, in, sizeof n->in);
    for (int i = 0; i < g->nin; i++)
        n->n.in[i] = in[i] < 0 ? NULL : &p->tensors[in[i]].t;
    n->n.out = &p->tensors[out].t;
    if (tt_normalises(&n->n)) {
        n->norm = p->normalises_as[index];
        p->nnorms++;
    }
    return TT_OK;
}

/* A tensor carries a gradient when a wanted one is behind it and the loss before it. */
static enum tt_code mark_gradients(struct tt_program *p, const struct tt_program_spec *spec,
                                   struct tt_err *err)
{
    bool *reaches = TT_NEW(&p->arena, p->ntensors, bool);

    if (!reaches)
        return out_of_memory(err);
    for (int i = 0; i < spec->nwanted; i++) {
        int t = p->of_value[spec->wanted[i]];

        if (t >= 0)
            p->tensors[t].grad = p->tensors[t].wanted = true;
    }
    for (int i = 0; i < p->nnodes; i++)
        for (int k = 0; k < p->nodes[i].n.nin; k++)
            if (p->nodes[i].in[k] >= 0 && p->tensors[p->nodes[i].in[k]].grad &&
                p->tensors[p->nodes[i].out].t.dtype == TT_FLOATS)
                p->tensors[p->nodes[i].out].grad = true;
    reaches[p->loss] = true;
    for (int i = p->nnodes - 1; i >= 0; i--) {
        struct tt_pnode *n = &p->nodes[i];

        if (!reaches[n->out] || !p->tensors[n->out].grad)
            continue;
        if (!n->n.op->backward)
            return tt_fail(err, TT_EUNSUPPORTED,
                           "node '%s': operator '%s' passes no gradient back, and adapting '%s' "
                           "needs one",
                           n->n.name, n->n.op->name, p->graph->values[spec->wanted[0]].name);
        n->backward = true;
        for (int k = 0; k < n->n.nin; k++)
            if (n->in[k] >= 0)
                reaches[n->in[k]] = true;
    }
    for (int t = 0; t < p->ntensors; t++)
        p->tensors[t].grad = p->tensors[t].grad && reaches[t];
    return TT_OK;
}

/* Which node writes a gradient first, which add to it, and what backward reads. */
static void order_gradients(struct tt_program *p)
{
    for (int i = p->nnodes - 1; i >= 0; i--) {
        struct tt_pnode *n = &p->nodes[i];
        bool wants[TT_MAXIN] = {false};

        if (!n->backward)
            continue;
        for (int k = n->n.nin - 1; k >= 0; k--) {
            struct tt_ptensor *t;

            if (n->in[k] < 0)
                continue;
            t = &p->tensors[n->in[k]];
            if (!t->grad)
                continue;
            wants[k] = true;
            n->n.add[k] = t->writers > 0;
            if (!t->writers++)
                t->gfirst = 2 * p->nnodes - 1 - i;
        }
        n->reads = n->n.op->reads ? n->n.op->reads(&n->n, wants) : 0;
    }
}

static enum tt_code allocate(struct tt_program *p, struct tt_err *err)
{
    const struct tt_graph *g = p->graph;
    int norms = 0, operands = 0;

    for (int i = 0; i < g->nnodes; i++) {
        norms += g->nodes[i].op->norm != 0;
        operands += g->nodes[i].nin;
    }
    /* Every operand may need a conversion of its own. */
    p->max_nodes = g->nnodes + operands + g->nvalues + 1;
    p->max_tensors = g->nvalues + p->max_nodes;
    p->tensors = TT_NEW(&p->arena, p->max_tensors, struct tt_ptensor);
    p->nodes = TT_NEW(&p->arena, p->max_nodes, struct tt_pnode);
    p->twin = TT_NEW(&p->arena, p->max_tensors, int);
    p->of_value = TT_NEW(&p->arena, g->nvalues + 1, int);
    p->varies = TT_NEW(&p->arena, g->nvalues + 1, bool);
    p->norms = TT_NEW(&p->arena, norms + 1, struct tt_norm);
    p->gnodes = TT_NEW(&p->arena, g->nnodes + 1, struct tt_gnode);
    p->normalises_as = TT_NEW(&p->arena, g->nnodes + 1, int);
    if (!p->tensors || !p->nodes || !p->twin || !p->of_value || !p->varies || !p->norms ||
        !p->gnodes || !p->normalises_as)
        return out_of_memory(err);
    for (int i = 0; i < g->nnodes; i++) {
        p->gnodes[i] = g->nodes[i];
        p->normalises_as[i] = i;
    }
    for (int i = 0; i < g->nvalues; i++)
        p->of_value[i] = -1;
    return TT_OK;
}

/* The values asked for are handed out row-major, whatever the layout inside. */
static enum tt_code finish_outputs(struct tt_program *p, const struct tt_program_spec *spec,
                                   struct tt_err *err)
{
    for (int i = 0; i < spec->noutputs; i++) {
        int t = p->of_value[spec->outputs[i]];

        if (t < 0)
            return tt_fail(err, TT_ENOTFOUND, "output '%s' is not computed by any node",
                           p->graph->values[spec->outputs[i]].name);
        t = in_layout(p, t, TT_PLAIN);
        p->of_value[spec->outputs[i]] = t;
        p->tensors[t].output = true;
    }
    p->loss = -1;
    if (spec->loss < 0)
        return TT_OK;
    p->loss = p->of_value[spec->loss];
    if (p->loss < 0 || tt_len(&p->tensors[p->loss].t) != 1)
        return tt_fail(err, TT_ESHAPE, "the loss '%s' is not one number",
                       p->graph->values[spec->loss].name);
    p->tensors[p->loss].output = true;
    return TT_OK;
}

/* Give normalisations their struct tt_norm, in the graph's order. */
static void order_norms(struct tt_program *p)
{
    for (int i = 0; i < p->nnodes; i++) {
        int before = 0;

        for (int k = 0; k < p->nnodes; k++)
            before += p->nodes[k].norm >= 0 && p->nodes[k].norm < p->nodes[i].norm;
        if (p->nodes[i].norm >= 0)
            p->nodes[i].n.norm = &p->norms[before];
    }
}

enum tt_code tt_compile(struct tt_program *p, const struct tt_program_spec *spec,
                        struct tt_err *err)
{
    bool *need;

    p->exact = spec->exact;
    p->beside = spec->beside;
    if (allocate(p, err) != TT_OK)
        return err->code;
    need = TT_NEW(&p->arena, p->graph->nnodes + 1, bool);
    if (!need)
        return out_of_memory(err);
    find_varying(p, spec);
    mark_all(p, spec, need);
    if (tt_join_layers(p, spec, need, err) != TT_OK)
        return err->code;
    mark_all(p, spec, need); // without those that are parts of another now
    for (int i = 0; i < spec->nvariable; i++)
        p->tensors[leaf(p, spec->variable[i])].variable = true;
    for (int i = 0; i < spec->nwanted; i++) // whoever wants its gradient is about to change it
        if (is_leaf(p, spec->wanted[i]))
            p->tensors[leaf(p, spec->wanted[i])].variable = true;
    for (int i = 0; i < p->graph->nnodes; i++)
        if (need[i] && append(p, i, err) != TT_OK)
            return err->code;
    if (finish_outputs(p, spec, err) != TT_OK)
        return err->code;
    order_norms(p);
    if (p->loss >= 0 && spec->nwanted > 0) {
        if (mark_gradients(p, spec, err) != TT_OK)
            return err->code;
        order_gradients(p);
    }
    return TT_OK;
}
