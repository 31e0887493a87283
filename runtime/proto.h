// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_PROTO_H
#define TT_RUNTIME_PROTO_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * Protocol buffers from a source that is not trusted.  The bytes are walked once before
 * protobuf-c sees them, because it recurses as deep as they say: nesting is bounded, every
 * length is inside its message, and text is UTF-8 without NUL.
 */
#define TT_PROTO_DEPTH 64 // messages inside messages; an ONNX graph without subgraphs needs 8

/* Unpack a message of that type into arena, which owns all of it.  The error names the byte. */
TT_MUST_CHECK enum tt_code tt_proto_unpack(const ProtobufCMessageDescriptor *type, const void *data,
                                           size_t n, struct tt_arena *arena,
                                           const ProtobufCMessage **ret, struct tt_err *err);

#endif
