// SPDX-License-Identifier: Apache-2.0
/* Batch normalisation as a node of its own: runtime/ops/normalise.h */
#include <stddef.h>
#include <string.h>

#include "runtime/ops/normalise.h"

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct tt_batchnorm_attr *b = (struct tt_batchnorm_attr *)attr;

    b->epsilon = tt_attr_float(a, "epsilon", 1e-5f);
    (void)tt_attr_float(a, "momentum", 0.9f); // of training; who adapts says his own
    if (tt_attr_int(a, "training_mode", 0))
        return tt_fail(err, TT_EUNSUPPORTED,
                       "exported in training mode; export with model.eval(), so that the running "
                       "statistics are used");
    if (a->opset < 7 && !tt_attr_int(a, "is_test", 0))
        return tt_fail(err, TT_EUNSUPPORTED, "is_test is not 1: exported in training mode");
    (void)tt_attr_int(a, "spatial", 1);
    return b->epsilon >= 0 ? TT_OK : tt_fail(err, TT_ERANGE, "epsilon is %g", (double)b->epsilon);
}

static int64_t rows_of(const struct tt_node *n)
{
    int64_t len = tt_len(n->in[0]), C = n->in[0]->dim[1];

    return C ? len / C : 0;
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct tt_tensor *x = n->in[0];
    static const char *const what[] = {"input", "scale", "bias", "mean", "variance"};

    if (x->ndim < 2 || tt_len(x) < 1)
        return tt_fail(err, TT_ESHAPE, "input '%s' has %d dimensions, want 2 and more, not empty",
                       x->name, x->ndim);
    for (int i = 1; i < 5; i++)
        if (n->in[i]->ndim != 1 || n->in[i]->dim[0] != x->dim[1])
            return tt_fail(err, TT_ESHAPE, "%s '%s' does not have the input's %lld channels",
                           what[i], n->in[i]->name, (long long)x->dim[1]);
    n->out->ndim = x->ndim;
    memcpy(n->out->dim, x->dim, sizeof x->dim);
    n->nsaved[0] = 2 * x->dim[1];
    n->nscratch = tt_batchnorm_nscratch(rows_of(n), x->dim[1]);
    return TT_OK;
}

static struct tt_batchnorm whole(struct tt_node *n)
{
    return (struct tt_batchnorm){
        .stats = n->norm,
        .rows = rows_of(n),
        .C = n->in[0]->dim[1],
        .epsilon = ((const struct tt_batchnorm_attr *)n->attr)->epsilon,
        .gamma = n->in[1]->x,
        .beta = n->in[2]->x,
        .saved = n->saved[0],
        .scratch = n->scratch,
    };
}

static void forward(struct tt_node *n)
{
    struct tt_batchnorm b = whole(n);
    struct tt_finish tables;

    tt_batchnorm_measure(&b, n->in[0]->x);
    tables = tt_batchnorm_tables(&b);
    tt_batchnorm_apply(&b, &tables, n->out->x, n->in[0]->x, &(struct tt_after){.sum = NULL});
}

static void backward(struct tt_node *n)
{
    struct tt_batchnorm b = whole(n);

    tt_batchnorm_backward(&b, n->out->g, n->in[0]->x, NULL,
                          &(struct tt_batchnorm_grads){.dgamma = n->in[1]->g,
                                                       .dbeta = n->in[2]->g,
                                                       .dx = n->in[0]->g,
                                                       .add_dgamma = n->add[1],
                                                       .add_dbeta = n->add[2],
                                                       .add_dx = n->add[0]});
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    (void)wants;
    return TT_READS_IN(0);
}

const struct tt_op tt_op_batchnorm = {
    .name = "BatchNormalization",
    .min_in = 5,
    .max_in = 5,
    .opset = 6,
    .source = "Ioffe and Szegedy 2015, algorithm 1; ONNX BatchNormalization-15",
    .attr_size = sizeof(struct tt_batchnorm_attr),
    .layout = TT_WANTS_LAST,
    .norm = 3,
    .inplace = true,
    .read = read_attr,
    .shape = shape,
    .forward = forward,
    .reads = reads,
    .backward = backward,
};
