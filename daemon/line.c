// SPDX-License-Identifier: Apache-2.0
#include "daemon/line.h"

#include <string.h>

#include "daemon/follow.h"

#define ANSWERS 0 // ranks
#define UPDATES 1

static int64_t rows_of(const struct tt_job *job)
{
    return job->request.ask == TT_ASK_INFER ? job->request.inputs[0].dim[0] : 0;
}

static int64_t expect(const struct tt_worker *w, const struct tt_lane *lane, int64_t rows,
                      bool learn)
{
    const int64_t us = rows ? tt_pace_expect(&lane->pace, rows, learn) : 0;

    return us || !rows ? us : tt_pace_expect(&w->pace, rows, learn);
}

static void append(struct tt_job **head, struct tt_job **tail, struct tt_job *job)
{
    job->next = NULL;
    if (*tail)
        (*tail)->next = job;
    else
        *head = job;
    *tail = job;
}

static struct tt_job *pop(struct tt_job **head, struct tt_job **tail)
{
    struct tt_job *job = *head;

    if (job) {
        *head = job->next;
        if (!*head)
            *tail = NULL;
    }
    return job;
}

void tt_worker_give(struct tt_worker *w, struct tt_job *job, bool urgent)
{
    struct tt_lane *lane = job->lane;

    pthread_mutex_lock(&w->lock);
    if (urgent) {
        append(&w->urgent, &w->urgent_tail, job);
    } else {
        lane->turn.owner = lane;
        append(&lane->head, &lane->tail, job);
        job->expect_us = expect(w, lane, rows_of(job), true);
        lane->waiting_us += job->expect_us;
        w->waiting_us += job->expect_us;
        if (lane != w->serving)
            tt_turns_join(&w->turns, &lane->turn, ANSWERS, lane->head->expect_us);
    }
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

/* The job leaves the queue. */
static void unqueue(struct tt_worker *w, const struct tt_job *job)
{
    job->lane->waiting_us -= job->expect_us;
    w->waiting_us -= job->expect_us;
}

bool tt_line_next(struct tt_worker *w, struct tt_task *ret)
{
    struct tt_job *job;
    struct tt_turn *turn = NULL;

    pthread_mutex_lock(&w->lock);
    while (!w->urgent && !w->turns.n && !w->stop && !tt_follow_due(w))
        pthread_cond_wait(&w->wake, &w->lock);
    job = pop(&w->urgent, &w->urgent_tail);
    *ret = (struct tt_task){.job = job, .urgent = job};
    if (job)
        ret->lane = job->lane;
    else if ((turn = tt_turns_next(&w->turns))) {
        w->serving = ret->lane = turn->owner;
        job = ret->job = pop(&ret->lane->head, &ret->lane->tail);
        if (job) {
            unqueue(w, job);
            memcpy(ret->lane->running, job->request.id, sizeof ret->lane->running);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return job || turn;
}

void tt_line_done(struct tt_worker *w, const struct tt_task *task, int64_t us)
{
    struct tt_lane *lane = task->lane;

    pthread_mutex_lock(&w->lock);
    if (!task->urgent) {
        w->serving = NULL;
        lane->running[0] = '\0';
        tt_turns_spend(&lane->turn, us);
    }
    lane->due = lane->pending != NULL;
    if (lane->head)
        tt_turns_join(&w->turns, &lane->turn, ANSWERS, lane->head->expect_us);
    else if (lane->due)
        tt_turns_join(&w->turns, &lane->turn, UPDATES, 0);
    pthread_mutex_unlock(&w->lock);
}

void tt_line_saw(struct tt_worker *w, struct tt_lane *lane, int64_t rows, bool learnt, int64_t us)
{
    pthread_mutex_lock(&w->lock);
    tt_pace_saw(&lane->pace, rows, learnt, us);
    tt_pace_saw(&w->pace, rows, learnt, us);
    pthread_mutex_unlock(&w->lock);
}

int64_t tt_line_expect(struct tt_worker *w, struct tt_lane *lane, int64_t rows, bool learn)
{
    int64_t us;

    pthread_mutex_lock(&w->lock);
    us = expect(w, lane, rows, learn);
    pthread_mutex_unlock(&w->lock);
    return us;
}

int64_t tt_line_waiting_us(struct tt_worker *w, const struct tt_lane *lane)
{
    int64_t us;

    pthread_mutex_lock(&w->lock);
    us = w->waiting_us;
    /* The others that have requests get as much of the worker's time meanwhile. */
    if (lane && lane->waiting_us < us / (w->turns.n + 1))
        us = lane->waiting_us * (w->turns.n + 1);
    pthread_mutex_unlock(&w->lock);
    return us;
}

struct tt_job *tt_line_cancel(struct tt_worker *w, struct tt_lane *lane, const char *id,
                              bool *ret_running)
{
    struct tt_job *kept = NULL, *kept_tail = NULL, *found = NULL, *found_tail = NULL, *job;

    pthread_mutex_lock(&w->lock);
    *ret_running = lane == w->serving && !strcmp(lane->running, id);
    while ((job = pop(&lane->head, &lane->tail))) {
        const bool is = job->request.ask == TT_ASK_INFER && !strcmp(job->request.id, id);

        append(is ? &found : &kept, is ? &found_tail : &kept_tail, job);
        if (is)
            unqueue(w, job);
    }
    lane->head = kept;
    lane->tail = kept_tail;
    if (!lane->head && lane->turn.at) {
        tt_turns_leave(&w->turns, &lane->turn);
        if (lane->due)
            tt_turns_join(&w->turns, &lane->turn, UPDATES, 0);
    }
    pthread_mutex_unlock(&w->lock);
    return found;
}
