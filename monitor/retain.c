// SPDX-License-Identifier: Apache-2.0
#include "monitor/retain.h"

#include "monitor/schema.h"
#include "monitor/script.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK      1000             // rows looked at, and deleted, at once
#define MINUTE_MS  ((int64_t)60000) // of a roll-up
#define HOUR_MS    ((int64_t)3600000)
#define LAG_MS     ((int64_t)60000)    // after its end a minute is closed: rows may come late
#define JUDGE_MS   5000                // between looks at who needs a person
#define RESWEEP_MS ((int64_t)86400000) // between passes over what may be deleted later than in turn
#define STREAMS    32                  // rolled up in one piece
#define SLACK      64                  // free pages that are worth giving back
#define GIVE       "PRAGMA incremental_vacuum(1024)"

/* Rows that go when they are old: ids rise with time, and those up to mark were looked at. */
struct sweep {
    const char *table, *id;
    const char *but;    // condition of those that stay; NULL: none does
    bool again;         // what stays now may go later: from the start, now and then
    bool raw;           // only what has been rolled up
    size_t age;         // offset of its age in the options
    sqlite3_stmt *last; // the newest id of the next CHUNK that is old enough
    sqlite3_stmt *drop;
};

#define AGE(member) offsetof(struct tt_retain_options, member)
#define NEAR_DECISION(t)                                                                      \
    "EXISTS (SELECT 1 FROM decision d WHERE d.stream_id = " t ".stream_id AND NOT d.dry_run " \
    "AND d.ts_ms BETWEEN " t ".ts_ms - :around AND " t ".ts_ms + :around)"

static const struct sweep sweeps[] = {
    {"batch", "id", NEAR_DECISION("batch"), false, true, AGE(raw_ms)},
    {"guard", "id", NEAR_DECISION("guard"), false, true, AGE(raw_ms)},
    {"version", "id",
     "file IS NOT NULL OR state IS 'base' OR EXISTS (SELECT 1 FROM decision d WHERE d.stream_id = "
     "version.stream_id AND version.version IN (d.from_version, d.to_version)) OR version IS "
     "(SELECT w.version FROM stream_now w WHERE w.stream_id = version.stream_id)",
     true, false, AGE(raw_ms)},
    {"minute", "id", NULL, false, false, AGE(minute_ms)},
    {"guard_minute", "id", NULL, false, false, AGE(minute_ms)},
    {"accuracy_minute", "id", NULL, false, false, AGE(minute_ms)},
    {"feedback", "id", NULL, false, false, AGE(minute_ms)},
    {"event", "seq", "decision_id IS NOT NULL", false, false, AGE(log_ms)},
    {"state", "id",
     "decision_id IS NOT NULL OR id = (SELECT max(n.id) FROM state n WHERE n.stream_id = "
     "state.stream_id)",
     true, false, AGE(log_ms)},
    {"hour", "id", NULL, false, false, AGE(hour_ms)},
    {"guard_hour", "id", NULL, false, false, AGE(hour_ms)},
    {"accuracy_hour", "id", NULL, false, false, AGE(hour_ms)},
    {"loss", "id", NULL, false, false, AGE(hour_ms)},
};
#define NSWEEPS ((int)(sizeof sweeps / sizeof *sweeps))
#define NFIRST  9 // of them that the bound in bytes takes from first, in the order of their ages

struct tt_retain {
    sqlite3 *db;
    struct tt_retain_options o;
    struct sweep sweep[NSWEEPS];
    struct tt_script minute, hour, fleet, accuracy, judge;
    sqlite3_stmt *mark, *set_mark, *next_raw, *next_minute;
    int64_t judged_ms, swept_ms; // newest_ms of the last time
};

/* ---- statements --------------------------------------------------------------------------- */

static enum tt_code prepare_sweep(struct tt_retain *r, struct sweep *w, struct tt_err *err)
{
    char sql[1024];

    (void)snprintf(sql, sizeof sql,
                   "SELECT max(id), min(ts_ms) FROM (SELECT %s AS id, ts_ms FROM %s WHERE %s > "
                   ":mark ORDER BY %s LIMIT %d) WHERE ts_ms < :before",
                   w->id, w->table, w->id, w->id, CHUNK);
    if (tt_query_prepare(r->db, sql, &w->last, err))
        return err->code;
    (void)snprintf(sql, sizeof sql,
                   "DELETE FROM %s WHERE %s > :mark AND %s <= :last AND ts_ms < :before%s%s%s",
                   w->table, w->id, w->id, w->but ? " AND NOT (" : "", w->but ? w->but : "",
                   w->but ? ")" : "");
    return tt_query_prepare(r->db, sql, &w->drop, err);
}

static enum tt_code prepare_all(struct tt_retain *r, struct tt_err *err)
{
    const struct {
        const char *name;
        struct tt_script *to;
    } scripts[] = {{"monitor/schema/close_minute.sql", &r->minute},
                   {"monitor/schema/close_hour.sql", &r->hour},
                   {"monitor/schema/close_fleet.sql", &r->fleet},
                   {"monitor/schema/add_accuracy.sql", &r->accuracy},
                   {"monitor/schema/judge_streams.sql", &r->judge}};
    enum tt_code code = TT_OK;

    for (size_t i = 0; !code && i < sizeof scripts / sizeof *scripts; i++)
        code = tt_script_read(r->db, scripts[i].name, scripts[i].to, err);
    for (int i = 0; !code && i < NSWEEPS; i++) {
        r->sweep[i] = sweeps[i];
        code = prepare_sweep(r, &r->sweep[i], err);
    }
    if (!code)
        code = tt_query_prepare(r->db, "SELECT at FROM mark WHERE name = ?1", &r->mark, err);
    if (!code)
        code = tt_query_prepare(r->db, "INSERT OR REPLACE INTO mark(name, at) VALUES(?1, ?2)",
                                &r->set_mark, err);
    if (!code) // streams with rows in [:from, :to), from :after on
        code =
            tt_query_prepare(r->db,
                             "SELECT w.stream_id FROM stream_now w WHERE w.stream_id > :after AND "
                             "w.last_batch_ms >= :from AND EXISTS (SELECT 1 FROM batch b WHERE "
                             "b.stream_id = w.stream_id AND b.ts_ms >= :from AND b.ts_ms < :to) "
                             "ORDER BY w.stream_id LIMIT 1",
                             &r->next_raw, err);
    if (!code) // and the fleet
        code = tt_query_prepare(
            r->db,
            "SELECT x.id FROM (SELECT 0 AS id UNION ALL SELECT stream_id FROM stream_now "
            "WHERE last_batch_ms >= :from) x WHERE x.id > :after AND EXISTS (SELECT 1 "
            "FROM minute m WHERE m.stream_id = x.id AND m.ts_ms >= :from AND "
            "m.ts_ms < :to) ORDER BY x.id LIMIT 1",
            &r->next_minute, err);
    return code;
}

enum tt_code tt_retain_new(sqlite3 *db, const struct tt_retain_options *o, struct tt_retain **ret,
                           struct tt_err *err)
{
    struct tt_retain *r = calloc(1, sizeof *r);

    if (!r)
        return tt_fail(err, TT_ENOMEM, "no memory for retention");
    r->db = db;
    r->o = *o;
    if (prepare_all(r, err)) {
        tt_retain_free(r);
        return err->code;
    }
    *ret = r;
    return TT_OK;
}

void tt_retain_free(struct tt_retain *r)
{
    if (!r)
        return;
    tt_script_free(&r->minute);
    tt_script_free(&r->hour);
    tt_script_free(&r->fleet);
    tt_script_free(&r->accuracy);
    tt_script_free(&r->judge);
    for (int i = 0; i < NSWEEPS; i++) {
        sqlite3_finalize(r->sweep[i].last);
        sqlite3_finalize(r->sweep[i].drop);
    }
    sqlite3_finalize(r->mark);
    sqlite3_finalize(r->set_mark);
    sqlite3_finalize(r->next_raw);
    sqlite3_finalize(r->next_minute);
    free(r);
}

static enum tt_code get_mark(struct tt_retain *r, const char *name, int64_t *ret,
                             struct tt_err *err)
{
    sqlite3_bind_text(r->mark, 1, name, -1, SQLITE_STATIC);
    return tt_query_ask(r->db, r->mark, 0, ret, err);
}

static enum tt_code set_mark(struct tt_retain *r, const char *name, int64_t at, struct tt_err *err)
{
    sqlite3_bind_text(r->set_mark, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(r->set_mark, 2, at);
    return tt_query_run(r->db, r->set_mark, err);
}

/* ---- rolling up --------------------------------------------------------------------------- */

static enum tt_code begin_minutes(struct tt_retain *r, int64_t *at, struct tt_err *err)
{
    if (tt_query_once(r->db, "SELECT ts_ms FROM batch ORDER BY id LIMIT 1", 0, at, err))
        return err->code;
    *at = *at / MINUTE_MS * MINUTE_MS;
    return *at ? set_mark(r, "closed_minute", *at, err) : TT_OK;
}

/* The minute is closed for all streams: the fleet's, and go on to the next. */
static enum tt_code end_minute(struct tt_retain *r, struct tt_span *p, struct tt_err *err)
{
    enum tt_code code = get_mark(r, "minute_first", &p->first, err);

    if (!code)
        code = tt_script_run(r->db, &r->fleet, p, err);
    if (!code)
        code = set_mark(r, "closed_minute", p->to, err);
    return code ? code : set_mark(r, "minute_stream", 0, err);
}

/* Roll up some streams' rows of the oldest minute that is over. */
static enum tt_code close_minute(struct tt_retain *r, int64_t newest, bool *did, struct tt_err *err)
{
    struct tt_span p = {0};
    int64_t first;
    enum tt_code code = get_mark(r, "closed_minute", &p.from, err);

    if (!code && !p.from)
        code = begin_minutes(r, &p.from, err);
    if (code || !p.from || newest < p.from + MINUTE_MS + LAG_MS)
        return code;
    p.to = p.from + MINUTE_MS;
    code = get_mark(r, "minute_stream", &p.after, err);
    if (!code && !p.after) {
        code = tt_query_once(r->db, "SELECT max(id) FROM minute", 0, &first, err);
        if (!code)
            code = set_mark(r, "minute_first", first, err);
    }
    *did = true;
    for (int i = 0; !code && i < STREAMS; i++) {
        tt_query_bind(r->next_raw, ":after", p.after);
        tt_query_bind(r->next_raw, ":from", p.from);
        tt_query_bind(r->next_raw, ":to", p.to);
        code = tt_query_ask(r->db, r->next_raw, 0, &p.stream, err);
        if (!code && !p.stream)
            return end_minute(r, &p, err);
        if (!code)
            code = tt_script_run(r->db, &r->minute, &p, err);
        p.after = p.stream;
    }
    return code ? code : set_mark(r, "minute_stream", p.after, err);
}

/* Roll up some streams' minutes of the oldest hour whose minutes are all closed. */
static enum tt_code close_hour(struct tt_retain *r, int64_t newest, bool *did, struct tt_err *err)
{
    struct tt_span p = {0};
    int64_t minute, next;
    enum tt_code code = get_mark(r, "closed_minute", &minute, err);

    (void)newest;
    if (!code)
        code = get_mark(r, "closed_hour", &p.from, err);
    if (!code && !p.from) {
        code =
            tt_query_once(r->db, "SELECT ts_ms FROM minute ORDER BY id LIMIT 1", 0, &p.from, err);
        p.from = p.from / HOUR_MS * HOUR_MS;
    }
    if (code || !p.from || minute < p.from + HOUR_MS)
        return code;
    p.to = p.from + HOUR_MS;
    code = get_mark(r, "hour_next", &next, err);
    *did = true;
    for (int i = 0; !code && i < STREAMS; i++) {
        tt_query_bind(r->next_minute, ":after", next - 1);
        tt_query_bind(r->next_minute, ":from", p.from);
        tt_query_bind(r->next_minute, ":to", p.to);
        code = tt_query_ask(r->db, r->next_minute, -1, &p.stream, err);
        if (!code && p.stream < 0) {
            p.from = p.to;
            next = 0;
            break;
        }
        if (!code)
            code = tt_script_run(r->db, &r->hour, &p, err);
        next = p.stream + 1;
    }
    if (!code)
        code = set_mark(r, "hour_next", next, err);
    return code ? code : set_mark(r, "closed_hour", p.from, err);
}

static enum tt_code add_accuracy(struct tt_retain *r, int64_t newest, bool *did, struct tt_err *err)
{
    struct tt_span p = {0};
    char sql[160];
    enum tt_code code = get_mark(r, "labels", &p.after, err);

    (void)newest;
    (void)snprintf(sql, sizeof sql,
                   "SELECT max(id) FROM (SELECT id FROM feedback WHERE id > %" PRId64
                   " ORDER BY id LIMIT %d)",
                   p.after, CHUNK);
    if (!code)
        code = tt_query_once(r->db, sql, 0, &p.last, err);
    if (code || !p.last)
        return code;
    *did = true;
    code = tt_script_run(r->db, &r->accuracy, &p, err);
    return code ? code : set_mark(r, "labels", p.last, err);
}

static enum tt_code judge(struct tt_retain *r, int64_t newest, bool *did, struct tt_err *err)
{
    const struct tt_span p = {.now = newest,
                              .since = r->judged_ms - JUDGE_MS,
                              .hold_alert = r->o.hold_alert_ms,
                              .worse_alert = r->o.worse_alert_ms};

    (void)did; // once is enough
    if (newest >= r->judged_ms && newest - r->judged_ms < JUDGE_MS)
        return TT_OK;
    r->judged_ms = newest;
    return tt_script_run(r->db, &r->judge, &p, err);
}

/* ---- deleting ----------------------------------------------------------------------------- */

static enum tt_code sweep(struct tt_retain *r, struct sweep *w, int64_t before, bool *did,
                          struct tt_err *err)
{
    int64_t mark, last;
    enum tt_code code = get_mark(r, w->table, &mark, err);

    if (code)
        return code;
    tt_query_bind(w->last, ":mark", mark);
    tt_query_bind(w->last, ":before", before);
    if (tt_query_ask(r->db, w->last, 0, &last, err))
        return err->code;
    if (!last)
        return TT_OK;
    *did = true;
    tt_query_bind(w->drop, ":mark", mark);
    tt_query_bind(w->drop, ":last", last);
    tt_query_bind(w->drop, ":before", before);
    tt_query_bind(w->drop, ":around", r->o.around_ms);
    code = tt_query_run(r->db, w->drop, err);
    return code ? code : set_mark(r, w->table, last, err);
}

static enum tt_code drop_old(struct tt_retain *r, int64_t newest, bool *did, struct tt_err *err)
{
    const bool again = newest < r->swept_ms || newest - r->swept_ms >= RESWEEP_MS;
    int64_t closed;
    enum tt_code code = get_mark(r, "closed_minute", &closed, err);

    for (int i = 0; !code && i < NSWEEPS; i++) {
        struct sweep *w = &r->sweep[i];
        int64_t age, before;

        memcpy(&age, (const char *)&r->o + w->age, sizeof age);
        before = w->raw && closed < newest - age ? closed : newest - age;
        if (!code && again && w->again)
            code = set_mark(r, w->table, 0, err);
        if (!code && age)
            code = sweep(r, w, before, did, err);
    }
    if (again)
        r->swept_ms = newest;
    return code;
}

/* Of the sweeps from one to another, the one whose next rows are the oldest; NULL: none has any. */
static enum tt_code oldest(struct tt_retain *r, int from, int to, struct sweep **ret,
                           struct tt_err *err)
{
    int64_t mark, ms, least = INT64_MAX;

    *ret = NULL;
    for (int i = from; i < to; i++) {
        struct sweep *w = &r->sweep[i];

        if (get_mark(r, w->table, &mark, err))
            return err->code;
        tt_query_bind(w->last, ":mark", mark);
        tt_query_bind(w->last, ":before", INT64_MAX);
        if (sqlite3_step(w->last) == SQLITE_ROW && sqlite3_column_type(w->last, 0) != SQLITE_NULL) {
            ms = sqlite3_column_int64(w->last, 1);
            if (ms < least) {
                least = ms;
                *ret = w;
            }
        }
        sqlite3_reset(w->last);
    }
    return TT_OK;
}

/* Raw rows that decisions had kept: the oldest, when nothing else is left. */
static enum tt_code drop_kept(struct tt_retain *r, bool *did, struct tt_err *err)
{
    static const char *const sql[] = {
        "DELETE FROM batch WHERE id IN (SELECT id FROM batch ORDER BY id LIMIT 1000)",
        "DELETE FROM guard WHERE id IN (SELECT id FROM guard ORDER BY id LIMIT 1000)"};

    for (int i = 0; i < 2; i++) {
        if (sqlite3_exec(r->db, sql[i], NULL, NULL, NULL) != SQLITE_OK)
            return tt_schema_fail(r->db, err, "retention");
        *did = *did || sqlite3_changes(r->db) > 0;
    }
    return TT_OK;
}

static enum tt_code used_bytes(struct tt_retain *r, int64_t *ret, int64_t *ret_free,
                               struct tt_err *err)
{
    int64_t pages, size;
    enum tt_code code = tt_query_once(r->db, "PRAGMA page_count", 0, &pages, err);

    if (!code)
        code = tt_query_once(r->db, "PRAGMA freelist_count", 0, ret_free, err);
    if (!code)
        code = tt_query_once(r->db, "PRAGMA page_size", 0, &size, err);
    if (!code)
        *ret = (pages - *ret_free) * size;
    return code;
}

static enum tt_code bound_bytes(struct tt_retain *r, int64_t newest, bool *did, struct tt_err *err)
{
    int64_t used, spare;
    struct sweep *w;
    enum tt_code code = r->o.bytes ? used_bytes(r, &used, &spare, err) : TT_OK;

    (void)newest;
    if (code || !r->o.bytes || used <= r->o.bytes)
        return code;
    code = oldest(r, 0, NFIRST, &w, err);
    if (!code && !w)
        code = oldest(r, NFIRST, NSWEEPS, &w, err);
    if (code)
        return code;
    return w ? sweep(r, w, INT64_MAX, did, err) : drop_kept(r, did, err);
}

/* ---- all of it ---------------------------------------------------------------------------- */

static enum tt_code work(struct tt_retain *r, int64_t newest_ms, bool (*enough)(void *arg),
                         void *arg, bool *more, struct tt_err *err)
{
    static enum tt_code (*const tasks[])(struct tt_retain *, int64_t, bool *, struct tt_err *) = {
        judge, close_minute, close_hour, add_accuracy, drop_old, bound_bytes};
    enum tt_code code = TT_OK;

    do {
        *more = false;
        for (size_t i = 0; !code && i < sizeof tasks / sizeof *tasks; i++)
            code = tasks[i](r, newest_ms, more, err);
    } while (!code && *more && !enough(arg));
    return code;
}

static enum tt_code give_back(struct tt_retain *r, struct tt_err *err)
{
    int64_t used, spare;
    enum tt_code code = used_bytes(r, &used, &spare, err);

    if (!code && spare > SLACK && sqlite3_exec(r->db, GIVE, NULL, NULL, NULL) != SQLITE_OK)
        code = tt_schema_fail(r->db, err, "giving pages back");
    return code;
}

enum tt_code tt_retain_work(struct tt_retain *r, int64_t newest_ms, bool (*enough)(void *arg),
                            void *arg, bool *ret_more, struct tt_err *err)
{
    enum tt_code code;

    *ret_more = false;
    if (!r->o.raw_ms || newest_ms <= 0)
        return TT_OK;
    if (sqlite3_exec(r->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return tt_schema_fail(r->db, err, "retention");
    code = work(r, newest_ms, enough, arg, ret_more, err);
    if (!code)
        code = give_back(r, err);
    if (!code && sqlite3_exec(r->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        code = tt_schema_fail(r->db, err, "retention");
    if (code && !sqlite3_get_autocommit(r->db))
        sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}
