// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TAIL "...\n"

static atomic_int max_level = TT_LOG_INFO;
static _Thread_local const char *thread_name;

void tt_log_level(enum tt_level level)
{
    atomic_store(&max_level, level);
}

void tt_log_name(const char *name)
{
    thread_name = name;
}

/* Append text with control characters as \xNN; stops before the last bytes that TAIL needs. */
static size_t append_clean(char *ret, size_t at, const char *text, bool *ret_cut)
{
    const size_t end = TT_LOG_LINE - sizeof TAIL - 4;

    for (; *text && at < end; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f)
            at += (size_t)snprintf(ret + at, TT_LOG_LINE - at, "\\x%02x", c);
        else
            ret[at++] = (char)c;
    }
    *ret_cut = *text != '\0';
    return at;
}

size_t tt_log_format(char ret[TT_LOG_LINE], enum tt_level level, int64_t utc_ms, const char *name,
                     const char *msg)
{
    time_t s = (time_t)(utc_ms / 1000);
    struct tm tm;
    bool cut = false;
    size_t at;

    gmtime_r(&s, &tm);
    at = (size_t)snprintf(ret, TT_LOG_LINE, "<%d>%04d-%02d-%02dT%02d:%02d:%02d.%03dZ ", (int)level,
                          tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                          tm.tm_sec, (int)(utc_ms % 1000));
    if (name && *name) {
        at = append_clean(ret, at, name, &cut);
        ret[at++] = ':';
        ret[at++] = ' ';
    }
    if (!cut)
        at = append_clean(ret, at, msg, &cut);
    if (cut) {
        memcpy(ret + at, TAIL, sizeof TAIL - 1);
        return at + sizeof TAIL - 1;
    }
    ret[at++] = '\n';
    return at;
}

void tt_log(enum tt_level level, const char *fmt, ...)
{
    char msg[TT_LOG_LINE], line[TT_LOG_LINE];
    struct timespec now;
    va_list ap;
    size_t n;

    if ((int)level > atomic_load(&max_level))
        return;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof msg, fmt, ap); // a cut message is cut again below
    va_end(ap);
    clock_gettime(CLOCK_REALTIME, &now);
    n = tt_log_format(line, level, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, thread_name,
                      msg);
    if (write(STDERR_FILENO, line, n) < 0)
        return; // there is nowhere to say so
}
