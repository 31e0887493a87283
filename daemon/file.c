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

/* Whether what was opened is a regular file of at most limit bytes. */
static enum tt_code check_open(int fd, const char *path, size_t limit, size_t *ret_n,
                               struct tt_err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return fail_errno(path, err);
    if (!S_ISREG(st.st_mode))
        return tt_fail(err, TT_EIO, "%.300s: %s, want a file", path,
                       S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
    if ((size_t)st.st_size > limit)
        return tt_fail(err, TT_ERANGE, "%.300s: %zu bytes, at most %zu are read", path,
                       (size_t)st.st_size, limit);
    *ret_n = (size_t)st.st_size;
    return TT_OK;
}

enum tt_code tt_file_open(const char *path, size_t limit, int *ret, size_t *ret_n,
                          struct tt_err *err)
{
    /* Not blocking: opening a FIFO that nobody writes to would wait for ever. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return fail_errno(path, err);
    if (check_open(fd, path, limit, ret_n, err)) {
        close(fd);
        return err->code;
    }
    *ret = fd;
    return TT_OK;
}

enum tt_code tt_file_next(int fd, const char *path, void *to, size_t n, struct tt_err *err)
{
    ssize_t got = read_all(fd, (char *)to, n);

    if (got < 0)
        return fail_errno(path, err);
    if ((size_t)got < n)
        return tt_fail(err, TT_EIO, "%.300s: became shorter while it was read", path);
    return TT_OK;
}

enum tt_code tt_file_read(const char *path, size_t limit, struct tt_arena *arena, char **ret,
                          size_t *ret_n, struct tt_err *err)
{
    enum tt_code rc;
    size_t size;
    char *data;
    int fd;

    if (tt_file_open(path, limit, &fd, &size, err))
        return err->code;
    data = TT_NEW(arena, size + 1, char);
    rc = data ? tt_file_next(fd, path, data, size, err)
              : tt_fail(err, TT_ENOMEM, "%.300s: no memory for its %zu bytes", path, size);
    close(fd);
    if (rc)
        return rc;
    *ret = data;
    *ret_n = size;
    return TT_OK;
}
