// SPDX-License-Identifier: Apache-2.0
#include "runtime/onnx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/fuse.h"
#include "runtime/onnx_rules.h"
#include "runtime/onnx_tensor.h"

#define NAME_MAX_BYTES 512

static enum tt_code no_memory(struct tt_err *err)
{
    return tt_fail(err, TT_ENOMEM, "out of memory");
}

const char *tt_onnx_node_name(const Onnx__NodeProto *node)
{
    if (node->name && node->name[0])
        return node->name;
    for (size_t i = 0; i < node->n_output; i++)
        if (node->output[i][0])
            return node->output[i];
    return "";
}

/* ---- symbols ---------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tt_symbol *)a)->name, ((const struct tt_symbol *)b)->name);
}

struct tt_symbol *tt_onnx_symbol(const struct tt_onnx *o, const char *name)
{
    struct tt_symbol key = {.name = name};

    if (!name || !o->nsymbols)
        return NULL;
    return (struct tt_symbol *)bsearch(&key, o->symbols, (size_t)o->nsymbols, sizeof key, by_name);
}

/* Names appear in messages and in JSON: short, and without control characters. */
static enum tt_code check_name(const char *name, const char *what, size_t index, struct tt_err *err)
{
    if (!name || !name[0])
        return tt_fail(err, TT_EPARSE, "%s %zu has no name", what, index);
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f || c - name >= NAME_MAX_BYTES)
            return tt_fail(err, TT_EPARSE, "the name of %s %zu is not at most %d printable bytes",
                           what, index, NAME_MAX_BYTES);
    return TT_OK;
}

static enum tt_code add_symbols(struct tt_onnx *o, struct tt_err *err)
{
    const Onnx__GraphProto *g = o->file;
    struct tt_symbol *s = o->symbols;

    for (size_t i = 0; i < g->n_input; i++) {
        if (check_name(g->input[i]->name, "input", i, err))
            return err->code;
        *s++ = (struct tt_symbol){
            .name = g->input[i]->name, .node = -1, .value = -1, .input = g->input[i]};
    }
    for (size_t i = 0; i < g->n_initializer; i++) {
        if (check_name(g->initializer[i]->name, "initializer", i, err))
            return err->code;
        *s++ = (struct tt_symbol){
            .name = g->initializer[i]->name, .node = -1, .value = -1, .tensor = g->initializer[i]};
    }
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *node = g->node[i];

        for (size_t k = 0; k < node->n_output; k++) {
            if (k && !node->output[k][0])
                continue;
            if (check_name(node->output[k], "a result of node", i, err))
                return err->code;
            *s++ = (struct tt_symbol){
                .name = node->output[k], .node = (int)i, .result = (int)k, .value = -1};
        }
    }
    o->nsymbols = (int)(s - o->symbols);
    return TT_OK;
}

/* Sort, and make one of an input and its initializer; any other name given twice is an error. */
static enum tt_code sort_symbols(struct tt_onnx *o, struct tt_err *err)
{
    int n = 0;

    qsort(o->symbols, (size_t)o->nsymbols, sizeof *o->symbols, by_name);
    for (int i = 0; i < o->nsymbols; i++) {
        struct tt_symbol *s = &o->symbols[i], *last = n ? &o->symbols[n - 1] : NULL;

        if (!last || strcmp(last->name, s->name) != 0) {
            o->symbols[n++] = *s;
            continue;
        }
        if (last->node >= 0 || s->node >= 0 || (last->input && s->input) ||
            (last->tensor && s->tensor))
            return tt_fail(err, TT_EPARSE, "the name '%s' is given twice", s->name);
        last->input = NULL; // the older form: an input with a default is a weight
        last->tensor = last->tensor ? last->tensor : s->tensor;
    }
    o->nsymbols = n;
    return TT_OK;
}

static enum tt_code make_symbols(struct tt_onnx *o, struct tt_err *err)
{
    const Onnx__GraphProto *g = o->file;
    size_t n = g->n_input + g->n_initializer, parts = g->n_output;

    for (size_t i = 0; i < g->n_node; i++) {
        n += g->node[i]->n_output;
        if (g->node[i]->n_input > TT_MAXIN) // as many at most that its parts become
            parts += g->node[i]->n_input;
        if (tt_onnx_is_ml(g->node[i]))
            parts += TT_ONNX_ML_VALUES;
    }
    parts += TT_ONNX_LOGIT_VALUES;
    if (n + parts > INT32_MAX / 2)
        return tt_fail(err, TT_ERANGE, "%zu names", n);
    o->symbols = TT_NEW(o->arena, n, struct tt_symbol);
    o->probes = TT_NEW(o->arena, n + parts, struct tt_probe);
    if (!o->symbols || !o->probes)
        return no_memory(err);
    return add_symbols(o, err) ? err->code : sort_symbols(o, err);
}

/* ---- order, and what is needed ---------------------------------------------- */

static enum tt_code check_node(struct tt_onnx *o, int i, struct tt_err *err)
{
    const Onnx__NodeProto *node = o->file->node[i];
    const char *name = tt_onnx_node_name(node);

    if (node->name && node->name[0] && check_name(node->name, "node", (size_t)i, err))
        return err->code;
    if (!node->n_output)
        return tt_fail(err, TT_EPARSE, "node '%s' (%d) has no result", name, i);
    if (check_name(node->op_type, "the operator of node", (size_t)i, err))
        return err->code;
    for (size_t k = 0; k < node->n_input; k++) {
        const struct tt_symbol *s;

        if (!node->input[k][0])
            continue;
        s = tt_onnx_symbol(o, node->input[k]);
        if (!s)
            return tt_fail(err, TT_EPARSE, "node '%s' uses '%s', which nothing makes", name,
                           node->input[k]);
        if (s->node >= i)
            return tt_fail(err, TT_EPARSE, "node '%s' uses '%s', which node '%s' makes only later",
                           name, s->name, tt_onnx_node_name(o->file->node[s->node]));
    }
    return TT_OK;
}

bool tt_onnx_needed(const struct tt_onnx *o, const Onnx__NodeProto *node)
{
    for (size_t k = 0; k < node->n_output; k++)
        if (node->output[k][0] && tt_onnx_symbol(o, node->output[k])->needed)
            return true;
    return false;
}

/* From the outputs backwards. */
static enum tt_code find_needed(struct tt_onnx *o, struct tt_err *err)
{
    const Onnx__GraphProto *g = o->file;

    if (!g->n_output)
        return tt_fail(err, TT_EPARSE, "the graph has no outputs");
    for (size_t i = 0; i < g->n_node; i++)
        if (check_node(o, (int)i, err))
            return err->code;
    for (size_t i = 0; i < g->n_output; i++) {
        if (check_name(g->output[i]->name, "output", i, err))
            return err->code;
        if (!tt_onnx_symbol(o, g->output[i]->name))
            return tt_fail(err, TT_EPARSE, "nothing makes output '%s'", g->output[i]->name);
    }
    if (tt_onnx_find_outputs(o, err))
        return err->code;
    for (int i = 0; i < o->noutputs; i++)
        o->outputs[i]->needed = true;
    for (size_t i = g->n_node; i-- > 0;) {
        const Onnx__NodeProto *node = g->node[i];

        if (!tt_onnx_needed(o, node))
            continue;
        for (size_t k = 0; k < node->n_input; k++)
            if (node->input[k][0])
                tt_onnx_symbol(o, node->input[k])->needed = true;
    }
    return TT_OK;
}

/* ---- inputs and weights ------------------------------------------------------ */

/* A dimension of an input; -1: the batch, which only the first may be. */
static enum tt_code read_dim(const Onnx__TensorShapeProto__Dimension *d, size_t i, int64_t *ret,
                             struct tt_err *err)
{
    bool named = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    bool known = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;

    if (known && d->dim_value > 0) {
        *ret = d->dim_value;
        return TT_OK;
    }
    if (known && d->dim_value < -1)
        return tt_fail(err, TT_ESHAPE, "dimension %zu is %lld", i, (long long)d->dim_value);
    if (i && named)
        return tt_fail(err, TT_EUNSUPPORTED, "dimension %zu is '%s': only the first may vary", i,
                       d->dim_param);
    if (i)
        return tt_fail(err, TT_EUNSUPPORTED, "dimension %zu is not known: only the first may vary",
                       i);
    *ret = -1;
    return TT_OK;
}

static enum tt_code read_input(struct tt_onnx *o, struct tt_symbol *s, struct tt_err *err)
{
    const Onnx__TypeProto *type = s->input->type;
    const Onnx__TypeProto__Tensor *t =
        type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ? type->tensor_type : NULL;
    int64_t dim[TT_MAXDIM];
    struct tt_probe shape;

    if (!t || !t->shape)
        return tt_fail(err, TT_EUNSUPPORTED, "%s",
                       t ? "its shape is not given" : "it is not a tensor");
    if (tt_onnx_class(t->elem_type) == TT_ONNX_OTHER)
        return tt_fail(err, TT_EUNSUPPORTED, "its type is %s, want floats, integers or BOOL",
                       tt_onnx_type_name(t->elem_type));
    if (t->shape->n_dim > TT_MAXDIM)
        return tt_fail(err, TT_EUNSUPPORTED, "%zu dimensions, at most %d are supported",
                       t->shape->n_dim, TT_MAXDIM);
    for (size_t i = 0; i < t->shape->n_dim; i++)
        if (read_dim(t->shape->dim[i], i, &dim[i], err))
            return err->code;
    if (tt_probe_set(&shape, s->name, (int)t->shape->n_dim, dim, NULL, err))
        return err->code;
    s->value = tt_graph_input(&o->draft, s->name, (int)t->shape->n_dim, dim);
    if (s->value < 0)
        return no_memory(err);
    shape.dtype = o->draft.values[s->value].dtype = tt_onnx_number(t->elem_type);
    o->probes[s->value] = shape;
    return TT_OK;
}

static enum tt_code read_inputs(struct tt_onnx *o, struct tt_err *err)
{
    for (size_t i = 0; i < o->file->n_input; i++) {
        struct tt_symbol *s = tt_onnx_symbol(o, o->file->input[i]->name);

        if (s->input && read_input(o, s, err))
            return tt_fail_in(err, "input '%s'", s->name);
    }
    return TT_OK;
}

enum tt_code tt_onnx_weight(struct tt_onnx *o, struct tt_symbol *s, enum tt_number dtype, int ndim,
                            const int64_t *dim, const float *data, struct tt_err *err)
{
    struct tt_probe shape;

    if (tt_probe_set(&shape, s->name, ndim, dim, data, err))
        return tt_fail_in(err, "tensor '%s'", s->name);
    s->value = tt_graph_weight(&o->draft, s->name, ndim, dim, data);
    if (s->value < 0)
        return no_memory(err);
    shape.dtype = o->draft.values[s->value].dtype = dtype;
    o->probes[s->value] = shape;
    return TT_OK;
}

static enum tt_code read_nodes(struct tt_onnx *o, struct tt_err *err)
{
    for (size_t i = 0; i < o->file->n_node; i++) {
        const Onnx__NodeProto *node = o->file->node[i];

        if (!tt_onnx_needed(o, node))
            continue;
        for (size_t k = 0; k < node->n_output; k++) {
            struct tt_symbol *s = node->output[k][0] ? tt_onnx_symbol(o, node->output[k]) : NULL;

            if (s && s->needed && tt_onnx_node(o, s, err))
                return err->code;
        }
    }
    return TT_OK;
}

/* ---- the model's graph -------------------------------------------------------- */

/* An output that a node of the file gives, but that is an input or a constant once the file is
 * read, is a copy of it. */
static enum tt_code copy_output(struct tt_onnx *o, struct tt_symbol *s, struct tt_err *err)
{
    struct tt_onnx_reading r = {.o = o, .err = err};
    int from, to;

    if (tt_onnx_number_weight(&r, s))
        return err->code;
    from = s->value;
    if (o->draft.values[from].kind == TT_WEIGHT) { // its name is the output's
        o->draft.values[from].name = tt_onnx_name(o, s->name, "value", err);
        if (!o->draft.values[from].name)
            return err->code;
    }
    to = tt_graph_node(&o->draft, tt_op_find("tt.Layout"), s->name, NULL, 1, &from, s->name);
    if (to < 0)
        return no_memory(err);
    o->probes[to] = o->probes[from];
    o->probes[to].data = NULL;
    s->value = to;
    return TT_OK;
}

/* An output as a value of the draft that a node makes, called as the file calls it, or "logits"
 * where they are made of it. */
static enum tt_code name_output(struct tt_onnx *o, struct tt_symbol *s, struct tt_err *err)
{
    const char *name = s->name;
    bool made = false;

    if (s->node < 0)
        return tt_fail(err, TT_EUNSUPPORTED, "output '%s' is %s, not the result of a node", s->name,
                       s->input ? "an input" : "a constant");
    if (o->source->logits && tt_onnx_logits(o, s, &made, err))
        return tt_fail_in(err, "output '%s'", s->name);
    if (made)
        name = tt_onnx_symbol(o, "logits") ? tt_onnx_name(o, s->name, "logits", err) : "logits";
    if (!name)
        return err->code;
    if ((s->value < 0 || o->draft.values[s->value].kind != TT_RESULT) && copy_output(o, s, err))
        return tt_fail_in(err, "output '%s'", s->name);
    for (int k = 0; k < o->draft.noutputs; k++)
        if (o->draft.outputs[k] == s->value)
            return tt_fail(err, TT_EUNSUPPORTED, "outputs '%s' and '%s' are the same value",
                           o->draft.values[s->value].name, s->name);
    o->draft.values[s->value].name = name;
    return tt_graph_output(&o->draft, s->value) ? TT_OK : no_memory(err);
}

static enum tt_code name_outputs(struct tt_onnx *o, struct tt_err *err)
{
    for (int i = 0; i < o->noutputs; i++)
        if (name_output(o, o->outputs[i], err))
            return err->code;
    return TT_OK;
}

const char *tt_onnx_name(struct tt_onnx *o, const char *name, const char *suffix,
                         struct tt_err *err)
{
    const size_t n = strlen(name) + strlen(suffix) + 2;
    char *to = TT_NEW(o->arena, n, char);

    if (to)
        snprintf(to, n, "%s %s", name, suffix);
    else
        (void)no_memory(err);
    return to;
}

static const char *keep_name(struct tt_model *m, const char *name)
{
    return tt_arena_strndup(&m->arena, name, strlen(name));
}

/* The model's value for a value of the draft; weights come where they are first used. */
static int emit_value(struct tt_onnx *o, int from, int *map)
{
    const struct tt_value *v = from < 0 ? NULL : &o->draft.values[from];
    const char *name;

    if (!v)
        return -1;
    if (map[from] < 0 && v->kind == TT_WEIGHT) {
        name = keep_name(o->model, v->name);
        if (name)
            map[from] = tt_graph_weight(&o->model->graph, name, v->ndim, v->dim, v->data);
        if (map[from] >= 0)
            o->model->graph.values[map[from]].dtype = v->dtype;
    }
    return map[from];
}

static bool emit_node(struct tt_onnx *o, const struct tt_gnode *node, int *map)
{
    const char *name = keep_name(o->model, node->name);
    const char *out = keep_name(o->model, o->draft.values[node->out].name);
    int in[TT_MAXIN];

    for (int i = 0; i < node->nin; i++) {
        in[i] = emit_value(o, node->in[i], map);
        if (in[i] < 0 && node->in[i] >= 0)
            return false;
    }
    if (!name || !out)
        return false;
    map[node->out] =
        tt_graph_node(&o->model->graph, node->op, name, node->attr, node->nin, in, out);
    if (map[node->out] < 0)
        return false;
    if (o->draft.values[node->out].data)
        tt_graph_known(&o->model->graph, map[node->out], &o->draft.values[node->out]);
    return true;
}

static bool emit_inputs(struct tt_onnx *o, int *map)
{
    for (int i = 0; i < o->draft.nvalues; i++) {
        const struct tt_value *v = &o->draft.values[i];
        const char *name;

        map[i] = -1;
        if (v->kind != TT_INPUT)
            continue;
        name = keep_name(o->model, v->name);
        map[i] = name ? tt_graph_input(&o->model->graph, name, v->ndim, v->dim) : -1;
        if (map[i] < 0)
            return false;
        o->model->graph.values[map[i]].dtype = v->dtype;
    }
    return true;
}

/* Copy what the outputs need: after folding, less than what the file's nodes need. */
static enum tt_code emit(struct tt_onnx *o, struct tt_err *err)
{
    int *map = TT_NEW(o->arena, o->draft.nvalues, int);
    bool *live = TT_NEW(o->arena, o->draft.nvalues, bool);

    if (!map || !live || !emit_inputs(o, map))
        return no_memory(err);
    for (int i = 0; i < o->draft.noutputs; i++)
        live[o->draft.outputs[i]] = true;
    for (int i = o->draft.nnodes; i-- > 0;)
        for (int k = 0; live[o->draft.nodes[i].out] && k < o->draft.nodes[i].nin; k++)
            if (o->draft.nodes[i].in[k] >= 0)
                live[o->draft.nodes[i].in[k]] = true;
    for (int i = 0; i < o->draft.nnodes; i++)
        if (live[o->draft.nodes[i].out] && !emit_node(o, &o->draft.nodes[i], map))
            return no_memory(err);
    for (int i = 0; i < o->draft.noutputs; i++)
        if (!tt_graph_output(&o->model->graph, map[o->draft.outputs[i]]))
            return no_memory(err);
    return TT_OK;
}

enum tt_code tt_onnx_import(struct tt_onnx *o, struct tt_err *err)
{
    tt_graph_init(&o->draft, o->arena);
    tt_graph_init(&o->model->graph, &o->model->arena);
    o->model->graph.opset = o->opset;
    if (make_symbols(o, err) || find_needed(o, err) || tt_onnx_fetch(o, err) ||
        read_inputs(o, err) || read_nodes(o, err) || name_outputs(o, err) ||
        tt_fuse(&o->draft, o->probes, &o->model->arena, err) || emit(o, err))
        return err->code;
    return tt_model_find_params(o->model, err);
}
