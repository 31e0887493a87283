// SPDX-License-Identifier: Apache-2.0
#include "config/out.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST ((size_t)512) // bytes; doubled as needed

void tt_out_init(struct tt_out *o, struct tt_arena *arena)
{
    *o = (struct tt_out){.arena = arena};
}

/* Room for n bytes more and a NUL. */
static bool make_room(struct tt_out *o, size_t n)
{
    size_t cap = o->cap ? o->cap : FIRST;
    char *text;

    if (o->failed || n >= SIZE_MAX / 4 - o->n) {
        o->failed = true;
        return false;
    }
    if (o->n + n < o->cap)
        return true;
    while (cap <= o->n + n)
        cap *= 2;
    text = TT_NEW(o->arena, cap, char);
    if (!text) {
        o->failed = true;
        return false;
    }
    if (o->n)
        memcpy(text, o->text, o->n);
    o->text = text;
    o->cap = cap;
    return true;
}

void tt_out_add(struct tt_out *o, const char *s, size_t n)
{
    if (!make_room(o, n))
        return;
    if (n)
        memcpy(o->text + o->n, s, n);
    o->n += n;
    o->text[o->n] = '\0';
}

void tt_outf(struct tt_out *o, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !make_room(o, (size_t)n)) {
        o->failed = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(o->text + o->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    o->n += (size_t)n;
}

const char *tt_out_text(const struct tt_out *o)
{
    return o->failed ? NULL : o->text ? o->text : "";
}

void tt_out_quoted(struct tt_out *o, const char *s, size_t n)
{
    tt_out_add(o, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '"' || c == '\\')
            tt_outf(o, "\\%c", c);
        else if (c == '\n')
            tt_out_add(o, "\\n", 2);
        else if (c == '\t')
            tt_out_add(o, "\\t", 2);
        else if (c < 0x20 || c == 0x7f)
            tt_outf(o, "\\u%04x", c);
        else
            tt_out_add(o, s + i, 1);
    }
    tt_out_add(o, "\"", 1);
}

void tt_out_number(struct tt_out *o, double v)
{
    char s[40];

    for (int digits = 15; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, v);
        if (strtod(s, NULL) == v)
            break;
    }
    tt_out_add(o, s, strlen(s));
}
