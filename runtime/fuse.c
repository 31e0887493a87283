// SPDX-License-Identifier: Apache-2.0
#include "runtime/fuse.h"

#include <math.h>
#include <string.h>

#include "runtime/fuse_common.h"

const struct tt_gnode *tt_made_by(const struct tt_fusing *f, int value, const char *op)
{
    const struct tt_value *v = value < 0 ? NULL : &f->g->values[value];

    if (!v || v->kind != TT_RESULT || strcmp(f->g->nodes[v->node].op->name, op) != 0)
        return NULL;
    return &f->g->nodes[v->node];
}

bool tt_fuse_number(const struct tt_fusing *f, int value, float *ret)
{
    const struct tt_value *v = value < 0 ? NULL : &f->g->values[value];

    if (!v || !v->data || v->dtype != TT_FLOATS)
        return false;
    for (int i = 0; i < v->ndim; i++)
        if (v->dim[i] != 1)
            return false;
    *ret = v->data[0];
    return true;
}

static bool is_number(const struct tt_fusing *f, int value, double want)
{
    float v;

    return tt_fuse_number(f, value, &v) && fabs((double)v - want) <= 1e-5 * fabs(want);
}

enum tt_code tt_fuse_uses(const struct tt_fusing *f, int **ret)
{
    const struct tt_graph *g = f->g;
    bool *live = TT_NEW(f->arena, g->nvalues + 1, bool);
    int *uses = TT_NEW(f->arena, g->nvalues + 1, int);

    if (!live || !uses)
        return tt_fail(f->err, TT_ENOMEM, "out of memory");
    for (int i = 0; i < g->noutputs; i++) {
        live[g->outputs[i]] = true;
        uses[g->outputs[i]]++;
    }
    for (int i = g->nnodes - 1; i >= 0; i--)
        for (int k = 0; live[g->nodes[i].out] && k < g->nodes[i].nin; k++)
            if (g->nodes[i].in[k] >= 0) {
                live[g->nodes[i].in[k]] = true;
                uses[g->nodes[i].in[k]]++;
            }
    *ret = uses;
    return TT_OK;
}

enum tt_code tt_fuse_attr(const struct tt_fusing *f, const struct tt_op *op, struct tt_attrs *a,
                          const void **ret)
{
    void *attr = tt_arena_alloc(f->arena, 1, op->attr_size ? op->attr_size : 1);

    if (!attr)
        return tt_fail(f->err, TT_ENOMEM, "out of memory");
    a->arena = f->arena;
    a->opset = 21;
    a->nresults = 1;
    for (int i = 0; i < a->nin; i++)
        a->given[i] = true;
    if (op->read && op->read(a, attr, f->err))
        return f->err->code;
    *ret = attr;
    return TT_OK;
}

enum tt_code tt_fuse_become(const struct tt_fusing *f, struct tt_gnode *node,
                            const struct tt_op *op, int nin, const int *in, struct tt_attr *list,
                            int nattrs)
{
    struct tt_attrs a = {.n = nattrs, .list = list, .nin = nin};

    if (tt_fuse_attr(f, op, &a, &node->attr) != TT_OK)
        return f->err->code;
    node->op = op;
    node->nin = nin;
    for (int i = 0; i < nin; i++)
        node->in[i] = in[i];
    return TT_OK;
}

/* ---- LayerNormalization ---------------------------------------------------------------------- */

/* How many of the last dimensions of x are 1 in its mean, the others being equal; 0: it is not a
 * mean over the last ones. */
static int averaged(const struct tt_fusing *f, int x, int mean)
{
    const struct tt_probe *p = &f->probes[x], *q = &f->probes[mean];
    int n = 0;

    if (p->ndim != q->ndim)
        return 0;
    for (int i = 0; i < p->ndim; i++)
        for (int k = 0; k < TT_PROBES; k++) {
            int64_t from = p->dim[k][i], to = q->dim[k][i];

            if (from == to && !n)
                continue;
            if (to != 1 || from == 1 || (n && i < p->ndim - n))
                return 0;
            n = n ? n : p->ndim - i;
        }
    return n;
}

struct layernorm {
    int x, mean, centred, axes; // values; how many of the last dimensions
    float epsilon;
};

/* What averages to a value; NULL: it is no mean.  TensorFlow's exporter writes one over the last
 * dimension of three as a GlobalAveragePool. */
static const struct tt_gnode *find_mean(const struct tt_fusing *f, int value)
{
    const struct tt_gnode *mean = tt_made_by(f, value, "ReduceMean");

    return mean ? mean : tt_made_by(f, value, "GlobalAveragePool");
}

/* (x - mean(x))^2 */
static bool find_square(const struct tt_fusing *f, int value, struct layernorm *l)
{
    const struct tt_gnode *square = tt_made_by(f, value, "Pow"), *sub, *mean;

    if (square && !is_number(f, square->in[1], 2))
        return false;
    if (!square) {
        square = tt_made_by(f, value, "Mul");
        if (square && square->in[1] != square->in[0])
            return false;
    }
    sub = square ? tt_made_by(f, square->in[0], "Sub") : NULL;
    mean = sub ? find_mean(f, sub->in[1]) : NULL;
    if (!mean || mean->in[0] != sub->in[0])
        return false;
    l->x = sub->in[0];
    l->mean = mean->out;
    l->centred = sub->out;
    l->axes = averaged(f, l->x, mean->out);
    return l->axes > 0;
}

/* sqrt(mean((x - mean(x))^2) + epsilon) */
static bool find_deviation(const struct tt_fusing *f, int value, struct layernorm *l)
{
    const struct tt_gnode *root = tt_made_by(f, value, "Sqrt");
    const struct tt_gnode *sum = root ? tt_made_by(f, root->in[0], "Add") : NULL, *var;
    int right;

    if (!sum)
        return false;
    right = tt_fuse_number(f, sum->in[0], &l->epsilon);
    if (!right && !tt_fuse_number(f, sum->in[1], &l->epsilon))
        return false;
    var = find_mean(f, sum->in[right]);
    return var && l->epsilon >= 0 && find_square(f, var->in[0], l) &&
           averaged(f, l->centred, var->out) == l->axes;
}

/* (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) */
static bool find_layernorm(const struct tt_fusing *f, const struct tt_gnode *div,
                           struct layernorm *l)
{
    return find_deviation(f, div->in[1], l) && div->in[0] == l->centred;
}

/* A weight with an element for each of a row's, perhaps behind dimensions of 1. */
static bool fits_row(const struct tt_fusing *f, int value, const struct layernorm *l)
{
    const struct tt_value *v = value < 0 ? NULL : &f->g->values[value];
    const struct tt_probe *x = &f->probes[l->x];

    if (!v || v->kind != TT_WEIGHT || v->dtype != TT_FLOATS || v->ndim < l->axes ||
        v->ndim > x->ndim)
        return false;
    for (int i = 1; i <= v->ndim; i++)
        if (v->dim[v->ndim - i] != (i <= l->axes ? x->dim[0][x->ndim - i] : 1))
            return false;
    return true;
}

/* mul = normalised * scale: which operand is the scale; -1: it is not this. */
static int find_scale(const struct tt_fusing *f, const struct tt_gnode *mul, struct layernorm *l)
{
    for (int i = 0; i < 2; i++) {
        const struct tt_gnode *div = tt_made_by(f, mul->in[1 - i], "Div");

        if (div && find_layernorm(f, div, l) && fits_row(f, mul->in[i], l))
            return i;
    }
    return -1;
}

static enum tt_code become_layernorm(const struct tt_fusing *f, struct tt_gnode *node,
                                     const struct layernorm *l, int scale, int bias)
{
    return tt_fuse_become(
        f, node, tt_op_find("LayerNormalization"), bias < 0 ? 2 : 3, (int[]){l->x, scale, bias},
        (struct tt_attr[]){{.name = "axis", .type = TT_AINT, .i = -l->axes},
                           {.name = "epsilon", .type = TT_AFLOAT, .f = l->epsilon}},
        2);
}

static enum tt_code fuse_layernorm(const struct tt_fusing *f, struct tt_gnode *node)
{
    const struct tt_gnode *mul = !strcmp(node->op->name, "Mul") ? node : NULL;
    struct layernorm l;
    int bias = -1, scale;

    if (!mul) { // an Add, and the product is one of its operands
        bias = tt_made_by(f, node->in[0], "Mul") != NULL;
        mul = tt_made_by(f, node->in[1 - bias], "Mul");
    }
    scale = mul ? find_scale(f, mul, &l) : -1;
    if (scale < 0 || (bias >= 0 && !fits_row(f, node->in[bias], &l)))
        return TT_OK;
    return become_layernorm(f, node, &l, mul->in[scale], bias < 0 ? -1 : node->in[bias]);
}

/* 1 / deviation, times a weight for each of a row's elements, which is returned; -1: it is not
 * this. */
static int find_factor(const struct tt_fusing *f, int value, struct layernorm *l)
{
    const struct tt_gnode *mul = tt_made_by(f, value, "Mul"), *inverse;

    for (int i = 0; mul && i < 2; i++) {
        inverse = tt_made_by(f, mul->in[i], "Reciprocal");
        if (inverse && find_deviation(f, inverse->in[0], l) && fits_row(f, mul->in[1 - i], l))
            return mul->in[1 - i];
    }
    return -1;
}

/* Of a product with factor: the other operand; -1: value is none. */
static int times(const struct tt_fusing *f, int value, int factor)
{
    const struct tt_gnode *mul = tt_made_by(f, value, "Mul");

    if (!mul || (mul->in[0] != factor && mul->in[1] != factor))
        return -1;
    return mul->in[mul->in[0] == factor];
}

/* bias - mean * factor, its two terms in any order: the bias; -1: it is not this. */
static int find_shift(const struct tt_fusing *f, int value, int factor, const struct layernorm *l)
{
    const struct tt_gnode *sum = tt_made_by(f, value, "Add"), *neg;

    for (int i = 0; sum && i < 2; i++) {
        neg = tt_made_by(f, times(f, sum->in[i], factor), "Neg");
        if (neg && neg->in[0] == l->mean && fits_row(f, sum->in[1 - i], l))
            return sum->in[1 - i];
    }
    return -1;
}

/* As Keras computes it: x * factor + (bias - mean * factor). */
static enum tt_code fuse_affine(const struct tt_fusing *f, struct tt_gnode *node)
{
    for (int i = 0; i < 2; i++) {
        const struct tt_gnode *mul = tt_made_by(f, node->in[i], "Mul");

        for (int k = 0; mul && k < 2; k++) {
            struct layernorm l;
            int scale = find_factor(f, mul->in[k], &l);
            int bias = scale < 0 || mul->in[1 - k] != l.x
                           ? -1
                           : find_shift(f, node->in[1 - i], mul->in[k], &l);

            if (bias >= 0)
                return become_layernorm(f, node, &l, scale, bias);
        }
    }
    return TT_OK;
}

/* ---- Gelu: 0.5 x (1 + erf(x / sqrt(2))), its three factors in any order ---------------------- */

/* The v of v / sqrt(2); -1: it is not this. */
static int find_rooted(const struct tt_fusing *f, int value)
{
    const struct tt_gnode *in = tt_made_by(f, value, "Div");

    if (in && is_number(f, in->in[1], sqrt(2)))
        return in->in[0];
    in = tt_made_by(f, value, "Mul");
    for (int i = 0; in && i < 2; i++)
        if (is_number(f, in->in[i], sqrt(.5)))
            return in->in[1 - i];
    return -1;
}

/* The x of 1 + erf(x / sqrt(2)), or of 1 - erf(-x / sqrt(2)), which is how TensorFlow has it; -1:
 * it is not this. */
static int find_erf(const struct tt_fusing *f, int value)
{
    const struct tt_gnode *sum = tt_made_by(f, value, "Add"), *sub = tt_made_by(f, value, "Sub"),
                          *erf, *neg;

    if (sub) {
        erf = is_number(f, sub->in[0], 1) ? tt_made_by(f, sub->in[1], "Erf") : NULL;
        neg = erf ? tt_made_by(f, find_rooted(f, erf->in[0]), "Neg") : NULL;
        return neg ? neg->in[0] : -1;
    }
    if (!sum)
        return -1;
    erf = tt_made_by(f, sum->in[is_number(f, sum->in[0], 1)], "Erf");
    if (!erf || !is_number(f, sum->in[!is_number(f, sum->in[0], 1)], 1))
        return -1;
    return find_rooted(f, erf->in[0]);
}

static enum tt_code fuse_gelu(const struct tt_fusing *f, struct tt_gnode *node)
{
    for (int i = 0; i < 2; i++) {
        const struct tt_gnode *mul = tt_made_by(f, node->in[i], "Mul");
        int factor[3];

        if (!mul)
            continue;
        factor[0] = node->in[1 - i];
        factor[1] = mul->in[0];
        factor[2] = mul->in[1];
        for (int k = 0; k < 3; k++) {
            int x = find_erf(f, factor[k]), a = factor[(k + 1) % 3], b = factor[(k + 2) % 3];

            if (x >= 0 && ((a == x && is_number(f, b, .5)) || (b == x && is_number(f, a, .5))))
                return tt_fuse_become(f, node, tt_op_find("Gelu"), 1, &x, NULL, 0);
        }
    }
    return TT_OK;
}

/* ---- Reshape to the shape that there is, as behind attention; Pad of nothing ----------------- */

/* Who uses such a value uses what it is of; an output stays a node's own. */
static enum tt_code skip_copies(const struct tt_fusing *f)
{
    int *is = TT_NEW(f->arena, f->g->nvalues + 1, int);

    if (!is)
        return tt_fail(f->err, TT_ENOMEM, "out of memory");
    for (int v = 0; v < f->g->nvalues; v++)
        is[v] = v;
    for (int i = 0; i < f->g->nnodes; i++) {
        struct tt_gnode *n = &f->g->nodes[i];

        for (int k = 0; k < n->nin; k++)
            n->in[k] = n->in[k] < 0 ? -1 : is[n->in[k]];
        if ((!strcmp(n->op->name, "Reshape") &&
             tt_probe_same(&f->probes[n->in[0]], &f->probes[n->out])) ||
            tt_fuse_pads_nothing(f, n))
            is[n->out] = n->in[0];
    }
    return TT_OK;
}

enum tt_code tt_fuse(struct tt_graph *g, const struct tt_probe *probes, struct tt_arena *arena,
                     struct tt_err *err)
{
    struct tt_fusing f = {g, probes, arena, err};

    if (skip_copies(&f) != TT_OK)
        return err->code;
    for (int i = g->nnodes - 1; i >= 0; i--) { // the whole of a pattern before a part of it
        struct tt_gnode *node = &g->nodes[i];
        bool add = !strcmp(node->op->name, "Add"), mul = !strcmp(node->op->name, "Mul");

        if ((add || mul) && fuse_layernorm(&f, node) != TT_OK)
            return err->code;
        if (add && !strcmp(node->op->name, "Add") && fuse_affine(&f, node) != TT_OK)
            return err->code;
        if (mul && !strcmp(node->op->name, "Mul") && fuse_gelu(&f, node) != TT_OK)
            return err->code;
    }
    if (tt_fuse_image(&f) != TT_OK || tt_fuse_encoder(&f) != TT_OK)
        return err->code;
    return tt_fuse_rows(&f);
}
