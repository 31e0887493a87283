// SPDX-License-Identifier: Apache-2.0
#include "engines/step.h"

#include <math.h>
#include <string.h>

#include "daemon/file.h"
#include "policies/policy.h"
#include "tests/support/check.h"

#define MODEL "models/fashion_resnet.onnx"
#define ROWS  12

static struct tt_arena arena;
static struct tt_model *model;

static int load(void **state)
{
    struct tt_err err;
    char *data;
    size_t n;

    (void)state;
    tt_arena_init(&arena, 0);
    if (tt_file_read(MODEL, 1 << 30, &arena, &data, &n, &err) != TT_OK ||
        tt_model_read_onnx(data, n, 0, &model, &err) != TT_OK) {
        print_error("%s\n", err.msg);
        return -1;
    }
    return 0;
}

static int unload(void **state)
{
    (void)state;
    tt_model_free(model);
    tt_arena_release(&arena);
    return 0;
}

/* A plan and two versions of it. */
struct rig {
    struct tt_plan *plan;
    size_t bytes;
    float *a, *b, *x, *logits;
    struct tt_outcome o;
};

static void open_rig(struct rig *r, const char *policy)
{
    struct tt_policy *p;
    struct tt_diags d;
    struct tt_err err;

    tt_diags_init(&d, &arena, "test.yaml", policy, strlen(policy));
    p = tt_policy_read("test.yaml", policy, strlen(policy), &arena, &d);
    if (!p)
        fail_msg("%s", tt_diags_text(&d));
    if (tt_plan_new(model, &p->method, ROWS, &r->plan, &err) != TT_OK)
        fail_msg("%s", err.msg);
    r->bytes = sizeof(float) * (size_t)tt_plan_floats(r->plan);
    r->a = TT_NEW(&arena, tt_plan_floats(r->plan) + 1, float);
    r->b = TT_NEW(&arena, tt_plan_floats(r->plan) + 1, float);
    r->x = TT_NEW(&arena, ROWS * tt_plan_row(r->plan), float);
    r->logits = TT_NEW(&arena, ROWS * 10, float);
    for (int64_t i = 0; i < ROWS * tt_plan_row(r->plan); i++)
        r->x[i] = (float)(i * 7919 % 2001) / 1000 - 1;
    tt_plan_source(r->plan, r->a);
}

static void step(struct rig *r, int64_t n, bool learn)
{
    struct tt_err err;

    if (tt_step_run(r->plan, r->a, r->b, r->x, n, learn, TT_SKIP_HOLD, r->logits, &r->o, &err) !=
        TT_OK)
        fail_msg("%s", err.msg);
}

static const char *const presets[] = {
    "preset: source",
    "preset: norm",
    "preset: norm_blend",
    "preset: norm_ema",
    "preset: norm\nstats: {mode: ema, half_life: 50}",
    "preset: tent",
    "preset: tent\noptimizer: {kind: sgd, lr: 0.01, momentum: 0.9}",
    "preset: tent\nsteps: 3\npredict: last",
    "preset: tent\nreset: request\npredict: after",
    "preset: tent\nreset: {scope: sample}\npredict: after\nstats: {mode: blend, alpha: 0.1}",
    "preset: tent\nreset: {every_updates: 2}",
    "preset: tent\nstats: {mode: ema, half_life: 50}",
};
#define NPRESETS ((int)(sizeof presets / sizeof *presets))

static void a_step_from_a_copied_version_repeats_bit_for_bit(void **state)
{
    (void)state;
    for (int i = 0; i < NPRESETS; i++) {
        struct rig r;
        float logits[ROWS * 10], *first;

        open_rig(&r, presets[i]);
        step(&r, ROWS, true);
        memcpy(r.a, r.b, r.bytes);
        step(&r, ROWS, true);
        first = TT_NEW(&arena, tt_plan_floats(r.plan) + 1, float);
        memcpy(first, r.b, r.bytes);
        memcpy(logits, r.logits, sizeof logits);
        for (int64_t k = 0; k < tt_plan_floats(r.plan); k++)
            r.b[k] = NAN; // what is there before does not matter
        step(&r, ROWS, true);
        assert_memory_equal(r.b, first, r.bytes);
        assert_memory_equal(r.logits, logits, sizeof logits);
        tt_plan_free(r.plan);
    }
}

static void a_batch_with_nan_is_answered_and_changes_nothing(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};

    (void)state;
    for (int i = 0; i < NPRESETS; i++)
        for (int k = 0; k < 3; k++) {
            struct rig r;

            open_rig(&r, presets[i]);
            r.x[3 * tt_plan_row(r.plan) + 5] = bad[k];
            step(&r, ROWS, true);
            assert_memory_equal(r.a, r.b, r.bytes);
            assert_false(r.o.adapted);
            assert_int_equal(r.o.skip, TT_SKIP_NOT_FINITE);
            assert_false(r.o.input_finite);
            /* its neighbours in the batch get numbers */
            for (int c = 0; c < 20; c++)
                assert_true(isfinite(r.logits[c]));
            tt_plan_free(r.plan);
        }
}

static void parameters_that_would_become_infinite_are_not_published(void **state)
{
    struct rig r;

    (void)state;
    open_rig(&r, "preset: tent\noptimizer: {kind: sgd, lr: 100, momentum: 0.9}");
    for (int k = 0; k < tt_plan_floats(r.plan) && k < 16; k++)
        r.a[k] = 3e38f; // the first scales: the activations overflow
    step(&r, ROWS, true);
    assert_false(r.o.adapted);
    assert_int_equal(r.o.skip, TT_SKIP_NOT_FINITE);
    assert_memory_equal(r.a, r.b, r.bytes);
    tt_plan_free(r.plan);
}

static void a_held_batch_is_answered_and_not_learnt_from(void **state)
{
    (void)state;
    for (int i = 0; i < NPRESETS; i++) {
        struct rig r;

        open_rig(&r, presets[i]);
        step(&r, ROWS, false);
        assert_memory_equal(r.a, r.b, r.bytes);
        assert_false(r.o.adapted);
        assert_int_equal(r.o.skip, TT_SKIP_HOLD);
        assert_int_equal(r.o.updates, 0);
        tt_plan_free(r.plan);
    }
}

static void one_row_and_the_limit_both_work(void **state)
{
    static const int64_t sizes[] = {1, 5, ROWS, 1};

    (void)state;
    for (int i = 0; i < NPRESETS; i++) {
        struct rig r;

        open_rig(&r, presets[i]);
        for (int k = 0; k < 4; k++) {
            step(&r, sizes[k], true);
            assert_int_equal(r.o.rows, sizes[k]);
            assert_true(r.o.answer_finite);
            assert_true(r.o.entropy >= 0 && r.o.entropy <= log(10) + 1e-6);
        }
        tt_plan_free(r.plan);
    }
}

static void the_frozen_answer_does_not_depend_on_what_was_learnt(void **state)
{
    struct rig r, source;
    float before[ROWS * 10];
    struct tt_err err;

    (void)state;
    open_rig(&source, "preset: source");
    step(&source, ROWS, true);
    open_rig(&r, "preset: tent\noptimizer: {kind: sgd, lr: 0.5}");
    assert_int_equal(tt_step_frozen(r.plan, r.a, r.x, ROWS, true, before, &err), TT_OK);
    for (int i = 0; i < 3; i++) {
        step(&r, ROWS, true);
        memcpy(r.a, r.b, r.bytes);
    }
    assert_int_equal(tt_step_frozen(r.plan, r.a, r.x, ROWS, false, r.logits, &err), TT_OK);
    assert_memory_equal(r.logits, source.logits, sizeof before);
    assert_int_equal(tt_step_frozen(r.plan, r.a, r.x, ROWS, true, r.logits, &err), TT_OK);
    assert_memory_equal(r.logits, before, sizeof before);
    tt_plan_free(r.plan);
    tt_plan_free(source.plan);
}

static void before_answers_from_before_the_update_and_after_from_after_it(void **state)
{
    struct rig before, after;
    float frozen[ROWS * 10];
    struct tt_err err;

    (void)state;
    open_rig(&before, "preset: tent\noptimizer: {kind: sgd, lr: 0.5}");
    step(&before, ROWS, true);
    assert_int_equal(tt_step_frozen(before.plan, before.a, before.x, ROWS, true, frozen, &err),
                     TT_OK);
    assert_memory_equal(before.logits, frozen, sizeof frozen);
    open_rig(&after, "preset: tent\npredict: after\noptimizer: {kind: sgd, lr: 0.5}");
    step(&after, ROWS, true);
    assert_memory_equal(after.b, before.b, after.bytes); // the same update
    assert_memory_not_equal(after.logits, frozen, sizeof frozen);
    memcpy(before.a, before.b, before.bytes);
    step(&before, ROWS, false);
    for (int i = 0; i < ROWS * 10; i++)
        assert_close(after.logits[i], before.logits[i], 1e-6, 1e-6);
    tt_plan_free(before.plan);
    tt_plan_free(after.plan);
}

static void a_method_that_learns_nothing_says_so(void **state)
{
    struct rig r;

    (void)state;
    open_rig(&r, "preset: source");
    step(&r, ROWS, true);
    assert_int_equal(r.o.skip, TT_SKIP_SOURCE);
    assert_int_equal(tt_plan_floats(r.plan), 0);
    tt_plan_free(r.plan);
}

static void a_version_holds_the_selected_parameters_and_not_the_model(void **state)
{
    struct rig r;
    int64_t all = 0, bn = 0;

    (void)state;
    open_rig(&r, "preset: tent");
    for (int i = 0; i < model->nparams; i++) {
        all += model->params[i].n;
        if (model->params[i].kind == TT_KIND_BN && !tt_member_is_stat(model->params[i].member))
            bn += model->params[i].n;
    }
    assert_int_equal(tt_plan_floats(r.plan), 3 * bn + 1); // Adam: two moments, a count
    assert_true(3 * bn < all / 10);
    tt_plan_free(r.plan);
}

static void there_is_room_for_the_rows_and_little_more(void **state)
{
    (void)state;
    for (int64_t rows = 1; rows <= 300; rows++) {
        int64_t room = tt_plan_room(rows);

        assert_true(room >= 8 && room >= rows && (room == 8 || room < 2 * rows));
        assert_int_equal(tt_plan_room(room), room);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_from_a_copied_version_repeats_bit_for_bit),
        cmocka_unit_test(a_batch_with_nan_is_answered_and_changes_nothing),
        cmocka_unit_test(parameters_that_would_become_infinite_are_not_published),
        cmocka_unit_test(a_held_batch_is_answered_and_not_learnt_from),
        cmocka_unit_test(one_row_and_the_limit_both_work),
        cmocka_unit_test(the_frozen_answer_does_not_depend_on_what_was_learnt),
        cmocka_unit_test(before_answers_from_before_the_update_and_after_from_after_it),
        cmocka_unit_test(a_method_that_learns_nothing_says_so),
        cmocka_unit_test(a_version_holds_the_selected_parameters_and_not_the_model),
        cmocka_unit_test(there_is_room_for_the_rows_and_little_more),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
