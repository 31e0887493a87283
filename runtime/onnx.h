// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_ONNX_H
#define TT_RUNTIME_ONNX_H

#include <onnx.pb-c.h>

#include "runtime/infer.h"
#include "runtime/model.h"

/*
 * A model being read from ONNX.  Every name of the file is a symbol; a node turns the symbols of
 * its operands into that of its result, which is a value of a draft graph or integers that are
 * folded.  What the outputs need of the draft becomes the model's graph.
 *
 * runtime/onnx_file.c reads the bytes, runtime/onnx.c the graph, runtime/onnx_node.c one node.
 */
struct tt_symbol {
    const char *name;
    int node;                        // that makes it; -1: an input or an initializer
    int result;                      // which of the node's results
    const Onnx__TensorProto *tensor; // an initializer that was not needed so far
    const Onnx__ValueInfoProto *input;
    bool needed;                // by an output, or by a node that is
    int value;                  // of the draft, or -1
    bool empty;                 // no floats: how exporters say that an operand is not given
    const struct tt_ints *ints; // or these; or both, when constant integers are operands, too
};

struct tt_onnx {
    const struct tt_model_source *source;
    struct tt_hash hash; // of all bytes that were read
    const Onnx__GraphProto *file;
    int opset;
    struct tt_model *model;  // owns weights, and what operators keep
    struct tt_arena *arena;  // for the time of reading: all else
    struct tt_graph draft;   // names are the file's
    struct tt_probe *probes; // [nsymbols], of the draft's values
    int nsymbols;
    struct tt_symbol *symbols; // sorted by name
};

/* The symbol of that name, or NULL. */
struct tt_symbol *tt_onnx_symbol(const struct tt_onnx *o, const char *name);

/* What to call a node in messages: its name, or its first result's. */
const char *tt_onnx_node_name(const Onnx__NodeProto *node);

/* Whether an output, or a node that is needed, uses a result of this one. */
bool tt_onnx_needed(const struct tt_onnx *o, const Onnx__NodeProto *node);

/* From the file's graph to the model's, with its parameters. */
TT_MUST_CHECK enum tt_code tt_onnx_import(struct tt_onnx *o, struct tt_err *err);

/* Read the tensors that are needed and lie in files beside the model.  The error names the tensor.
 */
TT_MUST_CHECK enum tt_code tt_onnx_fetch(struct tt_onnx *o, struct tt_err *err);

/* Make s a constant of the draft, from its initializer or from data; false is never a lack of
 * memory alone: *err is filled. */
TT_MUST_CHECK enum tt_code tt_onnx_weight(struct tt_onnx *o, struct tt_symbol *s,
                                          enum tt_number dtype, int ndim, const int64_t *dim,
                                          const float *data, struct tt_err *err);

/* Read what makes s, of a node whose operands are all known.  The error names the node. */
TT_MUST_CHECK enum tt_code tt_onnx_node(struct tt_onnx *o, struct tt_symbol *s, struct tt_err *err);

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

/* Have s as a weight or as integers: an initializer becomes one when it is first needed. */
TT_MUST_CHECK enum tt_code tt_onnx_load(struct tt_onnx_reading *r, struct tt_symbol *s);

/* Have s, which was loaded, as a value of the draft: integers become a constant like any other. */
TT_MUST_CHECK enum tt_code tt_onnx_number_weight(struct tt_onnx_reading *r, struct tt_symbol *s);

/* Fail unless there are min to max operands, the first min of them given. */
TT_MUST_CHECK enum tt_code tt_onnx_need(struct tt_onnx_reading *r, int min, int max);

/* The node's result is these integers. */
TT_MUST_CHECK enum tt_code tt_onnx_give_ints(struct tt_onnx_reading *r, const struct tt_ints *v);

#endif
