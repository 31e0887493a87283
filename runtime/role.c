// SPDX-License-Identifier: Apache-2.0
#include "runtime/role.h"

#include <string.h>

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

/* mean((x - mean)^2): ReduceMean of a square. */
static bool is_variance(const struct tt_graph *g, int value)
{
    const struct tt_gnode *mean = maker(g, value), *square;

    if (!is(mean, "ReduceMean"))
        return false;
    square = maker(g, mean->in[0]);
    return is(square, "Pow") || (is(square, "Mul") && square->in[0] == square->in[1]);
}

/* sqrt(variance + epsilon) */
static bool is_deviation(const struct tt_graph *g, int value)
{
    const struct tt_gnode *root = maker(g, value),
                          *sum = is(root, "Sqrt") ? maker(g, root->in[0]) : NULL;

    return is(sum, "Add") && (is_variance(g, sum->in[0]) || is_variance(g, sum->in[1]));
}

/* 1 / deviation */
static bool is_scale(const struct tt_graph *g, int value)
{
    const struct tt_gnode *n = maker(g, value);

    return (is(n, "Reciprocal") && is_deviation(g, n->in[0])) ||
           (is(n, "Div") && is_weight(g, n->in[0]) && is_deviation(g, n->in[1]));
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

static bool is_product(const struct tt_graph *g, int value)
{
    const struct tt_gnode *n = maker(g, value);

    return is(n, "MatMul") && (is_weight(g, n->in[0]) || is_weight(g, n->in[1]));
}

/* ---- roles -------------------------------------------------------------------------- */

/* Of a weight that is added, subtracted or multiplied. */
static struct tt_role arithmetic(const struct tt_graph *g, const struct tt_gnode *n, int operand,
                                 int weight)
{
    int with = n->nin == 2 ? n->in[1 - operand] : -1;
    struct tt_role role = other;

    if (!g->values[weight].ndim || with < 0)
        return other; // a number is no parameter
    if (is(n, "Mul")) {
        role.kind = is_scale(g, with) ? TT_KIND_LN : normal(g, with);
        role.member = TT_MEMBER_WEIGHT;
    } else if (is(n, "Add") && is_product(g, with)) {
        role = (struct tt_role){TT_KIND_LINEAR, TT_MEMBER_BIAS};
        if (g->values[weight].ndim != 1)
            role.kind = TT_KIND_OTHER; // a table of positions
    } else if (is(n, "Add")) {
        role = (struct tt_role){scaled(g, with), TT_MEMBER_BIAS};
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
