// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_HTTP_ROUTES_H
#define TT_DAEMON_HTTP_ROUTES_H

#include "daemon/daemon.h"
#include "daemon/http_rules.h"

/* What the HTTP port has: one row a path.  Answers are made in the HTTP thread, out of counters
 * and what streams show of themselves; none waits for a worker. */
struct tt_http_answer {
    int status;
    const char *type;  // Content-Type
    const char *body;  // in the arena, or for ever
    const char *allow; // of a 405; else NULL
};

struct tt_http_route {
    const char *path;
    const char *allow; // methods, as Allow lists them
    void (*answer)(struct tt_daemon *d, struct tt_arena *arena, struct tt_http_answer *ret);
};

extern const struct tt_http_route tt_http_routes[]; // ends with a NULL path

/* Answer a request whose head was checked: by its row, or 404, or 405; 400 when it has a body,
 * which none takes.  In arena. */
void tt_http_answer(struct tt_daemon *d, const char *method, const char *path, bool body,
                    struct tt_arena *arena, struct tt_http_answer *ret);

/* The answer that says no: {"error": ...}.  In arena. */
void tt_http_refuse(const struct tt_http_refusal *r, struct tt_arena *arena,
                    struct tt_http_answer *ret);

#endif
