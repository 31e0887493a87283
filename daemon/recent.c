// SPDX-License-Identifier: Apache-2.0
#include "daemon/recent.h"

#include <assert.h>
#include <string.h>

static_assert(TTAD_WIRE_ID_MAX < 256, "a length is a byte");

void tt_recent_add(struct tt_recent *r, const char *id)
{
    const int n = (int)strlen(id);
    int out = 0;

    if (!n || n > TTAD_WIRE_ID_MAX)
        return;
    while (r->used - out + 1 + n > TT_RECENT_BYTES)
        out += 1 + r->bytes[out];
    memmove(r->bytes, r->bytes + out, (size_t)(r->used - out));
    r->used -= out;
    r->bytes[r->used] = (unsigned char)n;
    memcpy(r->bytes + r->used + 1, id, (size_t)n);
    r->used += 1 + n;
    memset(r->bytes + r->used, 0,
           (size_t)(TT_RECENT_BYTES - r->used)); // the same ids, the same bytes
}

void tt_recent_drop(struct tt_recent *r, const char *id)
{
    const int n = (int)strlen(id);

    if (!n || n > TTAD_WIRE_ID_MAX || r->used < 1 + n)
        return;
    r->used -= 1 + n;
    memset(r->bytes + r->used, 0, (size_t)(TT_RECENT_BYTES - r->used));
}

bool tt_recent_has(const struct tt_recent *r, const char *id)
{
    const size_t n = strlen(id);

    for (int i = 0; n && i < r->used; i += 1 + r->bytes[i])
        if (r->bytes[i] == n && !memcmp(r->bytes + i + 1, id, n))
            return true;
    return false;
}

bool tt_recent_sound(const struct tt_recent *r)
{
    int i = 0;

    if (r->used < 0 || r->used > TT_RECENT_BYTES)
        return false;
    while (i < r->used && r->bytes[i] && r->bytes[i] <= TTAD_WIRE_ID_MAX)
        i += 1 + r->bytes[i];
    return i == r->used;
}
