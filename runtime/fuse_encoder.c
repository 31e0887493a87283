// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "runtime/fuse_common.h"

struct encoder {
    const struct tt_fusing *f;
    int *uses; // [nvalues] by nodes that the outputs need, and as outputs
};

static enum tt_code count_uses(struct encoder *e)
{
    const struct tt_graph *g = e->f->g;
    bool *live = TT_NEW(e->f->arena, g->nvalues + 1, bool);

    e->uses = TT_NEW(e->f->arena, g->nvalues + 1, int);
    if (!live || !e->uses)
        return tt_fail(e->f->err, TT_ENOMEM, "out of memory");
    for (int i = 0; i < g->noutputs; i++) {
        live[g->outputs[i]] = true;
        e->uses[g->outputs[i]]++;
    }
    for (int i = g->nnodes - 1; i >= 0; i--)
        for (int k = 0; live[g->nodes[i].out] && k < g->nodes[i].nin; k++)
            if (g->nodes[i].in[k] >= 0) {
                live[g->nodes[i].in[k]] = true;
                e->uses[g->nodes[i].in[k]]++;
            }
    return TT_OK;
}

/* As tt_made_by(), of a value that nobody else uses. */
static const struct tt_gnode *only(const struct encoder *e, int value, const char *op)
{
    return value >= 0 && e->uses[value] == 1 ? tt_made_by(e->f, value, op) : NULL;
}

static bool same_shape(const struct tt_probe *a, const struct tt_probe *b)
{
    if (a->ndim != b->ndim)
        return false;
    for (int k = 0; k < TT_PROBES; k++)
        for (int i = 0; i < a->ndim; i++)
            if (a->dim[k][i] != b->dim[k][i])
                return false;
    return true;
}

/* ---- products with a bias ---------------------------------------------------------------------
 */

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

        if (l && same_shape(&e->f->probes[add->in[0]], &e->f->probes[add->in[1]]))
            return tt_fuse_become(e->f, add, tt_op_find("tt.LinearSum"), 4,
                                  (int[]){add->in[1 - i], l->in[0], l->in[1], l->in[2]}, NULL, 0);
    }
    return TT_OK;
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

    if (count_uses(&e) || each(&e, "Add", fuse_linear) || each(&e, "Add", fuse_sum))
        return f->err->code;
    return TT_OK;
}
