// SPDX-License-Identifier: Apache-2.0
#include "daemon/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "daemon/watch.h"

#define PHASE_S 300   // that a phase may take: models can be gigabytes, snapshots a thousand files
#define STOP_MS 10000 // after the draining, until the first phase ends

static int64_t number_of(const char *name)
{
    const char *s = getenv(name);
    char *end;
    long long v;

    if (!s)
        return -1;
    errno = 0;
    v = strtoll(s, &end, 10);
    return errno || end == s || *end || v < 0 ? -1 : v;
}

void tt_notify_init(struct tt_notify *n, int64_t pid)
{
    const char *path = getenv("NOTIFY_SOCKET");
    const int64_t wanted = number_of("WATCHDOG_USEC"), whose = number_of("WATCHDOG_PID");

    *n = (struct tt_notify){.to = {.sun_family = AF_UNIX}};
    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof n->to.sun_path)
        return;
    memcpy(n->to.sun_path, path, strlen(path));
    if (*path == '@') // Linux's names that are no files
        n->to.sun_path[0] = '\0';
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (n->fd < 0)
        return;
    n->nto = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (wanted > 0 && (whose < 0 || whose == pid))
        n->every_us = wanted / 2;
}

void tt_notify_end(struct tt_notify *n)
{
    if (n->nto)
        close(n->fd);
    n->nto = 0;
}

static void tell(const struct tt_notify *n, const char *fmt, ...) TT_PRINTF(2, 3);

static void tell(const struct tt_notify *n, const char *fmt, ...)
{
    char text[2 * TT_NOTIFY_TEXT];
    va_list ap;

    if (!n->nto)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (sendto(n->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
               (const struct sockaddr *)&n->to, n->nto) < 0)
        tt_log(TT_LOG_WARN, "the supervisor was not told '%.*s': %s, ignoring",
               (int)strcspn(text, "\n"), text, strerror(errno));
}

void tt_notify_phase(struct tt_notify *n, const char *what, const char *phase)
{
    tell(n, "STATUS=%s: %s\nEXTEND_TIMEOUT_USEC=%d000000", what, phase, PHASE_S);
}

void tt_notify_ready(struct tt_notify *n)
{
    n->status[0] = '\0'; // it is said again
    tell(n, "READY=1");
}

void tt_notify_reloading(const struct tt_notify *n, int64_t now_us)
{
    tell(n, "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=reads its configuration", now_us);
}

void tt_notify_reloaded(const struct tt_notify *n)
{
    tell(n, "READY=1\nSTATUS=has read its configuration");
}

void tt_notify_stopping(struct tt_notify *n, int64_t most_ms)
{
    if (n->stopping)
        return;
    n->stopping = true;
    tell(n, "STOPPING=1\nSTATUS=ends: answers what is queued\nEXTEND_TIMEOUT_USEC=%" PRId64,
         (most_ms + STOP_MS) * 1000);
}

int tt_notify_wait(const struct tt_notify *n, int most_ms, int64_t now_us)
{
    const int64_t left = n->next_us > now_us ? n->next_us - now_us : 0;

    if (!n->every_us || (most_ms >= 0 && left / 1000 >= most_ms))
        return most_ms;
    return (int)(left / 1000) + (left % 1000 != 0);
}

/* Why it is not ready, or that it is, in one line; told when it has changed. */
static void tell_status(struct tt_daemon *d)
{
    struct tt_health_reason r[TT_NHEALTHS];
    struct tt_notify *n = &d->notify;
    const int reasons = tt_health_read(&d->health, r);
    char text[TT_NOTIFY_TEXT];

    if (reasons)
        (void)snprintf(text, sizeof text, "not ready: %s: %.200s", r[0].name, r[0].why);
    else
        (void)snprintf(text, sizeof text, "serves %d streams", atomic_load(&d->open_streams));
    tt_text_clean(text);
    if (strcmp(text, n->status) != 0)
        tell(n, "STATUS=%s", text);
    memcpy(n->status, text, sizeof text);
}

void tt_notify_turn(struct tt_daemon *d, int64_t now_us)
{
    struct tt_notify *n = &d->notify;

    if (!n->nto)
        return;
    if (atomic_load(&d->draining))
        tt_notify_stopping(n, d->settings->limits.drain_ms);
    if (!n->every_us || now_us < n->next_us)
        return;
    n->next_us = now_us + n->every_us;
    if (tt_watch(d, now_us)) // what does not move is told by health
        tell(n, "WATCHDOG=1");
    if (!n->stopping)
        tell_status(d);
}
