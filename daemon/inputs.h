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

const char *tt_dtype_name(enum tt_dtype type);
size_t tt_dtype_size(enum tt_dtype type); // bytes of one element

/* Elements as float32 (a number is rounded, BOOL is 0 or 1).  out [t->n] */
void tt_dtype_floats(const struct tt_wire_tensor *t, float *out);

/* Elements as labels; false: not of INT64, INT32 or UINT8.  out [t->n] */
bool tt_dtype_labels(const struct tt_wire_tensor *t, int64_t *out);

#endif
