// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_GRAPH_H
#define TT_RUNTIME_GRAPH_H

#include "base/arena.h"
#include "runtime/op.h"

/*
 * A graph says what is computed: values and the nodes between them.  It holds the
 * weights and no activations, is built once and then only read, by any number of
 * programs (runtime/program.h) in any number of threads.  A value is named by its
 * index; nodes stand in an order in which every operand is made before it is used.
 */
enum tt_value_kind {
    TT_INPUT,  // comes with each batch
    TT_WEIGHT, // a parameter of the model, or any other constant
    TT_RESULT, // a node's
};

struct tt_value {
    const char *name;
    enum tt_value_kind kind;
    int ndim;               // TT_INPUT, TT_WEIGHT; a result's is known when compiled
    int64_t dim[TT_MAXDIM]; // -1: the batch (dimension 0 of inputs)
    enum tt_number dtype;   // TT_INPUT, TT_WEIGHT; of a result with data
    const float *data;      // TT_WEIGHT; of a result: what it is as long as no weight behind it is
                            // another than the model's (ndim and dim are known then, too)
    int node;               // TT_RESULT: which makes it
};

struct tt_gnode {
    const struct tt_op *op;
    const char *name;
    const void *attr;
    int nin;
    int in[TT_MAXIN]; // values; -1: optional and not given
    int out;
};

struct tt_graph {
    struct tt_arena *arena; // owns all of it
    int nvalues, nnodes, noutputs;
    int max_values, max_nodes, max_outputs;
    struct tt_value *values;
    struct tt_gnode *nodes;
    int *outputs;
    int opset;
};

/* An empty graph in an arena that must outlive it. */
void tt_graph_init(struct tt_graph *g, struct tt_arena *arena);

/* Begin *g as a copy of *base, which must outlive it: names, weights and attributes are shared. */
TT_MUST_CHECK enum tt_code tt_graph_extend(struct tt_graph *g, const struct tt_graph *base,
                                           struct tt_arena *arena, struct tt_err *err);

/* Each appends and returns the index of the new value, or -1: out of memory.
 * name, dim and data are kept, not copied, except that dim's numbers are. */
int tt_graph_input(struct tt_graph *g, const char *name, int ndim, const int64_t *dim);
int tt_graph_weight(struct tt_graph *g, const char *name, int ndim, const int64_t *dim,
                    const float *data);
int tt_graph_node(struct tt_graph *g, const struct tt_op *op, const char *name, const void *attr,
                  int nin, const int *in, const char *out);

/* A result is known to be like v: its shape, dtype and data, which is kept. */
void tt_graph_known(struct tt_graph *g, int value, const struct tt_value *v);

/* Add to the graph's outputs; false: out of memory. */
bool tt_graph_output(struct tt_graph *g, int value);

/* The value of that name, or -1. */
int tt_graph_find(const struct tt_graph *g, const char *name);

#endif
