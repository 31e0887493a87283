// SPDX-License-Identifier: Apache-2.0
#include "daemon/phases.h"

#include <string.h>

#include "tests/support/check.h"

static char told[64];

static enum tt_code start_a(struct tt_daemon *d, struct tt_err *err)
{
    (void)d;
    (void)err;
    strcat(told, "+a");
    return TT_OK;
}

static enum tt_code start_b(struct tt_daemon *d, struct tt_err *err)
{
    (void)d;
    (void)err;
    strcat(told, "+b");
    return TT_OK;
}

static enum tt_code fail_c(struct tt_daemon *d, struct tt_err *err)
{
    (void)d;
    strcat(told, "!c");
    return tt_fail(err, TT_EIO, "the disk is full");
}

static void stop_a(struct tt_daemon *d)
{
    (void)d;
    strcat(told, "-a");
}

static void stop_b(struct tt_daemon *d)
{
    (void)d;
    strcat(told, "-b");
}

static void phases_stop_in_reverse(void **state)
{
    static const struct tt_phase phases[] = {
        {"a", start_a, stop_a}, {"b", start_b, stop_b}, {NULL, NULL, NULL}};
    struct tt_daemon d = {.up = 0};
    struct tt_err err;

    (void)state;
    told[0] = '\0';
    assert_int_equal(tt_daemon_up(&d, phases, &err), TT_OK);
    tt_daemon_down(&d, phases);
    assert_string_equal(told, "+a+b-b-a");
    assert_int_equal(d.up, 0);
}

static void a_failure_stops_what_had_started_and_is_named(void **state)
{
    static const struct tt_phase phases[] = {{"a", start_a, stop_a},
                                             {"store", fail_c, stop_b},
                                             {"b", start_b, stop_b},
                                             {NULL, NULL, NULL}};
    struct tt_daemon d = {.up = 0};
    struct tt_err err;

    (void)state;
    told[0] = '\0';
    assert_int_equal(tt_daemon_up(&d, phases, &err), TT_EIO);
    assert_string_equal(err.msg, "store: the disk is full");
    tt_daemon_down(&d, phases);
    assert_string_equal(told, "+a!c-a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(phases_stop_in_reverse),
        cmocka_unit_test(a_failure_stops_what_had_started_and_is_named),
    };

    return cmocka_run_group_tests_name("phases", tests, NULL, NULL);
}
