// SPDX-License-Identifier: Apache-2.0
#ifndef TT_TESTS_MONITOR_SCRATCH_H
#define TT_TESTS_MONITOR_SCRATCH_H

#include "monitor/store.h"
#include "tests/support/check.h"
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A directory of a test's own, and questions to a database in plain SQL. */

struct scratch {
    char dir[64], db[96];
};

static inline int scratch_new(void **state)
{
    struct scratch *s = calloc(1, sizeof *s);

    strcpy(s->dir, "/tmp/ttad-test-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->db, sizeof s->db, "%s/ttad.db", s->dir);
    *state = s;
    return 0;
}

static inline int scratch_free(void **state)
{
    struct scratch *s = *state;
    char cmd[128];

    snprintf(cmd, sizeof cmd, "rm -rf '%s'", s->dir);
    assert_int_equal(system(cmd), 0);
    free(s);
    return 0;
}

static inline sqlite3 *open_db(const char *path, bool write)
{
    sqlite3 *db;

    assert_int_equal(
        sqlite3_open_v2(path, &db,
                        write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY,
                        NULL),
        SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (!write) // as a careful reader would: the views must work so
        sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    return db;
}

static inline void run_sql(const char *path, const char *sql)
{
    sqlite3 *db = open_db(path, true);

    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* The rows of a query as text: columns by '|', rows by '\n', NULL as "-". */
static inline char *ask_sql(const char *path, const char *sql)
{
    static char out[4][16384];
    static int turn;
    char *to = out[turn++ % 4];
    size_t at = 0;
    sqlite3 *db = open_db(path, false);
    sqlite3_stmt *q;

    to[0] = '\0';
    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    while (sqlite3_step(q) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(q); i++) {
            const char *s = (const char *)sqlite3_column_text(q, i);
            int n = snprintf(to + at, sizeof out[0] - at, "%s%s",
                             i    ? "|"
                             : at ? "\n"
                                  : "",
                             s ? s : "-");

            assert_true(n >= 0 && (size_t)n < sizeof out[0] - at);
            at += (size_t)n;
        }
    }
    assert_int_equal(sqlite3_finalize(q), SQLITE_OK);
    sqlite3_close(db);
    return to;
}

#define assert_sql(path, sql, want) assert_string_equal(ask_sql((path), (sql)), (want))

static inline struct tt_store *open_store(const char *path)
{
    struct tt_store_options o = {.path = path, .commit_ms = 5};
    struct tt_store *s;
    struct tt_err err;

    if (tt_store_open(&o, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

/* Put one record and wait until it is on the disk. */
static inline void put_now(struct tt_store *s, const struct tt_record *r)
{
    struct tt_err err;
    int64_t ticket = tt_store_put(s, r);

    assert_true(ticket > 0);
    if (tt_store_sync(s, ticket, 10000, &err))
        fail_msg("%s", err.msg);
}

static inline void close_store(struct tt_store *s)
{
    struct tt_err err;

    if (tt_store_close(&s, &err))
        fail_msg("%s", err.msg);
}

#endif
