// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_PROTO_H
#define TT_RUNTIME_PROTO_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "runtime/feed.h"

/*
 * Protocol buffers from a source that is not trusted, read in one pass into the structs that
 * protoc-c makes.  protobuf-c's own unpack wants the whole message in memory and copies all of it,
 * which for a model is two more times its weights, and it recurses as deep as the bytes say.  Here
 * nothing but a window of the source is held, long fields of bytes go where the caller wants
 * them, nesting is bounded, every length is inside its message, and text is UTF-8 without NUL.
 *
 * As the format has it, the last value of a field counts; a message that is no list may be given
 * once.  Fields that the type does not have are skipped.
 */
#define TT_PROTO_DEPTH 64   // messages inside messages; an ONNX graph without subgraphs needs 8
#define TT_PROTO_LONG  1024 // bytes from which on a field of bytes is the caller's to place

/* Place a field of bytes of m: read all of bytes->size from bytes, once, and set *ret.  What m
 * holds by now is what came before in the file. */
typedef enum tt_code tt_proto_place(void *ctx, ProtobufCMessage *m,
                                    const ProtobufCFieldDescriptor *field,
                                    const struct tt_feed *bytes, ProtobufCBinaryData *ret,
                                    struct tt_err *err);

/* Read a message of that type; arena owns all of it that place (NULL: not asked) does not put
 * elsewhere.  The error names the byte. */
TT_MUST_CHECK enum tt_code tt_proto_read(const ProtobufCMessageDescriptor *type,
                                         const struct tt_feed *feed, struct tt_arena *arena,
                                         tt_proto_place *place, void *ctx, ProtobufCMessage **ret,
                                         struct tt_err *err);

#endif
