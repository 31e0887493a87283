// SPDX-License-Identifier: Apache-2.0
#include "monitor/guard.h"

#include "tests/monitor/rig.h"

/* A policy changes while guards are gathering evidence. */

enum { SHADOW, SURE, LOSS, NRULES };

static void three_rules(struct rig *r)
{
    r->rules[SHADOW] = rule("shadow", TT_SIG_BASE_DISAGREEMENT, .3, TT_ACTION_ROLLBACK);
    r->rules[SHADOW].consecutive = 6;
    r->rules[SURE] = rule("sure", TT_SIG_CONFIDENCE, .9, TT_ACTION_HOLD);
    r->rules[LOSS] = rule("loss", TT_SIG_LOSS, 0, TT_ACTION_RESET);
    r->rules[LOSS].detector = TT_DETECT_ewma;
    r->rules[LOSS].above = TT_GUARD_UNSET;
    r->rules[LOSS].baseline_samples = 256;
    start(r, NRULES);
}

/* Adapting, and three readings past the threshold of the first rule, of the six it wants. */
static void gather(struct rig *r)
{
    three_rules(r);
    for (int i = 0; i < 40; i++)
        disagree(r, 0);
    while (r->guard.rule[SHADOW].run < 3)
        disagree(r, 1);
    assert_string_equal(state_of(r), "adapting");
}

/* Batches that disagree until the rule trips. */
static int until_trip(struct rig *r)
{
    for (int n = 1; n < 100; n++) {
        disagree(r, 1);
        if (r->nd)
            return n;
    }
    return 0;
}

static struct tt_guard_adopted adopt(struct rig *r, struct tt_guard_rule *rules, int n, bool other)
{
    struct tt_guard_policy to = r->policy;
    struct tt_guard_adopted ret;

    to.rules = rules;
    to.nrules = n;
    ret = tt_guard_adopt(&r->guard, &r->policy, &to, other, now(r));
    r->policy = to;
    return ret;
}

static void a_rule_that_did_not_change_goes_on_and_the_others_begin_anew(void **state)
{
    static struct tt_guard_rule changed[NRULES + 1];
    struct rig control, r;
    struct tt_guard fresh;
    struct tt_guard_adopted got;

    (void)state;
    gather(&control);
    gather(&r);
    /* in another order, one changed, one new, one gone */
    changed[0] = rule("new", TT_SIG_CLASS_SHARE, .9, TT_ACTION_HOLD);
    changed[1] = r.rules[LOSS];
    changed[2] = r.rules[SHADOW];
    changed[1].sigma = 5;
    changed[2].line = 77; // where it stands does not matter
    got = adopt(&r, changed, 3, false);
    assert_int_equal(got.kept, 1);
    assert_int_equal(got.changed, 1);
    assert_int_equal(got.added, 1);
    assert_int_equal(got.removed, 1);
    assert_memory_equal(&r.guard.rule[2], &control.guard.rule[SHADOW], sizeof r.guard.rule[2]);
    tt_guard_init(&fresh, &r.policy, now(&r));
    assert_memory_equal(&r.guard.rule[0], &fresh.rule[0], sizeof fresh.rule[0]);
    assert_memory_equal(&r.guard.rule[1], &fresh.rule[1], sizeof fresh.rule[1]);
    assert_int_equal(until_trip(&r), until_trip(&control)); // with the very same batch
    assert_string_equal(r.d[0].rule, "shadow");
    assert_memory_equal(&r.d[0].change_point_sample, &control.d[0].change_point_sample,
                        sizeof r.d[0].change_point_sample);
}

/* Each key of a rule is part of it. */
static void a_rule_with_any_key_changed_begins_anew(void **state)
{
    static const char base[] = "shadow";

    (void)state;
    for (int i = 0; i < 9; i++) {
        struct tt_guard_rule changed[NRULES];
        struct rig r;

        gather(&r);
        memcpy(changed, r.rules, sizeof changed);
        changed[SHADOW].name = i == 0 ? "other" : base;
        changed[SHADOW].above += i == 1 ? .01 : 0;
        changed[SHADOW].clear = i == 2 ? .1 : changed[SHADOW].clear;
        changed[SHADOW].min_samples += i == 3;
        changed[SHADOW].consecutive += i == 4;
        changed[SHADOW].cooldown_samples += i == 5;
        changed[SHADOW].dry_run = i == 6;
        changed[SHADOW].action = i == 7 ? TT_ACTION_HOLD : changed[SHADOW].action;
        changed[SHADOW].on_inconclusive =
            i == 8 ? TT_INCONCLUSIVE_HOLD : changed[SHADOW].on_inconclusive;
        assert_int_equal(adopt(&r, changed, NRULES, false).kept, NRULES - 1);
        assert_int_equal(r.guard.rule[SHADOW].run, 0);
        assert_true(r.guard.rule[SHADOW].missing);
        assert_string_equal(state_of(&r), i == 6 ? "adapting" : "warming"); // a dry run holds none
    }
}

static void nothing_changed_changes_nothing(void **state)
{
    struct tt_guard_rule same[NRULES];
    struct tt_guard before;
    struct rig r;

    (void)state;
    gather(&r);
    before = r.guard;
    memcpy(same, r.rules, sizeof same);
    assert_int_equal(adopt(&r, same, NRULES, false).kept, NRULES);
    assert_memory_equal(&r.guard, &before, sizeof before);
}

static void the_state_machine_outlives_its_rule(void **state)
{
    struct tt_guard_rule fewer[NRULES];
    struct rig r;

    (void)state;
    gather(&r);
    assert_true(until_trip(&r));
    restored(&r, 42);
    disagree(&r, 0);
    assert_string_equal(state_of(&r), "cooldown");
    fewer[0] = r.rules[LOSS]; // another index: who tripped is gone
    adopt(&r, fewer, 1, false);
    assert_int_equal(r.guard.by, TT_BY_NOBODY);
    assert_int_equal(r.guard.nrestores, 1);
    assert_int_equal(r.guard.cooldown, 10 * ROWS); // of the rule that had tripped
    assert_int_equal(r.guard.restored, 42);
    for (int i = 0; i < 11; i++)
        disagree(&r, 0);
    assert_string_equal(state_of(&r), "probation");
}

static void a_stream_held_by_a_rule_that_goes_is_let_go(void **state)
{
    struct tt_observed b = healthy();
    struct rig r;

    (void)state;
    gather(&r);
    b.confidence = .99;
    for (int i = 0; i < 40 && strcmp(state_of(&r), "holding") != 0; i++)
        feed(&r, &b);
    assert_string_equal(state_of(&r), "holding");
    adopt(&r, r.rules, 1, false); // the first alone
    feed(&r, &b);
    assert_true(tt_guard_may_learn(&r.guard));
}

static void a_frozen_stream_stays_frozen_and_says_by_what(void **state)
{
    struct rig r;
    char text[160];

    (void)state;
    three_rules(&r);
    r.rules[SHADOW].action = TT_ACTION_FREEZE;
    for (int i = 0; i < 20; i++)
        disagree(&r, 0);
    assert_true(until_trip(&r));
    assert_string_equal(state_of(&r), "frozen");
    adopt(&r, &r.rules[SURE], 1, false);
    disagree(&r, 0);
    assert_string_equal(state_of(&r), "frozen");
    tt_guard_reason(&r.guard, &r.policy, text, sizeof text);
    assert_string_equal(text, "frozen by a guard that the policy had before");
}

static void another_method_keeps_what_was_normal_but_for_what_only_learning_tells(void **state)
{
    struct tt_guard_rule rules[NRULES];
    struct tt_guard fresh;
    struct rig r;

    (void)state;
    three_rules(&r);
    r.rules[SURE].detector = TT_DETECT_ewma;
    r.rules[SURE].above = TT_GUARD_UNSET;
    r.rules[SURE].baseline_samples = 256;
    start(&r, NRULES);
    for (int i = 0; i < 40; i++)
        disagree(&r, 0);
    memcpy(rules, r.rules, sizeof rules);
    adopt(&r, rules, NRULES, true);
    tt_guard_init(&fresh, &r.policy, now(&r));
    assert_memory_equal(&r.guard.rule[LOSS], &fresh.rule[LOSS], sizeof fresh.rule[LOSS]);
    assert_memory_not_equal(r.guard.rule[SURE].detector, fresh.rule[SURE].detector,
                            sizeof fresh.rule[SURE].detector); // its baseline
    assert_true(r.guard.rule[SURE].missing);
    assert_string_equal(state_of(&r), "warming");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_that_did_not_change_goes_on_and_the_others_begin_anew),
        cmocka_unit_test(a_rule_with_any_key_changed_begins_anew),
        cmocka_unit_test(nothing_changed_changes_nothing),
        cmocka_unit_test(the_state_machine_outlives_its_rule),
        cmocka_unit_test(a_stream_held_by_a_rule_that_goes_is_let_go),
        cmocka_unit_test(a_frozen_stream_stays_frozen_and_says_by_what),
        cmocka_unit_test(another_method_keeps_what_was_normal_but_for_what_only_learning_tells),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
