// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_MODEL_H
#define TT_RUNTIME_MODEL_H

#include "base/hash.h"
#include "runtime/feed.h"
#include "runtime/graph.h"

/*
 * A model is an immutable graph with named parameters, loaded from a file and shared by
 * everybody.  A parameter is a weight that a person would call one: it has a kind, after
 * the operator that uses it, and a member, after the operand that it is.
 */
#define TT_KINDS(X) /* the name in policies, what it is */ \
    X(TT_KIND_BN, "bn", "batch normalisation")             \
    X(TT_KIND_LN, "ln", "layer normalisation")             \
    X(TT_KIND_GN, "gn", "group normalisation")             \
    X(TT_KIND_IN, "in", "instance normalisation")          \
    X(TT_KIND_CONV, "conv", "convolution")                 \
    X(TT_KIND_LINEAR, "linear", "matrix product")          \
    X(TT_KIND_EMBEDDING, "embedding", "rows by number")    \
    X(TT_KIND_OTHER, "other", "anything else")

#define TT_KIND_ENUM(kind, name, help) kind,
enum tt_kind { TT_KINDS(TT_KIND_ENUM) TT_NKINDS };
#undef TT_KIND_ENUM

enum tt_member {
    TT_MEMBER_WEIGHT,
    TT_MEMBER_BIAS,
    TT_MEMBER_MEAN, // running statistics, which are never selected
    TT_MEMBER_VAR,
    TT_MEMBER_OTHER,
};

struct tt_param {
    int value; // of the graph
    const char *name;
    enum tt_kind kind;
    enum tt_member member;
    int64_t n;     // scalars
    int node;      // that uses it first,
    int operand;   // as this operand
    int uses;      // how many nodes use it
    int norms;     // how many of them are normalisations
    bool unmerged; // one of several that were a single tensor in the file
    int twin;      // another parameter with the same values, perhaps transposed; -1: none
};

struct tt_model {
    struct tt_arena arena;
    struct tt_graph graph;
    char hash[TT_HASH_HEX + 1]; // of the file's bytes, and of those it has in files beside it
    int ir_version;
    char producer[64];
    const char *probabilities; // the file's output that is the softmax of the graph's first; NULL:
                               // none is, and the graph's outputs are the file's
    int nleft;
    const char **left_out; // outputs of the file that are not computed
    int nparams;
    struct tt_param *params; // in graph order
};

const char *tt_kind_name(enum tt_kind kind);
const char *tt_member_name(enum tt_member member);

/* Where a model is read from.  Weights go from here to where they stay, so that loading takes their
 * size once. */
struct tt_model_source {
    struct tt_feed file;
    /* Write n bytes at offset of another file to to: the model calls it location, a path relative
     * to the model's folder that does not name a way out of it.  NULL: there are no others. */
    enum tt_code (*beside)(void *folder, const char *location, uint64_t offset, void *to, size_t n,
                           struct tt_err *err);
    void *folder;
    /* The model's only output is that of the file which has logits, or probabilities, of which the
     * logits are taken (runtime/onnx_logits.c), and only what it needs is read.  False: every
     * output is read as it is. */
    bool logits;
};

/* Build a model from an ONNX file (opset 1 to 25) and what it has beside it.
 * The error names node, operator and opset, or the tensor, or the byte.
 * limit bounds the file, and the memory of the result in bytes; 0: no bound. */
TT_MUST_CHECK enum tt_code tt_model_read(const struct tt_model_source *source, size_t limit,
                                         struct tt_model **ret, struct tt_err *err);

/* The same, with all outputs, from the bytes of a file that has nothing beside it; nothing of data
 * is kept. */
TT_MUST_CHECK enum tt_code tt_model_read_onnx(const void *data, size_t n, size_t limit,
                                              struct tt_model **ret, struct tt_err *err);

/* An empty model, to be built by hand and then given to tt_model_find_params(); its arena holds at
 * most limit bytes, 0: no bound.  NULL: out of memory. */
struct tt_model *tt_model_new(size_t limit);
void tt_model_free(struct tt_model *m); // NULL is nothing

bool tt_member_is_stat(enum tt_member member);

/* The path of the node that uses a parameter first, and what it does: for people. */
const char *tt_param_place(const struct tt_model *m, const struct tt_param *p);

/* Fill params from the graph: kinds and members by the nodes that use the weights (role.h).
 *
 * Exporters make one tensor of several that hold the same values, as the weights of fresh
 * normalisations and biases do.  A tensor of one value throughout that several nodes take as
 * such is therefore made several again, of which each but the first is named after its node:
 * "layer.1.norm.weight" for /layer.1/norm/LayerNormalization.  They share their values' memory.
 * A table of embeddings whose values a product holds, too, was one parameter before the exporter
 * folded a transposition: each is told the other as its twin. */
TT_MUST_CHECK enum tt_code tt_model_find_params(struct tt_model *m, struct tt_err *err);

#endif
