// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_INPUT_H
#define TT_DAEMON_INPUT_H

#include "daemon/daemon.h"
#include "daemon/protocol.h"

/* A request's tensors against a model's: what it wants is said with what came. */
#define TTAD_OUTPUT "logits"

/* Make one matrix (runtime/inputs.h) of a request's tensors, each named, for a model that takes
 * several; a request for a model of one input, or that has the matrix already, stays as it is. */
enum tt_wire tt_input_join(struct tt_request *q, const struct tt_served_model *m, int64_t max_rows,
                           struct tt_arena *arena, struct tt_refusal *r);

/* Whether an infer request is one that the model can answer. */
enum tt_wire tt_input_check(struct tt_request *q, const struct tt_served_model *m,
                            const struct tt_policy *policy, int64_t max_rows, struct tt_refusal *r);

/* The batch as the model wants it.  out [elements of the input]; the request was checked. */
void tt_input_read(struct tt_request *q, const struct tt_served_model *m,
                   const struct tt_policy *policy, float *out);

#endif
