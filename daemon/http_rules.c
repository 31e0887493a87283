// SPDX-License-Identifier: Apache-2.0
#include "daemon/http_rules.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

#define HOST_MAX 255 // bytes of a Host, at most

static bool refuse(struct tt_http_refusal *r, int status, const char *fmt, ...) TT_PRINTF(3, 4);

static bool refuse(struct tt_http_refusal *r, int status, const char *fmt, ...)
{
    va_list ap;

    r->status = status;
    va_start(ap, fmt);
    (void)vsnprintf(r->msg, sizeof r->msg, fmt, ap);
    va_end(ap);
    tt_text_clean(r->msg);
    return false;
}

void tt_http_header(struct tt_http_head *h, const char *name, const char *value)
{
    if (!strcasecmp(name, "Host")) {
        h->host = value;
        h->hosts++;
    } else if (!strcasecmp(name, "Content-Length")) {
        h->length = value;
        h->lengths++;
    } else if (!strcasecmp(name, "Transfer-Encoding")) {
        h->coding = value;
        h->codings++;
    } else if (!strcasecmp(name, "Inference-Header-Content-Length")) {
        h->prefixes++;
    } else if (!strcasecmp(name, "Origin")) {
        h->origin = value;
    } else if (!strcasecmp(name, "Sec-Fetch-Site")) {
        h->fetch = value;
    }
}

/* What Host names without its port, in ret [HOST_MAX + 1]; false: it is not host[:port]. */
static bool read_host(const char *host, char *ret)
{
    const char *end = *host == '[' ? strchr(host, ']') : strchr(host, ':');
    const char *from = *host == '[' ? host + 1 : host;
    const char *port;
    size_t n;

    if (*host == '[' && !end)
        return false;
    if (!end)
        end = host + strlen(host);
    n = (size_t)(end - from);
    if (!n || n > HOST_MAX)
        return false;
    memcpy(ret, from, n);
    ret[n] = '\0';
    port = *end == ']' ? end + 1 : end;
    if (!*port)
        return true;
    return *port == ':' && strspn(port + 1, "0123456789") == strlen(port + 1) &&
           strlen(port) <= sizeof ":65535" - 1;
}

/* A name that no DNS server can point at this machine. */
static bool is_own(const char *host)
{
    static const char local[] = ".localhost";
    unsigned char address[16];
    char name[HOST_MAX + 1];
    size_t n;

    if (!read_host(host, name))
        return false;
    if (inet_pton(*host == '[' ? AF_INET6 : AF_INET, name, address) == 1)
        return true;
    n = strlen(name);
    if (*host == '[' || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789.-") != n)
        return false;
    return !strcasecmp(name, "localhost") ||
           (n > sizeof local - 1 && !strcasecmp(name + n - (sizeof local - 1), local));
}

static bool check_origin(const struct tt_http_head *h, struct tt_http_refusal *ret)
{
    const char *rest = h->origin;

    if (h->fetch && (!strcasecmp(h->fetch, "cross-site") || !strcasecmp(h->fetch, "same-site")))
        return refuse(ret, 403, "the request comes from a page of another site");
    if (!rest)
        return true;
    if (!strncmp(rest, "http://", 7))
        rest += 7;
    else if (!strncmp(rest, "https://", 8))
        rest += 8;
    if (rest == h->origin || !h->host || strcasecmp(rest, h->host) != 0)
        return refuse(ret, 403, "Origin '%.100s' is not this server's", h->origin);
    return true;
}

bool tt_http_check(const struct tt_http_head *h, struct tt_http_refusal *ret)
{
    if (strcmp(h->version, "HTTP/1.1") != 0 && strcmp(h->version, "HTTP/1.0") != 0)
        return refuse(ret, 400, "'%.20s' is not HTTP/1.1 or HTTP/1.0", h->version);
    if (h->hosts > 1 || h->lengths > 1 || h->codings > 1 || h->prefixes > 1)
        return refuse(ret, 400, "header %s is given twice",
                      h->hosts > 1     ? "Host"
                      : h->lengths > 1 ? "Content-Length"
                      : h->codings > 1 ? "Transfer-Encoding"
                                       : "Inference-Header-Content-Length");
    if (h->lengths && h->codings)
        return refuse(ret, 400, "Content-Length and Transfer-Encoding are given both");
    if (h->coding && strcasecmp(h->coding, "chunked") != 0)
        return refuse(ret, 400, "Transfer-Encoding '%.60s', want chunked", h->coding);
    if (h->length && (!*h->length || strspn(h->length, "0123456789") != strlen(h->length)))
        return refuse(ret, 400, "Content-Length '%.60s' is no number", h->length);
    if (!h->host && strcmp(h->version, "HTTP/1.0") != 0)
        return refuse(ret, 400, "header Host is missing");
    if (h->host && !is_own(h->host)) // what has none is too old to be a browser
        return refuse(ret, 403, "Host '%.100s' is not an address or localhost", h->host);
    return check_origin(h, ret);
}

bool tt_http_has_body(const struct tt_http_head *h)
{
    return h->coding || (h->length && strspn(h->length, "0") != strlen(h->length));
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decode up to the next '/'; NULL: it cannot be. */
static const char *read_segment(const char *s, char ret[TT_HTTP_SEGMENT], struct tt_http_refusal *r)
{
    size_t n = 0;

    while (*s && *s != '/') {
        int c = (unsigned char)*s++;

        if (c == '%') {
            const int high = hex(*s), low = high < 0 ? -1 : hex(s[1]);

            c = low < 0 ? -1 : high * 16 + low;
            s += low < 0 ? 0 : 2;
        }
        if (c <= 0 || c == '/') {
            refuse(r, 400, "the path has %s in a segment",
                   c < 0    ? "a '%' that begins no byte"
                   : c == 0 ? "a NUL"
                            : "a '/'");
            return NULL;
        }
        if (n == TT_HTTP_SEGMENT - 1) {
            refuse(r, 414, "the path has a segment of more than %d bytes", TT_HTTP_SEGMENT - 1);
            return NULL;
        }
        ret[n++] = (char)c;
    }
    ret[n] = '\0';
    return s;
}

int tt_http_split(const char *path, char segments[TT_HTTP_SEGMENTS][TT_HTTP_SEGMENT],
                  struct tt_http_refusal *ret)
{
    int n = 0;

    if (*path != '/') {
        refuse(ret, 400, "'%.100s' is no path", path);
        return -1;
    }
    while (*path == '/' && n < TT_HTTP_SEGMENTS) {
        path = read_segment(path + 1, segments[n++], ret);
        if (!path)
            return -1;
    }
    if (*path) {
        refuse(ret, 404, "there is nothing that deep");
        return -1;
    }
    return n;
}
