// SPDX-License-Identifier: Apache-2.0
#include "monitor/statements.h"

#include "monitor/schema.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SQL    4    // statements of a kind
#define MAX_FIELDS 32   // fields of a kind
#define MAX_INSERT 2048 // bytes of a generated statement

/* Where each field of the kind goes in one statement; 0: nowhere. */
struct prepared {
    sqlite3_stmt *stmt;
    int sid, ts, late, field[MAX_FIELDS];
};

struct tt_statements {
    sqlite3 *db;
    sqlite3_stmt *find_stream, *add_stream;
    struct prepared sql[TT_NRECORDS][MAX_SQL];
};

static bool has_column(const struct tt_field *f)
{
    return !f->aside;
}

/* INSERT INTO t(stream_id, ts_ms, a, b) VALUES(:sid, :ts, :a, :b) */
static void write_insert(char sql[MAX_INSERT], const struct tt_recipe *r)
{
    const char *sid = strcmp(r->table, "boot") ? "stream_id, " : "";
    int n = snprintf(sql, MAX_INSERT, "INSERT INTO %s(%sts_ms", r->table, sid);

    for (const struct tt_field *f = r->fields; f->name; f++)
        if (has_column(f))
            n += snprintf(sql + n, (size_t)(MAX_INSERT - n), ", %s", f->name);
    n += snprintf(sql + n, (size_t)(MAX_INSERT - n), ") VALUES(%s:ts", *sid ? ":sid, " : "");
    for (const struct tt_field *f = r->fields; f->name; f++)
        if (has_column(f))
            n += snprintf(sql + n, (size_t)(MAX_INSERT - n), ", :%s", f->name);
    n += snprintf(sql + n, (size_t)(MAX_INSERT - n), ")");
    assert(n < MAX_INSERT);
}

static enum tt_code prepare_one(sqlite3 *db, const char *sql, const struct tt_recipe *r,
                                struct prepared *ret, struct tt_err *err)
{
    int known = 0;
    char name[64];

    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &ret->stmt, NULL) != SQLITE_OK)
        return tt_schema_fail(db, err, "preparing a statement");
    ret->sid = sqlite3_bind_parameter_index(ret->stmt, ":sid");
    ret->ts = sqlite3_bind_parameter_index(ret->stmt, ":ts");
    ret->late = sqlite3_bind_parameter_index(ret->stmt, ":late");
    known = !!ret->sid + !!ret->ts + !!ret->late;
    for (int i = 0; r->fields[i].name; i++) {
        assert(i < MAX_FIELDS);
        snprintf(name, sizeof name, ":%s", r->fields[i].name);
        ret->field[i] = sqlite3_bind_parameter_index(ret->stmt, name);
        known += !!ret->field[i];
    }
    if (known != sqlite3_bind_parameter_count(ret->stmt)) // a misspelt one would be NULL for ever
        return tt_fail(err, TT_EUNSUPPORTED, "a statement has a parameter that no field fills: %s",
                       sql);
    return TT_OK;
}

static enum tt_code prepare_kind(struct tt_statements *s, const struct tt_recipe *r,
                                 struct prepared *to, struct tt_err *err)
{
    char insert[MAX_INSERT];
    enum tt_code code = TT_OK;

    if (r->table) {
        write_insert(insert, r);
        code = prepare_one(s->db, insert, r, to++, err);
    }
    for (int i = 0; !code && r->sql[i]; i++) {
        assert(i + 1 < MAX_SQL);
        code = prepare_one(s->db, r->sql[i], r, to++, err);
    }
    return code;
}

enum tt_code tt_statements_new(sqlite3 *db, struct tt_statements **ret, struct tt_err *err)
{
    struct tt_statements *s = calloc(1, sizeof *s);
    enum tt_code code = TT_OK;

    if (!s)
        return tt_fail(err, TT_ENOMEM, "no memory for the statements");
    s->db = db;
    if (sqlite3_prepare_v3(db, "SELECT id FROM stream WHERE name = ?1", -1,
                           SQLITE_PREPARE_PERSISTENT, &s->find_stream, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(db, "INSERT INTO stream(name, first_ms) VALUES(?1, ?2)", -1,
                           SQLITE_PREPARE_PERSISTENT, &s->add_stream, NULL) != SQLITE_OK)
        code = tt_schema_fail(db, err, "preparing a statement");
    for (int k = 0; !code && k < TT_NRECORDS; k++)
        code = prepare_kind(s, &tt_recipes[k], s->sql[k], err);
    if (code) {
        tt_statements_free(s);
        return code;
    }
    *ret = s;
    return TT_OK;
}

void tt_statements_free(struct tt_statements *s)
{
    if (!s)
        return;
    sqlite3_finalize(s->find_stream);
    sqlite3_finalize(s->add_stream);
    for (int k = 0; k < TT_NRECORDS; k++)
        for (int i = 0; i < MAX_SQL; i++)
            sqlite3_finalize(s->sql[k][i].stmt);
    free(s);
}

/* The stream's id, a new one for a new name. */
static int resolve(struct tt_statements *s, const char *name, int n, int64_t ts_ms, int64_t *ret)
{
    int rc;

    sqlite3_bind_text(s->find_stream, 1, name, n, SQLITE_STATIC);
    rc = sqlite3_step(s->find_stream);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(s->find_stream, 0);
    sqlite3_reset(s->find_stream);
    if (rc != SQLITE_DONE)
        return rc == SQLITE_ROW ? SQLITE_OK : rc;
    sqlite3_bind_text(s->add_stream, 1, name, n, SQLITE_STATIC);
    sqlite3_bind_int64(s->add_stream, 2, ts_ms);
    rc = sqlite3_step(s->add_stream);
    sqlite3_reset(s->add_stream);
    *ret = sqlite3_last_insert_rowid(s->db);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static const unsigned char *take_text(const unsigned char *p, const char **ret, int *ret_n)
{
    uint32_t n;

    memcpy(&n, p, sizeof n);
    p += sizeof n;
    *ret = n == TT_PACK_NULL ? NULL : (const char *)p;
    *ret_n = n == TT_PACK_NULL ? 0 : (int)n;
    return p + *ret_n;
}

/* Bind one field to parameter at (0: only pass over it). */
static const unsigned char *bind_field(sqlite3_stmt *stmt, int at, enum tt_field_type type,
                                       const unsigned char *p)
{
    const char *text;
    int n;
    int64_t i;
    double x;

    if (type == TT_FIELD_TEXT || type == TT_FIELD_JSON || type == TT_FIELD_COUNTS) {
        p = take_text(p, &text, &n);
        if (at)
            sqlite3_bind_text(stmt, at, text, n, SQLITE_STATIC); // NULL for a NULL text
        return p;
    }
    memcpy(&i, p, sizeof i);
    memcpy(&x, p, sizeof x);
    if (at && type == TT_FIELD_REAL)
        sqlite3_bind_double(stmt, at, x); // NULL for NaN
    else if (at && i == TT_UNKNOWN)
        sqlite3_bind_null(stmt, at);
    else if (at)
        sqlite3_bind_int64(stmt, at, i);
    return p + 8;
}

int tt_statements_run(struct tt_statements *s, enum tt_record_kind kind, bool late,
                      const unsigned char *packed)
{
    const char *name;
    int n, rc = SQLITE_OK;
    int64_t ts, sid = 0;
    const unsigned char *fields;

    memcpy(&ts, packed, sizeof ts);
    fields = take_text(packed + sizeof ts, &name, &n);
    if (name)
        rc = resolve(s, name, n, ts, &sid);
    for (int i = 0; rc == SQLITE_OK && i < MAX_SQL && s->sql[kind][i].stmt; i++) {
        const struct prepared *q = &s->sql[kind][i];
        const unsigned char *p = fields;

        if (q->ts)
            sqlite3_bind_int64(q->stmt, q->ts, ts);
        if (q->late)
            sqlite3_bind_int(q->stmt, q->late, late);
        if (q->sid && sid)
            sqlite3_bind_int64(q->stmt, q->sid, sid);
        else if (q->sid)
            sqlite3_bind_null(q->stmt, q->sid);
        for (int f = 0; tt_recipes[kind].fields[f].name; f++)
            p = bind_field(q->stmt, q->field[f], tt_recipes[kind].fields[f].type, p);
        rc = sqlite3_step(q->stmt);
        sqlite3_reset(q->stmt);
        if (rc == SQLITE_ROW || rc == SQLITE_DONE)
            rc = SQLITE_OK;
    }
    return rc;
}
