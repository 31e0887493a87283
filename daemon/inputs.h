// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_INPUTS_H
#define TT_DAEMON_INPUTS_H

#include <jansson.h>

#include "daemon/protocol.h"

/* The tensors of a request: the part of tt_proto_decode() below "inputs" and "outputs".
 * Names and shapes are checked against each other and the frames, not against a model. */
enum tt_wire tt_proto_inputs(const json_t *list, const struct tt_frame *frames, int nframes,
                             struct tt_request *ret, struct tt_refusal *r);
enum tt_wire tt_proto_outputs(const json_t *list, struct tt_request *ret, struct tt_refusal *r);

#endif
