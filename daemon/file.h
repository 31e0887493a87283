// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_FILE_H
#define TT_DAEMON_FILE_H

#include "base/arena.h"
#include "base/err.h"

/*
 * Read a whole regular file of at most limit bytes into arena, with a NUL behind it that *ret_n
 * does not count.  The error names the path and what is wrong with it: it is not there
 * (TT_ENOTFOUND), may not be read (TT_EDENIED), is a directory or a device, has more than limit
 * bytes (TT_ERANGE), changed while it was read.
 */
TT_MUST_CHECK enum tt_code tt_file_read(const char *path, size_t limit, struct tt_arena *arena,
                                        char **ret, size_t *ret_n, struct tt_err *err);

/* The same file piece by piece: its descriptor, which is the caller's, and its size; then the next
 * n bytes, each call's where the last one's ended. */
TT_MUST_CHECK enum tt_code tt_file_open(const char *path, size_t limit, int *ret, size_t *ret_n,
                                        struct tt_err *err);
TT_MUST_CHECK enum tt_code tt_file_next(int fd, const char *path, void *to, size_t n,
                                        struct tt_err *err);

#endif
