// SPDX-License-Identifier: Apache-2.0
#include "monitor/history.h"

#include "monitor/schema.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tt_history {
    sqlite3 *db;
    sqlite3_stmt *batch, *decision;
};

/* Several rows may have one time and no name: the caller's is among them, or differs. */
static const char batch_sql[] =
    "SELECT coalesce(version, ''), coalesce(step, 0), coalesce(rows, 0), coalesce(adapted, 0) "
    "FROM batch WHERE stream_id = (SELECT id FROM stream WHERE name = ?1) AND ts_ms = ?2 "
    "AND coalesce(request_id, '') = ?3 ORDER BY id";

static const char decision_sql[] =
    "SELECT coalesce(action, ''), coalesce(from_version, ''), coalesce(to_version, '') "
    "FROM decision WHERE stream_id = (SELECT id FROM stream WHERE name = ?1) AND ts_ms = ?2 "
    "AND rule = ?3 AND dry_run = ?4 ORDER BY decision_id";

enum tt_code tt_history_open(const char *path, struct tt_history **ret, struct tt_err *err)
{
    struct tt_history *h = calloc(1, sizeof *h);
    enum tt_code code;

    if (!h)
        return tt_fail(err, TT_ENOMEM, "no memory for a reader");
    code = tt_schema_open_read(path, &h->db, err);
    if (!code && (sqlite3_prepare_v2(h->db, batch_sql, -1, &h->batch, NULL) != SQLITE_OK ||
                  sqlite3_prepare_v2(h->db, decision_sql, -1, &h->decision, NULL) != SQLITE_OK))
        code = tt_schema_fail(h->db, err, "preparing a question");
    if (code)
        tt_history_close(h);
    else
        *ret = h;
    return code;
}

void tt_history_close(struct tt_history *h)
{
    if (!h)
        return;
    sqlite3_finalize(h->batch);
    sqlite3_finalize(h->decision);
    sqlite3_close(h->db);
    free(h);
}

static void copy(sqlite3_stmt *q, int column, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s", (const char *)sqlite3_column_text(q, column));
}

enum tt_code tt_history_batch(struct tt_history *h, const struct tt_past_batch *b,
                              enum tt_found *ret, struct tt_past_batch *ret_other,
                              struct tt_err *err)
{
    sqlite3_stmt *q = h->batch;
    enum tt_code code = TT_OK;
    int rc;

    *ret = TT_FOUND_NONE;
    sqlite3_bind_text(q, 1, b->stream, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 2, b->ts_ms);
    sqlite3_bind_text(q, 3, b->id, -1, SQLITE_STATIC);
    while ((rc = sqlite3_step(q)) == SQLITE_ROW && *ret != TT_FOUND_SAME) {
        struct tt_past_batch got = {.stream = b->stream,
                                    .id = b->id,
                                    .ts_ms = b->ts_ms,
                                    .step = sqlite3_column_int64(q, 1),
                                    .rows = sqlite3_column_int64(q, 2),
                                    .adapted = sqlite3_column_int(q, 3) != 0};

        copy(q, 0, got.version, sizeof got.version);
        if (!strcmp(got.version, b->version) && got.step == b->step && got.rows == b->rows &&
            got.adapted == b->adapted)
            *ret = TT_FOUND_SAME;
        else if (*ret == TT_FOUND_NONE) {
            *ret = TT_FOUND_OTHER;
            *ret_other = got;
        }
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        code = tt_schema_fail(h->db, err, "looking for a batch");
    sqlite3_reset(q);
    return code;
}

enum tt_code tt_history_decision(struct tt_history *h, const struct tt_past_decision *d,
                                 enum tt_found *ret, struct tt_past_decision *ret_other,
                                 struct tt_err *err)
{
    sqlite3_stmt *q = h->decision;
    enum tt_code code = TT_OK;
    int rc;

    *ret = TT_FOUND_NONE;
    sqlite3_bind_text(q, 1, d->stream, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 2, d->ts_ms);
    sqlite3_bind_text(q, 3, d->rule, -1, SQLITE_STATIC);
    sqlite3_bind_int(q, 4, d->dry_run);
    while ((rc = sqlite3_step(q)) == SQLITE_ROW && *ret != TT_FOUND_SAME) {
        struct tt_past_decision got = *d;

        copy(q, 0, got.action, sizeof got.action);
        copy(q, 1, got.from, sizeof got.from);
        copy(q, 2, got.to, sizeof got.to);
        if (!strcmp(got.action, d->action) && !strcmp(got.from, d->from) && !strcmp(got.to, d->to))
            *ret = TT_FOUND_SAME;
        else if (*ret == TT_FOUND_NONE) {
            *ret = TT_FOUND_OTHER;
            *ret_other = got;
        }
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        code = tt_schema_fail(h->db, err, "looking for a decision");
    sqlite3_reset(q);
    return code;
}
