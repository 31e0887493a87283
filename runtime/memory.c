// SPDX-License-Identifier: Apache-2.0
/*
 * One memory plan by liveness: everything that a run writes gets a slot with a first and a
 * last time; slots whose times do not overlap may share memory.  Largest first, each at the
 * lowest place that is free for its time (Pisarchyk and Lee 2020, greedy by size).
 */
#include "runtime/compile.h"

#include <stdlib.h>
#include <string.h>

#define ROUND 16 // floats: slots begin on a cache line

static int forever(const struct tt_program *p)
{
    return 2 * p->nnodes;
}

static int add_slot(struct tt_program *p, int64_t floats, int first, int last)
{
    p->slots[p->nslots] = (struct tt_store_slot){
        .floats = (floats + ROUND - 1) / ROUND * ROUND, .first = first, .last = last};
    return p->nslots++;
}

static void stretch(struct tt_store_slot *s, int first, int last)
{
    if (first < s->first)
        s->first = first;
    if (last > s->last)
        s->last = last;
}

/* When each tensor's values are read last. */
static void find_last_uses(struct tt_program *p)
{
    for (int i = 0; i < p->nnodes; i++) {
        struct tt_pnode *n = &p->nodes[i];
        int back = 2 * p->nnodes - 1 - i;

        for (int k = 0; k < n->n.nin; k++) {
            struct tt_ptensor *t;

            if (n->in[k] < 0)
                continue;
            t = &p->tensors[n->in[k]];
            if (t->last < i)
                t->last = i;
            if (n->backward && (n->reads & TT_READS_IN(k)) && t->last < back)
                t->last = back;
        }
        if (n->backward && (n->reads & TT_READS_OUT) && p->tensors[n->out].last < back)
            p->tensors[n->out].last = back;
    }
    for (int t = 0; t < p->ntensors; t++)
        if (p->tensors[t].output)
            p->tensors[t].last = forever(p);
        else if (p->tensors[t].input) // whole through a run, but not through another program's
            p->tensors[t].last = forever(p) - 1;
}

/* Whether the values of both lie in the same order.  What is broadcast may have fewer dimensions
 * than the result and as many elements; channels last, it lies in another order then. */
static bool same_order(const struct tt_tensor *a, const struct tt_tensor *b)
{
    return tt_len(a) == tt_len(b) && a->layout == b->layout &&
           (a->layout == TT_PLAIN || a->ndim == b->ndim);
}

/* The operand that a node may write over, because nothing reads its storage afterwards; -1: none.
 */
static int may_overwrite(const struct tt_program *p, int i)
{
    const struct tt_pnode *n = &p->nodes[i];
    const struct tt_ptensor *from, *to = &p->tensors[n->out];
    int at = tt_overwritten(&n->n);

    if (at < 0)
        return -1;
    from = &p->tensors[n->in[at]];
    if (from->xstore < 0 || !same_order(&from->t, &to->t) || p->slots[from->xstore].last > i)
        return -1;
    for (int k = 0; k < n->n.nin; k++) // an operand that lies there too would be destroyed
        if (k != at && n->in[k] >= 0 && p->tensors[n->in[k]].xstore == from->xstore)
            return -1;
    return at;
}

static void store_values(struct tt_program *p)
{
    for (int t = 0; t < p->ntensors; t++)
        if (p->tensors[t].input)
            p->tensors[t].xstore = add_slot(p, tt_len(&p->tensors[t].t), -1, p->tensors[t].last);
    for (int i = 0; i < p->nnodes; i++) {
        struct tt_pnode *n = &p->nodes[i];
        struct tt_ptensor *out = &p->tensors[n->out];
        int last = out->last > i ? out->last : i, at = n->alias ? 0 : may_overwrite(p, i);

        if (n->alias && p->tensors[n->in[0]].xstore < 0) {
            n->alias = false; // a weight is not ours to share
            at = -1;
        }
        if (at >= 0) {
            out->xstore = p->tensors[n->in[at]].xstore;
            stretch(&p->slots[out->xstore], i, last);
        } else {
            out->xstore = add_slot(p, tt_len(&out->t), i, last);
        }
    }
}

static void store_gradients(struct tt_program *p)
{
    if (p->loss >= 0 && p->tensors[p->loss].grad)
        p->tensors[p->loss].gfirst = p->nnodes;
    for (int i = p->nnodes - 1; i >= 0; i--) { // in backward order: results before operands
        struct tt_pnode *n = &p->nodes[i];
        struct tt_ptensor *out = &p->tensors[n->out];
        int now = 2 * p->nnodes - 1 - i, at = n->alias ? 0 : tt_overwritten(&n->n);

        if (!n->backward)
            continue;
        if (out->gstore < 0)
            out->gstore = add_slot(p, tt_len(&out->t), out->gfirst, now);
        for (int k = n->n.nin - 1; k >= 0; k--) {
            struct tt_ptensor *t;
            int last;

            if (n->in[k] < 0)
                continue;
            t = &p->tensors[n->in[k]];
            if (!t->grad || t->gstore >= 0)
                continue;
            last = t->wanted || t->node < 0 ? forever(p) : 2 * p->nnodes - 1 - t->node;
            if (k == at && !n->n.add[k] && !out->wanted &&
                (n->alias || same_order(&t->t, &out->t))) {
                t->gstore = out->gstore;
                n->galias = k == 0;
                stretch(&p->slots[t->gstore], now, last);
            } else {
                t->gstore = add_slot(p, tt_len(&t->t), now, last);
            }
        }
    }
}

/* The node beside that keeps the same from run to run: tables, and constant weights packed. */
static struct tt_pnode *twin_beside(const struct tt_program *p, const struct tt_pnode *n)
{
    const struct tt_program *other = p->beside;

    for (int i = 0; other && n->gnode >= 0 && i < other->nnodes; i++) {
        struct tt_pnode *o = &other->nodes[i];

        if (o->gnode == n->gnode)
            return o->n.op == n->n.op && o->n.nkept == n->n.nkept && other->exact == p->exact &&
                           other->limit == p->limit &&
                           !memcmp(o->n.constant, n->n.constant, sizeof n->n.constant)
                       ? o
                       : NULL;
    }
    return NULL;
}

static void store_node_memory(struct tt_program *p)
{
    for (int i = 0; i < p->nnodes; i++) {
        struct tt_pnode *n = &p->nodes[i];
        int back = 2 * p->nnodes - 1 - i;

        for (int k = 0; k < TT_MAXSAVED; k++)
            if (n->n.nsaved[k] && (n->backward || !n->n.op->saves_back))
                n->saved[k] = add_slot(p, n->n.nsaved[k], i, n->backward ? back : i);
        if (n->n.ntape && n->backward)
            n->tape = add_slot(p, n->n.ntape, i, back);
        if (n->n.nkept && !(twin_beside(p, n) && !n->backward))
            n->kept = add_slot(p, n->n.nkept + (n->backward ? n->n.nkept_back : 0), -1, forever(p));
        for (int k = 0; n->n.nscratch && k <= n->backward; k++)
            n->scratch[k] = add_slot(p, n->n.nscratch, k ? back : i, k ? back : i);
        if (tt_normalises(&n->n)) {
            int64_t C = tt_len(n->n.in[n->n.op->norm]);

            /* mean and variance of the batch, side by side */
            n->saved[TT_MAXSAVED - 1] =
                add_slot(p, 2 * ((C + ROUND - 1) / ROUND * ROUND), -1, forever(p));
        }
    }
}

static int by_size(const void *a, const void *b)
{
    const struct tt_store_slot *x = *(const struct tt_store_slot *const *)a;
    const struct tt_store_slot *y = *(const struct tt_store_slot *const *)b;

    if (x->floats != y->floats)
        return x->floats < y->floats ? 1 : -1;
    return x < y ? -1 : x > y;
}

/* The lowest offset at which s overlaps none of the placed slots that live at its time. */
static int64_t lowest_free(struct tt_store_slot **placed, int n, const struct tt_store_slot *s)
{
    int64_t at = 0;

    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < n; i++) {
            const struct tt_store_slot *o = placed[i];

            if (o->last < s->first || o->first > s->last || o->offset >= at + s->floats ||
                o->offset + o->floats <= at)
                continue;
            at = o->offset + o->floats;
            moved = true;
        }
    }
    return at;
}

static bool lasts(const struct tt_program *p, const struct tt_store_slot *s)
{
    return s->last >= forever(p);
}

/* Offsets of the slots that last, or of those that do not; returns how many floats they take. */
static int64_t place(const struct tt_program *p, struct tt_store_slot **order, bool lasting)
{
    int64_t most = 0;
    int n = 0;

    for (int i = 0; i < p->nslots; i++)
        if (lasts(p, &p->slots[i]) == lasting)
            order[n++] = &p->slots[i];
    qsort(order, (size_t)n, sizeof *order, by_size);
    for (int i = 0; i < n; i++) {
        order[i]->offset = lowest_free(order, i, order[i]);
        if (order[i]->offset + order[i]->floats > most)
            most = order[i]->offset + order[i]->floats;
    }
    return most;
}

static enum tt_code allocate(struct tt_program *p, struct tt_err *err)
{
    struct tt_store_slot **order = TT_NEW(&p->arena, p->nslots + 1, struct tt_store_slot *);

    if (!order)
        return tt_fail(err, TT_ENOMEM, "out of memory while planning memory");
    p->nblock = place(p, order, true);
    p->npassing = place(p, order, false);
    p->block = TT_NEW(&p->arena, p->nblock + 1, float);
    p->passing = p->beside && p->beside->npassing >= p->npassing
                     ? p->beside->passing
                     : TT_NEW(&p->arena, p->npassing + 1, float);
    if (!p->block || !p->passing)
        return tt_fail(err, TT_ENOMEM, "no memory for %lld MB of activations at %lld rows a batch",
                       (long long)((p->nblock + p->npassing) * 4 >> 20), (long long)p->limit);
    return TT_OK;
}

static float *at(const struct tt_program *p, int slot)
{
    const struct tt_store_slot *s = slot < 0 ? NULL : &p->slots[slot];

    return !s ? NULL : (lasts(p, s) ? p->block : p->passing) + s->offset;
}

static void point(struct tt_program *p)
{
    for (int t = 0; t < p->ntensors; t++) {
        struct tt_ptensor *pt = &p->tensors[t];

        if (pt->xstore >= 0)
            pt->t.x = at(p, pt->xstore);
        pt->t.g = pt->grad ? at(p, pt->gstore) : NULL;
    }
    for (int i = 0; i < p->nnodes; i++) {
        struct tt_node *n = &p->nodes[i].n;

        for (int k = 0; k < TT_MAXSAVED; k++)
            n->saved[k] = n->nsaved[k] ? at(p, p->nodes[i].saved[k]) : NULL;
        n->tape = at(p, p->nodes[i].tape);
        if (n->nkept)
            n->kept = p->nodes[i].kept < 0 ? twin_beside(p, &p->nodes[i])->n.kept
                                           : at(p, p->nodes[i].kept);
        if (n->norm) {
            int64_t C = tt_len(n->in[n->op->norm]);

            n->norm->batch_mean = at(p, p->nodes[i].saved[TT_MAXSAVED - 1]);
            n->norm->batch_var = n->norm->batch_mean + (C + ROUND - 1) / ROUND * ROUND;
        }
    }
}

void tt_plan_scratch(struct tt_program *p, int node, bool backward)
{
    p->nodes[node].n.scratch = at(p, p->nodes[node].scratch[backward]);
}

enum tt_code tt_plan_storage(struct tt_program *p, struct tt_err *err)
{
    p->max_slots = 2 * p->ntensors + (TT_MAXSAVED + 5) * p->nnodes + 1;
    p->slots = TT_NEW(&p->arena, p->max_slots, struct tt_store_slot);
    if (!p->slots)
        return tt_fail(err, TT_ENOMEM, "out of memory while planning memory");
    find_last_uses(p);
    store_values(p);
    if (p->loss >= 0)
        store_gradients(p);
    store_node_memory(p);
    if (allocate(p, err) != TT_OK)
        return err->code;
    point(p);
    return TT_OK;
}
