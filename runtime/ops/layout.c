// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include "runtime/op.h"
#include "runtime/strided.h"

/* tt.Layout: the same tensor in the other order in memory.  Placed by the compiler alone. */
static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    (void)err;
    n->out->ndim = n->in[0]->ndim;
    for (int i = 0; i < n->out->ndim; i++)
        n->out->dim[i] = n->in[0]->dim[i];
    return TT_OK;
}

static void move(struct tt_tensor *to, float *dst, const struct tt_tensor *from, const float *src,
                 bool add)
{
    int64_t st[TT_MAXDIM], sf[TT_MAXDIM];

    tt_strides(to, st);
    tt_strides(from, sf);
    tt_strided_copy(to->ndim, to->dim, dst, st, src, sf, add);
}

static void forward(struct tt_node *n)
{
    move(n->out, n->out->x, n->in[0], n->in[0]->x, false);
}

static void backward(struct tt_node *n)
{
    move(n->in[0], n->in[0]->g, n->out, n->out->g, n->add[0]);
}

const struct tt_op tt_op_layout = {
    .name = "tt.Layout",
    .min_in = 1,
    .max_in = 1,
    .source = "a copy",
    .layout = TT_STRIDED,
    .shape = shape,
    .forward = forward,
    .backward = backward,
};
