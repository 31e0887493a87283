// SPDX-License-Identifier: Apache-2.0
#include "daemon/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/job.h"

#define PERIOD_MS    200
#define SILENT_MS    5000 // that a commit may take before it counts as hung
#define WELL         3    // looks in a row before the record counts as well again
#define UPKEEPS      3    // failed in a row before it matters
#define PROBE_MS     1000 // after the first failed snapshot, then twice as long each time
#define PROBE_MS_MAX 60000
#define CALM_MS      120000 // without a failure: begin with PROBE_MS again

struct tt_disk {
    struct tt_daemon *daemon;
    pthread_t thread;
    int stop; // an eventfd
    int well;
    int64_t mended;                // that was told of
    int64_t probe_us;              // when to probe next
    int64_t probe_ms;              // wait after that
    atomic_int_fast64_t failed_us; // newest failed snapshot
    atomic_int_fast64_t need;      // its bytes
    atomic_bool calm;              // the one before was long ago
};

static void tell_mended(struct tt_disk *w, const struct tt_store_stats *s)
{
    if (s->mended == w->mended)
        return;
    w->mended = s->mended;
    tt_daemon_event(w->daemon, "record", "warning", s->note);
}

static void look_at_record(struct tt_disk *w)
{
    struct tt_health *h = &w->daemon->health;
    struct tt_store_stats s;

    tt_store_stats(w->daemon->store, &s);
    tell_mended(w, &s);
    w->well++;
    if (s.failing || s.silent_ms > SILENT_MS || s.upkeep_failing >= UPKEEPS)
        w->well = 0;
    if (s.failing)
        tt_health_set(h, TT_HEALTH_RECORD, "the record cannot be written: %.200s", s.why);
    else if (s.silent_ms > SILENT_MS)
        tt_health_set(h, TT_HEALTH_RECORD,
                      "the record has not been written for %" PRId64 " ms: the disk hangs",
                      s.silent_ms);
    else if (s.upkeep_failing >= UPKEEPS)
        tt_health_set(h, TT_HEALTH_RECORD,
                      "the upkeep of the record fails, its log has %" PRId64 " bytes: %.180s",
                      s.wal_bytes, s.why);
    else if (w->well >= WELL)
        tt_health_clear(h, TT_HEALTH_RECORD);
}

/* Write, sync and remove a small file beside the streams' folders; what fails, or NULL. */
static const char *probe(const char *folder)
{
    static const char bytes[4096];
    const char *failed = NULL;
    char path[TT_LINE_BYTES];
    int fd;

    (void)snprintf(path, sizeof path, "%.480s/.probe", folder);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return "creating a file";
    if (write(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes)
        failed = "writing";
    else if (fsync(fd) < 0)
        failed = "fsync";
    close(fd);
    if (unlink(path) < 0 && !failed)
        failed = "removing a file";
    return failed;
}

static bool has_room(const char *folder, int64_t need)
{
    struct statvfs v;

    return statvfs(folder, &v) != 0 ||
           (double)v.f_bavail * (double)v.f_frsize >= 2.0 * (double)need;
}

static void look_at_snapshots(struct tt_disk *w)
{
    struct tt_health *h = &w->daemon->health;
    const int64_t now = tt_now_us(), need = atomic_load(&w->need);
    const char *failed;

    if (atomic_exchange(&w->calm, false)) {
        w->probe_ms = PROBE_MS;
        w->probe_us = now + PROBE_MS * 1000;
    }
    if (!tt_health_is_set(h, TT_HEALTH_SNAPSHOTS) || now < w->probe_us)
        return;
    w->probe_us = now + w->probe_ms * 1000;
    w->probe_ms = 2 * w->probe_ms < PROBE_MS_MAX ? 2 * w->probe_ms : PROBE_MS_MAX;
    failed = probe(w->daemon->snapshots);
    if (failed)
        tt_health_set(h, TT_HEALTH_SNAPSHOTS, "folder '%.120s': %s: %s", w->daemon->snapshots,
                      failed, strerror(errno));
    else if (!has_room(w->daemon->snapshots, need))
        tt_health_set(h, TT_HEALTH_SNAPSHOTS,
                      "folder '%.120s': no room for twice a snapshot of %" PRId64 " bytes",
                      w->daemon->snapshots, need);
    else
        tt_health_clear(h, TT_HEALTH_SNAPSHOTS);
}

void tt_disk_snapshot_failed(struct tt_daemon *d, int64_t bytes, const char *why)
{
    struct tt_disk *w = d->disk;
    const int64_t now = tt_now_us();

    atomic_store(&w->need, bytes);
    if (now - atomic_exchange(&w->failed_us, now) > CALM_MS * 1000)
        atomic_store(&w->calm, true);
    tt_health_set(&d->health, TT_HEALTH_SNAPSHOTS, "%.250s", why);
}

static void *run(void *arg)
{
    struct tt_disk *w = arg;
    struct pollfd stop = {.fd = w->stop, .events = POLLIN};

    tt_log_name("disk");
    while (poll(&stop, 1, PERIOD_MS) <= 0) {
        look_at_record(w);
        look_at_snapshots(w);
    }
    return NULL;
}

enum tt_code tt_disk_start(struct tt_daemon *d, struct tt_err *err)
{
    struct tt_disk *w = TT_NEW(&d->arena, 1, struct tt_disk);

    if (!w)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    *w = (struct tt_disk){.daemon = d, .probe_ms = PROBE_MS};
    w->stop = eventfd(0, EFD_CLOEXEC);
    if (w->stop < 0)
        return tt_fail(err, TT_EIO, "eventfd: %s", strerror(errno));
    d->disk = w;
    if (pthread_create(&w->thread, NULL, run, w) == 0)
        return TT_OK;
    close(w->stop);
    return tt_fail(err, TT_EIO, "disk: no thread");
}

void tt_disk_stop(struct tt_daemon *d)
{
    const uint64_t one = 1;

    if (write(d->disk->stop, &one, sizeof one) == (ssize_t)sizeof one) // an empty counter takes it
        pthread_join(d->disk->thread, NULL);
    close(d->disk->stop);
}
