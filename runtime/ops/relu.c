// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>
#include <string.h>

#include "runtime/kernels.h"
#include "runtime/op.h"

#define CHUNK ((int64_t)16384) // elements a turn: 64 KB, half of a first-level cache and its result

static enum tt_code shape_same(struct tt_node *n, struct tt_err *err)
{
    (void)err;
    n->out->ndim = n->in[0]->ndim;
    memcpy(n->out->dim, n->in[0]->dim, sizeof n->out->dim);
    return TT_OK;
}

/* y = max(x, 0) */
static void forward_relu(struct tt_node *n)
{
    int64_t len = tt_len(n->out);

#pragma omp parallel for schedule(static) if (len > 2 * CHUNK)
    for (int64_t i = 0; i < len; i += CHUNK)
        tt_kernels()->relu(n->out->x + i, n->in[0]->x + i, len - i < CHUNK ? len - i : CHUNK);
}

/* dx = dy where y > 0 */
static void backward_relu(struct tt_node *n)
{
    int64_t len = tt_len(n->out);

#pragma omp parallel for schedule(static) if (len > 2 * CHUNK)
    for (int64_t i = 0; i < len; i += CHUNK)
        tt_kernels()->relu_grad(n->in[0]->g + i, n->out->g + i, n->out->x + i,
                                len - i < CHUNK ? len - i : CHUNK, n->add[0]);
}

static unsigned reads_out(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_OUT;
}

const struct tt_op tt_op_relu = {
    .name = "Relu",
    .min_in = 1,
    .max_in = 1,
    .opset = 6,
    .source = "ONNX Relu-14",
    .layout = TT_FOLLOWS,
    .inplace = true,
    .shape = shape_same,
    .forward = forward_relu,
    .reads = reads_out,
    .backward = backward_relu,
};
