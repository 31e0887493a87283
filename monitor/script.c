// SPDX-License-Identifier: Apache-2.0
#include "monitor/script.h"

#include "monitor/schema.h"

enum tt_code tt_query_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret, struct tt_err *err)
{
    return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL) == SQLITE_OK
               ? TT_OK
               : tt_schema_fail(db, err, "preparing a statement");
}

void tt_query_bind(sqlite3_stmt *s, const char *name, int64_t value)
{
    const int at = sqlite3_bind_parameter_index(s, name);

    if (at)
        sqlite3_bind_int64(s, at, value);
}

enum tt_code tt_query_run(sqlite3 *db, sqlite3_stmt *s, struct tt_err *err)
{
    int rc;

    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        continue;
    sqlite3_reset(s);
    return rc == SQLITE_DONE ? TT_OK : tt_schema_fail(db, err, "retention");
}

enum tt_code tt_query_ask(sqlite3 *db, sqlite3_stmt *s, int64_t none, int64_t *ret,
                          struct tt_err *err)
{
    const int rc = sqlite3_step(s);

    *ret = rc == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL ? sqlite3_column_int64(s, 0)
                                                                        : none;
    sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? TT_OK : tt_schema_fail(db, err, "retention");
}

enum tt_code tt_query_once(sqlite3 *db, const char *sql, int64_t none, int64_t *ret,
                           struct tt_err *err)
{
    sqlite3_stmt *s = NULL;
    enum tt_code code = tt_query_prepare(db, sql, &s, err);

    if (!code)
        code = tt_query_ask(db, s, none, ret, err);
    sqlite3_finalize(s);
    return code;
}

enum tt_code tt_script_read(sqlite3 *db, const char *name, struct tt_script *ret,
                            struct tt_err *err)
{
    const char *sql = tt_schema_text(name);

    while (sql && *sql) {
        sqlite3_stmt *s = NULL;

        if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, &sql) != SQLITE_OK)
            return tt_schema_fail(db, err, name);
        if (s && ret->n == TT_SCRIPT_MAX) {
            sqlite3_finalize(s);
            return tt_fail(err, TT_ERANGE, "%s has more than %d statements", name, TT_SCRIPT_MAX);
        }
        if (s)
            ret->s[ret->n++] = s;
    }
    return sql ? TT_OK : tt_fail(err, TT_ENOTFOUND, "there is no %s", name);
}

void tt_script_free(struct tt_script *s)
{
    for (int i = 0; i < s->n; i++)
        sqlite3_finalize(s->s[i]);
    s->n = 0;
}

enum tt_code tt_script_run(sqlite3 *db, const struct tt_script *script, const struct tt_span *p,
                           struct tt_err *err)
{
    enum tt_code code = TT_OK;

    for (int i = 0; !code && i < script->n; i++) {
        sqlite3_stmt *s = script->s[i];

        tt_query_bind(s, ":stream", p->stream);
        tt_query_bind(s, ":from", p->from);
        tt_query_bind(s, ":to", p->to);
        tt_query_bind(s, ":first", p->first);
        tt_query_bind(s, ":after", p->after);
        tt_query_bind(s, ":last", p->last);
        tt_query_bind(s, ":now", p->now);
        tt_query_bind(s, ":since", p->since);
        tt_query_bind(s, ":hold_alert", p->hold_alert);
        tt_query_bind(s, ":worse_alert", p->worse_alert);
        code = tt_query_run(db, s, err);
    }
    return code;
}
