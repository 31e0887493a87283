// SPDX-License-Identifier: Apache-2.0
#include "engines/step.h"

#include <math.h>
#include <string.h>

#include "engines/compiled.h"

static const char *const skip_names[] = {
#define TT_SKIP_NAME(skip, name) name,
    TT_SKIPS(TT_SKIP_NAME)
#undef TT_SKIP_NAME
};

const char *tt_skip_name(enum tt_skip skip)
{
    return skip_names[skip];
}

/* By the bits, all exponent: a sum would wait for each addition, and could overflow. */
static bool all_finite(const float *x, int64_t n)
{
    uint32_t bad = 0;

    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, x + i, sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

/* ---- passes ------------------------------------------------------------------------------- */

static enum tt_code pass(struct tt_plan *p, struct tt_program *prog, const struct tt_stats *s,
                         const float *x, int64_t n, bool prior_alone, struct tt_err *err)
{
    if (tt_program_resize(prog, n, err) != TT_OK)
        return err->code;
    tt_stats_use(p, prog, s, n, prior_alone);
    tt_inputs_write(&p->inputs, prog, x, n);
    tt_program_forward(prog);
    return TT_OK;
}

static void take_logits(struct tt_plan *p, struct tt_program *prog, int64_t n, float *logits)
{
    memcpy(logits, tt_program_tensor(prog, p->logits)->x,
           sizeof *logits * (size_t)(n * p->classes));
}

/* What is known of the rows of an answer: labels, entropy, confidence, mean of the softmax. */
static void read_rows(struct tt_plan *p, const float *logits, int64_t n, struct tt_outcome *o)
{
    int64_t C = p->classes;
    double entropy = 0, confidence = 0;

    memset(p->counts, 0, sizeof *p->counts * (size_t)C);
    memset(p->mean_p, 0, sizeof *p->mean_p * (size_t)C);
    for (int64_t i = 0; i < n; i++) {
        const float *z = logits + i * C;
        double sum = 1, dot = 0; // the largest's own term is exp(0)
        int64_t best = 0;

        for (int64_t c = 1; c < C; c++)
            if (z[c] > z[best])
                best = c;
        for (int64_t c = 0; c < C; c++) {
            double e = c == best ? 0 : exp((double)z[c] - z[best]);

            sum += e;
            dot += e * ((double)z[c] - z[best]);
        }
        for (int64_t c = 0; c < C; c++)
            p->mean_p[c] += (float)(exp((double)z[c] - z[best]) / sum / (double)n);
        entropy += log(sum) - dot / sum;
        confidence += 1 / sum;
        p->labels[i] = (int32_t)best;
        p->counts[best]++;
    }
    o->entropy = entropy / (double)n;
    o->confidence = confidence / (double)n;
    o->answer_finite = all_finite(logits, n * C);
    o->labels = p->labels;
    o->mean_p = p->mean_p;
    o->counts = p->counts;
}

/* ---- learning ----------------------------------------------------------------------------- */

static double norm(const float *a, const float *b, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (b ? (double)b[i] : 0);

        sum += d * d;
    }
    return sqrt(sum);
}

/* One update from the loss of the pass that was just made. */
static void update(struct tt_plan *p, struct tt_work *w, struct tt_outcome *o)
{
    const struct tt_tensor *loss = tt_program_tensor(p->learn, p->loss);

    w->loss = o->loss = *loss->x;
    if (!isfinite(*loss->x)) {
        w->bad = true;
        return;
    }
    tt_program_backward(p->learn);
    o->grad_norm = norm(w->grad, NULL, w->ntheta);
    if (!isfinite(o->grad_norm)) {
        w->bad = true;
        return;
    }
    for (int i = 0; i < p->nuses; i++)
        if (p->uses[i].part->run)
            p->uses[i].part->run(&p->uses[i], w);
    w->eval++;
    o->updates++;
}

/* Learn from x, the given number of times.  fresh: the answering pass was the first of these. */
static enum tt_code learn(struct tt_plan *p, struct tt_work *w, const float *x, int64_t n,
                          bool fresh, struct tt_outcome *o, struct tt_err *err)
{
    const struct tt_stats *s = &p->method->learn;
    struct tt_program *prog = p->learn ? p->learn : p->infer;
    int64_t steps = p->learn ? p->method->steps : 1;

    for (int64_t i = 0; i < steps && !w->bad; i++) {
        if (!(fresh && i == 0) && pass(p, prog, s, x, n, false, err) != TT_OK)
            return err->code;
        if (s->mode != TT_STATS_EMA && s->momentum > 0)
            tt_stats_track(p, prog, s, n);
        if (p->learn)
            update(p, w, o);
    }
    return TT_OK;
}

static bool same_stats(const struct tt_stats *a, const struct tt_stats *b)
{
    return a->mode == b->mode && a->alpha == b->alpha && a->half_life == b->half_life;
}

/* Begin: the version that answers, or the source where the method forgets. */
static void begin(struct tt_plan *p, const float *before, bool learning)
{
    const struct tt_method *m = p->method;
    bool due = p->count >= 0 && before[p->count] >= (float)m->every_updates;

    if (learning && (m->reset_scope != TT_RESET_NEVER || due))
        tt_plan_source(p, p->work);
    else
        memcpy(p->work, before, sizeof *before * (size_t)p->nfloats);
    if (learning && p->count >= 0)
        p->work[p->count] += 1;
}

/* The rows of one step, which may be all of a batch or one of its samples. */
static enum tt_code step_rows(struct tt_plan *p, const float *before, const float *x, int64_t n,
                              bool learning, float *logits, struct tt_outcome *o, bool *bad,
                              struct tt_err *err)
{
    const struct tt_method *m = p->method;
    struct tt_work w = {.plan = p,
                        .version = p->work,
                        .scratch = p->scratch,
                        .classes = p->classes,
                        .rows = n,
                        .theta = p->work,
                        .grad = p->grad,
                        .theta0 = p->theta0,
                        .ntheta = p->ntheta};
    bool fresh = learning && p->learn && same_stats(&m->answer, &m->learn);
    bool later = learning && m->predict_order != TT_PREDICT_BEFORE;
    struct tt_program *prog = fresh ? p->learn : p->infer;

    begin(p, before, learning);
    if (!later || fresh) {
        if (pass(p, prog, &m->answer, x, n, !o->input_finite, err) != TT_OK)
            return err->code;
        take_logits(p, prog, n, logits);
        if (!later && p->answered)
            p->answered(p->watcher);
        if (learning && m->answer.mode == TT_STATS_EMA)
            tt_stats_track(p, prog, &m->answer, n);
    }
    if (learning && (p->learn || m->learn.momentum > 0) &&
        learn(p, &w, x, n, fresh, o, err) != TT_OK)
        return err->code;
    if (later && !w.bad) {
        bool last = m->predict_order == TT_PREDICT_LAST;

        prog = last && p->learn ? p->learn : p->infer;
        if (!(last && p->learn) && pass(p, prog, &m->answer, x, n, false, err) != TT_OK)
            return err->code;
        take_logits(p, prog, n, logits);
        if (m->answer.mode == TT_STATS_EMA && !fresh)
            tt_stats_track(p, prog, &m->answer, n);
    }
    *bad = *bad || w.bad || !all_finite(p->work, p->nfloats);
    return TT_OK;
}

/* Answer with the version as it is: for rows that made a step fail. */
static enum tt_code answer_unlearnt(struct tt_plan *p, const float *before, const float *x,
                                    int64_t n, float *logits, struct tt_outcome *o,
                                    struct tt_err *err)
{
    memcpy(p->work, before, sizeof *before * (size_t)p->nfloats);
    if (pass(p, p->infer, &p->method->answer, x, n, !o->input_finite, err) != TT_OK)
        return err->code;
    take_logits(p, p->infer, n, logits);
    return TT_OK;
}

enum tt_code tt_step_run(struct tt_plan *p, const float *before, float *after, const float *x,
                         int64_t n, bool learning, enum tt_skip why, float *logits,
                         struct tt_outcome *ret, struct tt_err *err)
{
    struct tt_outcome o = {.rows = n, .classes = p->classes, .loss = NAN, .grad_norm = NAN};
    int64_t at_once = p->method->reset_scope == TT_RESET_SAMPLE && learning ? 1 : n;
    bool bad = false;
    double theta0;

    o.input_finite = all_finite(x, n * p->inputs.row);
    o.skip = learning ? TT_SKIP_NONE : why;
    if (learning && !o.input_finite) {
        o.skip = TT_SKIP_NOT_FINITE;
        learning = false;
    }
    if (learning && !tt_plan_learns(p)) {
        o.skip = TT_SKIP_SOURCE;
        learning = false;
    }
    for (int64_t i = 0; i < n; i += at_once)
        if (step_rows(p, before, x + i * p->inputs.row, at_once, learning, logits + i * p->classes,
                      &o, &bad, err) != TT_OK)
            return err->code;
    if (learning && bad) {
        o.skip = TT_SKIP_NOT_FINITE;
        if (answer_unlearnt(p, before, x, n, logits, &o, err) != TT_OK)
            return err->code;
    }
    o.adapted = learning && !bad;
    read_rows(p, logits, n, &o);
    memcpy(after, o.adapted ? p->work : before, sizeof *after * (size_t)p->nfloats);
    theta0 = norm(p->theta0, NULL, p->ntheta);
    o.param_drift = theta0 > 0 ? norm(after, p->theta0, p->ntheta) / theta0 : 0;
    *ret = o;
    return TT_OK;
}

enum tt_code tt_step_frozen(struct tt_plan *p, const float *before, const float *x, int64_t n,
                            bool same, float *logits, struct tt_err *err)
{
    static const struct tt_stats source = {.mode = TT_STATS_SOURCE};

    memcpy(p->work, before, sizeof *before * (size_t)p->nfloats);
    memcpy(p->work, p->theta0, sizeof *before * (size_t)p->ntheta);
    if (pass(p, p->infer, same ? &p->method->answer : &source, x, n,
             !same || !all_finite(x, n * p->inputs.row), err) != TT_OK)
        return err->code;
    take_logits(p, p->infer, n, logits);
    return TT_OK;
}

double tt_disagreement(const float *a, const float *b, int64_t n, int64_t classes)
{
    int64_t differ = 0;

    for (int64_t i = 0; i < n; i++) {
        int64_t x = 0, y = 0;

        for (int64_t c = 1; c < classes; c++) {
            if (a[i * classes + c] > a[i * classes + x])
                x = c;
            if (b[i * classes + c] > b[i * classes + y])
                y = c;
        }
        differ += x != y;
    }
    return n ? (double)differ / (double)n : 0;
}
