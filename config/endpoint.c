// SPDX-License-Identifier: Apache-2.0
#include "config/settings.h"

#include <stdlib.h>
#include <string.h>

#define WANT "want ipc://PATH or tcp://127.0.0.1:PORT"

/* A whole number without sign or leading zero, of n digits; -1: it is none, or above max. */
static int number(const char *s, size_t n, int max)
{
    int v = 0;

    if (!n || n > 5 || (n > 1 && *s == '0'))
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        v = v * 10 + (s[i] - '0');
    }
    return v <= max ? v : -1;
}

/* Whether s[n] is 127.x.y.z. */
static bool is_loopback4(const char *s, size_t n)
{
    int parts = 0;

    for (size_t i = 0, from = 0; i <= n; i++) {
        int v;

        if (i < n && s[i] != '.')
            continue;
        v = number(s + from, i - from, 255);
        if (v < 0 || (!parts && v != 127))
            return false;
        parts++;
        from = i + 1;
    }
    return parts == 4;
}

static const char *read_tcp(const struct tt_ynode *n, struct tt_arena *arena, struct tt_diags *d)
{
    const char *host = n->text + strlen("tcp://"), *colon = strrchr(host, ':');
    size_t len = colon ? (size_t)(colon - host) : strlen(host);
    bool named = len == 9 && !strncmp(host, "localhost", 9);
    struct tt_out o;

    if (!named && !is_loopback4(host, len) && !(len == 5 && !strncmp(host, "[::1]", 5))) {
        tt_diag_error(d, n->line, n->col,
                      "'%.60s' is not of this machine alone: remote access needs CURVE, which this "
                      "version does not have; want 127.0.0.1, [::1] or ipc://PATH",
                      n->text);
        return NULL;
    }
    if (!colon || number(colon + 1, strlen(colon + 1), 65535) < 1) {
        tt_diag_error(d, n->line, n->col, "'%.60s': want a port from 1 to 65535 behind the ':'",
                      n->text);
        return NULL;
    }
    tt_out_init(&o, arena);
    tt_outf(&o, "tcp://%.*s%s", named ? 9 : (int)len, named ? "127.0.0.1" : host, colon);
    return tt_out_text(&o);
}

static const char *read_ipc(const struct tt_ynode *n, const char *dir, struct tt_arena *arena,
                            struct tt_diags *d)
{
    const char *path = n->text + strlen("ipc://");
    struct tt_out o;

    if (!*path || *path == '*' || *path == '@') {
        tt_diag_error(d, n->line, n->col, "'%.60s': want the path of a socket behind ipc://%s",
                      n->text, *path == '@' ? "; abstract ones have no permissions" : "");
        return NULL;
    }
    tt_out_init(&o, arena);
    tt_outf(&o, "ipc://%s%s%s", *path == '/' ? "" : dir, *path == '/' ? "" : "/", path);
    if (!o.failed && o.n - strlen("ipc://") > TT_IPC_PATH) {
        tt_diag_error(d, n->line, n->col, "'%.60s': a path of %zu bytes, sockets take at most %d",
                      n->text, o.n - strlen("ipc://"), TT_IPC_PATH);
        return NULL;
    }
    return tt_out_text(&o);
}

const char *tt_endpoint_read(const struct tt_ynode *n, const char *dir, struct tt_arena *arena,
                             struct tt_diags *d)
{
    int errors = d->errors;
    const char *s = NULL;

    if (n->type != TT_YSCALAR || !*n->text) {
        tt_field_mismatch(n, "ipc://PATH or tcp://127.0.0.1:PORT", d);
        return NULL;
    }
    if (!strncmp(n->text, "ipc://", 6))
        s = read_ipc(n, dir, arena, d);
    else if (!strncmp(n->text, "tcp://", 6))
        s = read_tcp(n, arena, d);
    else
        tt_diag_error(d, n->line, n->col, "'%.60s' is no endpoint, " WANT, n->text);
    if (!s && d->errors == errors)
        tt_diag_error(d, 0, 0, "out of memory");
    return s;
}

#define WANT_HTTP "want 127.0.0.1:PORT, [::1]:PORT or unix:PATH"

static const char *read_unix(const struct tt_ynode *n, const char *dir, struct tt_arena *arena,
                             struct tt_diags *d)
{
    const char *path = n->text + strlen("unix:");
    struct tt_out o;

    if (!*path || *path == '@') {
        tt_diag_error(d, n->line, n->col,
                      "'%.60s': want the path of a socket behind unix:", n->text);
        return NULL;
    }
    tt_out_init(&o, arena);
    tt_outf(&o, "unix:%s%s%s", *path == '/' ? "" : dir, *path == '/' ? "" : "/", path);
    if (!o.failed && o.n - strlen("unix:") > TT_IPC_PATH) {
        tt_diag_error(d, n->line, n->col, "'%.60s': a path of %zu bytes, sockets take at most %d",
                      n->text, o.n - strlen("unix:"), TT_IPC_PATH);
        return NULL;
    }
    return tt_out_text(&o);
}

const char *tt_endpoint_read_http(const struct tt_ynode *n, const char *dir, struct tt_arena *arena,
                                  struct tt_diags *d)
{
    const char *colon;
    size_t len;
    bool named;
    struct tt_out o;

    if (n->type != TT_YSCALAR) {
        tt_field_mismatch(n, "127.0.0.1:PORT, [::1]:PORT or unix:PATH", d);
        return NULL;
    }
    if (!*n->text)
        return "";
    if (!strncmp(n->text, "unix:", 5))
        return read_unix(n, dir, arena, d);
    colon = strrchr(n->text, ':');
    len = colon ? (size_t)(colon - n->text) : strlen(n->text);
    named = len == 9 && !strncmp(n->text, "localhost", 9);
    if (!named && !is_loopback4(n->text, len) && !(len == 5 && !strncmp(n->text, "[::1]", 5))) {
        tt_diag_error(d, n->line, n->col, "'%.60s' is not of this machine alone, " WANT_HTTP,
                      n->text);
        return NULL;
    }
    if (!colon || number(colon + 1, strlen(colon + 1), 65535) < 1) {
        tt_diag_error(d, n->line, n->col, "'%.60s': want a port from 1 to 65535 behind the ':'",
                      n->text);
        return NULL;
    }
    tt_out_init(&o, arena);
    tt_outf(&o, "%.*s%s", named ? 9 : (int)len, named ? "127.0.0.1" : n->text, colon);
    return tt_out_text(&o);
}
