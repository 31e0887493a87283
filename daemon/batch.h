// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_BATCH_H
#define TT_DAEMON_BATCH_H

#include "base/hash.h"
#include "client/c/wire.h"
#include "engines/step.h"

/* One batch of a stream: answered, learnt from, judged, recorded. */
struct tt_stream;
struct tt_wire_tensor; // daemon/protocol.h

struct tt_batch {
    const char *id; // of the request; "" or NULL: none
    const float *x; // [rows, row], preprocessed
    int64_t rows;
    bool learn; // false: answer only, and why says what to report
    enum tt_skip why;
    int64_t now_ms; // wall time
    int64_t queue_us;
    int64_t took_us;                     // a replay: how long it took then; 0: measure
    bool unkept;                         // a replay: what was learnt could not be kept then
    const struct tt_wire_tensor *tensor; // x as it came, for the capture; NULL: not known
    float *logits;                       // [rows, classes]; the answer is written here
};

struct tt_result {
    char version[TT_HASH_SHORT + 1]; // that answered
    int64_t step;
    bool adapted;
    bool unkept; // it was learnt from, but that could not be kept
    enum tt_skip skip;
    double loss, entropy;                   // NaN: none
    const char *guard;                      // ok, warn, hold, tripped
    char rolled_back_to[TT_HASH_SHORT + 1]; // "": nothing was rolled back
    int64_t infer_us, adapt_us;
    int64_t took_us;       // until the answer
    const int32_t *labels; // [rows] predicted; until the stream's next step
};

struct tt_follow { // an update that follows an answer
    bool due;
    struct tt_batch batch; // x and tensor are the caller's until tt_stream_follow()
    char id[TTAD_WIRE_ID_MAX + 1];
    struct tt_outcome outcome;
    struct tt_result result;
};

/* Answer a batch, learn from it if policy, guard and caller allow, judge, act on what the guard
 * decides, record; all but the answer is put off if the policy wants it so.  1 <= rows <= the
 * plan's limit.  On an error nothing was answered or learnt. */
TT_MUST_CHECK enum tt_code tt_stream_step(struct tt_stream *s, struct tt_plan *plan,
                                          const struct tt_batch *b, struct tt_result *ret,
                                          struct tt_err *err);

/* After a step whose skip is TT_SKIP_BACKGROUND, before anything else is done with the stream:
 * learn from that batch (why: TT_SKIP_NONE; else why not), judge, act, record.  What was answered
 * stays as it was.  *ret says what has become of the batch.  On an error nothing was learnt. */
TT_MUST_CHECK enum tt_code tt_stream_follow(struct tt_stream *s, struct tt_plan *plan,
                                            enum tt_skip why, struct tt_result *ret,
                                            struct tt_err *err);

#endif
