// SPDX-License-Identifier: Apache-2.0
#include "tests/daemon/rig.h"

#define TENT "preset: tent\n"

static struct rig rig;

static int set_up(void **state)
{
    (void)state;
    rig_up(&rig);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_down(&rig);
    return 0;
}

static void a_batch_is_answered_learnt_from_and_recorded(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT);
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = rig_stream(&rig, p, plan, NULL);
    struct tt_result a, b;

    (void)state;
    a = rig_step(&rig, s, plan, 0);
    assert_true(a.adapted);
    assert_int_equal(a.skip, TT_SKIP_NONE);
    assert_string_equal(a.version, s->versions.base.name); // score first, then learn
    assert_int_equal(a.step, 0);
    assert_string_equal(a.guard, "ok");
    assert_true(isfinite(a.loss) && a.entropy > 0);
    b = rig_step(&rig, s, plan, 1);
    assert_string_not_equal(b.version, a.version);
    assert_int_equal(b.step, 1);
    assert_string_equal(s->versions.serving.parent, b.version);
    assert_int_equal(rig.n[TT_REC_BATCH], 2);
    assert_int_equal(rig.n[TT_REC_DECISION], 0);
    assert_int_equal(s->samples, 2 * ROWS);
    tt_stream_free(s);
    tt_plan_free(plan);
}

static bool never(void *ctx)
{
    (void)ctx;
    return false;
}

static void what_could_not_be_kept_is_not_learnt(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT);
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = rig_stream(&rig, p, plan, NULL);
    struct tt_result r;

    (void)state;
    assert_true(rig_step(&rig, s, plan, 0).adapted);
    s->sink.may_learn = never;
    r = rig_step(&rig, s, plan, 1);
    assert_false(r.adapted);
    assert_string_equal(tt_skip_name(r.skip), "not_ready");
    assert_int_equal(rig_step(&rig, s, plan, 2).step, r.step); // the same version answers
    s->sink.may_learn = NULL;
    assert_true(rig_step(&rig, s, plan, 3).adapted);
    tt_stream_free(s);
    tt_plan_free(plan);
}

static void the_same_batches_make_the_same_versions(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT);
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = rig_stream(&rig, p, plan, NULL), *t = rig_stream(&rig, p, plan, NULL);

    (void)state;
    for (int i = 0; i < 4; i++) { // interleaved over one plan: nothing crosses
        (void)rig_step(&rig, s, plan, i);
        (void)rig_step(&rig, t, plan, i);
    }
    assert_string_equal(s->versions.serving.name, t->versions.serving.name);
    (void)rig_step(&rig, t, plan, 9);
    assert_string_not_equal(s->versions.serving.name, t->versions.serving.name);
    tt_stream_free(s);
    tt_stream_free(t);
    tt_plan_free(plan);
}

static void input_that_is_not_finite_is_answered_and_not_learnt_from(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT);
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = rig_stream(&rig, p, plan, NULL);
    static float x[ROWS * 28 * 28], logits[ROWS * 10];
    struct tt_batch b = {.x = x, .rows = ROWS, .learn = true, .now_ms = 1, .logits = logits};
    char before[TT_HASH_SHORT + 1];
    struct tt_result r;
    struct tt_err err;

    (void)state;
    (void)rig_step(&rig, s, plan, 0);
    memcpy(before, s->versions.serving.name, sizeof before);
    for (int i = 0; i < 2; i++) {
        rig_batch(&rig, 1, x);
        x[5] = i ? INFINITY : NAN;
        assert_int_equal(tt_stream_step(s, plan, &b, &r, &err), TT_OK);
        assert_false(r.adapted);
        assert_int_equal(r.skip, TT_SKIP_NOT_FINITE);
        assert_string_equal(r.version, before);
        assert_string_equal(s->versions.serving.name, before);
        assert_string_equal(r.guard, "ok"); // bad input is no reason to roll back
    }
    assert_int_equal(rig.n[TT_REC_DECISION], 0);
    assert_true(rig_step(&rig, s, plan, 1).adapted);
    tt_stream_free(s);
    tt_plan_free(plan);
}

static void what_may_not_be_learnt_from_says_why(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT), *q = rig_policy(&rig, "preset: source\n");
    struct tt_plan *plan = rig_plan(&rig, p), *frozen = rig_plan(&rig, q);
    struct tt_stream *s = rig_stream(&rig, p, plan, NULL), *t = rig_stream(&rig, q, frozen, NULL);
    const struct tt_order freeze = {.action = TT_ACTION_FREEZE, .actor = "me", .now_ms = 5},
                          thaw = {.thaw = true, .actor = "me", .now_ms = 6};
    static float x[ROWS * 28 * 28], logits[ROWS * 10];
    struct tt_batch late = {
        .x = x, .rows = ROWS, .why = TT_SKIP_DEADLINE, .now_ms = 7, .logits = logits};
    struct tt_ordered o;
    struct tt_result r;
    struct tt_err err;

    (void)state;
    rig_batch(&rig, 3, x);
    assert_int_equal(tt_stream_step(s, plan, &late, &r, &err), TT_OK);
    assert_int_equal(r.skip, TT_SKIP_DEADLINE);
    assert_false(r.adapted);
    assert_int_equal(tt_stream_order(s, &freeze, &o, &err), TT_OK);
    assert_int_equal(o.decision_id, 1);
    assert_true(rig.synced > 0); // on the disk before anybody is told
    assert_string_equal(rig.state, "frozen");
    assert_string_equal(rig.decision.action, "freeze");
    assert_string_equal(rig.decision.sentence, "frozen by me");
    assert_int_equal(tt_stream_order(s, &freeze, &o, &err), TT_EDENIED);
    assert_string_equal(err.msg, "stream 'cam-7' is frozen: it cannot be frozen");
    r = rig_step(&rig, s, plan, 0);
    assert_int_equal(r.skip, TT_SKIP_FROZEN);
    assert_string_equal(r.guard, "hold");
    assert_string_equal(s->versions.serving.name, s->versions.base.name);
    assert_int_equal(tt_stream_order(s, &thaw, &o, &err), TT_OK);
    assert_string_equal(rig.decision.action, "thaw");
    assert_true(rig_step(&rig, s, plan, 1).adapted);
    assert_int_equal(rig_step(&rig, t, frozen, 0).skip, TT_SKIP_SOURCE);
    tt_stream_free(s);
    tt_stream_free(t);
    tt_plan_free(plan);
    tt_plan_free(frozen);
}

/* Any drift trips; nothing has soaked, so there is only the source to go back to. */
static void a_trip_goes_back_and_does_not_publish(void **state)
{
    const struct tt_policy *p =
        rig_policy(&rig, TENT "monitor: {shadow: {every: 0}}\n"
                              "guards:\n"
                              "  - {name: far, signal: param_drift, above: 0.004, clear: 0.001, "
                              "min_samples: 1, consecutive: 1, action: rollback}\n"
                              "recovery: {warmup_samples: 0, cooldown_samples: 64, "
                              "probation_samples: 64}\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = rig_stream(&rig, p, plan, NULL);
    struct tt_result r = {.guard = ""};
    char serving[TT_HASH_SHORT + 1];
    int i = 0;

    (void)state;
    while (i < 40 && strcmp(r.guard, "tripped") != 0) {
        memcpy(serving, s->versions.serving.name, sizeof serving);
        r = rig_step(&rig, s, plan, i++);
    }
    assert_in_range(i, 2, 39);
    assert_false(r.adapted);
    assert_int_equal(r.skip, TT_SKIP_HOLD);
    assert_string_equal(r.version, serving); // that answered
    assert_string_equal(r.rolled_back_to, s->versions.base.name);
    assert_string_equal(s->versions.serving.name, s->versions.base.name);
    assert_int_equal(rig.n[TT_REC_DECISION], 1);
    assert_string_equal(rig.decision.rule, "far");
    assert_string_equal(rig.decision.action, "rollback");
    assert_string_equal(rig.decision.from_version, serving);
    assert_string_equal(rig.decision.to_version, s->versions.base.name);
    assert_string_equal(rig.decision.to_reason,
                        "no version from before the change point is good, so the source");
    assert_true(rig.decision.observed > 0.004);
    assert_contains(rig.decision.evidence, "\"signal\":\"param_drift\"");
    assert_true(rig.synced > 0);
    assert_string_equal(rig.serving, s->versions.base.name);
    r = rig_step(&rig, s, plan, i);
    assert_string_equal(r.guard, "hold");
    assert_int_equal(r.skip, TT_SKIP_HOLD);
    assert_string_equal(r.rolled_back_to, "");
    tt_stream_free(s);
    tt_plan_free(plan);
}

static void a_rollback_goes_to_the_newest_good_version(void **state)
{
    const struct tt_policy *p = rig_policy(
        &rig, TENT "guards:\n"
                   "  - {name: one, signal: class_share, above: 0.6, clear: 0.5, "
                   "min_samples: 32, consecutive: 1, action: rollback}\n"
                   "monitor: {window: 64, shadow: {every: 0}}\n"
                   "snapshots: {every_updates: 2}\n"
                   "recovery: {warmup_samples: 0, soak_samples: 48, soak_evidence: 0.9}\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = rig_stream(&rig, p, plan, NULL);
    static float x[ROWS * 28 * 28], logits[ROWS * 10];
    struct tt_batch b = {.x = x, .rows = ROWS, .learn = true, .logits = logits};
    struct tt_result r = {.guard = ""};
    const struct tt_version *good;
    struct tt_err err;
    int i = 0;

    (void)state;
    for (; i < 16; i++)
        r = rig_step(&rig, s, plan, i);
    assert_string_equal(r.guard, "ok");
    good = tt_versions_target(&s->versions, INT64_MAX);
    assert_int_equal(good->state, TT_VERSION_GOOD);
    assert_in_range(good->step, 8, 14);
    for (int64_t j = 0; j < ROWS; j++) // one image for ever: one class takes over
        memcpy(x + j * 784, x, 784 * sizeof *x);
    for (; i < 40 && strcmp(r.guard, "tripped") != 0; i++) {
        b.now_ms = 2000 + 10 * i;
        assert_int_equal(tt_stream_step(s, plan, &b, &r, &err), TT_OK);
        tt_stream_settle(s, plan, b.now_ms);
    }
    assert_string_equal(r.guard, "tripped");
    assert_string_equal(rig.decision.to_reason,
                        "the newest good version from before the change point");
    assert_string_equal(r.rolled_back_to, s->versions.serving.name);
    assert_int_equal(s->versions.serving.state, TT_VERSION_GOOD);
    assert_in_range(s->versions.serving.step, 2, 16);
    for (int k = 0; k < s->versions.nring; k++) { // what is newer was set aside
        const struct tt_version *v = &s->versions.ring[k];

        if (v->name[0] && v->step > s->versions.serving.step)
            assert_true(v->state == TT_VERSION_BAD || v->state == TT_VERSION_SUSPECT);
    }
    tt_stream_free(s);
    tt_plan_free(plan);
}

static void a_person_may_go_back_by_name(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT "snapshots: {every_updates: 1}\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = rig_stream(&rig, p, plan, NULL);
    struct tt_order o = {.action = TT_ACTION_ROLLBACK, .actor = "ops", .reason = "fog"};
    struct tt_ordered got;
    struct tt_err err;
    char name[3][TT_HASH_SHORT + 1];

    (void)state;
    for (int i = 0; i < 3; i++) {
        (void)rig_step(&rig, s, plan, i);
        memcpy(name[i], s->versions.serving.name, sizeof name[i]);
    }
    o.version = "0123456789abcdef";
    assert_int_equal(tt_stream_order(s, &o, &got, &err), TT_ENOTFOUND);
    assert_string_equal(err.msg, "stream 'cam-7' has no version '0123456789abcdef' that it could "
                                 "go back to; op 'snapshots' lists them");
    assert_string_equal(s->versions.serving.name, name[2]);
    name[0][9] = '\0'; // nine digits name it too
    o.version = name[0];
    assert_int_equal(tt_stream_order(s, &o, &got, &err), TT_OK);
    assert_string_equal(got.from, name[2]);
    assert_int_equal(got.to_step, 1);
    assert_memory_equal(got.to, name[0], 9);
    assert_contains(rig.decision.sentence, "by ops: fog");
    o.version = ""; // nothing has soaked
    assert_int_equal(tt_stream_order(s, &o, &got, &err), TT_OK);
    assert_string_equal(got.to, s->versions.base.name);
    tt_stream_free(s);
    tt_plan_free(plan);
}

static void labels_are_credited_to_the_version_that_answered(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT "monitor: {shadow: {every: 1}}\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = rig_stream(&rig, p, plan, NULL);
    struct tt_result r0 = rig_step(&rig, s, plan, 0), r1 = rig_step(&rig, s, plan, 1);
    int64_t label[ROWS];
    struct tt_labels l = {.id = "0", .label = label, .n = ROWS, .now_ms = 9000};
    struct tt_credited got;
    struct tt_err err;

    (void)state;
    for (int i = 0; i < ROWS; i++)
        label[i] = r1.labels[i];
    label[0] = (label[0] + 1) % 10;
    label[1] = -1;
    l.id = "1";
    assert_int_equal(tt_stream_feedback(s, &l, &got, &err), TT_OK);
    assert_string_equal(got.version, r1.version);
    assert_string_not_equal(got.version, r0.version);
    assert_int_equal(got.n, ROWS - 1);
    assert_int_equal(got.correct, ROWS - 2);
    assert_int_equal(got.base_n, ROWS - 1);
    assert_int_equal(tt_stream_feedback(s, &l, &got, &err), TT_EBUSY);
    assert_string_equal(err.msg, "request id '1' has been labelled before");
    l.id = "7";
    assert_int_equal(tt_stream_feedback(s, &l, &got, &err), TT_ENOTFOUND);
    assert_contains(err.msg, "request id '7' is not remembered");
    l.id = "0";
    l.n = 3;
    assert_int_equal(tt_stream_feedback(s, &l, &got, &err), TT_ESHAPE);
    assert_string_equal(err.msg, "request id '0' had 16 rows, 3 labels came");
    l.n = ROWS;
    label[4] = 10;
    assert_int_equal(tt_stream_feedback(s, &l, &got, &err), TT_ERANGE);
    assert_string_equal(err.msg, "label 4 is 10, wanted 0 to 9, or -1 for unknown");
    assert_int_equal(rig.n[TT_REC_FEEDBACK], 1);
    tt_stream_free(s);
    tt_plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_batch_is_answered_learnt_from_and_recorded, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_could_not_be_kept_is_not_learnt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_same_batches_make_the_same_versions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(input_that_is_not_finite_is_answered_and_not_learnt_from,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_may_not_be_learnt_from_says_why, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_trip_goes_back_and_does_not_publish, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rollback_goes_to_the_newest_good_version, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_person_may_go_back_by_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(labels_are_credited_to_the_version_that_answered, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
