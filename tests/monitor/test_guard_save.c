// SPDX-License-Identifier: Apache-2.0
#include "monitor/guard.h"

#include "tests/monitor/rig.h"

/* ---- snapshots ------------------------------------------------------------------------------ */

static double *saved(const struct rig *r, size_t *ret_n)
{
    size_t ns = tt_signals_doubles(C), ng = tt_guard_doubles(&r->policy);
    double *x = (double *)calloc(ns + ng + 1, sizeof *x);

    x[ns + ng] = 42;
    tt_guard_save(&r->guard, &r->policy, x);
    tt_signals_save(&r->signals, x + ng);
    assert_close(x[ns + ng], 42, 0, 0);
    *ret_n = ns + ng;
    return x;
}

static void wobble(struct rig *r, int from, int to)
{
    for (int i = from; i < to; i++) {
        disagree(r, i % 90 > 60 ? .9 : .1);
        if (r->guard.state == TT_GUARD_TRIPPED)
            restored(r, 0xfedcba9876543210u + (uint64_t)i);
    }
}

static void a_saved_guard_continues_bit_for_bit(void **state)
{
    (void)state;
    for (int at = 1; at < 400; at += 7) {
        double *x, *y;
        struct rig a, b;
        struct tt_err err;
        size_t n, ng;

        a.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
        a.rules[1] = rule("ewma", TT_SIG_BASE_DISAGREEMENT, TT_GUARD_UNSET, TT_ACTION_HOLD);
        a.rules[1].detector = TT_DETECT_ewma;
        start(&a, 2);
        wobble(&a, 0, at);
        x = saved(&a, &n);
        memcpy(b.rules, a.rules, sizeof a.rules);
        start(&b, 2);
        ng = tt_guard_doubles(&b.policy);
        assert_int_equal(tt_guard_load(&b.guard, &b.policy, x, ng, &err), TT_OK);
        assert_int_equal(tt_signals_load(&b.signals, x + ng, n - ng, &err), TT_OK);
        b.rng = a.rng;
        b.step = a.step;
        free(x);
        wobble(&a, at, at + 100);
        wobble(&b, at, at + 100);
        x = saved(&a, &n);
        y = saved(&b, &n);
        assert_memory_equal(x, y, n * sizeof *x);
        free(x);
        free(y);
    }
}

static void a_guard_state_of_other_rules_or_of_nobody_is_refused(void **state)
{
    static const struct {
        size_t at;
        double x;
        const char *want;
    } cases[] = {
        {0, 2, "layout 2, want 1"}, {0, NAN, "layout"},   {1, 2, "no run under these guards"},
        {2, 8, "no run"},           {2, -1, "no run"},    {2, 1.5, "no run"},
        {2, NAN, "no run"},         {3, 99, "no run"},    {4, 1, "no run"},
        {4, -4, "no run"},          {7, -1, "no run"},    {7, INFINITY, "no run"},
        {11, 2, "no run"},          {12, 1e10, "no run"}, {14, 17, "no run"},
        {31, 3, "no run"},          {32, 1, "no run"},    {33, 2, "no run"},
    };
    double x[256], y[256];
    struct tt_err err;
    struct rig r;
    size_t n;

    (void)state;
    r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
    start(&r, 1);
    wobble(&r, 0, 80);
    n = tt_guard_doubles(&r.policy);
    assert_true(n <= 256);
    tt_guard_save(&r.guard, &r.policy, y);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_guard before = r.guard;

        memcpy(x, y, sizeof x);
        x[cases[i].at] = cases[i].x;
        assert_int_not_equal(tt_guard_load(&r.guard, &r.policy, x, n, &err), TT_OK);
        assert_contains(err.msg, cases[i].want);
        assert_memory_equal(&r.guard, &before, sizeof before);
    }
    assert_int_equal(tt_guard_load(&r.guard, &r.policy, y, n - 1, &err), TT_ESHAPE);
    assert_int_equal(tt_guard_load(&r.guard, &r.policy, y, n + 1, &err), TT_ESHAPE);
    assert_contains(err.msg, "want");
}

/* Any numbers at all in the detectors' part: no crash, and no change point outside time.  Every
 * other ewma is well past its limit, so that its evil change point gets into a decision. */
static void a_hostile_detector_state_does_no_harm(void **state)
{
    static const double alarm[] = {1, 1000, 100, 0, 1, 0, 1e6, 1e-6, 1e6, 1};
    static const double evil[] = {0, -1, NAN, INFINITY, -INFINITY, 1e300, -1e300, 1e-300};
    uint64_t s = 99;
    int decisions = 0;

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct tt_err err;
        double x[256];
        struct rig r;
        size_t n;

        r.rules[0] = rule("a", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
        r.rules[1] = rule("b", TT_SIG_BASE_DISAGREEMENT, TT_GUARD_UNSET, TT_ACTION_RESET);
        r.rules[1].detector = TT_DETECT_ewma;
        start(&r, 2);
        n = tt_guard_doubles(&r.policy);
        assert_true(n <= 256);
        tt_guard_save(&r.guard, &r.policy, x);
        for (size_t i = n - TT_DETECT_STATE; i < n; i++) {
            x[i] = evil[(int)(uniform(&s) * 8)];
            x[i - TT_DETECT_STATE - 5] = evil[(int)(uniform(&s) * 8)];
        }
        if (round % 2)
            memcpy(x + n - TT_DETECT_STATE, alarm, sizeof alarm);
        assert_int_equal(tt_guard_load(&r.guard, &r.policy, x, n, &err), TT_OK);
        for (int i = 0; i < 40; i++) {
            disagree(&r, .9);
            decisions += r.nd;
            for (int k = 0; k < r.nd; k++)
                assert_true(llabs(r.d[k].change_point_sample) <= 1000000000000000);
        }
    }
    assert_true(decisions >= 200);
}

static void every_state_has_its_name_and_says_why(void **state)
{
    static const char *const names[] = {"warming",     "adapting", "holding",   "tripped",
                                        "rolled_back", "cooldown", "probation", "frozen"};

    (void)state;
    for (int i = 0; i < TT_NGUARD_STATES; i++) {
        char reason[256];
        struct rig r;

        r.rules[0] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .4, TT_ACTION_ROLLBACK);
        start(&r, 1);
        r.guard.state = (enum tt_guard_state)i;
        r.guard.by = 0;
        assert_string_equal(tt_guard_state_name(r.guard.state), names[i]);
        tt_guard_reason(&r.guard, &r.policy, reason, sizeof reason);
        if (i == TT_GUARD_ADAPTING)
            assert_string_equal(reason, "");
        else
            assert_contains(reason, i == TT_GUARD_WARMING ? "warms up for " : "shadow");
    }
    assert_string_equal(tt_guard_state_name((enum tt_guard_state)99), "unknown");
    assert_string_equal(tt_guard_verdict_name(TT_VERDICT_INCONCLUSIVE), "inconclusive");
    assert_string_equal(tt_action_name((enum tt_action)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_saved_guard_continues_bit_for_bit),
        cmocka_unit_test(a_guard_state_of_other_rules_or_of_nobody_is_refused),
        cmocka_unit_test(a_hostile_detector_state_does_no_harm),
        cmocka_unit_test(every_state_has_its_name_and_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
