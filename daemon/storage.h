// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_STORAGE_H
#define TT_DAEMON_STORAGE_H

#include <stdatomic.h>
#include <stdint.h>

/* How much of the disk snapshots may take. */
#define TT_PINS 64 // versions of a stream that decisions name: of the newest 32

/* What all streams share. */
struct tt_room {
    atomic_int_fast64_t used; // bytes
    int64_t most;             // 0: no bound
};

/* What a stream keeps. */
struct tt_storage {
    int newest;           // so many stay
    int64_t bytes;        // most of this stream; 0: no bound
    struct tt_room *room; // NULL: nothing is shared
    int npins;            // that were ever put
    uint64_t pin[TT_PINS];
};

static inline void tt_storage_pin(struct tt_storage *s, uint64_t version)
{
    s->pin[s->npins++ % TT_PINS] = version;
}

#endif
