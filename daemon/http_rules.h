// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_HTTP_RULES_H
#define TT_DAEMON_HTTP_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * What a request's head must be like before a route sees it.  Pure: no socket, no clock.
 *
 * Whoever may connect to a loopback port is this machine, but not everything on it is a friend: a
 * page in a browser can make it send requests.  So Host must be one that cannot be somebody's
 * name for 127.0.0.1, and a request that says it comes from another origin is refused.  And since
 * a proxy in front may read a doubtful head another way than we do, doubtful heads are refused.
 */
#define TT_HTTP_SEGMENTS 8   // of a path, at most
#define TT_HTTP_SEGMENT  136 // bytes of one, with its NUL

struct tt_http_head {
    const char *version;                   // "HTTP/1.1"
    const char *host, *origin, *fetch;     // Host, Origin, Sec-Fetch-Site; NULL: not given
    const char *length, *coding;           // Content-Length, Transfer-Encoding
    int hosts, lengths, codings, prefixes; // times given; of Inference-Header-Content-Length
};

struct tt_http_refusal {
    int status;
    char msg[TT_ERR_MSG]; // one line
};

/* Take one header, of any name. */
void tt_http_header(struct tt_http_head *h, const char *name, const char *value);

/* Is the head as it must be?  false: *ret says what is wrong, and the connection must be closed,
 * since where the request ends is doubtful. */
bool tt_http_check(const struct tt_http_head *h, struct tt_http_refusal *ret);

/* Whether a body follows the head. */
bool tt_http_has_body(const struct tt_http_head *h);

/* The raw path as decoded segments: "/v2/health%2e/live" is {"v2", "health.", "live"}; how many.
 * -1: not a path (*ret says why); a segment with '/' or NUL in it is none. */
int tt_http_split(const char *path, char segments[TT_HTTP_SEGMENTS][TT_HTTP_SEGMENT],
                  struct tt_http_refusal *ret);

#endif
