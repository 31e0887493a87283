// SPDX-License-Identifier: Apache-2.0
#include "daemon/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum tt_code fail_errno(const char *path, struct tt_err *err)
{
    enum tt_code code = errno == ENOENT || errno == ENOTDIR ? TT_ENOTFOUND
                        : errno == EACCES || errno == EPERM ? TT_EDENIED
                                                            : TT_EIO;

    return tt_fail(err, code, "%.300s: %s", path, strerror(errno));
}

/* Read until n bytes are there or the file ends; how many there were, or -1. */
static ssize_t read_all(int fd, char *to, size_t n)
{
    size_t have = 0;

    while (have < n) {
        ssize_t got = read(fd, to + have, n - have);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (!got)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

static enum tt_code read_open(int fd, const char *path, size_t limit, struct tt_arena *arena,
                              char **ret, size_t *ret_n, struct tt_err *err)
{
    struct stat st;
    size_t size;
    ssize_t got;
    char *data;

    if (fstat(fd, &st) < 0)
        return fail_errno(path, err);
    if (!S_ISREG(st.st_mode))
        return tt_fail(err, TT_EIO, "%.300s: %s, want a file", path,
                       S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
    size = (size_t)st.st_size;
    if (size > limit)
        return tt_fail(err, TT_ERANGE, "%.300s: %zu bytes, at most %zu are read", path, size,
                       limit);
    data = TT_NEW(arena, size + 1, char);
    if (!data)
        return tt_fail(err, TT_ENOMEM, "%.300s: no memory for its %zu bytes", path, size);
    got = read_all(fd, data, size);
    if (got < 0)
        return fail_errno(path, err);
    if ((size_t)got < size)
        return tt_fail(err, TT_EIO, "%.300s: became shorter while it was read", path);
    data[size] = '\0';
    *ret = data;
    *ret_n = size;
    return TT_OK;
}

enum tt_code tt_file_read(const char *path, size_t limit, struct tt_arena *arena, char **ret,
                          size_t *ret_n, struct tt_err *err)
{
    enum tt_code rc;
    int fd;

    /* Not blocking: opening a FIFO that nobody writes to would wait for ever. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(path, err);
    rc = read_open(fd, path, limit, arena, ret, ret_n, err);
    close(fd);
    return rc;
}
