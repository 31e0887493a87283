// SPDX-License-Identifier: Apache-2.0
#include "monitor/store.h"

#include "monitor/schema.h"
#include "monitor/writer.h"
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GROUP_RECORDS 2048        // most records of one commit
#define AHEAD_BYTES   (64 * 1024) // so much before a record that somebody waits for: it goes first
#define TICK_MS       1000        // between checkpoints, deletions
#define RETRY_MS      500         // after the first failure, then twice as long each time
#define RETRY_MS_MAX  15000
#define WAIT_MS       10000       // longest that tt_store_put waits for room
#define QUICK_MS      1000        // only while the newest commit is not older than that
#define CLOSE_TRIES   4           // of the last commit
#define SPELL_MS      50          // of a tick spent on retention
#define CATCH_UP_MS   150         // to the next tick while that is behind
#define ROOM_BYTES    (64 * 1024) // that must be left to take another order

struct tt_store {
    struct tt_store_options options;
    struct tt_writer writer; // the thread's
    char *path;
    pthread_t thread;

    pthread_mutex_t lock;  // guards everything below
    pthread_cond_t work;   // something to write, or stop
    pthread_cond_t commit; // something was written, room, failure
    struct tt_queue queue;
    struct tt_store_stats stats;
    struct tt_histogram commits;
    struct tt_err failure; // of the last commit, while failing
    int64_t failures;      // commits that failed, ever
    int retry_ms;          // wait after the next failure
    int64_t urgent;        // ticket that somebody waits for
    int64_t ahead;         // what is no metric is committed up to that ticket
    int64_t since_ms;      // monotonic: when the oldest waiting record was put
    int64_t newest_ms;     // the newest time in any record
    int64_t shed_noted;    // of stats.shed, how many the record itself knows
    int64_t rejected[TT_REJECTED];
    char why[TT_ERR_MSG]; // of the last rejection
    bool behind;          // retention is
    bool stop;
};

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t now_ms(void)
{
    return now_us() / 1000;
}

/* Wait on a condition until a monotonic time; false when that has come. */
static bool wait_until(struct tt_store *s, pthread_cond_t *c, int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    return pthread_cond_timedwait(c, &s->lock, &t) == 0;
}

/* ---- groups ------------------------------------------------------------------------------- */

/* Locked.  The slot of a ticket that is still queued; NULL: it is committed, or was dropped. */
static struct tt_slot *find(const struct tt_store *s, int64_t ticket, uint64_t *ret_at)
{
    uint64_t at = s->queue.tail;
    struct tt_slot *slot;

    while ((slot = tt_queue_next(&s->queue, &at, s->queue.head)) && slot->ticket < ticket)
        continue;
    *ret_at = at;
    return slot && slot->ticket == ticket && !slot->done ? slot : NULL;
}

/* Locked.  Is a record waited for, or is the disk failing, so that metrics come second? */
static bool go_ahead(const struct tt_store *s)
{
    const struct tt_slot *slot;
    uint64_t at = s->queue.tail;

    if (s->stats.failing) {
        while ((slot = tt_queue_next(&s->queue, &at, s->queue.head)))
            if (!slot->done && slot->tier != TT_TIER_METRIC)
                return true;
        return false;
    }
    if (s->urgent <= s->stats.committed || s->urgent <= s->ahead)
        return false;
    slot = find(s, s->urgent, &at);
    return slot && slot->tier != TT_TIER_METRIC && at - s->queue.tail > AHEAD_BYTES;
}

/* Locked.  The next group: at most GROUP_RECORDS from the tail. */
static struct tt_group take_group(struct tt_store *s)
{
    struct tt_group g = {.at = s->queue.tail,
                         .end = s->queue.tail,
                         .ahead = go_ahead(s),
                         .ahead_of = s->ahead,
                         .ticket = s->stats.committed,
                         .shed = s->stats.shed - s->shed_noted,
                         .shed_why = s->failure.msg[0] ? s->failure.msg : "the queue was full",
                         .newest_ms = s->newest_ms};
    const struct tt_slot *slot;

    for (int n = 0; n < GROUP_RECORDS && (slot = tt_queue_next(&s->queue, &g.end, s->queue.head));
         n += !g.ahead || (!slot->done && slot->tier != TT_TIER_METRIC))
        g.ticket = slot->ticket;
    return g;
}

/* Locked.  The group is on the disk: let go of it. */
static void finish_group(struct tt_store *s, const struct tt_group *g, int64_t us)
{
    int kept = g->nrejected < TT_REJECTED ? g->nrejected : TT_REJECTED;
    uint64_t at = g->at;
    struct tt_slot *slot;

    for (int i = 0; i < kept; i++)
        s->rejected[(s->stats.rejected + i) % TT_REJECTED] = g->rejected[i];
    if (kept)
        memcpy(s->why, g->why, sizeof s->why);
    s->stats.rejected += g->nrejected;
    while ((slot = tt_queue_next(&s->queue, &at, g->end)))
        if (!(g->ahead && slot->tier == TT_TIER_METRIC))
            slot->done = true;
    s->stats.committed = tt_queue_pop_done(&s->queue, s->stats.committed);
    if (g->ticket > s->ahead)
        s->ahead = g->ticket;
    s->shed_noted += g->shed;
    s->stats.commits++;
    s->stats.rows += g->rows;
    s->stats.commit_us = us;
    tt_histogram_add(&s->commits, us);
    if (us > s->stats.commit_us_max)
        s->stats.commit_us_max = us;
    s->stats.failing = false;
    s->failure.msg[0] = '\0';
    s->retry_ms = RETRY_MS;
    s->since_ms = now_ms();
}

/* Locked.  The disk did not take the group: metrics make way, the rest waits. */
static void fail_group(struct tt_store *s, const struct tt_err *err)
{
    uint64_t at = s->queue.tail;
    struct tt_slot *slot;

    s->stats.failing = true;
    s->failure = *err;
    s->failures++;
    memcpy(s->stats.why, err->msg, sizeof s->stats.why);
    if (err->code == TT_EBUSY) // somebody else holds the file; it will pass
        return;
    while ((slot = tt_queue_next(&s->queue, &at, s->queue.head))) {
        if (slot->tier == TT_TIER_METRIC && !slot->done) {
            slot->done = true;
            s->stats.shed++;
        }
    }
    s->stats.committed = tt_queue_pop_done(&s->queue, s->stats.committed);
}

/* Locked, and unlocked while it writes.  TT_OK also when there was nothing to do. */
static enum tt_code commit_group(struct tt_store *s, struct tt_err *err)
{
    struct tt_group g = take_group(s);
    int64_t start = now_us();
    enum tt_code code;

    if (g.end == s->queue.tail && !g.shed)
        return TT_OK;
    pthread_mutex_unlock(&s->lock);
    code = tt_writer_commit(&s->writer, &s->queue, &g, err);
    pthread_mutex_lock(&s->lock);
    if (s->stats.mended != s->writer.mended) {
        s->stats.mended = s->writer.mended;
        memcpy(s->stats.note, s->writer.note, sizeof s->stats.note);
    }
    if (code)
        fail_group(s, err);
    else
        finish_group(s, &g, now_us() - start);
    pthread_cond_broadcast(&s->commit);
    return code;
}

/* ---- once a tick -------------------------------------------------------------------------- */

struct spell {
    struct tt_store *s;
    int64_t until_ms;
};

/* Retention has had its time, or somebody waits for a commit. */
static bool is_enough(void *arg)
{
    const struct spell *spell = arg;
    struct tt_store *s = spell->s;
    bool wanted;

    pthread_mutex_lock(&s->lock);
    wanted = s->urgent > s->stats.committed && s->urgent > s->ahead;
    wanted = wanted || s->queue.head - s->queue.tail >= s->queue.cap / 4 || s->stop;
    pthread_mutex_unlock(&s->lock);
    return wanted || now_ms() >= spell->until_ms;
}

/* Locked, and unlocked while it works.  Returns when to do so again. */
static int64_t tick(struct tt_store *s, int64_t *commits)
{
    const bool changed = s->stats.commits != *commits || s->stats.upkeep_failing || s->behind;
    const int64_t newest = s->newest_ms;
    int64_t wal = s->stats.wal_bytes;
    struct spell spell = {s, now_ms() + SPELL_MS};
    bool more = false;
    enum tt_code code;
    struct tt_err err;

    if (s->stats.failing || !changed)
        return now_ms() + TICK_MS;
    *commits = s->stats.commits;
    pthread_mutex_unlock(&s->lock);
    code = tt_writer_upkeep(&s->writer, newest, is_enough, &spell, &more, &wal, &err);
    pthread_mutex_lock(&s->lock);
    s->behind = more;
    s->stats.wal_bytes = wal;
    s->stats.upkeep_failing = code ? s->stats.upkeep_failing + 1 : 0; // tried at each tick
    if (code)
        memcpy(s->stats.why, err.msg, sizeof s->stats.why);
    return now_ms() + (more && !code ? CATCH_UP_MS : TICK_MS);
}

/* ---- the thread --------------------------------------------------------------------------- */

/* Locked.  Is it time to commit? */
static bool is_due(const struct tt_store *s, int64_t next_try)
{
    bool waiting = s->queue.head != s->queue.tail || s->stats.shed != s->shed_noted;

    if (!waiting)
        return false;
    if (s->stats.failing)
        return now_ms() >= next_try;
    return s->urgent > s->stats.committed || s->stop ||
           s->queue.head - s->queue.tail >= s->queue.cap / 4 ||
           now_ms() - s->since_ms >= s->options.commit_ms;
}

static int64_t next_wake(const struct tt_store *s, int64_t next_tick, int64_t next_try)
{
    bool waiting = s->queue.head != s->queue.tail || s->stats.shed != s->shed_noted;
    int64_t due = s->stats.failing ? next_try : s->since_ms + s->options.commit_ms;

    return waiting && due < next_tick ? due : next_tick;
}

/* Locked.  When to try again after a failure: ever less often. */
static int64_t back_off(struct tt_store *s)
{
    int64_t next = now_ms() + s->retry_ms;

    s->retry_ms = 2 * s->retry_ms < RETRY_MS_MAX ? 2 * s->retry_ms : RETRY_MS_MAX;
    return next;
}

static void *write_records(void *arg)
{
    struct tt_store *s = arg;
    int64_t next_tick = now_ms() + TICK_MS, next_try = 0, commits = 0;
    struct tt_err err;

    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (now_ms() >= next_tick) { // first: under load something is always due
            next_tick = tick(s, &commits);
        } else if (is_due(s, next_try)) {
            if (commit_group(s, &err))
                next_try = back_off(s);
        } else {
            wait_until(s, &s->work, next_wake(s, next_tick, next_try));
        }
    }
    for (int tries = CLOSE_TRIES;
         tries > 0 && (s->queue.head != s->queue.tail || s->stats.shed != s->shed_noted);)
        if (commit_group(s, &err) && --tries)
            wait_until(s, &s->work, now_ms() + RETRY_MS);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- for everybody ------------------------------------------------------------------------ */

static void dispose(struct tt_store *s)
{
    tt_writer_close(&s->writer);
    tt_queue_release(&s->queue);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->commit);
    pthread_mutex_destroy(&s->lock);
    free(s->path);
    free(s);
}

/* The writer takes no signals: they are the main thread's. */
static enum tt_code start(struct tt_store *s, struct tt_err *err)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&s->thread, NULL, write_records, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc ? tt_fail(err, TT_ENOMEM, "cannot start the store's thread: %s", strerror(rc))
              : TT_OK;
}

enum tt_code tt_store_open(const struct tt_store_options *o, struct tt_store **ret,
                           struct tt_err *err)
{
    struct tt_store *s = calloc(1, sizeof *s);
    pthread_condattr_t monotonic;
    enum tt_code code;

    if (!s)
        return tt_fail(err, TT_ENOMEM, "no memory for the store");
    s->options = *o;
    s->path = strdup(o->path);
    s->options.path = s->path;
    s->retry_ms = RETRY_MS;
    s->options.commit_ms = o->commit_ms > 0 ? o->commit_ms : 50;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->work, &monotonic);
    pthread_cond_init(&s->commit, &monotonic);
    pthread_condattr_destroy(&monotonic);
    code = s->path ? tt_writer_open(&s->writer, s->path, &o->keep, err)
                   : tt_fail(err, TT_ENOMEM, "no memory for the store");
    if (!code && !tt_queue_init(&s->queue, o->queue_bytes ? o->queue_bytes : 4 << 20))
        code = tt_fail(err, TT_ENOMEM, "no memory for a queue of %zu bytes", o->queue_bytes);
    if (!code)
        code = start(s, err);
    if (code)
        dispose(s);
    else
        *ret = s;
    return code;
}

/* Locked.  Wait for room, as long as it is going to come soon. */
static void wait_for_room(struct tt_store *s, size_t n, enum tt_tier tier)
{
    int64_t until = now_ms() + WAIT_MS;

    while (tier != TT_TIER_METRIC && !tt_queue_fits(&s->queue, n, tier) && !s->stats.failing &&
           now_ms() - s->since_ms < QUICK_MS && now_ms() < until)
        (void)wait_until(s, &s->commit, now_ms() + QUICK_MS);
}

int64_t tt_store_put(struct tt_store *s, const struct tt_record *r)
{
    unsigned char packed[TT_PACK_MAX];
    size_t n = tt_record_pack(r, packed);
    enum tt_tier tier = tt_record_tier(r);
    int64_t ticket = 0;
    bool was_empty;

    pthread_mutex_lock(&s->lock);
    wait_for_room(s, n, tier);
    if (tt_queue_fits(&s->queue, n, tier)) {
        was_empty = s->queue.head == s->queue.tail;
        ticket = ++s->stats.put;
        tt_queue_push(&s->queue, (uint8_t)r->kind, tier, ticket, packed, n);
        if (r->ts_ms > s->newest_ms)
            s->newest_ms = r->ts_ms;
        if (was_empty)
            s->since_ms = now_ms();
        if (was_empty || s->queue.head - s->queue.tail >= s->queue.cap / 4)
            pthread_cond_signal(&s->work);
    } else {
        s->stats.shed++;
        s->stats.lost += tier == TT_TIER_VITAL;
    }
    pthread_mutex_unlock(&s->lock);
    return ticket;
}

enum tt_code tt_store_room(struct tt_store *s, struct tt_err *err)
{
    enum tt_code code = TT_OK;

    pthread_mutex_lock(&s->lock);
    if (s->stats.failing && !tt_queue_fits(&s->queue, ROOM_BYTES, TT_TIER_VITAL))
        code = tt_fail(err, TT_EBUSY,
                       "the record has been failing for so long that it can take no more orders: "
                       "%.300s",
                       s->stats.why);
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* Locked.  Was the record of that ticket refused? */
static bool was_rejected(const struct tt_store *s, int64_t ticket)
{
    for (int i = 0; i < TT_REJECTED; i++)
        if (s->rejected[i] == ticket)
            return true;
    return false;
}

enum tt_code tt_store_sync(struct tt_store *s, int64_t ticket, int timeout_ms, struct tt_err *err)
{
    int64_t until = now_ms() + timeout_ms, failures;
    enum tt_code code = TT_OK;
    uint64_t at;

    if (ticket <= 0)
        return tt_fail(err, TT_EIO, "the record was not taken");
    pthread_mutex_lock(&s->lock);
    failures = s->failures;
    if (s->urgent < ticket)
        s->urgent = ticket;
    pthread_cond_signal(&s->work);
    while (find(s, ticket, &at) && !s->stats.failing && s->failures == failures &&
           wait_until(s, &s->commit, until))
        continue;
    if (was_rejected(s, ticket))
        code = tt_fail(err, TT_EIO, "%s", s->why);
    else if (!find(s, ticket, &at))
        code = TT_OK;
    else if (s->stats.failing)
        code = tt_fail(err, TT_EIO, "the record cannot be written: %.400s", s->stats.why);
    else
        code = tt_fail(err, TT_EBUSY, "the record is not on the disk after %d ms", timeout_ms);
    pthread_mutex_unlock(&s->lock);
    return code;
}

void tt_store_stats(struct tt_store *s, struct tt_store_stats *ret)
{
    pthread_mutex_lock(&s->lock);
    *ret = s->stats;
    ret->queued_bytes = (int64_t)(s->queue.head - s->queue.tail);
    ret->silent_ms = ret->queued_bytes ? now_ms() - s->since_ms : 0;
    pthread_mutex_unlock(&s->lock);
}

const struct tt_histogram *tt_store_commits(const struct tt_store *s)
{
    return &s->commits;
}

enum tt_code tt_store_close(struct tt_store **ps, struct tt_err *err)
{
    struct tt_store *s = *ps;
    enum tt_code code = TT_OK;

    *ps = NULL;
    if (!s)
        return TT_OK;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    if (s->queue.head != s->queue.tail)
        code = tt_fail(err, TT_EIO, "%" PRId64 " rows could not be written before the end: %.300s",
                       s->stats.put - s->stats.committed, s->stats.why);
    dispose(s);
    return code;
}

const char *tt_store_sqlite(void)
{
    return sqlite3_libversion();
}
