// SPDX-License-Identifier: Apache-2.0
#include "runtime/graph.h"

#include <string.h>

void tt_graph_init(struct tt_graph *g, struct tt_arena *arena)
{
    *g = (struct tt_graph){.arena = arena};
}

/* Room for one more of n items: the list, moved to twice its room when it is full.  NULL: out of
 * memory, with list and *max as before. */
static void *grow(struct tt_arena *arena, void *list, int n, int *max, size_t size)
{
    int room = *max ? *max * 2 : 16;
    void *more;

    if (n < *max)
        return list;
    if (*max > INT32_MAX / 2)
        return NULL;
    more = tt_arena_alloc(arena, (size_t)room, size);
    if (!more)
        return NULL;
    if (n)
        memcpy(more, list, (size_t)n * size);
    *max = room;
    return more;
}

/* A copy of n items with room for half as many again. */
static void *copy(struct tt_arena *arena, const void *list, int n, int *ret_max, size_t size)
{
    int max = n + n / 2 + 16;
    void *to = tt_arena_alloc(arena, (size_t)max, size);

    if (to && n)
        memcpy(to, list, (size_t)n * size);
    *ret_max = max;
    return to;
}

enum tt_code tt_graph_extend(struct tt_graph *g, const struct tt_graph *base,
                             struct tt_arena *arena, struct tt_err *err)
{
    struct tt_graph next = *base;

    next.arena = arena;
    next.values = (struct tt_value *)copy(arena, base->values, base->nvalues, &next.max_values,
                                          sizeof *base->values);
    next.nodes = (struct tt_gnode *)copy(arena, base->nodes, base->nnodes, &next.max_nodes,
                                         sizeof *base->nodes);
    next.outputs =
        (int *)copy(arena, base->outputs, base->noutputs, &next.max_outputs, sizeof(int));
    if (!next.values || !next.nodes || !next.outputs)
        return tt_fail(err, TT_ENOMEM, "out of memory for a graph of %d nodes", base->nnodes);
    *g = next;
    return TT_OK;
}

static int add_value(struct tt_graph *g, const struct tt_value *v)
{
    void *values = grow(g->arena, g->values, g->nvalues, &g->max_values, sizeof *g->values);

    if (!values)
        return -1;
    g->values = (struct tt_value *)values;
    g->values[g->nvalues] = *v;
    return g->nvalues++;
}

static void set_dims(struct tt_value *v, int ndim, const int64_t *dim)
{
    v->ndim = ndim;
    for (int i = 0; i < ndim; i++)
        v->dim[i] = dim[i];
}

int tt_graph_input(struct tt_graph *g, const char *name, int ndim, const int64_t *dim)
{
    struct tt_value v = {.name = name, .kind = TT_INPUT, .node = -1};

    set_dims(&v, ndim, dim);
    return add_value(g, &v);
}

int tt_graph_weight(struct tt_graph *g, const char *name, int ndim, const int64_t *dim,
                    const float *data)
{
    struct tt_value v = {.name = name, .kind = TT_WEIGHT, .data = data, .node = -1};

    set_dims(&v, ndim, dim);
    return add_value(g, &v);
}

int tt_graph_node(struct tt_graph *g, const struct tt_op *op, const char *name, const void *attr,
                  int nin, const int *in, const char *out)
{
    struct tt_gnode node = {.op = op, .name = name, .attr = attr, .nin = nin};
    struct tt_value v = {.name = out, .kind = TT_RESULT, .node = g->nnodes};
    void *nodes = grow(g->arena, g->nodes, g->nnodes, &g->max_nodes, sizeof *g->nodes);

    if (!nodes)
        return -1;
    g->nodes = (struct tt_gnode *)nodes;
    for (int i = 0; i < TT_MAXIN; i++)
        node.in[i] = i < nin ? in[i] : -1;
    node.out = add_value(g, &v);
    if (node.out < 0)
        return -1;
    g->nodes[g->nnodes++] = node;
    return node.out;
}

void tt_graph_known(struct tt_graph *g, int value, const struct tt_value *v)
{
    struct tt_value *to = &g->values[value];

    set_dims(to, v->ndim, v->dim);
    to->dtype = v->dtype;
    to->data = v->data;
}

bool tt_graph_output(struct tt_graph *g, int value)
{
    void *outputs = grow(g->arena, g->outputs, g->noutputs, &g->max_outputs, sizeof(int));

    if (!outputs)
        return false;
    g->outputs = (int *)outputs;
    g->outputs[g->noutputs++] = value;
    return true;
}

int tt_graph_find(const struct tt_graph *g, const char *name)
{
    for (int i = 0; i < g->nvalues; i++)
        if (g->values[i].name && !strcmp(g->values[i].name, name))
            return i;
    return -1;
}
