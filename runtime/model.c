// SPDX-License-Identifier: Apache-2.0
#include "runtime/model.h"

#include <stdlib.h>
#include <string.h>

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
        [TT_MEMBER_WEIGHT] = "weight",
        [TT_MEMBER_BIAS] = "bias",
        [TT_MEMBER_STAT] = "stat",
        [TT_MEMBER_OTHER] = "other",
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

/* What a weight is, after the operator and the operand; what is not here is other. */
static const struct role {
    const char *op;
    int operand;
    enum tt_kind kind;
    enum tt_member member;
} roles[] = {
    {"BatchNormalization", 1, TT_KIND_BN, TT_MEMBER_WEIGHT},
    {"BatchNormalization", 2, TT_KIND_BN, TT_MEMBER_BIAS},
    {"BatchNormalization", 3, TT_KIND_BN, TT_MEMBER_STAT},
    {"BatchNormalization", 4, TT_KIND_BN, TT_MEMBER_STAT},
    {"LayerNormalization", 1, TT_KIND_LN, TT_MEMBER_WEIGHT},
    {"LayerNormalization", 2, TT_KIND_LN, TT_MEMBER_BIAS},
    {"GroupNormalization", 1, TT_KIND_GN, TT_MEMBER_WEIGHT},
    {"GroupNormalization", 2, TT_KIND_GN, TT_MEMBER_BIAS},
    {"Conv", 1, TT_KIND_CONV, TT_MEMBER_WEIGHT},
    {"Conv", 2, TT_KIND_CONV, TT_MEMBER_BIAS},
    {"ConvTranspose", 1, TT_KIND_CONV, TT_MEMBER_WEIGHT},
    {"ConvTranspose", 2, TT_KIND_CONV, TT_MEMBER_BIAS},
    {"InstanceNormalization", 1, TT_KIND_GN, TT_MEMBER_WEIGHT},
    {"InstanceNormalization", 2, TT_KIND_GN, TT_MEMBER_BIAS},
    {"Gemm", 0, TT_KIND_LINEAR, TT_MEMBER_WEIGHT},
    {"Gemm", 1, TT_KIND_LINEAR, TT_MEMBER_WEIGHT},
    {"Gemm", 2, TT_KIND_LINEAR, TT_MEMBER_BIAS},
    {"MatMul", 0, TT_KIND_LINEAR, TT_MEMBER_WEIGHT},
    {"MatMul", 1, TT_KIND_LINEAR, TT_MEMBER_WEIGHT},
};

/* Whether a value is the product of a MatMul with a weight. */
static bool is_product(const struct tt_graph *g, int value)
{
    const struct tt_gnode *node;

    if (value < 0 || g->values[value].kind != TT_RESULT)
        return false;
    node = &g->nodes[g->values[value].node];
    return !strcmp(node->op->name, "MatMul") &&
           (g->values[node->in[0]].kind == TT_WEIGHT || g->values[node->in[1]].kind == TT_WEIGHT);
}

static void set_role(const struct tt_graph *g, const struct tt_gnode *node, int operand,
                     struct tt_param *p)
{
    p->kind = TT_KIND_OTHER;
    p->member = TT_MEMBER_OTHER;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (roles[i].operand == operand && !strcmp(roles[i].op, node->op->name)) {
            p->kind = roles[i].kind;
            p->member = roles[i].member;
        }
    /* Exporters write a linear layer on sequences as a MatMul and an Add. */
    if (!strcmp(node->op->name, "Add") && g->values[p->value].ndim == 1 &&
        is_product(g, node->in[1 - operand])) {
        p->kind = TT_KIND_LINEAR;
        p->member = TT_MEMBER_BIAS;
    }
}

static int64_t count(const struct tt_value *v)
{
    int64_t n = 1;

    for (int i = 0; i < v->ndim; i++)
        n *= v->dim[i];
    return n;
}

/* The first use decides. */
static void find_uses(const struct tt_graph *g, struct tt_param *params, const int *index)
{
    for (int i = 0; i < g->nnodes; i++)
        for (int k = 0; k < g->nodes[i].nin; k++) {
            int v = g->nodes[i].in[k];
            struct tt_param *p = v >= 0 && index[v] >= 0 ? &params[index[v]] : NULL;

            if (!p)
                continue;
            if (!p->uses++) {
                p->node = i;
                set_role(g, &g->nodes[i], k, p);
            }
        }
}

enum tt_code tt_model_find_params(struct tt_model *m, struct tt_err *err)
{
    const struct tt_graph *g = &m->graph;
    int *index = TT_NEW(&m->arena, g->nvalues, int);
    int n = 0;

    for (int i = 0; index && i < g->nvalues; i++)
        index[i] = g->values[i].kind == TT_WEIGHT ? n++ : -1;
    m->params = TT_NEW(&m->arena, n, struct tt_param);
    if (!index || !m->params)
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
            };
    find_uses(g, m->params, index);
    m->nparams = n;
    return TT_OK;
}
