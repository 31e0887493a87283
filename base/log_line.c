// SPDX-License-Identifier: Apache-2.0
#include "base/log_line.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"

#define CUT "..."

struct line {
    char *at;
    bool json;
    bool first; // no member yet
};

static void add(struct line *l, const char *s)
{
    const size_t n = strlen(s);

    memcpy(l->at, s, n);
    l->at += n;
}

/* The character at s, of n bytes, as it is written: ret [n + 8].  Its length there. */
static size_t escape(const char *s, size_t n, char *ret)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned c = u[0];

    if (n == 2)
        c = (c & 0x1fu) << 6 | (u[1] & 0x3fu);
    else if (n == 3)
        c = (c & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
    if (n == 0)
        return (size_t)sprintf(ret, "\\ufffd");
    if (n == 1 && (c == '"' || c == '\\'))
        return (size_t)sprintf(ret, "\\%c", (int)c);
    if (n == 1 && c == '\n')
        return (size_t)sprintf(ret, "\\n");
    if (n <= 3 && (c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 ||
                   (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069)))
        return (size_t)sprintf(ret, "\\u%04x", c); // the last two: they turn the text around
    memcpy(ret, s, n);
    return n;
}

/* s without quotes, escaped, in at most max bytes. */
static void add_escaped(struct line *l, const char *s, size_t max)
{
    const size_t n = strlen(s);
    char *const end = l->at + max - (sizeof CUT - 1);

    for (size_t i = 0, k; i < n; i += k ? k : 1) {
        char c[16];
        size_t len;

        k = tt_text_char(s + i, n - i);
        len = escape(s + i, k, c);
        if (l->at + len > end) {
            add(l, CUT);
            return;
        }
        memcpy(l->at, c, len);
        l->at += len;
    }
}

/* May logfmt have it without quotes? */
static bool is_plain(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f || strchr("\"\\=", *s))
            return false;
    return true;
}

static void add_key(struct line *l, const char *key)
{
    if (!l->first)
        add(l, l->json ? "," : " ");
    l->first = false;
    if (l->json)
        add(l, "\"");
    add(l, key);
    add(l, l->json ? "\":" : "=");
}

static void add_member(struct line *l, const char *key, const char *value, size_t max)
{
    const bool quotes = l->json || !is_plain(value);

    add_key(l, key);
    if (quotes)
        add(l, "\"");
    add_escaped(l, value, max);
    if (quotes)
        add(l, "\"");
}

static const char *level_name(enum tt_level level)
{
    switch (level) {
    case TT_LOG_ERR:
        return "error";
    case TT_LOG_WARN:
        return "warning";
    case TT_LOG_INFO:
        return "info";
    case TT_LOG_DEBUG:
        return "debug";
    }
    return "error";
}

static void add_time(struct line *l, int64_t utc_ms)
{
    time_t s = (time_t)(utc_ms / 1000);
    char text[64];
    struct tm tm;

    gmtime_r(&s, &tm);
    (void)snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   (int)(utc_ms % 1000));
    add_member(l, "ts", text, sizeof text);
}

size_t tt_log_line(char ret[TT_LOG_LINE], const struct tt_log_record *r, enum tt_log_format format,
                   bool journal)
{
    struct line l = {.at = ret, .json = format == TT_LOG_JSON, .first = true};
    char number[32];

    if (journal)
        l.at += snprintf(ret, 8, "<%d>", (int)r->level);
    if (l.json)
        add(&l, "{");
    add_time(&l, r->utc_ms);
    add_member(&l, "level", level_name(r->level), 16);
    if (r->thread && *r->thread)
        add_member(&l, "thread", r->thread, 64);
    add_member(&l, "msg", r->msg, TT_LOG_MSG);
    for (int i = 0; r->fields && i < TT_LOG_FIELDS && r->fields[i].key; i++)
        if (r->fields[i].value && *r->fields[i].value)
            add_member(&l, r->fields[i].key, r->fields[i].value, TT_LOG_VALUE);
    if (r->repeated) {
        (void)snprintf(number, sizeof number, "%lld", (long long)r->repeated);
        add_key(&l, "repeated");
        add(&l, number);
    }
    add(&l, l.json ? "}\n" : "\n");
    return (size_t)(l.at - ret);
}
