// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_CAPTURED_H
#define TT_DAEMON_CAPTURED_H

#include "base/tape.h"
#include "daemon/decide.h"
#include "daemon/inputs.h"
#include "daemon/labels.h"
#include "daemon/stream.h"

/*
 * What a captured stream's files hold (daemon/capture.c writes them, daemon/rerun.c reads them):
 *
 *     <database>.captures/<stream, encoded>/<number, 8 digits>.capture
 *
 * A file begins with TT_CAPTURE_MAGIC; then come records: one of kind `head` (JSON,
 * daemon/capture_head.h), one of kind `state` (the whole stream, so
 * that each file can be run again on its own), and one for each operation on the stream, with its
 * inputs and with what came of it.  A record's checksum is over itself and that of the one before.
 */
#define TT_CAPTURE_MAGIC "ttad-capture-1\n" // and its NUL

#define TT_CAPTURED_KINDS(X)                                                                  \
    X(TT_CAPTURED_HEAD, "head")                                                               \
    X(TT_CAPTURED_STATE, "state")                                                             \
    X(TT_CAPTURED_BATCH, "batch")       /* tt_stream_step */                                  \
    X(TT_CAPTURED_SETTLE, "settle")     /* tt_stream_settle, when a version became good */    \
    X(TT_CAPTURED_FEEDBACK, "feedback") /* tt_stream_feedback */                              \
    X(TT_CAPTURED_ORDER, "order")       /* tt_stream_order */                                 \
    X(TT_CAPTURED_KEEP, "keep")         /* tt_versions_keep, for a snapshot */                \
    X(TT_CAPTURED_RING, "ring")         /* checkpoints that memory or disk had no room for */ \
    X(TT_CAPTURED_END, "end")           /* of the file, on purpose */

#define TT_CAPTURED_ENUM(kind, name) kind,
enum tt_captured_kind { TT_CAPTURED_KINDS(TT_CAPTURED_ENUM) TT_NCAPTURED_KINDS };
#undef TT_CAPTURED_ENUM

/* Before each record; then `walked` bytes of numbers and texts, and the rest as it came. */
struct tt_captured_frame {
    uint32_t kind, walked;
    uint64_t seq, bytes; // of the operation in the stream; of the record without this
    uint64_t checksum;   // of the record, and of all before it
    uint64_t own;        // of the above, so that a length can be believed
};

/* What a stream is after an operation. */
struct tt_after {
    char serving[TT_HASH_SHORT + 1];
    int64_t step;
    int64_t guard;   // enum tt_guard_state
    uint64_t digest; // of all that decides what comes next: versions, signals, guard, counters
};

struct tt_captured_batch {
    char id[TTAD_WIRE_ID_MAX + 1];
    int64_t now_ms, queue_us, took_us;
    bool learn, unkept;
    int64_t why; // enum tt_skip
    struct tt_wire_tensor tensor;
    /* what came of it */
    char version[TT_HASH_SHORT + 1], rolled_back_to[TT_HASH_SHORT + 1], guard[8];
    bool adapted;
    int64_t step, skip;
    double loss, entropy;
    uint64_t answer;  // checksum of the logits
    int64_t nslices;  // of the plan, when a new version serves, else 0
    uint32_t *slices; // the low half of each one's checksum
};

struct tt_captured_feedback {
    char id[TTAD_WIRE_ID_MAX + 1];
    int64_t now_ms, n;
    int64_t *label; // [n]
    struct tt_credited got;
};

struct tt_captured_order {
    int64_t action, now_ms;
    bool thaw;
    char version[TTAD_WIRE_NAME_MAX + 1], actor[TTAD_WIRE_NAME_MAX + 1],
        reason[TTAD_WIRE_NAME_MAX + 1];
    char from[TT_HASH_SHORT + 1], to[TT_HASH_SHORT + 1];
    int64_t to_step;
};

/* What is left of the ring; one that was given up may have been so within the batch that follows.
 */
struct tt_captured_ring {
    int64_t n;
    struct tt_captured_checkpoint {
        char name[TT_HASH_SHORT + 1];
        int64_t state; // enum tt_version_state
    } * checkpoint;    // [n]
};

struct tt_captured {
    enum tt_captured_kind kind;
    int64_t seq;
    int64_t now_ms, good; // settle, keep; versions that became good
    char why[64];         // end
    struct tt_after after;
    struct tt_captured_batch batch; // of these the one that kind says
    struct tt_captured_feedback feedback;
    struct tt_captured_order order;
    struct tt_captured_ring ring;
};

const char *tt_captured_kind_name(enum tt_captured_kind kind);

/* One record, in either direction; arrays that are read are in arena.  Kinds batch to end. */
void tt_captured_walk(struct tt_tape *t, struct tt_captured *c, struct tt_arena *arena);

void tt_captured_walk_after(struct tt_tape *t, struct tt_after *a);

/* The whole stream, in either direction; reading into one that was just made for the same model and
 * policy.  On a bad tape the stream is half filled. */
void tt_captured_state(struct tt_tape *t, struct tt_stream *s);

/* What s is now; false: out of memory. */
TT_MUST_CHECK bool tt_captured_after(const struct tt_stream *s, struct tt_arena *scratch,
                                     struct tt_after *ret);

/* The checksum of a record's parts, after the one before. */
uint64_t tt_captured_own(const struct tt_captured_frame *f);
uint64_t tt_captured_checksum(uint64_t before, const struct tt_captured_frame *f,
                              const void *walked, const void *rest);

#endif
