// SPDX-License-Identifier: Apache-2.0
#include "monitor/record.h"

#include "tests/monitor/scratch.h"
#include <math.h>

#define T0 1700000000000

static struct tt_record event(int64_t seq, const char *text)
{
    return (struct tt_record){.kind = TT_REC_EVENT,
                              .ts_ms = T0 + seq,
                              .stream = "cam-7",
                              .event = {.seq = seq, .kind = "daemon", .text = text}};
}

static struct tt_record batch(int64_t i)
{
    return (struct tt_record){.kind = TT_REC_BATCH,
                              .ts_ms = T0 + i,
                              .stream = "cam-7",
                              .batch = {.version = "v", .step = i, .rows = 64}};
}

static void hostile_values_are_stored_or_cut(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    char *text = malloc(100001);
    struct tt_record r;

    for (int i = 0; i < 50000; i++) // two bytes a character
        memcpy(text + 2 * i, "\xc3\xa9", 2);
    text[100000] = '\0';
    r = event(1, text);
    r.event.detail = text;   // no JSON, and half of one would be none
    r.event.kind = text + 1; // begins within a character
    put_now(s, &r);
    r = event(2, "'); DROP TABLE event; --\n<script>\x01");
    r.stream = "'; --\xff\xc0\x80\xed\xa0\x80\xf8";
    r.event.detail = "{}";
    put_now(s, &r);
    r = event(3, "");
    r.stream = text;
    put_now(s, &r);
    free(text);

    r = batch(INT64_MAX - T0);
    r.batch = (struct tt_rec_batch){.request_id = "",
                                    .step = INT64_MIN,
                                    .rows = INT64_MAX,
                                    .loss = NAN,
                                    .entropy = INFINITY,
                                    .entropy_ratio = -INFINITY,
                                    .confidence = 1.7976931348623157e308,
                                    .class_collapse = 5e-324,
                                    .queue_us = INT64_MAX,
                                    .infer_us = INT64_MAX,
                                    .adapt_us = -INT64_MAX};
    put_now(s, &r);
    for (int i = 0; i < 3; i++)
        put_now(s, &(struct tt_record){.kind = TT_REC_FEEDBACK,
                                       .ts_ms = i ? INT64_MAX : INT64_MIN,
                                       .stream = "cam-7",
                                       .feedback = {.n = INT64_MAX,
                                                    .correct = INT64_MAX,
                                                    .base_n = INT64_MIN,
                                                    .base_correct = -1,
                                                    .delay_ms = i ? INT64_MAX : 0}});
    close_store(s);

    assert_sql(x->db,
               "SELECT length(text), length(detail), length(kind), unicode(kind) "
               "FROM event WHERE seq = 1",
               "256|12|32|63"); // 512 bytes; {"cut":true}; '?' and 31 whole characters
    assert_sql(x->db, "SELECT substr(text, 1, 8), hex(substr(text, -2)) FROM event WHERE seq = 2",
               "'); DROP|3E01");
    assert_sql(x->db, "SELECT name FROM stream WHERE id = 2", "'; --???????");
    assert_sql(x->db, "SELECT length(cast(name AS BLOB)), length(name) FROM stream WHERE id = 3",
               "128|64");
    assert_sql(x->db, "SELECT text FROM event WHERE seq = 3", "-");
    assert_sql(x->db,
               "SELECT request_id, step, rows, loss, entropy, entropy_ratio, confidence > 1e308, "
               "class_collapse > 0, queue_us, adapt_us FROM batch",
               "-|-|9223372036854775807|-|-|-|1|1|9223372036854775807|-9223372036854775807");
    assert_sql(x->db, "SELECT count(*) FROM feedback", "3");
    static const char *const views[] = {"v_stream_health",  "v_drift",          "v_accuracy",
                                        "v_guard_timeline", "v_rollbacks",      "v_versions",
                                        "v_adapt_cost",     "v_label_coverage", "v_events"};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        char sql[64];

        snprintf(sql, sizeof sql, "SELECT * FROM %s", views[i]);
        (void)ask_sql(x->db, sql); // answers, whatever is in it
    }
}

static void a_thousand_classes_fit(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    int64_t counts[2000];
    struct tt_record r = batch(1);

    for (int i = 0; i < 2000; i++)
        counts[i] = i % 2 ? INT64_MAX - i : -INT64_MAX;
    r.batch.counts = counts;
    r.batch.classes = 2000;
    put_now(s, &r);
    r.batch.classes = -5;
    put_now(s, &r);
    r.batch.counts = NULL;
    r.batch.classes = 2000;
    put_now(s, &r);
    close_store(s);
    assert_sql(x->db,
               "SELECT (SELECT count(*) FROM json_each(b.counts)), "
               "json_extract(b.counts, '$.\"999\"') FROM batch b WHERE id = 1",
               "1000|9223372036854774808");
    assert_sql(x->db, "SELECT counts FROM batch WHERE id > 1", "{}\n-");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, scratch_new, scratch_free)
    const struct CMUnitTest tests[] = {
        CASE(hostile_values_are_stored_or_cut),
        CASE(a_thousand_classes_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
