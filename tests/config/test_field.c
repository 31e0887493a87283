// SPDX-License-Identifier: Apache-2.0
#include "tests/support/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config/field.h"

struct options {
    int64_t steps;
    double lr;
    bool nesterov;
    const char *file;
    int mode;
    unsigned kinds;
    struct tt_strs include;
    struct tt_floats mean;
};

static const struct tt_field table[] = {
    TT_F(TT_FINT, struct options, steps, "1", 1, 64, 0, "updates a batch"),
    TT_F(TT_FFLOAT, struct options, lr, "0.001", 0, 0.1, TT_LIVE, "learning rate"),
    TT_F(TT_FBOOL, struct options, nesterov, "false", 0, 0, 0, "look ahead"),
    TT_F(TT_FSTR, struct options, file, "", 0, 0, 0, "where from"),
    TT_E(struct options, mode, "batch", "source|batch|blend", 0, "statistics"),
    {.key = "kinds",
     .type = TT_FFLAGS,
     .offset = offsetof(struct options, kinds),
     .def = "[bn, ln]",
     .choice = "bn|ln|gn",
     .help = "which"},
    TT_F(TT_FSTRS, struct options, include, "[]", 0, 0, 0, "globs"),
    TT_F(TT_FFLOATS, struct options, mean, "[0.5]", 0, 1, 0, "means"),
    {0},
};

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

static bool read_options(const char *text, struct options *ret)
{
    struct tt_ynode *root;

    *ret = (struct options){0};
    tt_diags_init(&diags, &arena, "t.yaml", text, strlen(text));
    root = tt_yaml_read(text, strlen(text), &arena, &diags);
    return root && tt_fields_read(table, root, NULL, ret, &diags);
}

static void defaults_go_through_the_same_reader(void **state)
{
    struct options o = {0};

    (void)state;
    tt_diags_init(&diags, &arena, "t.yaml", "", 0);
    assert_true(tt_fields_read(table, NULL, NULL, &o, &diags));
    assert_int_equal(o.steps, 1);
    assert_close(o.lr, 0.001, 0, 0);
    assert_false(o.nesterov);
    assert_string_equal(o.file, "");
    assert_int_equal(o.mode, 1);
    assert_int_equal(o.kinds, 3);
    assert_int_equal(o.include.n, 0);
    assert_int_equal(o.mean.n, 1);
    assert_close(o.mean.v[0], 0.5, 0, 0);
}

static void values_are_read(void **state)
{
    struct options o;

    (void)state;
    assert_true(read_options("steps: 64\nlr: 1e-2\nnesterov: true\nfile: \"null\"\nmode: blend\n"
                             "kinds: gn\ninclude: [a*, \"*.b\"]\nmean: [.1, 0.2, 1]\n",
                             &o));
    assert_int_equal(o.steps, 64);
    assert_close(o.lr, 0.01, 0, 0);
    assert_true(o.nesterov);
    assert_string_equal(o.file, "null");
    assert_int_equal(o.mode, 2);
    assert_int_equal(o.kinds, 4);
    assert_string_equal(o.include.s[1], "*.b");
    assert_close(o.mean.v[2], 1, 0, 0);
    assert_true(read_options("kinds: []\ninclude: one\nmean: 0.3\n", &o));
    assert_int_equal(o.kinds, 0);
    assert_string_equal(o.include.s[0], "one");
    assert_close(o.mean.v[0], 0.3, 0, 0);
}

static const struct {
    const char *text, *first_line;
} bad[] = {
    {"steps: 0\n", "t.yaml:1:8: steps: 0 is outside [1, 64]"},
    {"steps: 65\n", "t.yaml:1:8: steps: 65 is outside [1, 64]"},
    {"steps: 1.0\n", "t.yaml:1:8: steps: found '1.0', want a whole number"},
    {"steps: 1e1\n", "t.yaml:1:8: steps: found '1e1', want a whole number"},
    {"steps: \"2\"\n", "t.yaml:1:8: steps: found \"2\", want a whole number"},
    {"steps: 010\n", "t.yaml:1:8: steps: 010 begins with 0, is it octal"},
    {"steps: 0x10\n", "t.yaml:1:8: steps: found '0x10', want a whole number"},
    {"steps: +5\n", "t.yaml:1:8: steps: found '+5', want a whole number"},
    {"steps: 99999999999999999999999\n",
     "t.yaml:1:8: steps: 99999999999999999999999 is outside [1, 64]"},
    {"steps: [1]\n", "t.yaml:1:8: steps: found a list, want a whole number"},
    {"steps:\n", "t.yaml:1:7: steps: found nothing, want a whole number"},
    {"lr: nan\n", "t.yaml:1:5: lr: found 'nan', want a number"},
    {"lr: .nan\n", "t.yaml:1:5: lr: found '.nan', want a number"},
    {"lr: inf\n", "t.yaml:1:5: lr: found 'inf', want a number"},
    {"lr: -.inf\n", "t.yaml:1:5: lr: found '-.inf', want a number"},
    {"lr: 1e999\n", "t.yaml:1:5: lr: 1e999 is outside [0, 0.1]"},
    {"lr: -1e-9\n", "t.yaml:1:5: lr: -1e-9 is outside [0, 0.1]"},
    {"lr: 0x1p-3\n", "t.yaml:1:5: lr: found '0x1p-3', want a number"},
    {"lr: 1_0\n", "t.yaml:1:5: lr: found '1_0', want a number"},
    {"lr: 1e\n", "t.yaml:1:5: lr: found '1e', want a number"},
    {"lr: .\n", "t.yaml:1:5: lr: found '.', want a number"},
    {"nesterov: yes\n", "t.yaml:1:11: nesterov: found 'yes', want true or false"},
    {"nesterov: 1\n", "t.yaml:1:11: nesterov: found '1', want true or false"},
    {"file: null\n", "t.yaml:1:7: file: found 'null', want a text"},
    {"file: {a: 1}\n", "t.yaml:1:7: file: found a map, want a text"},
    {"mode: bacth\n",
     "t.yaml:1:7: mode: 'bacth' is not one of source|batch|blend, did you mean 'batch'"},
    {"mode: 1\n", "t.yaml:1:7: mode: '1' is not one of source|batch|blend"},
    {"mode: [batch]\n", "t.yaml:1:7: mode: found a list, want one of source|batch|blend"},
    {"kinds: [bn, conv]\n", "t.yaml:1:13: kinds: 'conv' is not one of bn|ln|gn"},
    {"kinds: [bn, bn]\n", "t.yaml:1:13: kinds: 'bn' is given twice"},
    {"kinds: {bn: 1}\n", "t.yaml:1:8: kinds: found a map, want a list"},
    {"include: [a, [b]]\n", "t.yaml:1:14: found a list, want a text"},
    {"include:\n", "t.yaml:1:9: include: found nothing, want a list"},
    {"mean: [0.5, x]\n", "t.yaml:1:13: found 'x', want a number"},
    {"mean: [0.5, 2]\n", "t.yaml:1:13: mean: 2 is outside [0, 1]"},
    {"step: 1\n", "t.yaml:1:1: unknown key 'step', did you mean 'steps'"},
    {"zebra: 1\n", "t.yaml:1:1: unknown key 'zebra', known here: steps, lr, nesterov, file, mode, "
                   "kinds, include, mean"},
    {"- 1\n", "t.yaml:1:1: found a list, want a map"},
    {"word\n", "t.yaml:1:1: found 'word', want a map"},
};

static void each_mistake_is_told_at_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct options o;
        const char *told;
        char line[200];

        assert_false(read_options(bad[i].text, &o));
        told = tt_diags_text(&diags);
        snprintf(line, sizeof line, "%.*s", (int)strcspn(told, "\n"), told);
        assert_string_equal(line, bad[i].first_line);
    }
}

static void all_mistakes_are_told_at_once(void **state)
{
    struct options o;

    (void)state;
    assert_false(read_options("setps: 3\nlr: 7\nmode: bacth\nmean: [1, 2, 3]\n", &o));
    assert_string_equal(
        tt_diags_text(&diags),
        "t.yaml:1:1: unknown key 'setps', did you mean 'steps'\n"
        "  1 | setps: 3\n"
        "    | ^\n"
        "t.yaml:2:5: lr: 7 is outside [0, 0.1]\n"
        "  2 | lr: 7\n"
        "    |     ^\n"
        "t.yaml:3:7: mode: 'bacth' is not one of source|batch|blend, did you mean 'batch'\n"
        "  3 | mode: bacth\n"
        "    |       ^\n"
        "t.yaml:4:11: mean: 2 is outside [0, 1]\n"
        "  4 | mean: [1, 2, 3]\n"
        "    |           ^\n"
        "t.yaml:4:14: mean: 3 is outside [0, 1]\n"
        "  4 | mean: [1, 2, 3]\n"
        "    |              ^\n");
}

static void a_key_without_a_default_is_required(void **state)
{
    static const struct tt_field rows[] = {
        TT_F(TT_FFLOAT, struct options, lr, NULL, 0, 1, 0, "learning rate"), {0}};
    struct options o;

    (void)state;
    tt_diags_init(&diags, &arena, "t.yaml", NULL, 0);
    assert_false(tt_fields_read(rows, NULL, NULL, &o, &diags));
    assert_string_equal(tt_diags_text(&diags), "t.yaml: key 'lr' is missing: learning rate\n");
}

static void bounds_without_end_still_keep_infinity_out(void **state)
{
    static const struct tt_field rows[] = {
        TT_F(TT_FFLOAT, struct options, lr, "0", -INFINITY, INFINITY, 0, "any number"), {0}};
    static const char text[] = "lr: 1e999\n";
    struct options o;

    (void)state;
    tt_diags_init(&diags, &arena, "t.yaml", text, strlen(text));
    assert_false(
        tt_fields_read(rows, tt_yaml_read(text, strlen(text), &arena, &diags), NULL, &o, &diags));
}

static void what_is_printed_reads_back_to_the_same(void **state)
{
    struct options o, again;
    struct tt_out out, second;

    (void)state;
    assert_true(read_options("steps: 3\nlr: 0.07\nfile: 'a\"b\\\n\n  c'\nmode: source\n"
                             "kinds: [gn, bn]\ninclude: [\"a\", 'b #']\nmean: [0.1, 0.3]\n",
                             &o));
    tt_out_init(&out, &arena);
    tt_fields_print(table, &o, 0, &out);
    assert_string_equal(tt_out_text(&out),
                        "steps: 3\nlr: 0.07\nnesterov: false\nfile: \"a\\\"b\\\\\\nc\"\n"
                        "mode: source\nkinds: [bn, gn]\ninclude: [\"a\", \"b #\"]\n"
                        "mean: [0.1, 0.3]\n");
    assert_true(read_options(tt_out_text(&out), &again));
    tt_out_init(&second, &arena);
    tt_fields_print(table, &again, 0, &second);
    assert_string_equal(tt_out_text(&second), tt_out_text(&out));
}

static void the_example_holds_every_key_and_is_valid(void **state)
{
    struct options o;
    struct tt_out out;

    (void)state;
    tt_out_init(&out, &arena);
    tt_fields_example(table, 0, &out);
    assert_contains(tt_out_text(&out), "# learning rate [0 to 0.1] (a reload changes it)\n"
                                       "lr: 0.001\n");
    assert_true(read_options(tt_out_text(&out), &o));
}

static void every_allocation_may_fail(void **state)
{
    const char *text = "kinds: [bn]\ninclude: [a, b]\nmean: [0.1]\nsteps: 5\n";
    bool ok = false;
    int failures = 0;

    (void)state;
    for (size_t limit = 64; !ok && limit < 100000; limit += 64) {
        struct tt_arena small;
        struct options o = {0};
        struct tt_ynode *root;

        tt_arena_init(&small, limit);
        tt_diags_init(&diags, &small, "t.yaml", text, strlen(text));
        root = tt_yaml_read(text, strlen(text), &small, &diags);
        ok = root && tt_fields_read(table, root, NULL, &o, &diags);
        if (!ok) {
            failures++;
            assert_contains(tt_diags_text(&diags), "out of memory");
        }
        tt_arena_release(&small);
    }
    assert_true(ok);
    assert_true(failures > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_go_through_the_same_reader),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(each_mistake_is_told_at_its_place),
        cmocka_unit_test(all_mistakes_are_told_at_once),
        cmocka_unit_test(a_key_without_a_default_is_required),
        cmocka_unit_test(bounds_without_end_still_keep_infinity_out),
        cmocka_unit_test(what_is_printed_reads_back_to_the_same),
        cmocka_unit_test(the_example_holds_every_key_and_is_valid),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
