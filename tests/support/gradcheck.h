// SPDX-License-Identifier: Apache-2.0
#ifndef TT_TESTS_SUPPORT_GRADCHECK_H
#define TT_TESTS_SUPPORT_GRADCHECK_H

#include "runtime/op.h"

/*
 * An operator's backward against central differences of its forward.  The cases are tables in
 * tests/runtime/ops/grad_*.c, which tests/runtime/test_op.c runs; a table ends with an empty row.
 * A shape's dimensions all differ, so that a mix-up shows.
 */
#define GRAD_H         5e-3 // step: float32 forward, sums in double
#define GRAD_TOLERANCE 5e-3
#define GRAD_ATTRS     8

/* Statistics of a batch normalisation, as struct tt_norm has them. */
enum gradstats { NONE, SOURCE, BATCH, BLEND, PART };

/* What an operand's values are drawn from. */
enum gradvalues {
    ANY,      // (-1, 1), not near the kink of a Relu
    NONZERO,  // 1 to 2, of either sign
    POSITIVE, // 0.5 to 2
    SPREAD,   // no two nearer than four steps
};

struct gradcase {
    const char *op, *what;
    int nin;
    int64_t dims[TT_MAXIN][TT_MAXDIM + 1]; // ndim first; -1: the operand is not given
    struct tt_attr attrs[GRAD_ATTRS];
    const struct tt_ints *ints[TT_MAXIN]; // integer operands, behind the float ones
    enum gradstats stats;
    unsigned fixed; // bit i: operand i gets no gradient
    enum gradvalues values[TT_MAXIN];
    const float *given[TT_MAXIN]; // or these very values
    unsigned integers;            // bit i: operand i is of integers
    int opset;                    // 0: 13
    int result, results;          // which of how many; 0, 0: the only one
    bool exact;                   // as struct tt_node has it
};

#define INTS(list)                                                                             \
    {                                                                                          \
        .ndim = 1, .dim = {sizeof(list) / sizeof *(list)}, .n = sizeof(list) / sizeof *(list), \
        .v = (list)                                                                            \
    }
#define AINTS(name_, v)                                                            \
    {                                                                              \
        .name = name_, .type = TT_AINTS, .n = sizeof(v) / sizeof *(v), .ints = (v) \
    }
#define AINT(name_, v)                           \
    {                                            \
        .name = name_, .type = TT_AINT, .i = (v) \
    }
#define AFLOAT(name_, v)                           \
    {                                              \
        .name = name_, .type = TT_AFLOAT, .f = (v) \
    }

#define ASTR(name_, v)                           \
    {                                            \
        .name = name_, .type = TT_ASTR, .s = (v) \
    }

/* Worst |backward - differences| over 1 + |differences|, of every element of every operand;
 * op is the case's, or one to be tested in its place. */
double tt_gradcheck(const struct tt_op *op, const struct gradcase *c, enum tt_layout layout,
                    bool add);

#endif
