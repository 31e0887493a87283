// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include <string.h>

#include "tests/support/check.h"

static void test_what_is_allocated_is_aligned_zeroed_and_apart(void **state)
{
    struct tt_arena a;
    unsigned char *last = NULL;

    (void)state;
    tt_arena_init(&a, 0);
    for (size_t n = 1; n < 20000; n = n * 3 + 1) {
        unsigned char *p = TT_NEW(&a, n, unsigned char);

        assert_non_null(p);
        assert_int_equal((uintptr_t)p % TT_ALIGN, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
        if (last)
            assert_int_equal(last[0], 0xff);
        last = p;
    }
    tt_arena_release(&a);
    assert_int_equal(a.used, 0);
}

static void test_a_limit_is_never_passed(void **state)
{
    struct tt_arena a;
    size_t got = 0;

    (void)state;
    tt_arena_init(&a, 10000);
    while (TT_NEW(&a, 100, char))
        got += 100;
    assert_in_range(got, 5000, 10000);
    tt_arena_reserve(&a, 1 << 20);
    assert_null(TT_NEW(&a, 1 << 20, char));
    tt_arena_release(&a);
}

static void test_a_count_that_overflows_is_refused(void **state)
{
    struct tt_arena a;

    (void)state;
    tt_arena_init(&a, 0);
    assert_null(tt_arena_alloc(&a, SIZE_MAX / 4, 8));
    assert_null(a.head);
}

#ifndef TT_HOSTILE // where each allocation is a block of its own
/* Two small things on both sides of a large one lie in the block that was made for all three. */
static void test_what_was_reserved_is_one_block(void **state)
{
    struct tt_arena a;
    char *first, *large, *last;

    (void)state;
    tt_arena_init(&a, 0);
    tt_arena_reserve(&a, 64 + 50048 + 64);
    first = TT_NEW(&a, 64, char);
    large = TT_NEW(&a, 50000, char);
    last = TT_NEW(&a, 64, char);
    assert_ptr_equal(large, first + 64);
    assert_ptr_equal(last, large + 50048);
    tt_arena_reset(&a);
    assert_ptr_equal(TT_NEW(&a, 50176, char), first);
    tt_arena_release(&a);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_allocated_is_aligned_zeroed_and_apart),
        cmocka_unit_test(test_a_limit_is_never_passed),
        cmocka_unit_test(test_a_count_that_overflows_is_refused),
#ifndef TT_HOSTILE
        cmocka_unit_test(test_what_was_reserved_is_one_block),
#endif
    };

    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
