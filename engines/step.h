// SPDX-License-Identifier: Apache-2.0
#ifndef TT_ENGINES_STEP_H
#define TT_ENGINES_STEP_H

#include "engines/plan.h"

/*
 * One batch through a plan, in the one fixed order: answer, learn, (answer again).
 * A step reads one version and writes another; the first is never changed.
 */

/* Why a batch was not learnt from; the names on the wire, in the record and in metrics. */
#define TT_SKIPS(X)                                                                               \
    X(TT_SKIP_NONE, "")                                                                           \
    X(TT_SKIP_SOURCE, "nothing_to_learn") /* the method adapts nothing */                         \
    X(TT_SKIP_HOLD, "hold")               /* the guard holds the stream */                        \
    X(TT_SKIP_FROZEN, "frozen")           /* an operator, or the guard, froze it */               \
    X(TT_SKIP_NOT_FINITE, "not_finite")   /* NaN or Inf in the input, the loss or a gradient */   \
    X(TT_SKIP_DEADLINE, "deadline")                                                               \
    X(TT_SKIP_BUDGET, "budget")                                                                   \
    X(TT_SKIP_NOT_READY, "not_ready") /* what would be learnt could not be kept: see readiness */ \
    X(TT_SKIP_FILTERED, "filtered")                                                               \
    X(TT_SKIP_BACKGROUND, "background") /* of an answer: it is learnt from afterwards */          \
    X(TT_SKIP_REPLAYED, "replayed")     /* its id was answered before, the answer is not kept */

#define TT_SKIP_ENUM(skip, name) skip,
enum tt_skip { TT_SKIPS(TT_SKIP_ENUM) TT_NSKIPS };
#undef TT_SKIP_ENUM

const char *tt_skip_name(enum tt_skip skip);

/* What one batch did.  Entropies and shares are of the answer, except loss. */
struct tt_outcome {
    bool adapted; // the new version differs by an update, or by tracked statistics
    enum tt_skip skip;
    bool input_finite;  // no NaN or Inf in x
    bool answer_finite; // none in the logits
    int64_t rows, classes;
    int64_t updates;    // optimizer steps made
    double loss;        // of the (last) objective; NaN: there was none
    double entropy;     // mean over rows of H(softmax), nats
    double confidence;  // mean over rows of max softmax
    double grad_norm;   // L2 over theta; NaN: no gradient
    double param_drift; // |theta - theta0| / |theta0| of the new version; 0 when nothing selected
    const int32_t *labels; // [rows] argmax; these three until the plan's next step
    const float *mean_p;   // [classes] mean softmax
    const int64_t *counts; // [classes] of labels
};

/*
 * Answer n rows and, if learn, learn from them.
 *   before  [tt_plan_floats]  the version that answers; not modified
 *   after   [tt_plan_floats]  the new version; a copy of before when nothing was learnt
 *   x       [n, row]          inputs, float32, preprocessed
 *   logits  [n, classes]      the answer
 * 1 <= n <= limit.  A step in which anything was not finite leaves after equal to before.
 * why says what to report as skip when learn is false.
 */
TT_MUST_CHECK enum tt_code tt_step_run(struct tt_plan *p, const float *before, float *after,
                                       const float *x, int64_t n, bool learn, enum tt_skip why,
                                       float *logits, struct tt_outcome *ret, struct tt_err *err);

/* Answer with the source parameters, under the model's own statistics (the frozen model) or,
 * if same_stats, under those of the method (for a fair comparison with before; running
 * statistics are taken from before).  logits [n, classes]. */
TT_MUST_CHECK enum tt_code tt_step_frozen(struct tt_plan *p, const float *before, const float *x,
                                          int64_t n, bool same_stats, float *logits,
                                          struct tt_err *err);

/* Share of rows whose argmax differs between two answers [n, classes]. */
double tt_disagreement(const float *a, const float *b, int64_t n, int64_t classes);

#endif
