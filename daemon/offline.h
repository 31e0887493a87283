// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_OFFLINE_H
#define TT_DAEMON_OFFLINE_H

#include "daemon/stream.h"
#include "policies/policy.h"
#include "runtime/npy.h"

/*
 * A policy over an array, without a daemon: the model, the policy, the inputs in the order asked
 * for, and the labels to score by.  For `ttad adapt`.
 */
enum tt_order { TT_ORDER_GIVEN, TT_ORDER_SHUFFLE, TT_ORDER_SORTED, TT_NORDERS };

struct tt_offline_spec {
    const char *model, *policy, *inputs, *labels; // files; labels may be NULL
    int64_t batch, seed;
    enum tt_order order;
};

struct tt_offline {
    struct tt_arena arena;
    struct tt_model *model;
    struct tt_policy *policy;
    struct tt_plan *plan;
    struct tt_npy inputs;
    bool images;    // UINT8, through the policy's preprocess
    int64_t n;      // samples
    int64_t batch;  // rows of all batches but the last
    int64_t *index; // [n] the order that they come in
    int32_t *label; // [n] by place in the file; NULL: none given
    size_t floats;  // a row
};

/* Load and check everything; problems of the policy are printed on stderr with their places.
 * Close it even when it failed. */
TT_MUST_CHECK enum tt_code tt_offline_open(struct tt_offline *o, const struct tt_offline_spec *s,
                                           struct tt_err *err);
void tt_offline_close(struct tt_offline *o);

/* The rows [first, first + n) of the order, as the model takes them: x [n, row]. */
void tt_offline_rows(const struct tt_offline *o, int64_t first, int64_t n, float *x);

#endif
