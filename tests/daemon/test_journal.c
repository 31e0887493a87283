// SPDX-License-Identifier: Apache-2.0
#include "tests/daemon/rig.h"

#include <sys/stat.h>

#include "daemon/journal.h"

/* A guard that stays calm over these images, so that nothing but the test decides. */
#define POLICY                                                                                 \
    "preset: tent\nguards:\n  - {name: far, signal: param_drift, above: 50, min_samples: 16, " \
    "action: rollback, on_inconclusive: continue}\n"                                           \
    "recovery: {warmup_samples: 0, soak_samples: 48, soak_evidence: 1}\n"                      \
    "snapshots: {every_updates: 2}\n"

static struct rig rig;
static const struct tt_policy *policy;
static struct tt_plan *plan;
static char dir[80], path[112]; // of the stream's snapshots; of the journal

static int set_up(void **state)
{
    (void)state;
    rig_up(&rig);
    snprintf(dir, sizeof dir, "%s/cam-7", rig.dir);
    snprintf(path, sizeof path, "%s/" TT_JOURNAL_FILE, dir);
    policy = rig_policy(&rig, POLICY);
    plan = rig_plan(&rig, policy);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tt_plan_free(plan);
    rig_down(&rig);
    return 0;
}

static struct tt_stream *learnt(int n)
{
    struct tt_stream *s = rig_stream(&rig, policy, plan, dir);

    for (int i = 0; i < n; i++)
        assert_true(rig_step(&rig, s, plan, i).adapted);
    return s;
}

/* The stream as another process finds it. */
static struct tt_stream *resumed(int64_t decision, char text[TT_LINE_BYTES])
{
    struct tt_stream *s = rig_stream(&rig, policy, plan, dir);
    struct tt_err err;

    if (tt_stream_resume(s, plan, &(struct tt_known){.decision = decision}, 5000, text, &err) !=
        TT_OK)
        fail_msg("%s", err.msg);
    return s;
}

static void a_killed_stream_goes_on_at_its_newest_version(void **state)
{
    struct tt_stream *s = learnt(5), *t;
    char text[TT_LINE_BYTES];
    struct tt_result a, b;

    (void)state;
    t = resumed(0, text); // s is as it was when the process was killed
    assert_contains(text, "of step 5 from the journal");
    assert_string_equal(t->versions.serving.name, s->versions.serving.name);
    assert_string_equal(t->versions.serving.parent, s->versions.serving.parent);
    assert_int_equal(t->step, 5);
    assert_int_equal(t->updates, s->updates);
    assert_int_equal(t->sample_turn, s->sample_turn);
    assert_int_equal(t->samples, 5 * ROWS);
    assert_int_equal(t->adapted, 5);
    assert_int_equal(t->guard.samples, s->guard.samples);
    assert_int_equal(t->signals.batches, s->signals.batches);
    for (int i = 5; i < 9; i++) { // and from there on they are the same, bit for bit
        a = rig_step(&rig, s, plan, i);
        b = rig_step(&rig, t, plan, i);
        assert_close(a.loss, b.loss, 0, 0);
        assert_string_equal(s->versions.serving.name, t->versions.serving.name);
    }
    tt_stream_free(s);
    tt_stream_free(t);
}

static void a_batch_is_learnt_from_once_across_a_kill(void **state)
{
    struct tt_stream *s = learnt(3), *t;
    char text[TT_LINE_BYTES];
    struct tt_result r;

    (void)state;
    t = resumed(0, text);
    r = rig_step(&rig, t, plan, 2); // the reply was lost, the client asks again
    assert_false(r.adapted);
    assert_string_equal(tt_skip_name(r.skip), "replayed");
    assert_string_equal(t->versions.serving.name, s->versions.serving.name);
    r = rig_step(&rig, t, plan, 3);
    assert_true(r.adapted);
    tt_stream_free(s);
    tt_stream_free(t);
}

static void checkpoints_go_on_soaking_after_a_kill(void **state)
{
    struct tt_stream *s = learnt(2), *t;
    char text[TT_LINE_BYTES], checkpoint[TT_HASH_SHORT + 1];
    const struct tt_version *v;

    (void)state;
    memcpy(checkpoint, s->versions.serving.name, sizeof checkpoint);
    assert_int_equal(tt_versions_find(&s->versions, checkpoint)->state, TT_VERSION_SOAKING);
    t = resumed(0, text);
    v = tt_versions_find(&t->versions, checkpoint);
    assert_non_null(v);
    assert_int_equal(v->state, TT_VERSION_SOAKING);
    assert_true(v->stored);
    for (int i = 2; i < 5; i++)
        (void)rig_step(&rig, t, plan, i);
    v = tt_versions_find(&t->versions, checkpoint);
    assert_int_equal(v->state, TT_VERSION_GOOD); // 16 samples before the kill and 48 after it
    assert_true(v->synced);
    tt_stream_free(s);
    tt_stream_free(t);
}

static void an_order_is_journaled_before_it_is_told(void **state)
{
    struct tt_stream *s = learnt(6), *t;
    const struct tt_order back = {.action = TT_ACTION_RESET, .now_ms = 4000},
                          freeze = {.action = TT_ACTION_FREEZE, .now_ms = 4001};
    struct tt_ordered got;
    char text[TT_LINE_BYTES];
    struct tt_err err;

    (void)state;
    assert_int_equal(tt_stream_order(s, &back, &got, &err), TT_OK);
    assert_int_equal(got.decision_id, 1);
    t = resumed(1, text);
    assert_string_equal(t->versions.serving.name, s->versions.base.name);
    assert_int_equal(t->versions.serving.state, TT_VERSION_BASE);
    assert_int_equal(t->step, 6);
    assert_int_equal(t->rollbacks, 1);
    assert_int_equal(t->guard.state, s->guard.state);
    tt_stream_free(t);
    assert_int_equal(tt_stream_order(s, &freeze, &got, &err), TT_OK);
    t = resumed(1, text); // a freeze restores nothing
    assert_int_equal(t->guard.state, TT_GUARD_FROZEN);
    tt_stream_free(s);
    tt_stream_free(t);
}

/* The record has a rollback that the journal has not: the disk failed between them. */
static void a_journal_from_before_a_rollback_does_not_serve(void **state)
{
    struct tt_stream *s = learnt(3), *t;
    char text[TT_LINE_BYTES];

    (void)state;
    t = resumed(7, text);
    assert_contains(rig.last_event, "the journal is older than decision 7");
    assert_int_equal(t->versions.serving.step, 2); // the snapshot of the checkpoint
    assert_int_equal(t->step, 3);
    assert_true(tt_recent_has(t->recent, "2")); // what was learnt from is known all the same
    tt_stream_free(s);
    tt_stream_free(t);
}

/* Closing takes the journal; what comes after it is newer than the decisions of the record. */
static void a_journal_from_after_a_rollback_serves(void **state)
{
    struct tt_stream *s = learnt(3), *t;
    char text[TT_LINE_BYTES];

    (void)state;
    assert_int_equal(unlink(path), 0);
    t = resumed(7, text);
    (void)rig_step(&rig, t, plan, 3);
    tt_stream_free(s);
    s = t;
    t = resumed(7, text);
    assert_contains(text, " from the journal");
    assert_string_equal(t->versions.serving.name, s->versions.serving.name);
    tt_stream_free(s);
    tt_stream_free(t);
}

static void write_bytes(const char *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* Resume over what is there: 0 the source, else the step that serves. */
static int64_t step_after(bool *ret_told)
{
    char text[TT_LINE_BYTES];
    struct tt_stream *t;
    int64_t step;

    rig.last_event[0] = '\0';
    t = resumed(0, text);
    step = t->versions.serving.step;
    *ret_told = strstr(rig.last_event, "journal") != NULL;
    assert_int_equal(t->versions.floats, tt_plan_floats(plan));
    tt_stream_free(t);
    return step;
}

static void a_damaged_journal_falls_back_and_says_so(void **state)
{
    struct tt_stream *s = learnt(5); // snapshots at 2 and 4; slots of 4 and 5
    size_t n;
    char *good = read_file(path, &n);
    int told = 0, whole = 0;
    bool said;

    (void)state;
    for (size_t cut = 0; cut < n; cut += cut % 4096 == 4032 ? 64 : 448) {
        int64_t step;

        write_bytes(good, cut);
        step = step_after(&said);
        assert_true(step == 4 || step == 5);
        assert_true(said || step == 5);
    }
    for (size_t at = 0; at < n; at += n / 97) {
        int64_t step;

        good[at] = (char)(good[at] ^ 1);
        write_bytes(good, n);
        good[at] = (char)(good[at] ^ 1);
        step = step_after(&said);
        assert_true(step == 4 || step == 5); // the slot of 4, the snapshot of 4, or untouched
        told += said;
        whole += step == 5;
    }
    assert_true(told > 20 && whole > 20);
    free(good);
    tt_stream_free(s);
}

static void what_is_no_journal_is_not_taken_for_one(void **state)
{
    struct tt_stream *s = learnt(5), *other;
    const char *name = s->name;
    size_t n;
    char *good;
    bool said;

    (void)state;
    good = read_file(path, &n);
    write_bytes("", 0);
    assert_int_equal(step_after(&said), 4);
    assert_true(said);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(step_after(&said), 4);
    assert_true(said);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("/dev/zero", path), 0);
    assert_int_equal(step_after(&said), 4);
    assert_true(said);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(step_after(&said), 4); // none: the snapshot, and nothing to say
    assert_false(said);
    other = learnt(0);
    s->name = "cam-8"; // its file, put here by somebody
    assert_true(tt_journal_keep(s, 5000));
    s->name = name;
    assert_int_equal(step_after(&said), 4);
    assert_contains(rig.last_event, "it is of stream 'cam-8', wanted 'cam-7'");
    write_bytes(good, n);
    assert_int_equal(step_after(&said), 5);
    free(good);
    tt_stream_free(other);
    tt_stream_free(s);
}

static void another_methods_journal_starts_from_the_source(void **state)
{
    const struct tt_policy *mine = policy;
    struct tt_plan *my_plan = plan;
    struct tt_stream *s = learnt(3), *t;
    char text[TT_LINE_BYTES];

    (void)state;
    policy = rig_policy(&rig, "preset: tent\noptimizer: {kind: sgd, lr: 0.01}\n");
    plan = rig_plan(&rig, policy);
    t = resumed(0, text);
    assert_contains(text, "the model or the method has changed");
    assert_int_equal(t->versions.serving.step, 0);
    tt_plan_free(plan);
    plan = my_plan;
    policy = mine;
    tt_stream_free(s);
    tt_stream_free(t);
}

static int journal_said;
static void hear(void *ctx, const char *why)
{
    (void)ctx;
    journal_said += why ? 1 : 0;
}

/* The disk fails under it: what cannot be kept is not learnt, nor told to anybody. */
static void a_version_that_cannot_be_journaled_is_not_published(void **state)
{
    static const char *const orders[] = {"before", "after"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        char text[512], name[TT_HASH_SHORT + 1];
        struct tt_result r;
        struct tt_stream *s;

        snprintf(text, sizeof text, "%spredict: {order: %s}\n", POLICY, orders[i]);
        tt_plan_free(plan);
        policy = rig_policy(&rig, text);
        plan = rig_plan(&rig, policy);
        s = learnt(3);
        s->sink.journal = hear;
        journal_said = 0;
        memcpy(name, s->versions.serving.name, sizeof name);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        r = rig_step(&rig, s, plan, 3);
        assert_false(r.adapted);
        assert_string_equal(tt_skip_name(r.skip), "not_ready");
        assert_string_equal(r.version, name); // never a name that is nowhere
        assert_string_equal(s->versions.serving.name, name);
        assert_int_equal(s->step, 3);
        assert_int_equal(s->adapted, 3);
        assert_int_equal(s->samples, 4 * ROWS);
        assert_false(tt_recent_has(s->recent, "3"));
        assert_true(journal_said > 0);
        assert_contains(rig.last_event, "cannot be journaled, so nothing is learnt: ");
        rig.last_event[0] = '\0';
        r = rig_step(&rig, s, plan, 4); // held; told once
        assert_string_equal(tt_skip_name(r.skip), "not_ready");
        assert_null(strstr(rig.last_event, "journal"));
        assert_int_equal(rmdir(path), 0);
        r = rig_step(&rig, s, plan, 5); // by itself again
        assert_true(r.adapted);
        assert_string_equal(rig.last_event, "the newest version is journaled again");
        assert_int_equal(s->step, 4);
        tt_stream_free(s);
        assert_int_equal(unlink(path), 0);
    }
}

static void closing_takes_the_journal_and_leaves_the_snapshot(void **state)
{
    struct tt_stream *s = learnt(3), *t;
    char text[TT_LINE_BYTES];

    (void)state;
    assert_int_equal(access(path, F_OK), 0);
    tt_stream_part(s, plan, 4000);
    tt_stream_closed(s, 4000);
    assert_int_equal(access(path, F_OK), -1);
    t = resumed(0, text);
    assert_int_equal(t->versions.serving.step, 3);
    tt_stream_free(t);
    tt_stream_free(s);
}

static void what_never_learnt_has_no_journal(void **state)
{
    struct tt_stream *s = learnt(0);

    (void)state;
    assert_true(tt_journal_keep(s, 1));
    assert_int_equal(access(path, F_OK), -1);
    s->journal.limit = 100; // of a large overlay
    assert_true(rig_step(&rig, s, plan, 0).adapted);
    assert_int_equal(access(path, F_OK), -1);
    tt_stream_free(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_killed_stream_goes_on_at_its_newest_version),
        TEST(a_batch_is_learnt_from_once_across_a_kill),
        TEST(checkpoints_go_on_soaking_after_a_kill),
        TEST(an_order_is_journaled_before_it_is_told),
        TEST(a_journal_from_before_a_rollback_does_not_serve),
        TEST(a_journal_from_after_a_rollback_serves),
        TEST(a_damaged_journal_falls_back_and_says_so),
        TEST(what_is_no_journal_is_not_taken_for_one),
        TEST(another_methods_journal_starts_from_the_source),
        TEST(a_version_that_cannot_be_journaled_is_not_published),
        TEST(closing_takes_the_journal_and_leaves_the_snapshot),
        TEST(what_never_learnt_has_no_journal),
    };

    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
