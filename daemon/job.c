// SPDX-License-Identifier: Apache-2.0
#include "daemon/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct tt_job *tt_job_new(void)
{
    struct tt_arena arena;
    struct tt_job *job;

    tt_arena_init(&arena, 0);
    job = TT_NEW(&arena, 1, struct tt_job);
    if (job)
        job->arena = arena;
    return job;
}

static void charge(struct tt_job *job, ptrdiff_t bytes)
{
    if (!job->account)
        return;
    job->charged += (size_t)bytes;
    atomic_fetch_add(&job->account->bytes, (size_t)bytes); // modulo 2^64: also takes away
    atomic_fetch_add(job->account->total, (size_t)bytes);
}

void tt_job_charge(struct tt_job *job, struct tt_account *account, size_t bytes)
{
    job->account = account;
    atomic_fetch_add(&account->jobs, 1);
    charge(job, (ptrdiff_t)bytes);
}

bool tt_job_add_frame(struct tt_job *job, size_t size)
{
    const int i = job->nframes;

    job->buffer[i] = malloc(size ? size : 1);
    if (!job->buffer[i])
        return false;
    job->frame[i] = (struct tt_frame){job->buffer[i], size};
    job->nframes++;
    charge(job, (ptrdiff_t)size);
    return true;
}

void tt_job_drop_frame(struct tt_job *job, int i)
{
    charge(job, -(ptrdiff_t)job->frame[i].size);
    free(job->buffer[i]);
    job->buffer[i] = NULL;
    job->frame[i] = (struct tt_frame){"", 0};
}

void tt_job_settle(struct tt_job *job)
{
    for (int i = 0; i < job->nframes; i++)
        tt_job_drop_frame(job, i);
    if (job->arena.used > job->charged)
        charge(job, (ptrdiff_t)(job->arena.used - job->charged));
}

void tt_job_free(struct tt_job *job)
{
    struct tt_arena arena;

    if (!job)
        return;
    for (int i = 0; i < job->nframes; i++)
        tt_job_drop_frame(job, i);
    charge(job, -(ptrdiff_t)job->charged);
    if (job->account)
        atomic_fetch_sub(&job->account->jobs, 1);
    arena = job->arena; // it owns job
    tt_arena_release(&arena);
}

enum tt_code tt_mailbox_init(struct tt_mailbox *q, struct tt_err *err)
{
    *q = (struct tt_mailbox){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (q->fd < 0)
        return tt_fail(err, TT_EIO, "eventfd: %s", strerror(errno));
    pthread_mutex_init(&q->lock, NULL);
    return TT_OK;
}

void tt_mailbox_end(struct tt_mailbox *q)
{
    struct tt_job *job;

    while ((job = tt_mailbox_take(q)))
        tt_job_free(job);
    close(q->fd);
    pthread_mutex_destroy(&q->lock);
}

void tt_mailbox_put(struct tt_mailbox *q, struct tt_job *job)
{
    const uint64_t one = 1;

    job->next = NULL;
    pthread_mutex_lock(&q->lock);
    if (q->tail)
        q->tail->next = job;
    else
        q->head = job;
    q->tail = job;
    pthread_mutex_unlock(&q->lock);
    if (write(q->fd, &one, sizeof one) < 0)
        return; // full: it is readable all the same
}

struct tt_job *tt_mailbox_take(struct tt_mailbox *q)
{
    struct tt_job *job;
    uint64_t n;

    pthread_mutex_lock(&q->lock);
    job = q->head;
    if (job) {
        q->head = job->next;
        if (!q->head)
            q->tail = NULL;
    } else if (read(q->fd, &n, sizeof n) < 0) {
        n = 0; // nothing was put since the last time
    }
    pthread_mutex_unlock(&q->lock);
    return job;
}

int64_t tt_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t tt_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}
