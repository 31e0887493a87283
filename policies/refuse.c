// SPDX-License-Identifier: Apache-2.0
#include "policies/policy.h"

/* What a method says of itself, before it meets a model. */
struct facts {
    const struct tt_ynode *tree;
    const struct tt_method *m;
    struct tt_diags *d;
    bool objective, optimizer;
    bool tracks; // statistics that are remembered from batch to batch
    bool learns; // an objective, or statistics that track
};

static bool has(const struct tt_method *m, enum tt_slot slot)
{
    for (int i = 0; i < m->nuses; i++)
        if (m->uses[i].part->slot == slot)
            return true;
    return false;
}

/* The node of that key if the user wrote it; what a preset says is not the user's mistake. */
static const struct tt_ynode *own(const struct tt_ynode *map, const char *key)
{
    const struct tt_ynode *n = tt_yaml_get(map, key);

    return n && !n->preset ? n : NULL;
}

static void check_objective(const struct facts *f)
{
    const struct tt_ynode *objective = tt_yaml_get(f->tree, "objective"), *n;

    if (f->objective) {
        if (!f->optimizer)
            tt_diag_error(f->d, objective->key_line, objective->key_col,
                          "objective: no optimizer to follow it");
        if (!tt_yaml_get(f->tree, "select"))
            tt_diag_error(f->d, objective->key_line, objective->key_col,
                          "objective: no select says which parameters it moves, as in "
                          "select: {kinds: [bn]}");
        else if (!f->m->select.kinds && !f->m->select.include.n)
            tt_diag_error(f->d, f->m->select.line, f->m->select.col,
                          "select: neither kinds nor include: nothing is selected");
        return;
    }
    n = own(f->tree, "optimizer");
    if (n)
        tt_diag_error(f->d, n->key_line, n->key_col,
                      "optimizer: nothing learns here: the policy has no objective");
    n = own(f->tree, "select");
    if (n)
        tt_diag_error(f->d, n->key_line, n->key_col,
                      "select: nothing learns here: the policy has no objective");
    n = own(f->tree, "steps");
    if (n && f->m->steps > 1)
        tt_diag_error(f->d, n->key_line, n->key_col,
                      "steps: nothing learns here: the policy has no objective");
}

static void check_stats(const struct facts *f)
{
    const struct tt_stats *answer = &f->m->answer, *learn = &f->m->learn;
    const struct tt_ynode *stats = tt_yaml_get(f->tree, "stats"), *a, *l;

    if (!stats)
        return;
    a = tt_yaml_get(stats, "answer") ? tt_yaml_get(stats, "answer") : stats;
    l = tt_yaml_get(stats, "learn") ? tt_yaml_get(stats, "learn") : stats;
    if (answer->mode == TT_STATS_RUNNING && !f->tracks)
        tt_diag_error(f->d, a->line, a->col,
                      "stats.answer: running statistics are never updated: stats.learn has no "
                      "momentum");
    if (learn->mode == TT_STATS_RUNNING && !f->tracks && (f->objective || learn->momentum > 0))
        tt_diag_error(f->d, l->line, l->col, "stats.learn: running statistics are never updated");
    if (learn->momentum > 0 && answer->mode != TT_STATS_RUNNING && answer->mode != TT_STATS_EMA &&
        learn->mode != TT_STATS_RUNNING)
        tt_diag_warning(f->d, l->line, l->col,
                        "stats.learn.momentum: running statistics are tracked and nothing reads "
                        "them: stats.answer is not running");
}

static void check_predict(const struct facts *f)
{
    const struct tt_ynode *n = own(f->tree, "predict");

    if (n && f->m->predict_order == TT_PREDICT_LAST && !f->objective)
        tt_diag_error(f->d, n->line, n->col,
                      "predict.order: last is the last pass that made a loss, and the policy has "
                      "no objective");
    if (n && f->m->predict_order == TT_PREDICT_AFTER && !f->learns)
        tt_diag_error(f->d, n->line, n->col, "predict.order: after what: nothing learns here");
}

static void check_reset(const struct facts *f)
{
    static const char *const scopes[] = {"never", "request", "sample"};
    const struct tt_ynode *n = tt_yaml_get(f->tree, "reset");
    const struct tt_method *m = f->m;
    bool late = m->predict_order == TT_PREDICT_AFTER ||
                (m->predict_order == TT_PREDICT_LAST && m->steps > 1);

    if (!n || (m->reset_scope == TT_RESET_NEVER && !m->every_updates))
        return;
    if (!f->learns)
        tt_diag_error(f->d, n->line, n->col,
                      "reset: nothing learns here, there is nothing to reset");
    else if (m->reset_scope != TT_RESET_NEVER && !late &&
             (f->objective || m->answer.mode == TT_STATS_RUNNING))
        tt_diag_error(f->d, n->line, n->col,
                      "reset.scope: %s with order %s%s: every update is thrown away before it "
                      "answers anything",
                      scopes[m->reset_scope],
                      m->predict_order == TT_PREDICT_LAST ? "last" : "before",
                      m->predict_order == TT_PREDICT_LAST ? " and one step" : "");
    if (m->reset_scope != TT_RESET_NEVER && m->every_updates)
        tt_diag_error(f->d, n->line, n->col, "reset.every_updates: scope %s never gets so far",
                      scopes[m->reset_scope]);
}

void tt_method_check(const struct tt_ynode *tree, const struct tt_method *m, struct tt_diags *d)
{
    struct facts f = {.tree = tree,
                      .m = m,
                      .d = d,
                      .objective = has(m, TT_OBJECTIVE),
                      .optimizer = has(m, TT_OPTIMIZER)};

    f.tracks = m->learn.momentum > 0 || m->answer.mode == TT_STATS_EMA ||
               (f.objective && m->learn.mode == TT_STATS_EMA);
    f.learns = f.objective || f.tracks;
    check_objective(&f);
    check_stats(&f);
    check_predict(&f);
    check_reset(&f);
}
