// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_PROTOCOL_H
#define TT_DAEMON_PROTOCOL_H

#include <stdbool.h>

#include "base/log.h"
#include "client/c/wire.h"
#include "runtime/tensor.h"

/*
 * Frames as structs.  Pure: no sockets, no clock, no state; nothing that came from outside
 * can do more than be refused.  A refusal has a code for the client's program and a sentence
 * for its author.
 */
#define TT_WIRES(X)                     \
    X(TT_WIRE_OK, "OK")                 \
    X(TT_WIRE_BAD_HEADER, "BAD_HEADER") \
    X(TT_WIRE_BAD_TENSOR, "BAD_TENSOR") \
    X(TT_WIRE_BAD_SHAPE, "BAD_SHAPE")   \
    X(TT_WIRE_TOO_LARGE, "TOO_LARGE")   \
    X(TT_WIRE_NO_MODEL, "NO_MODEL")     \
    X(TT_WIRE_NO_STREAM, "NO_STREAM")   \
    X(TT_WIRE_BUSY, "BUSY")             \
    X(TT_WIRE_DEADLINE, "DEADLINE")     \
    X(TT_WIRE_CANCELLED, "CANCELLED")   \
    X(TT_WIRE_DRAINING, "DRAINING")     \
    X(TT_WIRE_NOT_FINITE, "NOT_FINITE") \
    X(TT_WIRE_INTERNAL, "INTERNAL")

#define TT_WIRE_ENUM(wire, name) wire,
enum tt_wire { TT_WIRES(TT_WIRE_ENUM) TT_NWIRES };
#undef TT_WIRE_ENUM

struct tt_refusal {
    enum tt_wire code;
    int64_t retry_after_ms; // TT_WIRE_BUSY
    char msg[TT_ERR_MSG];
};

enum tt_wire tt_refuse(struct tt_refusal *r, enum tt_wire code, const char *fmt, ...)
    TT_PRINTF(3, 4);
const char *tt_wire_name(enum tt_wire code);

/* Where an op is answered. */
enum tt_door { TT_DOOR_DATA = 1, TT_DOOR_CONTROL = 2, TT_DOOR_BOTH = 3 };

/*    ask           name        where             wants a stream, tensors */
#define TT_ASKS(X)                                          \
    X(TT_ASK_HELLO, "hello", TT_DOOR_BOTH, 0, 0)            \
    X(TT_ASK_PING, "ping", TT_DOOR_BOTH, 0, 0)              \
    X(TT_ASK_INFER, "infer", TT_DOOR_DATA, 1, 1)            \
    X(TT_ASK_FEEDBACK, "feedback", TT_DOOR_DATA, 1, 1)      \
    X(TT_ASK_STREAM, "stream", TT_DOOR_DATA, 1, 0)          \
    X(TT_ASK_CANCEL, "cancel", TT_DOOR_DATA, 1, 0)          \
    X(TT_ASK_STATUS, "status", TT_DOOR_CONTROL, 0, 0)       \
    X(TT_ASK_MODELS, "models", TT_DOOR_CONTROL, 0, 0)       \
    X(TT_ASK_STREAMS, "streams", TT_DOOR_CONTROL, 0, 0)     \
    X(TT_ASK_SNAPSHOT, "snapshot", TT_DOOR_CONTROL, 1, 0)   \
    X(TT_ASK_SNAPSHOTS, "snapshots", TT_DOOR_CONTROL, 1, 0) \
    X(TT_ASK_ROLLBACK, "rollback", TT_DOOR_CONTROL, 1, 0)   \
    X(TT_ASK_FREEZE, "freeze", TT_DOOR_CONTROL, 1, 0)       \
    X(TT_ASK_THAW, "thaw", TT_DOOR_CONTROL, 1, 0)           \
    X(TT_ASK_RELOAD, "reload", TT_DOOR_CONTROL, 0, 0)       \
    X(TT_ASK_LOAD, "load", TT_DOOR_CONTROL, 0, 0)           \
    X(TT_ASK_UNLOAD, "unload", TT_DOOR_CONTROL, 0, 0)       \
    X(TT_ASK_LOG_LEVEL, "log_level", TT_DOOR_CONTROL, 0, 0) \
    X(TT_ASK_DRAIN, "drain", TT_DOOR_CONTROL, 0, 0)

#define TT_ASK_ENUM(ask, name, door, stream, tensors) ask,
enum tt_ask { TT_ASKS(TT_ASK_ENUM) TT_NASKS };
#undef TT_ASK_ENUM

enum tt_stream_action { TT_STREAM_OPEN, TT_STREAM_CLOSE, TT_STREAM_RESET, TT_STREAM_DESCRIBE };
#define TT_STREAM_ACTIONS "open|close|reset|describe"

enum tt_dtype { TT_BOOL, TT_UINT8, TT_INT32, TT_INT64, TT_FP16, TT_BF16, TT_FP32, TT_NDTYPES };

/* A tensor of a request: where its bytes are, checked against its shape. */
struct tt_wire_tensor {
    char name[TTAD_WIRE_NAME_MAX + 1];
    enum tt_dtype type;
    int ndim;
    int64_t dim[TT_MAXDIM]; // each >= 1
    int64_t n;              // elements
    int frame;              // which of the message's frames
    const void *data;       // that frame's bytes: unaligned, copy, never cast
    bool prep;              // the client says how numbers become the model's:
    double scale, mean[TTAD_WIRE_CHANNELS], std[TTAD_WIRE_CHANNELS];
    int nmean, nstd; // 0: none given
};

struct tt_request {
    enum tt_ask ask;
    char id[TTAD_WIRE_ID_MAX + 1];      // "" when none was given
    char model[TTAD_WIRE_NAME_MAX + 1]; // "": the only one
    char stream[TTAD_WIRE_NAME_MAX + 1];
    char policy[TTAD_WIRE_NAME_MAX + 1]; // "": the stream's, or the default
    char version[TTAD_WIRE_NAME_MAX + 1];
    char actor[TTAD_WIRE_NAME_MAX + 1], reason[TTAD_WIRE_NAME_MAX + 1];
    char path[TTAD_WIRE_PATH_MAX + 1]; // load: of the file
    bool replace;                      // load: in the place of another model
    enum tt_level level;               // log_level
    enum tt_stream_action action;
    char target[TTAD_WIRE_ID_MAX + 1]; // of cancel: the request
    int64_t deadline_ms;               // from arrival; 0: none
    bool refuse_late;                  // past its deadline it is of no use
    int ninputs;
    struct tt_wire_tensor inputs[TTAD_WIRE_TENSORS];
    int noutputs; // 0: all
    char outputs[TTAD_WIRE_TENSORS][TTAD_WIRE_NAME_MAX + 1];
};

struct tt_frame {
    const void *data;
    size_t size;
};

const char *tt_ask_name(enum tt_ask ask);

/* Read a message (without the sender's identity frame).  On a refusal *ret has the id and op
 * where they could be read, for the reply, and is otherwise undefined. */
enum tt_wire tt_proto_decode(const struct tt_frame *frames, int nframes, enum tt_door door,
                             struct tt_request *ret, struct tt_refusal *r);

#endif
