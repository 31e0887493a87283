// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "runtime/fuse_common.h"
#include "runtime/ops/patterns.h"

struct encoder {
    const struct tt_fusing *f;
    int *uses; // [nvalues] by nodes that the outputs need, and as outputs
};

/* As tt_made_by(), of a value that nobody else uses. */
static const struct tt_gnode *only(const struct encoder *e, int value, const char *op)
{
    return value >= 0 && e->uses[value] == 1 ? tt_made_by(e->f, value, op) : NULL;
}

/* ---- products with a bias -------------------------------------------------------------------- */

/* Add(MatMul(x, w), b), with its operands in either order */
static enum tt_code fuse_linear(const struct encoder *e, struct tt_gnode *add)
{
    for (int i = 0; i < 2; i++) {
        const struct tt_gnode *product = only(e, add->in[i], "MatMul");
        const struct tt_value *b = &e->f->g->values[add->in[1 - i]];
        const struct tt_probe *x, *w;

        if (!product || b->kind != TT_WEIGHT || b->dtype != TT_FLOATS || b->ndim != 1)
            continue;
        x = &e->f->probes[product->in[0]];
        w = &e->f->probes[product->in[1]];
        if (x->ndim < 2 || w->ndim != 2 || w->dim[0][0] < 1 || w->dim[0][1] != b->dim[0])
            continue;
        return tt_fuse_become(e->f, add, tt_op_find("tt.Linear"), 3,
                              (int[]){product->in[0], product->in[1], add->in[1 - i]}, NULL, 0);
    }
    return TT_OK;
}

/* Add(r, tt.Linear(x, w, b)), with its operands in either order */
static enum tt_code fuse_sum(const struct encoder *e, struct tt_gnode *add)
{
    for (int i = 1; i >= 0; i--) {
        const struct tt_gnode *l = only(e, add->in[i], "tt.Linear");

        if (l && tt_probe_same(&e->f->probes[add->in[0]], &e->f->probes[add->in[1]]))
            return tt_fuse_become(e->f, add, tt_op_find("tt.LinearSum"), 4,
                                  (int[]){add->in[1 - i], l->in[0], l->in[1], l->in[2]}, NULL, 0);
    }
    return TT_OK;
}

/* ---- attention ------------------------------------------------------------------------------- */

static const int swap_heads[] = {0, 2, 1, 3}, to_columns[] = {0, 2, 3, 1}, turn[] = {0, 1, 3, 2};
static const int turn_flat[] = {0, 2, 1};

/* Follow multiplications and divisions by a number back to what they are of. */
static int strip(const struct encoder *e, int value, double *scale)
{
    for (;;) {
        const struct tt_gnode *mul = tt_made_by(e->f, value, "Mul");
        const struct tt_gnode *div = tt_made_by(e->f, value, "Div");
        float number;

        if (mul && tt_fuse_number(e->f, mul->in[1], &number)) {
            *scale *= (double)number;
            value = mul->in[0];
        } else if (mul && tt_fuse_number(e->f, mul->in[0], &number)) {
            *scale *= (double)number;
            value = mul->in[1];
        } else if (div && tt_fuse_number(e->f, div->in[1], &number) && number != 0) {
            *scale /= (double)number;
            value = div->in[0];
        } else {
            return value;
        }
    }
}

/* What a Transpose by perm is of; -1: the value is none. */
static int transposed(const struct encoder *e, int value, const int *perm)
{
    const struct tt_gnode *t = value < 0 ? NULL : tt_made_by(e->f, value, "Transpose");

    return t && e->f->probes[t->in[0]].ndim == 4 && tt_transposes(t->attr, 4, perm) ? t->in[0] : -1;
}

/* Is a reshaped value the other but for its first dimensions, of which it has so many less? */
static bool flattens(const struct encoder *e, int value, int from, int less)
{
    const struct tt_probe *a = &e->f->probes[value], *b = &e->f->probes[from];

    if (a->ndim != b->ndim - less)
        return false;
    for (int k = 0; k < TT_PROBES; k++)
        for (int i = 1; i < a->ndim; i++)
            if (a->dim[k][i] != b->dim[k][i + less])
                return false;
    return true;
}

/* What [B, H, D, S] is the transposed [B, H, S, D] of, heads being flattened while it is turned;
 * -1: it is not this. */
static int turned_flat(const struct encoder *e, int value)
{
    const struct tt_gnode *last = tt_made_by(e->f, value, "Reshape");
    const struct tt_gnode *t = last ? tt_made_by(e->f, last->in[0], "Transpose") : NULL;
    const struct tt_gnode *first = t ? tt_made_by(e->f, t->in[0], "Reshape") : NULL;

    if (!first || e->f->probes[value].ndim != 4 || e->f->probes[first->in[0]].ndim != 4 ||
        !flattens(e, t->out, value, 1) || !flattens(e, first->out, first->in[0], 1) ||
        !tt_transposes(t->attr, 3, turn_flat))
        return -1;
    return first->in[0];
}

/* k [B, S, H, D] of columns [B, H, D, S] */
static int find_keys(const struct encoder *e, int columns, double *scale)
{
    int k = strip(e, columns, scale), rows = transposed(e, k, turn);

    if (rows < 0)
        rows = turned_flat(e, k);

    if (rows >= 0)
        return transposed(e, strip(e, rows, scale), swap_heads);
    return transposed(e, k, to_columns);
}

struct attention {
    int q, k, v, mask; // values; mask -1: none
    double scale;
};

/* scale q k^T + mask, of which each step is for the next alone */
static bool find_scores(const struct encoder *e, int scores, struct attention *a)
{
    const struct tt_gnode *sum = only(e, scores, "Add"), *product;

    a->scale = 1;
    a->mask = -1;
    for (int i = 0; sum && i < 2 && a->mask < 0; i++)
        if (only(e, strip(e, sum->in[i], &(double){1}), "MatMul") && e->uses[sum->in[i]] == 1) {
            a->mask = sum->in[1 - i];
            scores = sum->in[i];
        }
    if (sum && a->mask < 0)
        return false;
    product = only(e, strip(e, scores, &a->scale), "MatMul");
    if (!product || e->uses[scores] != 1)
        return false;
    a->q = transposed(e, strip(e, product->in[0], &a->scale), swap_heads);
    a->k = find_keys(e, product->in[1], &a->scale);
    return a->q >= 0 && a->k >= 0;
}

static bool same(const struct encoder *e, int a, int i, int b, int j)
{
    for (int k = 0; k < TT_PROBES; k++)
        if (e->f->probes[a].dim[k][i] != e->f->probes[b].dim[k][j])
            return false;
    return true;
}

/* Nothing is broadcast but the mask, and that to the scores. */
static bool fits(const struct encoder *e, const struct attention *a)
{
    const int of[] = {a->q, a->q, a->q, a->k}, dim[] = {0, 2, 1, 1};
    const struct tt_probe *mask = a->mask < 0 ? NULL : &e->f->probes[a->mask];

    if (!same(e, a->q, 0, a->k, 0) || !same(e, a->q, 0, a->v, 0) || !same(e, a->q, 2, a->k, 2) ||
        !same(e, a->q, 2, a->v, 2) || !same(e, a->q, 3, a->k, 3) || !same(e, a->k, 1, a->v, 1))
        return false;
    for (int i = 0; mask && i < mask->ndim; i++) {
        int to = 4 - mask->ndim + i;
        bool one = true;

        for (int k = 0; k < TT_PROBES; k++)
            one = one && mask->dim[k][i] == 1;
        if (to < 0 || (!one && !same(e, a->mask, i, of[to], dim[to])))
            return false;
    }
    return true;
}

/* The Softmax that a value is: itself, or Where(IsNaN(it), 0, it), as PyTorch writes where a mask
 * may leave nothing of a row; NULL: it is neither. */
static const struct tt_gnode *find_weights(const struct encoder *e, int value, bool *none_is_zero)
{
    const struct tt_gnode *guard = only(e, value, "Where");
    const struct tt_gnode *nan = guard ? only(e, guard->in[0], "IsNaN") : NULL;
    float zero;

    *none_is_zero = guard;
    if (!guard)
        return only(e, value, "Softmax");
    if (!nan || nan->in[0] != guard->in[2] || e->uses[guard->in[2]] != 2 ||
        !tt_fuse_number(e->f, guard->in[1], &zero) || zero != 0 ||
        !tt_probe_same(&e->f->probes[value], &e->f->probes[guard->in[2]]))
        return NULL;
    return tt_made_by(e->f, guard->in[2], "Softmax");
}

/* Transpose(MatMul(Softmax(scores), v)) */
static enum tt_code fuse_attention(const struct encoder *e, struct tt_gnode *out)
{
    bool none_is_zero = false;
    const struct tt_gnode *product = only(e, out->in[0], "MatMul");
    const struct tt_gnode *weights =
        product ? find_weights(e, product->in[0], &none_is_zero) : NULL;
    struct attention a;

    if (!weights || transposed(e, out->out, swap_heads) < 0 ||
        !tt_softmax_is_last(weights->attr, 4) || !find_scores(e, weights->in[0], &a))
        return TT_OK;
    a.v = transposed(e, product->in[1], swap_heads);
    if (a.v < 0 || !fits(e, &a))
        return TT_OK;
    return tt_fuse_become(
        e->f, out, tt_op_find("tt.Attention"), a.mask < 0 ? 3 : 4, (int[]){a.q, a.k, a.v, a.mask},
        (struct tt_attr[]){{.name = "scale", .type = TT_AFLOAT, .f = (float)a.scale},
                           {.name = "none_is_zero", .type = TT_AINT, .i = none_is_zero}},
        2);
}

static enum tt_code each(const struct encoder *e, const char *op,
                         enum tt_code (*fuse)(const struct encoder *e, struct tt_gnode *node))
{
    for (int i = 0; i < e->f->g->nnodes; i++)
        if (!strcmp(e->f->g->nodes[i].op->name, op) && fuse(e, &e->f->g->nodes[i]) != TT_OK)
            return e->f->err->code;
    return TT_OK;
}

enum tt_code tt_fuse_encoder(const struct tt_fusing *f)
{
    struct encoder e = {.f = f};

    if (tt_fuse_uses(f, &e.uses) || each(&e, "Add", fuse_linear) || each(&e, "Add", fuse_sum) ||
        each(&e, "Transpose", fuse_attention))
        return f->err->code;
    return TT_OK;
}
