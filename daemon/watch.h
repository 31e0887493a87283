// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_WATCH_H
#define TT_DAEMON_WATCH_H

#include "daemon/daemon.h"

/* Do the threads that serve move: the data loop, the control loop, each worker?  One that has been
 * at work for longer than limits.stuck_ms without coming back for more does not; then health says
 * which (TT_HEALTH_STUCK) until it moves again.  Any thread. */
bool tt_watch(struct tt_daemon *d, int64_t now_us);

#endif
