// SPDX-License-Identifier: Apache-2.0
#include "runtime/role.h"

#include <string.h>

#include "runtime/ops/patterns.h"

#define HOPS 4 // nodes between a weight and the one that takes it

static const struct row {
    const char *op;
    int operand;
    struct tt_role role;
} rows[] = {
    {"BatchNormalization", 1, {TT_KIND_BN, TT_MEMBER_WEIGHT}},
    {"BatchNormalization", 2, {TT_KIND_BN, TT_MEMBER_BIAS}},
    {"BatchNormalization", 3, {TT_KIND_BN, TT_MEMBER_MEAN}},
    {"BatchNormalization", 4, {TT_KIND_BN, TT_MEMBER_VAR}},
    {"LayerNormalization", 1, {TT_KIND_LN, TT_MEMBER_WEIGHT}},
    {"LayerNormalization", 2, {TT_KIND_LN, TT_MEMBER_BIAS}},
    {"GroupNormalization", 1, {TT_KIND_GN, TT_MEMBER_WEIGHT}},
    {"GroupNormalization", 2, {TT_KIND_GN, TT_MEMBER_BIAS}},
    {"InstanceNormalization", 1, {TT_KIND_IN, TT_MEMBER_WEIGHT}},
    {"InstanceNormalization", 2, {TT_KIND_IN, TT_MEMBER_BIAS}},
    {"Conv", 1, {TT_KIND_CONV, TT_MEMBER_WEIGHT}},
    {"Conv", 2, {TT_KIND_CONV, TT_MEMBER_BIAS}},
    {"ConvTranspose", 1, {TT_KIND_CONV, TT_MEMBER_WEIGHT}},
    {"ConvTranspose", 2, {TT_KIND_CONV, TT_MEMBER_BIAS}},
    {"Gemm", 0, {TT_KIND_LINEAR, TT_MEMBER_WEIGHT}},
    {"Gemm", 1, {TT_KIND_LINEAR, TT_MEMBER_WEIGHT}},
    {"Gemm", 2, {TT_KIND_LINEAR, TT_MEMBER_BIAS}},
    {"MatMul", 0, {TT_KIND_LINEAR, TT_MEMBER_WEIGHT}},
    {"MatMul", 1, {TT_KIND_LINEAR, TT_MEMBER_WEIGHT}},
    {"tt.Linear", 1, {TT_KIND_LINEAR, TT_MEMBER_WEIGHT}},
    {"tt.Linear", 2, {TT_KIND_LINEAR, TT_MEMBER_BIAS}},
    {"tt.LinearSum", 2, {TT_KIND_LINEAR, TT_MEMBER_WEIGHT}},
    {"tt.LinearSum", 3, {TT_KIND_LINEAR, TT_MEMBER_BIAS}},
    {"Gather", 0, {TT_KIND_EMBEDDING, TT_MEMBER_WEIGHT}},
};

static const struct tt_role other = {TT_KIND_OTHER, TT_MEMBER_OTHER};

bool tt_role_is_norm(struct tt_role role)
{
    return role.kind == TT_KIND_BN || role.kind == TT_KIND_LN || role.kind == TT_KIND_GN ||
           role.kind == TT_KIND_IN;
}

/* ---- what made a value ------------------------------------------------------------ */

static bool is(const struct tt_gnode *n, const char *op)
{
    return n && !strcmp(n->op->name, op);
}

static bool moves(const struct tt_gnode *n)
{
    static const char *const names[] = {"Transpose", "Reshape", "Unsqueeze", "Squeeze",
                                        "Flatten",   "Cast",    "Expand"};

    for (size_t i = 0; n && i < sizeof names / sizeof *names; i++)
        if (is(n, names[i]))
            return true;
    return false;
}

static const struct tt_gnode *maker(const struct tt_graph *g, int value)
{
    return value < 0 || g->values[value].kind != TT_RESULT ? NULL
                                                           : &g->nodes[g->values[value].node];
}

/* The value that this one is in another shape or order. */
static int origin(const struct tt_graph *g, int value)
{
    for (int i = 0; i < HOPS && moves(maker(g, value)); i++)
        value = maker(g, value)->in[0];
    return value;
}

static bool is_weight(const struct tt_graph *g, int value)
{
    return value >= 0 && g->values[origin(g, value)].kind == TT_WEIGHT;
}

/* ---- normalisations that are written out --------------------------------------------- */

/* mean((x - mean)^2), of a square: the node that averages; NULL: it is not this. */
static const struct tt_gnode *find_variance(const struct tt_graph *g, int value)
{
    const struct tt_gnode *mean = maker(g, value), *square;

    if (!is(mean, "ReduceMean") && !is(mean, "GlobalAveragePool"))
        return NULL;
    square = maker(g, mean->in[0]);
    return is(square, "Pow") || (is(square, "Mul") && square->in[0] == square->in[1]) ? mean : NULL;
}

/* sqrt(variance + epsilon) */
static const struct tt_gnode *find_deviation(const struct tt_graph *g, int value)
{
    const struct tt_gnode *root = maker(g, value), *mean,
                          *sum = is(root, "Sqrt") ? maker(g, root->in[0]) : NULL;

    if (!is(sum, "Add"))
        return NULL;
    mean = find_variance(g, sum->in[0]);
    return mean ? mean : find_variance(g, sum->in[1]);
}

/* 1 / deviation */
static const struct tt_gnode *find_scale(const struct tt_graph *g, int value)
{
    const struct tt_gnode *n = maker(g, value);

    if (is(n, "Reciprocal"))
        return find_deviation(g, n->in[0]);
    return is(n, "Div") && is_weight(g, n->in[0]) ? find_deviation(g, n->in[1]) : NULL;
}

static bool is_deviation(const struct tt_graph *g, int value)
{
    return find_deviation(g, value) != NULL;
}

static bool is_scale(const struct tt_graph *g, int value)
{
    return find_scale(g, value) != NULL;
}

/* Of a weight of what that node averages the squares of.  Groups have their own means, and so a
 * weight that varies along a dimension that is not averaged is of groups. */
static enum tt_kind kind_of_mean(const struct tt_graph *g, const struct tt_gnode *mean, int weight)
{
    const struct tt_value *w = &g->values[weight];

    for (int i = 0; is(mean, "ReduceMean") && w->ndim > 1 && i < w->ndim; i++)
        if (w->dim[i] > 1 && !tt_reduces(mean->attr, w->ndim, i))
            return TT_KIND_GN;
    return TT_KIND_LN;
}

/* (x - mean) / deviation, or x / deviation, as divided or multiplied. */
static bool is_layer_normal(const struct tt_graph *g, int value)
{
    const struct tt_gnode *n = maker(g, value);

    if (is(n, "Div"))
        return !is_weight(g, n->in[0]) && is_deviation(g, n->in[1]);
    return is(n, "Mul") && ((is_scale(g, n->in[0]) && !is_weight(g, n->in[1])) ||
                            (is_scale(g, n->in[1]) && !is_weight(g, n->in[0])));
}

/* A group normalisation before opset 18: groups as instances, between two Reshape. */
static bool is_group_normal(const struct tt_graph *g, int value)
{
    const struct tt_gnode *n = maker(g, value);

    if (!is(n, "Reshape"))
        return false;
    n = maker(g, n->in[0]);
    return is(n, "InstanceNormalization") && is(maker(g, n->in[0]), "Reshape");
}

/* The kind of the normalisation whose result a value is, without its weight; or OTHER. */
static enum tt_kind normal(const struct tt_graph *g, int value)
{
    if (is_layer_normal(g, value))
        return TT_KIND_LN;
    return is_group_normal(g, value) ? TT_KIND_GN : TT_KIND_OTHER;
}

/* The kind of the normalisation that `value` is the scaled result of; or OTHER. */
static enum tt_kind scaled(const struct tt_graph *g, int value)
{
    const struct tt_gnode *n = maker(g, value);

    if (!is(n, "Mul"))
        return TT_KIND_OTHER;
    for (int k = 0; k < 2; k++)
        if (is_weight(g, n->in[1 - k]) && normal(g, n->in[k]) != TT_KIND_OTHER)
            return normal(g, n->in[k]);
    return TT_KIND_OTHER;
}

/* Another way to write it: y = x * s + (bias - mean * s) with s = weight / deviation. */
static bool is_shift(const struct tt_graph *g, int value)
{
    const struct tt_gnode *n = maker(g, value);

    return is(n, "Mul") &&
           (is(maker(g, n->in[0]), "ReduceMean") || is(maker(g, n->in[1]), "ReduceMean"));
}

/* As Keras writes it: y = x * s + (-mean * s + bias) with s = 1 / deviation * weight.  -mean * s:
 * the node that averages squares; NULL: it is not this. */
static const struct tt_gnode *find_shift(const struct tt_graph *g, int value)
{
    const struct tt_gnode *n = maker(g, value), *s, *mean;

    for (int k = 0; is(n, "Mul") && k < 2; k++) {
        s = maker(g, n->in[1 - k]);
        if (!is(maker(g, n->in[k]), "Neg") || !is(s, "Mul"))
            continue;
        mean = find_scale(g, s->in[0]);
        return mean ? mean : find_scale(g, s->in[1]);
    }
    return NULL;
}

static bool is_product(const struct tt_graph *g, int value)
{
    const struct tt_gnode *n = maker(g, value);

    return is(n, "MatMul") && (is_weight(g, n->in[0]) || is_weight(g, n->in[1]));
}

/* ---- roles -------------------------------------------------------------------------- */

/* Of one dimension, whatever others of 1 are before it. */
static bool is_list(const struct tt_value *v)
{
    for (int i = 0; i < v->ndim - 1; i++)
        if (v->dim[i] != 1)
            return false;
    return true;
}

/* Of a weight that is added, subtracted or multiplied. */
static struct tt_role arithmetic(const struct tt_graph *g, const struct tt_gnode *n, int operand,
                                 int weight)
{
    int with = n->nin == 2 ? n->in[1 - operand] : -1;
    const struct tt_gnode *mean = NULL;
    struct tt_role role = other;

    if (!g->values[weight].ndim || with < 0)
        return other; // a number is no parameter
    if (is(n, "Mul")) {
        mean = find_scale(g, with);
        role.kind = mean ? kind_of_mean(g, mean, weight) : normal(g, with);
        role.member = TT_MEMBER_WEIGHT;
    } else if (is(n, "Add") && is_product(g, with)) {
        role = (struct tt_role){TT_KIND_LINEAR, TT_MEMBER_BIAS};
        if (!is_list(&g->values[weight]))
            role.kind = TT_KIND_OTHER; // a table of positions
    } else if (is(n, "Add")) {
        mean = find_shift(g, with);
        role = (struct tt_role){mean ? kind_of_mean(g, mean, weight) : scaled(g, with),
                                TT_MEMBER_BIAS};
    } else if (is(n, "Sub") && !operand && is_shift(g, with)) {
        role = (struct tt_role){TT_KIND_LN, TT_MEMBER_BIAS};
    }
    return role.kind == TT_KIND_OTHER ? other : role;
}

/* The first node from `from` on that takes a value, and as which operand; -1: none. */
static int taker(const struct tt_graph *g, int from, int value, int *ret_operand)
{
    for (int i = from; i < g->nnodes; i++)
        for (int k = 0; k < g->nodes[i].nin; k++)
            if (g->nodes[i].in[k] == value) {
                *ret_operand = k;
                return i;
            }
    return -1;
}

struct tt_role tt_role_of(const struct tt_graph *g, int node, int operand)
{
    int weight = g->nodes[node].in[operand];
    const struct tt_gnode *n;

    for (int i = 0; i < HOPS && moves(&g->nodes[node]) && !operand; i++) {
        node = taker(g, node + 1, g->nodes[node].out, &operand);
        if (node < 0)
            return other;
    }
    n = &g->nodes[node];
    if (is(n, "InstanceNormalization") && is(maker(g, n->in[0]), "Reshape"))
        return other; // ones and zeros of a group normalisation that is written out
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].operand == operand && !strcmp(rows[i].op, n->op->name))
            return rows[i].role;
    return arithmetic(g, n, operand, weight);
}
