// SPDX-License-Identifier: Apache-2.0
#ifndef TT_ENGINES_PLAN_H
#define TT_ENGINES_PLAN_H

#include "engines/method.h"

/*
 * A plan is a method compiled for one model and a largest batch: the selected parameters as
 * one flat theta, the passes, the parts in order, and the layout of a version, which is one
 * block of float32.  It holds activations, so one thread uses a plan at a time; streams of
 * the same model and method share it, since all that is theirs is in their versions.
 *
 * Sections of a version, as the names in its table begin: "p/" parameters, "o/" optimizer,
 * "s/" running statistics, "e/" anything else.
 */
struct tt_slice {
    const char *name; // "p/bn1.weight", "o/bn1.weight/exp_avg", "s/bn1.running_mean"
    int64_t offset;   // in floats
    int64_t n;
    int ndim;
    int64_t dim[TT_MAXDIM];
};

/* Compile.  What cannot work is refused with file:line:col of the policy.  The method and the
 * model must outlive the plan.  On success *ret is the caller's. */
TT_MUST_CHECK enum tt_code tt_plan_new(const struct tt_model *model, const struct tt_method *method,
                                       int64_t limit, struct tt_plan **ret, struct tt_err *err);
void tt_plan_free(struct tt_plan *p);

/* The largest batch to compile a plan for that must take so many rows: batches that grow compile
 * few plans.  A power of two, from 8 on. */
int64_t tt_plan_room(int64_t rows);

const struct tt_slice *tt_plan_slices(const struct tt_plan *p, int *ret_n);
int64_t tt_plan_floats(const struct tt_plan *p); // of a version
size_t tt_plan_bytes(const struct tt_plan *p);   // that the plan itself holds
int64_t tt_plan_limit(const struct tt_plan *p);
bool tt_plan_learns(const struct tt_plan *p); // there is an objective, or statistics that track

/* Call answered(ctx) in each step, as soon as the rows that come before learning are answered: for
 * whoever has a clock.  NULL: do not. */
void tt_plan_watch(struct tt_plan *p, void (*answered)(void *ctx), void *ctx);

/* Have every node of its programs watched (runtime/program.h): for profiles.  NULL: do not. */
void tt_plan_watch_nodes(struct tt_plan *p,
                         void (*done)(void *ctx, const struct tt_node *node, bool backward),
                         void *ctx);

/* Write the initial version: source parameters, parts' initial states.  [tt_plan_floats] */
void tt_plan_source(const struct tt_plan *p, float *version);

/* What the model takes, and its number of floats a row: images or features, or several inputs as
 * one matrix (runtime/inputs.h). */
const struct tt_value *tt_plan_input(const struct tt_plan *p);
int64_t tt_plan_row(const struct tt_plan *p);

/* The compiled step for people: passes, parts in order, bytes a version.  In arena. */
const char *tt_plan_explain(const struct tt_plan *p, struct tt_arena *arena);

/* The selected parameters of a model, without compiling: indices into model->params.
 * An error when the pattern matches nothing, which says why (a folded model, how to export). */
TT_MUST_CHECK enum tt_code tt_select_params(const struct tt_model *m, const struct tt_select *s,
                                            const char *file, struct tt_arena *arena, int **ret,
                                            int *ret_n, struct tt_err *err);

#endif
