// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_SNAPSHOTS_H
#define TT_DAEMON_SNAPSHOTS_H

#include "daemon/stream.h"

/*
 * A version of a stream as the bytes of a safetensors file, and back: tensors as the plan names
 * them ("p/", "o/", "s/", "e/"), the monitor's state ("d/signals", "d/guard"), and as metadata
 * whose they are and a hash over all of it.
 */
#define TT_SNAPSHOT_FORMAT "ttad-snapshot-1"

/* Write version v of s with the monitor's present state.  In arena. */
TT_MUST_CHECK enum tt_code tt_snapshot_encode(const struct tt_stream *s, const struct tt_plan *plan,
                                              const struct tt_version *v, const char *reason,
                                              struct tt_arena *arena, void **ret, size_t *ret_n,
                                              struct tt_err *err);

struct tt_decoded {
    struct tt_version version;     // its block is the caller's
    const double *signals, *guard; // in arena
    size_t nsignals, nguard;
};

/* Read a version into ret->version.block [floats], which is half filled after an error.
 * TT_EDENIED: it is sound, but of another model or method.  Anything else: it is damaged. */
TT_MUST_CHECK enum tt_code tt_snapshot_decode(const struct tt_stream *s, const struct tt_plan *plan,
                                              const void *bytes, size_t n, struct tt_arena *arena,
                                              struct tt_decoded *ret, struct tt_err *err);

#endif
