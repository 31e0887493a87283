// SPDX-License-Identifier: Apache-2.0
#include "daemon/replays.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"

static struct tt_replays *r;

static int set_up(void **state)
{
    (void)state;
    r = tt_replays_new();
    return r ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    tt_replays_free(r);
    return 0;
}

static struct tt_job *job_of(int id)
{
    struct tt_job *job = tt_job_new();

    assert_non_null(job);
    if (id >= 0)
        snprintf(job->request.id, sizeof job->request.id, "%d", id);
    return job;
}

/* Keep an answer to that id: its number as text, and n bytes. */
static void keep(int id, size_t n)
{
    struct tt_job *job = job_of(id);
    unsigned char *bytes = tt_arena_alloc(&job->arena, n, 1);
    char text[16];

    assert_non_null(bytes);
    memset(bytes, id, n);
    snprintf(text, sizeof text, "{%d}", id);
    job->header = text;
    job->nheader = strlen(text);
    job->tensor = n ? bytes : NULL;
    job->ntensor = n;
    tt_replays_keep(r, job);
    memset(text, 'x', sizeof text); // what is kept is a copy
    tt_job_free(job);
}

static bool is_kept(int id, size_t n)
{
    struct tt_job *job = job_of(id);
    bool kept = tt_replays_answer(r, job);

    if (kept) {
        char text[16];

        snprintf(text, sizeof text, "{%d}", id);
        assert_int_equal(job->nheader, strlen(text));
        assert_memory_equal(job->header, text, job->nheader);
        assert_int_equal(job->ntensor, n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(((const unsigned char *)job->tensor)[i], (unsigned char)id);
    }
    tt_job_free(job);
    return kept;
}

static void the_last_answers_come_again_byte_for_byte(void **state)
{
    (void)state;
    assert_false(is_kept(0, 40));
    for (int id = 0; id < 100; id++)
        keep(id, 40);
    for (int id = 0; id < 100; id++)
        assert_int_equal(is_kept(id, 40), id >= 100 - TT_REPLAYS);
}

static void a_request_without_an_id_is_not_kept(void **state)
{
    (void)state;
    keep(-1, 4);
    assert_false(is_kept(-1, 4));
}

static void bytes_are_bounded(void **state)
{
    (void)state;
    keep(1, 100);
    keep(2, TT_REPLAY_BYTES); // alone it is too much
    assert_false(is_kept(2, TT_REPLAY_BYTES));
    assert_true(is_kept(1, 100));
    for (int id = 3; id < 9; id++)
        keep(id, TT_REPLAY_BYTES / 3);
    assert_false(is_kept(1, 100));
    assert_false(is_kept(6, TT_REPLAY_BYTES / 3));
    assert_true(is_kept(7, TT_REPLAY_BYTES / 3));
    assert_true(is_kept(8, TT_REPLAY_BYTES / 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_last_answers_come_again_byte_for_byte, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_request_without_an_id_is_not_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bytes_are_bounded, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("replays", tests, NULL, NULL);
}
