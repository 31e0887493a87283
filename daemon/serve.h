// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_SERVE_H
#define TT_DAEMON_SERVE_H

#include <jansson.h>

#include "daemon/worker.h"

/* What a worker does with a job: each ends with an answer on its way back.  An update that is put
 * off comes before everything else that is done with its lane. */
void tt_serve_job(struct tt_worker *w, struct tt_job *job);

/* A batch (daemon/infer.c); the lane's stream is open. */
void tt_serve_infer(struct tt_worker *w, struct tt_job *job);

/* Learn from the lane's last batch, if that was put off until after its answer.  drop: only let the
 * guard judge it. */
void tt_serve_update(struct tt_worker *w, struct tt_lane *lane, bool drop);

/* The ops of the control socket that are about one stream (daemon/orders.c). */
void tt_serve_order(struct tt_worker *w, struct tt_job *job);

/* Its state, held by the daemon's health or by its own guard, and why.  Under the worker's lock. */
const char *tt_serve_state(const struct tt_lane *lane, char why[TT_LINE_BYTES]);

/* A stream as clients and people see it. */
json_t *tt_serve_describe(const struct tt_lane *lane);

#endif
