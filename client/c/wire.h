// SPDX-License-Identifier: Apache-2.0
#ifndef TTAD_WIRE_H
#define TTAD_WIRE_H

/*
 * The layout of messages, shared by the daemon and its clients.  A message is a row of
 * ZeroMQ frames:
 *
 *     [TTAD/1][JSON header][tensor 0][tensor 1]...
 *
 * Tensors are raw bytes, little-endian, row-major; each input (output) of the header that has
 * "parameters":{"binary_data_size":N} owns the next frame, of exactly N bytes.
 *
 * Request headers: {"op","id","model_name","model_version","parameters","inputs","outputs"}.
 * An input's "scale", "mean" and "std" beside it ask for (x * scale - mean) / std.
 *
 * What an op wants beside tensors stands in "parameters":
 *   hello      client, client_version
 *   infer      stream_id, policy (used when the stream opens), deadline_ms, on_deadline
 *              (frozen|refuse)
 *   feedback   stream_id; id is that of the request that the labels are for
 *   cancel     stream_id, request_id: drops what waits under that id, which is answered with
 *              CANCELLED; "state" of the reply: dropped|under_way|unknown
 *   stream     action (open|close|reset|describe), stream_id, policy
 *   snapshot, snapshots, rollback (version), freeze, thaw: stream_id; actor, reason
 *   load       path, replace (true: in the place of another), actor; model_name is what it is
 * called unload     actor; model_name reload     actor log_level  level (err|warn|info|debug) ping,
 * status, models, streams, drain: nothing Reply headers echo "op" and "id"; an infer reply is an
 * OIP response, what happened stands in its "parameters".  An error is
 * {"op":"error","id","error","code","retry_after_ms"}.
 *
 * An event is [topic][8 bytes sequence number, big-endian][JSON].
 */
#define TTAD_WIRE_MAGIC      "TTAD/1"
#define TTAD_WIRE_HEADER_MAX 262144   // bytes of a JSON header
#define TTAD_WIRE_DEPTH_MAX  16       // levels of nesting in it
#define TTAD_WIRE_REPLY_MAX  16777216 // bytes of a reply's header that a client reads
#define TTAD_WIRE_ID_MAX     64       // bytes of a request id
#define TTAD_WIRE_NAME_MAX   128      // bytes of a stream's, model's or tensor's name
#define TTAD_WIRE_PATH_MAX   1024     // bytes of a file's path
#define TTAD_WIRE_TENSORS    8        // inputs, or outputs, of one request
#define TTAD_WIRE_CHANNELS   16       // of an input's "mean" and "std"
#define TTAD_WIRE_SEQ_BYTES  8

#endif
