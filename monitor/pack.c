// SPDX-License-Identifier: Apache-2.0
#include "monitor/fields.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static_assert(TT_COUNTS_BYTES + (size_t)2 * TT_JSON_BYTES + 8192 <= TT_PACK_MAX, "any record fits");
static_assert((size_t)TT_MAXCLASSES * 28 < TT_COUNTS_BYTES, "the counts of every class fit");

/* Bytes of the valid UTF-8 sequence at s, 1 to 4; 0 when there is none.  s ends with a NUL. */
static size_t sequence(const unsigned char *s)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    uint32_t c = n ? s[0] & (0xffu >> (n == 1 ? 1 : n + 1)) : 0;

    for (size_t i = 1; i < n; i++) {
        if (s[i] >> 6 != 2)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (n && (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)))
        return 0;
    return n;
}

size_t tt_utf8_copy(char *dst, size_t limit, const char *s)
{
    size_t at = 0;

    while (*s) {
        size_t n = sequence((const unsigned char *)s);

        if (at + (n ? n : 1) > limit)
            break;
        if (n)
            memcpy(dst + at, s, n);
        else
            dst[at] = '?';
        at += n ? n : 1;
        s += n ? n : 1;
    }
    return at;
}

static unsigned char *put_bits(unsigned char *p, const void *bits)
{
    memcpy(p, bits, 8);
    return p + 8;
}

static unsigned char *put_text(unsigned char *p, const char *s, size_t limit)
{
    uint32_t n = TT_PACK_NULL;

    if (s && *s)
        n = (uint32_t)tt_utf8_copy((char *)p + sizeof n, limit, s);
    memcpy(p, &n, sizeof n);
    return p + sizeof n + (n == TT_PACK_NULL ? 0 : n);
}

static char *put_digits(char *p, int64_t x)
{
    char digits[20];
    int n = 0;
    uint64_t u = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;

    do
        digits[n++] = (char)('0' + u % 10);
    while (u /= 10);
    if (x < 0)
        *p++ = '-';
    while (n)
        *p++ = digits[--n];
    return p;
}

/* {"3":12,"7":1}: classes that were predicted, as JSON. */
static unsigned char *put_counts(unsigned char *start, const int64_t *counts, int64_t classes)
{
    uint32_t n = TT_PACK_NULL;
    char *p = (char *)start + sizeof n;

    if (counts) {
        *p++ = '{';
        for (int64_t c = 0; c < classes && c < TT_MAXCLASSES; c++) {
            if (!counts[c])
                continue;
            if (p[-1] != '{')
                *p++ = ',';
            *p++ = '"';
            p = put_digits(p, c);
            *p++ = '"';
            *p++ = ':';
            p = put_digits(p, counts[c]);
        }
        *p++ = '}';
        n = (uint32_t)(p - ((char *)start + sizeof n));
    }
    memcpy(start, &n, sizeof n);
    return (unsigned char *)p;
}

static unsigned char *put_field(unsigned char *p, const struct tt_field *f, const char *at)
{
    const char *s;
    const int64_t *counts;
    int64_t i = 0, unknown = TT_UNKNOWN;
    double x;

    switch (f->type) {
    case TT_FIELD_TEXT:
        memcpy(&s, at, sizeof s);
        return put_text(p, s, f->limit);
    case TT_FIELD_JSON: // half a JSON text is none
        memcpy(&s, at, sizeof s);
        return put_text(p, s && strlen(s) > f->limit ? "{\"cut\":true}" : s, f->limit);
    case TT_FIELD_COUNTS:
        memcpy(&counts, at, sizeof counts);
        memcpy(&i, at + sizeof counts, sizeof i);
        return put_counts(p, counts, i);
    case TT_FIELD_REAL:
        memcpy(&x, at, sizeof x);
        return put_bits(p, isfinite(x) ? &x : &(double){NAN});
    case TT_FIELD_BOOL:
        i = *(const bool *)(const void *)at;
        return put_bits(p, &i);
    case TT_FIELD_INT:
        return put_bits(p, at);
    case TT_FIELD_NONZERO:
        memcpy(&i, at, sizeof i);
        return put_bits(p, i ? at : (const char *)&unknown);
    }
    return p;
}

size_t tt_record_pack(const struct tt_record *r, unsigned char *buf)
{
    unsigned char *p = put_bits(buf, &r->ts_ms);

    p = put_text(p, r->stream, TT_STREAM_BYTES);
    for (const struct tt_field *f = tt_recipes[r->kind].fields; f->name; f++)
        p = put_field(p, f, (const char *)r + f->offset);
    return (size_t)(p - buf);
}
