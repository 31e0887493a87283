// SPDX-License-Identifier: Apache-2.0
/*
 * What of a file is adapted and answered: one value, the logits [rows, classes], of which softmax
 * makes probabilities.  A file may have more outputs than that, and its classifier may end in
 * probabilities, whose softmax is something else, and so is its entropy.
 *
 * The output is, of those that the file says to be floats of two dimensions, or nothing of, the one
 * named "logits", else the first whose rows are more than one number, else the first; else the
 * first of floats.  What a ZipMap makes dictionaries of is an output in place of its result.
 *
 * Where that has probabilities, its logits are
 *
 *   of Softmax z           z
 *   of Sigmoid z, one a row             0, z: the second class is what it is the probability of
 *   of Concat (1 - p, p)   0, z where p is Sigmoid z, one a row; else log
 *   of Exp z               z
 *   of v / sum v           log v, or the logits of v if it has some
 *   log: of what is at least the smallest normal number
 *
 * behind whatever only gives them another shape.  The logits of a LogSoftmax are its results as
 * they are.  Several Sigmoid a row are independent labels, and refused.
 */
#include <float.h>
#include <string.h>

#include "runtime/onnx_rules.h"
#include "runtime/onnx_tensor.h"
#include "runtime/ops/patterns.h"

/* ---- which output
 * ---------------------------------------------------------------------------------- */

/* How likely an output has logits; -1: it cannot. */
static int rank(const Onnx__ValueInfoProto *v)
{
    const Onnx__TypeProto *type = v->type;
    const Onnx__TypeProto__Tensor *t;
    const Onnx__TensorShapeProto__Dimension *d;

    if (type && type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
        return type->value_case == ONNX__TYPE_PROTO__VALUE__NOT_SET ? 2 : -1;
    t = type ? type->tensor_type : NULL;
    if (t && t->elem_type && tt_onnx_class(t->elem_type) != TT_ONNX_FLOAT)
        return -1;
    if (t && t->shape && t->shape->n_dim != 2)
        return 0;
    if (!t || !t->shape)
        return 2;
    d = t->shape->dim[1];
    return d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
                   d->dim_value == 1
               ? 1
           : strcmp(v->name, "logits") != 0 ? 2
                                            : 3;
}

/* The node of ai.onnx.ml that makes a result, of so many operands; or NULL. */
static const Onnx__NodeProto *ml_maker(const struct tt_onnx *o, const struct tt_symbol *s,
                                       const char *op, size_t operands)
{
    const Onnx__NodeProto *node = !s || s->node < 0 ? NULL : o->file->node[s->node];

    return node && tt_onnx_is_ml(node) && !strcmp(node->op_type, op) && node->n_input == operands
               ? node
               : NULL;
}

/* What s has in another form: a ZipMap's dictionaries, or one column of a classifier's two scores.
 * NULL: it has not. */
static struct tt_symbol *unwrap(const struct tt_onnx *o, const struct tt_symbol *s)
{
    const Onnx__NodeProto *zip = ml_maker(o, s, "ZipMap", 1);
    const Onnx__NodeProto *column = ml_maker(o, s, "ArrayFeatureExtractor", 2);
    struct tt_symbol *scores;
    const struct tt_symbol *which;

    if (zip)
        return zip->input[0][0] ? tt_onnx_symbol(o, zip->input[0]) : NULL;
    if (!column || !column->input[0][0] || !column->input[1][0])
        return NULL;
    scores = tt_onnx_symbol(o, column->input[0]);
    which = tt_onnx_symbol(o, column->input[1]);
    return ml_maker(o, scores, "LinearClassifier", 1) && scores->result == 1 && which->tensor &&
                   tt_onnx_count(which->tensor) == 1
               ? scores
               : NULL;
}

static enum tt_code no_logits(const struct tt_onnx *o, struct tt_err *err)
{
    const Onnx__ValueInfoProto *v = o->file->output[0];
    const bool tensor = v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;

    return tt_fail(err, TT_EUNSUPPORTED,
                   "no output has floats: '%s', the first of %zu, is %s; want logits [rows, "
                   "classes]",
                   v->name, o->file->n_output,
                   tensor ? tt_onnx_type_name(v->type->tensor_type->elem_type) : "no tensor");
}

/* The output that has logits, and the names of the others. */
static enum tt_code choose(struct tt_onnx *o, struct tt_err *err)
{
    const Onnx__GraphProto *g = o->file;
    struct tt_model *m = o->model;
    size_t best = 0;
    int most = -1;

    for (size_t i = 0; i < g->n_output; i++) {
        int r = unwrap(o, tt_onnx_symbol(o, g->output[i]->name)) ? 2 : rank(g->output[i]);

        if (r > most) {
            best = i;
            most = r;
        }
    }
    if (most < 0)
        return no_logits(o, err);
    m->left_out = TT_NEW(&m->arena, g->n_output, const char *);
    for (size_t i = 0; m->left_out && i < g->n_output; i++)
        if (i != best) {
            const char *name = g->output[i]->name;

            m->left_out[m->nleft] = tt_arena_strndup(&m->arena, name, strlen(name));
            if (!m->left_out[m->nleft++])
                return tt_fail(err, TT_ENOMEM, "out of memory");
        }
    if (!m->left_out)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    o->noutputs = 1;
    o->outputs[0] = tt_onnx_symbol(o, g->output[best]->name);
    if (unwrap(o, o->outputs[0]))
        o->outputs[0] = unwrap(o, o->outputs[0]);
    return TT_OK;
}

enum tt_code tt_onnx_find_outputs(struct tt_onnx *o, struct tt_err *err)
{
    const Onnx__GraphProto *g = o->file;

    o->outputs = TT_NEW(o->arena, g->n_output, struct tt_symbol *);
    if (!o->outputs)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (o->source->logits)
        return choose(o, err);
    o->noutputs = (int)g->n_output;
    for (int i = 0; i < o->noutputs; i++)
        o->outputs[i] = tt_onnx_symbol(o, g->output[i]->name);
    return TT_OK;
}

/* ---- from probabilities to logits
 * ------------------------------------------------------------------- */

#define HOPS 3 // nodes that give probabilities another shape, one behind the other

/* Logits being made. */
struct ends {
    struct tt_onnx_reading r; // of the output: names and errors
    int nviews;
    const struct tt_gnode *views[HOPS]; // behind the probabilities, the last first
    int made;
};

static const struct tt_gnode *maker(const struct ends *e, int value)
{
    const struct tt_graph *g = &e->r.o->draft;

    return value < 0 || g->values[value].kind != TT_RESULT ? NULL
                                                           : &g->nodes[g->values[value].node];
}

static bool is(const struct tt_gnode *n, const char *op)
{
    return n && !strcmp(n->op->name, op);
}

static const struct tt_probe *probe(const struct ends *e, int value)
{
    return &e->r.o->probes[value];
}

/* Two dimensions; *ret: how many classes. */
static bool is_rows(const struct ends *e, int value, int64_t *ret)
{
    const struct tt_probe *p = probe(e, value);

    *ret = p->ndim == 2 && p->dim[0][1] == p->dim[1][1] ? p->dim[0][1] : 0;
    return *ret > 0 && p->dtype == TT_FLOATS;
}

static bool is_view(const struct tt_gnode *n)
{
    return is(n, "Reshape") || is(n, "Flatten") || is(n, "Squeeze") || is(n, "Unsqueeze");
}

static int make(struct ends *e, const char *op, int in, struct tt_attr *list, int nattrs)
{
    char suffix[] = "logits 0";
    const char *name;

    suffix[sizeof suffix - 2] = (char)('0' + e->made++);
    name = tt_onnx_name(e->r.o, e->r.out->name, suffix, e->r.err);
    return name ? tt_onnx_make(&e->r, op, 1, &in, nattrs, list, name) : -1;
}

/* A value in the shape that the probabilities have behind the views. */
static int view(struct ends *e, int value)
{
    for (int i = e->nviews; i-- > 0 && value >= 0;) {
        const struct tt_gnode *n = e->views[i];
        struct tt_probe shape = {.name = n->name};
        const struct tt_probe *in[TT_MAXIN] = {probe(e, value)};
        int operands[TT_MAXIN] = {value};

        for (int k = 1; k < n->nin; k++) {
            operands[k] = n->in[k];
            in[k] = n->in[k] < 0 ? NULL : probe(e, n->in[k]);
        }
        if (tt_probe_node(n->op, n->name, n->attr, n->nin, in, &shape, e->r.err))
            return -1;
        shape.name = tt_onnx_name(e->r.o, e->r.o->draft.values[n->out].name, "logits", e->r.err);
        if (!shape.name)
            return -1;
        value =
            tt_graph_node(&e->r.o->draft, n->op, n->name, n->attr, n->nin, operands, shape.name);
        if (value < 0)
            (void)tt_fail(e->r.err, TT_ENOMEM, "out of memory");
        else
            e->r.o->probes[value] = shape;
    }
    return value;
}

/* log v, of v >= 0 */
static int make_log(struct ends *e, int v)
{
    struct tt_attr least = {.name = "min", .type = TT_AFLOAT, .f = FLT_MIN};
    int above = make(e, "Clip", v, &least, 1);

    return above < 0 ? -1 : make(e, "Log", above, NULL, 0);
}

/* 0, z of z [rows, 1] */
static int make_pair(struct ends *e, int z)
{
    static const int64_t pads[] = {0, 1, 0, 0};
    struct tt_attr one = {.name = "pads", .type = TT_AINTS, .n = 4, .ints = pads};

    return make(e, "Pad", z, &one, 1);
}

/* The number of which there is one. */
static bool is_one(const struct ends *e, int value)
{
    const struct tt_probe *p = probe(e, value);

    return p->data && tt_probe_len(p) == 1 && p->data[0] == 1;
}

/* p of Concat (1 - p, p), one a row; -1: it is not this. */
static int find_second(const struct ends *e, const struct tt_gnode *concat)
{
    const struct tt_gnode *sub = concat->nin == 2 ? maker(e, concat->in[0]) : NULL;
    int64_t n;

    if (!is(sub, "Sub") || sub->in[1] != concat->in[1] || !is_one(e, sub->in[0]))
        return -1;
    return is_rows(e, concat->in[1], &n) && n == 1 && is_rows(e, concat->out, &n) && n == 2
               ? concat->in[1]
               : -1;
}

/* Nothing that such an operator makes is below 0. */
static bool is_positive(const struct tt_gnode *n)
{
    return is(n, "Softmax") || is(n, "Sigmoid") || is(n, "Exp") || is(n, "Relu");
}

/* The v of v / sum v; scikit-learn's has something beside both where all are 0.  -1: it is not
 * this. */
static int find_summed(const struct ends *e, const struct tt_gnode *div)
{
    const struct tt_gnode *sum = maker(e, div->in[1]), *beside = maker(e, div->in[0]);
    int64_t n;

    if (is(sum, "Clip"))
        sum = maker(e, sum->in[0]);
    else if (is(sum, "Add") && is(beside, "Add"))
        sum = is(maker(e, sum->in[0]), "ReduceSum") ? maker(e, sum->in[0]) : maker(e, sum->in[1]);
    else
        beside = NULL;
    if (!is(sum, "ReduceSum") && !(is(sum, "ReduceL1") && is_positive(maker(e, sum->in[0]))))
        return -1;
    if (!is_rows(e, sum->out, &n) || n != 1)
        return -1;
    if (sum->in[0] == div->in[0] ||
        (is(beside, "Add") && (beside->in[0] == sum->in[0] || beside->in[1] == sum->in[0])))
        return div->in[0];
    return -1;
}

/* Logits of a value that has probabilities of so many classes, or -1: of *r.err, or it has none,
 * and that is TT_OK. */
static int of_sigmoid(struct ends *e, const struct tt_gnode *n, int64_t classes)
{
    if (classes == 1) {
        int z = view(e, n->in[0]);

        return z < 0 ? -1 : make_pair(e, z);
    }
    (void)tt_fail(e->r.err, TT_EUNSUPPORTED,
                  "made by %lld Sigmoid a row (node '%s'): independent labels, want one among "
                  "classes, as logits or Softmax",
                  (long long)classes, n->name);
    return -1;
}

static int of_pair(struct ends *e, int value, int second)
{
    const struct tt_gnode *p = maker(e, second);

    return is(p, "Sigmoid") ? make_pair(e, p->in[0]) : make_log(e, value);
}

static bool is_softmax(const struct ends *e, int value)
{
    const struct tt_gnode *n = maker(e, value);
    const struct tt_probe *p = probe(e, value);

    return is(n, "Softmax") && tt_softmax_is_row(n->attr, p->ndim, p->dim[0]);
}

/* The logits of `value`; value itself: it is not known to have probabilities; -1: *r.err. */
static int of(struct ends *e, int value, int64_t classes)
{
    const struct tt_gnode *n;
    int from = value, found;

    while (is_view(maker(e, from)) && e->nviews < HOPS) {
        e->views[e->nviews++] = maker(e, from);
        from = maker(e, from)->in[0];
    }
    n = maker(e, from);
    if (is_softmax(e, from))
        return view(e, n->in[0]);
    if (is(n, "Sigmoid"))
        return of_sigmoid(e, n, classes);
    if (e->nviews) // of rows from here on
        return value;
    if (is(n, "Exp"))
        return n->in[0];
    found = is(n, "Concat") ? find_second(e, n) : -1;
    if (found >= 0)
        return of_pair(e, from, found);
    found = is(n, "Div") ? find_summed(e, n) : -1;
    if (found < 0)
        return value;
    if (is_softmax(e, found))
        return maker(e, found)->in[0];
    n = maker(e, found);
    if (is(n, "Concat") && find_second(e, n) >= 0)
        return of_pair(e, found, find_second(e, n));
    return make_log(e, found);
}

enum tt_code tt_onnx_logits(struct tt_onnx *o, struct tt_symbol *s, bool *ret, struct tt_err *err)
{
    struct ends e = {.r = {.o = o, .name = s->name, .out = s, .err = err}};
    int64_t classes;
    int value;

    *ret = false;
    if (s->value < 0 || !is_rows(&e, s->value, &classes))
        return TT_OK;
    value = of(&e, s->value, classes);
    if (value < 0)
        return err->code;
    *ret = value != s->value;
    s->value = value;
    if (!*ret)
        return TT_OK;
    o->model->probabilities = tt_arena_strndup(&o->model->arena, s->name, strlen(s->name));
    return o->model->probabilities ? TT_OK : tt_fail(err, TT_ENOMEM, "out of memory");
}
