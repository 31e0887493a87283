// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_CLIENTS_H
#define TT_DAEMON_CLIENTS_H

#include "daemon/loop.h"

/* Credit: how many requests each client of a loop has under way.  The loop's thread only. */

/* The client that sent the job; NULL: it has nothing under way. */
struct tt_client *tt_clients_find(struct tt_loop *l, const struct tt_job *job);

/* Count the job for its client; false: memory ran out. */
bool tt_clients_take(struct tt_loop *l, struct tt_job *job);

/* The job is answered: its client has that credit again.  A job without a client is nothing. */
void tt_clients_return(struct tt_loop *l, struct tt_job *job);

#endif
