// SPDX-License-Identifier: Apache-2.0
#include "daemon/capture_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGITS 8
#define ENDING ".capture"

void tt_capture_files_path(const char *dir, int64_t number, char ret[TT_CAPTURE_PATH])
{
    (void)snprintf(ret, TT_CAPTURE_PATH, "%s/%0*" PRId64 ENDING, dir, DIGITS, number);
}

/* The number of a file's name; 0: it is not one of ours. */
static int64_t number_of(const char *name)
{
    size_t n = strspn(name, "0123456789");

    return n >= DIGITS && n <= 15 && !strcmp(name + n, ENDING) ? strtoll(name, NULL, 10) : 0;
}

/* Insert in order; when there is no more place the oldest is left out. */
static void insert(struct tt_capture_file_size *file, int *n, struct tt_capture_file_size one)
{
    int i;

    if (*n == TT_CAPTURE_FILES) {
        if (one.number < file[0].number)
            return;
        memmove(file, file + 1, (size_t)(TT_CAPTURE_FILES - 1) * sizeof *file);
        --*n;
    }
    for (i = *n; i > 0 && file[i - 1].number > one.number; i--)
        file[i] = file[i - 1];
    file[i] = one;
    ++*n;
}

enum tt_code tt_capture_files_list(const char *dir,
                                   struct tt_capture_file_size ret[TT_CAPTURE_FILES], int *ret_n,
                                   struct tt_err *err)
{
    struct dirent *e;
    DIR *d = opendir(dir);

    *ret_n = 0;
    if (!d)
        return errno == ENOENT
                   ? TT_OK
                   : tt_fail(err, TT_EIO, "%s: cannot be read: %s", dir, strerror(errno));
    while ((e = readdir(d))) {
        struct tt_capture_file_size one = {.number = number_of(e->d_name)};
        struct stat st;

        if (!one.number || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(st.st_mode))
            continue;
        one.bytes = st.st_size;
        insert(ret, ret_n, one);
    }
    closedir(d);
    return TT_OK;
}

static enum tt_code make_dir(const char *dir, struct tt_err *err)
{
    if (mkdir(dir, 0750) < 0 && errno != EEXIST)
        return tt_fail(err, TT_EIO, "%s: cannot be made: %s", dir, strerror(errno));
    return TT_OK;
}

enum tt_code tt_capture_files_open(struct tt_capture_files *f, const char *root, const char *name,
                                   int64_t max, struct tt_err *err)
{
    *f = (struct tt_capture_files){.max = max, .next = 1};
    if ((size_t)snprintf(f->dir, sizeof f->dir, "%s/%s", root, name) >= sizeof f->dir)
        return tt_fail(err, TT_ERANGE, "%s: too long a path", root);
    if (make_dir(root, err) != TT_OK || make_dir(f->dir, err) != TT_OK ||
        tt_capture_files_list(f->dir, f->file, &f->n, err) != TT_OK)
        return err->code;
    for (int i = 0; i < f->n; i++)
        f->total += f->file[i].bytes;
    if (f->n)
        f->next = f->file[f->n - 1].number + 1;
    return TT_OK;
}

/* That it is gone already is as good. */
static enum tt_code drop_oldest(struct tt_capture_files *f, struct tt_err *err)
{
    char path[TT_CAPTURE_PATH];

    tt_capture_files_path(f->dir, f->file[0].number, path);
    if (unlink(path) < 0 && errno != ENOENT)
        return tt_fail(err, TT_EIO, "%s: cannot be deleted: %s", path, strerror(errno));
    f->total -= f->file[0].bytes;
    memmove(f->file, f->file + 1, (size_t)--f->n * sizeof *f->file);
    return TT_OK;
}

enum tt_code tt_capture_files_new(struct tt_capture_files *f, int *ret_fd, struct tt_err *err)
{
    char path[TT_CAPTURE_PATH];
    int fd;

    while (f->n >= TT_CAPTURE_FILES)
        if (drop_oldest(f, err) != TT_OK)
            return err->code;
    tt_capture_files_path(f->dir, f->next, path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        return tt_fail(err, TT_EIO, "%s: %s", path, strerror(errno));
    (void)flock(fd, LOCK_EX | LOCK_NB); // daemon/capture_pool.c leaves it alone
    f->file[f->n++] = (struct tt_capture_file_size){.number = f->next++};
    *ret_fd = fd;
    return TT_OK;
}

enum tt_code tt_capture_files_room(struct tt_capture_files *f, int64_t n, struct tt_err *err)
{
    while (f->total + n > f->max && f->n > 1)
        if (drop_oldest(f, err) != TT_OK)
            return err->code;
    if (f->total + n > f->max)
        return tt_fail(err, TT_ERANGE,
                       "%" PRId64 " more bytes do not fit in capture.max_bytes, %" PRId64, n,
                       f->max);
    return TT_OK;
}

void tt_capture_files_grew(struct tt_capture_files *f, int64_t n)
{
    f->file[f->n - 1].bytes += n;
    f->total += n;
}

int64_t tt_capture_files_size(const struct tt_capture_files *f)
{
    return f->n ? f->file[f->n - 1].bytes : 0;
}

void tt_capture_files_cut(const struct tt_capture_files *f, int fd)
{
    if (ftruncate(fd, tt_capture_files_size(f)) < 0)
        return; // a reader finds a record cut short
}
