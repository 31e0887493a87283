// SPDX-License-Identifier: Apache-2.0
#include "tests/support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policies/policy.h"

static struct tt_arena arena;
static struct tt_diags diags;

static int set_up(void **state)
{
    (void)state;
    tt_arena_init(&arena, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tt_arena_release(&arena);
    return 0;
}

static const struct tt_policy *read_policy(const char *text, size_t n, struct tt_arena *a)
{
    tt_diags_init(&diags, a, "p.yaml", text, n);
    return tt_policy_read("p.yaml", text, n, a, &diags);
}

#define TENT  "preset: tent\n"
#define LEARN "select: {kinds: bn}\nobjective: entropy\n"
#define PARTS ": want 1 to 63 letters, digits, '.', '_' or '-'"

static const struct {
    const char *text, *first_line;
} bad[] = {
    /* the file as a whole */
    {"- a\n", "p.yaml:1:1: found a list, want a map"},
    {"tent\n", "p.yaml:1:1: found 'tent', want a map"},
    {"version: 2\n", "p.yaml:1:10: version: 2 is outside [1, 1]"},
    {"name: \"a b\"\n", "p.yaml:1:7: name: 'a b'" PARTS},
    {"name: \"\"\n", "p.yaml:1:7: name: ''" PARTS},
    {"name: ../x\n", "p.yaml:1:7: name: '../x'" PARTS},
    {"name: [a]\n", "p.yaml:1:7: name: found a list, want a text"},
    {"preset: tnet\n", "p.yaml:1:9: preset: 'tnet' is not one of "
                       "norm|norm_blend|norm_ema|source|tent, did you mean 'tent'"},
    {"preset: [tent]\n", "p.yaml:1:9: preset: found a list, want the name of a preset"},
    {"preset:\n", "p.yaml:1:8: preset: found nothing, want the name of a preset"},
    {TENT "selct: {kinds: bn}\n", "p.yaml:2:1: unknown key 'selct', did you mean 'select'"},
    /* keys of slots */
    {TENT "select: bn\n", "p.yaml:2:9: select: found 'bn', want a map"},
    {TENT "select: {kinds: [bm]}\n",
     "p.yaml:2:18: kinds: 'bm' is not one of "
     "bn|ln|gn|in|conv|linear|embedding|other|all, did you mean 'bn'"},
    {TENT "select: {member: bias}\n", "p.yaml:2:10: unknown key 'member', did you mean 'members'"},
    {TENT "objective: [entrpy]\n",
     "p.yaml:2:13: term: 'entrpy' is not one of entropy, did you mean 'entropy'"},
    {TENT "objective: [{trem: entropy}]\n",
     "p.yaml:2:13: key 'term' is missing: which part of objective"},
    {TENT "objective: [{term: [entropy]}]\n",
     "p.yaml:2:20: term: found a list, want the name of a part"},
    {TENT "objective: [[entropy]]\n", "p.yaml:2:13: found a list, want a map"},
    {TENT "objective: [{term: entropy, temp: 2}]\n",
     "p.yaml:2:29: unknown key 'temp', did you mean 'term'"},
    {TENT "objective:\n", "p.yaml:2:11: objective: found nothing, want a list"},
    {TENT "optimizer: adm\n",
     "p.yaml:2:12: kind: 'adm' is not one of sgd|adam, did you mean 'adam'"},
    {TENT "optimizer: {lr: -1}\n", "p.yaml:2:17: lr: -1 is outside [0, 100]"},
    {TENT "optimizer: {momentum: 0.9}\n",
     "p.yaml:2:13: unknown key 'momentum', known here: lr, beta1, beta2, eps, weight_decay, kind"},
    {TENT "optimizer: sgd\n", "p.yaml:2:12: key 'lr' is missing: learning rate"},
    {TENT "optimizer: [adam]\n", "p.yaml:2:12: optimizer: found a list, want a map"},
    {TENT "steps: 0\n", "p.yaml:2:8: steps: 0 is outside [1, 64]"},
    {TENT "reset: requests\n", "p.yaml:2:8: scope: 'requests' is not one of never|request|sample, "
                               "did you mean 'request'"},
    {TENT "predict: {order: tomorrow}\n",
     "p.yaml:2:18: order: 'tomorrow' is not one of before|after|last"},
    /* statistics */
    {"stats: bacth\n", "p.yaml:1:8: mode: 'bacth' is not one of source|running|batch|blend|ema, "
                       "did you mean 'batch'"},
    {"stats: {mode: blend, alpha: 0}\n", "p.yaml:1:29: alpha: 0 is outside [1e-06, 1]"},
    {"stats: {mode: blend, alpha: 1.5}\n", "p.yaml:1:29: alpha: 1.5 is outside [1e-06, 1]"},
    {"stats: blend\n", "p.yaml:1:8: key 'alpha' is missing: mode blend has no default of it"},
    {"stats: {mode: batch, alpha: 0.1}\n", "p.yaml:1:22: alpha: mode batch has none, blend has"},
    {"stats: ema\n", "p.yaml:1:8: key 'half_life' is missing: mode ema has no default of it"},
    {"stats: {mode: blend, alpha: 0.1, half_life: 10}\n",
     "p.yaml:1:34: half_life: mode blend has none, ema has"},
    {"stats: {answer: {mode: batch, momentum: 0.1}}\n",
     "p.yaml:1:31: momentum: stats.answer does not track statistics, stats.learn does"},
    {"stats: {mode: ema, half_life: 10, momentum: 0.1}\n",
     "p.yaml:1:35: momentum: mode ema tracks by its half_life"},
    {"stats: {answer: batch, lean: batch}\n",
     "p.yaml:1:24: unknown key 'lean', did you mean 'learn'"},
    {"stats: [batch]\n", "p.yaml:1:8: stats: found a list, want a map"},
    {"stats: running\n", "p.yaml:1:8: stats.answer: running statistics are never updated: "
                         "stats.learn has no momentum"},
    {"stats: {answer: running, learn: batch}\n",
     "p.yaml:1:17: stats.answer: running statistics are never updated: stats.learn has no "
     "momentum"},
    {LEARN "optimizer: adam\nstats: {answer: source, learn: running}\n",
     "p.yaml:4:32: stats.learn: running statistics are never updated"},
    /* what cannot work, whatever the model */
    {LEARN, "p.yaml:2:1: objective: no optimizer to follow it"},
    {"objective: entropy\noptimizer: adam\n",
     "p.yaml:1:1: objective: no select says which parameters it moves, as in select: {kinds: "
     "[bn]}"},
    {"select: {}\nobjective: entropy\noptimizer: adam\n",
     "p.yaml:1:9: select: neither kinds nor include: nothing is selected"},
    {"optimizer: adam\n",
     "p.yaml:1:1: optimizer: nothing learns here: the policy has no objective"},
    {"preset: norm\nselect: {kinds: bn}\n",
     "p.yaml:2:1: select: nothing learns here: the policy has no objective"},
    {"preset: norm\nsteps: 2\n",
     "p.yaml:2:1: steps: nothing learns here: the policy has no objective"},
    {"preset: norm\npredict: last\n",
     "p.yaml:2:10: predict.order: last is the last pass that made a loss, and the policy has no "
     "objective"},
    {"preset: norm\npredict: after\n",
     "p.yaml:2:10: predict.order: after what: nothing learns here"},
    {"preset: norm\nreset: request\n",
     "p.yaml:2:8: reset: nothing learns here, there is nothing to reset"},
    {TENT "reset: request\n", "p.yaml:2:8: reset.scope: request with order before: every update is "
                              "thrown away before it answers anything"},
    {"preset: norm_ema\nreset: request\npredict: before\n",
     "p.yaml:2:8: reset.scope: request with order before: every update is thrown away before it "
     "answers anything"},
    {TENT "reset: sample\npredict: last\n",
     "p.yaml:2:8: reset.scope: sample with order last and one step: every update is thrown away "
     "before it answers anything"},
    {TENT "reset: {scope: request, every_updates: 5}\npredict: after\n",
     "p.yaml:2:8: reset.every_updates: scope request never gets so far"},
    /* time */
    {TENT "adapt: later\n", "p.yaml:2:8: adapt: 'later' is not one of inline|background"},
    {TENT "adapt: background\npredict: after\n",
     "p.yaml:2:8: adapt: background answers before it learns, but predict.order is not 'before'"},
    {TENT "brownout: {queue_ms: 10, clear_ms: 11}\n",
     "p.yaml:2:36: clear_ms: 11 is above queue_ms 10"},
    /* images */
    {"preprocess: {std: 0}\n", "p.yaml:1:19: std: 0 is outside [1e-09, 1000000000]"},
    {"preprocess: {std: [0.1, 0]}\n", "p.yaml:1:25: std: 0 is outside [1e-09, 1000000000]"},
    {"preprocess: {mean: [1, 2, 3], std: [1, 2]}\n", "p.yaml:1:36: std: 2 numbers, mean has 3"},
    {"preprocess: {layout: hwc}\n",
     "p.yaml:1:22: layout: 'hwc' is not one of nchw|nhwc, did you mean 'nhwc'"},
    /* guards */
    {TENT "guards: [strict]\n", "p.yaml:2:10: found 'strict', want a map"},
    {TENT "guards: strict\n", "p.yaml:2:9: found 'strict', want a map"},
    {TENT "guards: [{name: g, action: hold, signal: entropy}]\n",
     "p.yaml:2:42: signal: 'entropy' is not one of "},
    {TENT "guards: [{name: g, signal: class_collapse, above: 0.5}]\n",
     "p.yaml:2:10: key 'action' is missing: what a trip does"},
    {TENT "guards: [{name: g, signal: class_collapse, action: hold}]\n",
     "p.yaml:2:10: guard 'g': none of above and below, want exactly one"},
    {"preset: norm\nguards: [{name: g, signal: loss, above: 9, action: hold}]\n",
     "p.yaml:2:10: guards[0]: loss is never measured: the policy has no objective"},
    {TENT "monitor: {shadow: {every: 0}}\n"
          "guards: [{name: g, signal: base_disagreement, above: 0.5, action: hold}]\n",
     "p.yaml:3:10: guards[0]: base_disagreement is never measured: monitor.shadow.every is 0"},
    {TENT "monitor: {shadow: {stats: source}}\n"
          "guards: [{name: g, signal: shadow_disagreement, above: 0.5, action: hold}]\n",
     "p.yaml:3:10: guards[0]: shadow_disagreement is never measured: monitor.shadow.stats has no "
     "'same'"},
    /* the rest */
    {TENT "monitor: {windw: 5}\n", "p.yaml:2:11: unknown key 'windw', did you mean 'window'"},
    {TENT "monitor: {shadow: 8}\n", "p.yaml:2:19: shadow: found '8', want a map"},
    {TENT "monitor: {shadow: {every: -1}}\n", "p.yaml:2:27: every: -1 is outside [0, 1000000000]"},
    {TENT "recovery: {window: 5}\n", "p.yaml:2:12: unknown key 'window', known here: "},
    {TENT "recovery: {max_rollbacks: 0}\n", "p.yaml:2:27: max_rollbacks: 0 is outside [1, 16]"},
    {TENT "snapshots: 5\n", "p.yaml:2:12: snapshots: found '5', want a map"},
};

static void each_mistake_is_told_at_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *told;
        char line[600];

        if (read_policy(bad[i].text, strlen(bad[i].text), &arena))
            fail_msg("accepted: %s", bad[i].text);
        told = tt_diags_text(&diags);
        snprintf(line, sizeof line, "%.*s", (int)strcspn(told, "\n"), told);
        /* a row that ends in a space or '...of ' is only how the line begins */
        if (bad[i].first_line[strlen(bad[i].first_line) - 1] == ' ')
            line[strlen(bad[i].first_line)] = '\0';
        assert_string_equal(line, bad[i].first_line);
    }
}

static void all_mistakes_are_told_at_once_in_order(void **state)
{
    static const char text[] = "preset: tent\n"
                               "steps: 0\n"
                               "optimizer: {lr: nan, beta: 1}\n"
                               "guards:\n"
                               "  - {name: g, signal: loss, action: rolback}\n"
                               "predict: {order: beforehand}\n"
                               "colour: red\n"
                               "preset: tent\n"
                               "name: !!str x\n";
    static const char *const lines[] = {
        "p.yaml:2:8: steps: 0 is outside [1, 64]\n  2 | steps: 0\n    |        ^\n",
        "p.yaml:3:17: lr: found 'nan', want a number\n",
        "p.yaml:3:22: unknown key 'beta', did you mean 'beta1'\n",
        "p.yaml:5:37: action: 'rolback' is not one of hold|reset|rollback|freeze, did you mean "
        "'rollback'\n",
        "p.yaml:6:18: order: 'beforehand' is not one of before|after|last\n",
        "p.yaml:7:1: unknown key 'colour', known here: version, name, preset, steps, "
        "convolution, adapt, select",
        "p.yaml:8:1: key 'preset' is given twice, first in line 1\n",
        "p.yaml:9:7: tag '",
    };
    const char *told, *last;

    (void)state;
    assert_null(read_policy(text, strlen(text), &arena));
    assert_int_equal(diags.errors, 8);
    told = last = tt_diags_text(&diags);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const char *at = strstr(told, lines[i]);

        assert_contains(told, lines[i]);
        assert_true(at >= last);
        last = at;
    }
}

static void one_value_that_serves_twice_is_told_once(void **state)
{
    const char *text = "stats: {mode: blend, alpha: 7}\n";

    (void)state;
    assert_null(read_policy(text, strlen(text), &arena));
    assert_int_equal(diags.errors, 1);
}

static void warnings_leave_a_policy(void **state)
{
    static const struct {
        const char *text, *warning;
    } rows[] = {
        {"# all of it\n", "p.yaml: warning: nothing in it: the model answers as it was deployed\n"},
        {"stats: {mode: batch, momentum: 0.1}\n",
         "p.yaml:1:8: warning: stats.learn.momentum: running statistics are tracked and nothing "
         "reads them: stats.answer is not running\n"},
        {TENT "monitor: {shadow: {every: 100}}\n"
              "guards: [{name: g, signal: base_disagreement, above: 0.5, action: hold}]\n",
         "p.yaml:3:10: warning: guards[0]: with monitor.shadow.every 100 its min_samples 200 are "
         "not there when recovery.warmup_samples 512 end: the stream holds until they are\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_non_null(read_policy(rows[i].text, strlen(rows[i].text), &arena));
        assert_contains(tt_diags_text(&diags), rows[i].warning);
    }
}

static void what_is_sensible_is_not_refused(void **state)
{
    static const char *const texts[] = {
        "preset: tent\nobjective: []\n", // what the preset says beside it is no mistake
        "stats: {mode: ema, half_life: 64}\nreset: request\n", // answers with what it tracked
        "preset: tent\nreset: request\npredict: after\n",
        "preset: tent\nreset: request\npredict: last\nsteps: 2\n",
        "preset: tent\nreset: {every_updates: 1000}\n",
        "preset: norm_ema\nreset: {scope: request}\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct tt_policy *p = read_policy(texts[i], strlen(texts[i]), &arena);

        if (!p || diags.n)
            fail_msg("%s", tt_diags_text(&diags));
    }
}

static const char *const shipped[] = {"policies/observe.yaml", "policies/norm.yaml",
                                      "policies/tent.yaml"};

static void a_policy_cut_anywhere_is_read_or_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shipped / sizeof *shipped; i++) {
        size_t n;
        char *text = read_file(shipped[i], &n);
        int refused = 0;

        for (size_t cut = 0; cut <= n; cut++) {
            struct tt_arena a;
            char *copy = (char *)malloc(cut ? cut : 1); // so that a read past the end is seen

            memcpy(copy, text, cut);
            tt_arena_init(&a, 0);
            if (!read_policy(copy, cut, &a)) {
                refused++;
                assert_true(diags.errors > 0);
                assert_true(*tt_diags_text(&diags));
            }
            tt_arena_release(&a);
            free(copy);
        }
        assert_true(refused > 10);
        free(text);
    }
}

static void a_policy_with_a_changed_byte_is_read_or_refused(void **state)
{
    static const char bytes[] = "\0\t:-[]{}&*!#'\"\\%\x80\xff";
    size_t n;
    char *text = read_file("policies/tent.yaml", &n);

    (void)state;
    for (size_t at = 0; at < n; at++) {
        char old = text[at];
        struct tt_arena a;

        text[at] = bytes[at % (sizeof bytes - 1)];
        tt_arena_init(&a, 0);
        if (!read_policy(text, n, &a))
            assert_true(diags.errors > 0 && *tt_diags_text(&diags));
        tt_arena_release(&a);
        text[at] = old;
    }
    free(text);
}

static void every_allocation_may_fail(void **state)
{
    size_t n;
    char *text = read_file("policies/tent.yaml", &n);
    const struct tt_policy *p = NULL;
    int failures = 0;

    (void)state;
    for (size_t limit = 64; !p && limit < 10000000; limit += 64) {
        struct tt_arena small;

        tt_arena_init(&small, limit);
        p = read_policy(text, n, &small);
        if (!p) {
            failures++;
            assert_contains(tt_diags_text(&diags), "out of memory");
        }
        tt_arena_release(&small);
    }
    assert_non_null(p);
    assert_true(failures > 100);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mistake_is_told_at_its_place),
        cmocka_unit_test(all_mistakes_are_told_at_once_in_order),
        cmocka_unit_test(one_value_that_serves_twice_is_told_once),
        cmocka_unit_test(warnings_leave_a_policy),
        cmocka_unit_test(what_is_sensible_is_not_refused),
        cmocka_unit_test(a_policy_cut_anywhere_is_read_or_refused),
        cmocka_unit_test(a_policy_with_a_changed_byte_is_read_or_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
