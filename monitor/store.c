// SPDX-License-Identifier: Apache-2.0
#include "monitor/store.h"

#include "monitor/queue.h"
#include "monitor/schema.h"
#include "monitor/statements.h"
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GROUP_RECORDS 2048                 // most records of one commit
#define TICK_MS       1000                 // between checkpoints, deletions, tries after a failure
#define WAIT_MS       10000                // longest that tt_store_put waits for room
#define WAL_BYTES     (32LL * 1024 * 1024) // past it a checkpoint restarts the log
#define CHUNK_ROWS    1000                 // deleted at once
#define TRIM_MS       50                   // of a tick spent deleting
#define NREJECTED     16                   // refused tickets remembered, for tt_store_sync

struct tt_store {
    struct tt_store_options options;
    sqlite3 *db; // these three are the writer's
    struct tt_statements *statements;
    sqlite3_stmt *add_loss;
    pthread_t thread;

    pthread_mutex_t lock;  // guards everything below
    pthread_cond_t work;   // something to write, or stop
    pthread_cond_t commit; // something was written, room, failure
    struct tt_queue queue;
    struct tt_store_stats stats;
    struct tt_histogram commits;
    struct tt_err failure; // of the last commit, while failing
    int64_t failures;      // commits that failed, ever
    int64_t urgent;        // ticket that somebody waits for
    int64_t since_ms;      // monotonic: when the oldest waiting record was put
    int64_t newest_ms;     // the newest time in any record
    int64_t shed_noted;    // of stats.shed, how many the record itself knows
    int64_t rejected[NREJECTED];
    char why[TT_ERR_MSG]; // of the last rejection
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

/* ---- writing ------------------------------------------------------------------------------ */

/* One group, as far as the writer has come with it. */
struct group {
    uint64_t end;   // position behind its last record
    int64_t ticket; // its last
    int64_t shed;   // rows lost so far, to be noted with it
    int64_t newest_ms;
    int64_t rejected[NREJECTED];
    int nrejected;
    char why[TT_ERR_MSG];
};

/* The database itself said no to this record; nothing is wrong with the disk. */
static bool is_refusal(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
        return true;
    default:
        return false;
    }
}

static enum tt_code write_record(struct tt_store *s, const struct tt_slot *slot, struct group *g,
                                 struct tt_err *err)
{
    int rc = tt_statements_run(s->statements, slot->kind, tt_slot_packed(slot));

    if (rc == SQLITE_OK)
        return TT_OK;
    if (!is_refusal(rc))
        return tt_schema_fail(s->db, err, "writing");
    g->rejected[g->nrejected++ % NREJECTED] = slot->ticket;
    snprintf(g->why, sizeof g->why, "a record was refused: %s", sqlite3_errmsg(s->db));
    return TT_OK;
}

static enum tt_code write_loss(struct tt_store *s, const struct group *g, struct tt_err *err)
{
    int rc;

    sqlite3_bind_int64(s->add_loss, 1, g->newest_ms);
    sqlite3_bind_int64(s->add_loss, 2, g->shed);
    sqlite3_bind_text(s->add_loss, 3, s->failure.msg[0] ? s->failure.msg : "the queue was full", -1,
                      SQLITE_STATIC);
    rc = sqlite3_step(s->add_loss);
    sqlite3_reset(s->add_loss);
    return rc == SQLITE_DONE ? TT_OK : tt_schema_fail(s->db, err, "writing");
}

/* All of the group in one transaction, or nothing. */
static enum tt_code write_group(struct tt_store *s, uint64_t at, struct group *g,
                                struct tt_err *err)
{
    const struct tt_slot *slot;
    enum tt_code code = TT_OK;

    if (sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return tt_schema_fail(s->db, err, "beginning a commit");
    while (!code && (slot = tt_queue_next(&s->queue, &at, g->end)))
        if (!slot->done)
            code = write_record(s, slot, g, err);
    if (!code && g->shed)
        code = write_loss(s, g, err);
    if (!code && sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        code = tt_schema_fail(s->db, err, "committing");
    if (code && !sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

/* Locked.  The next group: at most GROUP_RECORDS from the tail. */
static struct group take_group(struct tt_store *s)
{
    struct group g = {.end = s->queue.tail,
                      .ticket = s->stats.committed,
                      .shed = s->stats.shed - s->shed_noted,
                      .newest_ms = s->newest_ms};
    const struct tt_slot *slot;

    for (int n = 0; n < GROUP_RECORDS && (slot = tt_queue_next(&s->queue, &g.end, s->queue.head));
         n++)
        g.ticket = slot->ticket;
    return g;
}

/* Locked.  The group is on the disk: let go of it. */
static void finish_group(struct tt_store *s, const struct group *g, int64_t us)
{
    int kept = g->nrejected < NREJECTED ? g->nrejected : NREJECTED;

    for (int i = 0; i < kept; i++)
        s->rejected[(s->stats.rejected + i) % NREJECTED] = g->rejected[i];
    if (kept)
        memcpy(s->why, g->why, sizeof s->why);
    s->stats.rejected += g->nrejected;
    s->queue.tail = g->end;
    s->stats.committed = g->ticket;
    s->shed_noted += g->shed;
    s->stats.commits++;
    s->stats.commit_us = us;
    tt_histogram_add(&s->commits, us);
    if (us > s->stats.commit_us_max)
        s->stats.commit_us_max = us;
    s->stats.failing = false;
    s->failure.msg[0] = '\0';
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
        if (slot->sheddable && !slot->done) {
            slot->done = true;
            s->stats.shed++;
        }
    }
    at = s->queue.tail; // what was dropped in front needs no more room
    while ((slot = tt_queue_next(&s->queue, &at, s->queue.head)) && slot->done) {
        s->queue.tail = at;
        s->stats.committed = slot->ticket;
    }
}

/* Locked, and unlocked while it writes.  TT_OK also when there was nothing to do. */
static enum tt_code commit_group(struct tt_store *s, struct tt_err *err)
{
    struct group g = take_group(s);
    uint64_t at = s->queue.tail;
    int64_t start = now_us();
    enum tt_code code;

    if (g.end == s->queue.tail && !g.shed)
        return TT_OK;
    pthread_mutex_unlock(&s->lock);
    code = write_group(s, at, &g, err);
    pthread_mutex_lock(&s->lock);
    if (code)
        fail_group(s, err);
    else
        finish_group(s, &g, now_us() - start);
    pthread_cond_broadcast(&s->commit);
    return code;
}

/* ---- once a tick -------------------------------------------------------------------------- */

/* Returns the bytes of the log. */
static int64_t checkpoint(sqlite3 *db)
{
    int frames = 0, done = 0;

    if (sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &done))
        return 0;
    if ((int64_t)frames * 4120 > WAL_BYTES) { // readers that stay in the log keep it growing
        sqlite3_busy_timeout(db, 50);
        (void)sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_RESTART, &frames, &done);
        sqlite3_busy_timeout(db, 5000);
    }
    return (int64_t)frames * 4120;
}

/* Delete at most CHUNK_ROWS of the oldest rows; how many went. */
static int trim(sqlite3 *db, const char *table, int64_t before_ms)
{
    char sql[256];

    snprintf(sql, sizeof sql,
             "DELETE FROM %s WHERE id < (SELECT min(id) FROM %s) + %d AND ts_ms < %" PRId64, table,
             table, CHUNK_ROWS, before_ms);
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? sqlite3_changes(db) : 0;
}

static void trim_all(struct tt_store *s, int64_t newest_ms)
{
    int64_t start = now_ms(), before = newest_ms - s->options.keep_raw_ms;
    int n, all = 0;

    do {
        n = trim(s->db, "batch", before) + trim(s->db, "guard", before);
        all += n;
    } while (n && now_ms() - start < TRIM_MS);
    if (all)
        sqlite3_exec(s->db, "PRAGMA incremental_vacuum(512)", NULL, NULL, NULL);
}

/* Locked, and unlocked while it works. */
static void tick(struct tt_store *s, int64_t *commits)
{
    int64_t newest = s->newest_ms, wal = s->stats.wal_bytes;
    bool changed = s->stats.commits != *commits;

    *commits = s->stats.commits;
    pthread_mutex_unlock(&s->lock);
    if (s->options.keep_raw_ms > 0 && changed)
        trim_all(s, newest);
    if (changed)
        wal = checkpoint(s->db);
    pthread_mutex_lock(&s->lock);
    s->stats.wal_bytes = wal;
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

static void *write_records(void *arg)
{
    struct tt_store *s = arg;
    int64_t next_tick = now_ms() + TICK_MS, next_try = 0, commits = 0;
    struct tt_err err;

    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (now_ms() >= next_tick) { // first: under load something is always due
            tick(s, &commits);
            next_tick = now_ms() + TICK_MS;
        } else if (is_due(s, next_try)) {
            if (commit_group(s, &err))
                next_try = now_ms() + TICK_MS;
        } else {
            wait_until(s, &s->work, next_wake(s, next_tick, next_try));
        }
    }
    while (s->queue.head != s->queue.tail || s->stats.shed != s->shed_noted)
        if (commit_group(s, &err))
            break;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- for everybody ------------------------------------------------------------------------ */

static void dispose(struct tt_store *s)
{
    tt_statements_free(s->statements);
    sqlite3_finalize(s->add_loss);
    sqlite3_close(s->db);
    tt_queue_release(&s->queue);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->commit);
    pthread_mutex_destroy(&s->lock);
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
    s->options.path = NULL; // borrowed for the call
    s->options.commit_ms = o->commit_ms > 0 ? o->commit_ms : 50;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->work, &monotonic);
    pthread_cond_init(&s->commit, &monotonic);
    pthread_condattr_destroy(&monotonic);
    code = tt_schema_open(o->path, &s->db, err);
    if (!code)
        code = tt_statements_new(s->db, &s->statements, err);
    if (!code && sqlite3_prepare_v3(s->db, "INSERT INTO loss(ts_ms, rows, why) VALUES(?1, ?2, ?3)",
                                    -1, SQLITE_PREPARE_PERSISTENT, &s->add_loss, NULL))
        code = tt_schema_fail(s->db, err, "preparing a statement");
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

int64_t tt_store_put(struct tt_store *s, const struct tt_record *r)
{
    unsigned char packed[TT_PACK_MAX];
    size_t n = tt_record_pack(r, packed);
    bool sheddable = tt_record_sheddable(r);
    int64_t ticket = 0, until = now_ms() + WAIT_MS;
    bool was_empty;

    pthread_mutex_lock(&s->lock);
    while (!sheddable && !tt_queue_fits(&s->queue, n, false) && wait_until(s, &s->commit, until))
        continue;
    if (tt_queue_fits(&s->queue, n, sheddable)) {
        was_empty = s->queue.head == s->queue.tail;
        ticket = ++s->stats.put;
        tt_queue_push(&s->queue, (uint8_t)r->kind, sheddable, ticket, packed, n);
        if (r->ts_ms > s->newest_ms)
            s->newest_ms = r->ts_ms;
        if (was_empty)
            s->since_ms = now_ms();
        if (was_empty || s->queue.head - s->queue.tail >= s->queue.cap / 4)
            pthread_cond_signal(&s->work);
    } else if (sheddable) {
        s->stats.shed++;
    }
    pthread_mutex_unlock(&s->lock);
    return ticket;
}

/* Locked.  Was the record of that ticket refused? */
static bool was_rejected(const struct tt_store *s, int64_t ticket)
{
    for (int i = 0; i < NREJECTED; i++)
        if (s->rejected[i] == ticket)
            return true;
    return false;
}

enum tt_code tt_store_sync(struct tt_store *s, int64_t ticket, int timeout_ms, struct tt_err *err)
{
    int64_t until = now_ms() + timeout_ms, failures;
    enum tt_code code = TT_OK;

    if (ticket <= 0)
        return tt_fail(err, TT_EIO, "the record was not taken");
    pthread_mutex_lock(&s->lock);
    failures = s->failures;
    if (s->urgent < ticket)
        s->urgent = ticket;
    pthread_cond_signal(&s->work);
    while (s->stats.committed < ticket && !s->stats.failing && s->failures == failures &&
           wait_until(s, &s->commit, until))
        continue;
    if (was_rejected(s, ticket))
        code = tt_fail(err, TT_EIO, "%s", s->why);
    else if (s->stats.committed < ticket && s->stats.failing)
        code = tt_fail(err, TT_EIO, "the record cannot be written: %.400s", s->stats.why);
    else if (s->stats.committed < ticket)
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
        code = tt_fail(err, TT_EIO, "the record could not be completed: %.400s", s->stats.why);
    dispose(s);
    return code;
}
