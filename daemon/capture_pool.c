// SPDX-License-Identifier: Apache-2.0
#include "daemon/capture_pool.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "daemon/capture_files.h"

#define PARTS 16 // somebody looks when such a part of the bound was written

struct found {
    struct found *next;
    const char *dir; // of the stream
    struct tt_capture_file_size file;
    struct timespec changed;
};

struct look {
    struct tt_arena arena;
    struct found *first;
    int n;
    int64_t total;
};

void tt_capture_pool_init(struct tt_capture_pool *p, const char *database, int64_t max)
{
    *p = (struct tt_capture_pool){.max = max};
    (void)snprintf(p->root, sizeof p->root, "%s.captures", database);
    pthread_mutex_init(&p->lock, NULL);
    atomic_init(&p->unseen, max); // what is there at the start
}

void tt_capture_pool_end(struct tt_capture_pool *p)
{
    pthread_mutex_destroy(&p->lock);
}

/* The files of one stream; what cannot be read is passed over. */
static void look_into(struct look *l, const char *dir)
{
    struct tt_capture_file_size file[TT_CAPTURE_FILES];
    char path[TT_CAPTURE_PATH];
    struct tt_err err;
    struct stat st;
    int n = 0;

    if (tt_capture_files_list(dir, file, &n, &err) != TT_OK)
        return;
    for (int i = 0; i < n; i++) {
        struct found *f = TT_NEW(&l->arena, 1, struct found);

        tt_capture_files_path(dir, file[i].number, path);
        if (!f || stat(path, &st) < 0)
            continue;
        *f = (struct found){.next = l->first, .dir = dir, .file = file[i], .changed = st.st_mtim};
        l->first = f;
        l->n++;
        l->total += file[i].bytes;
    }
}

static void look_at_all(struct look *l, const char *root)
{
    char dir[TT_CAPTURE_PATH];
    struct dirent *e;
    DIR *d = opendir(root);

    while (d && (e = readdir(d))) {
        const char *copy;

        if (e->d_name[0] == '.' ||
            (size_t)snprintf(dir, sizeof dir, "%s/%s", root, e->d_name) >= sizeof dir)
            continue;
        copy = tt_arena_strndup(&l->arena, dir, strlen(dir));
        if (copy)
            look_into(l, copy);
    }
    if (d)
        closedir(d);
}

static int by_age(const void *a, const void *b)
{
    const struct found *x = *(const struct found *const *)a, *y = *(const struct found *const *)b;

    if (x->changed.tv_sec != y->changed.tv_sec)
        return x->changed.tv_sec < y->changed.tv_sec ? -1 : 1;
    if (x->changed.tv_nsec != y->changed.tv_nsec)
        return x->changed.tv_nsec < y->changed.tv_nsec ? -1 : 1;
    return x->file.number < y->file.number ? -1 : x->file.number > y->file.number;
}

/* Delete it, unless somebody writes it; and the folder, when nothing is left in it. */
static bool drop(const struct found *f)
{
    char path[TT_CAPTURE_PATH];
    bool gone;
    int fd;

    tt_capture_files_path(f->dir, f->file.number, path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    gone = flock(fd, LOCK_EX | LOCK_NB) == 0 && unlink(path) == 0;
    close(fd);
    if (gone)
        (void)rmdir(f->dir); // not empty: there are others
    return gone;
}

static void delete_oldest(struct look *l, int64_t max)
{
    struct found **all = TT_NEW(&l->arena, l->n + 1, struct found *), *f = l->first;

    if (!all || l->total <= max)
        return;
    for (int i = 0; i < l->n; i++, f = f->next)
        all[i] = f;
    qsort(all, (size_t)l->n, sizeof *all, by_age);
    for (int i = 0; i < l->n && l->total > max - max / 8; i++)
        if (drop(all[i]))
            l->total -= all[i]->file.bytes;
}

void tt_capture_pool_grew(struct tt_capture_pool *p, int64_t n)
{
    struct look l = {.n = 0};

    if (!p->max || atomic_fetch_add(&p->unseen, n) + n < p->max / PARTS ||
        pthread_mutex_trylock(&p->lock) != 0)
        return;
    atomic_store(&p->unseen, 0);
    tt_arena_init(&l.arena, 0);
    look_at_all(&l, p->root);
    delete_oldest(&l, p->max);
    tt_arena_release(&l.arena);
    pthread_mutex_unlock(&p->lock);
}
