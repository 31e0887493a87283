// SPDX-License-Identifier: Apache-2.0
#include "monitor/schema.h"

#include "monitor/reader.h"
#include "tests/monitor/scratch.h"
#include <sys/wait.h>
#include <time.h>

static void refuse(const char *path, enum tt_code code, const char *needle)
{
    struct tt_store_options o = {.path = path};
    struct tt_store *s = NULL;
    struct tt_err err;

    assert_int_equal(tt_store_open(&o, &s, &err), code);
    assert_null(s);
    assert_contains(err.msg, needle);
    assert_contains(err.msg, path);
    assert_null(strchr(err.msg, '\n'));
}

static void a_new_file_has_the_settings_it_needs(void **state)
{
    struct scratch *x = *state;
    char wal[128];

    close_store(open_store(x->db));
    assert_sql(x->db, "SELECT * FROM pragma_journal_mode", "wal");
    assert_sql(x->db, "PRAGMA auto_vacuum", "2");
    assert_sql(x->db, "PRAGMA application_id", "1414807876");
    assert_sql(x->db, "PRAGMA user_version", "2");
    assert_int_equal(tt_schema_newest(), 2);
    snprintf(wal, sizeof wal, "%s-wal", x->db);
    assert_int_equal(access(wal, F_OK), 0); // stays, for readers that may not write
    close_store(open_store(x->db));         // and it opens again
}

static void a_newer_database_is_refused_with_both_versions(void **state)
{
    struct scratch *x = *state;
    struct tt_reader *r;
    struct tt_err err;
    char *before, *after;
    size_t nb, na;

    close_store(open_store(x->db));
    run_sql(x->db, "PRAGMA journal_mode = DELETE; PRAGMA user_version = 7");
    before = read_file(x->db, &nb);
    refuse(x->db, TT_EUNSUPPORTED, "its schema has version 7, this program knows up to 2");
    after = read_file(x->db, &na);
    assert_int_equal(na, nb);
    assert_memory_equal(after, before, nb); // nothing was touched
    free(before);
    free(after);
    assert_int_equal(tt_reader_open(x->db, &r, &err), TT_EUNSUPPORTED);
}

static void another_programs_database_is_refused_untouched(void **state)
{
    static const char *const cases[] = {"CREATE TABLE t(a)",
                                        "PRAGMA application_id = 77; CREATE TABLE t(a)",
                                        "PRAGMA user_version = 1"};
    struct scratch *x = *state;
    char path[128], *before, *after;
    size_t nb, na;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(path, sizeof path, "%s/%zu.db", x->dir, i);
        run_sql(path, cases[i]);
        before = read_file(path, &nb);
        refuse(path, TT_EUNSUPPORTED, "another program's database: application id 0x");
        after = read_file(path, &na);
        assert_int_equal(na, nb);
        assert_memory_equal(after, before, nb);
        free(before);
        free(after);
    }
}

static void write_at(const char *path, long at, const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), n);
    close(fd);
}

static void a_damaged_file_is_refused(void **state)
{
    static const char noise[5000] = "this is not a database, whatever its name says";
    static const char junk[3000] = {'\xff', '\x13'};
    struct scratch *x = *state;
    char path[128];

    snprintf(path, sizeof path, "%s/noise.db", x->dir);
    write_at(path, 0, noise, sizeof noise);
    refuse(path, TT_EPARSE, "file is not a database");

    close_store(open_store(x->db));
    run_sql(x->db, "PRAGMA journal_mode = DELETE");
    write_at(x->db, 4096 * 4, junk, sizeof junk); // inside a page of tables
    refuse(x->db, TT_EPARSE, "damaged: ");

    snprintf(path, sizeof path, "%s/short.db", x->dir);
    run_sql(path, "PRAGMA application_id = 1414807876; CREATE TABLE a(b); CREATE TABLE c(d)");
    assert_int_equal(truncate(path, 5000), 0);
    refuse(path, TT_EPARSE, "malformed");
}

static void a_directory_that_cannot_be_written_is_refused(void **state)
{
    struct scratch *x = *state;
    char path[160];
    int status;
    pid_t pid;

    snprintf(path, sizeof path, "%s/missing/ttad.db", x->dir);
    refuse(path, TT_EIO, "unable to open");
    refuse(x->dir, TT_EIO, "unable to open");

    close_store(open_store(x->db));
    assert_int_equal(chmod(x->db, 0444), 0);
    assert_int_equal(chmod(x->dir, 0555), 0);
    pid = fork(); // root may write everywhere: be nobody
    if (!pid) {
        struct tt_store_options o = {.path = x->db};
        struct tt_store *s;
        struct tt_err err;

        if (geteuid() == 0 && setuid(65534))
            _exit(2);
        _exit(tt_store_open(&o, &s, &err) != TT_OK && strstr(err.msg, x->db) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(chmod(x->dir, 0755), 0);
    assert_int_equal(status, 0);
}

static void write_version_1(const char *path)
{
    size_t n;
    char *text = read_file("tests/golden/record/version1.sql", &n);

    run_sql(path, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL");
    run_sql(path, text);
    free(text);
}

static void a_file_of_version_1_becomes_one_of_this_program(void **state)
{
    struct scratch *x = *state;
    struct tt_store_options o = {.path = x->db, .commit_ms = 5, .keep = {.raw_ms = 86400000}};
    struct tt_record r = {.kind = TT_REC_EVENT,
                          .ts_ms = 1700000300000,
                          .event = {.seq = 4, .kind = "daemon", .text = "t"}};
    struct tt_store *s;
    struct tt_err err;

    write_version_1(x->db);
    if (tt_store_open(&o, &s, &err))
        fail_msg("%s", err.msg);
    put_now(s, &r);
    assert_sql(x->db, "PRAGMA user_version", "2");
    assert_sql(x->db, "SELECT stream, state, version FROM v_stream_health", "cam-7|frozen|v1");
    assert_sql(x->db, "SELECT decision_id, action, to_version FROM v_rollbacks", "7|rollback|v0");
    assert_sql(x->db, "SELECT seq, text FROM v_events WHERE kind <> 'state'", "3|s\n4|t");
    /* What it had recorded is rolled up, too. */
    for (int i = 0; i < 100 && !strcmp(ask_sql(x->db, "SELECT count(*) FROM minute"), "0"); i++)
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    close_store(s);
    assert_sql(x->db,
               "SELECT res_s, n, mean FROM v_drift WHERE stream = 'cam-7' AND signal = 'loss' "
               "AND res_s < 3600 ORDER BY 1, ts",
               "0|64|0.5\n0|64|1.5\n60|64|0.5\n60|64|1.5");
    assert_sql(x->db, "SELECT n, correct FROM accuracy_minute WHERE stream_id = 0", "64|32");
    assert_sql(x->db, "PRAGMA integrity_check", "ok");
    assert_sql(x->db, "PRAGMA foreign_key_check", "");
}

static void a_migration_that_fails_leaves_the_file_as_it_was(void **state)
{
    struct scratch *x = *state;

    write_version_1(x->db);
    run_sql(x->db, "CREATE TABLE hour(a)"); // in the way of the second table
    refuse(x->db, TT_EIO, "to schema version 2: migrating: table hour already exists");
    assert_sql(x->db, "PRAGMA user_version", "1");
    assert_sql(x->db, "SELECT count(*) FROM sqlite_schema WHERE name = 'minute'", "0");
    run_sql(x->db, "DROP TABLE hour");
    close_store(open_store(x->db));
    assert_sql(x->db, "PRAGMA user_version", "2");
}

static void views_follow_the_program(void **state)
{
    struct scratch *x = *state;

    close_store(open_store(x->db));
    run_sql(x->db, "DROP VIEW v_drift; UPDATE meta SET value = 'old' WHERE key = 'views'");
    close_store(open_store(x->db));
    assert_sql(x->db, "SELECT count(*) FROM v_drift", "0");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, scratch_new, scratch_free)
    const struct CMUnitTest tests[] = {
        CASE(a_new_file_has_the_settings_it_needs),
        CASE(a_newer_database_is_refused_with_both_versions),
        CASE(another_programs_database_is_refused_untouched),
        CASE(a_damaged_file_is_refused),
        CASE(a_directory_that_cannot_be_written_is_refused),
        CASE(a_file_of_version_1_becomes_one_of_this_program),
        CASE(a_migration_that_fails_leaves_the_file_as_it_was),
        CASE(views_follow_the_program),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
