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

/* The policy of that text; fails the test when it has mistakes. */
static const struct tt_policy *read_named(const char *file, const char *text)
{
    const struct tt_policy *p;

    tt_diags_init(&diags, &arena, file, text, strlen(text));
    p = tt_policy_read(file, text, strlen(text), &arena, &diags);
    if (!p)
        fail_msg("%s", tt_diags_text(&diags));
    return p;
}

static const struct tt_policy *read_policy(const char *text)
{
    return read_named("dir/mine.yaml", text);
}

static const struct tt_policy *read_preset(const char *name)
{
    char text[100];

    snprintf(text, sizeof text, "preset: %s\n", name);
    return read_policy(text);
}

/* Option of a part's use, by its key. */
static double option(const struct tt_use *u, const char *key)
{
    for (const struct tt_field *f = u->part->options; f->key; f++)
        if (!strcmp(f->key, key)) {
            const char *at = (const char *)u->options + f->offset;

            return *(const double *)(const void *)at;
        }
    fail_msg("%s has no option %s", u->part->name, key);
    return 0;
}

static void tent_is_what_the_paper_says(void **state)
{
    const struct tt_method *m = &read_preset("tent")->method;

    (void)state;
    assert_string_equal(m->preset, "tent");
    assert_int_equal(m->select.kinds, 1 << TT_KIND_BN);
    assert_int_equal(m->answer.mode, TT_STATS_BATCH);
    assert_int_equal(m->learn.mode, TT_STATS_BATCH);
    assert_int_equal(m->nuses, 2);
    assert_string_equal(m->uses[0].part->name, "entropy");
    assert_string_equal(m->uses[1].part->name, "adam");
    assert_close(option(&m->uses[1], "lr"), 0.001, 0, 0);
    assert_close(option(&m->uses[1], "beta2"), 0.999, 0, 0);
    assert_int_equal(m->steps, 1);
    assert_int_equal(m->reset_scope, TT_RESET_NEVER);
    assert_int_equal(m->predict_order, TT_PREDICT_BEFORE);
}

static void the_presets_of_statistics_are_what_the_papers_say(void **state)
{
    const struct tt_method *m = &read_preset("source")->method;

    (void)state;
    assert_int_equal(m->nuses, 0);
    assert_int_equal(m->answer.mode, TT_STATS_SOURCE);
    m = &read_preset("norm")->method;
    assert_int_equal(m->answer.mode, TT_STATS_BATCH);
    assert_close(m->learn.momentum, 0, 0, 0);
    m = &read_preset("norm_blend")->method;
    assert_int_equal(m->answer.mode, TT_STATS_BLEND);
    assert_close(m->answer.alpha, 0.1, 0, 0);
    m = &read_preset("norm_ema")->method;
    assert_int_equal(m->answer.mode, TT_STATS_RUNNING);
    assert_int_equal(m->learn.mode, TT_STATS_BATCH);
    assert_close(m->learn.momentum, 0.1, 0, 0);
    assert_int_equal(m->predict_order, TT_PREDICT_AFTER);
}

static void every_preset_reads_and_keeps_its_name(void **state)
{
    const char *const *names = tt_preset_names(&arena);
    int n = 0;

    (void)state;
    for (; names[n]; n++) {
        size_t help;

        assert_string_equal(read_preset(names[n])->method.preset, names[n]);
        assert_int_equal(diags.n, 0);
        tt_preset_help(tt_preset_text(names[n]), &help);
        assert_true(help > 20);
    }
    assert_true(n >= 5);
    assert_null(tt_preset_text("tnet"));
    assert_null(tt_preset_text(""));
}

static void maps_merge_by_key_and_keep_the_users_places(void **state)
{
    const struct tt_method *m =
        &read_policy("preset: tent\noptimizer: {lr: 0.01}\nselect:\n  exclude: [\"fc*\"]\n")
             ->method;

    (void)state;
    assert_close(option(&m->uses[1], "lr"), 0.01, 0, 0);
    assert_string_equal(m->uses[1].part->name, "adam");
    assert_int_equal(m->uses[1].line, 2);
    assert_int_equal(m->uses[0].line, 1); // the line that names the preset
    assert_int_equal(m->select.kinds, 1 << TT_KIND_BN);
    assert_string_equal(m->select.exclude.s[0], "fc*");
    assert_int_equal(m->select.line, 4);
    assert_string_equal(m->preset, "tent");
}

static void a_new_kind_drops_the_old_ones_options(void **state)
{
    const struct tt_method *m =
        &read_policy("preset: tent\noptimizer: {kind: sgd, lr: 0.00025, momentum: 0.9}\n")->method;

    (void)state;
    assert_string_equal(m->uses[1].part->name, "sgd");
    assert_close(option(&m->uses[1], "momentum"), 0.9, 0, 0);
    assert_string_equal(m->preset, "tent");
    m = &read_policy("preset: norm_blend\nstats: batch\n")->method;
    assert_int_equal(m->answer.mode, TT_STATS_BATCH);
    assert_close(m->answer.alpha, 0, 0, 0);
    assert_string_equal(m->preset, "custom");
    m = &read_policy("preset: norm_blend\nstats: {alpha: 0.3}\n")->method;
    assert_close(m->answer.alpha, 0.3, 0, 0);
    assert_close(m->learn.alpha, 0.3, 0, 0);
    assert_string_equal(m->preset, "norm_blend");
    m = &read_policy("preset: norm_ema\nstats: {learn: {momentum: 0.05}}\n")->method;
    assert_close(m->learn.momentum, 0.05, 0, 0);
    assert_string_equal(m->preset, "norm_ema");
}

static void short_forms_mean_the_long_ones(void **state)
{
    static const char *const forms[] = {
        "select: {kinds: [bn]}\nstats: {answer: {mode: batch}, learn: {mode: batch}}\n"
        "objective:\n  - {term: entropy}\noptimizer: {kind: adam}\nreset: {scope: never}\n"
        "predict: {order: before}\n",
        "select: {kinds: bn}\nstats: batch\nobjective: [entropy]\noptimizer: adam\nreset: never\n"
        "predict: before\n",
        "select: {kinds: bn}\nstats: {mode: batch}\nobjective: entropy\noptimizer: adam\n",
        "stats: {answer: batch, learn: batch}\nselect: {kinds: bn}\nobjective: {term: entropy}\n"
        "optimizer: {kind: adam, lr: 1e-3}\n# a comment\n",
        "preset: tent\nname: other\n",
    };
    const char *want = read_policy(forms[0])->hash;

    (void)state;
    for (size_t i = 1; i < sizeof forms / sizeof *forms; i++)
        assert_string_equal(read_policy(forms[i])->hash, want);
    assert_string_not_equal(read_policy("preset: tent\nsteps: 2\n")->hash, want);
    assert_string_not_equal(read_policy("preset: tent\nmonitor: {window: 64}\n")->hash, want);
    assert_string_not_equal(read_policy("preset: tent\npreprocess: {mean: 0.5}\n")->hash, want);
}

static void the_whole_meaning_reads_back_to_itself(void **state)
{
    static const char *const files[] = {"policies/observe.yaml", "policies/norm.yaml",
                                        "policies/tent.yaml"};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *text = read_file(files[i], NULL);
        const struct tt_policy *p = read_named(files[i], text), *again;

        assert_int_equal(diags.n, 0); // not even a warning
        again = read_policy(p->text);
        assert_string_equal(again->text, p->text);
        assert_string_equal(again->hash, p->hash);
        free(text);
    }
}

static void a_policy_is_named_by_its_key_or_its_file(void **state)
{
    (void)state;
    assert_string_equal(read_named("a/b.c/mine.yaml", "preset: norm\n")->name, "mine");
    assert_string_equal(read_named("mine", "preset: norm\n")->name, "mine");
    assert_string_equal(read_named(".yaml", "preset: norm\n")->name, ".yaml");
    assert_string_equal(read_named("a/my file.yaml", "preset: norm\n")->name, "my-file");
    assert_string_equal(read_named("a/x.yaml", "name: y\n")->name, "y");
    assert_string_equal(read_named("a/x.yaml", "")->method.preset, "custom");
}

static void engines_are_named_after_the_preset_until_its_parts_change(void **state)
{
    static const struct {
        const char *text, *name;
    } rows[] = {
        {"preset: tent\nsteps: 3\nreset: {every_updates: 1000}\n", "tent"},
        {"preset: tent\nselect: {kinds: [bn, ln]}\n", "tent"},
        {"preset: tent\noptimizer: {kind: adam, lr: 1}\n", "tent"},
        {"preset: tent\nobjective: [entropy, entropy]\n", "custom"},
        {"preset: tent\noptimizer: {kind: sgd, lr: 1}\n", "tent"},
        {"preset: tent\nstats: source\n", "custom"},
        {"preset: tent\nobjective: []\n", "custom"},
        {"preset: norm_ema\nstats: {learn: {mode: source, momentum: 0.1}}\n", "custom"},
        {"stats: batch\n", "custom"},
        {"{}\n", "custom"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(read_policy(rows[i].text)->method.preset, rows[i].name);
}

static void guards_and_what_follows_are_read(void **state)
{
    const struct tt_policy *p = read_policy(
        "preset: tent\nguards:\n"
        "  - {name: g, signal: shadow_disagreement, above: 0.35, min_samples: 128,\n"
        "     action: rollback}\n"
        "monitor: {window: 256, shadow: {every: 2, stats: same}}\n"
        "recovery: {max_rollbacks: 2, soak_samples: 99}\nsnapshots: {every_updates: 7}\n"
        "preprocess: {mean: [0.1, 0.2, 0.3], std: 0.5, layout: nhwc}\n"
        "capture: {mode: on, max_bytes: 2000000}\n");

    (void)state;
    assert_int_equal(p->guard.nrules, 1);
    assert_string_equal(p->guard.rules[0].name, "g");
    assert_int_equal(p->guard.rules[0].signal, TT_SIG_SHADOW_DISAGREEMENT);
    assert_int_equal(p->guard.rules[0].line, 3);
    assert_int_equal(p->guard.rules[0].action, TT_ACTION_ROLLBACK);
    assert_int_equal(p->guard.settings.window, 256);
    assert_int_equal(p->guard.settings.max_rollbacks, 2);
    assert_int_equal(p->guard.settings.soak_samples, 99);
    assert_int_equal(p->monitor.shadow_every, 2);
    assert_int_equal(p->monitor.shadow_stats, TT_SHADOW_SAME);
    assert_int_equal(p->snapshots.every_updates, 7);
    assert_close(p->preprocess.scale, 1.0 / 255, 0, 0);
    assert_int_equal(p->preprocess.mean.n, 3);
    assert_int_equal(p->preprocess.std.n, 1);
    assert_int_equal(p->preprocess.layout, TT_NHWC);
    assert_int_equal(p->capture.mode, TT_CAPTURE_ON);
    assert_int_equal(p->capture.max_bytes, 2000000);
}

static void capture_is_off_and_a_word_turns_it_on(void **state)
{
    const struct tt_policy *off = read_preset("tent");
    const struct tt_policy *on = read_policy("preset: tent\ncapture: on\n");

    (void)state;
    assert_int_equal(off->capture.mode, TT_CAPTURE_OFF);
    assert_int_equal(on->capture.mode, TT_CAPTURE_ON);
    assert_int_equal(on->capture.max_bytes, 256 << 20);
    assert_string_equal(read_policy(on->text)->hash, on->hash);
    assert_string_not_equal(on->hash, off->hash);
}

static void kinds_all_selects_every_kind(void **state)
{
    (void)state;
    assert_int_equal(read_policy("preset: tent\nselect: {kinds: all}\n")->method.select.kinds,
                     (1 << TT_NKINDS) - 1);
    assert_int_equal(
        read_policy("preset: tent\nselect: {kinds: [], include: [\"a*\"]}\n")->method.select.kinds,
        0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tent_is_what_the_paper_says),
        cmocka_unit_test(the_presets_of_statistics_are_what_the_papers_say),
        cmocka_unit_test(every_preset_reads_and_keeps_its_name),
        cmocka_unit_test(maps_merge_by_key_and_keep_the_users_places),
        cmocka_unit_test(a_new_kind_drops_the_old_ones_options),
        cmocka_unit_test(short_forms_mean_the_long_ones),
        cmocka_unit_test(the_whole_meaning_reads_back_to_itself),
        cmocka_unit_test(a_policy_is_named_by_its_key_or_its_file),
        cmocka_unit_test(engines_are_named_after_the_preset_until_its_parts_change),
        cmocka_unit_test(guards_and_what_follows_are_read),
        cmocka_unit_test(capture_is_off_and_a_word_turns_it_on),
        cmocka_unit_test(kinds_all_selects_every_kind),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
