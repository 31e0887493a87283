// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_DAEMON_H
#define TT_DAEMON_DAEMON_H

#include <stdatomic.h>

#include "daemon/capture_pool.h"
#include "daemon/catalogue.h"
#include "daemon/events.h"
#include "daemon/health.h"
#include "daemon/notify.h"
#include "daemon/stream.h"
#include "monitor/store.h"

/*
 * The running daemon: what its threads share.  Everything here is made before the threads start
 * and read only while they run, but for the atomics, and what lies on the shelf: the models and
 * policies that are served, which may change at any time (daemon/catalogue.h).
 */
struct tt_disk;
struct tt_sync;
struct tt_lanes;
struct tt_worker;
struct tt_control;
struct tt_http;
struct tt_metrics;
struct tt_gate;
struct tt_reload;

struct tt_daemon {
    int up; // phases that have started
    struct tt_arena arena;
    const char *config;           // the file
    struct tt_config *booted;     // as it was when the daemon started
    struct tt_settings *settings; // of booted; what only a restart changes is read here
    char boot_id[33];
    int64_t started_ms, started_us;
    int lock;             // descriptor of the state folder's lock
    int database_lock;    // and of the database's
    struct tt_gate *gate; // of all connections
    struct tt_shelf shelf;
    const char *snapshots; // the folder of all
    struct tt_room room;   // that they may take
    struct tt_store *store;
    struct tt_events *events;
    struct tt_health health;
    struct tt_notify notify;
    struct tt_disk *disk;
    struct tt_sync *sync;
    struct tt_capture_pool captures;
    struct tt_lanes *lanes;
    struct tt_worker *workers;
    struct tt_metrics *metrics;
    struct tt_http *http; // NULL: off
    struct tt_loop *data, *control;
    struct tt_reload *reload;
    int wake;                      // an eventfd: signals that end, and the drain op
    int hangup;                    // likewise: SIGHUP
    atomic_int_fast64_t decisions; // the highest number given out
    atomic_int open_streams;       // in memory
    atomic_bool draining, drained;
    atomic_int_fast64_t requests, answered, refused, busy, unroutable; // counters of status
};

/* Record, and publish what is an event.  ctx of a stream's sink is the daemon. */
struct tt_sink tt_daemon_sink(struct tt_daemon *d);

/* A line of the log that is no stream's: recorded, published, and logged. */
void tt_daemon_event(struct tt_daemon *d, const char *kind, const char *severity, const char *text);

/* For health: the same, as far as the daemon has come up. */
void tt_daemon_tell(void *daemon, const char *severity, const char *text);

/* Take no more work; end once everything is answered.  A second call ends at once. */
void tt_daemon_drain(struct tt_daemon *d);

#endif
