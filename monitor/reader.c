// SPDX-License-Identifier: Apache-2.0
#include "monitor/reader.h"

#include "monitor/schema.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tt_reader {
    sqlite3 *db;
    sqlite3_stmt *streams, *versions, *restored, *named, *ids, *last;
};

static const char streams_sql[] =
    "SELECT s.id, s.name, s.model, s.model_hash, s.engine, s.policy, s.policy_hash, w.state, "
    "w.reason, w.state_by, w.state_since_ms, w.ts_ms, w.version, w.step, count(*) OVER () "
    "FROM stream s LEFT JOIN stream_now w ON w.stream_id = s.id ORDER BY s.name";

static const char versions_sql[] =
    "SELECT v.version, v.parent, v.state, v.reason, v.file, v.step, v.ts_ms, v.bytes, v.batches, "
    "v.samples, v.set_aside_by FROM version v WHERE v.stream_id = "
    "(SELECT id FROM stream WHERE name = ?1) ORDER BY v.file IS NULL, v.ts_ms DESC, v.id DESC "
    "LIMIT ?2";

static const char restored_sql[] =
    "SELECT max(decision_id) FROM decision WHERE stream_id = (SELECT id FROM stream WHERE name = "
    "?1) AND action IN ('rollback', 'reset') AND NOT dry_run";

static const char named_sql[] =
    "SELECT v FROM (SELECT decision_id AS d, from_version AS v FROM decision WHERE stream_id = "
    "(SELECT id FROM stream WHERE name = ?1) UNION ALL SELECT decision_id, to_version FROM "
    "decision WHERE stream_id = (SELECT id FROM stream WHERE name = ?1)) WHERE v IS NOT NULL "
    "ORDER BY d DESC LIMIT ?2";

static const char ids_sql[] =
    "SELECT request_id, adapted FROM batch WHERE stream_id = (SELECT id FROM stream WHERE name = "
    "?1) AND request_id IS NOT NULL AND ts_ms >= (SELECT coalesce(max(ts_ms), 0) FROM state WHERE "
    "stream_id = (SELECT id FROM stream WHERE name = ?1) AND state = 'closed') "
    "ORDER BY ts_ms DESC, id DESC LIMIT ?2";

static const char last_sql[] = "SELECT (SELECT max(decision_id) FROM decision), "
                               "(SELECT max(seq) FROM event)";

static enum tt_code prepare(struct tt_reader *r, const char *sql, sqlite3_stmt **ret,
                            struct tt_err *err)
{
    return sqlite3_prepare_v3(r->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL) == SQLITE_OK
               ? TT_OK
               : tt_schema_fail(r->db, err, "preparing a question");
}

enum tt_code tt_reader_open(const char *path, struct tt_reader **ret, struct tt_err *err)
{
    struct tt_reader *r = calloc(1, sizeof *r);
    enum tt_code code;

    if (!r)
        return tt_fail(err, TT_ENOMEM, "no memory for a reader");
    code = tt_schema_open_read(path, &r->db, err);
    if (!code)
        code = prepare(r, streams_sql, &r->streams, err);
    if (!code)
        code = prepare(r, versions_sql, &r->versions, err);
    if (!code)
        code = prepare(r, restored_sql, &r->restored, err);
    if (!code)
        code = prepare(r, named_sql, &r->named, err);
    if (!code)
        code = prepare(r, ids_sql, &r->ids, err);
    if (!code)
        code = prepare(r, last_sql, &r->last, err);
    if (code)
        tt_reader_close(r);
    else
        *ret = r;
    return code;
}

void tt_reader_close(struct tt_reader *r)
{
    if (!r)
        return;
    sqlite3_finalize(r->streams);
    sqlite3_finalize(r->versions);
    sqlite3_finalize(r->restored);
    sqlite3_finalize(r->named);
    sqlite3_finalize(r->ids);
    sqlite3_finalize(r->last);
    sqlite3_close(r->db);
    free(r);
}

/* A column's text in the arena, "" for NULL; NULL: no memory. */
static const char *text(sqlite3_stmt *q, int column, struct tt_arena *arena)
{
    const char *s = (const char *)sqlite3_column_text(q, column);

    return tt_arena_strndup(arena, s ? s : "", s ? (size_t)sqlite3_column_bytes(q, column) : 0);
}

static bool take_stream(sqlite3_stmt *q, struct tt_arena *arena, struct tt_known_stream *ret)
{
    const char **texts[] = {&ret->stream, &ret->model,  &ret->model_hash,
                            &ret->engine, &ret->policy, &ret->policy_hash,
                            &ret->state,  &ret->reason, &ret->by};

    ret->id = sqlite3_column_int64(q, 0);
    for (int i = 0; i < 9; i++)
        if (!(*texts[i] = text(q, i + 1, arena)))
            return false;
    ret->state_since_ms = sqlite3_column_int64(q, 10);
    ret->ts_ms = sqlite3_column_int64(q, 11);
    ret->step = sqlite3_column_int64(q, 13);
    return (ret->version = text(q, 12, arena));
}

enum tt_code tt_reader_streams(struct tt_reader *r, struct tt_arena *arena,
                               struct tt_known_stream **ret, int *ret_n, struct tt_err *err)
{
    struct tt_known_stream *all = NULL;
    enum tt_code code = TT_OK;
    int n = 0, rc;

    while ((rc = sqlite3_step(r->streams)) == SQLITE_ROW) {
        if (!all)
            all = TT_NEW(arena, sqlite3_column_int64(r->streams, 14), struct tt_known_stream);
        if (!all || !take_stream(r->streams, arena, &all[n++])) {
            code = tt_fail(err, TT_ENOMEM, "no memory for the list of streams");
            break;
        }
    }
    if (!code && rc != SQLITE_DONE)
        code = tt_schema_fail(r->db, err, "listing the streams");
    sqlite3_reset(r->streams);
    if (code)
        return code;
    *ret = all;
    *ret_n = n;
    return TT_OK;
}

static bool take_version(sqlite3_stmt *q, struct tt_arena *arena, struct tt_known_version *ret)
{
    const char **texts[] = {&ret->version, &ret->parent, &ret->state, &ret->reason, &ret->file};
    int64_t *numbers[] = {&ret->step,    &ret->ts_ms,   &ret->bytes,
                          &ret->batches, &ret->samples, &ret->set_aside_by};

    for (int i = 0; i < 5; i++)
        if (!(*texts[i] = text(q, i, arena)))
            return false;
    for (int i = 0; i < 6; i++)
        *numbers[i] = sqlite3_column_int64(q, 5 + i);
    return true;
}

enum tt_code tt_reader_versions(struct tt_reader *r, const char *stream, int limit,
                                struct tt_arena *arena, struct tt_known_version **ret, int *ret_n,
                                struct tt_err *err)
{
    struct tt_known_version *all = TT_NEW(arena, limit > 0 ? limit : 1, struct tt_known_version);
    enum tt_code code = TT_OK;
    int n = 0, rc = SQLITE_DONE;

    if (!all)
        return tt_fail(err, TT_ENOMEM, "no memory for %d versions", limit);
    sqlite3_bind_text(r->versions, 1, stream, -1, SQLITE_STATIC);
    sqlite3_bind_int(r->versions, 2, limit > 0 ? limit : 0);
    while (!code && (rc = sqlite3_step(r->versions)) == SQLITE_ROW)
        if (!take_version(r->versions, arena, &all[n++]))
            code = tt_fail(err, TT_ENOMEM, "no memory for the list of versions");
    if (!code && rc != SQLITE_DONE)
        code = tt_schema_fail(r->db, err, "listing the versions");
    sqlite3_reset(r->versions);
    if (code)
        return code;
    *ret = all;
    *ret_n = n;
    return TT_OK;
}

enum tt_code tt_reader_restored(struct tt_reader *r, const char *stream, int64_t *ret_decision,
                                struct tt_err *err)
{
    enum tt_code code = TT_OK;

    sqlite3_bind_text(r->restored, 1, stream, -1, SQLITE_STATIC);
    if (sqlite3_step(r->restored) == SQLITE_ROW)
        *ret_decision = sqlite3_column_int64(r->restored, 0);
    else
        code = tt_schema_fail(r->db, err, "looking for a restore");
    sqlite3_reset(r->restored);
    return code;
}

enum tt_code tt_reader_named(struct tt_reader *r, const char *stream, int max,
                             struct tt_arena *arena, const uint64_t **ret, int *ret_n,
                             struct tt_err *err)
{
    uint64_t *all = TT_NEW(arena, max + 1, uint64_t);
    enum tt_code code = TT_OK;
    int n = 0, rc;

    if (!all)
        return tt_fail(err, TT_ENOMEM, "no memory for the list of decisions");
    sqlite3_bind_text(r->named, 1, stream, -1, SQLITE_STATIC);
    sqlite3_bind_int(r->named, 2, max);
    while ((rc = sqlite3_step(r->named)) == SQLITE_ROW && n < max)
        all[max - ++n] = strtoull((const char *)sqlite3_column_text(r->named, 0), NULL, 16);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        code = tt_schema_fail(r->db, err, "listing what decisions name");
    sqlite3_reset(r->named);
    *ret = all + max - n;
    *ret_n = n;
    return code;
}

enum tt_code tt_reader_ids(struct tt_reader *r, const char *stream, int limit,
                           struct tt_arena *arena, struct tt_known_id **ret, int *ret_n,
                           struct tt_err *err)
{
    struct tt_known_id *all = TT_NEW(arena, limit > 0 ? limit : 1, struct tt_known_id);
    enum tt_code code = TT_OK;
    int at = limit, rc = SQLITE_DONE;

    if (!all)
        return tt_fail(err, TT_ENOMEM, "no memory for %d ids", limit);
    sqlite3_bind_text(r->ids, 1, stream, -1, SQLITE_STATIC);
    sqlite3_bind_int(r->ids, 2, limit > 0 ? limit : 0);
    while (!code && (rc = sqlite3_step(r->ids)) == SQLITE_ROW) {
        all[--at] = (struct tt_known_id){.id = text(r->ids, 0, arena),
                                         .adapted = sqlite3_column_int(r->ids, 1) != 0};
        if (!all[at].id)
            code = tt_fail(err, TT_ENOMEM, "no memory for the list of ids");
    }
    if (!code && rc != SQLITE_DONE)
        code = tt_schema_fail(r->db, err, "listing the requests answered");
    sqlite3_reset(r->ids);
    if (code)
        return code;
    *ret = all + at;
    *ret_n = limit - at;
    return TT_OK;
}

enum tt_code tt_reader_last(struct tt_reader *r, int64_t *ret_decision, int64_t *ret_event,
                            struct tt_err *err)
{
    enum tt_code code = TT_OK;

    if (sqlite3_step(r->last) == SQLITE_ROW) {
        *ret_decision = sqlite3_column_int64(r->last, 0);
        *ret_event = sqlite3_column_int64(r->last, 1);
    } else {
        code = tt_schema_fail(r->db, err, "reading the last numbers");
    }
    sqlite3_reset(r->last);
    return code;
}
