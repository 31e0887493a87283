// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_SLOTS_H
#define TT_MONITOR_SLOTS_H

#include "base/arena.h"
#include "base/err.h"

/*
 * A file of two slots that are written in turn, so that one of them is whole whenever the process
 * is killed.  Bytes in, bytes out; what they mean is the caller's.
 *
 * A write is pwrite() without fsync: it outlives the process, not the machine.  Each slot has a
 * number, its length and a checksum of 64 bits over all of it, by which a slot that was cut off in
 * the middle is told from a whole one; it finds accidents (any change within one word for certain,
 * another with probability 1 - 2^-64), it does not stop a forger.
 */
struct tt_piece {
    const void *bytes;
    size_t n;
};

/* Write the parts as slot number seq (from 1 on) of <dir>/<name>; the file is made, or made anew
 * when fresh or when it does not fit, under a temporary name, with room for both slots.  dir is
 * made (one level, mode 0750) where it is missing.  After an error the slot before is whole. */
TT_MUST_CHECK enum tt_code tt_slots_write(const char *dir, const char *name, uint64_t seq,
                                          bool fresh, const struct tt_piece *parts, int nparts,
                                          struct tt_err *err);

struct tt_slots {
    int n; // slots that are whole, the newest first
    struct {
        uint64_t seq;
        const void *bytes;
        size_t n;
    } slot[2];
    bool cut; // something was written that is not whole: older bytes than the newest are here
};

/* Read a regular file of at most limit bytes.  In arena.  TT_ENOTFOUND: there is none; TT_EPARSE:
 * no slot is whole. */
TT_MUST_CHECK enum tt_code tt_slots_read(const char *dir, const char *name, size_t limit,
                                         struct tt_arena *arena, struct tt_slots *ret,
                                         struct tt_err *err);

#endif
