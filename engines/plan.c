// SPDX-License-Identifier: Apache-2.0
#include "engines/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engines/compiled.h"

static enum tt_code out_of_memory(struct tt_err *err)
{
    return tt_fail(err, TT_ENOMEM, "out of memory while compiling the policy for the model");
}

/* ---- what parts ask for ------------------------------------------------------------------- */

int tt_plan_logits(const struct tt_plan *p)
{
    return p->logits;
}

struct tt_graph *tt_plan_graph(struct tt_plan *p)
{
    return &p->graph;
}

int tt_plan_classes(const struct tt_plan *p)
{
    return p->classes;
}

int64_t tt_plan_selected(const struct tt_plan *p)
{
    return p->ntheta;
}

enum tt_code tt_plan_term(struct tt_plan *p, int value, struct tt_err *err)
{
    int both[2] = {p->loss, value};

    if (value >= 0 && p->loss >= 0)
        value = tt_graph_node(&p->graph, tt_op_find("Add"), "loss", NULL, 2, both, "loss");
    if (value < 0)
        return out_of_memory(err);
    p->loss = value;
    return TT_OK;
}

enum tt_code tt_plan_add_slice(struct tt_plan *p, const char *name, int ndim, const int64_t *dim,
                               int64_t *ret_offset, struct tt_err *err)
{
    struct tt_slice *s = &p->slices[p->nslices];

    if (p->nslices >= p->max_slices)
        return tt_fail(err, TT_ERANGE, "more than %d pieces of state", p->max_slices);
    *s = (struct tt_slice){.offset = p->nfloats, .n = 1, .ndim = ndim};
    s->name = tt_arena_strndup(&p->arena, name, strlen(name));
    if (!s->name)
        return out_of_memory(err);
    for (int i = 0; i < ndim; i++) {
        s->dim[i] = dim[i];
        s->n *= dim[i];
    }
    *ret_offset = s->offset;
    p->nfloats += s->n;
    p->nslices++;
    return TT_OK;
}

/* State of n floats, or of one float for each of theta's, cut as the parameters are. */
static enum tt_code add_state(struct tt_plan *p, const struct tt_use *u, const char *name,
                              int64_t n, int64_t *offset, struct tt_err *err)
{
    bool optimizer = u->part->slot == TT_OPTIMIZER;
    char whole[256];
    int64_t at;

    if (n >= 0) {
        snprintf(whole, sizeof whole, optimizer ? "o/%s" : "e/%s.%s/%s",
                 optimizer ? name : tt_slot_key(u->part->slot), u->part->name, name);
        return tt_plan_add_slice(p, whole, 1, &n, offset, err);
    }
    *offset = p->nfloats;
    for (int i = 0; i < p->nselected; i++) {
        const struct tt_param *q = &p->model->params[p->selected[i]];
        const struct tt_value *v = &p->graph.values[q->value];

        snprintf(whole, sizeof whole, optimizer ? "o/%s/%s" : "e/%s/%s", q->name, name);
        if (tt_plan_add_slice(p, whole, v->ndim, v->dim, &at, err) != TT_OK)
            return err->code;
    }
    return TT_OK;
}

int tt_plan_memory(struct tt_plan *p, const struct tt_use *u, enum tt_life life, const char *name,
                   int64_t n, float init)
{
    struct tt_handle *h = &p->handles[p->nhandles];
    struct tt_err err;

    if (p->nhandles >= p->max_handles)
        return -1;
    *h = (struct tt_handle){.life = life, .n = n < 0 ? p->ntheta : n, .init = init};
    if (life == TT_SCRATCH) {
        h->offset = p->nscratch;
        p->nscratch += h->n;
    } else if (add_state(p, u, name, n, &h->offset, &err) != TT_OK) {
        return -1;
    }
    return p->nhandles++;
}

float *tt_at(const struct tt_work *s, int handle)
{
    const struct tt_handle *h = &s->plan->handles[handle];

    return (h->life == TT_SCRATCH ? s->scratch : s->version) + h->offset;
}

/* ---- compiling ---------------------------------------------------------------------------- */

static enum tt_code find_ends(struct tt_plan *p, struct tt_err *err)
{
    const struct tt_graph *g = &p->graph;

    if (tt_inputs_of(g, &p->inputs, err) != TT_OK)
        return err->code;
    if (g->noutputs < 1)
        return tt_fail(err, TT_EUNSUPPORTED, "the model has no output, want logits as the first");
    p->logits = g->outputs[0];
    if (p->inputs.whole.dim[0] >= 0)
        p->limit = p->inputs.whole.dim[0]; // a model for one batch size
    return TT_OK;
}

static enum tt_code select_theta(struct tt_plan *p, struct tt_err *err)
{
    const struct tt_method *m = p->method;
    int64_t at = 0;

    if (tt_select_params(p->model, &m->select, m->file, &p->arena, &p->selected, &p->nselected,
                         err) != TT_OK)
        return err->code;
    for (int i = 0; i < p->nselected; i++)
        p->ntheta += p->model->params[p->selected[i]].n;
    p->theta0 = TT_NEW(&p->arena, p->ntheta + 1, float);
    p->grad = TT_NEW(&p->arena, p->ntheta + 1, float);
    if (!p->theta0 || !p->grad)
        return out_of_memory(err);
    for (int i = 0; i < p->nselected; i++) {
        const struct tt_param *q = &p->model->params[p->selected[i]];
        const struct tt_value *v = &p->graph.values[q->value];
        char name[256];

        snprintf(name, sizeof name, "p/%s", q->name);
        if (tt_plan_add_slice(p, name, v->ndim, v->dim, &at, err) != TT_OK)
            return err->code;
        memcpy(p->theta0 + at, v->data, sizeof(float) * (size_t)q->n);
    }
    return TT_OK;
}

static enum tt_code plan_parts(struct tt_plan *p, struct tt_err *err)
{
    const struct tt_method *m = p->method;

    for (int i = 0; i < m->nuses; i++) {
        struct tt_use *u = &p->uses[p->nuses++];

        *u = m->uses[i];
        if (u->part->plan && u->part->plan(p, u, err) != TT_OK)
            return tt_fail_in(err, "%s:%d:%d: %s", m->file ? m->file : "policy", u->line, u->col,
                              tt_slot_key(u->part->slot));
    }
    return TT_OK;
}

/* A pass without gradients, and one with, where there is something to learn by them. */
static enum tt_code make_programs(struct tt_plan *p, struct tt_err *err)
{
    int *values = TT_NEW(&p->arena, p->nselected + 1, int);
    struct tt_program_spec spec = {.graph = &p->graph,
                                   .limit = p->limit,
                                   .outputs = &p->logits,
                                   .noutputs = 1,
                                   .loss = -1,
                                   .variable = values,
                                   .nvariable = p->nselected,
                                   .exact = p->method->convolution == TT_CONVOLUTION_EXACT};

    if (!values)
        return out_of_memory(err);
    for (int i = 0; i < p->nselected; i++)
        values[i] = p->model->params[p->selected[i]].value;
    if (p->loss >= 0) {
        spec.loss = p->loss;
        spec.wanted = values;
        spec.nwanted = p->nselected;
        if (tt_program_new(&spec, &p->learn, err) != TT_OK)
            return err->code;
        spec.loss = -1;
        spec.nwanted = 0;
        spec.beside = p->learn;
    }
    if (tt_program_new(&spec, &p->infer, err) != TT_OK)
        return err->code;
    for (int i = 0; i < p->nselected; i++) {
        tt_program_bind(p->infer, values[i], p->work + p->slices[i].offset, NULL);
        if (p->learn)
            tt_program_bind(p->learn, values[i], p->work + p->slices[i].offset,
                            p->grad + p->slices[i].offset);
    }
    return TT_OK;
}

static enum tt_code check_logits(struct tt_plan *p, struct tt_err *err)
{
    const struct tt_tensor *z = tt_program_tensor(p->infer, p->logits);
    char shape[TT_SHAPE_TEXT];

    if (z->ndim != 2 || z->dim[0] != p->limit || z->dim[1] < 2)
        return tt_fail(err, TT_ESHAPE,
                       "output '%s' is %s, want logits [rows, classes] of 2 classes or more",
                       z->name, tt_shape_text(z->dim, z->ndim, shape, sizeof shape));
    if (p->classes && z->dim[1] != p->classes)
        return tt_fail(err, TT_ESHAPE, "output '%s' has %lld classes", z->name,
                       (long long)z->dim[1]);
    p->classes = (int)z->dim[1];
    p->labels = TT_NEW(&p->arena, p->limit, int32_t);
    p->mean_p = TT_NEW(&p->arena, p->classes, float);
    p->counts = TT_NEW(&p->arena, p->classes, int64_t);
    return p->labels && p->mean_p && p->counts ? TT_OK : out_of_memory(err);
}

static enum tt_code compile(struct tt_plan *p, struct tt_err *err)
{
    int64_t one = 1;

    p->max_slices = 8 * (p->model->nparams + p->model->graph.nnodes) + 64;
    p->max_handles = 4 * TT_MAXUSES;
    p->slices = TT_NEW(&p->arena, p->max_slices, struct tt_slice);
    p->handles = TT_NEW(&p->arena, p->max_handles, struct tt_handle);
    if (!p->slices || !p->handles)
        return out_of_memory(err);
    if (tt_graph_extend(&p->graph, &p->model->graph, &p->arena, err) != TT_OK ||
        find_ends(p, err) != TT_OK || select_theta(p, err) != TT_OK ||
        plan_parts(p, err) != TT_OK || tt_plan_add_stats(p, err) != TT_OK)
        return err->code;
    p->count = -1;
    if (p->method->every_updates > 0 &&
        tt_plan_add_slice(p, "e/reset/batches", 1, &one, &p->count, err) != TT_OK)
        return err->code;
    p->work = TT_NEW(&p->arena, p->nfloats + 1, float);
    p->scratch = TT_NEW(&p->arena, p->nscratch + 1, float);
    if (!p->work || !p->scratch)
        return out_of_memory(err);
    if (make_programs(p, err) != TT_OK || check_logits(p, err) != TT_OK)
        return err->code;
    return TT_OK;
}

enum tt_code tt_plan_new(const struct tt_model *model, const struct tt_method *method,
                         int64_t limit, struct tt_plan **ret, struct tt_err *err)
{
    struct tt_plan *p = (struct tt_plan *)calloc(1, sizeof *p);

    if (!p)
        return out_of_memory(err);
    tt_arena_init(&p->arena, 0);
    p->model = model;
    p->method = method;
    p->limit = limit;
    p->loss = -1;
    if (compile(p, err) != TT_OK) {
        tt_plan_free(p);
        return err->code;
    }
    *ret = p;
    return TT_OK;
}

void tt_plan_free(struct tt_plan *p)
{
    if (!p)
        return;
    tt_program_free(p->infer);
    tt_program_free(p->learn);
    tt_arena_release(&p->arena);
    free(p);
}

/* ---- what a plan tells -------------------------------------------------------------------- */

const struct tt_slice *tt_plan_slices(const struct tt_plan *p, int *ret_n)
{
    *ret_n = p->nslices;
    return p->slices;
}

int64_t tt_plan_floats(const struct tt_plan *p)
{
    return p->nfloats;
}

size_t tt_plan_bytes(const struct tt_plan *p)
{
    return p->arena.used + tt_program_bytes(p->infer) + (p->learn ? tt_program_bytes(p->learn) : 0);
}

int64_t tt_plan_room(int64_t rows)
{
    int64_t limit = 8;

    while (limit < rows)
        limit *= 2;
    return limit;
}

int64_t tt_plan_limit(const struct tt_plan *p)
{
    return p->limit;
}

void tt_plan_watch(struct tt_plan *p, void (*answered)(void *ctx), void *ctx)
{
    p->answered = answered;
    p->watcher = ctx;
}

void tt_plan_watch_nodes(struct tt_plan *p,
                         void (*done)(void *ctx, const struct tt_node *node, bool backward),
                         void *ctx)
{
    tt_program_watch(p->infer, done, ctx);
    if (p->learn)
        tt_program_watch(p->learn, done, ctx);
}

bool tt_plan_learns(const struct tt_plan *p)
{
    return p->learn || p->running;
}

void tt_plan_source(const struct tt_plan *p, float *version)
{
    memset(version, 0, sizeof *version * (size_t)p->nfloats);
    memcpy(version, p->theta0, sizeof *version * (size_t)p->ntheta);
    for (int i = 0; i < p->nhandles; i++)
        if (p->handles[i].life == TT_STATE)
            for (int64_t k = 0; k < p->handles[i].n; k++)
                version[p->handles[i].offset + k] = p->handles[i].init;
    for (int i = 0; p->running && i < p->nlayers; i++) {
        const struct tt_layer *l = &p->layers[i];

        memcpy(version + l->run_mean, l->mean, sizeof *version * (size_t)l->C);
        memcpy(version + l->run_var, l->var, sizeof *version * (size_t)l->C);
    }
}

const struct tt_value *tt_plan_input(const struct tt_plan *p)
{
    return &p->inputs.whole;
}

int64_t tt_plan_row(const struct tt_plan *p)
{
    return p->inputs.row;
}
