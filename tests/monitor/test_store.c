// SPDX-License-Identifier: Apache-2.0
#include "monitor/store.h"

#include "tests/monitor/scratch.h"
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#define T0 1700000000000

static struct tt_record event(int64_t seq, const char *text)
{
    return (struct tt_record){.kind = TT_REC_EVENT,
                              .ts_ms = T0 + seq,
                              .stream = "cam-7",
                              .event = {.seq = seq, .kind = "daemon", .text = text}};
}

static struct tt_record batch(int64_t i)
{
    return (struct tt_record){.kind = TT_REC_BATCH,
                              .ts_ms = T0 + i,
                              .stream = "cam-7",
                              .batch = {.version = "v", .step = i, .rows = 64}};
}

static void nap(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

static void records_are_committed_in_order_and_close_keeps_them(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_store_stats stats;
    struct tt_err err;
    struct tt_record r;

    for (int i = 1; i <= 5000; i++) {
        r = event(i, "x");
        assert_int_equal(tt_store_put(s, &r), i);
    }
    assert_int_equal(tt_store_sync(s, 5000, 10000, &err), TT_OK);
    tt_store_stats(s, &stats);
    assert_int_equal(stats.committed, 5000);
    assert_true(stats.commits < 500); // in groups
    assert_int_equal(stats.shed + stats.rejected + stats.queued_bytes, 0);
    r = event(5001, "last");
    tt_store_put(s, &r);
    close_store(s); // without a sync
    assert_sql(x->db, "SELECT count(*), max(seq), max(text) FROM event", "5001|5001|x");
}

static void a_record_waits_no_longer_than_its_commit(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_record r = event(1, "nobody waits for it");

    tt_store_put(s, &r);
    for (int i = 0; i < 100 && strcmp(ask_sql(x->db, "SELECT count(*) FROM event"), "1"); i++)
        nap(20);
    assert_sql(x->db, "SELECT count(*) FROM event", "1");
    close_store(s);
}

static void a_refused_record_is_reported_and_the_rest_goes_on(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_store_stats stats;
    struct tt_err err;
    struct tt_record r = event(1, "first");
    int64_t bad, good;

    put_now(s, &r);
    r.event.text = "the same number again";
    bad = tt_store_put(s, &r);
    r = event(2, "second");
    good = tt_store_put(s, &r);
    assert_int_equal(tt_store_sync(s, good, 10000, &err), TT_OK);
    assert_int_equal(tt_store_sync(s, bad, 10000, &err), TT_EIO);
    assert_contains(err.msg, "a record was refused: UNIQUE constraint failed: event.seq");
    assert_int_equal(tt_store_sync(s, 0, 10000, &err), TT_EIO);
    r = batch(1);
    r.stream = NULL; // a batch of no stream
    bad = tt_store_put(s, &r);
    assert_int_equal(tt_store_sync(s, bad, 10000, &err), TT_EIO);
    tt_store_stats(s, &stats);
    assert_int_equal(stats.rejected, 2);
    assert_false(stats.failing);
    close_store(s);
    assert_sql(x->db, "SELECT group_concat(text) FROM event", "first,second");
}

/* Somebody else holds the file, so nothing is committed: the queue fills. */
static void metrics_are_shed_and_counted_while_decisions_stay(void **state)
{
    struct scratch *x = *state;
    struct tt_store_options o = {.path = x->db, .commit_ms = 5, .queue_bytes = 1};
    struct tt_store *s;
    struct tt_store_stats stats;
    struct tt_err err;
    sqlite3 *other;
    struct tt_record r = event(1, "before");
    int shed = 0, kept = 0;
    int64_t last = 0;
    char want[64];

    assert_int_equal(tt_store_open(&o, &s, &err), TT_OK);
    put_now(s, &r);
    other = open_db(x->db, true);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 4000; i++) {
        r = batch(i);
        *(tt_store_put(s, &r) ? &kept : &shed) += 1;
    }
    for (int i = 2; i <= 200; i++) { // the reserved quarter takes them at once
        r = event(i, "decided");
        last = tt_store_put(s, &r);
        assert_true(last > 0);
    }
    assert_int_equal(tt_store_sync(s, last, 50, &err), TT_EBUSY);
    assert_contains(err.msg, "not on the disk after 50 ms");
    tt_store_stats(s, &stats);
    assert_true(shed > 100 && kept > 100);
    assert_int_equal(stats.shed, shed);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(tt_store_sync(s, last, 10000, &err), TT_OK);
    close_store(s);

    assert_sql(x->db, "SELECT count(*) FROM event", "200");
    snprintf(want, sizeof want, "%d|%d", kept, shed);
    assert_sql(x->db, "SELECT (SELECT count(*) FROM batch), sum(rows) FROM loss", want);
    assert_sql(x->db, "SELECT DISTINCT kind, severity FROM v_events WHERE kind = 'record'",
               "record|warn");
    assert_contains(ask_sql(x->db, "SELECT text FROM v_events WHERE kind = 'record'"),
                    "rows were not kept: the queue was full");
}

/* A decision waits for the commit under way, not for all the metrics before it; and what is true
 * now is what the decision said, whatever older rows say later. */
static void a_decision_overtakes_metrics(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_record r = batch(0);
    struct tt_err err;
    sqlite3 *other;
    int64_t ticket;

    put_now(s, &r);
    other = open_db(x->db, true);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 1; i <= 9000; i++) {
        r = batch(i);
        assert_true(tt_store_put(s, &r) > 0);
    }
    r = (struct tt_record){.kind = TT_REC_DECISION,
                           .ts_ms = T0 + 9001,
                           .stream = "cam-7",
                           .decision = {.decision_id = 1, .action = "rollback"}};
    assert_true(tt_store_put(s, &r) > 0);
    r = (struct tt_record){
        .kind = TT_REC_STREAM,
        .ts_ms = T0 + 9001,
        .stream = "cam-7",
        .state = {.state = "cooldown", .version = "good", .step = 7, .decision_id = 1}};
    ticket = tt_store_put(s, &r);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(tt_store_sync(s, ticket, 10000, &err), TT_OK);
    assert_sql(x->db, "SELECT (SELECT count(*) FROM batch) < 7000, (SELECT count(*) FROM decision)",
               "1|1");
    close_store(s);
    assert_sql(x->db, "SELECT count(*), min(step), max(step) FROM batch", "9001|0|9000");
    assert_sql(x->db, "SELECT state, version, step FROM stream_now", "cooldown|good|7");
}

static void limit_files(rlim_t bytes)
{
    struct rlimit r;

    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &r);
}

/* In a child: 0 when all was as it should be, else the line. */
static int live_through_a_full_disk(const char *path)
{
    struct tt_store *s = open_store(path);
    struct tt_store_stats stats;
    struct tt_record r = event(1, "before");
    struct tt_err err;
    int64_t decision;

    signal(SIGXFSZ, SIG_IGN);
    put_now(s, &r);
    limit_files(60000); // the log is larger than that already
    for (int i = 0; i < 300; i++) {
        r = batch(i);
        tt_store_put(s, &r);
    }
    r = event(2, "decided on a full disk");
    decision = tt_store_put(s, &r);
    if (tt_store_sync(s, decision, 5000, &err) != TT_EIO || !strstr(err.msg, "cannot be written"))
        return __LINE__;
    tt_store_stats(s, &stats);
    if (!stats.failing || !stats.shed || !stats.why[0] || stats.committed >= decision)
        return __LINE__;
    limit_files(RLIM_INFINITY); // there is room again: it recovers by itself
    for (int i = 0; i < 100 && stats.failing; i++) {
        nap(50);
        tt_store_stats(s, &stats);
    }
    if (stats.failing || stats.committed < decision)
        return __LINE__;
    return tt_store_close(&s, &err) ? __LINE__ : 0;
}

static void a_full_disk_costs_metrics_never_decisions(void **state)
{
    struct scratch *x = *state;
    int status;
    pid_t pid = fork();

    if (!pid)
        _exit(live_through_a_full_disk(x->db) % 255);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_sql(x->db, "SELECT group_concat(text) FROM event", "before,decided on a full disk");
    assert_sql(x->db,
               "SELECT (SELECT count(*) FROM batch) + (SELECT sum(rows) FROM loss), "
               "(SELECT sum(rows) > 0 FROM loss)",
               "300|1");
    assert_sql(x->db, "PRAGMA integrity_check", "ok");
}

/* Write for ever; tell the number of each event once it is on the disk. */
static void write_until_killed(const char *path, int fd)
{
    struct tt_store *s = open_store(path);
    struct tt_err err;

    for (int64_t i = 1;; i++) {
        struct tt_record r = batch(i);
        int64_t ticket;

        for (int k = 0; k < 20; k++)
            (void)tt_store_put(s, &r);
        r = event(i, "acknowledged");
        ticket = tt_store_put(s, &r);
        if (tt_store_sync(s, ticket, 10000, &err) || write(fd, &i, sizeof i) != sizeof i)
            _exit(1);
    }
}

static void kill_9_loses_nothing_that_was_acknowledged(void **state)
{
    struct scratch *x = *state;

    for (int round = 0; round < 3; round++) {
        char path[128], want[32];
        int fds[2], status;
        int64_t seq = 0, last = 0;
        pid_t pid;

        snprintf(path, sizeof path, "%s/%d.db", x->dir, round);
        assert_int_equal(pipe(fds), 0);
        pid = fork();
        if (!pid) {
            close(fds[0]);
            write_until_killed(path, fds[1]);
        }
        close(fds[1]);
        while (seq < 20 + 7 * round && read(fds[0], &seq, sizeof seq) == sizeof seq)
            last = seq;
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (read(fds[0], &seq, sizeof seq) == sizeof seq) // told before it died
            last = seq;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        close(fds[0]);
        assert_true(last >= 20);
        close_store(open_store(path));
        snprintf(want, sizeof want, "%lld", (long long)last);
        char sql[96];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM event WHERE seq <= %s", want);
        assert_sql(path, sql, want);
        assert_sql(path, "PRAGMA integrity_check", "ok");
    }
}

struct reading {
    const char *path;
    int bad;
    int64_t seen;
};

/* Sums must never show half a transaction: every event follows its batch in the same commit or
 * an earlier one. */
static void *read_for_a_while(void *arg)
{
    struct reading *x = arg;
    sqlite3 *db;
    sqlite3_stmt *q;

    if (sqlite3_open_v2(x->path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM event)",
                           -1, &q, NULL) != SQLITE_OK) {
        x->bad = 1;
        return NULL;
    }
    for (int i = 0; !x->bad && x->seen < 300; i++) {
        if (i > 1000) // what is not there by then will not come
            nap(1);
        if (i > 20000)
            break;
        if (sqlite3_step(q) != SQLITE_ROW ||
            sqlite3_column_int64(q, 0) < sqlite3_column_int64(q, 1))
            x->bad = 1;
        x->seen = sqlite3_column_int64(q, 1);
        sqlite3_reset(q);
    }
    sqlite3_finalize(q);
    sqlite3_close(db);
    return NULL;
}

static void two_readers_while_writing_see_whole_commits(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct reading reading[2] = {{x->db, 0, 0}, {x->db, 0, 0}};
    pthread_t thread[2];

    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, read_for_a_while, &reading[i]), 0);
    for (int i = 1; i <= 300; i++) {
        struct tt_record r = batch(i);

        assert_true(tt_store_put(s, &r) > 0);
        r = event(i, "x");
        if (i % 10)
            tt_store_put(s, &r);
        else
            put_now(s, &r);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(reading[i].bad, 0);
        assert_int_equal(reading[i].seen, 300);
    }
    close_store(s);
}

static void *put_many(void *arg)
{
    struct tt_store *s = arg;

    for (int i = 0; i < 2000; i++) {
        struct tt_record r = batch(i);
        struct tt_err err;
        int64_t ticket;

        (void)tt_store_put(s, &r);
        r = event(0, "numbered by the database");
        ticket = tt_store_put(s, &r);
        if (!ticket || (i % 500 == 0 && tt_store_sync(s, ticket, 10000, &err)))
            return s;
    }
    return NULL;
}

static void four_threads_may_put_at_once(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_store_stats stats;
    pthread_t thread[4];
    void *failed;
    char want[64];

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, put_many, s), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], &failed);
        assert_null(failed);
    }
    tt_store_stats(s, &stats);
    close_store(s);
    snprintf(want, sizeof want, "%lld|8000", 8000 - (long long)stats.shed);
    assert_sql(x->db, "SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM event)", want);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, scratch_new, scratch_free)
    const struct CMUnitTest tests[] = {
        CASE(records_are_committed_in_order_and_close_keeps_them),
        CASE(a_record_waits_no_longer_than_its_commit),
        CASE(a_refused_record_is_reported_and_the_rest_goes_on),
        CASE(metrics_are_shed_and_counted_while_decisions_stay),
        CASE(a_decision_overtakes_metrics),
        CASE(a_full_disk_costs_metrics_never_decisions),
        CASE(kill_9_loses_nothing_that_was_acknowledged),
        CASE(two_readers_while_writing_see_whole_commits),
        CASE(four_threads_may_put_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
