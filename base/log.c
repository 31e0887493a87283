// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log_line.h"
#include "base/log_repeat.h"

static atomic_int max_level = TT_LOG_INFO, as = TT_LOG_LOGFMT;
static _Thread_local const char *thread_name;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool journal; // stderr is journald's

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of repeats
static struct tt_log_repeats repeats;

/* $JOURNAL_STREAM is the device and inode of the stream that journald gave us. */
static void look_at_stderr(void)
{
    const char *s = getenv("JOURNAL_STREAM");
    struct stat st;
    char mine[64];

    if (!s || fstat(STDERR_FILENO, &st) != 0)
        return;
    (void)snprintf(mine, sizeof mine, "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
    journal = !strcmp(s, mine);
}

void tt_log_format(enum tt_log_format format)
{
    atomic_store(&as, (int)format);
}

void tt_log_level(enum tt_level level)
{
    atomic_store(&max_level, (int)level);
}

void tt_log_name(const char *name)
{
    thread_name = name;
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void write_line(const struct tt_log_record *r)
{
    char line[TT_LOG_LINE];
    const size_t n = tt_log_line(line, r, (enum tt_log_format)atomic_load(&as), journal);

    if (write(STDERR_FILENO, line, n) < 0)
        return; // there is nowhere to say so
}

/* Locked.  What was counted and not written. */
static void write_counted(int64_t ms, bool all)
{
    struct tt_log_repeat counted;

    while (tt_log_repeat_due(&repeats, ms, all, &counted))
        write_line(&(struct tt_log_record){.level = counted.level,
                                           .utc_ms = ms,
                                           .thread = thread_name,
                                           .msg = counted.msg,
                                           .repeated = counted.held});
}

static void put(enum tt_level level, const struct tt_log_field *fields, const char *fmt, va_list ap)
{
    char msg[TT_LOG_MSG + 1];
    struct tt_log_record r = {
        .level = level, .utc_ms = now_ms(), .thread = thread_name, .msg = msg, .fields = fields};
    bool writes;

    (void)pthread_once(&once, look_at_stderr);
    (void)vsnprintf(msg, sizeof msg, fmt, ap); // what is longer is cut
    pthread_mutex_lock(&lock);
    writes = tt_log_repeat_take(&repeats, &r);
    write_counted(r.utc_ms, false);
    pthread_mutex_unlock(&lock);
    if (writes)
        write_line(&r);
}

void tt_log(enum tt_level level, const char *fmt, ...)
{
    va_list ap;

    if ((int)level > atomic_load(&max_level))
        return;
    va_start(ap, fmt);
    put(level, NULL, fmt, ap);
    va_end(ap);
}

void tt_log_with(enum tt_level level, const struct tt_log_field *fields, const char *fmt, ...)
{
    va_list ap;

    if ((int)level > atomic_load(&max_level))
        return;
    va_start(ap, fmt);
    put(level, fields, fmt, ap);
    va_end(ap);
}

void tt_log_flush(void)
{
    pthread_mutex_lock(&lock);
    write_counted(now_ms(), true);
    pthread_mutex_unlock(&lock);
}
