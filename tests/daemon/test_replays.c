// SPDX-License-Identifier: Apache-2.0
#include "daemon/replays.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"

#define WINDOW 32
#define BYTES  4096

static struct tt_replay_pool pool;
static struct tt_replays *r;

static int set_up(void **state)
{
    (void)state;
    pool = (struct tt_replay_pool){.most = BYTES};
    r = tt_replays_new(WINDOW, &pool);
    return r ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    tt_replays_free(r);
    assert_int_equal(pool.used, 0);
    assert_null(pool.oldest);
    assert_null(pool.newest);
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

/* Let the job ask with one tensor of n bytes, all of them value. */
static void give_tensor(struct tt_job *job, unsigned char value, int64_t n)
{
    unsigned char *bytes = tt_arena_alloc(&job->arena, (size_t)n, 1);

    assert_non_null(bytes);
    memset(bytes, value, (size_t)n);
    job->request.ninputs = 1;
    job->request.inputs[0] =
        (struct tt_wire_tensor){.type = TT_UINT8, .ndim = 1, .dim = {n}, .n = n, .data = bytes};
}

/* Keep an answer to that id in w: its number as text, and n bytes. */
static void keep_in(struct tt_replays *w, int id, size_t n)
{
    struct tt_job *job = job_of(id);
    unsigned char *bytes = tt_arena_alloc(&job->arena, n, 1);
    char text[16];

    assert_non_null(bytes);
    memset(bytes, id, n);
    snprintf(text, sizeof text, "{%d}", id);
    assert_int_equal(tt_replays_find(w, job), TT_REPLAY_NEW);
    job->header = text;
    job->nheader = strlen(text);
    job->tensor = bytes;
    job->ntensor = n;
    tt_replays_keep(w, job, id % 2);
    memset(text, 'x', sizeof text); // what is kept is a copy
    tt_job_free(job);
}

static void keep(int id, size_t n)
{
    keep_in(r, id, n);
}

static enum tt_replayed find_in(struct tt_replays *w, int id, size_t n)
{
    struct tt_job *job = job_of(id);
    const enum tt_replayed found = tt_replays_find(w, job);

    if (found == TT_REPLAY_ANSWERED) {
        char text[16];

        snprintf(text, sizeof text, "{%d}", id);
        assert_int_equal(job->nheader, strlen(text));
        assert_memory_equal(job->header, text, job->nheader);
        assert_int_equal(job->ntensor, n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(((const unsigned char *)job->tensor)[i], (unsigned char)id);
    }
    tt_job_free(job);
    return found;
}

static void the_last_answers_come_again_byte_for_byte(void **state)
{
    (void)state;
    assert_int_equal(find_in(r, 0, 40), TT_REPLAY_NEW);
    for (int id = 0; id < 100; id++)
        keep(id, 40);
    for (int id = 0; id < 100; id++)
        assert_int_equal(find_in(r, id, 40),
                         id >= 100 - WINDOW ? TT_REPLAY_ANSWERED : TT_REPLAY_NEW);
}

static void a_request_without_an_id_is_not_kept(void **state)
{
    (void)state;
    keep(-1, 4);
    assert_int_equal(find_in(r, -1, 4), TT_REPLAY_NEW);
}

static void an_id_is_known_when_its_answer_is_not_kept_any_more(void **state)
{
    (void)state;
    keep(1, 100);
    keep(2, BYTES); // alone it is too much
    assert_int_equal(find_in(r, 2, BYTES), TT_REPLAY_KNOWN);
    assert_int_equal(find_in(r, 1, 100), TT_REPLAY_ANSWERED);
    for (int id = 3; id < 9; id++)
        keep(id, BYTES / 3);
    for (int id = 1; id < 9; id++)
        assert_int_equal(find_in(r, id, BYTES / 3), id < 7 ? TT_REPLAY_KNOWN : TT_REPLAY_ANSWERED);
    assert_in_range(pool.used, 1, BYTES);
}

static void windows_share_the_bytes_and_the_oldest_answer_goes(void **state)
{
    struct tt_replays *other = tt_replays_new(WINDOW, &pool);

    (void)state;
    assert_non_null(other);
    keep(1, BYTES / 3);
    keep_in(other, 2, BYTES / 3);
    keep(3, BYTES / 3);
    assert_int_equal(find_in(r, 1, BYTES / 3), TT_REPLAY_KNOWN);
    assert_int_equal(find_in(other, 2, BYTES / 3), TT_REPLAY_ANSWERED);
    tt_replays_free(other);
    keep(4, BYTES / 3); // into the room of the window that went
    assert_int_equal(find_in(r, 3, BYTES / 3), TT_REPLAY_ANSWERED);
}

static void an_id_of_another_batch_is_told_apart(void **state)
{
    static const struct {
        unsigned char value;
        int64_t n;
        enum tt_replayed found;
    } cases[] = {{7, 100, TT_REPLAY_ANSWERED}, {8, 100, TT_REPLAY_OTHER}, {7, 99, TT_REPLAY_OTHER},
                 {7, 101, TT_REPLAY_OTHER},    {0, 100, TT_REPLAY_OTHER}, {7, 7, TT_REPLAY_OTHER}};
    struct tt_job *job = job_of(1);

    (void)state;
    give_tensor(job, 7, 100);
    assert_int_equal(tt_replays_find(r, job), TT_REPLAY_NEW);
    job->header = "{}";
    job->nheader = 2;
    job->tensor = job->header;
    job->ntensor = 2;
    tt_replays_keep(r, job, true);
    tt_job_free(job);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        job = job_of(1);
        give_tensor(job, cases[i].value, cases[i].n);
        assert_int_equal(tt_replays_find(r, job), cases[i].found);
        tt_job_free(job);
    }
}

static void ids_are_listed_and_restored_without_their_answers(void **state)
{
    struct tt_replay_pool none = {.most = 0};
    struct tt_replays *after = tt_replays_new(WINDOW, &none);
    struct tt_replay ids[WINDOW];

    (void)state;
    assert_non_null(after);
    for (int id = 0; id < 40; id++)
        keep(id, 4);
    tt_replays_adapted(r, "38");
    assert_int_equal(tt_replays_list(r, ids, 3), 3);
    assert_string_equal(ids[0].id, "37");
    assert_string_equal(ids[2].id, "39");
    assert_true(ids[0].adapted && ids[1].adapted && ids[2].adapted);
    assert_int_equal(tt_replays_list(r, ids, WINDOW), WINDOW);
    assert_false(ids[0].adapted);
    assert_true(ids[0].print != 0);
    keep_in(after, 39, 4);
    tt_replays_restore(after, ids, WINDOW);
    tt_replays_restore(after, ids, WINDOW); // again changes nothing
    for (int id = 40 - WINDOW; id < 40; id++)
        assert_int_equal(find_in(after, id, 4), TT_REPLAY_KNOWN);
    assert_int_equal(find_in(after, 40 - WINDOW - 1, 4), TT_REPLAY_NEW);
    tt_replays_free(after);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(the_last_answers_come_again_byte_for_byte),
        CASE(a_request_without_an_id_is_not_kept),
        CASE(an_id_is_known_when_its_answer_is_not_kept_any_more),
        CASE(windows_share_the_bytes_and_the_oldest_answer_goes),
        CASE(an_id_of_another_batch_is_told_apart),
        CASE(ids_are_listed_and_restored_without_their_answers),
    };

    return cmocka_run_group_tests_name("replays", tests, NULL, NULL);
}
