// SPDX-License-Identifier: Apache-2.0
#include "runtime/constant.h"

#include <string.h>

#include "runtime/program.h"

/* A graph of the node alone, its operands as weights; returns its result, -1: out of memory. */
static int alone(const struct tt_graph *g, int value, struct tt_graph *ret)
{
    const struct tt_gnode *node = &g->nodes[g->values[value].node];
    int in[TT_MAXIN];

    for (int i = 0; i < node->nin; i++) {
        const struct tt_value *v = node->in[i] < 0 ? NULL : &g->values[node->in[i]];

        in[i] = v ? tt_graph_weight(ret, v->name, v->ndim, v->dim, v->data) : -1;
        if (v && in[i] < 0)
            return -1;
        if (v)
            ret->values[in[i]].dtype = v->dtype;
    }
    return tt_graph_node(ret, node->op, node->name, node->attr, node->nin, in,
                         g->values[value].name);
}

static enum tt_code compute(const struct tt_graph *g, int out, float *x, size_t n,
                            struct tt_err *err)
{
    const struct tt_program_spec spec = {
        .graph = g, .limit = 1, .outputs = &out, .noutputs = 1, .loss = -1};
    struct tt_program *p;

    if (tt_program_new(&spec, &p, err) != TT_OK)
        return err->code;
    tt_program_forward(p);
    memcpy(x, tt_program_tensor(p, out)->x, n * sizeof *x);
    tt_program_free(p);
    return TT_OK;
}

enum tt_code tt_constant(struct tt_graph *g, int value, struct tt_probe *shape,
                         struct tt_arena *arena, struct tt_err *err)
{
    struct tt_value known = {.ndim = shape->ndim, .dtype = shape->dtype};
    const int64_t n = tt_probe_len(shape);
    struct tt_arena scratch;
    struct tt_graph one;
    enum tt_code rc;
    float *x = TT_NEW(arena, n, float);
    int out;

    if (!x)
        return tt_fail(err, TT_ENOMEM, "out of memory for %lld constants", (long long)n);
    tt_arena_init(&scratch, 0);
    tt_graph_init(&one, &scratch);
    one.opset = g->opset;
    out = alone(g, value, &one);
    rc = out < 0 ? tt_fail(err, TT_ENOMEM, "out of memory") : compute(&one, out, x, (size_t)n, err);
    tt_arena_release(&scratch);
    if (rc)
        return rc;
    memcpy(known.dim, shape->dim[0], sizeof known.dim);
    known.data = shape->data = x;
    tt_graph_known(g, value, &known);
    return TT_OK;
}
