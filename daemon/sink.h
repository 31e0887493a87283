// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_SINK_H
#define TT_DAEMON_SINK_H

#include "base/err.h"
#include "monitor/record.h"

/* Where what happens is told.  Members may be NULL. */
struct tt_sink {
    void *ctx;
    int64_t (*put)(void *ctx, const struct tt_record *r); // returns a ticket
    /* Until ticket is on the disk; a failure is told, the stream goes on. */
    enum tt_code (*sync)(void *ctx, int64_t ticket, struct tt_err *err);
    void (*journal)(void *ctx, const char *why);                 // it failed; NULL: it was written
    void (*snapshot)(void *ctx, int64_t bytes, const char *why); // one could not be written
    /* Have a snapshot file synced by somebody else, and ask what became of it (daemon/sync.h);
     * NULL: the caller does it. */
    int64_t (*sync_file)(void *ctx, const char *dir, const char *name);
    enum tt_code (*synced)(void *ctx, int64_t ticket, struct tt_err *err);
    /* Could an order be recorded?  NULL: yes. */
    enum tt_code (*room)(void *ctx, struct tt_err *err);
    bool (*may_learn)(void *ctx);        // false: what is learnt could not be kept; NULL: it can
    int64_t (*next_decision)(void *ctx); // a number that was never given out
    int64_t (*clock_us)(void *ctx);      // monotonic, for latencies; NULL: they are 0
};

#endif
