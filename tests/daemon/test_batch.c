// SPDX-License-Identifier: Apache-2.0
#include "tests/daemon/rig.h"

#define TENT    "preset: tent\nmonitor: {shadow: {every: 2}}\n"
#define BATCHES 12

static struct rig rig;

static int up(void **state)
{
    (void)state;
    rig_up(&rig);
    return 0;
}

static int down(void **state)
{
    (void)state;
    rig_down(&rig);
    return 0;
}

struct pair { // the same stream twice: learning before, and after the answer
    const struct tt_policy *policy[2];
    struct tt_plan *plan[2];
    struct tt_stream *stream[2];
};

static struct pair make(const char *text)
{
    struct pair p;

    for (int i = 0; i < 2; i++) {
        char all[2048];

        snprintf(all, sizeof all, "%sadapt: %s\n", text, i ? "background" : "inline");
        p.policy[i] = rig_policy(&rig, all);
        p.plan[i] = rig_plan(&rig, p.policy[i]);
        p.stream[i] = rig_stream(&rig, p.policy[i], p.plan[i], NULL);
    }
    return p;
}

static void end(struct pair *p)
{
    for (int i = 0; i < 2; i++) {
        tt_stream_free(p->stream[i]);
        tt_plan_free(p->plan[i]);
    }
}

static struct tt_result follow(struct pair *p, enum tt_skip why)
{
    struct tt_result r;
    struct tt_err err;

    assert_true(p->stream[1]->follow.due);
    if (tt_stream_follow(p->stream[1], p->plan[1], why, &r, &err) != TT_OK)
        fail_msg("%s", err.msg);
    assert_false(p->stream[1]->follow.due);
    return r;
}

static void assert_same(const struct pair *p)
{
    const struct tt_stream *a = p->stream[0], *b = p->stream[1];

    assert_string_equal(a->versions.serving.name, b->versions.serving.name);
    assert_int_equal(a->versions.serving.step, b->versions.serving.step);
    assert_int_equal(a->guard.state, b->guard.state);
    assert_int_equal(a->samples, b->samples);
    assert_int_equal(a->adapted, b->adapted);
    assert_int_equal(a->skipped, b->skipped);
    assert_int_equal(a->rollbacks, b->rollbacks);
    assert_int_equal(a->signals.batches, b->signals.batches);
}

static void an_update_after_the_answer_makes_the_same_versions(void **state)
{
    struct pair p = make(TENT);

    (void)state;
    for (int i = 0; i < BATCHES; i++) {
        const int64_t before = p.stream[1]->signals.batches;
        struct tt_result a = rig_step(&rig, p.stream[0], p.plan[0], i);
        struct tt_result b = rig_step(&rig, p.stream[1], p.plan[1], i);

        assert_true(a.adapted);
        assert_false(b.adapted);
        assert_int_equal(b.skip, TT_SKIP_BACKGROUND);
        assert_string_equal(a.version, b.version);
        assert_int_equal(b.adapt_us, 0);
        assert_int_equal(p.stream[1]->signals.batches, before); // nothing is judged yet
        b = follow(&p, TT_SKIP_NONE);
        assert_true(b.adapted);
        assert_close(b.loss, a.loss, 0, 0);
        assert_string_equal(b.version, a.version);
        assert_same(&p);
    }
    end(&p);
}

static void what_the_guard_finds_in_an_update_is_acted_upon_and_left_to_be_told(void **state)
{
    struct pair p = make("preset: tent\noptimizer: {kind: sgd, lr: 0.001}\n"
                         "monitor: {window: 64, shadow: {every: 0}}\n"
                         "guards:\n  - {name: drift, signal: param_drift, above: 1e-9, "
                         "min_samples: 64, consecutive: 1, action: rollback, "
                         "on_inconclusive: continue}\n"
                         "recovery: {warmup_samples: 0, soak_samples: 16}\n"
                         "snapshots: {every_updates: 1}\n");
    int rollbacks = 0;

    (void)state;
    for (int i = 0; i < BATCHES; i++) {
        struct tt_result a = rig_step(&rig, p.stream[0], p.plan[0], i);
        struct tt_result b = rig_step(&rig, p.stream[1], p.plan[1], i);

        rollbacks += a.rolled_back_to[0] != '\0';
        if (b.skip == TT_SKIP_BACKGROUND)
            (void)follow(&p, TT_SKIP_NONE);
        assert_string_equal(p.stream[1]->went_back_to, a.rolled_back_to);
        p.stream[1]->went_back_to[0] = '\0';
        assert_same(&p);
    }
    assert_in_range(rollbacks, 1, BATCHES);
    end(&p);
}

static void an_update_that_is_dropped_is_judged_and_counted(void **state)
{
    struct pair p = make(TENT);
    struct tt_result r = rig_step(&rig, p.stream[1], p.plan[1], 0);

    (void)state;
    assert_int_equal(r.skip, TT_SKIP_BACKGROUND);
    r = follow(&p, TT_SKIP_BUDGET);
    assert_false(r.adapted);
    assert_int_equal(r.skip, TT_SKIP_BUDGET);
    assert_int_equal(p.stream[1]->versions.serving.step, 0);
    assert_int_equal(p.stream[1]->skipped, 1);
    assert_int_equal(p.stream[1]->samples, ROWS);
    assert_int_equal(p.stream[1]->signals.batches, 1);
    assert_true(rig_step(&rig, p.stream[1], p.plan[1], 1).skip == TT_SKIP_BACKGROUND);
    end(&p);
}

static void labels_come_to_the_version_that_answered(void **state)
{
    int64_t label[ROWS] = {0};
    struct tt_labels l = {.id = "0", .label = label, .n = ROWS, .now_ms = 9000};
    struct pair p = make(TENT);
    struct tt_result r = rig_step(&rig, p.stream[1], p.plan[1], 0);
    struct tt_credited got;
    struct tt_err err;

    (void)state;
    (void)follow(&p, TT_SKIP_NONE);
    assert_int_equal(tt_stream_feedback(p.stream[1], &l, &got, &err), TT_OK);
    assert_string_equal(got.version, r.version);
    assert_int_equal(got.base_n, ROWS); // the frozen model was asked with the update
    end(&p);
}

static void what_cannot_be_learnt_from_is_not_put_off(void **state)
{
    static float x[ROWS * 28 * 28], logits[ROWS * 10];
    struct pair p = make(TENT);
    struct tt_batch b = {
        .id = "n", .x = x, .rows = ROWS, .learn = true, .now_ms = 2000, .logits = logits};
    struct tt_result r;
    struct tt_err err;

    (void)state;
    memset(&x[5], 0xff, sizeof x[5]); // NaN
    assert_int_equal(tt_stream_step(p.stream[1], p.plan[1], &b, &r, &err), TT_OK);
    assert_int_equal(r.skip, TT_SKIP_NOT_FINITE);
    assert_false(p.stream[1]->follow.due);
    b.learn = false;
    b.why = TT_SKIP_DEADLINE;
    x[5] = 0;
    assert_int_equal(tt_stream_step(p.stream[1], p.plan[1], &b, &r, &err), TT_OK);
    assert_int_equal(r.skip, TT_SKIP_DEADLINE);
    assert_false(p.stream[1]->follow.due);
    end(&p);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, up, down)
    const struct CMUnitTest tests[] = {
        CASE(an_update_after_the_answer_makes_the_same_versions),
        CASE(what_the_guard_finds_in_an_update_is_acted_upon_and_left_to_be_told),
        CASE(an_update_that_is_dropped_is_judged_and_counted),
        CASE(labels_come_to_the_version_that_answered),
        CASE(what_cannot_be_learnt_from_is_not_put_off),
    };

    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
