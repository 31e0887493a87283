// SPDX-License-Identifier: Apache-2.0
#include "daemon/prometheus.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

void tt_prometheus_family(struct tt_out *o, const struct tt_family *f)
{
    tt_outf(o, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, f->type);
}

/* A label's value: UTF-8, with \, " and newline escaped; what is not UTF-8 becomes '?'. */
static void write_value(struct tt_out *o, const char *s)
{
    const size_t n = strlen(s);

    for (size_t i = 0, k; i < n; i += k) {
        k = tt_text_char(s + i, n - i);
        if (!k) {
            tt_out_add(o, "?", 1);
            k = 1;
        } else if (s[i] == '\n') {
            tt_out_add(o, "\\n", 2);
        } else {
            if (s[i] == '\\' || s[i] == '"')
                tt_out_add(o, "\\", 1);
            tt_out_add(o, s + i, k);
        }
    }
}

static void write_labels(struct tt_out *o, const struct tt_label *labels, const char *le)
{
    const char *sep = "{";

    for (; labels && labels->key; labels++, sep = ",") {
        tt_outf(o, "%s%s=\"", sep, labels->key);
        write_value(o, labels->value);
        tt_out_add(o, "\"", 1);
    }
    if (le) {
        tt_outf(o, "%sle=\"%s\"", sep, le);
        sep = ",";
    }
    if (*sep == ',')
        tt_out_add(o, "}", 1);
}

static void write_number(struct tt_out *o, double x)
{
    tt_out_add(o, " ", 1);
    if (isnan(x))
        tt_outf(o, "NaN");
    else if (isinf(x))
        tt_outf(o, x > 0 ? "+Inf" : "-Inf");
    else if (fabs(x) < 1e15 && x == floor(x)) // as counts are written: 100000, not 1e+05
        tt_outf(o, "%.0f", x);
    else
        tt_out_number(o, x);
    tt_out_add(o, "\n", 1);
}

void tt_prometheus_sample(struct tt_out *o, const struct tt_family *f,
                          const struct tt_label *labels, double value)
{
    tt_outf(o, "%s", f->name);
    write_labels(o, labels, NULL);
    write_number(o, value);
}

void tt_prometheus_histogram(struct tt_out *o, const struct tt_family *f,
                             const struct tt_label *labels, const struct tt_durations *d)
{
    int64_t n = 0;
    char le[32];

    for (int i = 0; i <= TT_BOUNDS; i++) {
        n += d->count[i];
        (void)snprintf(le, sizeof le, "%g", i < TT_BOUNDS ? (double)tt_bounds_us[i] / 1e6 : 0);
        tt_outf(o, "%s_bucket", f->name);
        write_labels(o, labels, i < TT_BOUNDS ? le : "+Inf");
        write_number(o, (double)n);
    }
    tt_outf(o, "%s_sum", f->name);
    write_labels(o, labels, NULL);
    write_number(o, (double)d->sum_us / 1e6);
    tt_outf(o, "%s_count", f->name);
    write_labels(o, labels, NULL);
    write_number(o, (double)n);
}
