// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_SIGNALS_H
#define TT_MONITOR_SIGNALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * What a stream's batches and labels say about it, as named numbers over a window of samples.
 * A signal without data is NaN with n = 0, never a made-up zero.  Everything is plain state of a
 * fixed size (about 6 KB and two floats a class), which a snapshot can hold and bring back.
 */
enum tt_bad { TT_BAD_ABOVE, TT_BAD_BELOW };
enum tt_from {
    TT_FROM_ANSWER,   // every batch that was answered
    TT_FROM_LEARNING, // only batches that were learnt from
    TT_FROM_SAMPLE,   // the batches on which the frozen model ran too
    TT_FROM_LABELS    // feedback
};

enum tt_keep {
    TT_KEEP_MEAN, // over the window
    TT_KEEP_LAST,
    TT_KEEP_CLASS // from sums over the classes that forget at the window's pace
};

#define TT_SIGNAL(sym, name, bad, lo, hi, from, keep, help) TT_SIG_##sym,
enum tt_signal {
#include "monitor/signals.def"
    TT_NSIGNALS
};
#undef TT_SIGNAL

struct tt_signal_row {
    const char *name, *help;
    enum tt_bad bad;
    double lo, hi; // values it can have
    enum tt_from from;
    enum tt_keep keep;
};
extern const struct tt_signal_row tt_signals[TT_NSIGNALS];

#define TT_WINDOW_BUCKETS 20

/* One signal: sums over buckets of consecutive batches, the oldest first.  All doubles, so that a
 * snapshot can hold it. */
struct tt_window {
    double sum[TT_WINDOW_BUCKETS], n[TT_WINDOW_BUCKETS], count;
    double fresh, fresh_n; // sum and samples since tt_signals_seen
    double last, total;    // last mean; samples since the restart
    double seen;           // tt_signals.samples at the last of them
};

struct tt_signals {
    int64_t window; // samples
    int classes;
    float *mean_p, *counts; // [classes] each: sums that forget, of softmax and of predictions
    double weight;          // what they sum to
    struct tt_window w[TT_NSIGNALS];
    int64_t samples, batches; // answered, ever
    int64_t bad_inputs;       // batches with NaN or Inf in the input: counted, otherwise ignored
    int64_t since;            // tt_signals.batches at the last restart
};

/* One answered batch.  NaN: not known (or none, for loss and grad_norm). */
struct tt_observed {
    int64_t rows;
    bool input_finite;          // else nothing below is read
    bool answer_finite;         // no NaN or Inf in the answer
    bool update_finite;         // no NaN or Inf in a loss, gradient or parameter; true: no update
    double entropy, confidence; // means over rows; entropy in nats
    double loss, grad_norm, param_drift, latency_ms;
    const float *mean_p;                // [classes] mean softmax; may be NULL
    const int64_t *counts;              // [classes] predicted; may be NULL
    int64_t base_rows, base_differ;     // compared with the frozen model: rows, and other answers
    int64_t shadow_rows, shadow_differ; // with the source parameters, same statistics
};

/* Labels for answers of one batch, counted by the caller. */
struct tt_labelled {
    int64_t batch;       // tt_signals.batches when the answer was given
    int64_t rows, wrong; // 0 <= wrong <= rows
    int64_t base_rows;   // of the rows, those for which the frozen model's answer is known too:
    int64_t base_wrong, paired_wrong; // the frozen model wrong, the stream's answer wrong
};

/* What a signal says.  value NaN: nothing yet. */
struct tt_reading {
    double value, n;       // over the window, and the samples behind it
    double fresh, fresh_n; // mean since tt_signals_seen, and its samples; NaN, 0: nothing new
    double age;            // samples answered since it last said something
};

/* memory [2 * classes] is kept.  classes 0: no classes; then class signals have no data. */
void tt_signals_init(struct tt_signals *s, int classes, int64_t window, float *memory);

void tt_signals_batch(struct tt_signals *s, const struct tt_observed *b);

/* False, and nothing done, when the labels are for an answer from before the last restart (they
 * belong to the history of the version that gave it) or make no sense. */
bool tt_signals_feedback(struct tt_signals *s, const struct tt_labelled *l);

struct tt_reading tt_signals_read(const struct tt_signals *s, enum tt_signal signal);

void tt_signals_seen(struct tt_signals *s); // what was fresh has been judged; tt_guard_feed does it

/* Another version answers from now on: forget the windows, keep the counts. */
void tt_signals_restart(struct tt_signals *s);

/* Over another window from now on: the windows are forgotten, the counts are not. */
void tt_signals_rewindow(struct tt_signals *s, int64_t window);

/* As numbers for a snapshot, and back: exactly tt_signals_doubles(classes) of them.  Loading into
 * an initialised s refuses another length, layout, window or number of classes. */
size_t tt_signals_doubles(int classes);
void tt_signals_save(const struct tt_signals *s, double *out);
TT_MUST_CHECK enum tt_code tt_signals_load(struct tt_signals *s, const double *in, size_t n,
                                           struct tt_err *err);

#endif
