// SPDX-License-Identifier: Apache-2.0
#ifndef TT_ENGINES_METHOD_H
#define TT_ENGINES_METHOD_H

#include "engines/part.h"
#include "runtime/model.h"

/*
 * A method of test-time adaptation as data: what a policy's YAML says of it, presets merged
 * in, before it meets a model.  engines/plan.h compiles it.
 */
enum tt_stats_mode {
    TT_STATS_SOURCE,  // the statistics of the model file
    TT_STATS_RUNNING, // the stream's running statistics, as learnt under stats.learn
    TT_STATS_BATCH,   // the batch's own, biased variance, gradients flow through
    TT_STATS_BLEND,   // (1 - alpha) source + alpha batch, unbiased variance, detached
    TT_STATS_EMA,     // running, first updated by this batch: half_life in samples; unbiased
    TT_NSTATS
};
#define TT_STATS_MODES "source|running|batch|blend|ema"

struct tt_stats {
    int mode;         // enum tt_stats_mode
    double alpha;     // blend: weight of the batch, (0, 1]
    double half_life; // ema: samples after which a batch counts half
    double momentum;  // learn only: running += momentum (batch - running) per batch; 0: no tracking
};

enum tt_reset_scope { TT_RESET_NEVER, TT_RESET_REQUEST, TT_RESET_SAMPLE };
#define TT_RESET_SCOPES "never|request|sample"

enum tt_predict_order {
    TT_PREDICT_BEFORE, // the answer is from before this batch was learnt from
    TT_PREDICT_AFTER,  // from a forward pass of its own after it
    TT_PREDICT_LAST,   // from the last forward pass that made a loss (Tent with steps > 1)
};
#define TT_PREDICT_ORDERS "before|after|last"

/* fast: by algorithms that multiply less and round more (runtime/ops/winograd.h). */
enum tt_convolution { TT_CONVOLUTION_FAST, TT_CONVOLUTION_EXACT };
#define TT_CONVOLUTIONS "fast|exact"

/* Which parameters are adapted: kind and member and (any include) and not (any exclude). */
struct tt_select {
    unsigned kinds;                  // bit 1 << enum tt_kind; 0 with includes: any kind
    unsigned members;                // bit 0: weight, bit 1: bias; 0: both
    struct tt_strs include, exclude; // globs on names: * ? [a-z]; an empty include means all
    int line, col;
};

#define TT_MAXUSES 16

struct tt_method {
    const char
        *preset; // "tent"; "custom" when its objective or statistics are other than the preset's
    const char *file; // where it was written, for messages
    struct tt_select select;
    struct tt_stats answer, learn;
    int stats_line, stats_col;
    int nuses; // in slot order
    struct tt_use uses[TT_MAXUSES];
    int64_t steps;         // updates per batch
    int reset_scope;       // enum tt_reset_scope
    int64_t every_updates; // batches learnt from until the source is taken again (RDumb counts
                           // so); 0: never
    int predict_order;     // enum tt_predict_order
    int predict_line, predict_col;
    int convolution; // enum tt_convolution
};

/* How images become the model's input: y = (x * scale - mean[c]) / std[c].  For UINT8 inputs,
 * and for float inputs when the client says so. */
enum tt_image_layout { TT_NCHW, TT_NHWC };
#define TT_IMAGE_LAYOUTS "nchw|nhwc"

struct tt_preprocess {
    double scale;               // 1/255 by default
    struct tt_floats mean, std; // one value, or one a channel; empty: 0 and 1
    int layout;                 // enum tt_image_layout; of what clients send
};

/* Convert rows images into out [rows, C, H, W] float32.  The shape was checked by
 * tt_preprocess_check(). */
void tt_preprocess_run(const struct tt_preprocess *p, const uint8_t *in, int64_t rows, int64_t C,
                       int64_t H, int64_t W, float *out);

/* Whether an input of that shape (rows first) can become the model's [-1, C, H, W]. */
TT_MUST_CHECK enum tt_code tt_preprocess_check(const struct tt_preprocess *p, int ndim,
                                               const int64_t *dim, const struct tt_value *want,
                                               struct tt_err *err);

#endif
