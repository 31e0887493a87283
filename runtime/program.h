// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_PROGRAM_H
#define TT_RUNTIME_PROGRAM_H

#include "runtime/graph.h"

/*
 * A program is a graph compiled for a largest batch and a set of wanted gradients:
 * layouts chosen, shapes known, one memory plan by liveness.  It runs any batch up
 * to its limit.  Gradient work exists only on paths from the loss to a wanted value.
 * One thread uses a program at a time.
 */
struct tt_program;

struct tt_program_spec {
    const struct tt_graph *graph; // must outlive the program
    int64_t limit;                // rows of the largest batch
    const int *outputs;           // values that must be there after forward
    int noutputs;
    int loss;          // a value of one element; -1: no gradients
    const int *wanted; // values whose gradients are wanted: weights, or inputs
    int nwanted;
    const int *variable; // weights that bind() may point elsewhere
    int nvariable;
    /* A program of the same graph and limit that is never between its forward and its backward when
     * this one runs, and is freed after it: what does not outlive a run shares its memory, inputs
     * too, and weights that both have packed are packed once.  NULL: there is none. */
    struct tt_program *beside;
    bool exact; // by the formulas in float32: no algorithm or kept value that rounds more
};

/* Compile.  The error names the node.  On success *ret is the caller's, to be freed. */
TT_MUST_CHECK enum tt_code tt_program_new(const struct tt_program_spec *spec,
                                          struct tt_program **ret, struct tt_err *err);
void tt_program_free(struct tt_program *p);

/* The next runs are of n rows, 1 <= n <= limit.  Cheap when n is the last one's. */
TT_MUST_CHECK enum tt_code tt_program_resize(struct tt_program *p, int64_t n, struct tt_err *err);

/* The tensor of a value, with this run's shape; NULL when the program does not compute it.
 * Inputs' x is to be written before forward; a wanted value's g is there after backward, until the
 * next forward, unless it was bound elsewhere. */
struct tt_tensor *tt_program_tensor(struct tt_program *p, int value);

/* Let a variable weight be read from x, and its gradient be written to g (NULL: the program's
 * own place, or none).  Kept until the next call. */
void tt_program_bind(struct tt_program *p, int value, float *x, float *g);

/* The normalisation layers in the order of the graph's nodes, to be set before forward. */
struct tt_norm *tt_program_norms(struct tt_program *p, int *ret_n);

void tt_program_forward(struct tt_program *p);

/* d loss / d wanted into the wanted tensors' g: after forward, once. */
void tt_program_backward(struct tt_program *p);

/* Call done(ctx, node, backward) after each node that computes, and with NULL for node before the
 * first one of a forward or backward run: for whoever has a clock.  NULL: do not, which costs
 * nothing a node. */
void tt_program_watch(struct tt_program *p,
                      void (*done)(void *ctx, const struct tt_node *node, bool backward),
                      void *ctx);

/* Bytes that the program holds: activations, gradients, packed weights. */
size_t tt_program_bytes(const struct tt_program *p);

#endif
