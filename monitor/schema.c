// SPDX-License-Identifier: Apache-2.0
#include "monitor/schema.h"

#include "base/hash.h"
#include "monitor/store.h"
#include "texts.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CHECK_BYTES (256LL * 1024 * 1024) // larger files are not read through at the start

enum tt_code tt_schema_fail(sqlite3 *db, struct tt_err *err, const char *doing)
{
    enum tt_code code = TT_EIO;

    switch (sqlite3_errcode(db) & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        code = TT_EPARSE;
        break;
    case SQLITE_NOMEM:
        code = TT_ENOMEM;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        code = TT_EBUSY;
        break;
    default:
        break;
    }
    return tt_fail(err, code, "%s: %s", doing, sqlite3_errmsg(db));
}

const char *tt_schema_text(const char *path)
{
    for (const struct tt_text *t = tt_texts; t->path; t++)
        if (!strcmp(t->path, path))
            return t->text;
    return NULL;
}

static const char *migration(int version)
{
    char path[64];

    snprintf(path, sizeof path, "monitor/schema/%03d.sql", version);
    return tt_schema_text(path);
}

int tt_schema_newest(void)
{
    int n = 0;

    while (migration(n + 1))
        n++;
    return n;
}

static enum tt_code run(sqlite3 *db, const char *sql, const char *doing, struct tt_err *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? TT_OK
                                                                : tt_schema_fail(db, err, doing);
}

static enum tt_code ask(sqlite3 *db, const char *sql, int64_t *ret, struct tt_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum tt_code code = TT_OK;

    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW)
        code = tt_schema_fail(db, err, "reading it");
    else
        *ret = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return code;
}

/* Whose file is this?  *ret_version: of its schema; 0: it is empty, and ours to fill. */
static enum tt_code identify(sqlite3 *db, int64_t *ret_version, struct tt_err *err)
{
    int64_t id = 0, tables = 0, version = 0;
    enum tt_code code = ask(db, "SELECT count(*) FROM sqlite_schema", &tables, err);

    if (!code)
        code = ask(db, "PRAGMA application_id", &id, err);
    if (!code)
        code = ask(db, "PRAGMA user_version", &version, err);
    if (code)
        return code;
    if (id != TT_STORE_APPLICATION && (tables || id || version))
        return tt_fail(err, TT_EUNSUPPORTED,
                       "another program's database: application id 0x%" PRIx64 ", want 0x%x", id,
                       (unsigned)TT_STORE_APPLICATION);
    if (version < 0 || version > tt_schema_newest())
        return tt_fail(err, TT_EUNSUPPORTED,
                       "its schema has version %" PRId64 ", this program knows up to %d", version,
                       tt_schema_newest());
    *ret_version = version;
    return TT_OK;
}

/* A damaged page is better found now than by a commit at night. */
static enum tt_code check_pages(sqlite3 *db, struct tt_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int64_t pages = 0, size = 0;
    enum tt_code code = ask(db, "PRAGMA page_count", &pages, err);

    if (!code)
        code = ask(db, "PRAGMA page_size", &size, err);
    if (code || pages * size > CHECK_BYTES)
        return code;
    if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW)
        code = tt_schema_fail(db, err, "checking it");
    else if (strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") != 0)
        code =
            tt_fail(err, TT_EPARSE, "damaged: %.300s", (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    for (char *p = code ? err->msg : NULL; p && *p; p++)
        *p = *p == '\n' ? ' ' : *p; // one line, whatever SQLite found
    return code;
}

static enum tt_code harden(sqlite3 *db, struct tt_err *err)
{
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, 5000);
    return run(db, "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY", "setting it up", err);
}

static enum tt_code migrate(sqlite3 *db, int version, struct tt_err *err)
{
    char end[96];
    enum tt_code code = run(db, "BEGIN IMMEDIATE", "migrating", err);

    snprintf(end, sizeof end, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
             TT_STORE_APPLICATION, version);
    if (!code)
        code = run(db, migration(version), "migrating", err);
    if (!code)
        code = run(db, end, "migrating", err);
    if (code && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return code ? tt_fail_in(err, "to schema version %d", version) : TT_OK;
}

/* Views are part of the program, not of the file: replace them when their text is another. */
static enum tt_code refresh_views(sqlite3 *db, struct tt_err *err)
{
    const char *text = tt_schema_text("monitor/schema/views.sql");
    char hash[TT_HASH_HEX + 1], sql[256];
    int64_t same = 0;
    enum tt_code code;

    tt_hash_bytes(text, strlen(text), hash);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM meta WHERE key = 'views' AND value = '%s'",
             hash);
    code = ask(db, sql, &same, err);
    if (code || same)
        return code;
    code = run(db, "BEGIN IMMEDIATE", "making the views", err);
    if (!code)
        code = run(db, text, "making the views", err);
    snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO meta VALUES('views', '%s'); COMMIT", hash);
    if (!code)
        code = run(db, sql, "making the views", err);
    if (code && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

static enum tt_code set_up(sqlite3 *db, struct tt_err *err)
{
    int64_t version = 0;
    int keep = 1;
    enum tt_code code = identify(db, &version, err);

    if (!code)
        code = harden(db, err);
    if (!code && sqlite3_db_readonly(db, "main"))
        return tt_fail(err, TT_EDENIED, "cannot be written to");
    if (!code && version)
        code = check_pages(db, err);
    if (!code && !version) // has to come before the first page is written
        code = run(db, "PRAGMA auto_vacuum = INCREMENTAL", "setting it up", err);
    if (!code)
        code = run(db,
                   "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
                   "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 33554432",
                   "setting it up", err);
    if (!code)
        sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
    for (int v = (int)version + 1; !code && v <= tt_schema_newest(); v++)
        code = migrate(db, v, err);
    return code ? code : refresh_views(db, err);
}

static enum tt_code set_up_read(sqlite3 *db, struct tt_err *err)
{
    int64_t version = 0;
    enum tt_code code = identify(db, &version, err);

    if (!code && version != tt_schema_newest())
        return tt_fail(err, TT_EUNSUPPORTED,
                       "its schema has version %" PRId64 ", this program reads %d", version,
                       tt_schema_newest());
    return code ? code : harden(db, err);
}

static enum tt_code open_as(const char *path, int flags, sqlite3 **ret, struct tt_err *err)
{
    sqlite3 *db = NULL;
    enum tt_code code;

    flags |= SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &db, flags, NULL) != SQLITE_OK)
        code = db ? tt_schema_fail(db, err, "opening it") : tt_fail(err, TT_ENOMEM, "no memory");
    else
        code = flags & SQLITE_OPEN_READONLY ? set_up_read(db, err) : set_up(db, err);
    if (code) {
        sqlite3_close(db);
        return tt_fail_in(err, "database '%s'", path);
    }
    *ret = db;
    return TT_OK;
}

enum tt_code tt_schema_open(const char *path, sqlite3 **ret, struct tt_err *err)
{
    return open_as(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, ret, err);
}

enum tt_code tt_schema_open_read(const char *path, sqlite3 **ret, struct tt_err *err)
{
    return open_as(path, SQLITE_OPEN_READONLY, ret, err);
}
