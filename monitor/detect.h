// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_DETECT_H
#define TT_MONITOR_DETECT_H

#include <stdbool.h>
#include <stddef.h>

#include "monitor/signals.h"

/*
 * A detector turns the readings of one signal into one statistic and its threshold.  It judges
 * one reading at a time; how many in a row make a trip, hysteresis and what is then done are the
 * guard's.  Its state is an array of doubles and nothing else, so a snapshot can hold it.
 * A new detector: a name in the list, a row in detect.c, a golden trace in the tests.
 */
#define TT_DETECTORS(X)        X(threshold) X(ewma)

#define TT_DETECTOR_ENUM(name) TT_DETECT_##name,
enum tt_detector_kind { TT_DETECTORS(TT_DETECTOR_ENUM) TT_NDETECTORS };
#undef TT_DETECTOR_ENUM

#define TT_DETECT_STATE 24 // doubles; at least every row's nstate

/* A point in a stream's life. */
struct tt_mark {
    double sample, batch; // answered so far
    double ms, step;      // wall time; step of the version that answered
};

struct tt_detect_options {
    enum tt_bad bad;         // which side is bad
    double trip, clear;      // threshold: values of the signal; ewma: sigmas (clear <= trip)
    double min_samples;      // fewer behind a statistic: inconclusive
    double half_life;        // ewma: samples
    double baseline, spread; // mean, and standard deviation of one sample; NaN: learn them
    double baseline_samples; // from so many first samples
    double unit;             // 1: the signal is a share, so no spread is below one sample's worth
};

/* What the detector makes of the readings so far. */
struct tt_evidence {
    bool conclusive;  // enough data; else statistic may be NaN and the two below are false
    bool alarm;       // the statistic is past its threshold
    bool clear;       // it is back past the clearing value
    double statistic; // threshold: the windowed value; ewma: sigmas from the baseline
    double threshold;
    double share;         // of the threshold, 0..1; 1 is alarm
    double baseline;      // NaN: none
    double observed;      // the signal's value behind the statistic
    double n;             // samples behind it
    struct tt_mark since; // threshold: the first reading of the run past the threshold;
                          // ewma: the last time within a sigma of the baseline.  The change point.
};

struct tt_detector {
    const char *name, *help, *source;
    int nstate; // doubles
    void (*init)(const struct tt_detect_options *o, double *state);
    /* Another version answers: forget its predecessor's evidence, keep what was normal. */
    void (*restart)(const struct tt_detect_options *o, double *state);
    /* One reading with something fresh in it. */
    void (*feed)(const struct tt_detect_options *o, double *state, const struct tt_reading *r,
                 const struct tt_mark *at);
    void (*read)(const struct tt_detect_options *o, const double *state, struct tt_evidence *ret);
};

extern const struct tt_detector tt_detectors[TT_NDETECTORS];

#endif
