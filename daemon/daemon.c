// SPDX-License-Identifier: Apache-2.0
#include "daemon/daemon.h"

#include <string.h>
#include <unistd.h>

#include "daemon/disk.h"
#include "daemon/job.h"
#include "daemon/metrics.h"
#include "daemon/sync.h"

#define SYNC_MS    5000 // longest that an answer waits for a decision to reach the disk
#define TROUBLE_MS 250  // and when the disk is known to be in trouble; what was put stays queued

static enum tt_level level_of(const char *severity)
{
    if (!strcmp(severity, "error"))
        return TT_LOG_ERR;
    return !strcmp(severity, "warning") ? TT_LOG_WARN : TT_LOG_INFO;
}

static int64_t put(void *ctx, const struct tt_record *r)
{
    struct tt_daemon *d = ctx;
    struct tt_record copy = *r;

    tt_metrics_record(d->metrics, r);
    if (r->kind == TT_REC_BATCH)
        (void)tt_events_put(d->events, r); // not numbered in the record
    if (r->kind == TT_REC_EVENT) {
        copy.event.seq = tt_events_put(d->events, r);
        tt_log_with(level_of(r->event.severity),
                    (const struct tt_log_field[]){{"stream", r->stream},
                                                  {"kind", r->event.kind},
                                                  {"actor", r->event.actor},
                                                  {"version", r->event.version},
                                                  {NULL, NULL}},
                    "%s", r->event.text);
    }
    return tt_store_put(d->store, &copy);
}

static enum tt_code sync_ticket(void *ctx, int64_t ticket, struct tt_err *err)
{
    struct tt_daemon *d = ctx;

    if (!ticket)
        return tt_fail(err, TT_EIO, "the record takes nothing any more");
    return tt_store_sync(d->store, ticket,
                         tt_health_is_set(&d->health, TT_HEALTH_RECORD) ? TROUBLE_MS : SYNC_MS,
                         err);
}

static enum tt_code room(void *ctx, struct tt_err *err)
{
    struct tt_daemon *d = ctx;

    return tt_store_room(d->store, err);
}

/* Each stream holds itself while its journal fails; this is what the operator hears. */
static void journal(void *ctx, const char *why)
{
    struct tt_daemon *d = ctx;

    if (why)
        tt_health_set(&d->health, TT_HEALTH_JOURNAL, "%s", why);
    else if (tt_health_is_set(&d->health, TT_HEALTH_JOURNAL))
        tt_health_clear(&d->health, TT_HEALTH_JOURNAL);
}

static int64_t sync_file(void *ctx, const char *dir, const char *name)
{
    return tt_sync_put(ctx, dir, name);
}

static enum tt_code synced(void *ctx, int64_t ticket, struct tt_err *err)
{
    return tt_sync_take(ctx, ticket, err);
}

static void snapshot(void *ctx, int64_t bytes, const char *why)
{
    tt_disk_snapshot_failed(ctx, bytes, why);
}

static bool may_learn(void *ctx)
{
    const struct tt_daemon *d = ctx;

    return tt_health_may_learn(&d->health);
}

static int64_t next_decision(void *ctx)
{
    struct tt_daemon *d = ctx;

    return atomic_fetch_add(&d->decisions, 1) + 1;
}

static int64_t clock_us(void *ctx)
{
    (void)ctx;
    return tt_now_us();
}

struct tt_sink tt_daemon_sink(struct tt_daemon *d)
{
    return (struct tt_sink){.ctx = d,
                            .put = put,
                            .sync = sync_ticket,
                            .journal = journal,
                            .snapshot = snapshot,
                            .sync_file = sync_file,
                            .synced = synced,
                            .room = room,
                            .may_learn = may_learn,
                            .next_decision = next_decision,
                            .clock_us = clock_us};
}

void tt_daemon_event(struct tt_daemon *d, const char *kind, const char *severity, const char *text)
{
    struct tt_record r = {.kind = TT_REC_EVENT, .ts_ms = tt_now_ms()};

    r.event = (struct tt_rec_event){.kind = kind,
                                    .severity = severity,
                                    .actor = "daemon",
                                    .text = text,
                                    .decision_id = TT_UNKNOWN};
    (void)put(d, &r);
}

void tt_daemon_tell(void *daemon, const char *severity, const char *text)
{
    struct tt_daemon *d = daemon;

    if (d->events && d->store)
        tt_daemon_event(d, "daemon", severity, text);
    else
        tt_log(level_of(severity), "%s", text);
}

void tt_daemon_drain(struct tt_daemon *d)
{
    const uint64_t one = 1;

    if (write(d->wake, &one, sizeof one) < 0)
        return; // full: it is awake
}
