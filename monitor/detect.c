// SPDX-License-Identifier: Apache-2.0
#include "monitor/detect.h"

#include <math.h>
#include <string.h>

#define NEAR         1 // sigmas: the mean itself is known no better than that
#define MIN_READINGS 8 // fewer say nothing about how much readings scatter

static bool past(enum tt_bad bad, double x, double limit)
{
    return bad == TT_BAD_ABOVE ? x > limit : x < limit;
}

static double clip01(double x)
{
    return x > 0 ? fmin(x, 1) : 0;
}

/* ---- threshold ------------------------------------------------------------------------------ */

struct threshold {
    double value, n, breach;
    struct tt_mark since;
};

static void threshold_init(const struct tt_detect_options *o, double *state)
{
    const struct threshold s = {.value = NAN};

    (void)o;
    memcpy(state, &s, sizeof s);
}

static void threshold_feed(const struct tt_detect_options *o, double *state,
                           const struct tt_reading *r, const struct tt_mark *at)
{
    struct threshold s;
    bool breach = r->n >= o->min_samples && past(o->bad, r->value, o->trip);

    memcpy(&s, state, sizeof s);
    s.value = r->value;
    s.n = r->n;
    if (breach && s.breach == 0)
        s.since = *at;
    s.breach = breach;
    memcpy(state, &s, sizeof s);
}

/* How far the value has come from normal to the threshold.  Without a baseline normal is 0 for
 * what must not rise and infinity for what must not fall. */
static double threshold_share(const struct tt_detect_options *o, double value)
{
    if (past(o->bad, value, o->trip))
        return 1;
    if (!isnan(o->baseline))
        return o->trip == o->baseline ? 0 : clip01((value - o->baseline) / (o->trip - o->baseline));
    if (!(o->trip > 0 && value > 0))
        return 0;
    return clip01(o->bad == TT_BAD_ABOVE ? value / o->trip : o->trip / value);
}

static void threshold_read(const struct tt_detect_options *o, const double *state,
                           struct tt_evidence *ret)
{
    struct threshold s;

    memcpy(&s, state, sizeof s);
    *ret = (struct tt_evidence){.statistic = s.value,
                                .threshold = o->trip,
                                .baseline = o->baseline,
                                .observed = s.value,
                                .n = s.n,
                                .since = s.since};
    ret->conclusive = s.n >= o->min_samples && !isnan(s.value);
    if (!ret->conclusive)
        return;
    ret->alarm = past(o->bad, s.value, o->trip);
    ret->clear = !past(o->bad, s.value, o->clear);
    ret->share = threshold_share(o, s.value);
}

/* ---- ewma ----------------------------------------------------------------------------------- */

struct ewma {
    double known;            // mean and spread are
    double weight, readings; // learning: samples, readings
    double mean, spread;     // known: the baseline; learning: of the readings so far
    double squares;          // learning: weighted sum of squares about the mean
    double z, variance;      // the average; its variance in units of spread^2
    double n, observed;      // samples charted; the last reading
    struct tt_mark since;    // the last time it was near the mean, or better
};

_Static_assert(sizeof(struct ewma) <= TT_DETECT_STATE * sizeof(double), "TT_DETECT_STATE");
_Static_assert(sizeof(struct threshold) <= TT_DETECT_STATE * sizeof(double), "TT_DETECT_STATE");

static void start_chart(struct ewma *s)
{
    s->z = s->mean;
    s->variance = s->n = 0;
    s->observed = NAN;
}

static void ewma_init(const struct tt_detect_options *o, double *state)
{
    struct ewma s = {.observed = NAN};

    if (!isnan(o->baseline) && !isnan(o->spread)) {
        s.known = 1;
        s.mean = o->baseline;
        s.spread = o->spread;
        start_chart(&s);
    }
    memcpy(state, &s, sizeof s);
}

static void ewma_restart(const struct tt_detect_options *o, double *state)
{
    struct ewma s;

    memcpy(&s, state, sizeof s);
    if (s.known == 0) {
        ewma_init(o, state);
        return;
    }
    start_chart(&s);
    memcpy(state, &s, sizeof s);
}

/* The spread of one sample, from how readings of n samples scatter: E n (x - mean)^2 = spread^2.
 * A baseline without any scatter (no error in 2000 answers) would make the first one infinitely
 * many sigmas: a share is never surer than one more sample could tell. */
static void finish_baseline(const struct tt_detect_options *o, struct ewma *s)
{
    double q = 1 / (s->weight + 2), floor2, spread2 = s->squares / (s->readings - 1);

    if (!isnan(o->baseline)) {
        double off = s->mean - o->baseline;

        spread2 = (s->squares + s->weight * off * off) / s->readings;
        s->mean = o->baseline;
    }
    floor2 = fmax(1e-4 * s->mean * s->mean, o->unit * o->unit * q * (1 - q));
    s->spread = isnan(o->spread) ? sqrt(fmax(spread2, fmax(floor2, 1e-24))) : o->spread;
    s->known = 1;
    start_chart(s);
}

static void learn_baseline(const struct tt_detect_options *o, struct ewma *s, double x, double n)
{
    double d = x - s->mean;

    s->weight += n;
    s->readings++;
    s->mean += d * n / s->weight;
    s->squares += n * d * (x - s->mean);
    if (s->weight >= o->baseline_samples && s->readings >= MIN_READINGS)
        finish_baseline(o, s);
}

static double sigmas(const struct tt_detect_options *o, const struct ewma *s)
{
    double sd = s->spread * sqrt(s->variance);
    double off = o->bad == TT_BAD_ABOVE ? s->z - s->mean : s->mean - s->z;

    return sd > 0 ? off / sd : 0;
}

static void ewma_feed(const struct tt_detect_options *o, double *state, const struct tt_reading *r,
                      const struct tt_mark *at)
{
    struct ewma s;
    double weight = 1 - exp2(-r->fresh_n / o->half_life);

    memcpy(&s, state, sizeof s);
    if (s.known == 0) {
        learn_baseline(o, &s, r->fresh, r->fresh_n);
        s.observed = r->fresh;
    } else {
        if (s.n == 0)
            s.since = *at;
        s.z += weight * (r->fresh - s.z);
        s.variance = (1 - weight) * (1 - weight) * s.variance + weight * weight / r->fresh_n;
        s.n += r->fresh_n;
        s.observed = r->fresh;
        if (sigmas(o, &s) <= NEAR)
            s.since = *at;
    }
    memcpy(state, &s, sizeof s);
}

static void ewma_read(const struct tt_detect_options *o, const double *state,
                      struct tt_evidence *ret)
{
    struct ewma s;

    memcpy(&s, state, sizeof s);
    *ret = (struct tt_evidence){.statistic = NAN,
                                .threshold = o->trip,
                                .baseline = s.known != 0 ? s.mean : NAN,
                                .observed = s.n > 0 ? s.z : s.observed,
                                .n = s.n,
                                .since = s.since};
    ret->conclusive = s.known != 0 && s.n > 0 && s.n >= o->min_samples;
    if (s.known == 0 || !(s.n > 0))
        return;
    ret->statistic = sigmas(o, &s);
    if (!ret->conclusive)
        return;
    ret->alarm = ret->statistic > o->trip;
    ret->clear = ret->statistic <= o->clear;
    ret->share = clip01(ret->statistic / o->trip);
}

/* ---- the table ------------------------------------------------------------------------------ */

#define NSTATE(type) ((int)(sizeof(struct type) / sizeof(double)))

const struct tt_detector tt_detectors[TT_NDETECTORS] = {
    [TT_DETECT_threshold] = {.name = "threshold",
                             .help = "the windowed signal past a fixed value",
                             .source = "a level that is too much whatever was normal before",
                             .nstate = NSTATE(threshold),
                             .init = threshold_init,
                             .restart = threshold_init,
                             .feed = threshold_feed,
                             .read = threshold_read},
    [TT_DETECT_ewma] = {.name = "ewma",
                        .help = "an average that forgets, too many sigmas from its baseline",
                        .source = "Roberts 1959, Control chart tests based on geometric moving "
                                  "averages; exact variance, for readings of any number of samples",
                        .nstate = NSTATE(ewma),
                        .init = ewma_init,
                        .restart = ewma_restart,
                        .feed = ewma_feed,
                        .read = ewma_read},
};
