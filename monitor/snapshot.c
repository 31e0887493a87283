// SPDX-License-Identifier: Apache-2.0
#include "monitor/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX       ".safetensors"
#define STEP_DIGITS  12
#define STREAM_BYTES 128
#define PLAIN_BYTES  200 // an encoded name longer than that is shortened with a hash
#define SHORT_BYTES  160 // to that much of it and 32 digits

/* ---- names -------------------------------------------------------------------------------- */

static bool is_plain(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || (c == '.' && !first);
}

/* Encode as much of stream as limit bytes hold. */
static size_t encode(const char *stream, char *ret, size_t limit)
{
    size_t at = 0;

    for (size_t i = 0; stream[i]; i++) {
        bool plain = is_plain(stream[i], i == 0);

        if (at + (plain ? 1 : 3) > limit)
            break;
        if (plain)
            ret[at++] = stream[i];
        else
            at += (size_t)snprintf(ret + at, 4, "%%%02X", (unsigned char)stream[i]);
    }
    ret[at] = '\0';
    return at;
}

enum tt_code tt_snapshot_dir(const char *stream, char ret[TT_SNAPSHOT_DIR], struct tt_err *err)
{
    char whole[3 * STREAM_BYTES + 1], hash[TT_HASH_HEX + 1];
    size_t n = strlen(stream);

    if (n < 1 || n > STREAM_BYTES)
        return tt_fail(err, TT_ERANGE, "a stream's name has %zu bytes, want 1 to %d", n,
                       STREAM_BYTES);
    if (encode(stream, whole, sizeof whole - 1) <= PLAIN_BYTES) {
        memcpy(ret, whole, strlen(whole) + 1);
        return TT_OK;
    }
    tt_hash_bytes(stream, n, hash); // '~' is never plain, so no other name looks like this
    n = encode(stream, ret, SHORT_BYTES);
    snprintf(ret + n, TT_SNAPSHOT_DIR - n, "~%.32s", hash);
    return TT_OK;
}

static bool is_hash(const char *s)
{
    for (int i = 0; i < TT_HASH_SHORT; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
    return true;
}

enum tt_code tt_snapshot_name(int64_t step, const char *version, char ret[TT_SNAPSHOT_NAME],
                              struct tt_err *err)
{
    if (step < 0 || step > 999999999999)
        return tt_fail(err, TT_ERANGE, "step %" PRId64 ", want 0 to 999999999999", step);
    if (!is_hash(version))
        return tt_fail(err, TT_ERANGE, "version '%.64s', want %d hexadecimal digits", version,
                       TT_HASH_SHORT);
    snprintf(ret, TT_SNAPSHOT_NAME, "%012" PRId64 "-%.16s" SUFFIX, step, version);
    return TT_OK;
}

/* Is this the name of a snapshot?  Then *ret says which. */
static bool parse_name(const char *name, struct tt_snapshot_file *ret)
{
    size_t want = STEP_DIGITS + 1 + TT_HASH_SHORT + sizeof SUFFIX - 1;

    if (strlen(name) != want || strspn(name, "0123456789") != STEP_DIGITS ||
        name[STEP_DIGITS] != '-' || !is_hash(name + STEP_DIGITS + 1) ||
        strcmp(name + want - (sizeof SUFFIX - 1), SUFFIX) != 0)
        return false;
    *ret = (struct tt_snapshot_file){.step = strtoll(name, NULL, 10)};
    memcpy(ret->name, name, want + 1);
    memcpy(ret->version, name + STEP_DIGITS + 1, TT_HASH_SHORT);
    return true;
}

static enum tt_code check_name(const char *name, struct tt_err *err)
{
    size_t n = strlen(name);

    if (n < 1 || n >= TT_SNAPSHOT_NAME || strchr(name, '/') || name[0] == '.')
        return tt_fail(err, TT_ERANGE, "'%.80s' is no name for a snapshot", name);
    return TT_OK;
}

/* ---- one file ----------------------------------------------------------------------------- */

static enum tt_code fail_at(struct tt_err *err, const char *dir, const char *name, const char *what)
{
    enum tt_code code = errno == ENOENT                     ? TT_ENOTFOUND
                        : errno == EACCES || errno == EPERM ? TT_EDENIED
                                                            : TT_EIO;

    return tt_fail(err, code, "snapshot '%s%s%s': %s: %s", dir, *name ? "/" : "", name, what,
                   strerror(errno));
}

static int open_dir(const char *dir)
{
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/* The parent of dir must know of it too, or a crash takes the whole directory. */
static bool sync_parent(const char *dir)
{
    char parent[4096];
    size_t n = strlen(dir);
    int fd;
    bool ok;

    while (n > 1 && dir[n - 1] == '/')
        n--;
    while (n > 0 && dir[n - 1] != '/')
        n--;
    if (n >= sizeof parent) {
        errno = ENAMETOOLONG;
        return false;
    }
    snprintf(parent, sizeof parent, "%.*s", n ? (int)n : 1, n ? dir : ".");
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ok = fsync(fd) == 0;
    close(fd);
    return ok;
}

/* Open dir, making it where it is missing; -1 with errno. */
static int make_dir(const char *dir)
{
    int fd = open_dir(dir);

    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (mkdir(dir, 0750) < 0 && errno != EEXIST)
        return -1;
    return sync_parent(dir) ? open_dir(dir) : -1;
}

static bool write_all(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;

    while (n > 0) {
        ssize_t k = write(fd, p, n);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            errno = k ? errno : EIO;
            return false;
        }
        p += k;
        n -= (size_t)k;
    }
    return true;
}

/* The steps that can fail, in order; what failed, or NULL.  errno says why. */
static const char *put_file(int dfd, const char *tmp, const char *name, const void *bytes, size_t n,
                            bool sync)
{
    const char *failed = NULL;
    int fd, why;

    if (unlinkat(dfd, tmp, 0) < 0 && errno != ENOENT)
        return "removing an old temporary";
    fd = openat(dfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return "creating";
    if (!write_all(fd, bytes, n))
        failed = "writing";
    else if (sync && fsync(fd) < 0)
        failed = "fsync";
    why = errno;
    if (close(fd) < 0 && !failed) {
        failed = "closing";
        why = errno;
    }
    errno = why;
    if (!failed && renameat(dfd, tmp, dfd, name) < 0)
        failed = "renaming";
    if (failed) {
        why = errno;
        (void)unlinkat(dfd, tmp, 0); // if that fails too, the next scan removes it
        errno = why;
    } else if (sync && fsync(dfd) < 0) {
        why = errno;
        (void)unlinkat(dfd, name, 0); // nobody may count on it
        errno = why;
        failed = "fsync of the directory";
    }
    return failed;
}

static enum tt_code write_one(const char *dir, const char *name, const void *bytes, size_t n,
                              bool sync, struct tt_err *err)
{
    char tmp[TT_SNAPSHOT_NAME + sizeof TT_SNAPSHOT_TEMPORARY];
    const char *failed;
    enum tt_code code = check_name(name, err);
    int dfd;

    if (code)
        return code;
    snprintf(tmp, sizeof tmp, TT_SNAPSHOT_TEMPORARY "%s", name);
    dfd = make_dir(dir);
    if (dfd < 0)
        return fail_at(err, dir, "", "opening the directory");
    failed = put_file(dfd, tmp, name, bytes, n, sync);
    if (failed)
        code = fail_at(err, dir, name, failed);
    close(dfd);
    return code;
}

enum tt_code tt_snapshot_write(const char *dir, const char *name, const void *bytes, size_t n,
                               struct tt_err *err)
{
    return write_one(dir, name, bytes, n, true, err);
}

enum tt_code tt_snapshot_put(const char *dir, const char *name, const void *bytes, size_t n,
                             struct tt_err *err)
{
    return write_one(dir, name, bytes, n, false, err);
}

enum tt_code tt_snapshot_sync(const char *dir, const char *name, struct tt_err *err)
{
    enum tt_code code = check_name(name, err);
    int dfd, fd;

    if (code)
        return code;
    dfd = open_dir(dir);
    if (dfd < 0)
        return fail_at(err, dir, name, "opening the directory");
    fd = openat(dfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        code = fail_at(err, dir, name, "opening");
    } else {
        if (fsync(fd) < 0 || !sync_parent(dir) || fsync(dfd) < 0) {
            code = fail_at(err, dir, name, "fsync");
            (void)unlinkat(dfd, name, 0); // nobody may count on it
        }
        close(fd);
    }
    close(dfd);
    return code;
}

static bool read_all(int fd, char *to, size_t n)
{
    while (n > 0) {
        ssize_t k = read(fd, to, n);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            errno = k ? errno : EIO; // it shrank while it was read
            return false;
        }
        to += k;
        n -= (size_t)k;
    }
    return true;
}

static enum tt_code read_open(int fd, const char *dir, const char *name, size_t limit,
                              struct tt_arena *arena, void **ret, size_t *ret_n, struct tt_err *err)
{
    struct stat st;
    char *bytes;

    if (fstat(fd, &st) < 0)
        return fail_at(err, dir, name, "reading");
    if (!S_ISREG(st.st_mode))
        return tt_fail(err, TT_EPARSE, "snapshot '%s/%s': no regular file", dir, name);
    if ((uintmax_t)st.st_size > limit)
        return tt_fail(err, TT_ERANGE, "snapshot '%s/%s': %jd bytes, want at most %zu", dir, name,
                       (intmax_t)st.st_size, limit);
    bytes = tt_arena_alloc(arena, (size_t)st.st_size + 1, 1);
    if (!bytes)
        return tt_fail(err, TT_ENOMEM, "snapshot '%s/%s': no memory for %jd bytes", dir, name,
                       (intmax_t)st.st_size);
    if (!read_all(fd, bytes, (size_t)st.st_size))
        return fail_at(err, dir, name, "reading");
    *ret = bytes;
    *ret_n = (size_t)st.st_size;
    return TT_OK;
}

enum tt_code tt_snapshot_read(const char *dir, const char *name, size_t limit,
                              struct tt_arena *arena, void **ret, size_t *ret_n, struct tt_err *err)
{
    enum tt_code code = check_name(name, err);
    int dfd, fd;

    if (code)
        return code;
    dfd = open_dir(dir);
    if (dfd < 0)
        return fail_at(err, dir, name, "opening the directory");
    fd = openat(dfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); // a fifo must not hang
    if (fd < 0) {
        code = fail_at(err, dir, name, "opening");
    } else {
        code = read_open(fd, dir, name, limit, arena, ret, ret_n, err);
        close(fd);
    }
    close(dfd);
    return code;
}

enum tt_code tt_snapshot_remove(const char *dir, const char *name, struct tt_err *err)
{
    enum tt_code code = check_name(name, err);
    int dfd;

    if (code)
        return code;
    dfd = open_dir(dir);
    if (dfd < 0)
        return errno == ENOENT ? TT_OK : fail_at(err, dir, name, "opening the directory");
    if (unlinkat(dfd, name, 0) < 0 && errno != ENOENT)
        code = fail_at(err, dir, name, "removing");
    close(dfd);
    return code;
}

/* ---- a directory of them ------------------------------------------------------------------ */

struct list {
    struct tt_snapshot_file *file; // newest first
    size_t n, cap;
};

static int newest_first(const void *a, const void *b)
{
    return strcmp(((const struct tt_snapshot_file *)b)->name,
                  ((const struct tt_snapshot_file *)a)->name);
}

static bool add(struct list *l, const struct tt_snapshot_file *f)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        struct tt_snapshot_file *more = realloc(l->file, cap * sizeof *more);

        if (!more)
            return false;
        l->file = more;
        l->cap = cap;
    }
    l->file[l->n++] = *f;
    return true;
}

/* Look at one entry; false: no memory. */
static bool look_at(int dfd, const char *name, bool clean, struct list *l)
{
    struct tt_snapshot_file f;
    struct stat st;
    bool temporary = !strncmp(name, TT_SNAPSHOT_TEMPORARY, sizeof TT_SNAPSHOT_TEMPORARY - 1);

    if (!(temporary && clean) && !parse_name(name, &f))
        return true;
    if (fstatat(dfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return true;
    if (temporary) {
        (void)unlinkat(dfd, name, 0); // one that stays is only room
        return true;
    }
    f.bytes = st.st_size;
    f.mtime_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    return add(l, &f);
}

/* List dir into *ret, which the caller frees; clean: remove temporaries too. */
static enum tt_code list_dir(const char *dir, bool clean, struct list *ret, struct tt_err *err)
{
    struct list l = {0};
    enum tt_code code = TT_OK;
    int fd = open_dir(dir);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (!d && fd < 0 && errno == ENOENT) {
        *ret = l;
        return TT_OK;
    }
    if (!d) {
        code = fail_at(err, dir, "", "listing");
        if (fd >= 0)
            close(fd);
        return code;
    }
    for (struct dirent *e; !code && (errno = 0, e = readdir(d));)
        if (!look_at(fd, e->d_name, clean, &l))
            code = tt_fail(err, TT_ENOMEM, "snapshots in '%s': no memory for the list", dir);
    if (!code && errno)
        code = fail_at(err, dir, "", "listing");
    closedir(d);
    if (code) {
        free(l.file);
        return code;
    }
    if (l.n)
        qsort(l.file, l.n, sizeof *l.file, newest_first);
    *ret = l;
    return TT_OK;
}

enum tt_code tt_snapshot_scan(const char *dir,
                              bool (*each)(void *arg, const struct tt_snapshot_file *f), void *arg,
                              struct tt_err *err)
{
    struct list l = {0};
    enum tt_code code = list_dir(dir, true, &l, err);

    if (code)
        return code;
    for (size_t i = 0; i < l.n && each(arg, &l.file[i]); i++)
        continue;
    free(l.file);
    return TT_OK;
}

/* Told first: a row without a file is looked for at the next start, a file that is gone is not. */
static enum tt_code drop(const char *dir, const struct tt_snapshot_file *f,
                         const struct tt_snapshot_keep *keep, int64_t *total, struct tt_err *err)
{
    if (keep->removed)
        keep->removed(keep->arg, f);
    *total -= f->bytes;
    return tt_snapshot_remove(dir, f->name, err);
}

/* Is f the first of its span, as they come, newest first, and is that one of the last n? */
static bool first_of(const struct tt_snapshot_keep *keep, const struct tt_snapshot_file *f,
                     int64_t span, int n, int64_t *last)
{
    const int64_t at = f->mtime_ms / span, now = keep->now_ms / span;
    const bool first = n > 0 && at != *last && at > now - n;

    if (first)
        *last = at;
    return first;
}

/* Which stay as long as there is room: stay[l->n]. */
static void choose(const struct list *l, const struct tt_snapshot_keep *keep, bool *stay)
{
    int64_t hour = -1, day = -1;

    for (size_t i = 0; i < l->n; i++) {
        const struct tt_snapshot_file *f = &l->file[i];
        const bool hourly = first_of(keep, f, 3600000, keep->hourly, &hour);
        const bool daily = first_of(keep, f, 86400000, keep->daily, &day);

        stay[i] = i < (size_t)(keep->newest > 1 ? keep->newest : 1) || hourly || daily ||
                  (keep->wanted && keep->wanted(keep->arg, f));
    }
}

enum tt_code tt_snapshot_retain(const char *dir, const struct tt_snapshot_keep *keep,
                                struct tt_err *err)
{
    struct list l = {0};
    enum tt_code code = list_dir(dir, false, &l, err);
    bool *stay = code ? NULL : calloc(l.n + 1, sizeof *stay);
    int64_t total = 0;

    if (!code && !stay)
        code = tt_fail(err, TT_ENOMEM, "snapshots in '%s': no memory for the list", dir);
    if (code)
        return code;
    choose(&l, keep, stay);
    for (size_t i = 0; i < l.n; i++)
        total += l.file[i].bytes;
    for (size_t i = l.n; !code && i-- > 1;) { // oldest first, never the newest
        const struct tt_snapshot_file *f = &l.file[i];
        const bool heavy = keep->quota > 0 && total > keep->quota;

        if ((!stay[i] || heavy) && !(keep->pinned && keep->pinned(keep->arg, f)))
            code = drop(dir, f, keep, &total, err);
    }
    free(stay);
    free(l.file);
    return code;
}

enum tt_code tt_snapshot_sweep(const char *root, int64_t *ret_bytes, struct tt_err *err)
{
    char path[4096];
    enum tt_code code = TT_OK;
    DIR *d = opendir(root);

    *ret_bytes = 0;
    if (!d)
        return fail_at(err, root, "", "listing");
    for (struct dirent *e; !code && (errno = 0, e = readdir(d));) {
        struct list l = {0};

        if (e->d_name[0] == '.' ||
            snprintf(path, sizeof path, "%s/%s", root, e->d_name) >= (int)sizeof path)
            continue;
        if (list_dir(path, true, &l, err) != TT_OK) // no directory, or not ours to read
            continue;
        for (size_t i = 0; i < l.n; i++)
            *ret_bytes += l.file[i].bytes;
        free(l.file);
    }
    closedir(d);
    return code;
}
