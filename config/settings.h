// SPDX-License-Identifier: Apache-2.0
#ifndef TT_CONFIG_SETTINGS_H
#define TT_CONFIG_SETTINGS_H

#include <stdint.h>

#include "base/log.h"
#include "config/field.h"

/*
 * The daemon's own configuration.  Every key with its default is in config/ttad.example.yaml,
 * which tt_settings_example() makes.  Relative paths are relative to the file's folder.
 */
#define TT_SETTINGS_BYTES ((size_t)1 << 20) // of a file, at most
#define TT_SETTINGS_NAME  64                // bytes of a name, with its NUL
#define TT_MAXNAMED       256               // models, policies
#define TT_IPC_PATH       107               // bytes of a socket's path, at most (sun_path)

struct tt_named { // a model or a policy
    const char *name, *path;
    int line, col;
};

struct tt_limits {
    int64_t max_message_bytes, memory_bytes, connections;
    int64_t max_batch_rows, max_streams;
    int64_t queue_per_stream, queue_total, queue_bytes, credit;
    int64_t replay_window, replay_bytes;
    int64_t drain_ms, stuck_ms, feedback_window_s;
    int64_t stream_bytes, ring_versions, snapshots_keep, snapshot_bytes, snapshots_bytes,
        journal_bytes, capture_bytes;
};

struct tt_kept { // how long the record keeps what; 0: for ever
    int64_t raw_hours, around_decisions_min, minute_days, hour_days, log_days, max_bytes;
    int64_t hold_alert_min, worse_alert_min;
};

struct tt_settings {
    const char *file;
    const struct tt_ynode *tree;          // of the file, for the places of its keys
    struct tt_strs data, control, events; // endpoints, at least one each, ready to be bound;
                                          // "localhost" is written as 127.0.0.1
    const char *http;                     // 127.0.0.1:PORT, [::1]:PORT, unix:PATH; "": off
    int nmodels, npolicies;
    const struct tt_named *models, *policies;
    const char *default_policy;          // of policies; "": none, and no policies either
    const char *state_dir;               // snapshots are under it
    const char *database;                // SQLite
    int64_t workers, threads_per_worker; // threads 0: cores / workers
    int64_t worker_nice;                 // added to the nice value of workers' threads
    int log_level;                       // enum tt_level
    int log_format;                      // enum tt_log_format
    struct tt_limits limits;
    struct tt_kept record;
};

extern const struct tt_field tt_settings_fields[]; // of struct tt_settings
extern const struct tt_field tt_limits_fields[];   // of its limits

/* The settings of a text; NULL: it has mistakes, which are in d.  run_dir is the folder of the
 * sockets that the file does not name (/run/ttad, $XDG_RUNTIME_DIR/ttad).
 * What they hold is in arena, which d must use too.  Files are not looked at. */
struct tt_settings *tt_settings_read(const char *file, const char *text, size_t len,
                                     const char *run_dir, struct tt_arena *arena,
                                     struct tt_diags *d);

/* Whether a model or policy may be called so. */
bool tt_settings_name(const char *name);

/* What may not change while the daemon runs and is not the same in now, as errors at its place in
 * the file of next: d is that file's. */
void tt_settings_fixed(const struct tt_settings *now, const struct tt_settings *next,
                       struct tt_diags *d);

/* The keys that may, and do: "log_level", "limits.credit" .. in arena; returns how many. */
int tt_settings_changed(const struct tt_settings *now, const struct tt_settings *next,
                        struct tt_arena *arena, const char ***ret);

/* Whether a tree is meant to be the daemon's settings, not a policy. */
bool tt_settings_meant(const struct tt_ynode *tree);

/* Check one endpoint and write it as libzmq binds it; dir: of relative ipc paths.
 * NULL, and an error at the node's place: not one, or reachable from other machines. */
const char *tt_endpoint_read(const struct tt_ynode *node, const char *dir, struct tt_arena *arena,
                             struct tt_diags *d);

/* The same for the HTTP port: 127.0.0.1:PORT, [::1]:PORT, or unix:PATH with the whole path. */
const char *tt_endpoint_read_http(const struct tt_ynode *node, const char *dir,
                                  struct tt_arena *arena, struct tt_diags *d);

/* Every key with its default and help; NULL: out of memory. */
const char *tt_settings_example(struct tt_arena *arena);

#endif
