// SPDX-License-Identifier: Apache-2.0
#ifndef TT_ENGINES_PART_H
#define TT_ENGINES_PART_H

#include "base/err.h"
#include "config/field.h"
#include "runtime/graph.h"

struct tt_plan; // a policy's method compiled for one model and a largest batch; engines/plan.h

/*
 * A part is one building block of adaptation methods: a loss term, an optimizer.
 * A slot is a key of the policy file and a phase of the step; a method is a list of parts.
 * plan() alone may fail and ask for memory.  run() does neither and keeps nothing but what
 * plan() declared as state, so a version is one block of numbers: copying it is a snapshot,
 * and a step from a copied block repeats bit for bit.
 */

/*    slot          key in YAML   what names the part   a list?    may write */
#define TT_SLOTS(X)                                                         \
    X(TT_OBJECTIVE, "objective", "term", true)  /* (plan: loss nodes)    */ \
    X(TT_OPTIMIZER, "optimizer", "kind", false) /* theta, from grad      */

#define TT_SLOT_ENUM(slot, key, named_by, list) slot,
enum tt_slot { TT_SLOTS(TT_SLOT_ENUM) TT_NSLOTS };
#undef TT_SLOT_ENUM

enum tt_life {
    TT_STATE,   // in every version; starts as init
    TT_SCRATCH, // until the step ends
};

/* One step under way. */
struct tt_work {
    const struct tt_plan *plan;
    float *version; // working copy of the state block; published if all goes well
    float *scratch; // what TT_SCRATCH handles point into
    int classes;    // C
    int eval;       // losses before this one in this update
    int64_t rows;   // of the batch being learnt from
    double loss;
    bool bad;            // something was not finite: forget the step
    float *theta, *grad; // [ntheta], the selected parameters, flat
    const float *theta0; // [ntheta], their source values
    int64_t ntheta;
};

/* One use of a part by one method. */
struct tt_use {
    const struct tt_part *part;
    const void *options; // as its field table filled them; NULL when it has none
    int line, col;       // in the policy file
    int h[4];            // handles that plan() got
};

struct tt_part {
    const char *name, *help, *source; // source: paper, equation, commit
    enum tt_slot slot;
    const struct tt_field *options; // NULL: has none
    size_t options_size;
    /* Ask for memory, append nodes, refuse what cannot work.  NULL: no need. */
    enum tt_code (*plan)(struct tt_plan *p, struct tt_use *u, struct tt_err *err);
    /* Its turn in a step.  NULL: plan() said it all. */
    void (*run)(const struct tt_use *u, struct tt_work *s);
};

extern const struct tt_part *const tt_parts[]; // in the order of parts.def; ends with NULL

/* The part of that name in that slot, or NULL. */
const struct tt_part *tt_part_find(enum tt_slot slot, const char *name);

const char *tt_slot_key(enum tt_slot slot);
const char *tt_slot_named_by(enum tt_slot slot); // "term", "kind"
bool tt_slot_is_list(enum tt_slot slot);

/* For plan(): the value of the graph that holds the logits [n, C] of the pass learnt from, the
 * graph itself, and C and the number of scalars of theta. */
int tt_plan_logits(const struct tt_plan *p);
struct tt_graph *tt_plan_graph(struct tt_plan *p);
int tt_plan_classes(const struct tt_plan *p);
int64_t tt_plan_selected(const struct tt_plan *p);

/* Add a loss term: a value of one element, the mean over rows where it has rows.
 * Fails when memory runs out (value < 0 counts as that). */
TT_MUST_CHECK enum tt_code tt_plan_term(struct tt_plan *p, int value, struct tt_err *err);

/* n floats; name is the part's own, the plan puts slot and part before it.
 * n < 0: as many as theta, stored beside each parameter.  Returns a handle, -1: out of memory. */
int tt_plan_memory(struct tt_plan *p, const struct tt_use *u, enum tt_life life, const char *name,
                   int64_t n, float init);

/* For run(): the memory of a handle. */
float *tt_at(const struct tt_work *s, int handle);

#endif
