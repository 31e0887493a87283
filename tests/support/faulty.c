// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // RTLD_NEXT

/*
 * A disk that fails when told to: preloaded into the daemon (LD_PRELOAD), it stands before the
 * calls below.  The file that TT_FAULTS names says which fail; it is read again whenever it has
 * changed, so a test can fill the disk and empty it while the daemon runs.  A line is
 *
 *     CALLS PATH [errno=NUMBER] [delay_ms=N] [after=BYTES]
 *
 * CALLS: open (for writing), write (pwrite too), fsync (fdatasync too), rename, truncate, mkdir,
 * unlink, separated by commas, or all.  PATH: what the file's path begins with, or with a $ behind
 * it the whole of it.  delay_ms sleeps first; errno fails the call, after that many bytes were
 * written in all if after is given.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RULES 32

enum call { OPEN = 1, WRITE = 2, FSYNC = 4, RENAME = 8, TRUNCATE = 16, MKDIR = 32, UNLINK = 64 };

struct rule {
    unsigned calls;
    char path[512];
    int error;
    long delay_ms;
    long long left; // bytes that may be written yet; -1: not counted
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[RULES];
static int nrules;
static struct timespec changed;
static ino_t inode;
static _Thread_local bool inside; // reading the rules themselves

#define REAL(name) (__extension__(__typeof__(&name)) dlsym(RTLD_NEXT, #name))

static unsigned read_calls(char *list)
{
    static const struct {
        const char *name;
        unsigned calls;
    } names[] = {{"open", OPEN},         {"write", WRITE}, {"fsync", FSYNC},   {"rename", RENAME},
                 {"truncate", TRUNCATE}, {"mkdir", MKDIR}, {"unlink", UNLINK}, {"all", 127}};
    unsigned calls = 0;
    char *rest = NULL;

    for (char *s = strtok_r(list, ",", &rest); s; s = strtok_r(NULL, ",", &rest))
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (!strcmp(s, names[i].name))
                calls |= names[i].calls;
    return calls;
}

static void read_rule(char *line)
{
    struct rule r = {.left = -1};
    char *rest = NULL, *calls = strtok_r(line, " \n", &rest), *path = strtok_r(NULL, " \n", &rest);

    if (!calls || !path || nrules == RULES)
        return;
    (void)snprintf(r.path, sizeof r.path, "%s", path);
    for (char *s = strtok_r(NULL, " \n", &rest); s; s = strtok_r(NULL, " \n", &rest)) {
        if (!strncmp(s, "errno=", 6))
            r.error = atoi(s + 6);
        else if (!strncmp(s, "delay_ms=", 9))
            r.delay_ms = atol(s + 9);
        else if (!strncmp(s, "after=", 6))
            r.left = atoll(s + 6);
    }
    r.calls = read_calls(calls);
    rules[nrules++] = r;
}

/* Locked.  Read the rules again if they have changed. */
static void refresh(void)
{
    const char *path = getenv("TT_FAULTS");
    struct stat st;
    char line[1024];
    FILE *f;

    if (!path || stat(path, &st) != 0 ||
        (st.st_ino == inode && st.st_mtim.tv_sec == changed.tv_sec &&
         st.st_mtim.tv_nsec == changed.tv_nsec))
        return;
    f = fopen(path, "r");
    if (!f)
        return;
    nrules = 0;
    changed = st.st_mtim;
    inode = st.st_ino;
    while (fgets(line, sizeof line, f))
        read_rule(line);
    fclose(f);
}

static bool matches(const char *rule, const char *path)
{
    const size_t n = strlen(rule);

    if (n && rule[n - 1] == '$')
        return strlen(path) == n - 1 && !strncmp(path, rule, n - 1);
    return !strncmp(path, rule, n);
}

/* What is to happen to a call on path, of n bytes: the errno, or 0; *ret_n: the bytes that still
 * go through. */
static int judge(enum call call, const char *path, size_t n, size_t *ret_n)
{
    long delay_ms = 0;
    int error = 0;

    *ret_n = n;
    if (inside || !path)
        return 0;
    inside = true;
    pthread_mutex_lock(&lock);
    refresh();
    for (int i = 0; i < nrules; i++) {
        struct rule *r = &rules[i];

        if (!(r->calls & call) || !matches(r->path, path))
            continue;
        delay_ms += r->delay_ms;
        if (!r->error)
            continue;
        if (r->left < 0 || (call == WRITE && r->left == 0)) {
            error = r->error;
        } else if (call == WRITE) {
            *ret_n = (long long)n > r->left ? (size_t)r->left : n;
            r->left -= (long long)*ret_n;
        }
    }
    pthread_mutex_unlock(&lock);
    if (delay_ms) {
        struct timespec t = {delay_ms / 1000, delay_ms % 1000 * 1000000};

        nanosleep(&t, NULL);
    }
    inside = false;
    return error;
}

static int judge_fd(enum call call, int fd, size_t n, size_t *ret_n)
{
    char link[64], path[PATH_MAX];
    ssize_t k;

    *ret_n = n;
    if (inside)
        return 0;
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    k = readlink(link, path, sizeof path - 1);
    if (k <= 0)
        return 0;
    path[k] = '\0';
    return judge(call, path, n, ret_n);
}

/* The path of a name in the folder that fd is. */
static const char *join(int fd, const char *name, char path[PATH_MAX])
{
    char link[64], dir[PATH_MAX / 2];
    ssize_t k;

    if (*name == '/' || fd == AT_FDCWD)
        return name;
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    k = readlink(link, dir, sizeof dir - 1);
    if (k <= 0)
        return name;
    dir[k] = '\0';
    (void)snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

static bool says_no(enum call call, const char *path)
{
    size_t n;
    const int error = judge(call, path, 0, &n);

    if (error)
        errno = error;
    return error != 0;
}

static bool says_no_fd(enum call call, int fd)
{
    size_t n;
    const int error = judge_fd(call, fd, 0, &n);

    if (error)
        errno = error;
    return error != 0;
}

static bool for_writing(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT;
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

#define OPENER(name)                                   \
    int name(const char *path, int flags, ...)         \
    {                                                  \
        va_list args;                                  \
        mode_t mode;                                   \
                                                       \
        va_start(args, flags);                         \
        mode = mode_of(flags, args);                   \
        va_end(args);                                  \
        if (for_writing(flags) && says_no(OPEN, path)) \
            return -1;                                 \
        return REAL(name)(path, flags, mode);          \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name)                                               \
    int name(int fd, const char *path, int flags, ...)                \
    {                                                                 \
        char buf[PATH_MAX];                                           \
        va_list args;                                                 \
        mode_t mode;                                                  \
                                                                      \
        va_start(args, flags);                                        \
        mode = mode_of(flags, args);                                  \
        va_end(args);                                                 \
        if (for_writing(flags) && says_no(OPEN, join(fd, path, buf))) \
            return -1;                                                \
        return REAL(name)(fd, path, flags, mode);                     \
    }
OPENER_AT(openat)
OPENER_AT(openat64)

ssize_t write(int fd, const void *bytes, size_t n)
{
    size_t k;
    const int error = judge_fd(WRITE, fd, n, &k);

    if (error) {
        errno = error;
        return -1;
    }
    return REAL(write)(fd, bytes, k);
}

#define WRITER(name, offset)                                     \
    ssize_t name(int fd, const void *bytes, size_t n, offset at) \
    {                                                            \
        size_t k;                                                \
        const int error = judge_fd(WRITE, fd, n, &k);            \
                                                                 \
        if (error) {                                             \
            errno = error;                                       \
            return -1;                                           \
        }                                                        \
        return REAL(name)(fd, bytes, k, at);                     \
    }
WRITER(pwrite, off_t)
WRITER(pwrite64, off64_t)

int fsync(int fd)
{
    return says_no_fd(FSYNC, fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    return says_no_fd(FSYNC, fd) ? -1 : REAL(fdatasync)(fd);
}

int ftruncate(int fd, off_t n)
{
    return says_no_fd(TRUNCATE, fd) ? -1 : REAL(ftruncate)(fd, n);
}

int ftruncate64(int fd, off64_t n)
{
    return says_no_fd(TRUNCATE, fd) ? -1 : REAL(ftruncate64)(fd, n);
}

int rename(const char *from, const char *to)
{
    return says_no(RENAME, to) ? -1 : REAL(rename)(from, to);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    char buf[PATH_MAX];

    return says_no(RENAME, join(to_fd, to, buf)) ? -1 : REAL(renameat)(from_fd, from, to_fd, to);
}

int mkdir(const char *path, mode_t mode)
{
    return says_no(MKDIR, path) ? -1 : REAL(mkdir)(path, mode);
}

int unlink(const char *path)
{
    return says_no(UNLINK, path) ? -1 : REAL(unlink)(path);
}

int unlinkat(int fd, const char *path, int flags)
{
    char buf[PATH_MAX];

    return says_no(UNLINK, join(fd, path, buf)) ? -1 : REAL(unlinkat)(fd, path, flags);
}
