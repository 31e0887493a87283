// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_INPUTS_H
#define TT_RUNTIME_INPUTS_H

#include "runtime/program.h"

/*
 * The inputs of a model as one: a text encoder takes tokens, a mask and kinds of tokens.  Whoever
 * carries batches around has a matrix of one row an element of the batch, in which the inputs'
 * own rows lie one behind the other in the graph's order.
 */
#define TT_MAXINPUTS 8

struct tt_inputs {
    int n;
    struct {
        int value;           // of the graph
        int64_t row, offset; // floats of an element of the batch; where they begin in the whole row
    } of[TT_MAXINPUTS];
    int64_t row;           // of all
    struct tt_value whole; // the only input; or, of more, "inputs": [batch, row]
};

/* Fails when there are none or too many, or when they are not of the same batch. */
TT_MUST_CHECK enum tt_code tt_inputs_of(const struct tt_graph *g, struct tt_inputs *ret,
                                        struct tt_err *err);

/* Write x [n, row] into the inputs of a program of that graph which was resized to n. */
void tt_inputs_write(const struct tt_inputs *in, struct tt_program *p, const float *x, int64_t n);

#endif
