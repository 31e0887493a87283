// SPDX-License-Identifier: Apache-2.0
#include "monitor/history.h"

#include "tests/monitor/scratch.h"

#define T0 1700000000000

static void put_batch(struct tt_store *s, int64_t ts, const char *id, const char *version)
{
    put_now(s, &(struct tt_record){.kind = TT_REC_BATCH,
                                   .ts_ms = ts,
                                   .stream = "cam-7",
                                   .batch = {.request_id = id,
                                             .version = version,
                                             .step = 3,
                                             .rows = 64,
                                             .adapted = true,
                                             .skip = ""}});
}

static void batches_are_the_same_or_say_what_they_are_instead(void **state)
{
    const struct {
        struct tt_past_batch ask;
        enum tt_found want;
        const char *other;
    } rows[] = {
        {{"cam-7", "a", T0, "v1", 3, 64, true}, TT_FOUND_SAME, NULL},
        {{"cam-7", "a", T0, "v2", 3, 64, true}, TT_FOUND_OTHER, "v1"},
        {{"cam-7", "a", T0, "v1", 4, 64, true}, TT_FOUND_OTHER, "v1"},
        {{"cam-7", "a", T0, "v1", 3, 63, true}, TT_FOUND_OTHER, "v1"},
        {{"cam-7", "a", T0, "v1", 3, 64, false}, TT_FOUND_OTHER, "v1"},
        {{"cam-7", "a", T0 + 1, "v1", 3, 64, true}, TT_FOUND_NONE, NULL},
        {{"cam-8", "a", T0, "v1", 3, 64, true}, TT_FOUND_NONE, NULL},
        {{"cam-7", "b", T0, "v1", 3, 64, true}, TT_FOUND_NONE, NULL},
        {{"cam-7", "", T0 + 5, "v3", 3, 64, true}, TT_FOUND_SAME, NULL}, // one of two
        {{"cam-7", "", T0 + 5, "v2", 3, 64, true}, TT_FOUND_SAME, NULL},
        {{"cam-7", "", T0 + 5, "v4", 3, 64, true}, TT_FOUND_OTHER, "v2"},
    };
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_history *h;
    struct tt_err err;

    put_batch(s, T0, "a", "v1");
    put_batch(s, T0 + 5, NULL, "v2");
    put_batch(s, T0 + 5, "", "v3");
    assert_int_equal(tt_history_open(x->db, &h, &err), TT_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tt_past_batch other = {.id = ""};
        enum tt_found found;

        assert_int_equal(tt_history_batch(h, &rows[i].ask, &found, &other, &err), TT_OK);
        assert_int_equal(found, rows[i].want);
        if (rows[i].other)
            assert_string_equal(other.version, rows[i].other);
    }
    tt_history_close(h);
    close_store(s);
}

static void decisions_are_the_same_or_say_what_they_are_instead(void **state)
{
    struct tt_past_decision d = {"cam-7", "far", T0, false, "rollback", "v2", "v1"}, other;
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_history *h;
    enum tt_found found;
    struct tt_err err;

    put_now(s, &(struct tt_record){.kind = TT_REC_DECISION,
                                   .ts_ms = T0,
                                   .stream = "cam-7",
                                   .decision = {.decision_id = 1,
                                                .rule = "far",
                                                .action = "rollback",
                                                .from_version = "v2",
                                                .to_version = "v1",
                                                .sentence = "too far"}});
    assert_int_equal(tt_history_open(x->db, &h, &err), TT_OK);
    assert_int_equal(tt_history_decision(h, &d, &found, &other, &err), TT_OK);
    assert_int_equal(found, TT_FOUND_SAME);
    strcpy(d.to, "v0");
    assert_int_equal(tt_history_decision(h, &d, &found, &other, &err), TT_OK);
    assert_int_equal(found, TT_FOUND_OTHER);
    assert_string_equal(other.to, "v1");
    d.dry_run = true;
    assert_int_equal(tt_history_decision(h, &d, &found, &other, &err), TT_OK);
    assert_int_equal(found, TT_FOUND_NONE);
    tt_history_close(h);
    close_store(s);
}

static void what_is_no_record_is_refused(void **state)
{
    struct scratch *x = *state;
    struct tt_history *h;
    struct tt_err err;

    assert_int_not_equal(tt_history_open(x->db, &h, &err), TT_OK);
    assert_contains(err.msg, x->db);
    tt_history_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(batches_are_the_same_or_say_what_they_are_instead,
                                        scratch_new, scratch_free),
        cmocka_unit_test_setup_teardown(decisions_are_the_same_or_say_what_they_are_instead,
                                        scratch_new, scratch_free),
        cmocka_unit_test_setup_teardown(what_is_no_record_is_refused, scratch_new, scratch_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
