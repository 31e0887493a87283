// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_RECENT_H
#define TT_DAEMON_RECENT_H

#include <stdbool.h>

#include "client/c/wire.h"

/*
 * The ids of the last requests that a stream has learnt from, so that none is learnt from twice:
 * as many as fit into TT_RECENT_BYTES, at least 62, about 200 of the usual length.  Plain bytes
 * (a length and the id, one after another, the oldest first), which the journal holds as they are.
 */
#define TT_RECENT_BYTES 4096

struct tt_recent {
    int used;
    unsigned char bytes[TT_RECENT_BYTES];
};

/* Add an id of at most TTAD_WIRE_ID_MAX bytes; the oldest make room.  "" is nothing. */
void tt_recent_add(struct tt_recent *r, const char *id);

/* Take back the newest, which is id. */
void tt_recent_drop(struct tt_recent *r, const char *id);

bool tt_recent_has(const struct tt_recent *r, const char *id);

/* Could tt_recent_add() have made it?  For what was read back. */
bool tt_recent_sound(const struct tt_recent *r);

#endif
