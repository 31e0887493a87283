// SPDX-License-Identifier: Apache-2.0
#include "monitor/rule.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"

/* One guard as YAML, read and checked; what was said against it. */
static const char *complaints(struct tt_arena *a, const char *yaml, struct tt_guard_rule *rule)
{
    struct tt_guard_settings settings;
    struct tt_guard_policy p = {.rules = rule, .nrules = 1};
    struct tt_diags d, none;
    const struct tt_ynode *map;

    tt_diags_init(&d, a, "guard.yaml", yaml, strlen(yaml));
    tt_diags_init(&none, a, "settings", "", 0);
    assert_true(tt_fields_read(tt_guard_settings_fields, NULL, NULL, &settings, &none));
    p.settings = settings;
    *rule = (struct tt_guard_rule){.line = 1, .col = 1};
    map = tt_yaml_read(yaml, strlen(yaml), a, &d);
    if (map && tt_fields_read(tt_guard_fields, map, NULL, rule, &d))
        tt_guard_check(&p, &d);
    return tt_diags_text(&d);
}

static void the_defaults_of_the_tables_are_within_their_bounds(void **state)
{
    struct tt_guard_rule rule;
    struct tt_arena a;

    (void)state;
    tt_arena_init(&a, 0);
    assert_string_equal(complaints(&a,
                                   "{name: collapse, signal: shadow_disagreement, above: 0.35, "
                                   "action: rollback}",
                                   &rule),
                        "");
    assert_string_equal(rule.name, "collapse");
    assert_int_equal(rule.signal, TT_SIG_SHADOW_DISAGREEMENT);
    assert_int_equal(rule.detector, TT_DETECT_threshold);
    assert_int_equal(rule.action, TT_ACTION_ROLLBACK);
    assert_int_equal(rule.on_inconclusive, TT_INCONCLUSIVE_HOLD);
    assert_close(rule.above, .35, 1e-12, 0);
    assert_close(rule.below, TT_GUARD_UNSET, 0, 0);
    tt_arena_release(&a);
}

static void every_signal_detector_and_action_can_be_named(void **state)
{
    struct tt_guard_rule rule;
    struct tt_arena a;
    char yaml[256];

    (void)state;
    tt_arena_init(&a, 0);
    for (int i = 0; i < TT_NSIGNALS; i++) {
        snprintf(yaml, sizeof yaml, "{name: x, signal: %s, %s: 0.5, action: freeze}",
                 tt_signals[i].name, tt_signals[i].bad == TT_BAD_ABOVE ? "above" : "below");
        assert_string_equal(complaints(&a, yaml, &rule), "");
        assert_int_equal(rule.signal, i);
    }
    for (int i = 0; i < TT_NACTIONS; i++) {
        snprintf(yaml, sizeof yaml, "{name: x, signal: loss, above: 0.5, action: %s}",
                 tt_action_name((enum tt_action)i));
        assert_string_equal(complaints(&a, yaml, &rule), "");
        assert_int_equal(rule.action, i);
    }
    for (int i = 0; i < TT_NDETECTORS; i++) {
        snprintf(yaml, sizeof yaml, "{name: x, signal: loss, detector: %s, action: hold%s}",
                 tt_detectors[i].name, i == TT_DETECT_threshold ? ", above: 1" : "");
        assert_string_equal(complaints(&a, yaml, &rule), "");
        assert_int_equal(rule.detector, i);
    }
    tt_arena_release(&a);
}

static void what_cannot_work_is_refused_with_found_and_wanted(void **state)
{
    static const struct {
        const char *yaml, *want;
    } cases[] = {
        {"{name: x, signal: base_disagrement, above: 0.3, action: hold}", "base_disagreement"},
        {"{name: x, signal: loss, above: 1, action: rolback}", "rollback"},
        {"{name: x, signal: loss, abov: 1, action: hold}", "above"},
        {"{name: x, above: 1, action: hold}", "signal"},
        {"{signal: loss, above: 1, action: hold}", "name"},
        {"{name: x, signal: loss, above: 1}", "action"},
        {"{name: '', signal: loss, above: 1, action: hold}", "a name of 0 bytes, want 1 to 60"},
        {"{name: x, signal: loss, action: hold}", "none of above and below, want exactly one"},
        {"{name: x, signal: loss, above: 1, below: 0, action: hold}", "both of above and below"},
        {"{name: x, signal: base_disagreement, above: 1, action: hold}",
         "above 1 tells nothing apart, base_disagreement is within [0, 1]"},
        {"{name: x, signal: base_disagreement, above: -0.1, action: hold}", "tells nothing apart"},
        {"{name: x, signal: entropy_ratio, below: 0, action: hold}", "tells nothing apart"},
        {"{name: x, signal: entropy_ratio, below: 1.5, action: hold}", "tells nothing apart"},
        {"{name: x, signal: loss, above: 1, clear: 2, action: hold}",
         "clear 2 is past above 1, want it lower or equal"},
        {"{name: x, signal: entropy_ratio, below: 0.1, clear: 0.05, action: hold}",
         "clear 0.05 is past below 0.1, want it higher or equal"},
        {"{name: x, signal: loss, above: 1, baseline: 2, action: hold}",
         "baseline 2 is past above 1, want it lower"},
        {"{name: x, signal: loss, above: 1, spread: 2, action: hold}", "spread is for ewma"},
        {"{name: x, signal: loss, above: 1, min_samples: 513, action: hold}",
         "min_samples 513 is more than the window of 512 holds"},
        {"{name: x, signal: loss, above: 1, min_samples: 0, action: hold}", "outside [1"},
        {"{name: x, signal: loss, detector: ewma, above: 1, action: hold}",
         "above and below are for threshold"},
        {"{name: x, signal: class_share, detector: ewma, action: hold}", "moves slowly by itself"},
        {"{name: x, signal: loss, detector: ewma, sigma: 4, clear: 5, action: hold}",
         "clear 5 is outside [0, sigma 4]"},
        {"{name: x, signal: loss, detector: ewma, spread: 0, action: hold}", "want more than 0"},
        {"{name: x, signal: not_finite, above: 0, action: hold}", "NaN always trips"},
        {"{name: x, signal: not_finite, above: 0, action: freeze, dry_run: true}",
         "NaN always trips"},
        {"{name: x, signal: loss, above: 1, stale_after: 9, action: hold}",
         "would never learn again"},
        {"{name: x, signal: loss, above: .nan, action: hold}", "above"},
        {"{name: x, signal: entropy_ratio, above: 0.9, action: hold}",
         "entropy_ratio is worse when lower, and this looks above"},
    };
    struct tt_arena a;

    (void)state;
    tt_arena_init(&a, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_guard_rule rule;

        assert_contains(complaints(&a, cases[i].yaml, &rule), cases[i].want);
    }
    tt_arena_release(&a);
}

static void too_many_guards_and_names_given_twice_are_refused_at_their_place(void **state)
{
    struct tt_guard_rule rules[TT_MAXGUARDS + 1];
    struct tt_guard_policy p = {.rules = rules, .nrules = TT_MAXGUARDS + 1};
    char names[TT_MAXGUARDS + 1][8];
    struct tt_arena a;
    struct tt_diags d;

    (void)state;
    tt_arena_init(&a, 0);
    tt_diags_init(&d, &a, "p.yaml", NULL, 0);
    assert_true(tt_fields_read(tt_guard_settings_fields, NULL, NULL, &p.settings, &d));
    for (int i = 0; i <= TT_MAXGUARDS; i++) {
        complaints(&a, "{name: x, signal: loss, above: 1, action: hold}", &rules[i]);
        snprintf(names[i], sizeof names[i], "g%d", i);
        rules[i].name = names[i];
        rules[i].line = 10 + i;
    }
    rules[3].name = rules[1].name;
    assert_false(tt_guard_check(&p, &d));
    assert_int_equal(d.errors, 2);
    assert_contains(tt_diags_text(&d), "p.yaml:26:1: guards: 17 rules, want at most 16");
    assert_contains(tt_diags_text(&d), "p.yaml:13:1: guard 'g1': the name is taken by the guard of "
                                       "line 11");
    tt_arena_release(&a);
}

static void a_detector_is_told_what_the_rule_says(void **state)
{
    struct tt_detect_options o;
    struct tt_guard_rule rule;
    struct tt_arena a;

    (void)state;
    tt_arena_init(&a, 0);
    complaints(&a, "{name: x, signal: loss, above: 2, action: hold}", &rule);
    o = tt_guard_options(&rule);
    assert_int_equal(o.bad, TT_BAD_ABOVE);
    assert_close(o.trip, 2, 0, 0);
    assert_close(o.clear, 2, 0, 0);
    assert_true(isnan(o.baseline) && isnan(o.spread));
    complaints(&a, "{name: x, signal: entropy_ratio, below: .1, clear: .2, action: hold}", &rule);
    o = tt_guard_options(&rule);
    assert_int_equal(o.bad, TT_BAD_BELOW);
    assert_close(o.clear, .2, 1e-12, 0);
    complaints(&a, "{name: x, signal: entropy_ratio, detector: ewma, sigma: 5, action: hold}",
               &rule);
    o = tt_guard_options(&rule);
    assert_int_equal(o.bad, TT_BAD_BELOW);
    assert_close(o.trip, 5, 0, 0);
    assert_close(o.clear, 2.5, 0, 0);
    assert_close(o.unit, 1, 0, 0);
    tt_arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_of_the_tables_are_within_their_bounds),
        cmocka_unit_test(every_signal_detector_and_action_can_be_named),
        cmocka_unit_test(what_cannot_work_is_refused_with_found_and_wanted),
        cmocka_unit_test(too_many_guards_and_names_given_twice_are_refused_at_their_place),
        cmocka_unit_test(a_detector_is_told_what_the_rule_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
