// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/constant.h"
#include "runtime/fold.h"
#include "runtime/onnx_rules.h"
#include "runtime/onnx_tensor.h"

static enum tt_code no_memory(struct tt_onnx_reading *r)
{
    return tt_fail(r->err, TT_ENOMEM, "out of memory");
}

#define CONSTANT_MAX ((int64_t)1 << 24) // elements that are computed when the model is read

#define ATTRIBUTE(t) ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__##t

/* ---- operands -------------------------------------------------------------- */

/* Integers that were computed from constants are as good as those that the file holds. */
static enum tt_code know_ints(struct tt_onnx_reading *r, struct tt_symbol *s)
{
    const struct tt_probe *p = s->value >= 0 ? &r->o->probes[s->value] : NULL;
    struct tt_ints *v;

    if (s->ints || !p || !p->data || p->dtype == TT_FLOATS || tt_probe_len(p) > TT_FOLD_MAX)
        return TT_OK;
    v = TT_NEW(r->o->arena, 1, struct tt_ints);
    if (!v || !tt_ints_new(r->o->arena, p->ndim, p->dim[0], v))
        return no_memory(r);
    for (int64_t i = 0; i < v->n; i++) {
        float x = p->data[i];

        if (!isfinite(x))
            return tt_fail(r->err, TT_ERANGE,
                           "element %lld of '%s', which is computed from constants, is %g: want an "
                           "integer",
                           (long long)i, s->name, (double)x);
        /* the largest of 64 bits, which means "to the end", was rounded up */
        v->v[i].a = x >= 0x1p63f ? INT64_MAX : x < -0x1p63f ? INT64_MIN : (int64_t)x;
    }
    s->ints = v;
    return TT_OK;
}

static enum tt_code find_operands(struct tt_onnx_reading *r)
{
    r->nin = (int)r->node->n_input;
    r->in = TT_NEW(r->o->arena, r->nin, struct tt_symbol *);
    if (!r->in)
        return no_memory(r);
    for (int i = 0; i < r->nin; i++) {
        if (!r->node->input[i][0])
            continue;
        r->in[i] = tt_onnx_symbol(r->o, r->node->input[i]); // there: the file was checked
        if (tt_onnx_load(r, r->in[i]))
            return r->err->code;
        if (r->in[i]->empty) {
            r->in[i] = NULL;
            continue;
        }
        if (know_ints(r, r->in[i]))
            return r->err->code;
        if (i < TT_MAXIN) {
            r->attrs.given[i] = true;
            r->attrs.ints[i] = r->in[i]->ints;
        }
    }
    r->attrs.nin = r->nin;
    r->attrs.result = r->out->result;
    r->attrs.nresults = (int)r->node->n_output;
    return TT_OK;
}

/* ---- attributes ------------------------------------------------------------ */

static const void *keep(struct tt_onnx_reading *r, const void *data, size_t n, size_t size)
{
    void *to = tt_arena_alloc(&r->o->model->arena, n, size);

    if (to && n)
        memcpy(to, data, n * size);
    return to;
}

static enum tt_code read_attribute(struct tt_onnx_reading *r, const Onnx__AttributeProto *from,
                                   struct tt_attr *to)
{
    const void *kept = "";

    if (from->ref_attr_name && from->ref_attr_name[0])
        return tt_fail(r->err, TT_EUNSUPPORTED, "attribute '%s' refers to a function's",
                       from->name ? from->name : "");
    *to = (struct tt_attr){.name = from->name ? from->name : "", .type = TT_AOTHER};
    switch ((int)from->type) {
    case ATTRIBUTE(INT):
        to->type = TT_AINT;
        to->i = from->i;
        break;
    case ATTRIBUTE(FLOAT):
        to->type = TT_AFLOAT;
        to->f = from->f;
        break;
    case ATTRIBUTE(STRING):
        to->type = TT_ASTR;
        if (memchr(from->s.data ? (const void *)from->s.data : "", 0, from->s.len))
            return tt_fail(r->err, TT_EPARSE, "attribute '%s' holds a NUL", to->name);
        kept = to->s = tt_arena_strndup(
            &r->o->model->arena, from->s.data ? (const char *)from->s.data : "", from->s.len);
        break;
    case ATTRIBUTE(INTS):
        to->type = TT_AINTS;
        to->n = (int64_t)from->n_ints;
        kept = to->ints = (const int64_t *)keep(r, from->ints, from->n_ints, sizeof(int64_t));
        break;
    case ATTRIBUTE(FLOATS):
        to->type = TT_AFLOATS;
        to->n = (int64_t)from->n_floats;
        kept = to->floats = (const float *)keep(r, from->floats, from->n_floats, sizeof(float));
        break;
    default:
        break;
    }
    return kept ? TT_OK : no_memory(r);
}

static enum tt_code read_attributes(struct tt_onnx_reading *r)
{
    struct tt_attrs *a = &r->attrs;

    *a = (struct tt_attrs){.arena = &r->o->model->arena, .opset = r->o->opset};
    a->list = TT_NEW(r->o->arena, r->node->n_attribute, struct tt_attr);
    if (!a->list)
        return no_memory(r);
    for (size_t i = 0; i < r->node->n_attribute; i++) {
        const Onnx__AttributeProto *from = r->node->attribute[i];

        if (read_attribute(r, from, &a->list[a->n]))
            return r->err->code;
        if (from->type == ATTRIBUTE(TENSOR) && from->t && !strcmp(a->list[a->n].name, "value"))
            r->tensor = from->t;
        a->n++;
    }
    return TT_OK;
}

/* ---- the others ------------------------------------------------------------- */

static bool all_ints(const struct tt_onnx_reading *r)
{
    int n = 0;

    for (int i = 0; i < r->nin; i++) {
        if (r->in[i] && !r->in[i]->ints)
            return false;
        n += r->in[i] != NULL;
    }
    return n > 0;
}

static enum tt_code run_fold(struct tt_onnx_reading *r, const struct tt_fold *f)
{
    const struct tt_ints **in = TT_NEW(r->o->arena, r->nin, const struct tt_ints *);
    struct tt_ints v;

    if (!in)
        return no_memory(r);
    for (int i = 0; i < r->nin; i++)
        in[i] = r->in[i] ? r->in[i]->ints : NULL;
    if (tt_fold_run(f, &r->attrs, r->nin, in, r->o->arena, &v, r->err))
        return r->err->code;
    return tt_onnx_give_ints(r, &v);
}

/* The operator's own struct, filled from attributes and integers. */
static enum tt_code read_attr(struct tt_onnx_reading *r, const struct tt_op *op, void **ret)
{
    void *attr = NULL;

    if (op->attr_size) {
        attr = tt_arena_alloc(&r->o->model->arena, 1, op->attr_size);
        if (!attr)
            return no_memory(r);
    }
    if (op->read && op->read(&r->attrs, attr, r->err))
        return r->err->code;
    *ret = attr;
    return tt_attrs_done(&r->attrs, r->err);
}

/* Small enough to compute with any batch. */
static enum tt_code check_size(struct tt_onnx_reading *r, int i)
{
    const struct tt_ints *v = r->in[i]->ints;

    for (int64_t k = 0; k < v->n; k++)
        if (v->v[k].b && (llabs(v->v[k].b) > INT32_MAX || llabs(v->v[k].a) > INT32_MAX))
            return tt_fail(r->err, TT_ERANGE, "operand %d, '%s', holds %lld + %lld * batch", i,
                           r->in[i]->name, (long long)v->v[k].a, (long long)v->v[k].b);
    return TT_OK;
}

enum tt_code tt_onnx_number_weight(struct tt_onnx_reading *r, struct tt_symbol *s)
{
    const struct tt_ints *v = s->ints;
    float *x;

    if (s->value >= 0)
        return TT_OK;
    if (tt_ints_fixed(v, s->name, r->err))
        return r->err->code;
    if (!v->n)
        return tt_fail(r->err, TT_ESHAPE, "'%s' has no elements", s->name);
    x = TT_NEW(&r->o->model->arena, v->n, float);
    if (!x)
        return no_memory(r);
    for (int64_t k = 0; k < v->n; k++) {
        if (!tt_onnx_exact(v->v[k].a))
            return tt_fail(r->err, TT_ERANGE, "'%s': element %lld is %lld, want at most 2^24",
                           s->name, (long long)k, (long long)v->v[k].a);
        x[k] = (float)v->v[k].a;
    }
    return tt_onnx_weight(r->o, s, TT_INTS, v->ndim, v->dim, x, r->err);
}

/* Integers that are known where the operator wants them; numbers elsewhere.  in[i]: values, -1 for
 * what is not given or known. */
static enum tt_code take_operands(struct tt_onnx_reading *r, const struct tt_op *op, int *in)
{
    for (int i = 0; i < r->nin; i++) {
        in[i] = -1;
        if (!r->in[i])
            continue;
        if (i < TT_MAXIN && op->ints & 1u << i) {
            if (!r->in[i]->ints)
                return tt_fail(r->err, TT_EUNSUPPORTED,
                               "operand %d, '%s', is not known when the model is read", i,
                               r->in[i]->name);
            if (check_size(r, i))
                return r->err->code;
            continue;
        }
        if (tt_onnx_number_weight(r, r->in[i]))
            return tt_fail_in(r->err, "operand %d", i);
        in[i] = r->in[i]->value;
        if (i < TT_MAXIN && op->known & 1u << i && !r->o->probes[in[i]].data)
            return tt_fail(r->err, TT_EUNSUPPORTED,
                           "operand %d, '%s', is not known when the model is read", i,
                           r->in[i]->name);
    }
    return TT_OK;
}

/* Nothing that goes into the result depends on what a run brings. */
static bool is_constant(const struct tt_onnx_reading *r, const struct tt_op *op, int nin,
                        const int *in, const struct tt_probe *result)
{
    if (op->norm || tt_probe_len(result) < 0 || tt_probe_len(result) > CONSTANT_MAX)
        return false;
    for (int i = 0; i < nin; i++) {
        const struct tt_ints *v = r->in[i] && op->ints & 1u << i ? r->in[i]->ints : NULL;

        for (int64_t k = 0; v && k < v->n; k++)
            if (v->v[k].b)
                return false;
        if (in[i] >= 0 && !r->o->probes[in[i]].data)
            return false;
    }
    return true;
}

/* A node of the draft, with what is known of its result; -1: *r->err is filled. */
static int append(struct tt_onnx_reading *r, const struct tt_op *op, const void *attr, int nin,
                  const int *in, const char *name)
{
    const struct tt_probe *probes[TT_MAXIN] = {NULL};
    struct tt_probe shape = {.name = name};
    int value;

    for (int i = 0; i < nin; i++)
        probes[i] = in[i] >= 0 ? &r->o->probes[in[i]] : NULL;
    if (tt_probe_node(op, r->name, attr, nin, probes, &shape, r->err))
        return -1;
    value = tt_graph_node(&r->o->draft, op, r->name, attr, nin, in, name);
    if (value < 0) {
        (void)no_memory(r);
        return -1;
    }
    if (is_constant(r, op, nin, in, &shape) &&
        tt_constant(&r->o->draft, value, &shape, &r->o->model->arena, r->err))
        return -1;
    r->o->probes[value] = shape;
    return value;
}

int tt_onnx_make(struct tt_onnx_reading *r, const char *op, int nin, const int *in, int nattrs,
                 struct tt_attr *list, const char *name)
{
    const struct tt_op *made = tt_op_find(op);
    struct tt_symbol *none[TT_MAXIN] = {NULL};
    struct tt_onnx_reading m = *r; // whose operands are values, and no symbols
    void *attr;

    m.nin = nin;
    m.in = none;
    m.attrs = (struct tt_attrs){.arena = &r->o->model->arena,
                                .n = nattrs,
                                .list = list,
                                .opset = 10,
                                .nresults = 1,
                                .nin = nin};
    for (int i = 0; i < nin; i++)
        m.attrs.given[i] = in[i] >= 0;
    if (read_attr(&m, made, &attr))
        return -1;
    return append(&m, made, attr, nin, in, name);
}

/* More operands than a node has: neighbours become groups, until one node takes what is left. */
static bool group(struct tt_onnx_reading *r, const struct tt_op *op, const void *attr, int *nin,
                  int *in)
{
    int made = 0;

    while (*nin > TT_MAXIN) {
        int n = 0;

        for (int i = 0; i < *nin; i += TT_MAXIN) {
            int left = *nin - i < TT_MAXIN ? *nin - i : TT_MAXIN;
            size_t room = strlen(r->out->name) + sizeof " part 1234567890";
            char *name = TT_NEW(r->o->arena, room, char);

            if (!name)
                return no_memory(r) == TT_OK;
            snprintf(name, room, "%s part %d", r->out->name, made++);
            in[n] = left > 1 ? append(r, op, attr, left, in + i, name) : in[i];
            if (in[n++] < 0)
                return false;
        }
        *nin = n;
    }
    return true;
}

enum tt_code tt_onnx_run_op(struct tt_onnx_reading *r, const struct tt_op *op)
{
    const int limit = op->associative ? r->nin : TT_MAXIN;
    int *in = TT_NEW(r->o->arena, r->nin, int), nin = r->nin, value;
    void *attr = NULL;

    if (!in)
        return no_memory(r);
    if (r->o->opset < op->opset)
        return tt_fail(r->err, TT_EUNSUPPORTED, "it is supported from opset %d on", op->opset);
    if (r->out->result && r->out->result >= op->results)
        return tt_fail(r->err, TT_EUNSUPPORTED,
                       "result %d, '%s', is used, and only the first %d are supported",
                       r->out->result, r->out->name, op->results ? op->results : 1);
    if (r->nin > limit)
        return tt_fail(r->err, TT_EUNSUPPORTED, "%d operands, at most %d are supported", r->nin,
                       TT_MAXIN);
    if (tt_onnx_need(r, op->min_in, op->associative ? r->nin : op->max_in))
        return r->err->code;
    for (int i = op->min_in; op->associative && i < r->nin; i++)
        if (!r->in[i])
            return tt_fail(r->err, TT_EPARSE, "operand %d is missing", i);
    if (take_operands(r, op, in) || read_attr(r, op, &attr))
        return r->err->code;
    if (!group(r, op, attr, &nin, in))
        return r->err->code;
    value = append(r, op, attr, nin, in, r->out->name);
    if (value < 0)
        return r->err->code;
    r->out->value = value;
    return TT_OK;
}

/* A table that grows with the batch is no shape: the model computes it as it runs. */
static enum tt_code fold_or_run(struct tt_onnx_reading *r, const struct tt_fold *fold,
                                const struct tt_op *op)
{
    const enum tt_code rc = run_fold(r, fold);
    struct tt_err why;

    if (!strcmp(r->node->op_type, "Range"))
        op = tt_op_find("tt.Range");
    else if (op && !op->opset)
        op = NULL;
    if (rc != TT_EUNSUPPORTED || !op)
        return rc;
    why = *r->err;
    if (tt_onnx_run_op(r, op) == TT_OK)
        return TT_OK;
    *r->err = why;
    return why.code;
}

static enum tt_code dispatch(struct tt_onnx_reading *r)
{
    const char *type = r->node->op_type;
    const struct tt_fold *fold = tt_fold_find(type);
    const struct tt_op *op = tt_op_find(type);
    tt_onnx_rule *rule = tt_onnx_find_rule(type);

    if (rule && r->out->result)
        return tt_fail(r->err, TT_EUNSUPPORTED,
                       "result %d, '%s', is used, and only the first is supported", r->out->result,
                       r->out->name);
    if (rule)
        return rule(r);
    if (fold && !r->out->result && all_ints(r))
        return fold_or_run(r, fold, op);
    if (op && op->opset)
        return tt_onnx_run_op(r, op);
    return tt_fail(r->err, TT_EUNSUPPORTED, "it is not supported for integers");
}

static bool known(const char *op)
{
    return tt_onnx_find_rule(op) || tt_fold_find(op) || (tt_op_find(op) && tt_op_find(op)->opset);
}

static bool default_domain(const char *domain)
{
    return !domain || !domain[0] || !strcmp(domain, "ai.onnx");
}

/* A node of scikit-learn's operators. */
static enum tt_code read_ml(struct tt_onnx_reading *r)
{
    const char *op = r->node->op_type, *why;
    tt_onnx_rule *rule = tt_onnx_find_ml_rule(op, &why);

    if (!rule)
        return tt_fail(r->err, TT_EUNSUPPORTED,
                       "node '%s': operator '%s' of domain 'ai.onnx.ml' (opset %d) is not "
                       "supported%s%s",
                       r->name, op, r->o->ml_opset, why ? ": " : "", why ? why : "");
    if (read_attributes(r) || find_operands(r) || rule(r) || tt_attrs_done(&r->attrs, r->err))
        return tt_fail_in(r->err, "node '%s': operator '%s' of domain 'ai.onnx.ml' (opset %d)",
                          r->name, op, r->o->ml_opset);
    return TT_OK;
}

enum tt_code tt_onnx_node(struct tt_onnx *o, struct tt_symbol *s, struct tt_err *err)
{
    const Onnx__NodeProto *node = o->file->node[s->node];
    struct tt_onnx_reading r = {
        .o = o, .node = node, .name = tt_onnx_node_name(node), .out = s, .err = err};
    const char *op = node->op_type;

    if (tt_onnx_is_ml(node))
        return read_ml(&r);
    if (!default_domain(node->domain))
        return tt_fail(err, TT_EUNSUPPORTED,
                       "node '%s': operator '%s' of domain '%s' is not supported", r.name, op,
                       node->domain);
    if (!known(op))
        return tt_fail(err, TT_EUNSUPPORTED, "node '%s': operator '%s' (opset %d) is not supported",
                       r.name, op, o->opset);
    if (read_attributes(&r) || find_operands(&r) || dispatch(&r))
        return tt_fail_in(err, "node '%s': operator '%s' (opset %d)", r.name, op, o->opset);
    return TT_OK;
}
