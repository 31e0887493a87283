// SPDX-License-Identifier: Apache-2.0
#include "daemon/phases.h"
#include "daemon/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/boot.h"
#include "daemon/disk.h"
#include "daemon/gate.h"
#include "daemon/http.h"
#include "daemon/job.h"
#include "daemon/lanes.h"
#include "daemon/loop.h"
#include "daemon/metrics.h"
#include "daemon/reload.h"
#include "daemon/sync.h"
#include "daemon/worker.h"
#include "monitor/reader.h"
#include "monitor/snapshot.h"

#define BEYOND_CREDIT 64 // requests of a connection that are taken to be told BUSY
#define MIN_MS        ((int64_t)60000)

enum tt_code tt_daemon_up(struct tt_daemon *d, const struct tt_phase *phases, struct tt_err *err)
{
    for (; phases[d->up].name; d->up++) {
        tt_notify_phase(&d->notify, "starts", phases[d->up].name);
        if (phases[d->up].start(d, err) != TT_OK)
            return tt_fail_in(err, "%s", phases[d->up].name);
    }
    return TT_OK;
}

void tt_daemon_down(struct tt_daemon *d, const struct tt_phase *phases)
{
    while (d->up > 0) {
        tt_notify_phase(&d->notify, "ends", phases[--d->up].name);
        phases[d->up].stop(d);
    }
}

static enum tt_code make_dir(const char *path, struct tt_err *err)
{
    struct stat st;

    if (mkdir(path, 0750) == 0)
        return TT_OK;
    if (errno != EEXIST || stat(path, &st) != 0)
        return tt_fail(err, TT_EIO, "folder '%s': %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return tt_fail(err, TT_EIO, "'%s' is there and is not a folder", path);
    return TT_OK;
}

/* Hold that file's lock as long as *ret is open, *ret being -1 if it is another's. */
static enum tt_code hold(const char *path, int *ret, struct tt_err *err)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    *ret = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (*ret < 0)
        return tt_fail(err, TT_EIO, "'%s': %s", path, strerror(errno));
    if (fcntl(*ret, F_SETLK, &whole) == 0)
        return TT_OK;
    close(*ret);
    *ret = -1;
    return TT_EBUSY;
}

/* One daemon a state folder. */
static enum tt_code start_state(struct tt_daemon *d, struct tt_err *err)
{
    const char *dir = d->settings->state_dir;
    const size_t n = strlen(dir) + sizeof "/snapshots";
    char *path = TT_NEW(&d->arena, n, char), *lock = TT_NEW(&d->arena, n, char);
    enum tt_code code;
    int64_t bytes = 0;

    if (!path || !lock)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    (void)snprintf(path, n, "%s/snapshots", dir);
    (void)snprintf(lock, n, "%s/lock", dir);
    d->snapshots = path;
    if (make_dir(dir, err) != TT_OK || make_dir(path, err) != TT_OK)
        return err->code;
    code = hold(lock, &d->lock, err);
    if (code == TT_EBUSY)
        return tt_fail(err, TT_EBUSY, "folder '%s' is used by another ttad", dir);
    if (code)
        return code;
    d->room.most = d->settings->limits.snapshots_bytes;
    if (tt_snapshot_sweep(path, &bytes, err) != TT_OK)
        tt_log(TT_LOG_WARN, "%s, ignoring", err->msg);
    atomic_store(&d->room.used, bytes);
    return TT_OK;
}

static void stop_state(struct tt_daemon *d)
{
    close(d->lock); // and with it the lock
}

/* One daemon a database, which need not lie in the state folder: two would both write it, and
 * give their decisions the same numbers. */
static enum tt_code hold_database(struct tt_daemon *d, struct tt_err *err)
{
    const char *path = d->settings->database;
    const size_t n = strlen(path) + sizeof "-lock";
    char *lock = TT_NEW(&d->arena, n, char);
    enum tt_code code;

    if (!lock)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    (void)snprintf(lock, n, "%s-lock", path);
    code = hold(lock, &d->database_lock, err);
    if (code == TT_EBUSY)
        return tt_fail(err, TT_EBUSY, "database '%s' is used by another ttad", path);
    return code;
}

static enum tt_code start_store(struct tt_daemon *d, struct tt_err *err)
{
    const struct tt_kept *k = &d->settings->record;
    const struct tt_store_options o = {.path = d->settings->database,
                                       .keep = {.raw_ms = k->raw_hours * 60 * MIN_MS,
                                                .around_ms = k->around_decisions_min * MIN_MS,
                                                .minute_ms = k->minute_days * 1440 * MIN_MS,
                                                .hour_ms = k->hour_days * 1440 * MIN_MS,
                                                .log_ms = k->log_days * 1440 * MIN_MS,
                                                .bytes = k->max_bytes,
                                                .hold_alert_ms = k->hold_alert_min * MIN_MS,
                                                .worse_alert_ms = k->worse_alert_min * MIN_MS}};
    struct tt_record r = {.kind = TT_REC_BOOT, .ts_ms = d->started_ms};

    if (hold_database(d, err) != TT_OK)
        return err->code;
    if (tt_store_open(&o, &d->store, err) != TT_OK) {
        close(d->database_lock);
        return err->code;
    }
    r.boot = (struct tt_rec_boot){d->boot_id, TTAD_VERSION, d->booted->hash};
    (void)tt_store_put(d->store, &r); // the store counts what it refuses
    return TT_OK;
}

static void stop_store(struct tt_daemon *d)
{
    struct tt_err err;

    if (tt_store_close(&d->store, &err) != TT_OK)
        tt_log(TT_LOG_ERR, "the record: %s", err.msg);
    close(d->database_lock);
}

static enum tt_code start_gate(struct tt_daemon *d, struct tt_err *err)
{
    const struct tt_limits *l = &d->settings->limits;
    const struct tt_gate_limits limits = {.connections = (int)l->connections,
                                          .memory_bytes = (size_t)l->memory_bytes,
                                          .message_bytes = (size_t)l->max_message_bytes,
                                          .unanswered = (int)l->credit + BEYOND_CREDIT};

    return tt_gate_start(&limits, &d->unroutable, &d->gate, err);
}

static void stop_gate(struct tt_daemon *d)
{
    tt_gate_stop(d->gate);
}

static enum tt_code start_events(struct tt_daemon *d, struct tt_err *err)
{
    struct tt_reader *reader;
    int64_t decision = 0, event = 0;
    enum tt_code code;

    if (tt_reader_open(d->settings->database, &reader, err) != TT_OK)
        return err->code;
    code = tt_reader_last(reader, &decision, &event, err);
    tt_reader_close(reader);
    if (code != TT_OK)
        return code;
    atomic_store(&d->decisions, decision);
    return tt_events_start(d->gate, &d->settings->events, event, &d->events, err);
}

static void stop_events(struct tt_daemon *d)
{
    tt_events_stop(d->events);
    d->events = NULL;
}

static enum tt_code start_metrics(struct tt_daemon *d, struct tt_err *err)
{
    d->metrics = tt_metrics_new(&d->arena, TT_TALLY_WORKERS + (int)d->settings->workers);
    return d->metrics ? TT_OK : tt_fail(err, TT_ENOMEM, "out of memory");
}

static enum tt_code start_lanes(struct tt_daemon *d, struct tt_err *err)
{
    return tt_lanes_new(d, &d->lanes, err);
}

static void stop_lanes(struct tt_daemon *d)
{
    tt_lanes_free(d->lanes);
}

static enum tt_code start_sockets(struct tt_daemon *d, struct tt_err *err)
{
    if (tt_loop_new(d, TT_DOOR_DATA, &d->data, err) != TT_OK)
        return err->code;
    if (tt_loop_new(d, TT_DOOR_CONTROL, &d->control, err) == TT_OK)
        return TT_OK;
    tt_loop_free(d->data);
    return err->code;
}

static void stop_sockets(struct tt_daemon *d)
{
    tt_loop_free(d->data);
    tt_loop_free(d->control);
}

static enum tt_code start_workers(struct tt_daemon *d, struct tt_err *err)
{
    struct tt_settings *s = d->settings;
    int64_t i = 0;

    if (!s->threads_per_worker)
        s->threads_per_worker = omp_get_num_procs() / (int)s->workers;
    if (s->threads_per_worker < 1)
        s->threads_per_worker = 1;
    tt_capture_pool_init(&d->captures, s->database, s->limits.capture_bytes);
    d->workers = TT_NEW(&d->arena, s->workers, struct tt_worker);
    if (!d->workers)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    while (i < s->workers && tt_worker_start(&d->workers[i], d, (int)i, err) == TT_OK)
        i++;
    if (i == s->workers)
        return TT_OK;
    while (i-- > 0)
        tt_worker_stop(&d->workers[i]);
    return err->code;
}

static void stop_workers(struct tt_daemon *d)
{
    atomic_store(&d->drained, true); // what is still queued is refused
    for (int64_t i = 0; i < d->settings->workers; i++)
        tt_worker_stop(&d->workers[i]);
    tt_capture_pool_end(&d->captures);
}

static enum tt_code start_control(struct tt_daemon *d, struct tt_err *err)
{
    return tt_loop_start(d->control, err);
}

static void stop_control(struct tt_daemon *d)
{
    tt_loop_stop(d->control);
}

static enum tt_code start_http(struct tt_daemon *d, struct tt_err *err)
{
    return tt_http_start(d, &d->http, err);
}

static void stop_http(struct tt_daemon *d)
{
    tt_http_stop(d->http);
}

static void stop_reload(struct tt_daemon *d)
{
    tt_reload_stop(d->reload);
}

const struct tt_phase tt_phases[] = {
    {"settings", tt_boot_settings, tt_boot_free_settings},
    {"state", start_state, stop_state},
    {"store", start_store, stop_store},
    {"models", tt_boot_models, tt_boot_free_models},
    {"policies", tt_boot_policies, tt_boot_nothing},
    {"gate", start_gate, stop_gate},
    {"events", start_events, stop_events},
    {"metrics", start_metrics, tt_boot_nothing},
    {"disk", tt_disk_start, tt_disk_stop},
    {"sync", tt_sync_start, tt_sync_stop},
    {"streams", start_lanes, stop_lanes},
    {"sockets", start_sockets, stop_sockets},
    {"workers", start_workers, stop_workers},
    {"known streams", tt_boot_streams, tt_boot_nothing},
    {"reload", tt_reload_start, stop_reload},
    {"control", start_control, stop_control},
    {"http", start_http, stop_http},
    {NULL, NULL, NULL},
};
