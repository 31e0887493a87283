// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_HTTP_H
#define TT_DAEMON_HTTP_H

#include <stdint.h>

#include "base/err.h"

/*
 * The HTTP port: one thread that owns libmicrohttpd and answers out of what others show of
 * themselves.  Only loopback or a socket in the file system.  Bounded: TT_HTTP_CONNECTIONS, each
 * with 32 KiB for its head; a head that takes longer than 10 s, an answer that is not read for
 * 30 s, and 120 s of silence end a connection, and when all are taken 2 s of waiting do.
 */
#define TT_HTTP_CONNECTIONS 256
#define TT_HTTP_STATUSES    8

struct tt_daemon;
struct tt_http;

extern const int
    tt_http_statuses[TT_HTTP_STATUSES]; // that answers have; the last one is for others

struct tt_http_stats {
    int64_t answered[TT_HTTP_STATUSES], connections, cut;
};

/* Listen at settings.http and start the thread; "" there: *ret is NULL, and nothing is done. */
TT_MUST_CHECK enum tt_code tt_http_start(struct tt_daemon *d, struct tt_http **ret,
                                         struct tt_err *err);

/* Take no more connections, send what was answered, end the thread.  NULL is nothing. */
void tt_http_stop(struct tt_http *h);

/* h may be NULL: all is 0. */
void tt_http_stats(const struct tt_http *h, struct tt_http_stats *ret);

/* A listening socket at "127.0.0.1:5580", "[::1]:5580" or "unix:PATH" (daemon/http_listen.c). */
TT_MUST_CHECK enum tt_code tt_http_listen(const char *where, int *ret, struct tt_err *err);

#endif
