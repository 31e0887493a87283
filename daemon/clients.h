// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_CLIENTS_H
#define TT_DAEMON_CLIENTS_H

#include "daemon/loop.h"

/* Credit: how many requests each client of a loop has under way.  The loop's thread only. */

/* Count the job for its client; false: the client has no credit left, or memory ran out. */
bool tt_clients_take(struct tt_loop *l, struct tt_job *job);

/* A request of that client is answered; NULL is nothing. */
void tt_clients_return(struct tt_loop *l, struct tt_client *c);

#endif
