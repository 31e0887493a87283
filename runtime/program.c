// SPDX-License-Identifier: Apache-2.0
#include "runtime/program.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/compile.h"

static void default_norms(struct tt_program *p)
{
    for (int i = 0; i < p->nnodes; i++) {
        struct tt_node *n = &p->nodes[i].n;

        if (!n->norm)
            continue;
        n->norm->prior = 1;
        n->norm->mean0 = n->in[n->op->norm]->x;
        n->norm->var0 = n->in[n->op->norm + 1]->x;
    }
}

enum tt_code tt_program_new(const struct tt_program_spec *spec, struct tt_program **ret,
                            struct tt_err *err)
{
    struct tt_program *p = (struct tt_program *)calloc(1, sizeof *p);

    if (!p)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    tt_arena_init(&p->arena, 0);
    p->graph = spec->graph;
    p->limit = p->batch = spec->limit;
    if (tt_compile(p, spec, err) != TT_OK || tt_plan_storage(p, err) != TT_OK) {
        tt_program_free(p);
        return err->code;
    }
    default_norms(p);
    *ret = p;
    return TT_OK;
}

void tt_program_free(struct tt_program *p)
{
    if (!p)
        return;
    tt_arena_release(&p->arena);
    free(p);
}

enum tt_code tt_program_resize(struct tt_program *p, int64_t n, struct tt_err *err)
{
    if (n == p->batch)
        return TT_OK;
    if (n < 1 || n > p->limit)
        return tt_fail(err, TT_ERANGE, "a batch of %lld rows, want 1 to %lld", (long long)n,
                       (long long)p->limit);
    for (int t = 0; t < p->ntensors; t++) {
        struct tt_ptensor *pt = &p->tensors[t];
        const struct tt_value *v = pt->input ? &p->graph->values[pt->value] : NULL;

        if (v && v->ndim > 0 && v->dim[0] < 0)
            pt->t.dim[0] = n;
        else if (v && n != p->limit)
            return tt_fail(err, TT_ESHAPE, "input '%s' is made for batches of %lld rows, not %lld",
                           v->name, (long long)v->dim[0], (long long)n);
    }
    p->batch = n;
    for (int i = 0; i < p->nnodes; i++) {
        struct tt_node *node = &p->nodes[i].n;

        node->batch = n;
        if (node->op->shape(node, err) != TT_OK)
            return tt_fail_in(err, "node '%s' (%s) at %lld rows", node->name, node->op->name,
                              (long long)n);
    }
    return TT_OK;
}

struct tt_tensor *tt_program_tensor(struct tt_program *p, int value)
{
    int t = value < 0 || value >= p->graph->nvalues ? -1 : p->of_value[value];

    return t < 0 ? NULL : &p->tensors[t].t;
}

void tt_program_bind(struct tt_program *p, int value, float *x, float *g)
{
    struct tt_tensor *t = tt_program_tensor(p, value);

    if (!t)
        return;
    t->x = x;
    if (g && t->g)
        t->g = g;
}

struct tt_norm *tt_program_norms(struct tt_program *p, int *ret_n)
{
    *ret_n = p->nnorms;
    return p->norms;
}

void tt_program_watch(struct tt_program *p,
                      void (*done)(void *ctx, const struct tt_node *node, bool backward), void *ctx)
{
    p->done = done;
    p->watcher = ctx;
}

static bool works_back(const struct tt_pnode *n)
{
    return n->backward && !(n->galias && n->alias);
}

static void run_forward(struct tt_program *p, int i)
{
    tt_plan_scratch(p, i, false);
    p->nodes[i].n.op->forward(&p->nodes[i].n);
}

static void run_backward(struct tt_program *p, int i)
{
    tt_plan_scratch(p, i, true);
    p->nodes[i].n.op->backward(&p->nodes[i].n);
}

static void forward_watched(struct tt_program *p)
{
    p->done(p->watcher, NULL, false);
    for (int i = 0; i < p->nnodes; i++)
        if (!p->nodes[i].alias) {
            run_forward(p, i);
            p->done(p->watcher, &p->nodes[i].n, false);
        }
}

static void backward_watched(struct tt_program *p)
{
    p->done(p->watcher, NULL, true);
    for (int i = p->nnodes - 1; i >= 0; i--)
        if (works_back(&p->nodes[i])) {
            run_backward(p, i);
            p->done(p->watcher, &p->nodes[i].n, true);
        }
}

void tt_program_forward(struct tt_program *p)
{
    if (p->done) {
        forward_watched(p);
        return;
    }
    for (int i = 0; i < p->nnodes; i++)
        if (!p->nodes[i].alias)
            run_forward(p, i);
}

void tt_program_backward(struct tt_program *p)
{
    if (p->loss < 0 || !p->tensors[p->loss].t.g)
        return;
    *p->tensors[p->loss].t.g = 1;
    if (p->done) {
        backward_watched(p);
        return;
    }
    for (int i = p->nnodes - 1; i >= 0; i--)
        if (works_back(&p->nodes[i]))
            run_backward(p, i);
}

size_t tt_program_bytes(const struct tt_program *p)
{
    return p->arena.used;
}
