// SPDX-License-Identifier: Apache-2.0
#include "daemon/opened.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "daemon/file.h"
#include "monitor/snapshot.h"

#define PATH  1024 // bytes
#define BYTES 4096 // of a file, at most
#define FIRST 64   // of a list, which doubles

static bool path_of(const char *dir, const char *file, char ret[PATH])
{
    return (size_t)snprintf(ret, PATH, "%s/%s", dir, file) < PATH;
}

static enum tt_code write_text(const char *path, const char *text, struct tt_err *err)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    const size_t n = strlen(text);
    bool whole;

    if (fd < 0)
        return tt_fail(err, TT_EIO, "'%s': %s", path, strerror(errno));
    errno = ENOSPC; // unless a write says otherwise
    whole = write(fd, text, n) == (ssize_t)n;
    if (close(fd) == 0 && whole)
        return TT_OK;
    (void)tt_fail(err, TT_EIO, "'%s': %s", path, strerror(errno));
    (void)unlink(path);
    return err->code;
}

enum tt_code tt_opened_write(const char *dir, const struct tt_opened *o, struct tt_err *err)
{
    char path[PATH], fresh[PATH], text[BYTES];
    json_t *json = json_pack("{s:s, s:s, s:s, s:b}", "stream", o->stream, "model", o->model,
                             "policy", o->policy, "closed", o->closed);
    const size_t n = json ? json_dumpb(json, text, sizeof text - 1, JSON_COMPACT) : 0;

    json_decref(json);
    if (!n || n >= sizeof text)
        return tt_fail(err, TT_ENOMEM, "out of memory for '%s'", TT_OPENED_FILE);
    text[n] = '\0';
    if (!path_of(dir, TT_OPENED_FILE, path) || !path_of(dir, "tmp." TT_OPENED_FILE, fresh))
        return tt_fail(err, TT_ERANGE, "folder '%s': its name is too long", dir);
    if (mkdir(dir, 0750) != 0 && errno != EEXIST)
        return tt_fail(err, TT_EIO, "folder '%s': %s", dir, strerror(errno));
    if (write_text(fresh, text, err) != TT_OK)
        return err->code;
    if (rename(fresh, path) != 0)
        return tt_fail(err, TT_EIO, "'%s': %s", path, strerror(errno));
    return TT_OK;
}

static bool take_text(const json_t *o, const char *key, char ret[TTAD_WIRE_NAME_MAX + 1])
{
    const char *text = json_string_value(json_object_get(o, key));

    return text && *text && snprintf(ret, TTAD_WIRE_NAME_MAX + 1, "%s", text) <= TTAD_WIRE_NAME_MAX;
}

/* The file of folder name in dir. */
static enum tt_code read_one(const char *dir, const char *name, struct tt_opened *ret,
                             struct tt_err *err)
{
    char path[PATH], is[TT_SNAPSHOT_DIR];
    struct tt_arena arena;
    bool sound = false;
    size_t n = 0;
    char *text;

    if ((size_t)snprintf(path, sizeof path, "%s/%s/%s", dir, name, TT_OPENED_FILE) >= sizeof path)
        return tt_fail(err, TT_ERANGE, "folder '%s': its name is too long", name);
    tt_arena_init(&arena, 0);
    if (tt_file_read(path, BYTES, &arena, &text, &n, err) == TT_OK) {
        json_t *o = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);

        sound = take_text(o, "stream", ret->stream) && take_text(o, "model", ret->model) &&
                take_text(o, "policy", ret->policy) &&
                tt_snapshot_dir(ret->stream, is, err) == TT_OK && !strcmp(is, name);
        ret->closed = json_is_true(json_object_get(o, "closed"));
        json_decref(o);
        if (!sound)
            (void)tt_fail(err, TT_EPARSE, "'%s' does not say which stream was opened", path);
    }
    tt_arena_release(&arena);
    return sound ? TT_OK : err->code;
}

enum tt_code tt_opened_list(const char *dir, struct tt_arena *arena, struct tt_opened **ret,
                            int *ret_n, int *ret_bad, struct tt_err *err)
{
    struct tt_opened *list = NULL;
    int n = 0, room = 0, bad = 0;
    struct dirent *e;
    DIR *d = opendir(dir);

    if (!d)
        return tt_fail(err, TT_EIO, "folder '%s': %s", dir, strerror(errno));
    while ((e = readdir(d))) {
        struct tt_err why;

        if (e->d_name[0] == '.')
            continue;
        if (n == room) {
            struct tt_opened *more = TT_NEW(arena, room ? 2 * room : FIRST, struct tt_opened);

            if (!more) {
                closedir(d);
                return tt_fail(err, TT_ENOMEM, "out of memory for the streams of '%s'", dir);
            }
            if (n)
                memcpy(more, list, (size_t)n * sizeof *list);
            list = more;
            room = room ? 2 * room : FIRST;
        }
        if (read_one(dir, e->d_name, &list[n], &why) == TT_OK)
            n++;
        else if (why.code != TT_ENOTFOUND)
            bad++;
    }
    closedir(d);
    *ret = list;
    *ret_n = n;
    *ret_bad = bad;
    return TT_OK;
}
