// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_PHASES_H
#define TT_DAEMON_PHASES_H

#include "daemon/daemon.h"

/* What must be up before the daemon serves, in order; stopped in reverse. */
struct tt_phase {
    const char *name;
    enum tt_code (*start)(struct tt_daemon *d, struct tt_err *err);
    void (*stop)(struct tt_daemon *d);
};

extern const struct tt_phase tt_phases[]; // ends with a row of NULLs

/* Start the table's phases in order.  After a failure, too, the caller calls tt_daemon_down(),
 * which stops what has started and nothing else. */
TT_MUST_CHECK enum tt_code tt_daemon_up(struct tt_daemon *d, const struct tt_phase *phases,
                                        struct tt_err *err);
void tt_daemon_down(struct tt_daemon *d, const struct tt_phase *phases);

#endif
