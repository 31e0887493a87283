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
 * runtime/onnx_file.c reads the bytes, runtime/onnx.c the graph, runtime/onnx_node.c one node,
 * runtime/onnx_ml.c one of scikit-learn's, runtime/onnx_logits.c what is adapted.
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
    int opset, ml_opset;     // of ONNX's own operators, and of ai.onnx.ml; -1: not imported
    struct tt_model *model;  // owns weights, and what operators keep
    struct tt_arena *arena;  // for the time of reading: all else
    struct tt_graph draft;   // names are the file's
    struct tt_probe *probes; // [nsymbols], of the draft's values
    int nsymbols;
    struct tt_symbol *symbols; // sorted by name
    int noutputs;
    struct tt_symbol **outputs; // those that the model has
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

/* Whether a node is of ai.onnx.ml: what skl2onnx and other converters of scikit-learn's models
 * write. */
bool tt_onnx_is_ml(const Onnx__NodeProto *node);

#define TT_ONNX_ML_VALUES 6 // of the draft that one of their nodes becomes, at most

/* Fill o->outputs: all of the file's, or that which has logits (runtime/onnx_logits.c). */
TT_MUST_CHECK enum tt_code tt_onnx_find_outputs(struct tt_onnx *o, struct tt_err *err);

#define TT_ONNX_LOGIT_VALUES 8 // of the draft that tt_onnx_logits makes, at most

/* Where s, an output that was read, has probabilities, let its value be their logits.  True in
 * *ret: it was so. */
TT_MUST_CHECK enum tt_code tt_onnx_logits(struct tt_onnx *o, struct tt_symbol *s, bool *ret,
                                          struct tt_err *err);

/* "NAME SUFFIX" in the arena of reading, or NULL: *err is filled. */
const char *tt_onnx_name(struct tt_onnx *o, const char *name, const char *suffix,
                         struct tt_err *err);

#endif
