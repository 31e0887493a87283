// SPDX-License-Identifier: Apache-2.0
#define _XOPEN_SOURCE 700 // realpath
#include "daemon/model_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/file.h"

static enum tt_code read_file(void *from, void *to, size_t n, struct tt_err *err)
{
    const struct tt_model_file *f = (const struct tt_model_file *)from;

    return tt_file_next(f->fd, f->path, to, n, err);
}

/* The folder of the model's path, and the file in it, both without symbolic links. */
static enum tt_code resolve(const struct tt_model_file *f, const char *location,
                            char folder[PATH_MAX], char ret[PATH_MAX], struct tt_err *err)
{
    const char *slash = strrchr(f->path, '/');
    int n = slash ? (int)(slash - f->path) + 1 : 2;
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%.*s", n, slash ? f->path : "./") >= (int)sizeof path)
        return tt_fail(err, TT_ERANGE, "'%.100s...': a path of more than %d bytes", path, PATH_MAX);
    if (!realpath(path, folder))
        return tt_fail(err, TT_EIO, "%.300s: %s", path, strerror(errno));
    n = snprintf(path, sizeof path, "%s/%s", folder, location);
    if (n >= (int)sizeof path)
        return tt_fail(err, TT_ERANGE, "'%.100s...': a path of more than %d bytes", path, PATH_MAX);
    if (!realpath(path, ret))
        return tt_fail(err, errno == ENOENT || errno == ENOTDIR ? TT_ENOTFOUND : TT_EIO,
                       "its values are in '%.200s' beside the model: %s", location,
                       strerror(errno));
    return TT_OK;
}

static enum tt_code open_beside(struct tt_model_file *f, const char *location, struct tt_err *err)
{
    char folder[PATH_MAX], path[PATH_MAX];
    size_t n;

    if (f->beside >= 0 && !strcmp(f->location, location))
        return TT_OK;
    if (resolve(f, location, folder, path, err))
        return err->code;
    n = strlen(folder);
    n -= folder[n - 1] == '/'; // the root
    if (strncmp(path, folder, n) != 0 || path[n] != '/')
        return tt_fail(err, TT_EDENIED,
                       "its values are in '%.200s', which is a link out of the model's folder",
                       location);
    if (f->beside >= 0)
        close(f->beside);
    f->beside = -1;
    if (tt_file_open(path, SIZE_MAX, &f->beside, &f->beside_size, err))
        return err->code;
    snprintf(f->location, sizeof f->location, "%s", location); // shorter than the path
    return TT_OK;
}

static enum tt_code read_beside(void *from, const char *location, uint64_t offset, void *to,
                                size_t n, struct tt_err *err)
{
    struct tt_model_file *f = (struct tt_model_file *)from;

    if (open_beside(f, location, err))
        return err->code;
    if (offset > f->beside_size || n > f->beside_size - offset)
        return tt_fail(err, TT_ESHAPE,
                       "its values are in '%.200s', which has %zu bytes, want %zu "
                       "at %llu",
                       location, f->beside_size, n, (unsigned long long)offset);
    if (lseek(f->beside, (off_t)offset, SEEK_SET) < 0)
        return tt_fail(err, TT_EIO, "%.200s: %s", location, strerror(errno));
    return tt_file_next(f->beside, location, to, n, err);
}

enum tt_code tt_model_file_open(const char *path, size_t limit, struct tt_model_file *ret,
                                struct tt_err *err)
{
    size_t n;
    int fd;

    if (tt_file_open(path, limit, &fd, &n, err))
        return err->code;
    *ret = (struct tt_model_file){
        .source = {.file = {.from = ret, .size = n, .read = read_file},
                   .beside = read_beside,
                   .folder = ret},
        .path = path,
        .fd = fd,
        .beside = -1,
    };
    return TT_OK;
}

void tt_model_file_close(struct tt_model_file *f)
{
    if (f->beside >= 0)
        close(f->beside);
    close(f->fd);
}
