// SPDX-License-Identifier: Apache-2.0
#include "daemon/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/families.h"
#include "daemon/job.h"
#include "tests/support/check.h"

static struct tt_arena arena;

static int set_up(void **state)
{
    (void)state;
    tt_arena_init(&arena, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tt_metrics_join(NULL, 0);
    tt_arena_release(&arena);
    return 0;
}

static struct tt_counts *read_counts(const struct tt_metrics *m)
{
    struct tt_counts *c = TT_NEW(&arena, 1, struct tt_counts);

    assert_non_null(c);
    tt_metrics_read(m, c);
    return c;
}

static struct tt_record a_batch(bool adapted, const char *skip, int64_t rows)
{
    struct tt_record r = {.kind = TT_REC_BATCH, .stream = "s"};

    r.batch = (struct tt_rec_batch){
        .adapted = adapted, .skip = skip, .rows = rows, .queue_us = 10, .adapt_us = adapted * 3000};
    r.batch.infer_us = adapted ? 0 : 2000;
    return r;
}

/* ---- counting ------------------------------------------------------------------------------ */

static void batches_are_counted_by_model_policy_and_result(void **state)
{
    struct tt_metrics *m = tt_metrics_new(&arena, 2);
    const struct tt_record adapted = a_batch(true, "", 8), held = a_batch(false, "hold", 3);
    const struct tt_series *s;
    struct tt_counts *c;

    (void)state;
    for (int k = 0; k < 2; k++) {
        tt_metrics_join(m, k);
        tt_metrics_serves(m, "a", "tent");
        tt_metrics_record(m, &adapted);
        tt_metrics_record(m, &held);
        tt_metrics_serves(m, k ? "a" : "b", "tent");
        tt_metrics_record(m, &adapted);
    }
    c = read_counts(m);
    assert_int_equal(c->nseries, 2);
    s = &c->series[0];
    assert_string_equal(s->model, "a");
    assert_int_equal(s->batches[TT_SKIP_NONE], 3);
    assert_int_equal(s->samples[TT_SKIP_NONE], 24);
    assert_int_equal(s->batches[TT_SKIP_HOLD], 2);
    assert_int_equal(s->samples[TT_SKIP_HOLD], 6);
    assert_int_equal(tt_durations_count(&s->stage[TT_STAGE_QUEUE]), 5);
    assert_int_equal(tt_durations_count(&s->stage[TT_STAGE_INFER]), 2);
    assert_int_equal(tt_durations_count(&s->stage[TT_STAGE_ADAPT]), 3);
    assert_int_equal(s->stage[TT_STAGE_ADAPT].sum_us, 9000);
    assert_int_equal(c->series[1].batches[TT_SKIP_NONE], 1);
}

static void each_reason_to_skip_has_its_place(void **state)
{
    struct tt_metrics *m = tt_metrics_new(&arena, 1);
    struct tt_counts *c;

    (void)state;
    tt_metrics_join(m, 0);
    tt_metrics_serves(m, "a", "p");
    for (int i = 1; i < TT_NSKIPS; i++) {
        const struct tt_record r = a_batch(false, tt_skip_name((enum tt_skip)i), i);

        tt_metrics_record(m, &r);
    }
    c = read_counts(m);
    assert_int_equal(c->series[0].batches[TT_SKIP_NONE], 0);
    for (int i = 1; i < TT_NSKIPS; i++)
        assert_int_equal(c->series[0].samples[i], i);
}

static void decisions_are_counted_by_what_they_did(void **state)
{
    struct tt_metrics *m = tt_metrics_new(&arena, 1);
    struct tt_record r = {.kind = TT_REC_DECISION};
    const struct tt_series *s;

    (void)state;
    tt_metrics_join(m, 0);
    tt_metrics_serves(m, "a", "p");
    r.decision = (struct tt_rec_decision){
        .action = "rollback", .actor = "guard", .to_version = "1", .dry_run = true};
    tt_metrics_record(m, &r);
    r.decision.dry_run = false;
    tt_metrics_record(m, &r);
    r.decision.actor = "alice";
    tt_metrics_record(m, &r);
    r.decision = (struct tt_rec_decision){.action = "hold", .actor = "guard"};
    tt_metrics_record(m, &r);
    s = &read_counts(m)->series[0];
    assert_int_equal(s->trips[TT_ACTION_ROLLBACK][0], 1);
    assert_int_equal(s->trips[TT_ACTION_ROLLBACK][1], 1);
    assert_int_equal(s->trips[TT_ACTION_HOLD][0], 1);
    assert_int_equal(s->restored[0], 1);
    assert_int_equal(s->restored[1], 1);
}

static void series_are_bounded(void **state)
{
    struct tt_metrics *m = tt_metrics_new(&arena, 2);
    const struct tt_record r = a_batch(true, "", 1);
    struct tt_counts *c;
    int64_t sum = 0;

    (void)state;
    for (int i = 0; i < 3 * TT_SERIES; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "m%d", i);
        tt_metrics_join(m, i % 2);
        tt_metrics_serves(m, name, "p");
        tt_metrics_record(m, &r);
    }
    c = read_counts(m);
    assert_int_equal(c->nseries, TT_SERIES + 1);
    assert_string_equal(c->series[TT_SERIES].model, "other");
    for (int i = 0; i < c->nseries; i++)
        sum += c->series[i].batches[TT_SKIP_NONE];
    assert_int_equal(sum, 3 * TT_SERIES);
}

static void requests_are_counted_by_op_and_code(void **state)
{
    struct tt_metrics *m = tt_metrics_new(&arena, 1);
    struct tt_job job = {.request = {.ask = TT_ASK_INFER}, .code = TT_WIRE_BUSY};
    struct tt_counts *c;

    (void)state;
    job.arrived_us = tt_now_us();
    tt_metrics_answer(NULL, &job);
    tt_metrics_answer(m, &job); // of a thread that did not join
    job.request.ask = TT_NASKS;
    job.code = TT_WIRE_BAD_HEADER;
    tt_metrics_answer(m, &job);
    c = read_counts(m);
    assert_int_equal(c->requests[TT_ASK_INFER][TT_WIRE_BUSY], 1);
    assert_int_equal(c->requests[TT_NASKS][TT_WIRE_BAD_HEADER], 1);
    assert_int_equal(tt_durations_count(&c->taken[TT_ASK_INFER]), 1);
}

struct counter {
    struct tt_metrics *m;
    int index;
};

#define EACH 20000

static void *count_many(void *arg)
{
    const struct counter *c = arg;
    const struct tt_record r = a_batch(true, "", 1);
    char name[16];

    (void)snprintf(name, sizeof name, "m%d", c->index % 2);
    tt_metrics_join(c->m, c->index);
    for (int i = 0; i < EACH; i++) {
        tt_metrics_serves(c->m, i % 2 ? name : "m0", "p");
        tt_metrics_record(c->m, &r);
    }
    return NULL;
}

static int64_t sum_of(const struct tt_metrics *m, struct tt_counts *c)
{
    int64_t sum = 0;

    tt_metrics_read(m, c);
    for (int i = 0; i < c->nseries; i++)
        sum += c->series[i].batches[TT_SKIP_NONE];
    return sum;
}

static void nothing_is_lost_while_others_read(void **state)
{
    struct tt_metrics *m = tt_metrics_new(&arena, 4);
    struct tt_counts *c = TT_NEW(&arena, 1, struct tt_counts);
    struct counter counters[4];
    pthread_t thread[4];
    int64_t before = 0;

    (void)state;
    assert_non_null(c);
    for (int i = 0; i < 4; i++) {
        counters[i] = (struct counter){m, i};
        assert_int_equal(pthread_create(&thread[i], NULL, count_many, &counters[i]), 0);
    }
    while (before < EACH) { // it never falls, and ends
        const int64_t now = sum_of(m, c);

        assert_true(now >= before);
        before = now;
    }
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(sum_of(m, c), 4 * EACH);
    assert_int_equal(c->nseries, 2);
}

/* ---- durations ----------------------------------------------------------------------------- */

static void durations_fall_into_their_buckets(void **state)
{
    struct tt_histogram h = {.sum_us = 0};
    struct tt_durations d = {.sum_us = 0};

    (void)state;
    for (int i = 1; i < TT_BOUNDS; i++)
        assert_true(tt_bounds_us[i] > tt_bounds_us[i - 1]);
    tt_histogram_add(&h, -5);
    tt_histogram_add(&h, 0);
    tt_histogram_add(&h, 50);
    tt_histogram_add(&h, 51);
    tt_histogram_add(&h, 30000000);
    tt_histogram_add(&h, 30000001);
    tt_histogram_read(&h, &d);
    assert_int_equal(d.count[0], 3);
    assert_int_equal(d.count[1], 1);
    assert_int_equal(d.count[TT_BOUNDS - 1], 1);
    assert_int_equal(d.count[TT_BOUNDS], 1);
    assert_int_equal(tt_durations_count(&d), 6);
    assert_int_equal(d.sum_us, 60000102);
}

/* ---- the text ------------------------------------------------------------------------------ */

static void a_label_cannot_break_its_line(void **state)
{
    static const struct tt_family f = {"x_total", "counter", "help"};
    const struct tt_label labels[] = {{"a", "q\"b\\s\nn"}, {"b", "\xff\xc3\xa9\xc3"}, {NULL, NULL}};
    struct tt_out o;

    (void)state;
    tt_out_init(&o, &arena);
    tt_prometheus_family(&o, &f);
    tt_prometheus_sample(&o, &f, labels, 3);
    tt_prometheus_sample(&o, &f, NULL, 0.25);
    tt_prometheus_sample(&o, &f, NULL, 123456789012.0);
    tt_prometheus_sample(&o, &f, NULL, NAN);
    tt_prometheus_sample(&o, &f, NULL, -INFINITY);
    assert_string_equal(tt_out_text(&o), "# HELP x_total help\n# TYPE x_total counter\n"
                                         "x_total{a=\"q\\\"b\\\\s\\nn\",b=\"?\xc3\xa9?\"} 3\n"
                                         "x_total 0.25\nx_total 123456789012\nx_total NaN\n"
                                         "x_total -Inf\n");
}

static void buckets_of_a_histogram_add_up(void **state)
{
    static const struct tt_family f = {"x_seconds", "histogram", "help"};
    struct tt_durations d = {.count = {[0] = 1, [3] = 2, [TT_BOUNDS] = 4}, .sum_us = 1500000};
    struct tt_out o;
    const char *text;

    (void)state;
    tt_out_init(&o, &arena);
    tt_prometheus_histogram(&o, &f, (const struct tt_label[]){{"k", "v"}, {NULL, NULL}}, &d);
    text = tt_out_text(&o);
    assert_contains(text, "x_seconds_bucket{k=\"v\",le=\"5e-05\"} 1\n");
    assert_contains(text, "x_seconds_bucket{k=\"v\",le=\"0.00025\"} 1\n");
    assert_contains(text, "x_seconds_bucket{k=\"v\",le=\"0.0005\"} 3\n");
    assert_contains(text, "x_seconds_bucket{k=\"v\",le=\"30\"} 3\n");
    assert_contains(text, "x_seconds_bucket{k=\"v\",le=\"+Inf\"} 7\n");
    assert_contains(text, "x_seconds_sum{k=\"v\"} 1.5\nx_seconds_count{k=\"v\"} 7\n");
    tt_out_init(&o, &arena);
    tt_prometheus_histogram(&o, &f, NULL, &d);
    assert_contains(tt_out_text(&o), "x_seconds_bucket{le=\"+Inf\"} 7\nx_seconds_sum 1.5\n");
}

/* ---- the list ------------------------------------------------------------------------------ */

static void the_page_lists_what_there_is(void **state)
{
    size_t n;
    char *page = read_file("docs/metrics.md", &n);
    int rows = 0, families = 0;

    (void)state;
    for (const struct tt_families_row *f = tt_families; f->family.name; f++, families++) {
        char row[1024];

        (void)snprintf(row, sizeof row, "\n| `%s` | %s | %s | %s |\n", f->family.name,
                       f->family.type, f->labels, f->family.help);
        if (!strstr(page, row))
            fail_msg("docs/metrics.md wants the row%s", row);
    }
    for (const char *at = page; (at = strstr(at, "\n| `")) && strstr(at, "` | "); at++)
        rows += !strncmp(at + 4, "ttad_", 5) || !strncmp(at + 4, "process_", 8);
    assert_int_equal(rows, families);
    free(page);
}

static void names_keep_the_conventions(void **state)
{
    (void)state;
    for (const struct tt_families_row *f = tt_families; f->family.name; f++) {
        const char *name = f->family.name;
        const size_t n = strlen(name);
        const bool total = n > 6 && !strcmp(name + n - 6, "_total");

        if (total != !strcmp(f->family.type, "counter"))
            fail_msg("%s is a %s", name, f->family.type);
        if (strspn(name, "abcdefghijklmnopqrstuvwxyz_") != n)
            fail_msg("%s has other characters", name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(batches_are_counted_by_model_policy_and_result),
        T(each_reason_to_skip_has_its_place),
        T(decisions_are_counted_by_what_they_did),
        T(series_are_bounded),
        T(requests_are_counted_by_op_and_code),
        T(nothing_is_lost_while_others_read),
        T(durations_fall_into_their_buckets),
        T(a_label_cannot_break_its_line),
        T(buckets_of_a_histogram_add_up),
        T(the_page_lists_what_there_is),
        T(names_keep_the_conventions),
    };

    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
