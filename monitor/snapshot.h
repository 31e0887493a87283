// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_SNAPSHOT_H
#define TT_MONITOR_SNAPSHOT_H

#include "base/arena.h"
#include "base/err.h"
#include "base/hash.h"
#include <stdbool.h>

/*
 * Snapshot files: <root>/<stream, encoded>/<step, 12 digits>-<version, 16>.safetensors.
 * Bytes in, bytes out; what they mean, and their hash, is the caller's.  A file that has its
 * final name is whole and on the disk: temporary file, fsync, rename, fsync of the directory.
 * One thread writes or removes in a stream's directory at a time.
 */
#define TT_SNAPSHOT_DIR       256     // bytes of an encoded stream name, with its NUL
#define TT_SNAPSHOT_NAME      64      // bytes of a file's name, with its NUL
#define TT_SNAPSHOT_TEMPORARY ".tmp-" // what a writer that died leaves begins so

struct tt_snapshot_file {
    char name[TT_SNAPSHOT_NAME];
    char version[TT_HASH_SHORT + 1];
    int64_t step;
    int64_t bytes;
    int64_t mtime_ms;
};

/* The directory name of a stream: letters, digits, '-', '_', inner '.' as they are, anything else
 * as %XX; a very long one ends in ~ and a hash instead.  Different streams have different names,
 * none of which leaves its directory.  TT_ERANGE: empty, or longer than 128 bytes. */
TT_MUST_CHECK enum tt_code tt_snapshot_dir(const char *stream, char ret[TT_SNAPSHOT_DIR],
                                           struct tt_err *err);

/* The file name of a version; version begins with 16 lower-case hexadecimal digits.
 * TT_ERANGE: step is negative or has more than 12 digits, or version is no hash. */
TT_MUST_CHECK enum tt_code tt_snapshot_name(int64_t step, const char *version,
                                            char ret[TT_SNAPSHOT_NAME], struct tt_err *err);

/* Write <dir>/<name>, making dir (one level, mode 0750) where it is missing.  On an error there is
 * no new file; one of that name from before is still whole (and gone when it was the directory
 * that could not be synced).  An fsync that failed is a failure and is not tried again. */
TT_MUST_CHECK enum tt_code tt_snapshot_write(const char *dir, const char *name, const void *bytes,
                                             size_t n, struct tt_err *err);

/* The same without any fsync: it outlives the process, but maybe not the machine. */
TT_MUST_CHECK enum tt_code tt_snapshot_put(const char *dir, const char *name, const void *bytes,
                                           size_t n, struct tt_err *err);

/* Sync a file that tt_snapshot_put() wrote, and its directory; after a failure it is removed. */
TT_MUST_CHECK enum tt_code tt_snapshot_sync(const char *dir, const char *name, struct tt_err *err);

/* Read a regular file of at most limit bytes whole.  In arena. */
TT_MUST_CHECK enum tt_code tt_snapshot_read(const char *dir, const char *name, size_t limit,
                                            struct tt_arena *arena, void **ret, size_t *ret_n,
                                            struct tt_err *err);

/* Hand every snapshot of dir to each(), newest (highest step) first, until it returns false.
 * Deletes temporaries that a crash has left.  Other files, directories and links are passed over.
 * A missing dir holds none. */
TT_MUST_CHECK enum tt_code tt_snapshot_scan(const char *dir,
                                            bool (*each)(void *arg,
                                                         const struct tt_snapshot_file *f),
                                            void *arg, struct tt_err *err);

/* At the start: remove temporaries from every stream's directory under root, and add up the bytes
 * of all snapshots. */
TT_MUST_CHECK enum tt_code tt_snapshot_sweep(const char *root, int64_t *ret_bytes,
                                             struct tt_err *err);

/* Remove one file; that there is none is not an error. */
TT_MUST_CHECK enum tt_code tt_snapshot_remove(const char *dir, const char *name,
                                              struct tt_err *err);

struct tt_snapshot_keep {
    int newest;    // the newest so many stay, unless the quota says otherwise
    int64_t quota; // bytes that all may have together; 0: no bound.  Pinned ones count
    bool (*pinned)(void *arg, const struct tt_snapshot_file *f);  // must stay; NULL: none is
    void (*removed)(void *arg, const struct tt_snapshot_file *f); // called before each; may be NULL
    void *arg;
    int64_t now_ms;    // the caller's clock; files say themselves when they were written
    int hourly, daily; // the newest of each of the last so many hours, days, stay like the newest
    bool (*wanted)(void *arg, const struct tt_snapshot_file *f); // stays like those; NULL: none
};

/* Delete what nobody wants, then the oldest unpinned until the quota holds.  Never the newest of
 * all. */
TT_MUST_CHECK enum tt_code tt_snapshot_retain(const char *dir, const struct tt_snapshot_keep *keep,
                                              struct tt_err *err);

#endif
