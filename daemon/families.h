// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_FAMILIES_H
#define TT_DAEMON_FAMILIES_H

#include "daemon/daemon.h"
#include "daemon/prometheus.h"

/* What /metrics says, one row each (daemon/families.def). */
struct tt_families_row {
    struct tt_family family;
    const char *labels; // their keys, "a, b"
};

extern const struct tt_families_row tt_families[]; // ends with a NULL name

/* Write all.  No thread that serves is held up: counters are read as they are, streams are asked
 * for what they show a few at a time. */
void tt_families_write(struct tt_daemon *d, struct tt_out *o);

#endif
