// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_ADOPT_H
#define TT_DAEMON_ADOPT_H

#include "daemon/stream.h"

/*
 * A stream whose policy changes while it is open, between two batches.
 *
 * The same method (everything from select to predict): its versions stay as they are.  Guards that
 * did not change go on with their evidence (monitor/guard.h); another window forgets it.
 *
 * Another method: versions have other names, so they are made anew.  Where every parameter that
 * was adapted still is, their numbers are carried over, in the version that serves and in those
 * that can be gone back to: parameters and statistics by name and shape, the optimizer's state when
 * it is the same optimizer over the same parameters, else fresh.  Otherwise the source serves.
 * A snapshot of what serves, and of the newest good version, is written at once: the files from
 * before are another method's and are not read back.
 */
struct tt_adopted {
    bool method; // it is another one
    bool kept;   // and the numbers were carried over
    struct tt_guard_adopted guard;
};

/* before and plan: of the present policy and of the new one, which s follows once this returns.
 * source: plan's, to share.  On an error nothing has changed. */
TT_MUST_CHECK enum tt_code tt_stream_adopt(struct tt_stream *s, const struct tt_policy *policy,
                                           const struct tt_plan *before, const struct tt_plan *plan,
                                           float *source, int64_t now_ms, struct tt_adopted *ret,
                                           struct tt_err *err);

#endif
