// SPDX-License-Identifier: Apache-2.0
#include "daemon/pace.h"

#include "tests/support/check.h"

static void nothing_is_known_before_anything_was_seen(void **state)
{
    struct tt_pace p = {0};

    (void)state;
    assert_int_equal(tt_pace_expect(&p, 64, true), 0);
    assert_int_equal(tt_pace_expect(&p, 1, false), 0);
}

static void each_size_and_kind_has_its_own_time(void **state)
{
    struct tt_pace p = {0};

    (void)state;
    for (int i = 0; i < 20; i++) {
        tt_pace_saw(&p, 64, true, 10000);
        tt_pace_saw(&p, 64, false, 4000);
        tt_pace_saw(&p, 1, true, 1000);
    }
    assert_in_range(tt_pace_expect(&p, 64, true), 9990, 10010);
    assert_in_range(tt_pace_expect(&p, 40, false), 3990, 4010); // about as many
    assert_int_equal(tt_pace_expect(&p, 1, true), 1000);
    assert_in_range(tt_pace_expect(&p, 1, false), 1000, 1000);    // at most that
    assert_in_range(tt_pace_expect(&p, 128, true), 19900, 20100); // by rows
    assert_in_range(tt_pace_expect(&p, 256, false), 15900, 16100);
    assert_int_equal(tt_pace_expect(&p, 1000, false), 0); // too far to tell
}

static void what_slows_answers_slows_learning_too(void **state)
{
    struct tt_pace p = {0};

    (void)state;
    for (int i = 0; i < 20; i++) {
        tt_pace_saw(&p, 8, true, 9000);
        tt_pace_saw(&p, 8, false, 3000);
    }
    for (int i = 0; i < 40; i++)
        tt_pace_saw(&p, 8, false, 6000);
    assert_in_range(tt_pace_expect(&p, 8, true), 17500, 18500);
    for (int i = 0; i < 60; i++)
        tt_pace_saw(&p, 8, false, 1500);
    assert_in_range(tt_pace_expect(&p, 8, true), 4300, 4700);
}

static void the_first_ones_count_only_when_the_next_are_as_slow(void **state)
{
    struct tt_pace p = {0};

    (void)state;
    tt_pace_saw(&p, 8, true, 50000);
    tt_pace_saw(&p, 8, true, 2000);
    assert_int_equal(tt_pace_expect(&p, 8, true), 2000);
    tt_pace_saw(&p, 8, true, 4000);
    assert_int_equal(tt_pace_expect(&p, 8, true), 2500);
}

/* A first step that was slow for reasons of its own does not end learning for good. */
static void a_cold_start_is_forgotten_when_an_answer_is_seen(void **state)
{
    struct tt_pace p = {0};

    (void)state;
    tt_pace_saw(&p, 8, true, 900000);
    assert_int_equal(tt_pace_expect(&p, 8, true), 900000);
    tt_pace_saw(&p, 8, false, 3000);
    assert_int_equal(tt_pace_expect(&p, 8, true), 12000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_before_anything_was_seen),
        cmocka_unit_test(each_size_and_kind_has_its_own_time),
        cmocka_unit_test(what_slows_answers_slows_learning_too),
        cmocka_unit_test(the_first_ones_count_only_when_the_next_are_as_slow),
        cmocka_unit_test(a_cold_start_is_forgotten_when_an_answer_is_seen),
    };

    return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
