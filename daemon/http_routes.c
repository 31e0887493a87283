// SPDX-License-Identifier: Apache-2.0
#include "daemon/http_routes.h"

#include <stdio.h>
#include <string.h>

#include "daemon/families.h"
#include "daemon/job.h"
#include "daemon/prometheus.h"
#include "daemon/watch.h"

#define JSON      "application/json" // exactly: with a charset, KServe's client shows no message
#define NO_MEMORY "{\"error\":\"out of memory\"}"

/* Write o's text as the answer's body. */
static void set_body(struct tt_http_answer *a, int status, const char *type, struct tt_out *o)
{
    const char *text = tt_out_text(o);

    *a = (struct tt_http_answer){text ? status : 500, text ? type : JSON, text ? text : NO_MEMORY,
                                 NULL};
}

static void quote(struct tt_out *o, const char *s)
{
    tt_out_quoted(o, s, strlen(s));
}

void tt_http_refuse(const struct tt_http_refusal *r, struct tt_arena *arena,
                    struct tt_http_answer *ret)
{
    struct tt_out o;

    tt_out_init(&o, arena);
    tt_outf(&o, "{\"error\":");
    quote(&o, r->msg);
    tt_outf(&o, "}\n");
    set_body(ret, r->status, JSON, &o);
}

/* Alive, unless a thread is stuck: only a restart mends that. */
static void live(struct tt_daemon *d, struct tt_arena *arena, struct tt_http_answer *ret)
{
    const bool moves = tt_watch(d, tt_now_us());
    struct tt_out o;

    tt_out_init(&o, arena);
    tt_outf(&o, "{\"live\":%s}\n", moves ? "true" : "false");
    set_body(ret, moves ? 200 : 503, JSON, &o);
}

static void ready(struct tt_daemon *d, struct tt_arena *arena, struct tt_http_answer *ret)
{
    const bool moves = tt_watch(d, tt_now_us());
    struct tt_health_reason r[TT_NHEALTHS];
    const int n = tt_health_read(&d->health, r);
    struct tt_out o;

    tt_out_init(&o, arena);
    tt_outf(&o, "{\"live\":%s,\"ready\":%s", moves ? "true" : "false", n ? "false" : "true");
    if (n) {
        char why[TT_ERR_MSG];

        (void)snprintf(why, sizeof why, "%s: %.400s", r[0].name, r[0].why);
        tt_outf(&o, ",\"error\":");
        quote(&o, why);
        tt_outf(&o, ",\"reasons\":[");
        for (int i = 0; i < n; i++) {
            tt_outf(&o, "%s{\"name\":\"%s\",\"why\":", i ? "," : "", r[i].name);
            quote(&o, r[i].why);
            tt_outf(&o, ",\"since_ms\":%lld,\"holds_adaptation\":%s}", (long long)r[i].since_ms,
                    r[i].holds ? "true" : "false");
        }
        tt_outf(&o, "]");
    }
    tt_outf(&o, "}\n");
    set_body(ret, n ? 503 : 200, JSON, &o);
}

static void metrics(struct tt_daemon *d, struct tt_arena *arena, struct tt_http_answer *ret)
{
    struct tt_out o;

    tt_out_init(&o, arena);
    tt_families_write(d, &o);
    set_body(ret, 200, TT_PROMETHEUS_TYPE, &o);
}

const struct tt_http_route tt_http_routes[] = {
    {"/v2/health/live", "GET, HEAD", live},
    {"/v2/health/ready", "GET, HEAD", ready},
    {"/metrics", "GET, HEAD", metrics},
    {NULL, NULL, NULL},
};

/* Whether the decoded segments are those of a row's path. */
static bool is_path(const char *path, char segments[TT_HTTP_SEGMENTS][TT_HTTP_SEGMENT], int n)
{
    for (int i = 0; i < n; i++) {
        const size_t len = strlen(segments[i]);

        if (*path++ != '/' || strncmp(path, segments[i], len) != 0)
            return false;
        path += len;
    }
    return !*path;
}

/* Whether a list like "GET, HEAD" has the method. */
static bool allows(const char *list, const char *method)
{
    const size_t n = strlen(method);

    for (const char *at = list; (at = strstr(at, method)); at += n)
        if ((at == list || at[-1] == ' ') && (!at[n] || at[n] == ','))
            return n > 0;
    return false;
}

void tt_http_answer(struct tt_daemon *d, const char *method, const char *path, bool body,
                    struct tt_arena *arena, struct tt_http_answer *ret)
{
    char segments[TT_HTTP_SEGMENTS][TT_HTTP_SEGMENT];
    struct tt_http_refusal refusal;
    const int n = tt_http_split(path, segments, &refusal);

    if (n < 0) {
        tt_http_refuse(&refusal, arena, ret);
        return;
    }
    for (const struct tt_http_route *r = tt_http_routes; r->path; r++) {
        if (!is_path(r->path, segments, n))
            continue;
        if (allows(r->allow, method) && !body) {
            r->answer(d, arena, ret);
            return;
        }
        refusal.status = allows(r->allow, method) ? 400 : 405;
        (void)snprintf(refusal.msg, sizeof refusal.msg, "%s takes %s", r->path,
                       refusal.status == 400 ? "no body" : r->allow);
        tt_http_refuse(&refusal, arena, ret);
        ret->allow = refusal.status == 405 ? r->allow : NULL;
        return;
    }
    refusal.status = 404;
    (void)snprintf(refusal.msg, sizeof refusal.msg, "there is nothing at this path");
    tt_http_refuse(&refusal, arena, ret);
}
