// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_CONTROL_H
#define TT_DAEMON_CONTROL_H

#include "daemon/loop.h"

/* Answer an op that needs no worker: hello, ping, status, models, streams, drain.  False: it is
 * another op. */
bool tt_control_here(struct tt_loop *l, struct tt_job *job);

#endif
