// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_MODEL_FILE_H
#define TT_DAEMON_MODEL_FILE_H

#include <limits.h>

#include "runtime/model.h"

/*
 * A model's file and the files beside it as a source of bytes.  What it has beside it must be a
 * regular file in the folder of the path that was given, or below: who made the model names it, and
 * is not to name what else this user may read.  A symbolic link may point about in the folder, not
 * out of it.  (Who can rename folders there while a model is loaded can write the model, too.)
 */
struct tt_model_file {
    struct tt_model_source source; // its functions read from this struct, which must not move
    const char *path;              // borrowed
    int fd;
    int beside;              // the file that was last read from; -1: none
    size_t beside_size;      //
    char location[PATH_MAX]; // what the model calls that one
};

TT_MUST_CHECK enum tt_code tt_model_file_open(const char *path, size_t limit,
                                              struct tt_model_file *ret, struct tt_err *err);
void tt_model_file_close(struct tt_model_file *f);

#endif
