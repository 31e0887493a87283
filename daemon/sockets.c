// SPDX-License-Identifier: Apache-2.0
#include "daemon/sockets.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#define HWM          64
#define HANDSHAKE_MS 5000
#define HEARTBEAT_MS 2000
#define TIMEOUT_MS   6000

static enum tt_code set(void *socket, int option, int value, struct tt_err *err)
{
    if (zmq_setsockopt(socket, option, &value, sizeof value) != 0)
        return tt_fail(err, TT_EIO, "socket option %d: %s", option, zmq_strerror(errno));
    return TT_OK;
}

static enum tt_code configure(void *socket, int type, int64_t max_bytes, struct tt_err *err)
{
    if (type == ZMQ_ROUTER && (set(socket, ZMQ_ROUTER_MANDATORY, 1, err) != TT_OK ||
                               set(socket, ZMQ_ROUTER_HANDOVER, 1, err) != TT_OK))
        return err->code;
    if (max_bytes && zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_bytes, sizeof max_bytes) != 0)
        return tt_fail(err, TT_EIO, "ZMQ_MAXMSGSIZE: %s", zmq_strerror(errno));
    if (set(socket, ZMQ_SNDHWM, HWM, err) != TT_OK || set(socket, ZMQ_RCVHWM, HWM, err) != TT_OK ||
        set(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS, err) != TT_OK ||
        set(socket, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS, err) != TT_OK ||
        set(socket, ZMQ_HEARTBEAT_TIMEOUT, TIMEOUT_MS, err) != TT_OK ||
        set(socket, ZMQ_HEARTBEAT_TTL, TIMEOUT_MS, err) != TT_OK ||
        set(socket, ZMQ_LINGER, 0, err) != TT_OK)
        return err->code;
    return TT_OK;
}

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

/* ZeroMQ takes an ipc path from whoever listens there: a living daemon would go deaf and say
 * nothing.  What nobody answers at is left over and may go. */
static enum tt_code refuse_taken(const char *path, struct tt_err *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const size_t n = strlen(path);
    bool taken;
    int fd;

    if (n >= sizeof to.sun_path)
        return tt_fail(err, TT_ERANGE, "the path has %zu bytes, at most %zu are taken", n,
                       sizeof to.sun_path - 1);
    memcpy(to.sun_path, path, n);
    if (*path == '@') // Linux's names that are no files
        to.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return tt_fail(err, TT_EIO, "socket: %s", strerror(errno));
    taken = connect(fd, (const struct sockaddr *)&to,
                    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) == 0 ||
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

static enum tt_code bind_one(void *socket, const char *endpoint, struct tt_err *err)
{
    const bool ipc = !strncmp(endpoint, "ipc://", 6);

    if (!ipc && !is_loopback(endpoint))
        return tt_fail(err, TT_EDENIED,
                       "endpoint '%s' can be reached from other machines, wanted ipc:// or "
                       "tcp://127.0.0.1:PORT",
                       endpoint);
    if (ipc &&
        (make_folder(endpoint + 6, err) != TT_OK || refuse_taken(endpoint + 6, err) != TT_OK))
        return tt_fail_in(err, "endpoint '%s'", endpoint);
    if (!ipc && strstr(endpoint, "[::1]")) {
        if (set(socket, ZMQ_IPV6, 1, err) != TT_OK)
            return err->code;
    }
    if (zmq_bind(socket, endpoint) != 0)
        return tt_fail(err, TT_EIO, "endpoint '%s': %s", endpoint, zmq_strerror(errno));
    return TT_OK;
}

enum tt_code tt_socket_bind(void *zmq, int type, const struct tt_strs *endpoints, int64_t max_bytes,
                            void **ret, struct tt_err *err)
{
    void *socket = zmq_socket(zmq, type);

    if (!socket)
        return tt_fail(err, TT_EIO, "socket: %s", zmq_strerror(errno));
    if (configure(socket, type, max_bytes, err) == TT_OK) {
        int i = 0;

        while (i < endpoints->n && bind_one(socket, endpoints->s[i], err) == TT_OK)
            i++;
        if (i == endpoints->n) {
            *ret = socket;
            return TT_OK;
        }
    }
    zmq_close(socket);
    return err->code;
}

enum tt_code tt_socket_path(const char *path, struct tt_err *err)
{
    if (make_folder(path, err) != TT_OK)
        return err->code;
    return refuse_taken(path, err);
}
