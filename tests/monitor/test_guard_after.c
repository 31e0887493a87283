// SPDX-License-Identifier: Apache-2.0
#include "monitor/guard.h"

#include "tests/monitor/rig.h"

/* ---- after a trip --------------------------------------------------------------------------- */

static void after_a_restore_come_cooldown_and_probation_and_then_trust(void **state)
{
    const char *seen[100];
    struct rig r;
    int n = 0;

    (void)state;
    r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
    start(&r, 1);
    be_adapting(&r);
    until(&r, .9, TT_GUARD_TRIPPED, 30);
    assert_string_equal(state_of(&r), "tripped");
    disagree(&r, .9); // the caller is slow: nothing is decided twice
    assert_int_equal(r.nd, 0);
    restored(&r, 4711);
    assert_string_equal(state_of(&r), "rolled_back");
    for (int i = 0; i < 40; i++) {
        disagree(&r, .05);
        assert_int_equal(r.nd, 0);
        assert_int_equal(tt_guard_may_learn(&r.guard), r.guard.state != TT_GUARD_COOLDOWN);
        seen[n++] = state_of(&r);
    }
    for (int i = 0; i < 40; i++) // 10 batches of cooldown, 20 of probation
        assert_string_equal(seen[i], i < 10 ? "cooldown" : i < 30 ? "probation" : "adapting");
}

static void a_trip_out_of_probation_makes_the_restored_version_suspect(void **state)
{
    struct rig r;

    (void)state;
    r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
    start(&r, 1);
    be_adapting(&r);
    until(&r, .9, TT_GUARD_TRIPPED, 30);
    assert_false(r.d[0].suspect);
    restored(&r, 0xfedcba9876543210u);
    for (int i = 0; i < 10; i++) { // bad from the start, but cooldown waits
        disagree(&r, .9);
        assert_int_equal(r.nd, 0);
        assert_string_equal(state_of(&r), "cooldown");
    }
    disagree(&r, .9);
    assert_int_equal(r.nd, 1);
    assert_true(r.d[0].suspect);
    assert_true(r.d[0].suspect_version == 0xfedcba9876543210u);
    assert_contains(r.d[0].sentence, "suspect");
}

/* Bad answers until the guard asks for a restore, through cooldown and probation. */
static void trip(struct rig *r)
{
    for (int i = 0; i < 200 && r->guard.state != TT_GUARD_TRIPPED; i++)
        disagree(r, .9);
    assert_string_equal(state_of(r), "tripped");
}

static void too_many_restores_freeze_the_stream_until_an_operator_thaws_it(void **state)
{
    char reason[256];
    struct rig r;

    (void)state;
    r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
    start(&r, 1);
    be_adapting(&r);
    for (int i = 1; i <= 3; i++) {
        trip(&r);
        assert_int_equal(r.d[0].action, TT_ACTION_ROLLBACK);
        assert_int_equal(r.d[0].restores, i);
        assert_int_equal(r.d[0].breaker, i == 3);
        restored(&r, 5);
    }
    assert_string_equal(state_of(&r), "frozen");
    tt_guard_reason(&r.guard, &r.policy, reason, sizeof reason);
    assert_string_equal(reason, "frozen after 3 restores, the last for shadow");
    for (int i = 0; i < 200; i++) {
        disagree(&r, i % 2 ? .9 : .05);
        assert_int_equal(r.nd, 0);
        assert_string_equal(state_of(&r), "frozen");
    }
    for (int i = 0; i < 20; i++)
        disagree(&r, .05);
    assert_true(tt_guard_order(&r.guard, &r.policy, TT_ORDER_THAW, now(&r)));
    assert_string_equal(state_of(&r), "probation");
    until(&r, .9, TT_GUARD_TRIPPED, 30);
    assert_int_equal(r.d[0].restores, 1);
    assert_false(r.d[0].breaker);
}

static void restores_that_are_long_ago_do_not_count(void **state)
{
    struct rig r;

    (void)state;
    r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
    start(&r, 1);
    r.policy.settings.rollback_window = 3000;
    for (int i = 0; i < 6; i++) {
        trip(&r);
        assert_int_equal(r.d[0].restores, 1);
        assert_false(r.d[0].breaker);
        restored(&r, 5);
        for (int k = 0; k < 100; k++)
            disagree(&r, .05);
    }
}

static void a_dry_run_decides_and_touches_nothing(void **state)
{
    struct rig r;

    (void)state;
    r.rules[0] = rule("dry", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_FREEZE);
    r.rules[0].dry_run = true;
    r.rules[0].on_inconclusive = TT_INCONCLUSIVE_HOLD;
    start(&r, 1);
    for (int round = 0; round < 2; round++) {
        int decisions = 0;

        for (int i = 0; i < 60; i++) {
            disagree(&r, .05);
            assert_int_equal(r.nd, 0);
        }
        for (int i = 0; i < 60; i++) {
            disagree(&r, .9);
            decisions += r.nd;
            if (r.nd) {
                assert_true(r.d[0].dry_run);
                assert_int_equal(r.d[0].action, TT_ACTION_FREEZE);
                assert_contains(r.d[0].sentence, "dry run of freeze, nothing was done");
            }
            assert_string_equal(state_of(&r), "adapting");
        }
        assert_int_equal(decisions, 1); // once, until it clears
    }
}

static void dry_runs_stand_behind_the_decision_to_act_upon(void **state)
{
    struct rig r;

    (void)state;
    r.rules[0] = rule("dry", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_FREEZE);
    r.rules[0].dry_run = true;
    r.rules[1] = rule("real", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
    start(&r, 2);
    be_adapting(&r);
    until(&r, .9, TT_GUARD_TRIPPED, 30);
    assert_int_equal(r.nd, 2);
    assert_string_equal(r.d[0].rule, "real");
    assert_false(r.d[0].dry_run);
    assert_string_equal(r.d[1].rule, "dry");
    assert_true(r.d[1].dry_run);
}

/* ---- operators ------------------------------------------------------------------------------ */

static void an_operator_freezes_and_thaws_back_to_where_the_stream_was(void **state)
{
    struct rig r;

    (void)state;
    start(&r, 0);
    be_adapting(&r);
    assert_false(tt_guard_order(&r.guard, &r.policy, TT_ORDER_THAW, now(&r)));
    assert_true(tt_guard_order(&r.guard, &r.policy, TT_ORDER_FREEZE, now(&r)));
    assert_string_equal(state_of(&r), "frozen");
    assert_int_equal(r.guard.by, TT_BY_OPERATOR);
    assert_false(tt_guard_may_learn(&r.guard));
    assert_false(tt_guard_order(&r.guard, &r.policy, TT_ORDER_FREEZE, now(&r)));
    for (int i = 0; i < 50; i++)
        disagree(&r, .05);
    assert_string_equal(state_of(&r), "frozen");
    assert_true(tt_guard_order(&r.guard, &r.policy, TT_ORDER_THAW, now(&r)));
    assert_string_equal(state_of(&r), "adapting");
}

static void an_operator_rolls_back_without_it_counting_against_the_stream(void **state)
{
    struct rig r;

    (void)state;
    start(&r, 0);
    be_adapting(&r);
    for (int i = 0; i < 5; i++) {
        assert_true(tt_guard_order(&r.guard, &r.policy, TT_ORDER_ROLLBACK, now(&r)));
        assert_string_equal(state_of(&r), "tripped");
        assert_false(tt_guard_order(&r.guard, &r.policy, TT_ORDER_ROLLBACK, now(&r)));
        restored(&r, 9);
        assert_string_equal(state_of(&r), "rolled_back");
        disagree(&r, .05);
        assert_string_equal(state_of(&r), "cooldown");
    }
    assert_int_equal(r.guard.nrestores, 0);
    for (int i = 0; i < 5; i++) // of the policy's settings: five batches
        disagree(&r, .05);
    assert_string_equal(state_of(&r), "probation");
}

static void a_frozen_stream_stays_frozen_over_an_operators_rollback(void **state)
{
    struct rig r;

    (void)state;
    start(&r, 0);
    be_adapting(&r);
    assert_true(tt_guard_order(&r.guard, &r.policy, TT_ORDER_FREEZE, now(&r)));
    assert_true(tt_guard_order(&r.guard, &r.policy, TT_ORDER_ROLLBACK, now(&r)));
    restored(&r, 9);
    assert_string_equal(state_of(&r), "frozen");
}

static void a_freeze_while_a_restore_is_under_way_comes_after_it(void **state)
{
    struct tt_observed b = healthy();
    struct rig r;

    (void)state;
    start(&r, 0);
    b.update_finite = false;
    feed(&r, &b);
    assert_string_equal(state_of(&r), "tripped");
    assert_true(tt_guard_order(&r.guard, &r.policy, TT_ORDER_FREEZE, now(&r)));
    restored(&r, 9);
    assert_string_equal(state_of(&r), "frozen");
    assert_true(tt_guard_order(&r.guard, &r.policy, TT_ORDER_THAW, now(&r)));
    disagree(&r, .05);
    assert_string_equal(state_of(&r), "cooldown");
}

/* ---- soaking -------------------------------------------------------------------------------- */

static void a_version_is_good_after_enough_samples_of_low_evidence(void **state)
{
    int64_t taken;
    struct rig r;

    (void)state;
    r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
    start(&r, 1);
    be_adapting(&r);
    taken = r.guard.samples;
    for (int i = 0; i < 31; i++) {
        disagree(&r, .05);
        assert_false(tt_guard_soaked(&r.guard, &r.policy, taken));
    }
    disagree(&r, .05); // 32 * 32 = 1024
    assert_true(tt_guard_soaked(&r.guard, &r.policy, taken));
    assert_false(tt_guard_soaked(&r.guard, &r.policy, taken + 1));
}

static void a_version_under_suspicion_does_not_become_good(void **state)
{
    int64_t taken;
    struct rig r;

    (void)state;
    r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
    start(&r, 1);
    be_adapting(&r);
    taken = r.guard.samples;
    for (int i = 0; i < 20; i++)
        disagree(&r, .05);
    for (int i = 0; i < 50; i++) { // over half of the threshold, never over it
        disagree(&r, .28);
        assert_int_equal(r.nd, 0);
    }
    for (int i = 0; i < 100; i++)
        disagree(&r, .05);
    assert_false(tt_guard_soaked(&r.guard, &r.policy, taken));
    assert_true(tt_guard_soaked(&r.guard, &r.policy, r.guard.samples - 1024));
}

static void evidence_is_a_share_of_the_threshold_with_a_verdict(void **state)
{
    static const struct {
        double p;
        enum tt_guard_verdict want;
    } cases[] = {{.05, TT_VERDICT_OK}, {.34, TT_VERDICT_WARN}, {.9, TT_VERDICT_TRIP}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_guard_evidence e;
        struct rig r;
        int worst;

        r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_HOLD);
        r.rules[1] = rule("share", TT_SIG_CLASS_SHARE, .99, TT_ACTION_HOLD);
        start(&r, 2);
        for (int k = 0; k < 40; k++)
            disagree(&r, cases[i].p);
        e = tt_guard_evidence(&r.guard, &r.policy, 0);
        assert_int_equal(e.verdict, cases[i].want);
        assert_close(e.evidence, fmin(e.statistic / .4, 1), 1e-9, 0);
        assert_close(e.threshold, .4, 0, 0);
        assert_close(tt_guard_worst(&r.guard, &r.policy, &worst), fmax(e.evidence, .25 / .99), 1e-6,
                     0);
        assert_int_equal(worst, i == 0 ? 1 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_restore_come_cooldown_and_probation_and_then_trust),
        cmocka_unit_test(a_trip_out_of_probation_makes_the_restored_version_suspect),
        cmocka_unit_test(too_many_restores_freeze_the_stream_until_an_operator_thaws_it),
        cmocka_unit_test(restores_that_are_long_ago_do_not_count),
        cmocka_unit_test(a_dry_run_decides_and_touches_nothing),
        cmocka_unit_test(dry_runs_stand_behind_the_decision_to_act_upon),
        cmocka_unit_test(an_operator_freezes_and_thaws_back_to_where_the_stream_was),
        cmocka_unit_test(an_operator_rolls_back_without_it_counting_against_the_stream),
        cmocka_unit_test(a_frozen_stream_stays_frozen_over_an_operators_rollback),
        cmocka_unit_test(a_freeze_while_a_restore_is_under_way_comes_after_it),
        cmocka_unit_test(a_version_is_good_after_enough_samples_of_low_evidence),
        cmocka_unit_test(a_version_under_suspicion_does_not_become_good),
        cmocka_unit_test(evidence_is_a_share_of_the_threshold_with_a_verdict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
