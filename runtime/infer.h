// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_INFER_H
#define TT_RUNTIME_INFER_H

#include "runtime/graph.h"

/*
 * Shapes while a model is read, when the batch is not known yet: each is worked out for a few
 * batches side by side, by the operators' own shape(), and from these follows how it depends on
 * the batch.  Nothing is computed and no memory planned.
 */
#define TT_PROBES 3
extern const int64_t tt_probes[TT_PROBES]; // 1, 2, 5

struct tt_probe {
    int ndim;
    int64_t dim[TT_PROBES][TT_MAXDIM];
    const char *name;
    enum tt_number dtype;
    const float *data; // of a constant; NULL: not one
};

/* A shape in which -1 stands for the batch.  Fails when there are too many elements to count. */
TT_MUST_CHECK enum tt_code tt_probe_set(struct tt_probe *p, const char *name, int ndim,
                                        const int64_t *dim, const float *data, struct tt_err *err);

/* The shape of an operator's result; in[i] NULL: not given, or of integers. */
TT_MUST_CHECK enum tt_code tt_probe_node(const struct tt_op *op, const char *name, const void *attr,
                                         int nin, const struct tt_probe *const *in,
                                         struct tt_probe *ret, struct tt_err *err);

/* The shapes of all values of a graph, in arena: [nvalues]. */
TT_MUST_CHECK enum tt_code tt_probe_graph(const struct tt_graph *g, struct tt_arena *arena,
                                          struct tt_probe **ret, struct tt_err *err);

/* Elements of a value whose shape is the same for each batch; -1: it is not. */
int64_t tt_probe_len(const struct tt_probe *p);

/* Are two shapes the same for every batch? */
bool tt_probe_same(const struct tt_probe *a, const struct tt_probe *b);

/* A dimension as a + b * batch; false: it is not of that form. */
bool tt_probe_affine(const struct tt_probe *p, int i, struct tt_affine *ret);

#endif
