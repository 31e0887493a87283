// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_LOAD_H
#define TT_DAEMON_LOAD_H

#include "config/settings.h"
#include "policies/policy.h"

/* Models, policies and settings from their files, for the daemon and the commands. */
#define TT_MODEL_BYTES ((size_t)4 << 30) // of a model file, and of the model in memory, at most

/* The model of an ONNX file; the error begins with the path.  On success *ret is the caller's. */
TT_MUST_CHECK enum tt_code tt_load_model(const char *path, struct tt_model **ret,
                                         struct tt_err *err);

/* The policy of a file, or NULL; what is wrong with it, or with the file, is in *d, which is
 * initialised here.  All in arena. */
struct tt_policy *tt_load_policy(const char *path, struct tt_arena *arena, struct tt_diags *d);

/* The daemon's settings of a file, likewise. */
struct tt_settings *tt_load_settings(const char *path, struct tt_arena *arena, struct tt_diags *d);

#define TT_RUN_DIR 128 // bytes

/* Where this user's sockets are unless the settings say so: $XDG_RUNTIME_DIR/ttad; /run/ttad for
 * root, and where that variable is not set. */
void tt_run_dir(char ret[TT_RUN_DIR]);

#endif
