// SPDX-License-Identifier: Apache-2.0
#ifndef TT_ENGINES_COMPILED_H
#define TT_ENGINES_COMPILED_H

#include "engines/plan.h"
#include "runtime/inputs.h"

/*
 * Inside of a plan; for plan.c, stats.c, explain.c and step.c only.
 */
struct tt_handle {
    enum tt_life life;
    int64_t offset, n;
    float init;
};

/* One normalisation layer: its source statistics, and where its running ones are in a version. */
struct tt_layer {
    int64_t C;
    const float *mean, *var; // of the model file
    const char *mean_name, *var_name;
    int64_t run_mean, run_var; // offsets; -1: the method keeps no running statistics
};

struct tt_plan {
    struct tt_arena arena;
    const struct tt_model *model;
    const struct tt_method *method;
    struct tt_graph graph; // the model's, and the loss
    int64_t limit;
    void (*answered)(void *ctx); // NULL: nobody wants to know
    void *watcher;
    struct tt_inputs inputs;
    int logits, loss; // values; loss -1: no objective
    int classes;

    int nselected, *selected; // indices into model->params
    int64_t ntheta;
    float *theta0, *grad;

    int nuses;
    struct tt_use uses[TT_MAXUSES]; // with handles
    int nhandles, max_handles;
    struct tt_handle *handles;
    int nslices, max_slices;
    struct tt_slice *slices;
    int64_t nfloats, nscratch; // of a version; of the parts' scratch
    float *work, *scratch;     // working copy of a version
    int64_t count;             // offset of the batches since the last reset; -1: not counted

    bool running; // the method keeps running statistics
    int nlayers;
    struct tt_layer *layers;

    struct tt_program *infer, *learn; // learn: with gradients; NULL without an objective

    int32_t *labels; // [limit], of the last step, like the next two
    float *mean_p;   // [classes]
    int64_t *counts; // [classes]
};

/* Lay out a version: parameters, optimizer, statistics, the rest.  plan.c */
TT_MUST_CHECK enum tt_code tt_plan_add_slice(struct tt_plan *p, const char *name, int ndim,
                                             const int64_t *dim, int64_t *ret_offset,
                                             struct tt_err *err);

/* Find the normalisation layers and give each its place.  stats.c */
TT_MUST_CHECK enum tt_code tt_plan_add_stats(struct tt_plan *p, struct tt_err *err);

/* Set which statistics the next forward of prog normalises with, for n rows; running ones are
 * read from p->work.  Prior alone if rows must not see each other. */
void tt_stats_use(struct tt_plan *p, struct tt_program *prog, const struct tt_stats *s, int64_t n,
                  bool prior_alone);

/* After a forward under s: move the running statistics in p->work, if s tracks. */
void tt_stats_track(struct tt_plan *p, struct tt_program *prog, const struct tt_stats *s,
                    int64_t n);

#endif
