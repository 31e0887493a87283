// SPDX-License-Identifier: Apache-2.0
/*
 * Statistics modes as weights of one kernel (runtime/ops/normalise.h).  Sources, with what each
 * does to the variance: batch (Tent) biased; blend (Schneider et al. 2020, as
 * mariodoebler/test-time-adaptation 8b2ed63 computes it) and everything that is tracked unbiased,
 * as PyTorch's running_var is.
 */
#include <math.h>
#include <stdio.h>

#include "engines/compiled.h"

/* The weight of a batch of n rows when a past one counts half after half_life samples. */
static double ema_weight(const struct tt_stats *s, int64_t n)
{
    return 1 - exp2(-(double)n / s->half_life);
}

void tt_stats_use(struct tt_plan *p, struct tt_program *prog, const struct tt_stats *s, int64_t n,
                  bool prior_alone)
{
    int count;
    struct tt_norm *norm = tt_program_norms(prog, &count);
    bool running = s->mode == TT_STATS_RUNNING || s->mode == TT_STATS_EMA;
    double batch = 0;

    if (s->mode == TT_STATS_BATCH)
        batch = 1;
    else if (s->mode == TT_STATS_BLEND)
        batch = s->alpha;
    else if (s->mode == TT_STATS_EMA)
        batch = ema_weight(s, n);
    if (prior_alone)
        batch = 0;
    for (int i = 0; i < count; i++) {
        const struct tt_layer *l = &p->layers[i];

        norm[i].prior = (float)(1 - batch);
        norm[i].batch = (float)batch;
        norm[i].unbiased = s->mode != TT_STATS_BATCH;
        norm[i].through = s->mode == TT_STATS_BATCH;
        norm[i].measure = s->momentum > 0 && !prior_alone;
        norm[i].mean0 = running ? p->work + l->run_mean : l->mean;
        norm[i].var0 = running ? p->work + l->run_var : l->var;
    }
}

void tt_stats_track(struct tt_plan *p, struct tt_program *prog, const struct tt_stats *s, int64_t n)
{
    double weight = s->mode == TT_STATS_EMA ? ema_weight(s, n) : s->momentum;
    int count;
    const struct tt_norm *norm = tt_program_norms(prog, &count);

    if (weight <= 0)
        return;
    for (int i = 0; i < count; i++) {
        const struct tt_layer *l = &p->layers[i];
        float *mean = p->work + l->run_mean, *var = p->work + l->run_var;
        double fix = norm[i].unbiased || norm[i].rows < 2
                         ? 1
                         : (double)norm[i].rows / (double)(norm[i].rows - 1);

        for (int64_t c = 0; c < l->C; c++) {
            mean[c] = (float)((1 - weight) * mean[c] + weight * norm[i].batch_mean[c]);
            var[c] = (float)((1 - weight) * var[c] + weight * fix * norm[i].batch_var[c]);
        }
    }
}

enum tt_code tt_plan_add_stats(struct tt_plan *p, struct tt_err *err)
{
    const struct tt_graph *g = &p->graph;
    const struct tt_method *m = p->method;

    p->running = m->answer.mode == TT_STATS_RUNNING || m->answer.mode == TT_STATS_EMA ||
                 m->learn.mode == TT_STATS_RUNNING || m->learn.mode == TT_STATS_EMA ||
                 m->learn.momentum > 0;
    p->layers = TT_NEW(&p->arena, g->nnodes + 1, struct tt_layer);
    if (!p->layers)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    for (int i = 0; i < g->nnodes; i++) {
        const struct tt_gnode *n = &g->nodes[i];
        const struct tt_value *mean, *var;
        struct tt_layer *l = &p->layers[p->nlayers];
        char name[256];

        if (!n->op->norm)
            continue;
        mean = &g->values[n->in[3]];
        var = &g->values[n->in[4]];
        if (mean->kind != TT_WEIGHT || var->kind != TT_WEIGHT)
            return tt_fail(err, TT_EUNSUPPORTED,
                           "node '%s': its statistics are computed, want "
                           "constants of the model",
                           n->name);
        *l = (struct tt_layer){.C = mean->dim[0],
                               .mean = mean->data,
                               .var = var->data,
                               .mean_name = mean->name,
                               .var_name = var->name,
                               .run_mean = -1,
                               .run_var = -1};
        p->nlayers++;
        if (!p->running)
            continue;
        /* By place, not by name: exporters let two layers share one initializer. */
        snprintf(name, sizeof name, "s/%d/%s", p->nlayers - 1, mean->name);
        if (tt_plan_add_slice(p, name, 1, mean->dim, &l->run_mean, err) != TT_OK)
            return err->code;
        snprintf(name, sizeof name, "s/%d/%s", p->nlayers - 1, var->name);
        if (tt_plan_add_slice(p, name, 1, var->dim, &l->run_var, err) != TT_OK)
            return err->code;
    }
    return TT_OK;
}
