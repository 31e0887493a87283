// SPDX-License-Identifier: Apache-2.0
#include "daemon/memory.h"

#include <stdio.h>

#include "tests/support/check.h"

static struct tt_memory memory, *m = &memory;

static int tear_down(void **state)
{
    (void)state;
    tt_memory_trim(m, 0);
    assert_int_equal(m->n + m->rows + (int64_t)m->bytes, 0);
    return 0;
}

static struct tt_answered *add(int id, int64_t rows)
{
    char text[16];
    struct tt_answered *a;

    snprintf(text, sizeof text, "%d", id);
    a = tt_memory_add(m, text, rows);
    for (int64_t i = 0; a && i < rows; i++)
        a->label[i] = a->frozen[i] = id;
    return a;
}

/* What is remembered has the rows that were put, whatever came after. */
static int count_intact(int from, int to)
{
    int n = 0;

    for (int id = from; id < to; id++) {
        char text[16];
        const struct tt_answered *a;

        snprintf(text, sizeof text, "%d", id);
        a = tt_memory_find(m, text);
        if (!a)
            continue;
        n++;
        for (int64_t i = 0; i < a->rows; i++) {
            assert_int_equal(a->label[i], id);
            assert_int_equal(a->frozen[i], id);
        }
    }
    return n;
}

static void the_last_answers_are_remembered(void **state)
{
    (void)state;
    for (int id = 0; id < 1000; id++)
        assert_non_null(add(id, 1));
    assert_int_equal(count_intact(0, 1000), TT_MEMORY_ANSWERS);
    assert_int_equal(count_intact(1000 - TT_MEMORY_ANSWERS, 1000), TT_MEMORY_ANSWERS);
}

static void rows_never_overlap_whatever_their_sizes(void **state)
{
    uint32_t seed = 7;

    (void)state;
    for (int id = 0; id < 3000; id++) {
        seed = seed * 1664525u + 1013904223u;
        assert_non_null(add(id, 1 + (seed >> 8) % (id % 50 ? 400 : TT_MEMORY_ROWS)));
        if (id % 100 == 0)
            assert_in_range(count_intact(id > 300 ? id - 300 : 0, id + 1), 1, TT_MEMORY_ANSWERS);
    }
}

static void an_id_used_again_is_the_newer_answer(void **state)
{
    (void)state;
    (void)add(1, 4);
    (void)add(2, 4);
    (void)add(1, 9);
    assert_int_equal(tt_memory_find(m, "1")->rows, 9);
    assert_int_equal(count_intact(1, 3), 2);
}

static void too_many_rows_are_not_remembered(void **state)
{
    (void)state;
    (void)add(1, 4);
    assert_null(add(2, TT_MEMORY_ROWS + 1));
    assert_non_null(tt_memory_find(m, "1"));
    assert_non_null(add(3, TT_MEMORY_ROWS));
    assert_int_equal(count_intact(1, 4), 1);
}

static void trimming_forgets_the_oldest_first(void **state)
{
    (void)state;
    for (int id = 0; id < 10; id++)
        (void)add(id, 100);
    tt_memory_trim(m, m->bytes / 2);
    assert_int_equal(m->n, 5);
    assert_int_equal(count_intact(5, 10), 5);
    tt_memory_trim(m, 1);
    assert_int_equal(m->n, 0);
    assert_non_null(add(11, 3));
    assert_int_equal(count_intact(11, 12), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_last_answers_are_remembered, tear_down),
        cmocka_unit_test_teardown(rows_never_overlap_whatever_their_sizes, tear_down),
        cmocka_unit_test_teardown(an_id_used_again_is_the_newer_answer, tear_down),
        cmocka_unit_test_teardown(too_many_rows_are_not_remembered, tear_down),
        cmocka_unit_test_teardown(trimming_forgets_the_oldest_first, tear_down),
    };

    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
