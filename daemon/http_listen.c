// SPDX-License-Identifier: Apache-2.0
#include "daemon/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/sockets.h"

#define BACKLOG   128
#define LOOPBACK4 0x7f000000u // 127.0.0.0/8

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
};

/* host:port as an address of this machine alone, whatever was configured. */
static enum tt_code read_tcp(const char *where, union address *a, socklen_t *n, struct tt_err *err)
{
    const char *colon = strrchr(where, ':');
    const long port = colon ? strtol(colon + 1, NULL, 10) : 0;
    char host[64];
    size_t len = colon ? (size_t)(colon - where) : 0;

    if (len < 2 || len >= sizeof host || port < 1 || port > 65535)
        return tt_fail(err, TT_EPARSE, "'%s' is no address, want 127.0.0.1:PORT", where);
    memcpy(host, where, len);
    host[len] = '\0';
    *a = (union address){.v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)}};
    *n = sizeof a->v4;
    if (inet_pton(AF_INET, host, &a->v4.sin_addr) == 1 &&
        (ntohl(a->v4.sin_addr.s_addr) & 0xff000000u) == LOOPBACK4)
        return TT_OK;
    if (strcmp(host, "[::1]") != 0)
        return tt_fail(err, TT_EDENIED, "'%s' can be reached from other machines, want 127.0.0.1",
                       where);
    *a = (union address){.v6 = {.sin6_family = AF_INET6,
                                .sin6_port = htons((uint16_t)port),
                                .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
    *n = sizeof a->v6;
    return TT_OK;
}

/* A path where nobody listens; what a process left behind goes. */
static enum tt_code read_path(const char *path, union address *a, socklen_t *n, struct tt_err *err)
{
    struct stat st;

    if (tt_socket_path(path, err) != TT_OK)
        return err->code;
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return tt_fail(err, TT_EIO, "it is there and is not a socket");
    if (unlink(path) != 0 && errno != ENOENT)
        return tt_fail(err, TT_EIO, "%s", strerror(errno));
    *a = (union address){.un = {.sun_family = AF_UNIX}};
    memcpy(a->un.sun_path, path, strlen(path)); // that it fits was seen above
    *n = (socklen_t)sizeof a->un;
    return TT_OK;
}

static enum tt_code listen_at(const char *where, int *ret, struct tt_err *err)
{
    const char *path = !strncmp(where, "unix:", 5) ? where + 5 : NULL;
    const int on = 1;
    union address a;
    socklen_t n;
    int fd;

    if ((path ? read_path(path, &a, &n, err) : read_tcp(where, &a, &n, err)) != TT_OK)
        return err->code;
    fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return tt_fail(err, TT_EIO, "socket: %s", strerror(errno));
    if (!path)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); // a restart need not wait
    if (bind(fd, &a.any, n) != 0 || (path && chmod(path, 0660) != 0) || listen(fd, BACKLOG) != 0) {
        (void)tt_fail(err, TT_EIO, "%s", strerror(errno));
        close(fd);
        return err->code;
    }
    *ret = fd;
    return TT_OK;
}

enum tt_code tt_http_listen(const char *where, int *ret, struct tt_err *err)
{
    return listen_at(where, ret, err) == TT_OK ? TT_OK : tt_fail_in(err, "'%s'", where);
}
