// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "runtime/fuse_common.h"
#include "runtime/ops/patterns.h"
#include "runtime/ops/window.h"

/* ---- Pad ------------------------------------------------------------------------------------- */

/* How much a node puts around its operand: zeros, and not more than windows may have. */
static bool find_zeros(const struct tt_fusing *f, const struct tt_gnode *n, int64_t *before,
                       int64_t *after)
{
    int ndim = f->probes[n->in[0]].ndim;
    float value = 0;

    if ((n->nin > 2 && n->in[2] >= 0 && !tt_fuse_number(f, n->in[2], &value)) || value != 0 ||
        !tt_pads_with_zeros(n->attr, ndim, before, after))
        return false;
    for (int i = 0; i < ndim; i++)
        if (before[i] > TT_WINDOW_LARGEST || after[i] > TT_WINDOW_LARGEST)
            return false;
    return true;
}

bool tt_fuse_pads_nothing(const struct tt_fusing *f, const struct tt_gnode *n)
{
    int64_t before[TT_MAXDIM], after[TT_MAXDIM];

    if (strcmp(n->op->name, "Pad") != 0 || !find_zeros(f, n, before, after))
        return false;
    for (int i = 0; i < f->probes[n->in[0]].ndim; i++)
        if (before[i] || after[i])
            return false;
    return true;
}

/* Of a Conv whose operand is padded with zeros: it does that itself. */
static enum tt_code fuse_pad(const struct tt_fusing *f, struct tt_gnode *conv)
{
    const struct tt_gnode *pad = tt_made_by(f, conv->in[0], "Pad");
    int64_t before[TT_MAXDIM], after[TT_MAXDIM];
    const void *attr;
    int space;

    if (!pad || !find_zeros(f, pad, before, after) || before[0] || after[0] || before[1] ||
        after[1])
        return TT_OK;
    space = f->probes[pad->in[0]].ndim - 2;
    if (space < 1 || space > TT_MAXSPACE)
        return TT_OK;
    attr = tt_conv_padded(conv->attr, space, before + 2, after + 2, f->arena);
    if (!attr)
        return TT_OK;
    conv->attr = attr;
    conv->in[0] = pad->in[0];
    return TT_OK;
}

/* ---- Swish: x sigmoid(x) --------------------------------------------------------------------- */

static enum tt_code fuse_swish(const struct tt_fusing *f, struct tt_gnode *node)
{
    for (int i = 0; i < 2; i++) {
        const struct tt_gnode *gate = tt_made_by(f, node->in[i], "Sigmoid");

        if (gate && gate->in[0] == node->in[1 - i])
            return tt_fuse_become(f, node, tt_op_find("tt.Swish"), 1, gate->in, NULL, 0);
    }
    return TT_OK;
}

enum tt_code tt_fuse_image(const struct tt_fusing *f)
{
    for (int i = 0; i < f->g->nnodes; i++) {
        struct tt_gnode *node = &f->g->nodes[i];
        enum tt_code code = TT_OK;

        if (!strcmp(node->op->name, "Conv"))
            code = fuse_pad(f, node);
        else if (!strcmp(node->op->name, "Mul"))
            code = fuse_swish(f, node);
        if (code != TT_OK)
            return code;
    }
    return TT_OK;
}
