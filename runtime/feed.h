// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_FEED_H
#define TT_RUNTIME_FEED_H

#include <stdint.h>

#include "base/err.h"

/*
 * Bytes in order, from wherever they come: a file, memory, a piece of either.  Each is handed out
 * once, so that who reads puts it where it is to stay.
 */
struct tt_feed {
    void *from;
    uint64_t size; // bytes in all; nobody asks for more
    /* Write the next n bytes to to.  On failure the rest of the feed is lost. */
    enum tt_code (*read)(void *from, void *to, size_t n, struct tt_err *err);
};

#endif
