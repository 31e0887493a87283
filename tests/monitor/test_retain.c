// SPDX-License-Identifier: Apache-2.0
#include "monitor/retain.h"

#include "monitor/schema.h"
#include "tests/monitor/scratch.h"

/* Days of rows, made by SQL: every 10 s a batch of 8 rows of each stream from T0 on, a multiple of
 * an hour, its times and signals following from its number. */
#define T0  1699999200000LL
#define MIN 60000LL
#define DAY 86400000LL

static const struct tt_retain_options keep = {.raw_ms = DAY,
                                              .around_ms = 5 * MIN,
                                              .minute_ms = 3 * DAY,
                                              .hour_ms = 5 * DAY,
                                              .log_ms = 2 * DAY,
                                              .hold_alert_ms = 30 * MIN,
                                              .worse_alert_ms = 15 * MIN};

static sqlite3 *open_record(const char *path)
{
    sqlite3 *db;
    struct tt_err err;

    if (tt_schema_open(path, &db, &err))
        fail_msg("%s", err.msg);
    return db;
}

static void sql(sqlite3 *db, const char *text)
{
    char *why = NULL;

    if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", text, why);
}

/* From minute `from` to minute `to`, streams 1 and 2; guards and labels once a minute. */
static void fill(sqlite3 *db, int from, int to)
{
    char text[2048];

    snprintf(
        text, sizeof text,
        "BEGIN; INSERT OR IGNORE INTO stream(id, name, first_ms) VALUES(1, 'a', 0), (2, 'b', 0);"
        "WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %d) "
        "INSERT INTO batch(stream_id, ts_ms, rows, adapted, skip, loss, entropy_ratio, "
        "base_disagreement, queue_us, infer_us, adapt_us) SELECT s.id, %lld + i * 10000, 8, "
        "i %% 2, CASE WHEN i %% 2 THEN NULL ELSE 'not_ready' END, i %% 6, 0.5 + (i %% 6) / 100.0, "
        "CASE WHEN i %% 6 = 0 THEN 0.25 END, 1000, 2000, 3000 + (i %% 6) * 1000 "
        "FROM n, stream s ORDER BY i;"
        "WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 6 FROM n WHERE i + 6 < %d) "
        "INSERT INTO guard(stream_id, ts_ms, rule, signal, detector, state, evidence, n, verdict) "
        "SELECT 1, %lld + i * 10000, 'collapse', 'class_collapse', 'ewma', 'adapting', "
        "(i / 6 %% 4) / 4.0, i, 'ok' FROM n;"
        "WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 6 FROM n WHERE i + 6 < %d) "
        "INSERT INTO feedback(stream_id, ts_ms, answered_ms, version, n, correct, base_n, "
        "base_correct) SELECT 1, %lld + i * 10000 + 500, %lld + i * 10000, 'v', 8, 6, 8, 4 FROM n;"
        "INSERT OR REPLACE INTO stream_now(stream_id, ts_ms, last_batch_ms, state) "
        "SELECT id, %lld + %d * 10000, %lld + (%d - 1) * 10000, 'adapting' FROM stream; COMMIT",
        6 * from, 6 * to, T0, 6 * from, 6 * to, T0, 6 * from, 6 * to, T0, T0, T0, 6 * to, T0,
        6 * to);
    sql(db, text);
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static bool always(void *arg)
{
    ++*(int *)arg;
    return true;
}

static void retain(sqlite3 *db, const struct tt_retain_options *o, int64_t newest_ms)
{
    struct tt_retain *r;
    struct tt_err err;
    bool more;

    if (tt_retain_new(db, o, &r, &err) || tt_retain_work(r, newest_ms, never, NULL, &more, &err))
        fail_msg("%s", err.msg);
    assert_false(more);
    tt_retain_free(r);
}

static void minutes_and_hours_are_sums_means_and_worst(void **state)
{
    struct scratch *x = *state;
    sqlite3 *db = open_record(x->db);

    fill(db, 0, 130);
    retain(db, &keep, T0 + 130 * MIN);
    /* The last minute has been over for less than the time in which rows may come late. */
    assert_sql(x->db, "SELECT stream_id, count(*), min(ts_ms), max(ts_ms) FROM minute GROUP BY 1",
               "0|129|1699999200000|1700006880000\n1|129|1699999200000|1700006880000\n"
               "2|129|1699999200000|1700006880000");
    assert_sql(x->db,
               "SELECT batches, samples, adapted, skip_hold, queue_ms, infer_ms, adapt_ms, p99_ms "
               "FROM v_adapt_cost WHERE res_s = 60 AND stream_id = 1 LIMIT 1",
               "6|48|3|3|1.0|2.0|5.5|11.0");
    assert_sql(x->db,
               "SELECT signal, n, mean, worst FROM v_drift WHERE res_s = 60 AND stream = 'a' AND "
               "ts_ms = 1699999260000 ORDER BY signal",
               "base_disagreement|48|0.25|0.25\nentropy_ratio|48|0.525|0.5\nloss|48|2.5|5.0");
    assert_sql(x->db,
               "SELECT count(*), sum(batches), sum(samples), max(p99_us), min(loss), "
               "max(loss_worst) FROM hour WHERE stream_id = 1",
               "2|720|5760|11000|2500000|5000000");
    /* The fleet is both streams. */
    assert_sql(x->db,
               "SELECT batches, samples, mean FROM v_adapt_cost c JOIN v_drift d USING(ts_ms, "
               "stream_id, res_s) WHERE stream_id = 0 AND res_s = 3600 AND signal = 'loss'",
               "720|5760|2.5\n720|5760|2.5");
    assert_sql(x->db,
               "SELECT rule, detector, evidence, evidence_max, n FROM v_guard_timeline WHERE res_s "
               "= 3600 ORDER BY ts LIMIT 1",
               "collapse|ewma|0.375|0.75|18");
    assert_sql(x->db,
               "SELECT version, n, adapted, base, gap, adapted_lo < 0.75, adapted_hi > 0.75 FROM "
               "v_accuracy WHERE res_s = 3600 AND stream_id = 1 ORDER BY ts LIMIT 1",
               "v|480|0.75|0.5|0.25|1|1");
    assert_sql(x->db, "SELECT sum(n) FROM v_accuracy WHERE stream_id = 0 AND res_s = 60", "1040");
    /* Raw rows that are rolled up count once. */
    assert_sql(
        x->db,
        "SELECT count(*), sum(samples), sum(joined) FROM v_label_coverage WHERE stream = 'a'",
        "130|6240|1040");
    sqlite3_close(db);
}

static void rolling_up_again_changes_nothing_and_late_labels_are_added(void **state)
{
    static const char sums[] = "SELECT count(*), sum(batches), sum(loss) FROM minute";
    struct scratch *x = *state;
    sqlite3 *db = open_record(x->db);
    char before[128];

    fill(db, 0, 70);
    retain(db, &keep, T0 + 80 * MIN);
    snprintf(before, sizeof before, "%s", ask_sql(x->db, sums));
    retain(db, &keep, T0 + 80 * MIN);
    assert_sql(x->db, sums, before);
    sql(db, "INSERT INTO feedback(stream_id, ts_ms, answered_ms, version, n, correct, base_n, "
            "base_correct) VALUES(1, 1700010000000, 1699999200001, 'v', 8, 0, 0, 0)");
    retain(db, &keep, T0 + 80 * MIN);
    assert_sql(x->db, "SELECT n, correct, base_n FROM accuracy_minute WHERE stream_id = 1 LIMIT 1",
               "16|6|8");
    assert_sql(x->db,
               "SELECT n, correct, lo < 0.375 AND hi > 0.375 FROM accuracy_minute WHERE "
               "stream_id = 0 LIMIT 1",
               "16|6|1");
    sqlite3_close(db);
}

static void raw_rows_go_after_their_age_but_not_around_a_decision(void **state)
{
    struct scratch *x = *state;
    sqlite3 *db = open_record(x->db);

    fill(db, 0, 1440 + 120);
    sql(db, "INSERT INTO decision(decision_id, stream_id, ts_ms, action, dry_run) VALUES"
            "(1, 1, 1699999200000 + 30 * 60000, 'rollback', 0),"
            "(2, 2, 1699999200000 + 30 * 60000, 'rollback', 1)"); // a dry run keeps nothing
    retain(db, &keep, T0 + (1440 + 120) * MIN);
    /* Two hours are older than a day; of them stream 1 keeps five minutes on both sides. */
    assert_sql(x->db,
               "SELECT count(*), min(ts_ms), max(ts_ms) FROM batch WHERE stream_id = 1 AND "
               "ts_ms < 1699999200000 + 120 * 60000",
               "61|1700000700000|1700001300000");
    assert_sql(x->db, "SELECT min(ts_ms) FROM batch WHERE stream_id = 2", "1700006400000");
    assert_sql(x->db, "SELECT count(*) FROM guard WHERE ts_ms < 1699999200000 + 120 * 60000", "11");
    assert_sql(x->db, "SELECT count(*) FROM minute WHERE stream_id = 1", "1559"); // all of them
    assert_sql(x->db, "SELECT count(*) FROM decision", "2");
    sqlite3_close(db);
}

static void minutes_hours_and_the_log_have_ages_of_their_own(void **state)
{
    struct scratch *x = *state;
    sqlite3 *db = open_record(x->db);

    fill(db, 0, 120);
    sql(db,
        "INSERT INTO event(seq, ts_ms, kind, decision_id) VALUES(1, 1699999200000, 'daemon', NULL),"
        "(2, 1699999200000, 'rollback', 7);"
        "INSERT INTO state(stream_id, ts_ms, state) VALUES(1, 1699999200000, 'warming'),"
        "(1, 1699999200001, 'adapting');"
        "INSERT INTO version(stream_id, ts_ms, version, state, file) VALUES"
        "(1, 1699999200000, 'base', 'base', NULL), (1, 1699999200000, 'old', 'soaking', NULL),"
        "(1, 1699999200000, 'kept', 'good', 'f'), (1, 1699999200000, 'named', 'bad', NULL);"
        "INSERT INTO decision(decision_id, stream_id, ts_ms, action, dry_run, from_version) "
        "VALUES(7, 1, 1699999200000, 'rollback', 0, 'named')");
    retain(db, &keep, T0 + 130 * MIN);
    assert_sql(x->db,
               "SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM state), "
               "(SELECT count(*) FROM version)",
               "2|2|4");
    retain(db, &keep, T0 + 2 * DAY + 130 * MIN);
    assert_sql(x->db, "SELECT group_concat(seq) FROM event", "2");
    assert_sql(x->db, "SELECT group_concat(state) FROM state", "adapting");
    assert_sql(x->db, "SELECT group_concat(version) FROM (SELECT version FROM version ORDER BY id)",
               "base,kept,named");
    assert_sql(x->db, "SELECT count(*) > 0 FROM minute", "1");
    retain(db, &keep, T0 + 3 * DAY + 130 * MIN);
    assert_sql(x->db,
               "SELECT (SELECT count(*) FROM minute), (SELECT count(*) FROM guard_minute), "
               "(SELECT count(*) FROM feedback), (SELECT count(*) FROM hour) > 0",
               "0|0|0|1");
    retain(db, &keep, T0 + 5 * DAY + 130 * MIN);
    assert_sql(x->db,
               "SELECT (SELECT count(*) FROM hour) + (SELECT count(*) FROM guard_hour) + "
               "(SELECT count(*) FROM accuracy_hour), (SELECT count(*) FROM decision)",
               "0|1");
    sqlite3_close(db);
}

static void a_bound_in_bytes_takes_the_oldest_and_no_decision(void **state)
{
    struct scratch *x = *state;
    static const char used[] =
        "SELECT (pc.page_count - fc.freelist_count) * ps.page_size FROM pragma_page_count pc, "
        "pragma_freelist_count fc, pragma_page_size ps";
    struct tt_retain_options o = keep;
    sqlite3 *db = open_record(x->db);

    fill(db, 0, 1400);
    sql(db, "INSERT INTO decision(decision_id, stream_id, ts_ms, action, dry_run) "
            "SELECT i, 1, 1699999200000 + i, 'freeze', 0 FROM (WITH RECURSIVE n(i) AS (SELECT 1 "
            "UNION ALL SELECT i + 1 FROM n WHERE i < 200) SELECT i FROM n)");
    retain(db, &keep, T0 + 1410 * MIN);
    o.bytes = atoi(ask_sql(x->db, used)) * 6LL / 10;
    retain(db, &o, T0 + 1410 * MIN);
    assert_in_range(atoi(ask_sql(x->db, used)), o.bytes * 8 / 10, o.bytes);
    assert_sql(x->db, "SELECT count(*) FROM decision", "200");
    assert_sql(x->db, "SELECT min(ts_ms) > 1699999200000 + 60 * 60000, max(ts_ms) FROM minute",
               "1|1700083140000");
    assert_sql(x->db, "SELECT min(ts_ms) FROM batch", "1699999200000"); // around the decisions
    assert_sql(x->db, "SELECT count(*) FROM hour WHERE stream_id = 1", "23"); // they go last, too
    o.bytes = 1; // cannot be held: everything else goes, and it ends
    retain(db, &o, T0 + 1410 * MIN);
    assert_sql(x->db,
               "SELECT (SELECT count(*) FROM batch) + (SELECT count(*) FROM minute) + "
               "(SELECT count(*) FROM hour), (SELECT count(*) FROM decision)",
               "0|200");
    assert_sql(x->db, "PRAGMA integrity_check", "ok");
    sqlite3_close(db);
}

static void a_piece_deletes_at_most_a_thousand_rows_of_a_table(void **state)
{
    struct scratch *x = *state;
    sqlite3 *db = open_record(x->db);
    struct tt_retain *r;
    struct tt_err err;
    bool more = true;
    int pieces = 0, before, after;

    fill(db, 0, 600);
    retain(db, &keep, T0 + 610 * MIN);
    assert_int_equal(tt_retain_new(db, &keep, &r, &err), TT_OK);
    while (more) {
        before = atoi(ask_sql(x->db, "SELECT count(*) FROM batch"));
        assert_int_equal(tt_retain_work(r, T0 + 610 * MIN + DAY, always, &pieces, &more, &err),
                         TT_OK);
        after = atoi(ask_sql(x->db, "SELECT count(*) FROM batch"));
        assert_in_range(before - after, 0, 1000);
    }
    assert_true(pieces >= 7);
    assert_int_equal(after, 0);
    assert_true(atoi(ask_sql(x->db, "PRAGMA freelist_count")) <= 64); // given back
    tt_retain_free(r);
    sqlite3_close(db);
}

static void who_needs_a_person_is_judged(void **state)
{
    struct scratch *x = *state;
    sqlite3 *db = open_record(x->db);

    sql(db,
        "INSERT INTO stream(id, name, first_ms) VALUES(1,'frozen',0),(2,'by-hand',0),(3,'holds',0),"
        "(4,'worse',0),(5,'fine',0);"
        "INSERT INTO decision(decision_id, stream_id, ts_ms, action, dry_run, actor) VALUES"
        "(1, 1, 1699999200000, 'freeze', 0, 'guard'), (2, 2, 1699999200000, 'freeze', 0, 'ann'),"
        "(3, 1, 1699999200000, 'rollback', 0, 'guard');"
        "INSERT INTO stream_now(stream_id, ts_ms, state, state_since_ms, decision_id, acc_n, "
        "acc_correct, base_n, base_correct) VALUES"
        "(1, 1699999200000, 'frozen', 1699999200000, 1, NULL, NULL, NULL, NULL),"
        "(2, 1699999200000, 'frozen', 1699999200000, 2, NULL, NULL, NULL, NULL),"
        "(3, 1699999200000, 'holding', 1699999200000, NULL, NULL, NULL, NULL, NULL),"
        "(4, 1699999200000, 'adapting', 1699999200000, NULL, 100, 60, 100, 70),"
        "(5, 1699999200000, 'adapting', 1699999200000, NULL, 100, 80, 100, 70)");
    retain(db, &keep, T0 + 1000);
    assert_sql(
        x->db,
        "SELECT stream, needs_operator, badness FROM v_stream_health ORDER BY badness DESC, 1",
        "frozen|1|130.0\nholds|0|30.0\nworse|0|20.0\nby-hand|0|4.0\nfine|0|0.0");
    retain(db, &keep, T0 + 40 * MIN);
    assert_sql(
        x->db,
        "SELECT stream, needs_operator, badness FROM v_stream_health ORDER BY badness DESC, 1",
        "frozen|1|130.0\nholds|1|130.0\nworse|1|120.0\nby-hand|0|4.0\nfine|0|0.0");
    sqlite3_close(db);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, scratch_new, scratch_free)
    const struct CMUnitTest tests[] = {
        CASE(minutes_and_hours_are_sums_means_and_worst),
        CASE(rolling_up_again_changes_nothing_and_late_labels_are_added),
        CASE(raw_rows_go_after_their_age_but_not_around_a_decision),
        CASE(minutes_hours_and_the_log_have_ages_of_their_own),
        CASE(a_bound_in_bytes_takes_the_oldest_and_no_decision),
        CASE(a_piece_deletes_at_most_a_thousand_rows_of_a_table),
        CASE(who_needs_a_person_is_judged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
