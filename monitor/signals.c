// SPDX-License-Identifier: Apache-2.0
#include "monitor/signals.h"

#include <math.h>
#include <string.h>

#define LAYOUT  1.0                // of what tt_signals_save writes
#define HEAD    8                  // doubles before the windows
#define EXACT   9007199254740992.0 // 2^53
#define PARTS   16                 // closed buckets of a full window
#define WINDOWS (sizeof(struct tt_window) / sizeof(double) * TT_NSIGNALS)

const struct tt_signal_row tt_signals[TT_NSIGNALS] = {
#define TT_SIGNAL(sym, name, bad, lo, hi, from, keep, help) \
    [TT_SIG_##sym] = {name, help, TT_BAD_##bad, lo, hi, TT_FROM_##from, TT_KEEP_##keep},
#include "monitor/signals.def"
#undef TT_SIGNAL
};

void tt_signals_init(struct tt_signals *s, int classes, int64_t window, float *memory)
{
    *s = (struct tt_signals){.window = window > 0 ? window : 1,
                             .classes = classes > 0 ? classes : 0};
    if (s->classes) {
        s->mean_p = memory;
        s->counts = memory + classes;
    }
    tt_signals_restart(s);
}

static void forget(struct tt_signals *s)
{
    for (int i = 0; i < TT_NSIGNALS; i++)
        s->w[i] = (struct tt_window){.last = NAN, .seen = (double)s->samples};
    for (int c = 0; c < s->classes; c++)
        s->mean_p[c] = s->counts[c] = 0;
    s->weight = 0;
}

void tt_signals_restart(struct tt_signals *s)
{
    forget(s);
    s->since = s->batches;
}

void tt_signals_rewindow(struct tt_signals *s, int64_t window)
{
    s->window = window;
    forget(s);
}

static void drop_oldest(struct tt_window *w)
{
    w->count--;
    memmove(w->sum, w->sum + 1, (size_t)w->count * sizeof *w->sum);
    memmove(w->n, w->n + 1, (size_t)w->count * sizeof *w->n);
}

/* Add to the newest bucket, or to a new one when that is full; then let go of the oldest while
 * the others alone fill the window.  Full buckets hold window / PARTS, so there are few. */
static void push(struct tt_window *w, double mean, double n, double window)
{
    int k = (int)w->count;
    double total = 0;

    if (!k || w->n[k - 1] * PARTS >= window) {
        if (k == TT_WINDOW_BUCKETS)
            drop_oldest(w);
        k = (int)w->count++;
        w->sum[k] = w->n[k] = 0;
    }
    k = (int)w->count - 1;
    w->sum[k] += mean * n;
    w->n[k] += n;
    for (int i = 0; i <= k; i++)
        total += w->n[i];
    while (w->count > 1 && total - w->n[0] >= window) {
        total -= w->n[0];
        drop_oldest(w);
    }
}

/* A mean over n samples; what is not known is left out. */
static void observe(struct tt_signals *s, enum tt_signal signal, double mean, int64_t n)
{
    struct tt_window *w = &s->w[signal];

    if (!isfinite(mean) || n <= 0)
        return;
    if (tt_signals[signal].keep == TT_KEEP_MEAN)
        push(w, mean, (double)n, (double)s->window);
    w->fresh += mean * (double)n;
    w->fresh_n += (double)n;
    w->last = mean;
    w->total += (double)n;
    w->seen = (double)s->samples;
}

static void compare(struct tt_signals *s, enum tt_signal signal, int64_t part, int64_t n)
{
    if (part >= 0 && part <= n && n > 0)
        observe(s, signal, (double)part / (double)n, n);
}

static void observe_classes(struct tt_signals *s, const struct tt_observed *b)
{
    double keep = exp(-(double)b->rows / (double)s->window);

    if (s->classes < 2 || !b->mean_p || !b->counts)
        return;
    for (int c = 0; c < s->classes; c++) {
        s->mean_p[c] = (float)(keep * s->mean_p[c] + (double)b->rows * b->mean_p[c]);
        s->counts[c] = (float)(keep * s->counts[c] + (double)b->counts[c]);
    }
    s->weight = keep * s->weight + (double)b->rows;
    observe(s, TT_SIG_CLASS_COLLAPSE, 0, b->rows); // tt_signals_read works the value out
    observe(s, TT_SIG_CLASS_SHARE, 0, b->rows);
}

void tt_signals_batch(struct tt_signals *s, const struct tt_observed *b)
{
    bool finite = b->answer_finite && b->update_finite && !isinf(b->loss) && !isinf(b->grad_norm) &&
                  isfinite(b->param_drift);

    if (b->rows <= 0)
        return;
    s->samples += b->rows;
    s->batches++;
    if (!b->input_finite) {
        s->bad_inputs++;
        return;
    }
    observe(s, TT_SIG_NOT_FINITE, finite ? 0 : 1, b->rows);
    observe(s, TT_SIG_LATENCY_MS, b->latency_ms, b->rows);
    observe(s, TT_SIG_LOSS, b->loss, b->rows);
    observe(s, TT_SIG_GRAD_NORM, b->grad_norm, b->rows);
    observe(s, TT_SIG_PARAM_DRIFT, b->param_drift, b->rows);
    if (!b->answer_finite)
        return;
    observe(s, TT_SIG_CONFIDENCE, b->confidence, b->rows);
    if (s->classes >= 2)
        observe(s, TT_SIG_ENTROPY_RATIO, b->entropy / log(s->classes), b->rows);
    observe_classes(s, b);
    compare(s, TT_SIG_BASE_DISAGREEMENT, b->base_differ, b->base_rows);
    compare(s, TT_SIG_SHADOW_DISAGREEMENT, b->shadow_differ, b->shadow_rows);
}

bool tt_signals_feedback(struct tt_signals *s, const struct tt_labelled *l)
{
    if (l->batch <= s->since || l->batch > s->batches)
        return false;
    if (l->rows <= 0 || l->wrong < 0 || l->wrong > l->rows || l->base_rows < 0 ||
        l->base_rows > l->rows || l->base_wrong < 0 || l->base_wrong > l->base_rows ||
        l->paired_wrong < 0 || l->paired_wrong > l->base_rows)
        return false;
    compare(s, TT_SIG_LABEL_ERROR, l->wrong, l->rows);
    compare(s, TT_SIG_BASE_ERROR, l->base_wrong, l->base_rows);
    if (l->base_rows)
        observe(s, TT_SIG_LABEL_GAP,
                (double)(l->paired_wrong - l->base_wrong) / (double)l->base_rows, l->base_rows);
    return true;
}

static double window_mean(const struct tt_window *w, double *ret_n)
{
    double sum = 0, n = 0;

    for (int i = 0; i < (int)w->count; i++) {
        sum += w->sum[i];
        n += w->n[i];
    }
    *ret_n = n;
    return n > 0 ? sum / n : NAN;
}

/* 1 - H / ln classes of the mean answer, between 0 and 1. */
static double collapse(const struct tt_signals *s)
{
    double sum = 0, h = 0, ratio;

    for (int c = 0; c < s->classes; c++)
        sum += s->mean_p[c];
    if (!(sum > 0))
        return NAN;
    for (int c = 0; c < s->classes; c++) {
        double p = s->mean_p[c] / sum;

        if (p > 0)
            h -= p * log(p);
    }
    ratio = 1 - h / log(s->classes);
    return ratio < 0 ? 0 : ratio > 1 ? 1 : ratio;
}

static double largest_share(const struct tt_signals *s)
{
    double sum = 0, most = 0;

    for (int c = 0; c < s->classes; c++) {
        sum += s->counts[c];
        most = s->counts[c] > most ? s->counts[c] : most;
    }
    return sum > 0 ? most / sum : NAN;
}

struct tt_reading tt_signals_read(const struct tt_signals *s, enum tt_signal signal)
{
    const struct tt_window *w = &s->w[signal];
    struct tt_reading r = {.fresh = NAN, .age = (double)s->samples - w->seen};

    if (tt_signals[signal].keep == TT_KEEP_MEAN) {
        r.value = window_mean(w, &r.n);
    } else {
        r.value = w->last;
        if (signal == TT_SIG_CLASS_COLLAPSE && w->total > 0)
            r.value = collapse(s);
        if (signal == TT_SIG_CLASS_SHARE && w->total > 0)
            r.value = largest_share(s);
        r.n = isnan(r.value) ? 0 : fmin(w->total, (double)s->window);
    }
    if (w->fresh_n > 0) {
        r.fresh_n = w->fresh_n;
        r.fresh = tt_signals[signal].keep == TT_KEEP_CLASS ? r.value : w->fresh / w->fresh_n;
    }
    return r;
}

void tt_signals_seen(struct tt_signals *s)
{
    for (int i = 0; i < TT_NSIGNALS; i++)
        s->w[i].fresh = s->w[i].fresh_n = 0;
}

size_t tt_signals_doubles(int classes)
{
    return HEAD + WINDOWS + 2 * (size_t)(classes > 0 ? classes : 0);
}

void tt_signals_save(const struct tt_signals *s, double *out)
{
    const double head[HEAD] = {LAYOUT,
                               s->classes,
                               (double)s->window,
                               s->weight,
                               (double)s->samples,
                               (double)s->batches,
                               (double)s->bad_inputs,
                               (double)s->since};

    memcpy(out, head, sizeof head);
    memcpy(out + HEAD, s->w, sizeof s->w);
    out += HEAD + WINDOWS;
    for (int c = 0; c < s->classes; c++) {
        out[c] = s->mean_p[c];
        out[s->classes + c] = s->counts[c];
    }
}

static bool is_count(double x)
{
    return x >= 0 && x <= EXACT && x == floor(x);
}

static bool is_amount(double x)
{
    return x >= 0 && isfinite(x);
}

/* Could this have been written by tt_signals_save? */
static bool sound(const double *in, const struct tt_window *w, const double *sums, int nsums)
{
    bool ok = is_amount(in[3]);

    for (int i = 4; i < HEAD; i++)
        ok = ok && is_count(in[i]);
    ok = ok && in[7] <= in[5] && in[6] <= in[5];
    for (int i = 0; i < TT_NSIGNALS && ok; i++) {
        ok = is_count(w[i].count) && w[i].count <= TT_WINDOW_BUCKETS && is_amount(w[i].total) &&
             is_amount(w[i].fresh_n) && isfinite(w[i].fresh) && is_count(w[i].seen) &&
             w[i].seen <= in[4] && !isinf(w[i].last);
        for (int k = 0; k < TT_WINDOW_BUCKETS && ok; k++)
            ok = isfinite(w[i].sum[k]) && is_amount(w[i].n[k]);
    }
    for (int c = 0; c < nsums && ok; c++)
        ok = is_amount(sums[c]);
    return ok;
}

enum tt_code tt_signals_load(struct tt_signals *s, const double *in, size_t n, struct tt_err *err)
{
    struct tt_window w[TT_NSIGNALS];
    const double *sums;
    size_t want = tt_signals_doubles(s->classes);

    if (n != want)
        return tt_fail(err, TT_ESHAPE, "signals: %zu numbers, want %zu", n, want);
    if (in[0] != LAYOUT)
        return tt_fail(err, TT_EUNSUPPORTED, "signals: layout %.15g, want %.15g", in[0], LAYOUT);
    if (in[1] != s->classes || in[2] != (double)s->window)
        return tt_fail(err, TT_ESHAPE, "signals: %.15g classes, window %.15g; want %d and %lld",
                       in[1], in[2], s->classes, (long long)s->window);
    sums = in + HEAD + WINDOWS;
    memcpy(w, in + HEAD, sizeof w);
    if (!sound(in, w, sums, 2 * s->classes))
        return tt_fail(err, TT_EPARSE, "signals: a number that no run could have written");
    memcpy(s->w, w, sizeof w);
    s->weight = in[3];
    s->samples = (int64_t)in[4];
    s->batches = (int64_t)in[5];
    s->bad_inputs = (int64_t)in[6];
    s->since = (int64_t)in[7];
    for (int c = 0; c < s->classes; c++) {
        s->mean_p[c] = (float)sums[c];
        s->counts[c] = (float)sums[s->classes + c];
    }
    return TT_OK;
}
