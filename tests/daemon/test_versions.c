// SPDX-License-Identifier: Apache-2.0
#include "daemon/versions.h"

#include <string.h>

#include "tests/support/check.h"

#define FLOATS 3
#define RING   4

static struct tt_arena arena;
static struct tt_versions v;

static int set_up(void **state)
{
    float *source = tt_block_new(FLOATS);
    struct tt_err err;

    (void)state;
    tt_arena_init(&arena, 0);
    if (!source || tt_versions_init(&v, &arena, FLOATS, RING, "salt", &err) != TT_OK)
        return -1;
    tt_versions_source(&v, source, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tt_versions_free(&v);
    tt_arena_release(&arena);
    return 0;
}

/* Publish the version of that step: its numbers are the step. */
static void publish(int64_t step)
{
    struct tt_err err;

    if (tt_versions_ready(&v, &err) != TT_OK)
        fail_msg("%s", err.msg);
    for (int i = 0; i < FLOATS; i++)
        v.next.block[i] = (float)step;
    tt_versions_publish(&v, step, 10 * step, step, 100 + step, 0);
}

static struct tt_version *checkpoint(int64_t step, enum tt_version_state state)
{
    struct tt_version *c;

    publish(step);
    c = tt_versions_checkpoint(&v);
    if (c)
        c->state = state;
    return c;
}

static void a_name_is_the_hash_of_salt_and_numbers(void **state)
{
    char name[TT_HASH_SHORT + 1], other[TT_HASH_SHORT + 1];
    const float zero[FLOATS] = {0, 0, 0};
    uint64_t id;

    (void)state;
    tt_version_name("salt", zero, FLOATS, name, &id);
    assert_string_equal(name, v.base.name);
    assert_int_equal(strlen(name), TT_HASH_SHORT);
    assert_true(id == v.base.id && id != 0);
    tt_version_name("pepper", zero, FLOATS, other, &id);
    assert_string_not_equal(name, other);
    publish(1);
    assert_string_not_equal(v.serving.name, name);
    assert_string_equal(v.serving.parent, name);
}

static void a_version_that_serves_is_not_changed_by_the_next(void **state)
{
    const float *block;

    (void)state;
    publish(1);
    block = v.serving.block;
    v.next.block[0] = 9;
    assert_close(block[0], 1, 0, 0);
    publish(2);
    assert_close(block[0], 1, 0, 0); // until another one is written over it
}

static void the_target_is_the_newest_good_one_from_before(void **state)
{
    (void)state;
    assert_ptr_equal(tt_versions_target(&v, INT64_MAX), &v.base);
    (void)checkpoint(1, TT_VERSION_GOOD);
    (void)checkpoint(2, TT_VERSION_GOOD);
    (void)checkpoint(3, TT_VERSION_SUSPECT);
    (void)checkpoint(4, TT_VERSION_SOAKING);
    assert_int_equal(tt_versions_target(&v, INT64_MAX)->step, 2);
    assert_int_equal(tt_versions_target(&v, 20)->step, 2);
    assert_int_equal(tt_versions_target(&v, 19)->step, 1);
    assert_ptr_equal(tt_versions_target(&v, 9), &v.base);
    assert_ptr_equal(tt_versions_target(&v, -5), &v.base);
}

static void what_soaks_is_not_dropped_before_it_is_judged(void **state)
{
    struct tt_version *first = checkpoint(1, TT_VERSION_SOAKING);

    (void)state;
    for (int64_t step = 2; step <= RING; step++)
        assert_non_null(checkpoint(step, TT_VERSION_SOAKING));
    assert_null(checkpoint(RING + 1, TT_VERSION_SOAKING));
    assert_int_equal(first->step, 1);
    first->state = TT_VERSION_GOOD;
    assert_null(checkpoint(RING + 2, TT_VERSION_SOAKING)); // the only good one stays
    v.ring[1].state = TT_VERSION_GOOD;
    v.ring[2].state = TT_VERSION_GOOD;
    assert_ptr_equal(checkpoint(RING + 3, TT_VERSION_SOAKING), first);
    v.ring[2].state = TT_VERSION_BAD;
    assert_ptr_equal(checkpoint(RING + 4, TT_VERSION_SOAKING), &v.ring[2]);
}

static void keeping_makes_room_by_force(void **state)
{
    (void)state;
    assert_ptr_equal(tt_versions_keep(&v), &v.base);
    for (int64_t step = 1; step <= RING; step++)
        (void)checkpoint(step, TT_VERSION_SOAKING);
    assert_int_equal(tt_versions_keep(&v)->step, RING); // it is there
    publish(9);
    assert_int_equal(tt_versions_keep(&v)->step, 9);
    assert_null(tt_versions_find(&v, "00000000"));
    for (int i = 0; i < RING; i++)
        assert_int_not_equal(v.ring[i].step, 1); // the oldest went
}

static void restoring_serves_a_copy(void **state)
{
    struct tt_version *c = checkpoint(1, TT_VERSION_GOOD);

    (void)state;
    publish(2);
    tt_versions_restore(&v, c);
    assert_string_equal(v.serving.name, c->name);
    assert_int_equal(v.serving.step, 1);
    assert_ptr_not_equal(v.serving.block, c->block);
    assert_close(v.serving.block[2], 1, 0, 0);
}

static void versions_are_found_by_the_digits_that_people_type(void **state)
{
    char text[TT_HASH_SHORT + 2];
    struct tt_version *c = checkpoint(1, TT_VERSION_GOOD);

    (void)state;
    memcpy(text, c->name, sizeof c->name);
    assert_ptr_equal(tt_versions_find(&v, text), c);
    text[8] = '\0';
    assert_ptr_equal(tt_versions_find(&v, text), c);
    text[7] = '\0';
    assert_null(tt_versions_find(&v, text)); // too few to be sure
    assert_null(tt_versions_find(&v, ""));
    memcpy(text, c->name, TT_HASH_SHORT);
    strcpy(text + TT_HASH_SHORT, "0");
    assert_null(tt_versions_find(&v, text));
    assert_ptr_equal(tt_versions_find(&v, v.base.name), &v.base);
}

static void trimming_gives_up_only_numbers_that_are_on_the_disk(void **state)
{
    const size_t block = FLOATS * sizeof(float);
    struct tt_version *old, *good;

    (void)state;
    old = checkpoint(1, TT_VERSION_GOOD);
    good = checkpoint(2, TT_VERSION_GOOD);
    (void)checkpoint(3, TT_VERSION_SOAKING);
    old->stored = good->stored = true;
    assert_int_equal(tt_versions_bytes(&v), 4 * block);
    tt_versions_trim(&v, 3 * block); // what would be written next goes first
    assert_null(v.next.block);
    assert_non_null(old->block);
    tt_versions_trim(&v, 2 * block);
    assert_null(old->block);
    assert_non_null(good->block);
    tt_versions_trim(&v, 0);
    assert_null(good->block);
    assert_int_equal(tt_versions_bytes(&v), block);            // it soaks, and is nowhere else
    assert_ptr_equal(tt_versions_target(&v, INT64_MAX), good); // known all the same
    publish(4);
    assert_int_equal(v.serving.step, 4);
}

static void a_shared_block_lives_as_long_as_its_last_owner(void **state)
{
    float *block = tt_block_new(5);

    (void)state;
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % TT_ALIGN, 0);
    assert_ptr_equal(tt_block_share(block), block);
    tt_block_free(block);
    block[4] = 1; // address sanitizer sees it if it is gone
    assert_int_equal(block[4], 1);
    tt_block_free(block);
    tt_block_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_name_is_the_hash_of_salt_and_numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_version_that_serves_is_not_changed_by_the_next, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_target_is_the_newest_good_one_from_before, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_soaks_is_not_dropped_before_it_is_judged, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(keeping_makes_room_by_force, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restoring_serves_a_copy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(versions_are_found_by_the_digits_that_people_type, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(trimming_gives_up_only_numbers_that_are_on_the_disk, set_up,
                                        tear_down),
        cmocka_unit_test(a_shared_block_lives_as_long_as_its_last_owner),
    };

    return cmocka_run_group_tests_name("versions", tests, NULL, NULL);
}
