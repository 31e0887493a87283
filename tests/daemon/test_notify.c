// SPDX-License-Identifier: Apache-2.0
#include "daemon/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/loop.h"
#include "daemon/watch.h"
#include "daemon/worker.h"
#include "tests/support/check.h"

#define SECOND 1000000LL

struct rig { // a daemon of two loops and two workers that only beat, and its supervisor
    struct tt_daemon d;
    struct tt_settings settings;
    struct tt_loop data, control;
    struct tt_worker workers[2];
    char dir[64], path[96];
    int supervisor;
    char heard[1024];
};

static int set_up(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct rig *r = calloc(1, sizeof *r);

    assert_non_null(r);
    (void)snprintf(r->dir, sizeof r->dir, "/tmp/ttad-notify-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    (void)snprintf(r->path, sizeof r->path, "%s/notify", r->dir);
    memcpy(at.sun_path, r->path, strlen(r->path));
    r->supervisor = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(r->supervisor, (struct sockaddr *)&at, sizeof at), 0);
    r->settings =
        (struct tt_settings){.workers = 2, .limits = {.stuck_ms = 60000, .drain_ms = 7000}};
    r->data.name = "data";
    r->control.name = "control";
    for (int i = 0; i < 2; i++)
        (void)snprintf(r->workers[i].name, sizeof r->workers[i].name, "worker %d", i);
    r->d = (struct tt_daemon){
        .settings = &r->settings, .data = &r->data, .control = &r->control, .workers = r->workers};
    tt_health_init(&r->d.health, NULL, NULL);
    setenv("NOTIFY_SOCKET", r->path, 1);
    setenv("WATCHDOG_USEC", "20000000", 1);
    unsetenv("WATCHDOG_PID");
    tt_notify_init(&r->d.notify, 42);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;

    tt_notify_end(&r->d.notify);
    tt_health_end(&r->d.health);
    close(r->supervisor);
    unlink(r->path);
    assert_int_equal(rmdir(r->dir), 0);
    free(r);
    return 0;
}

/* All that was told since the last time, messages joined by '|'. */
static const char *hear(struct rig *r)
{
    size_t at = 0;
    ssize_t n;

    while ((n = recv(r->supervisor, r->heard + at, sizeof r->heard - at - 2, 0)) > 0) {
        at += (size_t)n;
        r->heard[at++] = '|';
    }
    r->heard[at] = '\0';
    return r->heard;
}

static void the_supervisor_hears_of_each_step(void **state)
{
    struct rig *r = *state;
    struct tt_notify *n = &r->d.notify;

    tt_notify_phase(n, "starts", "models");
    assert_string_equal(hear(r), "STATUS=starts: models\nEXTEND_TIMEOUT_USEC=300000000|");
    tt_notify_ready(n);
    assert_string_equal(hear(r), "READY=1|");
    tt_notify_reloading(n, 123);
    assert_string_equal(hear(r),
                        "RELOADING=1\nMONOTONIC_USEC=123\nSTATUS=reads its configuration|");
    tt_notify_stopping(n, 7000);
    tt_notify_stopping(n, 7000);
    assert_string_equal(hear(r), "STOPPING=1\nSTATUS=ends: answers what is queued\n"
                                 "EXTEND_TIMEOUT_USEC=17000000|");
}

static void the_watchdog_is_fed_twice_in_its_time(void **state)
{
    struct rig *r = *state;

    assert_int_equal(tt_notify_wait(&r->d.notify, -1, 5 * SECOND), 0);
    tt_notify_turn(&r->d, 5 * SECOND);
    assert_string_equal(hear(r), "WATCHDOG=1|STATUS=serves 0 streams|");
    assert_int_equal(tt_notify_wait(&r->d.notify, -1, 5 * SECOND), 10000);
    assert_int_equal(tt_notify_wait(&r->d.notify, -1, 15 * SECOND - 1), 1);
    assert_int_equal(tt_notify_wait(&r->d.notify, 20, 5 * SECOND), 20);
    tt_notify_turn(&r->d, 15 * SECOND - 1);
    assert_string_equal(hear(r), "");
    tt_notify_turn(&r->d, 15 * SECOND);
    assert_string_equal(hear(r), "WATCHDOG=1|");
}

static void a_stuck_thread_starves_the_watchdog(void **state)
{
    struct rig *r = *state;
    struct tt_beat *const beats[] = {&r->data.beat, &r->control.beat, &r->workers[0].beat,
                                     &r->workers[1].beat};
    static const char *const names[] = {"data", "control", "worker 0", "worker 1"};
    int64_t now = 1000 * SECOND;

    for (int i = 0; i < 4; i++) {
        char want[64];

        tt_beat_busy(beats[i], now);
        now += 60 * SECOND; // long, and still allowed
        tt_notify_turn(&r->d, now);
        assert_contains(hear(r), "WATCHDOG=1|");
        now += 10 * SECOND;
        tt_notify_turn(&r->d, now);
        assert_null(strstr(hear(r), "WATCHDOG=1"));
        (void)snprintf(want, sizeof want, "STATUS=not ready: stuck: thread '%s' has", names[i]);
        assert_contains(r->heard, want);
        assert_false(tt_health_ready(&r->d.health));
        tt_beat_idle(beats[i], now);
        now += 10 * SECOND;
        tt_notify_turn(&r->d, now);
        assert_string_equal(hear(r), "WATCHDOG=1|STATUS=serves 0 streams|");
        assert_true(tt_health_ready(&r->d.health));
    }
}

/* One piece of work after another is no standstill, however long they take together. */
static void a_busy_thread_is_not_stuck(void **state)
{
    struct rig *r = *state;
    int64_t now = 1000 * SECOND;

    for (int i = 0; i < 20; i++, now += 30 * SECOND) {
        tt_beat_busy(&r->workers[1].beat, now);
        assert_true(tt_watch(&r->d, now + 29 * SECOND));
    }
    assert_int_equal(tt_beat_busy_us(&r->workers[1].beat, now), 20 * 30 * SECOND);
}

static void draining_is_told_once(void **state)
{
    struct rig *r = *state;

    tt_notify_turn(&r->d, 5 * SECOND);
    (void)hear(r);
    atomic_store(&r->d.draining, true);
    tt_notify_turn(&r->d, 5 * SECOND + 1);
    assert_contains(hear(r), "STOPPING=1\n");
    assert_contains(r->heard, "EXTEND_TIMEOUT_USEC=17000000|");
    tt_notify_turn(&r->d, 15 * SECOND);
    assert_string_equal(hear(r), "WATCHDOG=1|");
}

static void a_hostile_reason_stays_one_line(void **state)
{
    struct rig *r = *state;

    tt_health_set(&r->d.health, TT_HEALTH_RECORD, "x\nWATCHDOG=trigger\n\xff");
    tt_notify_turn(&r->d, 5 * SECOND);
    assert_string_equal(hear(r), "WATCHDOG=1|STATUS=not ready: record: x?WATCHDOG=trigger??|");
}

static void without_a_supervisor_nothing_is_said(void **state)
{
    static const struct {
        const char *socket, *usec, *pid;
        int64_t every_us;
        bool speaks;
    } rows[] = {
        {NULL, "20000000", NULL, 0, false}, {"", "20000000", NULL, 0, false},
        {"relative", NULL, NULL, 0, false}, {"/there/is/none", "8", NULL, 4, true},
        {"@abstract", "8", "42", 4, true},  {"@abstract", "8", "43", 0, true},
        {"@abstract", "8x", NULL, 0, true}, {"@abstract", "-8", NULL, 0, true},
        {"@abstract", "", NULL, 0, true},   {"@abstract", "0", NULL, 0, true},
        {"@abstract", NULL, NULL, 0, true},
    };
    struct tt_notify n;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsetenv("NOTIFY_SOCKET");
        unsetenv("WATCHDOG_USEC");
        unsetenv("WATCHDOG_PID");
        if (rows[i].socket)
            setenv("NOTIFY_SOCKET", rows[i].socket, 1);
        if (rows[i].usec)
            setenv("WATCHDOG_USEC", rows[i].usec, 1);
        if (rows[i].pid)
            setenv("WATCHDOG_PID", rows[i].pid, 1);
        tt_notify_init(&n, 42);
        assert_int_equal(n.every_us, rows[i].every_us);
        assert_int_equal(n.nto != 0, rows[i].speaks);
        tt_notify_ready(&n); // nobody is there, and nothing happens
        tt_notify_end(&n);
        tt_notify_ready(&n);
    }
    assert_int_equal(tt_notify_wait(&n, -1, 5), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(the_supervisor_hears_of_each_step),
        T(the_watchdog_is_fed_twice_in_its_time),
        T(a_stuck_thread_starves_the_watchdog),
        T(a_busy_thread_is_not_stuck),
        T(draining_is_told_once),
        T(a_hostile_reason_stays_one_line),
        T(without_a_supervisor_nothing_is_said),
    };

    return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
