// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_NOTIFY_H
#define TT_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/*
 * What a supervisor is told, by the protocol of sd_notify(3): one datagram a message, without a
 * library.  Without $NOTIFY_SOCKET nothing is said.  The main thread's; other threads only ask it.
 *
 * If a watchdog is wanted ($WATCHDOG_USEC), it is fed twice in that time, by the data loop itself
 * and only while every thread that serves moves (daemon/watch.h): a daemon that hangs is restarted.
 */
#define TT_NOTIFY_TEXT 256

struct tt_daemon;

struct tt_notify {
    int fd;
    struct sockaddr_un to;
    socklen_t nto;             // 0: there is no supervisor
    int64_t every_us, next_us; // of the watchdog; every_us 0: none is wanted
    bool stopping;             // it was told so
    char status[TT_NOTIFY_TEXT];
};

/* Read the environment.  pid: the process that the watchdog must be meant for. */
void tt_notify_init(struct tt_notify *n, int64_t pid);
void tt_notify_end(struct tt_notify *n);

/* A phase of the start or the end begins ("starts", "ends"); one alone may take longer than the
 * supervisor would wait for all. */
void tt_notify_phase(struct tt_notify *n, const char *what, const char *phase);

/* Serves. */
void tt_notify_ready(struct tt_notify *n);

/* Reads its configuration anew, and that it has, or stays as it was.  Any thread. */
void tt_notify_reloading(const struct tt_notify *n, int64_t now_us);
void tt_notify_reloaded(const struct tt_notify *n);

/* Ends, which may take most_ms. */
void tt_notify_stopping(struct tt_notify *n, int64_t most_ms);

/* How long the data loop may wait for work, given that it would most_ms (-1: for ever). */
int tt_notify_wait(const struct tt_notify *n, int most_ms, int64_t now_us);

/* A turn of the data loop: feed the watchdog if it is time, say what has changed. */
void tt_notify_turn(struct tt_daemon *d, int64_t now_us);

#endif
