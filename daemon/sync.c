// SPDX-License-Identifier: Apache-2.0
#include "daemon/sync.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "monitor/snapshot.h"

#define ENTRIES 64

struct entry {
    int64_t ticket; // 0: free
    bool done;
    char dir[TT_LINE_BYTES + TT_SNAPSHOT_DIR], name[TT_SNAPSHOT_NAME];
    enum tt_code code;
    struct tt_err err;
};

struct tt_sync {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct entry entry[ENTRIES]; // a ring: a ticket's place is its remainder
    int64_t put, begun;          // tickets given out, and worked at
    bool stop;
};

static void *run(void *arg)
{
    struct tt_sync *s = arg;
    struct entry job;

    tt_log_name("sync");
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (s->begun == s->put) {
            pthread_cond_wait(&s->wake, &s->lock);
            continue;
        }
        job = s->entry[++s->begun % ENTRIES];
        pthread_mutex_unlock(&s->lock);
        job.code = tt_snapshot_sync(job.dir, job.name, &job.err);
        pthread_mutex_lock(&s->lock);
        job.done = true;
        s->entry[job.ticket % ENTRIES] = job;
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

enum tt_code tt_sync_start(struct tt_daemon *d, struct tt_err *err)
{
    struct tt_sync *s = TT_NEW(&d->arena, 1, struct tt_sync);

    if (!s)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    d->sync = s;
    return pthread_create(&s->thread, NULL, run, s) == 0 ? TT_OK
                                                         : tt_fail(err, TT_EIO, "sync: no thread");
}

void tt_sync_stop(struct tt_daemon *d)
{
    struct tt_sync *s = d->sync;

    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
}

int64_t tt_sync_put(struct tt_daemon *d, const char *dir, const char *name)
{
    struct tt_sync *s = d->sync;
    struct entry *e;
    int64_t ticket = 0;

    pthread_mutex_lock(&s->lock);
    e = &s->entry[(s->put + 1) % ENTRIES];
    if ((!e->ticket || e->done) && strlen(dir) < sizeof e->dir && strlen(name) < sizeof e->name) {
        ticket = ++s->put;
        *e = (struct entry){.ticket = ticket};
        memcpy(e->dir, dir, strlen(dir) + 1);
        memcpy(e->name, name, strlen(name) + 1);
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    return ticket;
}

enum tt_code tt_sync_take(struct tt_daemon *d, int64_t ticket, struct tt_err *err)
{
    struct tt_sync *s = d->sync;
    struct entry *e = &s->entry[ticket % ENTRIES];
    enum tt_code code;

    pthread_mutex_lock(&s->lock);
    if (e->ticket != ticket) {
        code = tt_fail(err, TT_ENOTFOUND, "sync %lld is not known any more", (long long)ticket);
    } else if (!e->done) {
        code = tt_fail(err, TT_EBUSY, "not synced yet");
    } else {
        code = e->code;
        if (code)
            *err = e->err;
        e->ticket = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return code;
}
