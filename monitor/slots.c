// SPDX-License-Identifier: Apache-2.0
#include "monitor/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/snapshot.h"

#define MAGIC "TTADSLT1"
#define PAGE  ((size_t)4096)
#define PATH  4096
#define LANES 4

struct head {
    char magic[8];
    uint64_t seq, bytes; // of what follows
    uint64_t sum;        // of the three above and of what follows
};

/* ---- checksum ------------------------------------------------------------------------------
 * Four lanes, so that multiplications overlap.  For a given state a step is a bijection of the
 * word, and for a given word of the state: a change within one word always arrives. */
struct sum {
    uint64_t lane[LANES];
    unsigned char rest[LANES * 8];
    size_t n; // bytes so far
};

static uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9fb21c651e98df25u;
    return h ^ h >> 29;
}

static void sum_block(struct sum *s, const unsigned char *p)
{
    for (int i = 0; i < LANES; i++) {
        uint64_t word;

        memcpy(&word, p + 8 * i, 8);
        s->lane[i] = mix(s->lane[i], word);
    }
}

static void sum_add(struct sum *s, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    const size_t block = sizeof s->rest, have = s->n % block;

    s->n += n;
    if (have) {
        const size_t take = n < block - have ? n : block - have;

        memcpy(s->rest + have, p, take);
        p += take;
        n -= take;
        if (have + take < block)
            return;
        sum_block(s, s->rest);
    }
    for (; n >= block; p += block, n -= block)
        sum_block(s, p);
    if (n)
        memcpy(s->rest, p, n);
}

static uint64_t sum_end(struct sum *s)
{
    uint64_t h = s->n;

    memset(s->rest + s->n % sizeof s->rest, 0, sizeof s->rest - s->n % sizeof s->rest);
    sum_block(s, s->rest);
    for (int i = 0; i < LANES; i++)
        h = mix(h, s->lane[i]);
    return h;
}

static uint64_t sum_of(const struct head *h, const struct tt_piece *parts, int nparts)
{
    struct sum s = {.lane = {1, 2, 3, 4}};

    sum_add(&s, h, offsetof(struct head, sum));
    for (int i = 0; i < nparts; i++)
        sum_add(&s, parts[i].bytes, parts[i].n);
    return sum_end(&s);
}

/* ---- writing ------------------------------------------------------------------------------- */

static enum tt_code fail_at(struct tt_err *err, const char *path, const char *what)
{
    const enum tt_code code = errno == ENOENT                     ? TT_ENOTFOUND
                              : errno == EACCES || errno == EPERM ? TT_EDENIED
                                                                  : TT_EIO;

    return tt_fail(err, code, "'%s': %s: %s", path, what, strerror(errno));
}

static bool put_at(int fd, const void *bytes, size_t n, off_t at)
{
    const char *p = bytes;

    while (n > 0) {
        const ssize_t k = pwrite(fd, p, n, at);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            errno = k ? errno : EIO;
            return false;
        }
        p += k;
        at += k;
        n -= (size_t)k;
    }
    return true;
}

/* The head last: without it the rest is nothing. */
static bool put_slot(int fd, size_t stride, const struct head *h, const struct tt_piece *parts,
                     int nparts)
{
    const off_t start = (off_t)(h->seq % 2 * stride);
    off_t at = start + (off_t)sizeof *h;

    for (int i = 0; i < nparts; i++) {
        if (!put_at(fd, parts[i].bytes, parts[i].n, at))
            return false;
        at += (off_t)parts[i].n;
    }
    return put_at(fd, h, sizeof *h, start);
}

/* The file that is there, if it has that size; else -1. */
static int open_sized(const char *path, size_t size)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size == size)
        return fd;
    close(fd);
    return -1;
}

static int make_file(const char *dir, const char *tmp)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    int fd;

    if (unlink(tmp) < 0 && errno != ENOENT)
        return -1;
    fd = open(tmp, flags, 0640);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (mkdir(dir, 0750) < 0 && errno != EEXIST)
        return -1;
    return open(tmp, flags, 0640);
}

/* Room for both slots first: a disk that is full now says so now. */
static enum tt_code write_fresh(const char *dir, const char *name, const char *path, size_t stride,
                                const struct head *h, const struct tt_piece *parts, int nparts,
                                struct tt_err *err)
{
    char tmp[PATH + 16];
    enum tt_code code = TT_OK;
    int fd, why;

    (void)snprintf(tmp, sizeof tmp, "%s/" TT_SNAPSHOT_TEMPORARY "%s", dir, name);
    fd = make_file(dir, tmp);
    if (fd < 0)
        return fail_at(err, tmp, "creating");
    why = posix_fallocate(fd, 0, (off_t)(2 * stride));
    if (why) {
        errno = why;
        code = fail_at(err, tmp, "making room");
    } else if (!put_slot(fd, stride, h, parts, nparts)) {
        code = fail_at(err, tmp, "writing");
    }
    if (close(fd) < 0 && !code)
        code = fail_at(err, tmp, "closing");
    if (!code && rename(tmp, path) < 0)
        code = fail_at(err, path, "renaming");
    if (code)
        (void)unlink(tmp); // one that stays is removed at the next start
    return code;
}

enum tt_code tt_slots_write(const char *dir, const char *name, uint64_t seq, bool fresh,
                            const struct tt_piece *parts, int nparts, struct tt_err *err)
{
    struct head h = {.magic = MAGIC, .seq = seq};
    char path[PATH];
    enum tt_code code = TT_OK;
    size_t stride;
    int fd = -1;

    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return tt_fail(err, TT_ERANGE, "'%.200s...': the path is too long", dir);
    for (int i = 0; i < nparts; i++)
        h.bytes += parts[i].n;
    h.sum = sum_of(&h, parts, nparts);
    stride = (sizeof h + h.bytes + PAGE - 1) / PAGE * PAGE;
    if (!fresh)
        fd = open_sized(path, 2 * stride);
    if (fd < 0)
        return write_fresh(dir, name, path, stride, &h, parts, nparts, err);
    if (!put_slot(fd, stride, &h, parts, nparts))
        code = fail_at(err, path, "writing");
    if (close(fd) < 0 && !code)
        code = fail_at(err, path, "closing");
    return code;
}

/* ---- reading ------------------------------------------------------------------------------- */

/* Is there a whole slot at that place?  Then it is added, the newest first. */
static bool take_slot(const unsigned char *bytes, size_t size, size_t at, struct tt_slots *ret)
{
    struct head h;
    struct tt_piece all;
    int i = 0;

    if (at > size || size - at < sizeof h)
        return false;
    memcpy(&h, bytes + at, sizeof h);
    if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0 || h.bytes > size - at - sizeof h)
        return false;
    all = (struct tt_piece){bytes + at + sizeof h, (size_t)h.bytes};
    if (sum_of(&h, &all, 1) != h.sum)
        return false;
    if (ret->n && ret->slot[0].seq > h.seq)
        i = 1;
    else
        ret->slot[1] = ret->slot[0];
    ret->slot[i].seq = h.seq;
    ret->slot[i].bytes = all.bytes;
    ret->slot[i].n = all.n;
    ret->n++;
    return true;
}

static bool is_blank(const unsigned char *bytes, size_t size, size_t at)
{
    for (size_t i = at; i < size && i < at + sizeof(struct head); i++)
        if (bytes[i])
            return false;
    return true;
}

/* Where the second slot begins: the file may have been cut. */
static size_t second(const struct tt_slots *first, size_t size)
{
    if (!first->n)
        return size / 2 / PAGE * PAGE;
    return (sizeof(struct head) + first->slot[0].n + PAGE - 1) / PAGE * PAGE;
}

enum tt_code tt_slots_read(const char *dir, const char *name, size_t limit, struct tt_arena *arena,
                           struct tt_slots *ret, struct tt_err *err)
{
    struct tt_slots s = {.n = 0};
    void *bytes;
    size_t size, at;
    bool first, other;

    if (tt_snapshot_read(dir, name, limit, arena, &bytes, &size, err) != TT_OK)
        return err->code;
    first = take_slot(bytes, size, 0, &s);
    at = second(&s, size);
    other = at > 0 && take_slot(bytes, size, at, &s);
    s.cut = (!first && !is_blank(bytes, size, 0)) ||
            (!other && (at >= size || !is_blank(bytes, size, at)));
    if (!s.n)
        return tt_fail(err, TT_EPARSE, "'%s/%s': neither of its two slots is whole", dir, name);
    *ret = s;
    return TT_OK;
}
