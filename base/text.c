// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <stdint.h>
#include <string.h>

size_t tt_text_char(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    uint32_t c;
    size_t len;

    if (!n)
        return 0;
    if (u[0] < 0x80)
        return 1;
    if (u[0] < 0xc2 || u[0] > 0xf4)
        return 0;
    len = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
    if (n < len)
        return 0;
    c = u[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (u[i] & 0x3fu);
    }
    if ((len == 3 && c < 0x800) || (len == 4 && c < 0x10000) || c > 0x10ffff ||
        (c >= 0xd800 && c <= 0xdfff))
        return 0;
    return len;
}

void tt_text_clean(char *s)
{
    size_t left = strlen(s);

    while (left) {
        size_t n = tt_text_char(s, left);

        if (!n || (unsigned char)*s < 0x20 || *s == 0x7f) {
            *s = '?';
            n = 1;
        }
        s += n;
        left -= n;
    }
}
