// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OP_H
#define TT_RUNTIME_OP_H

#include "base/err.h"
#include "runtime/node.h"

enum tt_layout_rule {
    TT_WANTS_PLAIN, // operands and result row-major
    TT_WANTS_LAST,  // operand 0 and the result channels last; the others row-major
    TT_FOLLOWS,     // works in any: the result takes operand 0's, full-size operands follow
    TT_STRIDED,     // reads operands in any order by their strides; result as operand 0
};

/* What backward reads, as bits: operand i's values, or the result's. */
#define TT_READS_IN(i) (1u << (i))
#define TT_READS_OUT   (1u << 31)

/*
 * An operator: everything about it is in this struct and in the file that
 * defines it.  read() and shape() are the only parts that may fail; once they have
 * passed, forward() and backward() cannot, so running a graph needs no error paths.
 */
struct tt_op {
    const char *name;   // ONNX operator name, unique; the project's own begin with tt.
    int min_in, max_in; // operands, integer ones included
    bool associative;   // op(a, b, c) is op(op(a, b), c): longer lists are taken in groups
    unsigned ints;      // which of them are of integers, as bits; the others are of floats
    unsigned known;     // floats that shape() reads: constants, or not given
    int results;        // how many it may have, 0: one.  Each that is used is a node of its own,
                        // whose read() sees which it is (tt_attrs.result)
    int opset;          // oldest ONNX opset with this meaning; 0: not ONNX's
    const char *source; // where the formula comes from
    size_t attr_size;   // of its own struct
    enum tt_layout_rule layout;
    unsigned follow; // operands that lie as the result does, as bits; besides TT_WANTS_LAST's
    bool inplace;    // the result may lie where operand 0 does, and operand 0's gradient where the
                     // result's does, when sizes are equal
    bool view;       // the result is operand 0's values in the same order: nothing is computed
    bool saves_back; // saved[] is for backward alone: NULL where that has no work
    int norm;        // normalises with statistics: its nodes get a struct tt_norm, whose prior mean
                     // and variance are this operand, when given, and the next; 0: does not

    /* Which operand is meant by inplace; -1: none.  NULL: 0. */
    int (*overwrites)(const struct tt_node *n);

    /* Fill attr from the file's attributes and integer operands.  NULL: has neither. */
    enum tt_code (*read)(struct tt_attrs *a, void *attr, struct tt_err *err);
    /* Check operands; set out->ndim, out->dim and the sizes in *n; out->dtype, which is operand 0's
     * before the call, if it is another.  Also called for every
     * smaller batch, for which it must pass if it passed for a larger one. */
    enum tt_code (*shape)(struct tt_node *n, struct tt_err *err);
    /* Of TT_STRIDED: the layout in which the result is operand 0's values in the same order in
     * memory, so that nothing is computed, whatever the sizes; -1: none.  The result's ndim is
     * known. */
    int (*same_order)(const struct tt_node *n);
    /* Write out->x and saved[] from in[]->x. */
    void (*forward)(struct tt_node *n);
    /* Which values backward reads, given whose in[]->g is wanted.  NULL: none. */
    unsigned (*reads)(const struct tt_node *n, const bool wants[TT_MAXIN]);
    /* Write, or add to where add[i], every non-NULL in[i]->g from out->g, from the last
     * operand to the first.  NULL: no gradient passes. */
    void (*backward)(struct tt_node *n);
    /* Floating-point operations of forward, or of backward, as the formula has them: two for each
     * multiply-add of a product, however it is computed.  NULL: it makes no products.  For
     * reports. */
    double (*flops)(const struct tt_node *n, bool backward);
};

/* Every operator there is, in the order of ops/ops.def; ends with NULL. */
extern const struct tt_op *const tt_ops[];

/* The operator of that name, or NULL. */
const struct tt_op *tt_op_find(const char *name);

/* How many of the first two operands, a product's, backward is asked the gradients of. */
static inline int tt_product_gradients(const struct tt_node *n)
{
    return (n->in[0]->g != NULL) + (n->in[1]->g != NULL);
}

/* Whether it gets a struct tt_norm. */
static inline bool tt_normalises(const struct tt_node *n)
{
    return n->op->norm && n->in[n->op->norm];
}

/* The operand where the result may lie, and whose gradient may lie where the result's does; -1:
 * none. */
static inline int tt_overwritten(const struct tt_node *n)
{
    return !n->op->inplace ? -1 : n->op->overwrites ? n->op->overwrites(n) : 0;
}

/* The value of v for this run's batch. */
static inline int64_t tt_now(struct tt_affine v, const struct tt_node *n)
{
    return v.a + v.b * n->batch;
}

#endif
