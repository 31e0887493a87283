// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_ONNX_RULES_H
#define TT_RUNTIME_ONNX_RULES_H

#include "runtime/onnx.h"

/*
 * How a node of the file becomes values of the draft: by an operator of the runtime's, by what
 * folds integers, or by a rule of its own.
 */

/* One node on its way: its operands as symbols, its attributes as ours. */
struct tt_onnx_reading {
    struct tt_onnx *o;
    const Onnx__NodeProto *node;
    const char *name;
    int nin;
    struct tt_symbol **in; // NULL: not given
    struct tt_symbol *out;
    struct tt_attrs attrs;
    const Onnx__TensorProto *tensor; // the attribute "value"
    struct tt_err *err;
};

typedef enum tt_code tt_onnx_rule(struct tt_onnx_reading *r);

/* The rule (runtime/onnx_rules.c) of an operator that is not computed when a model runs, as
 * Constant, Shape, Cast, Identity; or NULL. */
tt_onnx_rule *tt_onnx_find_rule(const char *op);

/* The result is what op makes of the operands when the model runs; or, if they are all constants,
 * what it makes of them now. */
TT_MUST_CHECK enum tt_code tt_onnx_run_op(struct tt_onnx_reading *r, const struct tt_op *op);

/* The rule (runtime/onnx_ml.c) of an operator of the domain ai.onnx.ml that is made of ONNX's own,
 * or NULL; then, if anything more is to be said of it, what to do instead is in *ret_why. */
tt_onnx_rule *tt_onnx_find_ml_rule(const char *op, const char **ret_why);

/* Append a node of op to the draft, with list as the attributes that it has in opset 10 and nin
 * operands, values of the draft; name: its result's.  Returns that, or -1: *r->err is filled. */
int tt_onnx_make(struct tt_onnx_reading *r, const char *op, int nin, const int *in, int nattrs,
                 struct tt_attr *list, const char *name);

/* Have s as a weight or as integers: an initializer becomes one when it is first needed. */
TT_MUST_CHECK enum tt_code tt_onnx_load(struct tt_onnx_reading *r, struct tt_symbol *s);

/* Have s, which was loaded, as a value of the draft: integers become a constant like any other. */
TT_MUST_CHECK enum tt_code tt_onnx_number_weight(struct tt_onnx_reading *r, struct tt_symbol *s);

/* Fail unless there are min to max operands, the first min of them given. */
TT_MUST_CHECK enum tt_code tt_onnx_need(struct tt_onnx_reading *r, int min, int max);

/* The node's result is these integers. */
TT_MUST_CHECK enum tt_code tt_onnx_give_ints(struct tt_onnx_reading *r, const struct tt_ints *v);

#endif
