// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_COMPILE_H
#define TT_RUNTIME_COMPILE_H

#include "runtime/program.h"

/*
 * Inside of a program; for compile.c, memory.c and program.c only.
 *
 * Time runs from node 0 forward to node F - 1, then backward from F - 1 to 0: node i works at
 * time i and at time 2 F - 1 - i.  Everything that needs memory has a first and a last time.
 */
struct tt_ptensor {
    struct tt_tensor t;
    int value;     // of the graph; -1: a conversion's result
    int node;      // that makes it; -1: input or weight
    bool input;    // written from outside
    bool output;   // must be there after forward
    bool variable; // bind() may point it elsewhere
    bool grad;     // has a gradient
    bool wanted;   // whose gradient is for the caller
    int writers;   // nodes that write the gradient
    int gfirst;    // time of the first of these
    int last;      // time of the last reading of x
    int xstore;    // storage of x; -1: not ours
    int gstore;    // storage of g; -1: none
};

struct tt_pnode {
    struct tt_node n;
    int in[TT_MAXIN]; // tensors; -1: not given
    int out;
    bool alias;                         // forward computes nothing: the result is operand 0
    bool backward;                      // has work in the backward run
    bool galias;                        // operand 0's gradient lies where the result's does
    unsigned reads;                     // TT_READS_...
    int saved[TT_MAXSAVED], tape, kept; // slots; -1: none
    int scratch[2];                     // for forward and backward
    int gnode;                          // of the graph; -1: a conversion
    int norm;                           // of the graph's node that it normalises as; -1: of none
};

/* Memory that lives from one time to another. */
struct tt_store_slot {
    int64_t floats, offset;
    int first, last;
};

struct tt_program {
    struct tt_arena arena;
    const struct tt_graph *graph;
    struct tt_gnode
        *gnodes; // [graph->nnodes] its nodes, several in one where runtime/layers.h does
    int64_t limit, batch;
    bool exact;
    int loss; // tensor; -1: none
    int ntensors, max_tensors, nnodes, max_nodes, nslots, max_slots;
    struct tt_ptensor *tensors;
    struct tt_pnode *nodes;
    struct tt_store_slot *slots;
    int *of_value;      // [graph->nvalues] tensor in the layout it was made in; -1: not computed
    bool *varies;       // [graph->nvalues] not the same in every run
    int *normalises_as; // [graph->nnodes] the node whose statistics it takes: itself, or its part
    int *twin;          // [max_tensors] the same value in the other layout; -1: none
    int nnorms;
    struct tt_norm *norms;
    float *block;             // all slots that last from one run to the next
    float *passing;           // the others; may be of the program beside
    int64_t nblock, npassing; // floats
    const struct tt_program *beside;

    /* NULL: nobody watches. */
    void (*done)(void *ctx, const struct tt_node *node, bool backward);
    void *watcher;
};

/* Nodes with layouts, shapes at the limit, gradient flags.  compile.c */
TT_MUST_CHECK enum tt_code tt_compile(struct tt_program *p, const struct tt_program_spec *spec,
                                      struct tt_err *err);

/* Liveness, aliases, offsets, one block; sets every pointer.  memory.c */
TT_MUST_CHECK enum tt_code tt_plan_storage(struct tt_program *p, struct tt_err *err);

/* Give a node the scratch that it has forward, or backward: they lie where there is room then. */
void tt_plan_scratch(struct tt_program *p, int node, bool backward);

#endif
