// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_CAPTURE_FILES_H
#define TT_DAEMON_CAPTURE_FILES_H

#include <stdbool.h>

#include "base/err.h"

/*
 * The files of one captured stream: numbered, the newest being written, the oldest deleted so that
 * all together never have more than max bytes.  Other files of the folder are passed over.
 */
#define TT_CAPTURE_FILES 64   // at most
#define TT_CAPTURE_PATH  4096 // bytes

struct tt_capture_file_size {
    int64_t number, bytes;
};

struct tt_capture_files {
    char dir[TT_CAPTURE_PATH - 32];
    struct tt_capture_file_size file[TT_CAPTURE_FILES]; // oldest first
    int n;
    int64_t total, max;
    int64_t next; // number
};

/* Make <root>/<name> where it is missing, and see what is there. */
TT_MUST_CHECK enum tt_code tt_capture_files_open(struct tt_capture_files *f, const char *root,
                                                 const char *name, int64_t max, struct tt_err *err);

/* A new file, to be appended to. */
TT_MUST_CHECK enum tt_code tt_capture_files_new(struct tt_capture_files *f, int *ret_fd,
                                                struct tt_err *err);

/* Room for n more bytes in the newest: the oldest others go.  TT_ERANGE: it cannot be. */
TT_MUST_CHECK enum tt_code tt_capture_files_room(struct tt_capture_files *f, int64_t n,
                                                 struct tt_err *err);

void tt_capture_files_grew(struct tt_capture_files *f, int64_t n); // the newest, by n bytes
int64_t tt_capture_files_size(const struct tt_capture_files *f);   // of the newest

/* Cut off what was not written whole. */
void tt_capture_files_cut(const struct tt_capture_files *f, int fd);

/* The path of a file of that number. */
void tt_capture_files_path(const char *dir, int64_t number, char ret[TT_CAPTURE_PATH]);

/* The files of dir, oldest first, at most TT_CAPTURE_FILES of the newest; a missing dir has none.
 */
TT_MUST_CHECK enum tt_code tt_capture_files_list(const char *dir,
                                                 struct tt_capture_file_size ret[TT_CAPTURE_FILES],
                                                 int *ret_n, struct tt_err *err);

#endif
