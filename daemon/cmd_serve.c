// SPDX-License-Identifier: Apache-2.0
#include "daemon/commands.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/loop.h"
#include "daemon/notify.h"
#include "daemon/phases.h"

static const char usage[] =
    "usage: ttad serve --config FILE\n"
    "\n"
    "  Serve the models of the configuration and adapt them as its policies say, until SIGTERM or\n"
    "  SIGINT: then answer what is queued, write snapshots, and end.  A second signal ends "
    "without\n"
    "  waiting.  SIGHUP reads the configuration, its policies and models again; a mistake changes\n"
    "  nothing.  ttad check FILE checks a configuration; ttad check --example prints every key.\n";

static int wake = -1, hangup = -1; // the handler's; eventfds

/* A plain handler: OpenBLAS has threads before main, so a mask would not cover them. */
static void on_signal(int sig)
{
    const uint64_t one = 1;
    const int saved = errno;

    if (write(sig == SIGHUP ? hangup : wake, &one, sizeof one) < 0)
        _exit(1); // nobody would ever learn of it
    errno = saved;
}

static void catch_signals(void)
{
    struct sigaction drain = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN}, now;

    sigemptyset(&drain.sa_mask);
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGTERM, &drain, NULL);
    sigaction(SIGINT, &drain, NULL);
    if (sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler != SIG_IGN) // nohup(1) says no
        sigaction(SIGHUP, &drain, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

#define LARGE (4 << 20) // bytes of a block that the system gets back at once

/* Left to itself, glibc learns from the first plan that is freed to take blocks of that size from
 * its heaps, and to keep as much again free at the top of each, which malloc_trim() does not reach
 * in threads' heaps: tens of MiB that look like a leak. */
static void bound_heaps(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, LARGE);
    (void)mallopt(M_TRIM_THRESHOLD, LARGE);
}

static int serve(struct tt_daemon *d)
{
    char text[TT_LINE_BYTES];
    struct tt_err err;
    int status = 0;

    if (tt_daemon_up(d, tt_phases, &err) == TT_OK) {
        (void)snprintf(text, sizeof text, "ttad " TTAD_VERSION " serves on %s, boot %s",
                       d->settings->data.s[0], d->boot_id);
        tt_daemon_event(d, "daemon", "info", text);
        tt_notify_ready(&d->notify);
        tt_loop_run(d->data);
        tt_notify_stopping(&d->notify, 0);
    } else {
        tt_log(TT_LOG_ERR, "%s", err.msg);
        status = 1;
    }
    tt_daemon_down(d, tt_phases);
    return status;
}

int tt_cmd_serve(int argc, char **argv)
{
    struct tt_daemon d = {.config = NULL};
    int status;

    if (argc == 2 && !strcmp(argv[1], "--help")) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc != 3 || strcmp(argv[1], "--config") != 0) {
        fputs(usage, stderr);
        return 2;
    }
    (void)umask(027); // record, snapshots and sockets are the user's and the group's to read
    d.config = argv[2];
    d.started_ms = tt_now_ms();
    d.started_us = tt_now_us();
    tt_arena_init(&d.arena, 0);
    d.wake = wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    d.hangup = hangup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0 || hangup < 0) {
        tt_log(TT_LOG_ERR, "eventfd: %s", strerror(errno));
        return 1;
    }
    tt_health_init(&d.health, tt_daemon_tell, &d);
    tt_notify_init(&d.notify, getpid());
    bound_heaps();
    catch_signals();
    tt_log_name("main");
    status = serve(&d);
    tt_health_end(&d.health);
    tt_notify_end(&d.notify);
    tt_arena_release(&d.arena);
    close(wake);
    close(hangup);
    if (!status)
        tt_log(TT_LOG_INFO, "ends");
    tt_log_flush();
    return status;
}
