// SPDX-License-Identifier: Apache-2.0
#include "tests/support/check.h"

#include <jansson.h>

#include "config/settings.h"
#include "daemon/commands.h"
#include "tests/daemon/verb.h"

#define MODEL       "models/fashion_resnet.onnx"

#define CHECK(...)  run(tt_cmd_check, (const char *const[]){"check", __VA_ARGS__, NULL})
#define PRESET(...) run(tt_cmd_preset, (const char *const[]){"preset", __VA_ARGS__})

static void good_files_are_ok_and_bad_ones_fail_with_their_lines(void **state)
{
    char want[300];

    (void)state;
    write_text("good.yaml", "preset: norm\n");
    write_text("bad.yaml", "preset: norm\nsteps: 0\n");
    assert_int_equal(CHECK(in_dir("good.yaml")), 0);
    snprintf(want, sizeof want, "%s: ok\n", in_dir("good.yaml"));
    assert_string_equal(out, want);
    assert_string_equal(err, "");
    assert_int_equal(CHECK(in_dir("bad.yaml"), in_dir("good.yaml")), 1);
    assert_string_equal(out, want);
    snprintf(want, sizeof want,
             "%s:2:8: steps: 0 is outside [1, 64]\n  2 | steps: 0\n    |        ^\n",
             in_dir("bad.yaml"));
    assert_string_equal(err, want);
    assert_int_equal(CHECK(in_dir("none.yaml")), 1);
    snprintf(want, sizeof want, "%s: No such file or directory\n", in_dir("none.yaml"));
    assert_string_equal(err, want);
}

static void what_ships_is_ok(void **state)
{
    (void)state;
    assert_int_equal(CHECK("policies/observe.yaml", "policies/norm.yaml", "policies/tent.yaml",
                           "config/ttad.example.yaml"),
                     0);
    assert_string_equal(err, "");
}

static void a_configuration_is_checked_with_its_policies_and_models(void **state)
{
    (void)state;
    write_text("bad.yaml", "preset: tnet\n");
    write_text("conf.yaml", "models: [{name: m, path: none.onnx}]\n"
                            "policies: [{name: b, path: bad.yaml}, {name: n, path: no.yaml}]\n");
    assert_int_equal(CHECK(in_dir("conf.yaml")), 1);
    assert_contains(err, "conf.yaml:1:10: models[0]: ");
    assert_contains(err, "none.onnx cannot be read");
    assert_contains(err, "conf.yaml:2:39: policies[1]: ");
    assert_contains(err, "bad.yaml:1:9: preset: 'tnet' is not one of");
    assert_string_equal(out, "");
}

static void verdicts_come_as_json(void **state)
{
    json_t *list, *one, *mistake;

    (void)state;
    write_text("good.yaml", "preset: tent\nname: mine\n");
    write_text("bad.yaml", "preset: norm\nsteps: 0\n");
    assert_int_equal(CHECK("--json", in_dir("good.yaml"), in_dir("bad.yaml")), 1);
    assert_string_equal(err, "");
    list = json_loads(out, 0, NULL);
    assert_int_equal(json_array_size(list), 2);
    one = json_array_get(list, 0);
    assert_true(json_is_true(json_object_get(one, "ok")));
    assert_string_equal(json_string_value(json_object_get(one, "name")), "mine");
    assert_string_equal(json_string_value(json_object_get(one, "engine")), "tent");
    assert_int_equal(strlen(json_string_value(json_object_get(one, "hash"))), 64);
    one = json_array_get(list, 1);
    assert_true(json_is_false(json_object_get(one, "ok")));
    mistake = json_array_get(json_object_get(one, "mistakes"), 0);
    assert_int_equal(json_integer_value(json_object_get(mistake, "line")), 2);
    assert_int_equal(json_integer_value(json_object_get(mistake, "col")), 8);
    json_decref(list);
}

static void a_step_is_explained_for_a_model(void **state)
{
    (void)state;
    assert_int_equal(CHECK("--explain", "policies/tent.yaml", "--model", MODEL, "--batch", "8"), 0);
    assert_contains(out, "engine      tent\n");
    assert_contains(out, "optimizer   adam");
    assert_contains(out, "at most 8 rows");
    write_text("bad.yaml", "preset: tent\nselect: {kinds: ln}\n");
    write_text("good.yaml", "preset: tent\nreset: {every_updates: 3}\n");
    assert_int_equal(CHECK("--explain", in_dir("good.yaml"), "--model", MODEL, "--batch", "1"), 0);
    assert_contains(out, "\nreset       after every 3 batches learnt from\n");
    assert_contains(out, "\nbatch       at most 1 row, ");
    assert_int_equal(CHECK("--explain", "--model", MODEL, in_dir("bad.yaml")), 1);
    assert_contains(err, "bad.yaml:2:9: select: no parameter matches");
    assert_contains(err, "  2 | select: {kinds: ln}\n    |         ^\n");
    assert_int_equal(CHECK("--explain", "--model", "policies/tent.yaml", "policies/tent.yaml"), 1);
    assert_contains(err, "ttad check: policies/tent.yaml: ");
}

static void wrong_usage_is_told(void **state)
{
    (void)state;
    assert_int_equal(run(tt_cmd_check, (const char *const[]){"check", NULL}), 2);
    assert_int_equal(CHECK("--explain", "x"), 2);
    assert_int_equal(CHECK("--model", MODEL, "x"), 2);
    assert_int_equal(CHECK("--model"), 2);
    assert_int_equal(CHECK("--jsn", "x"), 2);
    assert_contains(err, "no option --jsn");
    assert_int_equal(CHECK("--explain", "--model", MODEL, "--batch", "0", "x"), 2);
    assert_int_equal(CHECK("--explain", "--model", MODEL, "--batch", "8x", "x"), 2);
    assert_int_equal(CHECK("--help"), 0);
    assert_contains(out, "usage: ttad check");
}

static void the_example_is_printed(void **state)
{
    char *file = read_file("config/ttad.example.yaml", NULL);

    (void)state;
    assert_int_equal(CHECK("--example"), 0);
    assert_string_equal(out, file);
    free(file);
}

static void presets_are_listed_and_printed(void **state)
{
    char *file = read_file("policies/presets/tent.yaml", NULL);

    (void)state;
    assert_int_equal(PRESET(NULL), 0);
    assert_contains(out, "norm         Normalise with the statistics of the batch");
    assert_contains(out, "\ntent         Minimise the entropy");
    assert_int_equal(PRESET("tent", NULL), 0);
    assert_string_equal(out, file);
    assert_int_equal(PRESET("tnet", NULL), 1);
    assert_string_equal(err, "ttad preset: no preset 'tnet', did you mean 'tent'\n");
    assert_int_equal(PRESET("zebra", NULL), 1);
    assert_string_equal(err, "ttad preset: no preset 'zebra'; ttad preset lists them\n");
    assert_int_equal(PRESET("a", "b", NULL), 2);
    assert_int_equal(PRESET("--help", NULL), 0);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_files_are_ok_and_bad_ones_fail_with_their_lines),
        cmocka_unit_test(what_ships_is_ok),
        cmocka_unit_test(a_configuration_is_checked_with_its_policies_and_models),
        cmocka_unit_test(verdicts_come_as_json),
        cmocka_unit_test(a_step_is_explained_for_a_model),
        cmocka_unit_test(wrong_usage_is_told),
        cmocka_unit_test(the_example_is_printed),
        cmocka_unit_test(presets_are_listed_and_printed),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
