// SPDX-License-Identifier: Apache-2.0
#include "daemon/adopt.h"

#include "tests/daemon/rig.h"

/* A stream whose policy changes between two batches. */

#define WATCH                                                                                  \
    "recovery: {warmup_samples: 0, soak_samples: 16, soak_evidence: 1}\n"                      \
    "snapshots: {every_updates: 2}\n"                                                          \
    "guards: [{name: g, signal: class_share, above: 0.95, min_samples: 16, action: rollback, " \
    "on_inconclusive: continue}]\n"
#define TENT "preset: tent\noptimizer: {kind: adam, lr: 0.001}\n"

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

struct pair {
    const struct tt_policy *a, *b;
    struct tt_plan *before, *plan;
    struct tt_stream *s;
    struct tt_adopted got;
};

/* n batches under one policy, then another. */
static void change(struct pair *p, const char *a, const char *b, int n, const char *dir)
{
    float *source;
    struct tt_err err;

    p->a = rig_policy(&rig, a);
    p->b = rig_policy(&rig, b);
    p->before = rig_plan(&rig, p->a);
    p->plan = rig_plan(&rig, p->b);
    p->s = rig_stream(&rig, p->a, p->before, dir);
    for (int i = 0; i < n; i++)
        (void)rig_step(&rig, p->s, p->before, i);
    source = tt_block_new(tt_plan_floats(p->plan));
    tt_plan_source(p->plan, source);
    if (tt_stream_adopt(p->s, p->b, p->before, p->plan, source, 5000, &p->got, &err) != TT_OK)
        fail_msg("%s", err.msg);
    tt_block_free(source);
}

static void end(struct pair *p)
{
    tt_stream_free(p->s);
    tt_plan_free(p->before);
    tt_plan_free(p->plan);
}

static const float *piece(const struct tt_plan *plan, const float *block, const char *name)
{
    int n;
    const struct tt_slice *slice = tt_plan_slices(plan, &n);

    for (int i = 0; i < n; i++)
        if (!strcmp(slice[i].name, name))
            return block + slice[i].offset;
    fail_msg("no slice %s", name);
    return NULL;
}

/* The name of the first selected parameter, without "p/". */
static const char *first(const struct tt_plan *plan)
{
    int n;

    return tt_plan_slices(plan, &n)[0].name + 2;
}

static void another_guard_leaves_the_version_as_it_is(void **state)
{
    struct pair p, control;
    struct tt_result a, b;

    (void)state;
    change(&p, TENT WATCH, TENT "recovery: {warmup_samples: 0}\nguards: []\n", 5, NULL);
    change(&control, TENT WATCH, TENT WATCH, 5, NULL);
    assert_false(p.got.method);
    assert_int_equal(p.got.guard.removed, 1);
    assert_string_equal(p.s->versions.serving.name, control.s->versions.serving.name);
    a = rig_step(&rig, p.s, p.plan, 5);
    b = rig_step(&rig, control.s, control.plan, 5);
    assert_string_equal(a.version, b.version);
    assert_string_equal(p.s->versions.serving.name, control.s->versions.serving.name);
    assert_string_equal(p.s->policy->hash, p.b->hash);
    end(&p);
    end(&control);
}

static void the_same_optimizer_at_another_pace_keeps_all_numbers(void **state)
{
    struct pair p;
    struct tt_version before;
    const char *name;
    char whole[160];

    (void)state;
    p.a = rig_policy(&rig, TENT WATCH);
    change(&p, TENT WATCH, "preset: tent\noptimizer: {kind: adam, lr: 0.0005}\n" WATCH, 6, NULL);
    assert_true(p.got.method && p.got.kept);
    before = p.s->versions.serving;
    name = first(p.plan);
    snprintf(whole, sizeof whole, "o/%s/exp_avg_sq", name);
    assert_true(*piece(p.plan, before.block, whole) > 0);
    assert_true(*piece(p.plan, before.block, "o/step") >= 6);
    assert_int_equal(before.step, 6);
    assert_true(rig_step(&rig, p.s, p.plan, 6).adapted);
    assert_int_equal(p.s->versions.serving.step, 7);
    end(&p);
}

static void another_optimizer_keeps_the_parameters_and_begins_fresh(void **state)
{
    struct pair p, control;
    const char *name;
    char whole[160];

    (void)state;
    change(&control, TENT WATCH, TENT WATCH, 6, NULL);
    change(&p, TENT WATCH, "preset: tent\noptimizer: {kind: sgd, lr: 0.001, momentum: 0.9}\n" WATCH,
           6, NULL);
    assert_true(p.got.method && p.got.kept);
    name = first(p.plan);
    snprintf(whole, sizeof whole, "p/%s", name);
    assert_close(*piece(p.plan, p.s->versions.serving.block, whole),
                 *piece(control.plan, control.s->versions.serving.block, whole), 0, 0);
    snprintf(whole, sizeof whole, "o/%s/momentum_buffer", name);
    assert_close(*piece(p.plan, p.s->versions.serving.block, whole), 0, 0, 0);
    assert_string_not_equal(p.s->versions.serving.name, control.s->versions.serving.name);
    end(&p);
    end(&control);
}

static void fewer_parameters_start_from_the_source_and_more_do_not(void **state)
{
    static const char weights[] = "preset: tent\nselect: {kinds: [bn], members: [weight]}\n" WATCH;
    struct pair p;

    (void)state;
    change(&p, TENT WATCH, weights, 6, NULL);
    assert_true(p.got.method && !p.got.kept);
    assert_int_equal(p.s->versions.serving.state, TT_VERSION_BASE);
    assert_string_equal(p.s->versions.serving.name, p.s->versions.base.name);
    for (int i = 0; i < p.s->versions.nring; i++)
        assert_string_equal(p.s->versions.ring[i].name, "");
    assert_true(rig_step(&rig, p.s, p.plan, 6).adapted);
    assert_int_equal(p.s->versions.serving.step, 7); // numbers are not given twice
    end(&p);
    change(&p, weights, TENT WATCH, 6, NULL);
    assert_true(p.got.method && p.got.kept);
    assert_int_equal(p.s->versions.serving.step, 6);
    end(&p);
}

static void a_rollback_right_after_has_somewhere_to_go(void **state)
{
    const struct tt_order back = {.action = TT_ACTION_ROLLBACK, .version = "", .now_ms = 6000};
    const struct tt_version *good;
    struct tt_ordered got;
    struct tt_err err;
    struct pair p;

    (void)state;
    change(&p, TENT WATCH, "preset: tent\noptimizer: {kind: adam, lr: 0.0005}\n" WATCH, 9, rig.dir);
    good = tt_versions_target(&p.s->versions, INT64_MAX);
    assert_int_equal(good->state, TT_VERSION_GOOD);
    assert_true(good->stored);
    assert_int_equal(tt_stream_order(p.s, &back, &got, &err), TT_OK);
    assert_string_equal(got.to, good->name);
    assert_string_equal(rig.decision.action, "rollback");
    (void)rig_step(&rig, p.s, p.plan, 9);
    end(&p);
}

/* A crash right after: nothing is told to the stream any more. */
static void what_serves_after_the_change_is_resumed(void **state)
{
    char name[TT_HASH_SHORT + 1], text[TT_LINE_BYTES];
    struct tt_stream *again;
    struct tt_err err;
    struct pair p;

    (void)state;
    change(&p, TENT WATCH, "preset: tent\noptimizer: {kind: adam, lr: 0.0005}\n" WATCH, 9, rig.dir);
    memcpy(name, p.s->versions.serving.name, sizeof name);
    again = rig_stream(&rig, p.b, p.plan, rig.dir);
    if (tt_stream_resume(again, p.plan, &(struct tt_known){.n = 0}, 7000, text, &err) != TT_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(again->versions.serving.name, name);
    assert_int_equal(tt_versions_target(&again->versions, INT64_MAX)->state, TT_VERSION_GOOD);
    tt_stream_free(again);
    end(&p);
}

static void the_same_batches_after_the_same_change_make_the_same_versions(void **state)
{
    struct pair p, q;

    (void)state;
    change(&p, TENT WATCH, "preset: tent\noptimizer: {kind: sgd, lr: 0.01}\n" WATCH, 5, NULL);
    change(&q, TENT WATCH, "preset: tent\noptimizer: {kind: sgd, lr: 0.01}\n" WATCH, 5, NULL);
    for (int i = 5; i < 8; i++) {
        (void)rig_step(&rig, p.s, p.plan, i);
        (void)rig_step(&rig, q.s, q.plan, i);
    }
    assert_string_equal(p.s->versions.serving.name, q.s->versions.serving.name);
    end(&p);
    end(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(another_guard_leaves_the_version_as_it_is, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_same_optimizer_at_another_pace_keeps_all_numbers,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_optimizer_keeps_the_parameters_and_begins_fresh,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(fewer_parameters_start_from_the_source_and_more_do_not,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rollback_right_after_has_somewhere_to_go, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_serves_after_the_change_is_resumed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            the_same_batches_after_the_same_change_make_the_same_versions, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
