// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_PROMETHEUS_H
#define TT_DAEMON_PROMETHEUS_H

#include "base/histogram.h"
#include "config/out.h"

/*
 * The text format of Prometheus, 0.0.4: families of samples, each under its HELP and TYPE.  Pure:
 * it writes what it is given, and whatever a label's value holds comes out as one value.
 */
#define TT_PROMETHEUS_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct tt_family {
    const char *name, *type, *help; // type: counter, gauge, histogram
};

struct tt_label {
    const char *key, *value; // a list ends with a NULL key; NULL for the list: none
};

void tt_prometheus_family(struct tt_out *o, const struct tt_family *f);
void tt_prometheus_sample(struct tt_out *o, const struct tt_family *f,
                          const struct tt_label *labels, double value);

/* Buckets in seconds, sum and count. */
void tt_prometheus_histogram(struct tt_out *o, const struct tt_family *f,
                             const struct tt_label *labels, const struct tt_durations *d);

#endif
