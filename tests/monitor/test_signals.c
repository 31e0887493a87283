// SPDX-License-Identifier: Apache-2.0
#include "monitor/signals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

#define C 4

static float memory[2 * C];

static struct tt_observed batch(int64_t rows)
{
    static const float even[C] = {.25f, .25f, .25f, .25f};
    static const int64_t counts[C] = {1, 1, 1, 1};

    return (struct tt_observed){.rows = rows,
                                .input_finite = true,
                                .answer_finite = true,
                                .update_finite = true,
                                .entropy = log(C) / 2,
                                .confidence = .7,
                                .loss = NAN,
                                .grad_norm = NAN,
                                .param_drift = .01,
                                .latency_ms = 3,
                                .mean_p = even,
                                .counts = counts};
}

static double value(const struct tt_signals *s, enum tt_signal signal)
{
    return tt_signals_read(s, signal).value;
}

static void a_signal_without_data_is_nan_with_nothing_behind_it(void **state)
{
    struct tt_signals s;

    (void)state;
    tt_signals_init(&s, C, 512, memory);
    for (int i = 0; i < TT_NSIGNALS; i++) {
        struct tt_reading r = tt_signals_read(&s, (enum tt_signal)i);

        assert_true(isnan(r.value) && isnan(r.fresh));
        assert_true(r.n == 0 && r.fresh_n == 0);
    }
}

static void every_signal_has_a_name_of_its_own_a_range_and_a_bad_side(void **state)
{
    (void)state;
    for (int i = 0; i < TT_NSIGNALS; i++) {
        assert_true(tt_signals[i].name && strlen(tt_signals[i].name) < 32);
        assert_true(tt_signals[i].help && *tt_signals[i].help);
        assert_true(tt_signals[i].lo < tt_signals[i].hi);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(tt_signals[i].name, tt_signals[j].name);
    }
    assert_int_equal(tt_signals[TT_SIG_ENTROPY_RATIO].bad, TT_BAD_BELOW);
    assert_int_equal(tt_signals[TT_SIG_BASE_DISAGREEMENT].bad, TT_BAD_ABOVE);
}

static void one_batch_is_read_back_as_it_was(void **state)
{
    struct tt_observed b = batch(64);
    struct tt_signals s;

    (void)state;
    b.loss = .3;
    b.grad_norm = 1.5;
    b.base_rows = 64;
    b.base_differ = 16;
    b.shadow_rows = 32;
    b.shadow_differ = 4;
    tt_signals_init(&s, C, 512, memory);
    tt_signals_batch(&s, &b);
    const struct {
        enum tt_signal signal;
        double value, n;
    } want[] = {
        {TT_SIG_BASE_DISAGREEMENT, .25, 64},
        {TT_SIG_SHADOW_DISAGREEMENT, .125, 32},
        {TT_SIG_CLASS_COLLAPSE, 0, 64},
        {TT_SIG_CLASS_SHARE, .25, 64},
        {TT_SIG_ENTROPY_RATIO, .5, 64},
        {TT_SIG_CONFIDENCE, .7, 64},
        {TT_SIG_LOSS, .3, 64},
        {TT_SIG_GRAD_NORM, 1.5, 64},
        {TT_SIG_PARAM_DRIFT, .01, 64},
        {TT_SIG_LATENCY_MS, 3, 64},
        {TT_SIG_NOT_FINITE, 0, 64},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct tt_reading r = tt_signals_read(&s, want[i].signal);

        assert_close(r.value, want[i].value, 1e-6, 1e-7);
        assert_close(r.n, want[i].n, 0, 0);
        assert_close(r.fresh, want[i].value, 1e-6, 1e-7);
    }
    tt_signals_seen(&s);
    assert_true(isnan(tt_signals_read(&s, TT_SIG_LOSS).fresh));
    assert_close(value(&s, TT_SIG_LOSS), .3, 1e-12, 0);
}

/* Against a plain history: whatever the batches, the window holds at least `window` samples (once
 * there are as many), less than one bucket more, and its mean is the mean of exactly those. */
static void a_window_is_the_mean_of_the_last_samples_whatever_the_batches(void **state)
{
    static const int64_t sizes[][4] = {
        {1, 1, 1, 1}, {64, 64, 64, 64}, {7, 200, 1, 33}, {5000, 1, 1, 1}, {31, 32, 33, 512}};

    (void)state;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        double mean[3000], n[3000], window = 512;
        struct tt_signals s;

        tt_signals_init(&s, C, (int64_t)window, memory);
        for (int i = 0; i < 3000; i++) {
            struct tt_observed b = batch(sizes[k][i % 4]);
            struct tt_reading r;
            double sum = 0, have = 0;
            int j = i;

            b.confidence = mean[i] = (double)(i * 37 % 101) / 101;
            n[i] = (double)b.rows;
            tt_signals_batch(&s, &b);
            r = tt_signals_read(&s, TT_SIG_CONFIDENCE);
            for (; j >= 0 && have < r.n; j--) {
                sum += mean[j] * n[j];
                have += n[j];
            }
            assert_close(r.n, have, 0, 0); // whole batches
            assert_close(r.value, sum / have, 1e-9, 0);
            if (j >= 0)
                assert_true(r.n >= window);
            assert_true(r.n < window + window / 16 + 5000);
            if (k == 0)
                assert_true(r.n <= window + window / 16);
            if (k == 1)
                assert_true(r.n <= window);
        }
    }
}

static void class_signals_see_a_collapse_onto_one_class_and_forget_it_again(void **state)
{
    static const float one[C] = {0, 0, 1, 0};
    static const int64_t counts[C] = {0, 0, 64, 0};
    struct tt_observed b = batch(64);
    struct tt_signals s;

    (void)state;
    tt_signals_init(&s, C, 512, memory);
    b.mean_p = one;
    b.counts = counts;
    tt_signals_batch(&s, &b);
    assert_close(value(&s, TT_SIG_CLASS_COLLAPSE), 1, 1e-6, 0);
    assert_close(value(&s, TT_SIG_CLASS_SHARE), 1, 1e-6, 0);
    for (int i = 0; i < 100; i++) {
        static const int64_t even[C] = {16, 16, 16, 16};

        b = batch(64);
        b.counts = even;
        tt_signals_batch(&s, &b);
    }
    assert_true(value(&s, TT_SIG_CLASS_COLLAPSE) < .001);
    assert_close(value(&s, TT_SIG_CLASS_SHARE), .25, 1e-3, 0);
    assert_close(tt_signals_read(&s, TT_SIG_CLASS_SHARE).n, 512, 0, 0);
}

static void a_model_without_classes_has_no_class_signals(void **state)
{
    struct tt_observed b = batch(8);
    struct tt_signals s;

    (void)state;
    b.mean_p = NULL;
    b.counts = NULL;
    tt_signals_init(&s, 0, 512, NULL);
    tt_signals_batch(&s, &b);
    assert_true(isnan(value(&s, TT_SIG_CLASS_COLLAPSE)) && isnan(value(&s, TT_SIG_CLASS_SHARE)));
    assert_true(isnan(value(&s, TT_SIG_ENTROPY_RATIO)));
    assert_close(value(&s, TT_SIG_CONFIDENCE), .7, 1e-12, 0);
}

static void nan_out_of_a_finite_input_is_seen_and_spoils_no_window(void **state)
{
    static const struct {
        bool answer, update;
        double loss, grad, drift;
        double want;
    } cases[] = {
        {true, true, NAN, NAN, 0, 0},      // nothing was learnt
        {true, true, .1, .1, .1, 0},       // all is well
        {false, true, NAN, NAN, 0, 1},     // answer
        {true, false, .1, NAN, .1, 1},     // the update said so
        {true, true, INFINITY, .1, .1, 1}, // loss
        {true, true, .1, INFINITY, .1, 1}, // gradient
        {true, true, .1, .1, NAN, 1},      // parameters
        {true, true, .1, .1, INFINITY, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_observed b = batch(8);
        struct tt_signals s;

        tt_signals_init(&s, C, 512, memory);
        tt_signals_batch(&s, &b);
        b.answer_finite = cases[i].answer;
        b.update_finite = cases[i].update;
        b.loss = cases[i].loss;
        b.grad_norm = cases[i].grad;
        b.param_drift = cases[i].drift;
        if (!b.answer_finite)
            b.entropy = b.confidence = NAN;
        tt_signals_batch(&s, &b);
        assert_close(value(&s, TT_SIG_NOT_FINITE), cases[i].want, 0, 0);
        for (int k = 0; k < TT_NSIGNALS; k++) {
            bool infinite = isinf(value(&s, (enum tt_signal)k));

            assert_false(infinite);
        }
        assert_close(value(&s, TT_SIG_CONFIDENCE), .7, 1e-12, 0);
        assert_close(value(&s, TT_SIG_CLASS_COLLAPSE), 0, 0, 1e-6);
    }
}

static void nan_in_the_input_is_counted_and_nothing_else(void **state)
{
    struct tt_observed b = batch(8);
    struct tt_signals s;

    (void)state;
    b.input_finite = b.answer_finite = b.update_finite = false;
    b.loss = b.entropy = b.param_drift = NAN;
    tt_signals_init(&s, C, 512, memory);
    tt_signals_batch(&s, &b);
    assert_int_equal(s.bad_inputs, 1);
    assert_int_equal(s.samples, 8);
    assert_true(isnan(value(&s, TT_SIG_NOT_FINITE)));
    b.rows = 0;
    tt_signals_batch(&s, &b);
    b.rows = -5;
    tt_signals_batch(&s, &b);
    assert_int_equal(s.samples, 8);
    assert_int_equal(s.batches, 1);
}

static void impossible_disagreement_counts_are_no_data(void **state)
{
    static const int64_t cases[][2] = {{-1, 1}, {0, 0}, {8, -1}, {8, 9}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_observed b = batch(8);
        struct tt_signals s;

        b.base_rows = cases[i][0];
        b.base_differ = cases[i][1];
        tt_signals_init(&s, C, 512, memory);
        tt_signals_batch(&s, &b);
        assert_true(isnan(value(&s, TT_SIG_BASE_DISAGREEMENT)));
    }
}

static void age_counts_the_samples_since_a_signal_last_spoke(void **state)
{
    struct tt_observed b = batch(10);
    struct tt_signals s;

    (void)state;
    tt_signals_init(&s, C, 512, memory);
    b.base_rows = 10;
    tt_signals_batch(&s, &b);
    b.base_rows = 0;
    for (int i = 0; i < 7; i++)
        tt_signals_batch(&s, &b);
    assert_close(tt_signals_read(&s, TT_SIG_BASE_DISAGREEMENT).age, 70, 0, 0);
    assert_close(tt_signals_read(&s, TT_SIG_CONFIDENCE).age, 0, 0, 0);
    assert_close(tt_signals_read(&s, TT_SIG_LABEL_ERROR).age, 80, 0, 0);
}

static void labels_count_for_the_versions_since_the_restart_only(void **state)
{
    struct tt_observed b = batch(10);
    struct tt_signals s;

    (void)state;
    tt_signals_init(&s, C, 512, memory);
    tt_signals_batch(&s, &b);
    tt_signals_batch(&s, &b);
    assert_true(tt_signals_feedback(&s, &(struct tt_labelled){2, 10, 4, 10, 1, 4}));
    assert_close(value(&s, TT_SIG_LABEL_ERROR), .4, 1e-12, 0);
    assert_close(value(&s, TT_SIG_BASE_ERROR), .1, 1e-12, 0);
    assert_close(value(&s, TT_SIG_LABEL_GAP), .3, 1e-12, 0);
    tt_signals_restart(&s);
    assert_true(isnan(value(&s, TT_SIG_LABEL_ERROR)));
    assert_false(tt_signals_feedback(&s, &(struct tt_labelled){2, 10, 4, 0, 0, 0}));
    assert_true(isnan(value(&s, TT_SIG_LABEL_ERROR)));
    tt_signals_batch(&s, &b);
    assert_true(tt_signals_feedback(&s, &(struct tt_labelled){3, 10, 2, 0, 0, 0}));
    assert_close(value(&s, TT_SIG_LABEL_ERROR), .2, 1e-12, 0);
    assert_true(isnan(value(&s, TT_SIG_LABEL_GAP)));
    assert_int_equal(s.samples, 30);
}

static void labels_that_make_no_sense_are_refused(void **state)
{
    static const struct tt_labelled cases[] = {
        {0, 10, 1, 0, 0, 0},  {2, 10, 1, 0, 0, 0},  {1, 0, 0, 0, 0, 0},   {1, -1, 0, 0, 0, 0},
        {1, 10, 11, 0, 0, 0}, {1, 10, -1, 0, 0, 0}, {1, 10, 1, 11, 0, 0}, {1, 10, 1, 5, 6, 0},
        {1, 10, 1, 5, 0, 6},  {1, 10, 1, -1, 0, 0}, {1, 10, 1, 5, -1, 0}, {1, 10, 1, 5, 0, -1},
    };
    struct tt_observed b = batch(10);
    struct tt_signals s;

    (void)state;
    tt_signals_init(&s, C, 512, memory);
    tt_signals_batch(&s, &b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_false(tt_signals_feedback(&s, &cases[i]));
    assert_true(isnan(value(&s, TT_SIG_LABEL_ERROR)));
}

/* ---- snapshots ------------------------------------------------------------------------------ */

static void run(struct tt_signals *s, int from, int to)
{
    for (int i = from; i < to; i++) {
        float p[C] = {.1f, .2f, .3f, .4f};
        int64_t counts[C] = {i % 5, 2, 3, i % 7};
        struct tt_observed b = batch(1 + i % 90);

        p[i % C] += (float)i * 1e-3f;
        b.mean_p = p;
        b.counts = counts;
        b.loss = sin(i);
        b.base_rows = b.rows;
        b.base_differ = i % 2;
        tt_signals_batch(s, &b);
        if (i % 3 == 0)
            tt_signals_seen(s);
    }
}

static void a_saved_state_continues_bit_for_bit(void **state)
{
    float other[2 * C];
    struct tt_signals a, b;
    struct tt_err err;
    size_t n = tt_signals_doubles(C);
    double *x = (double *)calloc(n + 1, sizeof *x), *y = (double *)calloc(n, sizeof *y);

    (void)state;
    tt_signals_init(&a, C, 512, memory);
    tt_signals_init(&b, C, 512, other);
    run(&a, 0, 100);
    x[n] = 42;
    tt_signals_save(&a, x);
    assert_close(x[n], 42, 0, 0);
    assert_int_equal(tt_signals_load(&b, x, n, &err), TT_OK);
    run(&a, 100, 200);
    run(&b, 100, 200);
    tt_signals_save(&a, x);
    tt_signals_save(&b, y);
    assert_memory_equal(x, y, n * sizeof *x);
    free(x);
    free(y);
}

static void a_state_that_no_run_could_have_written_is_refused_and_changes_nothing(void **state)
{
    const size_t window = 8, count = 8 + 2 * TT_WINDOW_BUCKETS;
    const struct {
        size_t at;
        double x;
        const char *want;
    } cases[] = {
        {0, 2, "layout 2, want 1"}, {0, NAN, "layout"},          {1, 5, "5 classes"},
        {2, 100, "window 100"},     {3, -1, "no run"},           {3, NAN, "no run"},
        {4, .5, "no run"},          {4, INFINITY, "no run"},     {5, -1, "no run"},
        {7, 1e6, "no run"},         {window, NAN, "no run"},     {count, 21, "no run"},
        {count, -1, "no run"},      {count, NAN, "no run"},      {count, 1.5, "no run"},
        {count + 5, 1e9, "no run"}, {window + 25, -3, "no run"},
    };
    size_t n = tt_signals_doubles(C);
    double *x = (double *)calloc(n, sizeof *x), *y = (double *)calloc(n, sizeof *y);
    struct tt_signals s;
    struct tt_err err;

    (void)state;
    tt_signals_init(&s, C, 512, memory);
    run(&s, 0, 50);
    tt_signals_save(&s, y);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double *z = (double *)calloc(n, sizeof *z);

        memcpy(x, y, n * sizeof *x);
        x[cases[i].at] = cases[i].x;
        err = (struct tt_err){0};
        assert_int_not_equal(tt_signals_load(&s, x, n, &err), TT_OK);
        assert_contains(err.msg, cases[i].want);
        tt_signals_save(&s, z);
        assert_memory_equal(z, y, n * sizeof *z);
        free(z);
    }
    assert_int_equal(tt_signals_load(&s, y, n - 1, &err), TT_ESHAPE);
    assert_int_equal(tt_signals_load(&s, y, 0, &err), TT_ESHAPE);
    assert_contains(err.msg, "signals: 0 numbers, want");
    free(x);
    free(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_without_data_is_nan_with_nothing_behind_it),
        cmocka_unit_test(every_signal_has_a_name_of_its_own_a_range_and_a_bad_side),
        cmocka_unit_test(one_batch_is_read_back_as_it_was),
        cmocka_unit_test(a_window_is_the_mean_of_the_last_samples_whatever_the_batches),
        cmocka_unit_test(class_signals_see_a_collapse_onto_one_class_and_forget_it_again),
        cmocka_unit_test(a_model_without_classes_has_no_class_signals),
        cmocka_unit_test(nan_out_of_a_finite_input_is_seen_and_spoils_no_window),
        cmocka_unit_test(nan_in_the_input_is_counted_and_nothing_else),
        cmocka_unit_test(impossible_disagreement_counts_are_no_data),
        cmocka_unit_test(age_counts_the_samples_since_a_signal_last_spoke),
        cmocka_unit_test(labels_count_for_the_versions_since_the_restart_only),
        cmocka_unit_test(labels_that_make_no_sense_are_refused),
        cmocka_unit_test(a_saved_state_continues_bit_for_bit),
        cmocka_unit_test(a_state_that_no_run_could_have_written_is_refused_and_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
