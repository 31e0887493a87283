// SPDX-License-Identifier: Apache-2.0
#include "daemon/recent.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"

static void ids_are_known_until_newer_ones_need_the_room(void **state)
{
    struct tt_recent r = {.used = 0};
    char id[TTAD_WIRE_ID_MAX + 1];
    int known = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(id, sizeof id, "client-%012d", i);
        assert_false(tt_recent_has(&r, id));
        tt_recent_add(&r, id);
        assert_true(tt_recent_has(&r, id));
        assert_true(tt_recent_sound(&r));
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(id, sizeof id, "client-%012d", i);
        known += tt_recent_has(&r, id);
        assert_int_equal(tt_recent_has(&r, id), i >= 1000 - TT_RECENT_BYTES / 20);
    }
    assert_int_equal(known, TT_RECENT_BYTES / 20);
    memset(id, 'x', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    for (int i = 0; i < 200; i++) {
        id[0] = (char)('!' + i % 90);
        id[1] = (char)('!' + i / 90);
        tt_recent_add(&r, id);
        assert_true(tt_recent_sound(&r));
    }
    known = 0;
    for (int i = 0; i < 200; i++) {
        id[0] = (char)('!' + i % 90);
        id[1] = (char)('!' + i / 90);
        known += tt_recent_has(&r, id);
    }
    assert_true(known >= 62);
}

static void the_newest_can_be_taken_back(void **state)
{
    struct tt_recent r = {.used = 0}, before;

    (void)state;
    tt_recent_add(&r, "a");
    tt_recent_add(&r, "");
    before = r;
    tt_recent_add(&r, "bc");
    tt_recent_drop(&r, "bc");
    tt_recent_drop(&r, "");
    assert_memory_equal(&r, &before, sizeof r);
    assert_true(tt_recent_has(&r, "a"));
    assert_false(tt_recent_has(&r, "bc"));
    assert_false(tt_recent_has(&r, ""));
}

static void bytes_that_nobody_wrote_are_not_sound(void **state)
{
    struct tt_recent r = {.used = 0};

    (void)state;
    tt_recent_add(&r, "abc");
    r.used = 3;
    assert_false(tt_recent_sound(&r)); // cut
    r.used = -1;
    assert_false(tt_recent_sound(&r));
    r.used = TT_RECENT_BYTES + 1;
    assert_false(tt_recent_sound(&r));
    r.used = 5;
    assert_false(tt_recent_sound(&r)); // a length of 0
    r.used = 4;
    assert_true(tt_recent_sound(&r));
    r.bytes[0] = 200;
    assert_false(tt_recent_sound(&r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_known_until_newer_ones_need_the_room),
        cmocka_unit_test(the_newest_can_be_taken_back),
        cmocka_unit_test(bytes_that_nobody_wrote_are_not_sound),
    };

    return cmocka_run_group_tests_name("recent", tests, NULL, NULL);
}
