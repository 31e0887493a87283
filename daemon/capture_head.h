// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_CAPTURE_HEAD_H
#define TT_DAEMON_CAPTURE_HEAD_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"

/* What stands at the head of a captured file: whose it is, and everything that decides a result but
 * the inputs. */
struct tt_captured_head {
    const char *stream, *model, *model_path, *model_hash;
    const char *policy, *policy_hash, *policy_text;
    const char *ttad, *machine; // the program, and runtime/machine.h
    const char *snapshots;      // directory of the stream's; "": none
    const char *why;            // it was begun: "opened", "full", ...
    int64_t number, threads, ring, feedback_ms, now_ms;
    bool follows; // its state is the one that the file before ended with
};

/* The JSON of a head, in arena; NULL: out of memory. */
const char *tt_captured_head_text(const struct tt_captured_head *h, struct tt_arena *arena);
TT_MUST_CHECK enum tt_code tt_captured_head_read(const char *text, size_t n, struct tt_arena *arena,
                                                 struct tt_captured_head *ret, struct tt_err *err);

#endif
