// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_NODE_H
#define TT_RUNTIME_NODE_H

#include "runtime/attr.h"
#include "runtime/tensor.h"

#define TT_MAXSAVED 3

/* Which statistics a batch normalisation uses; set before each forward by who runs it. */
struct tt_norm {
    float prior, batch; // mean = prior * mean0 + batch * batch mean; variance alike
    bool unbiased;      // the batch's variance with n - 1
    bool through;       // gradients flow through the batch's statistics
    bool measure;       // fill batch_mean and batch_var even when batch is 0
    const float *mean0; // [C]; where the prior is; the node's own operands by default
    const float *var0;  // [C]
    int64_t rows;       // written by forward, with the two below, when batch != 0 or measure:
    float *batch_mean;  // [C]; how many rows a channel's statistics are of
    float *batch_var;   // [C], unbiased or not as asked
};

/* One application of an operator in a compiled program. */
struct tt_node {
    const struct tt_op *op;
    const char *name; // of the node in the model file; for messages
    int nin;
    struct tt_tensor *in[TT_MAXIN]; // NULL: an optional operand that is not given
    bool constant[TT_MAXIN];        // in[i]->x is never written after compile
    bool add[TT_MAXIN];             // backward adds to in[i]->g; false: it overwrites
    struct tt_tensor *out;
    const void *attr;            // the operator's own struct; NULL when it has none
    int64_t batch;               // of this run: what tt_affine's b is multiplied with
    int64_t nsaved[TT_MAXSAVED]; // floats to keep from forward to backward, set by shape
    float *saved[TT_MAXSAVED];   //
    int64_t ntape;               // more of them, which are only there when backward has work here
    float *tape;                 // NULL: it has none
    int64_t nkept;               // floats that live as long as the program, set by shape
    int64_t nkept_back;          // more of them, which follow, when backward has work here
    float *kept;                 // zeroed at compile
    bool exact;                  // no algorithm that rounds more than the formula does
    int64_t nscratch;            // floats for the time of one call, set by shape
    float *scratch;              //
    int threads;                 // that scratch is for; 0: not compiled yet, and shape, which then
    unsigned way;                // sees the most rows, says how many, and how it is computed
    struct tt_norm *norm;        // of a batch normalisation
};

#endif
