// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_LABELS_H
#define TT_DAEMON_LABELS_H

#include "daemon/stream.h"

/* Labels that come after the answer. */
struct tt_labels {
    const char *id;       // of the request that they are for
    const int64_t *label; // [n]; -1: not known
    int64_t n, now_ms;
};
struct tt_credited {
    char version[TT_HASH_SHORT + 1]; // that had answered
    int64_t n, correct, base_n, base_correct;
};

/* Credit labels to the version that answered.  TT_ENOTFOUND: the request is not remembered;
 * TT_ESHAPE: another number of labels; TT_ERANGE: no such class; TT_EBUSY: it has labels already.
 */
TT_MUST_CHECK enum tt_code tt_stream_feedback(struct tt_stream *s, const struct tt_labels *l,
                                              struct tt_credited *ret, struct tt_err *err);

#endif
