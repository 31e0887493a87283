// SPDX-License-Identifier: Apache-2.0
#include "monitor/guard.h"

#include "tests/monitor/rig.h"

/* ---- finite --------------------------------------------------------------------------------- */

static void nan_trips_at_once_whatever_the_rules_say(void **state)
{
    static const struct {
        bool answer, update;
        double loss, grad;
    } cases[] = {{false, true, NAN, NAN},
                 {true, false, .1, 1},
                 {true, true, INFINITY, 1},
                 {true, true, .1, INFINITY}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_observed b = healthy();
        struct rig r;

        start(&r, 0);
        feed(&r, &b);
        assert_int_equal(r.nd, 0);
        b.answer_finite = cases[i].answer;
        b.update_finite = cases[i].update;
        b.loss = cases[i].loss;
        b.grad_norm = cases[i].grad;
        feed(&r, &b);
        assert_int_equal(r.nd, 1);
        assert_int_equal(r.d[0].action, TT_ACTION_ROLLBACK);
        assert_int_equal(r.d[0].by, TT_BY_NOT_FINITE);
        assert_string_equal(r.d[0].rule, "not_finite");
        assert_false(r.d[0].dry_run || r.d[0].suspect);
        assert_int_equal(r.d[0].from_version, 7001);
        assert_int_equal(r.d[0].samples_affected, ROWS);
        assert_int_equal(r.d[0].batches_affected, 1);
        assert_string_equal(state_of(&r), "tripped");
        assert_contains(r.d[0].sentence, "NaN or Inf out of a finite input");
        assert_false(tt_guard_may_learn(&r.guard));
    }
}

static void a_rule_may_choose_what_nan_does(void **state)
{
    struct tt_observed b = healthy();
    struct rig r;

    (void)state;
    r.rules[0] = rule("nan", TT_SIG_NOT_FINITE, 0, TT_ACTION_FREEZE);
    start(&r, 1);
    b.update_finite = false;
    feed(&r, &b);
    assert_int_equal(r.nd, 1);
    assert_int_equal(r.d[0].action, TT_ACTION_FREEZE);
    assert_string_equal(r.d[0].rule, "nan");
    assert_string_equal(state_of(&r), "frozen");
    feed(&r, &b); // frozen: nothing more to do
    assert_int_equal(r.nd, 0);
}

static void nan_in_the_input_is_no_trip(void **state)
{
    struct tt_observed b = healthy();
    struct rig r;

    (void)state;
    start(&r, 0);
    b.input_finite = b.answer_finite = b.update_finite = false;
    b.loss = b.grad_norm = b.entropy = b.param_drift = NAN;
    for (int i = 0; i < 100; i++) {
        feed(&r, &b);
        assert_int_equal(r.nd, 0);
    }
    assert_string_equal(state_of(&r), "adapting");
    assert_int_equal(r.signals.bad_inputs, 100);
}

static void nan_from_a_restored_version_makes_it_suspect(void **state)
{
    struct tt_observed b = healthy(), bad = healthy();
    struct rig r;

    (void)state;
    bad.update_finite = false;
    start(&r, 0);
    feed(&r, &bad);
    assert_false(r.d[0].suspect);
    restored(&r, 42);
    feed(&r, &b);
    assert_string_equal(state_of(&r), "cooldown");
    feed(&r, &bad);
    assert_int_equal(r.nd, 1);
    assert_true(r.d[0].suspect);
    assert_int_equal(r.d[0].suspect_version, 42);
}

/* ---- tripping ------------------------------------------------------------------------------- */

static void a_healthy_disagreement_does_not_trip_in_fifty_thousand_samples(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rig r;

        r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .35, TT_ACTION_ROLLBACK);
        r.rules[0].min_samples = 512;
        r.rules[0].consecutive = 1;
        start(&r, 1);
        r.rng = seed * 0x9e3779b97f4a7c15u;
        while (r.guard.samples < 50000) {
            disagree(&r, .18);
            assert_int_equal(r.nd, 0);
        }
        assert_string_equal(state_of(&r), "adapting");
        assert_close(tt_signals_read(&r.signals, TT_SIG_BASE_DISAGREEMENT).value, .18, 0, .08);
    }
}

static void a_collapse_trips_within_a_window_and_the_change_point_is_before_the_trip(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        int64_t began;
        struct rig r;

        r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .35, TT_ACTION_ROLLBACK);
        start(&r, 1);
        r.rng = seed * 0x9e3779b97f4a7c15u;
        while (r.guard.samples < 5000)
            disagree(&r, .12);
        began = r.guard.samples;
        until(&r, .72, TT_GUARD_TRIPPED, 16);
        assert_int_equal(r.nd, 1);
        assert_in_range((uint64_t)(r.guard.samples - began), ROWS, 512);
        assert_true(r.d[0].change_point_sample >= began);
        assert_true(r.d[0].change_point_sample <= r.guard.samples - 2 * ROWS);
        assert_int_equal(r.d[0].samples_affected, 2 * ROWS); // two readings in a row
        assert_int_equal(r.d[0].batches_affected, 2);
        assert_int_equal(r.d[0].detect_delay_ms, 100);
        assert_int_equal(r.d[0].change_point_step, r.d[0].from_step - 1);
        assert_true(r.d[0].statistic > .35 && r.d[0].n >= 512);
        assert_close(r.d[0].threshold, .35, 0, 0);
        assert_contains(r.d[0].sentence, "guard 'shadow': base_disagreement is 0.");
        assert_contains(r.d[0].sentence, "above 0.35");
    }
}

static void ewma_trips_with_a_baseline_and_sigmas_in_its_evidence(void **state)
{
    struct rig r;

    (void)state;
    r.rules[0] = rule("drop", TT_SIG_BASE_DISAGREEMENT, TT_GUARD_UNSET, TT_ACTION_ROLLBACK);
    r.rules[0].detector = TT_DETECT_ewma;
    start(&r, 1);
    while (r.guard.samples < 5000)
        disagree(&r, .12);
    until(&r, .5, TT_GUARD_TRIPPED, 20);
    assert_int_equal(r.nd, 1);
    assert_close(r.d[0].baseline, .12, 0, .04);
    assert_true(r.d[0].observed > r.d[0].baseline && r.d[0].statistic > 6);
    assert_true(r.d[0].change_point_sample < r.guard.samples - ROWS);
    assert_contains(r.d[0].sentence, "sigmas from 0.1");
}

static void labels_trip_too_and_are_credited_to_the_version_that_answered(void **state)
{
    struct tt_observed b = healthy();
    struct tt_labelled l = {0, ROWS, 20, 0, 0, 0};
    struct rig r;

    (void)state;
    r.rules[0] = rule("labels", TT_SIG_LABEL_ERROR, .4, TT_ACTION_ROLLBACK);
    start(&r, 1);
    for (int i = 0; i < 60 && !r.nd; i++) {
        l.batch = r.signals.batches;
        feed(&r, &b);
        tt_signals_feedback(&r.signals, &l);
    }
    assert_int_equal(r.nd, 1);
    assert_string_equal(r.d[0].rule, "labels");
    l.batch = r.signals.batches;
    restored(&r, 1);
    assert_false(tt_signals_feedback(&r.signals, &l)); // of the version that is gone
    for (int i = 0; i < 60; i++) {
        feed(&r, &b);
        assert_int_equal(r.nd, 0);
    }
}

static void the_most_severe_action_wins_and_only_one_acts(void **state)
{
    static const struct {
        enum tt_action a, b, want;
    } cases[] = {
        {TT_ACTION_HOLD, TT_ACTION_RESET, TT_ACTION_RESET},
        {TT_ACTION_ROLLBACK, TT_ACTION_RESET, TT_ACTION_ROLLBACK},
        {TT_ACTION_ROLLBACK, TT_ACTION_FREEZE, TT_ACTION_FREEZE},
        {TT_ACTION_FREEZE, TT_ACTION_HOLD, TT_ACTION_FREEZE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;

        r.rules[0] = rule("a", TT_SIG_BASE_DISAGREEMENT, .3, cases[i].a);
        r.rules[1] = rule("b", TT_SIG_BASE_DISAGREEMENT, .3, cases[i].b);
        start(&r, 2);
        be_adapting(&r);
        until(&r, .9, TT_GUARD_TRIPPED, 30);
        assert_int_equal(r.nd, 1);
        assert_int_equal(r.d[0].action, cases[i].want);
    }
}

/* ---- holding -------------------------------------------------------------------------------- */

static void a_rule_that_holds_must_clear_before_the_stream_learns_and_it_trips_again(void **state)
{
    struct rig r;
    int held = 0;

    (void)state;
    r.rules[0] = rule("hold", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_HOLD);
    r.rules[0].clear = .2;
    start(&r, 1);
    be_adapting(&r);
    until(&r, .8, TT_GUARD_HOLDING, 30);
    assert_int_equal(r.d[0].action, TT_ACTION_HOLD);
    assert_string_equal(state_of(&r), "holding");
    assert_false(tt_guard_may_learn(&r.guard));
    for (int i = 0; i < 100; i++) { // between clear and trip, then past it again: no second trip
        disagree(&r, i < 50 ? .3 : .8);
        assert_int_equal(r.nd, 0);
        assert_string_equal(state_of(&r), "holding");
        assert_int_equal(tt_guard_evidence(&r.guard, &r.policy, 0).verdict, TT_VERDICT_TRIP);
        held++;
    }
    until(&r, .05, TT_GUARD_ADAPTING, 30);
    assert_string_equal(state_of(&r), "adapting");
    assert_true(tt_signals_read(&r.signals, TT_SIG_BASE_DISAGREEMENT).value <= .2);
    until(&r, .8, TT_GUARD_HOLDING, 30);
    assert_int_equal(r.nd, 1);
    assert_int_equal(held, 100);
}

static void too_few_data_hold_the_stream_when_the_rule_says_so(void **state)
{
    struct tt_observed b = healthy();
    struct rig r;

    (void)state;
    for (int hold = 0; hold < 2; hold++) {
        r.rules[0] = rule("labels", TT_SIG_LABEL_ERROR, .4, TT_ACTION_ROLLBACK);
        r.rules[0].on_inconclusive = hold ? TT_INCONCLUSIVE_HOLD : TT_INCONCLUSIVE_CONTINUE;
        start(&r, 1);
        for (int i = 0; i < 15; i++) { // warming: not yet held against it
            feed(&r, &b);
            assert_string_equal(state_of(&r), "warming");
            assert_true(tt_guard_may_learn(&r.guard));
        }
        feed(&r, &b);
        assert_string_equal(state_of(&r), hold ? "holding" : "adapting");
        assert_int_equal(tt_guard_evidence(&r.guard, &r.policy, 0).verdict,
                         TT_VERDICT_INCONCLUSIVE);
        if (!hold)
            continue;
        assert_int_equal(r.nd, 1);
        assert_true(r.d[0].missing);
        assert_int_equal(r.d[0].action, TT_ACTION_HOLD);
        assert_contains(r.d[0].sentence, "too few or too old data on label_error (0 samples)");
        for (int i = 0; i < 10; i++) {
            struct tt_labelled l = {r.signals.batches, ROWS, 2, 0, 0, 0};

            tt_signals_feedback(&r.signals, &l);
            feed(&r, &b);
            assert_int_equal(r.nd, 0);
        }
        assert_string_equal(state_of(&r), "adapting");
    }
}

static void data_that_stopped_coming_hold_the_stream(void **state)
{
    struct tt_observed b = healthy();
    struct rig r;

    (void)state;
    r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
    r.rules[0].on_inconclusive = TT_INCONCLUSIVE_HOLD;
    r.rules[0].stale_after = 1000;
    start(&r, 1);
    be_adapting(&r);
    for (int i = 0; i < 31; i++) {
        feed(&r, &b);
        assert_string_equal(state_of(&r), "adapting");
    }
    feed(&r, &b); // 32 * 32 >= 1000
    assert_string_equal(state_of(&r), "holding");
    assert_true(r.d[0].missing);
    disagree(&r, .05);
    assert_string_equal(state_of(&r), "adapting");
}

static void a_signal_that_only_learning_feeds_never_holds_for_want_of_data(void **state)
{
    struct tt_observed b = healthy();
    struct rig r;

    (void)state;
    b.loss = NAN;
    r.rules[0] = rule("loss", TT_SIG_LOSS, 5, TT_ACTION_HOLD);
    r.rules[0].on_inconclusive = TT_INCONCLUSIVE_HOLD;
    start(&r, 1);
    for (int i = 0; i < 50; i++)
        feed(&r, &b);
    assert_string_equal(state_of(&r), "adapting");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nan_trips_at_once_whatever_the_rules_say),
        cmocka_unit_test(a_rule_may_choose_what_nan_does),
        cmocka_unit_test(nan_in_the_input_is_no_trip),
        cmocka_unit_test(nan_from_a_restored_version_makes_it_suspect),
        cmocka_unit_test(a_healthy_disagreement_does_not_trip_in_fifty_thousand_samples),
        cmocka_unit_test(a_collapse_trips_within_a_window_and_the_change_point_is_before_the_trip),
        cmocka_unit_test(ewma_trips_with_a_baseline_and_sigmas_in_its_evidence),
        cmocka_unit_test(labels_trip_too_and_are_credited_to_the_version_that_answered),
        cmocka_unit_test(the_most_severe_action_wins_and_only_one_acts),
        cmocka_unit_test(a_rule_that_holds_must_clear_before_the_stream_learns_and_it_trips_again),
        cmocka_unit_test(too_few_data_hold_the_stream_when_the_rule_says_so),
        cmocka_unit_test(data_that_stopped_coming_hold_the_stream),
        cmocka_unit_test(a_signal_that_only_learning_feeds_never_holds_for_want_of_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
