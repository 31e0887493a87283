// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_ATTR_H
#define TT_RUNTIME_ATTR_H

#include "base/arena.h"
#include "base/err.h"
#include "runtime/tensor.h"

/*
 * What a model file says of one node beside its float operands: attributes by
 * name, and the integer operands (a Reshape's shape, a Slice's starts), which
 * importers fold.  Integers may depend on the batch: each is a + b * batch.
 *
 * An operator's read() asks for what it knows; what nobody asked for is an error.
 */
struct tt_affine {
    int64_t a, b; // a + b * batch
};

struct tt_ints {
    int ndim; // 0 or 1 when used as an operand; more while folding
    int64_t dim[TT_MAXDIM];
    int64_t n; // elements
    struct tt_affine *v;
};

enum tt_attr_type { TT_AINT, TT_AFLOAT, TT_ASTR, TT_AINTS, TT_AFLOATS, TT_AOTHER };

struct tt_attr {
    const char *name;
    enum tt_attr_type type;
    int64_t i;
    float f;
    const char *s;
    int64_t n; // of ints, floats
    const int64_t *ints;
    const float *floats;
    bool used;               // somebody asked for it,
    enum tt_attr_type asked; // as this type
};

#define TT_MAXIN 8 // operands of a node; longer lists become several nodes when a model is read

struct tt_attrs {
    struct tt_arena *arena; // lives as long as the graph: for what read() must keep
    int n;
    struct tt_attr *list;
    int opset;            // of the default domain
    int result;           // which of the node's results is made
    int nresults;         // as written in the file, those without a name included
    int nin;              // operands as written in the file, missing optional ones included
    bool given[TT_MAXIN]; // operand i is there
    const struct tt_ints *ints[TT_MAXIN]; // operand i, where it is of integers
};

/* Each returns the value, or what is given as default.  An attribute of another type counts as
 * missing until tt_attrs_done() reports it.  Strings and arrays live as long as the graph. */
int64_t tt_attr_int(struct tt_attrs *a, const char *name, int64_t def);
float tt_attr_float(struct tt_attrs *a, const char *name, float def);
const char *tt_attr_str(struct tt_attrs *a, const char *name, const char *def);

/* The integers, or floats, and their number, or NULL and 0. */
const int64_t *tt_attr_ints(struct tt_attrs *a, const char *name, int64_t *ret_n);
const float *tt_attr_floats(struct tt_attrs *a, const char *name, int64_t *ret_n);

/* It is known, whatever type it has, and changes nothing. */
void tt_attr_ignore(struct tt_attrs *a, const char *name);

/* Fail, naming it, if there is an attribute that nobody asked for, or whose type was not
 * the one asked for. */
TT_MUST_CHECK enum tt_code tt_attrs_done(const struct tt_attrs *a, struct tt_err *err);

#endif
