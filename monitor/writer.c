// SPDX-License-Identifier: Apache-2.0
#include "monitor/writer.h"

#include "monitor/schema.h"
#include <stdio.h>

#define FRAME_BYTES 4120                 // of a page in the log
#define LOG_BYTES   (32LL * 1024 * 1024) // past it a checkpoint restarts the log

static void drop_statements(struct tt_writer *w)
{
    tt_statements_free(w->statements);
    sqlite3_finalize(w->add_loss);
    tt_retain_free(w->retain);
    w->retain = NULL;
    w->statements = NULL;
    w->add_loss = NULL;
}

static enum tt_code prepare(struct tt_writer *w, struct tt_err *err)
{
    if (tt_statements_new(w->db, &w->statements, err))
        return err->code;
    if (sqlite3_prepare_v3(w->db, "INSERT INTO loss(ts_ms, rows, why) VALUES(?1, ?2, ?3)", -1,
                           SQLITE_PREPARE_PERSISTENT, &w->add_loss, NULL))
        return tt_schema_fail(w->db, err, "preparing a statement");
    return tt_retain_new(w->db, &w->keep, &w->retain, err);
}

enum tt_code tt_writer_open(struct tt_writer *w, const char *path,
                            const struct tt_retain_options *keep, struct tt_err *err)
{
    *w = (struct tt_writer){.keep = *keep};
    if (tt_schema_open(path, &w->db, err))
        return err->code;
    tt_files_note(&w->files, path);
    if (prepare(w, err) == TT_OK)
        return TT_OK;
    tt_writer_close(w);
    return err->code;
}

void tt_writer_close(struct tt_writer *w)
{
    drop_statements(w);
    sqlite3_close(w->db);
    w->db = NULL;
}

/* ---- a group ------------------------------------------------------------------------------ */

/* The database itself said no to this record; nothing is wrong with the disk. */
static bool is_refusal(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
        return true;
    default:
        return false;
    }
}

static enum tt_code write_record(struct tt_writer *w, const struct tt_slot *slot,
                                 struct tt_group *g, struct tt_err *err)
{
    const bool late = slot->ticket < g->ahead_of;
    int rc = tt_statements_run(w->statements, slot->kind, late, tt_slot_packed(slot));

    if (rc == SQLITE_OK) {
        g->rows++;
        return TT_OK;
    }
    if (!is_refusal(rc))
        return tt_schema_fail(w->db, err, "writing");
    g->rejected[g->nrejected++ % TT_REJECTED] = slot->ticket;
    (void)snprintf(g->why, sizeof g->why, "a record was refused: %s", sqlite3_errmsg(w->db));
    return TT_OK;
}

static enum tt_code write_loss(struct tt_writer *w, const struct tt_group *g, struct tt_err *err)
{
    int rc;

    sqlite3_bind_int64(w->add_loss, 1, g->newest_ms);
    sqlite3_bind_int64(w->add_loss, 2, g->shed);
    sqlite3_bind_text(w->add_loss, 3, g->shed_why, -1, SQLITE_STATIC);
    rc = sqlite3_step(w->add_loss);
    sqlite3_reset(w->add_loss);
    return rc == SQLITE_DONE ? TT_OK : tt_schema_fail(w->db, err, "writing");
}

static enum tt_code write_group(struct tt_writer *w, const struct tt_queue *q, struct tt_group *g,
                                struct tt_err *err)
{
    const struct tt_slot *slot;
    uint64_t at = g->at;
    enum tt_code code = TT_OK;

    if (sqlite3_exec(w->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return tt_schema_fail(w->db, err, "beginning a commit");
    while (!code && (slot = tt_queue_next(q, &at, g->end)))
        if (!slot->done && !(g->ahead && slot->tier == TT_TIER_METRIC))
            code = write_record(w, slot, g, err);
    if (!code && g->shed)
        code = write_loss(w, g, err);
    if (!code && sqlite3_exec(w->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        code = tt_schema_fail(w->db, err, "committing");
    if (code && !sqlite3_get_autocommit(w->db))
        sqlite3_exec(w->db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

static enum tt_code mend(struct tt_writer *w, enum tt_files_state state, struct tt_err *err)
{
    struct tt_err what = {TT_OK, ""};
    enum tt_code code;

    if (w->db)
        (void)tt_files_fail(&w->files, state, &what);
    else
        (void)tt_fail(&what, TT_EIO, "database '%.150s' could not be opened", w->files.path);
    drop_statements(w);
    code = tt_files_mend(&w->files, state, &w->db, err);
    if (code && w->db) {
        struct tt_err again;

        if (prepare(w, &again)) // the next try mends it
            tt_writer_close(w);
    }
    if (code)
        return tt_fail_in(err, "%.150s", what.msg);
    w->mended++;
    (void)snprintf(w->note, sizeof w->note, "%.180s; the record goes on in '%.50s'", what.msg,
                   w->files.path);
    return prepare(w, err);
}

enum tt_code tt_writer_commit(struct tt_writer *w, const struct tt_queue *q, struct tt_group *g,
                              struct tt_err *err)
{
    enum tt_files_state state = w->db ? tt_files_look(&w->files) : TT_FILES_OURS;
    enum tt_code code;

    if ((!w->db || !w->add_loss || state != TT_FILES_OURS) && mend(w, state, err))
        return err->code;
    code = write_group(w, q, g, err);
    if (code)
        return code;
    state = tt_files_look(&w->files); // or it was written where nobody looks
    if (state == TT_FILES_OURS)
        return TT_OK;
    if (state == TT_FILES_REPLACED) // written again, into the file that is there
        return tt_files_fail(&w->files, state, err);
    return mend(w, state, err); // the open connection has the group, and so will its copy
}

/* ---- the log ------------------------------------------------------------------------------ */

static enum tt_code checkpoint(struct tt_writer *w, int64_t *ret_bytes, struct tt_err *err)
{
    int frames = 0, done = 0, rc;

    rc = sqlite3_wal_checkpoint_v2(w->db, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &done);
    if (rc == SQLITE_OK && (int64_t)frames * FRAME_BYTES > LOG_BYTES) {
        sqlite3_busy_timeout(w->db, 50); // readers that stay in the log keep it growing
        rc = sqlite3_wal_checkpoint_v2(w->db, "main", SQLITE_CHECKPOINT_RESTART, &frames, &done);
        sqlite3_busy_timeout(w->db, 5000);
    }
    if (frames >= 0)
        *ret_bytes = (int64_t)frames * FRAME_BYTES;
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY && (rc & 0xff) != SQLITE_LOCKED)
        return tt_schema_fail(w->db, err, "moving the log into the database");
    return TT_OK;
}

enum tt_code tt_writer_upkeep(struct tt_writer *w, int64_t newest_ms, bool (*enough)(void *arg),
                              void *arg, bool *ret_more, int64_t *ret_bytes, struct tt_err *err)
{
    enum tt_code code = TT_OK;
    struct tt_err failed;

    if (!w->db || !w->retain)
        return tt_fail(err, TT_EIO, "database '%.150s' is not open", w->files.path);
    code = tt_retain_work(w->retain, newest_ms, enough, arg, ret_more, &failed);
    if (checkpoint(w, ret_bytes, err) != TT_OK)
        return err->code;
    if (code && code != TT_EBUSY)
        *err = failed;
    return code == TT_EBUSY ? TT_OK : code; // somebody else writes; it will pass
}
