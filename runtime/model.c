// SPDX-License-Identifier: Apache-2.0
#include "runtime/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/role.h"

#define TT_KIND_NAME(kind, name, help) name,
static const char *const kind_names[] = {TT_KINDS(TT_KIND_NAME)};
#undef TT_KIND_NAME

const char *tt_kind_name(enum tt_kind kind)
{
    return (unsigned)kind < TT_NKINDS ? kind_names[kind] : "unknown";
}

const char *tt_member_name(enum tt_member member)
{
    static const char *const names[] = {
        [TT_MEMBER_WEIGHT] = "weight", [TT_MEMBER_BIAS] = "bias",   [TT_MEMBER_MEAN] = "mean",
        [TT_MEMBER_VAR] = "var",       [TT_MEMBER_OTHER] = "other",
    };

    return (unsigned)member <= TT_MEMBER_OTHER ? names[member] : "unknown";
}

struct tt_model *tt_model_new(size_t limit)
{
    struct tt_model *m = (struct tt_model *)calloc(1, sizeof *m);

    if (!m)
        return NULL;
    tt_arena_init(&m->arena, limit);
    tt_graph_init(&m->graph, &m->arena);
    return m;
}

void tt_model_free(struct tt_model *m)
{
    if (!m)
        return;
    tt_arena_release(&m->arena);
    free(m);
}

bool tt_member_is_stat(enum tt_member member)
{
    return member == TT_MEMBER_MEAN || member == TT_MEMBER_VAR;
}

const char *tt_param_place(const struct tt_model *m, const struct tt_param *p)
{
    return p->node < 0 ? "" : m->graph.nodes[p->node].name;
}

static int64_t count(const struct tt_value *v)
{
    int64_t n = 1;

    for (int i = 0; i < v->ndim; i++)
        n *= v->dim[i];
    return n;
}

/* Integers and truth values are no parameters. */
static bool is_param(const struct tt_value *v)
{
    return v->kind == TT_WEIGHT && v->dtype == TT_FLOATS;
}

/* ---- what the exporter merged ---------------------------------------------------- */

/* A list of one value throughout, as a parameter begins. */
static bool is_uniform(const struct tt_value *v)
{
    if (!is_param(v) || v->ndim != 1 || v->dim[0] < 2 || !v->data)
        return false;
    for (int64_t i = 1; i < v->dim[0]; i++)
        if (v->data[i] != v->data[0])
            return false;
    return true;
}

/* "layer.1.norm.weight" for /layer.1/norm/LayerNormalization; for any other name, and when that is
 * taken, "weight@node". */
static const char *name_after(struct tt_model *m, const char *node, enum tt_member member)
{
    const char *what = tt_member_name(member), *last = strrchr(node, '/');
    size_t room = strlen(node) + strlen(what) + 16;
    char *name = TT_NEW(&m->arena, room, char);

    if (!name)
        return NULL;
    if (node[0] == '/' && last > node) {
        snprintf(name, room, "%.*s.%s", (int)(last - node - 1), node + 1, what);
        for (char *c = name; *c; c++)
            *c = *c == '/' ? '.' : *c;
        if (tt_graph_find(&m->graph, name) < 0)
            return name;
    }
    snprintf(name, room, "%s@%s", what, node);
    for (int i = 2; tt_graph_find(&m->graph, name) >= 0 && i < 1000; i++)
        snprintf(name, room, "%s@%s.%d", what, node, i);
    return name;
}

/* A use that would be a parameter of its own before the exporter looked at values. */
static bool is_own(struct tt_role role)
{
    return tt_role_is_norm(role) || role.member == TT_MEMBER_BIAS;
}

/* What each use of a weight is. */
struct uses {
    int own, others;
};

static struct uses count_uses(const struct tt_graph *g, int value)
{
    struct uses u = {0};

    for (int i = 0; i < g->nnodes; i++)
        for (int k = 0; k < g->nodes[i].nin; k++)
            if (g->nodes[i].in[k] == value) {
                bool own = is_own(tt_role_of(g, i, k));

                u.own += own;
                u.others += !own;
            }
    return u;
}

/* Give each use of a weight one of its own, but the first when there is no use of another sort. */
static enum tt_code unmerge(struct tt_model *m, int value, bool *merged, struct tt_err *err)
{
    struct tt_graph *g = &m->graph;
    const struct tt_value v = g->values[value];
    struct uses u = count_uses(g, value);
    bool keep = !u.others;

    if (u.own + u.others < 2 || !u.own)
        return TT_OK;
    merged[value] = true;
    for (int i = 0; i < g->nnodes; i++)
        for (int k = 0; k < g->nodes[i].nin; k++) {
            struct tt_role role;
            const char *name;

            if (g->nodes[i].in[k] != value)
                continue;
            role = tt_role_of(g, i, k);
            if (!is_own(role) || keep) {
                keep = keep && !is_own(role);
                continue;
            }
            name = name_after(m, g->nodes[i].name, role.member);
            g->nodes[i].in[k] = name ? tt_graph_weight(g, name, v.ndim, v.dim, v.data) : -1;
            if (g->nodes[i].in[k] < 0)
                return tt_fail(err, TT_ENOMEM, "out of memory for parameters of their own");
        }
    return TT_OK;
}

/* ---- what the exporter untied ------------------------------------------------------ */

/* b holds a's values in the same order, or both are matrices and it holds them transposed. */
static bool same_values(const struct tt_value *a, const struct tt_value *b)
{
    int64_t rows = a->dim[0], columns = a->dim[1];

    if (a->ndim != 2 || b->ndim != 2 || !a->data || !b->data)
        return false;
    if (a->data == b->data || (b->dim[0] == rows && b->dim[1] == columns &&
                               !memcmp(a->data, b->data, (size_t)count(a) * sizeof(float))))
        return true;
    if (b->dim[0] != columns || b->dim[1] != rows)
        return false;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < columns; k++)
            if (a->data[i * columns + k] != b->data[k * rows + i])
                return false;
    return true;
}

static void find_twins(struct tt_model *m)
{
    for (int i = 0; i < m->nparams; i++)
        for (int k = 0; m->params[i].kind == TT_KIND_EMBEDDING && k < m->nparams; k++) {
            struct tt_param *a = &m->params[i], *b = &m->params[k];

            if (b->kind == TT_KIND_LINEAR && b->n == a->n && b->twin < 0 &&
                same_values(&m->graph.values[a->value], &m->graph.values[b->value])) {
                a->twin = k;
                b->twin = i;
            }
        }
}

/* ---- the list ------------------------------------------------------------------------ */

/* The first use decides. */
static void find_uses(const struct tt_graph *g, struct tt_param *params, const int *index)
{
    for (int i = 0; i < g->nnodes; i++)
        for (int k = 0; k < g->nodes[i].nin; k++) {
            int v = g->nodes[i].in[k];
            struct tt_param *p = v >= 0 && index[v] >= 0 ? &params[index[v]] : NULL;
            struct tt_role role;

            if (!p)
                continue;
            role = tt_role_of(g, i, k);
            p->norms += tt_role_is_norm(role);
            if (p->uses++)
                continue;
            p->node = i;
            p->operand = k;
            p->kind = role.kind;
            p->member = role.member;
        }
}

/* In the order in which nodes use them; what no node does comes last. */
static int by_use(const void *a, const void *b)
{
    const struct tt_param *p = (const struct tt_param *)a, *q = (const struct tt_param *)b;
    unsigned i = (unsigned)p->node, k = (unsigned)q->node;

    if (i != k)
        return i < k ? -1 : 1;
    return p->operand != q->operand ? p->operand - q->operand : p->value - q->value;
}

enum tt_code tt_model_find_params(struct tt_model *m, struct tt_err *err)
{
    struct tt_graph *g = &m->graph;
    int n = 0, nvalues = g->nvalues;
    bool *merged = TT_NEW(&m->arena, nvalues, bool);
    int *index;

    for (int i = 0; merged && i < nvalues; i++)
        if (is_uniform(&g->values[i]) && unmerge(m, i, merged, err))
            return err->code;
    index = TT_NEW(&m->arena, g->nvalues, int);
    for (int i = 0; index && i < g->nvalues; i++)
        index[i] = is_param(&g->values[i]) ? n++ : -1;
    m->params = TT_NEW(&m->arena, n, struct tt_param);
    if (!merged || !index || !m->params)
        return tt_fail(err, TT_ENOMEM, "out of memory for the list of %d parameters", n);
    for (int i = 0; i < g->nvalues; i++)
        if (index[i] >= 0)
            m->params[index[i]] = (struct tt_param){
                .value = i,
                .name = g->values[i].name,
                .kind = TT_KIND_OTHER,
                .member = TT_MEMBER_OTHER,
                .n = count(&g->values[i]),
                .node = -1,
                .unmerged = i >= nvalues || merged[i],
                .twin = -1,
            };
    find_uses(g, m->params, index);
    qsort(m->params, (size_t)n, sizeof *m->params, by_use);
    m->nparams = n;
    find_twins(m);
    return TT_OK;
}
