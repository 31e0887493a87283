// SPDX-License-Identifier: Apache-2.0
#include <jansson.h>

#include "daemon/bench.h"
#include "daemon/commands.h"
#include "daemon/load.h"
#include "daemon/process.h"
#include "tests/daemon/verb.h"

#define MODEL      "models/fashion_resnet.onnx"
#define WORDS      "tests/golden/onnx/words.onnx"
#define BENCH(...) run(tt_cmd_bench, (const char *const[]){"bench", __VA_ARGS__, NULL})

static json_t *object(const char *text)
{
    json_error_t e;
    json_t *o = json_loads(text, 0, &e);

    if (!o)
        fail_msg("%s: %s", e.text, text);
    return o;
}

static double number(const json_t *o, const char *task, const char *key)
{
    return json_number_value(json_object_get(task ? json_object_get(o, task) : o, key));
}

static void each_batch_size_has_its_times_and_its_memory(void **state)
{
    static const double sizes[] = {1, 4, 24};
    json_t *o, *all, *one = NULL;
    double gflop = 0;
    size_t i;

    (void)state;
    assert_int_equal(BENCH(MODEL, "--batch", "1,4,24", "--steps", "3", "--threads", "1", "--json"),
                     0);
    assert_string_equal(err, "");
    o = object(out);
    assert_string_equal(json_string_value(json_object_get(o, "engine")), "tent");
    assert_int_equal(json_integer_value(json_object_get(o, "weights_bytes")), 313704);
    assert_true(number(o, NULL, "sgemm_gflop_per_second") > 0);
    all = json_object_get(o, "batches");
    assert_int_equal(json_array_size(all), 3);
    json_array_foreach(all, i, one)
    {
        double batch = number(one, NULL, "batch");

        assert_close(batch, sizes[i], 0, 0);
        assert_string_equal(json_string_value(json_object_get(one, "unit")), "images");
        for (int task = 0; task < TT_NBENCH_TASKS; task++) {
            const char *name = tt_bench_task_name((enum tt_bench_task)task);

            assert_close(number(one, name, "runs"), 3, 0, 0);
            assert_true(number(one, name, "ms") > 0);
            assert_true(number(one, name, "cpu_ms") > 0);
            assert_close(number(one, name, "per_second"), 1e3 * batch / number(one, name, "ms"),
                         1e-4, 0);
            assert_true(number(one, name, "of_sgemm") > 0);
        }
        if (i == 0)
            gflop = number(one, "frozen", "gflop");
        assert_true(gflop > 0);
        assert_close(number(one, "frozen", "gflop"), batch * gflop, 1e-4, 0);
        assert_true(number(one, "step", "gflop") > 1.5 * batch * gflop);
        assert_true(number(one, "step", "gflop") < 2 * batch * gflop);
        assert_int_equal(json_integer_value(json_object_get(one, "version_bytes")), 672 * 4);
        assert_null(json_object_get(one, "profile"));
    }
    // the plan of 24 images is in memory as a whole
    assert_true(number(one, NULL, "plan_bytes") > 7e6);
    if (tt_process_forget_peak())
        assert_true(number(one, NULL, "peak_bytes") > 0.8 * number(one, NULL, "plan_bytes"));
    json_decref(o);
}

static void a_profile_tells_of_each_kind_of_operator(void **state)
{
    json_t *o, *p, *row;
    double sum = 0, step;
    bool conv = false;
    size_t i;

    (void)state;
    assert_int_equal(
        BENCH(MODEL, "--batch", "8", "--steps", "5", "--threads", "1", "--profile", "--json"), 0);
    o = object(out);
    p = json_object_get(json_array_get(json_object_get(o, "batches"), 0), "profile");
    step = number(p, NULL, "step_ms");
    assert_true(step > 0);
    json_array_foreach(json_object_get(p, "operators"), i, row)
    {
        double ms = number(row, NULL, "forward_ms") + number(row, NULL, "backward_ms");

        sum += ms;
        if (strcmp(json_string_value(json_object_get(row, "operator")), "tt.Layer") != 0)
            continue;
        conv = true;
        assert_int_equal(json_integer_value(json_object_get(row, "nodes")), 9);
        assert_true(number(row, NULL, "frozen_ms") > 0);
        assert_true(number(row, NULL, "forward_ms") > 0);
        assert_true(number(row, NULL, "backward_ms") > 0);
        assert_close(number(row, NULL, "forward_gflop"), number(row, NULL, "frozen_gflop"), 1e-4,
                     0);
        assert_true(number(row, NULL, "backward_gflop") < number(row, NULL, "forward_gflop"));
    }
    assert_true(conv);
    assert_true(sum > 0.3 * step && sum < 1.5 * step); // medians of parts beside that of the whole
    json_decref(o);
}

static void people_get_a_table(void **state)
{
    (void)state;
    assert_int_equal(BENCH(MODEL, "--batch", "2", "--steps", "2", "--threads", "1", "--profile"),
                     0);
    assert_contains(out, MODEL ", policy tent (tent), 1 thread\nkernels ");
    assert_contains(out, "\n batch   frozen, ms   a second  of sgemm     step, ms ");
    assert_contains(out, "\n     2  ");
    assert_contains(out, "\n  batch 2, where the time goes; share: of a step of ");
    assert_contains(out, "\n  tt.Layer                    9 ");
    assert_contains(out, "\n  outside of operators ");
    assert_contains(out, "\na second: images\n");
}

static void a_policy_that_learns_nothing_answers_under_its_statistics(void **state)
{
    const json_t *one;
    json_t *o;

    (void)state;
    assert_int_equal(BENCH(MODEL, "--policy", "policies/norm.yaml", "--batch", "2", "--steps", "2",
                           "--threads", "1", "--json"),
                     0);
    o = object(out);
    assert_string_equal(json_string_value(json_object_get(o, "engine")), "norm");
    one = json_array_get(json_object_get(o, "batches"), 0);
    assert_true(number(one, "step", "ms") > 0);
    assert_close(number(one, "step", "gflop"), number(one, "frozen", "gflop"), 1e-4, 0);
    json_decref(o);
}

static void an_encoder_gets_tokens_that_its_table_has(void **state)
{
    struct tt_arena arena;
    const json_t *one;
    struct tt_bench b;
    struct tt_model *model;
    struct tt_policy *policy;
    struct tt_diags d;
    struct tt_err e;
    json_t *o;

    (void)state;
    write_text("ln.yaml", "preset: tent\nselect: {kinds: [ln]}\n");
    assert_int_equal(BENCH(WORDS, "--policy", in_dir("ln.yaml"), "--batch", "4", "--steps", "2",
                           "--threads", "1", "--json"),
                     0);
    o = object(out);
    one = json_array_get(json_object_get(o, "batches"), 0);
    assert_string_equal(json_string_value(json_object_get(one, "unit")), "tokens");
    assert_close(number(one, NULL, "items"), 4 * 5, 0, 0);
    json_decref(o);

    tt_arena_init(&arena, 0);
    policy = tt_load_policy(in_dir("ln.yaml"), &arena, &d);
    assert_non_null(policy);
    assert_int_equal(tt_load_model(WORDS, &model, &e), TT_OK);
    assert_int_equal(
        tt_bench_open(&(struct tt_bench_spec){.model = model, .policy = policy, .batch = 40}, &b,
                      &e),
        TT_OK);
    for (int k = 0, seen = 0; k < 40; k++) {
        const float *x = tt_bench_input(&b) + (ptrdiff_t)k * 10;

        for (int i = 0; i < 5; i++) {
            assert_true(x[i] >= 0 && x[i] < 11 && x[i] == (float)(int)x[i]);
            seen |= 1 << (int)x[i];
            assert_close(x[5 + i], 1, 0, 0); // the mask
        }
        assert_true(k < 39 || seen == (1 << 11) - 1);
    }
    tt_bench_close(&b);
    tt_model_free(model);
    tt_arena_release(&arena);
}

static void others_measure_by_turns_with_it(void **state)
{
    static const struct {
        const char *lines, *err;
        int rc, turns;
        int runs[3];
    } rows[] = {
        {"frozen\nstep\nstep\n", "", 0, 3, {2, 2, 2}},
        {"step", "", 0, 1, {2}},
        {"frozen 1\nstep 3\n", "", 0, 2, {1, 3}},
        {"", "", 0, 0, {0}},
        {"step\nfrozzen\nstep\n",
         "ttad bench: a turn 'frozzen', want frozen or step, and how often\n",
         1,
         1,
         {0}},
        {"step 0\n",
         "ttad bench: a turn 'step 0', want frozen or step, and how often\n",
         1,
         0,
         {0}},
        {"step 2x\n",
         "ttad bench: a turn 'step 2x', want frozen or step, and how often\n",
         1,
         0,
         {0}},
        {"st\n", "ttad bench: a turn 'st', want frozen or step, and how often\n", 1, 0, {0}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int turns = 0;

        write_text("lines", rows[i].lines);
        assert_non_null(freopen(in_dir("lines"), "r", stdin));
        assert_int_equal(BENCH(MODEL, "--batch", "2", "--steps", "2", "--turns"), rows[i].rc);
        assert_string_equal(err, rows[i].err);
        for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n"), turns++) {
            json_t *o = object(line);

            assert_close(number(o, NULL, "batch"), 2, 0, 0);
            if (i < 3) // what was asked for was measured, as often
                assert_close(number(o, turns || i == 1 ? "step" : "frozen", "runs"),
                             rows[i].runs[turns], 0, 0);
            json_decref(o);
        }
        assert_int_equal(turns, rows[i].turns);
    }
}

static void what_cannot_be_measured_is_one_error(void **state)
{
    static const struct {
        const char *const words[8];
        int rc;
        const char *want;
    } rows[] = {
        {{"--batch", "2"}, 2, "ttad bench: MODEL is missing\nusage: "},
        {{MODEL, "--batch", "0"}, 2, "--batch: '0', want up to 16 whole numbers from 1 to 65536"},
        {{MODEL, "--batch", "1,,2"}, 2, "--batch: '1,,2', want"},
        {{MODEL, "--batch", "8,"}, 2, "--batch: '8,', want"},
        {{MODEL, "--batch", "1;2"}, 2, "--batch: '1;2', want"},
        {{MODEL, "--batch", "99999999999999999999"}, 2, "want up to 16 whole numbers"},
        {{MODEL, "--batch", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"}, 2, "want up to 16"},
        {{MODEL, "--threads", "0"}, 2, "--threads: '0', want a whole number from 1 to 256"},
        {{MODEL, "--turns"}, 2, "--turns wants one batch size, not 3"},
        {{MODEL, "--turns", "--batch", "1", "--profile"}, 2, "--turns and --profile exclude"},
        {{"none.onnx"}, 1, "ttad bench: none.onnx"},
        {{MODEL, "--policy", "none.yaml"}, 1, "none.yaml: No such file or directory"},
        {{"tests/golden/onnx/arithmetic.onnx"}, 1, "ttad bench: a batch of 1: "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *words[10] = {"bench"};

        memcpy(words + 1, rows[i].words, sizeof rows[i].words);
        assert_int_equal(run(tt_cmd_bench, words), rows[i].rc);
        assert_contains(err, rows[i].want);
        assert_int_equal(strchr(out, '{') != NULL, 0);
    }
    assert_int_equal(BENCH("--help"), 0);
    assert_contains(out, "usage: ttad bench MODEL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_batch_size_has_its_times_and_its_memory),
        cmocka_unit_test(a_profile_tells_of_each_kind_of_operator),
        cmocka_unit_test(people_get_a_table),
        cmocka_unit_test(a_policy_that_learns_nothing_answers_under_its_statistics),
        cmocka_unit_test(an_encoder_gets_tokens_that_its_table_has),
        cmocka_unit_test(others_measure_by_turns_with_it),
        cmocka_unit_test(what_cannot_be_measured_is_one_error),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
