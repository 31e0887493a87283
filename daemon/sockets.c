// SPDX-License-Identifier: Apache-2.0
#include "daemon/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define BACKLOG 128

/* The folder of an ipc socket, made where it is missing. */
static enum tt_code make_folder(const char *path, struct tt_err *err)
{
    const char *slash = strrchr(path, '/');
    char dir[256];

    if (!slash || slash == path)
        return TT_OK;
    if ((size_t)(slash - path) >= sizeof dir)
        return tt_fail(err, TT_ERANGE, "the path is longer than %zu bytes", sizeof dir);
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = '\0';
    if (mkdir(dir, 0750) != 0 && errno != EEXIST)
        return tt_fail(err, TT_EIO, "folder '%s': %s", dir, strerror(errno));
    return TT_OK;
}

static enum tt_code fill_name(const char *path, struct sockaddr_un *ret, socklen_t *ret_n,
                              struct tt_err *err)
{
    const size_t n = strlen(path);

    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (n >= sizeof ret->sun_path)
        return tt_fail(err, TT_ERANGE, "the path has %zu bytes, at most %zu are taken", n,
                       sizeof ret->sun_path - 1);
    memcpy(ret->sun_path, path, n);
    if (*path == '@') // Linux's names that are no files
        ret->sun_path[0] = '\0';
    *ret_n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    return TT_OK;
}

/* A path may be left over from a program that died, and is taken then; one where somebody listens
 * is not: a living daemon would go deaf and say nothing. */
static enum tt_code refuse_taken(const struct sockaddr_un *to, socklen_t n, struct tt_err *err)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool taken;

    if (fd < 0)
        return tt_fail(err, TT_EIO, "socket: %s", strerror(errno));
    taken = connect(fd, (const struct sockaddr *)to, n) == 0 ||
            errno == EAGAIN; // it listens, with more waiting than it takes
    close(fd);
    if (taken)
        return tt_fail(err, TT_EBUSY, "another program listens there");
    return TT_OK;
}

/* tcp://127.x.y.z:port in digits, or tcp://[::1]:port; a name could be anybody's. */
static bool is_loopback(const char *endpoint)
{
    const size_t head = strlen("tcp://127.");

    if (!strncmp(endpoint, "tcp://[::1]:", strlen("tcp://[::1]:")))
        return true;
    if (strncmp(endpoint, "tcp://127.", head) != 0)
        return false;
    return endpoint[head + strspn(endpoint + head, "0123456789.")] == ':';
}

static enum tt_code listen_at(int domain, const void *name, socklen_t n, int *ret,
                              struct tt_err *err)
{
    const int one = 1;

    *ret = socket(domain, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*ret < 0)
        return tt_fail(err, TT_EIO, "socket: %s", strerror(errno));
    if (domain != AF_UNIX && setsockopt(*ret, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0)
        (void)tt_fail(err, TT_EIO, "SO_REUSEADDR: %s", strerror(errno));
    else if (bind(*ret, name, n) != 0 || listen(*ret, BACKLOG) != 0)
        (void)tt_fail(err, errno == EADDRINUSE ? TT_EBUSY : TT_EIO, "%s", strerror(errno));
    else
        return TT_OK;
    close(*ret);
    *ret = -1;
    return err->code;
}

static enum tt_code listen_ipc(const char *path, struct tt_listener *ret, struct tt_err *err)
{
    struct sockaddr_un name;
    struct stat st;
    socklen_t n = 0;

    if (make_folder(path, err) != TT_OK || fill_name(path, &name, &n, err) != TT_OK ||
        refuse_taken(&name, n, err) != TT_OK)
        return err->code;
    if (*path != '@' && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(path); // what cannot go is said by bind
    if (listen_at(AF_UNIX, &name, n, &ret->fd, err) != TT_OK)
        return err->code;
    if (*path != '@' && chmod(path, 0660) != 0) // connecting takes the right to write: the group's
        tt_log(TT_LOG_WARN, "'%s': %s, so only its owner may connect, ignoring", path,
               strerror(errno));
    if (*path == '@' || lstat(path, &st) != 0)
        return TT_OK;
    ret->path = path;
    ret->dev = st.st_dev;
    ret->ino = st.st_ino;
    ret->since = st.st_ctim;
    return TT_OK;
}

static enum tt_code listen_tcp(const char *endpoint, struct tt_listener *ret, struct tt_err *err)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    struct sockaddr_in four = {.sin_family = AF_INET};
    const char *host = endpoint + strlen("tcp://"), *colon = strrchr(host, ':');
    const bool v6 = *host == '[';
    char text[INET_ADDRSTRLEN] = "", *end;
    long port;

    port = strcmp(colon + 1, "*") != 0 ? strtol(colon + 1, &end, 10) : 0;
    if (port < 0 || port > 65535 || (strcmp(colon + 1, "*") != 0 && (*end || end == colon + 1)))
        return tt_fail(err, TT_ERANGE, "port '%s', wanted 0 to 65535", colon + 1);
    if (v6) {
        six.sin6_port = htons((uint16_t)port);
        return listen_at(AF_INET6, &six, sizeof six, &ret->fd, err);
    }
    if ((size_t)(colon - host) < sizeof text)
        memcpy(text, host, (size_t)(colon - host));
    if (inet_pton(AF_INET, text, &four.sin_addr) != 1)
        return tt_fail(err, TT_EPARSE, "not an address in digits");
    four.sin_port = htons((uint16_t)port);
    return listen_at(AF_INET, &four, sizeof four, &ret->fd, err);
}

enum tt_code tt_socket_listen(const char *endpoint, struct tt_listener *ret, struct tt_err *err)
{
    const bool ipc = !strncmp(endpoint, "ipc://", 6);

    *ret = (struct tt_listener){.fd = -1};
    if (!ipc && !is_loopback(endpoint))
        return tt_fail(err, TT_EDENIED,
                       "endpoint '%s' can be reached from other machines, wanted ipc:// or "
                       "tcp://127.0.0.1:PORT",
                       endpoint);
    if ((ipc ? listen_ipc(endpoint + 6, ret, err) : listen_tcp(endpoint, ret, err)) != TT_OK)
        return tt_fail_in(err, "endpoint '%s'", endpoint);
    return TT_OK;
}

void tt_socket_close(struct tt_listener *l)
{
    struct stat st;

    if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino &&
        st.st_ctim.tv_sec == l->since.tv_sec && st.st_ctim.tv_nsec == l->since.tv_nsec)
        (void)unlink(l->path);
    close(l->fd);
    l->fd = -1;
}

enum tt_code tt_socket_path(const char *path, struct tt_err *err)
{
    struct sockaddr_un name;
    socklen_t n = 0;

    if (make_folder(path, err) != TT_OK || fill_name(path, &name, &n, err) != TT_OK)
        return err->code;
    return refuse_taken(&name, n, err);
}
