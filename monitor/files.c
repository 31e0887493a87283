// SPDX-License-Identifier: Apache-2.0
#include "monitor/files.h"

#include "monitor/schema.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4352 // of the longest path that is configured, and a suffix

static const char *with(const char *path, const char *suffix, char buf[PATH_BYTES])
{
    (void)snprintf(buf, PATH_BYTES, "%s%s", path, suffix);
    return buf;
}

static struct tt_file_id identify(const char *path)
{
    struct stat st;

    return stat(path, &st) ? (struct tt_file_id){0} : (struct tt_file_id){st.st_dev, st.st_ino};
}

static bool same(struct tt_file_id a, struct tt_file_id b)
{
    return a.ino == b.ino && a.dev == b.dev;
}

void tt_files_note(struct tt_files *f, const char *path)
{
    char buf[PATH_BYTES];

    *f = (struct tt_files){path, identify(path), identify(with(path, "-wal", buf))};
}

enum tt_files_state tt_files_look(struct tt_files *f)
{
    const struct tt_file_id db = identify(f->path);
    struct tt_file_id log;
    char buf[PATH_BYTES];

    if (!db.ino)
        return TT_FILES_GONE;
    if (!same(db, f->db))
        return TT_FILES_REPLACED;
    log = identify(with(f->path, "-wal", buf));
    if (!f->log.ino) // it comes with the first commit
        f->log = log;
    return same(log, f->log) ? TT_FILES_OURS : TT_FILES_LOG_GONE;
}

enum tt_code tt_files_fail(const struct tt_files *f, enum tt_files_state state, struct tt_err *err)
{
    static const char *const what[] = {
        [TT_FILES_OURS] = "is there",
        [TT_FILES_GONE] = "was deleted while it was in use",
        [TT_FILES_REPLACED] = "was replaced by another file while it was in use",
        [TT_FILES_LOG_GONE] = "lost its log (-wal) while it was in use",
    };

    return tt_fail(err, TT_EIO, "database '%.150s' %s", f->path, what[state]);
}

static enum tt_code system_fail(struct tt_err *err, const char *doing, const char *path)
{
    return tt_fail(err, TT_EIO, "%s '%.150s': %s", doing, path, strerror(errno));
}

/* Sync a file, or a directory, by its name. */
static enum tt_code sync_path(const char *path, int flags, struct tt_err *err)
{
    const int fd = open(path, flags | O_CLOEXEC);
    enum tt_code code = TT_OK;

    if (fd < 0)
        return system_fail(err, "opening", path);
    if (fsync(fd) < 0)
        code = system_fail(err, "fsync of", path);
    close(fd);
    return code;
}

static enum tt_code sync_folder(const char *path, struct tt_err *err)
{
    char buf[PATH_BYTES], *slash;

    (void)with(path, "", buf);
    slash = strrchr(buf, '/');
    if (slash)
        slash[slash == buf] = '\0'; // "/x" is in "/"
    return sync_path(slash ? buf : ".", O_RDONLY | O_DIRECTORY, err);
}

/* A log belongs to the file whose pages it has: beside another one it would be read into that. */
static enum tt_code drop_log(const struct tt_files *f, struct tt_err *err)
{
    char log[PATH_BYTES], index[PATH_BYTES];
    const struct tt_file_id id = identify(with(f->path, "-wal", log));

    if (!id.ino || !same(id, f->log))
        return TT_OK; // none, or of whoever came
    if ((unlink(log) < 0 && errno != ENOENT) ||
        (unlink(with(f->path, "-shm", index)) < 0 && errno != ENOENT))
        return system_fail(err, "removing the log of", f->path);
    return TT_OK;
}

static enum tt_code run(sqlite3 *db, const char *sql, const char *doing, struct tt_err *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? TT_OK
                                                                : tt_schema_fail(db, err, doing);
}

/* All of the record, as the open connection still has it, under its name again. */
static enum tt_code write_anew(const struct tt_files *f, sqlite3 *db, struct tt_err *err)
{
    char copy[PATH_BYTES], *sql;
    enum tt_code code;

    (void)with(f->path, ".anew", copy);
    if (unlink(copy) < 0 && errno != ENOENT)
        return system_fail(err, "removing", copy);
    sql = sqlite3_mprintf("VACUUM INTO %Q", copy);
    code = sql ? run(db, sql, "writing the deleted database anew", err)
               : tt_fail(err, TT_ENOMEM, "no memory");
    sqlite3_free(sql);
    if (!code)
        code = sync_path(copy, O_RDWR, err);
    if (!code)
        code = drop_log(f, err);
    if (!code && rename(copy, f->path) < 0)
        code = system_fail(err, "renaming to", f->path);
    if (code)
        (void)unlink(copy); // it is written again at the next try
    return code ? code : sync_folder(f->path, err);
}

static enum tt_code reopen(struct tt_files *f, sqlite3 **db, struct tt_err *err)
{
    sqlite3 *fresh;
    enum tt_code code = tt_schema_open(f->path, &fresh, err);

    if (code)
        return code;
    sqlite3_close(*db);
    *db = fresh;
    tt_files_note(f, f->path);
    return TT_OK;
}

enum tt_code tt_files_mend(struct tt_files *f, enum tt_files_state state, sqlite3 **db,
                           struct tt_err *err)
{
    enum tt_code code = TT_OK;

    if (!*db)
        return reopen(f, db, err);
    if (state == TT_FILES_GONE) {
        code = write_anew(f, *db, err);
    } else if (state == TT_FILES_REPLACED) {
        code = drop_log(f, err);
    } else if (state == TT_FILES_LOG_GONE) {
        code = run(*db, "PRAGMA wal_checkpoint(TRUNCATE)", "moving the lost log", err);
        if (!code) { // two connections to one file, one of them without the log, would not do
            sqlite3_close(*db);
            *db = NULL;
        }
    }
    return code ? code : reopen(f, db, err);
}
