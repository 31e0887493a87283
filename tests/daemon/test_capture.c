// SPDX-License-Identifier: Apache-2.0
#include <omp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "daemon/capture.h"
#include "daemon/capture_files.h"
#include "daemon/rerun.h"
#include "tests/daemon/rig.h"

#define TENT  "preset: tent\nsnapshots: {every_updates: 2}\n"
#define MODEL "models/fashion_resnet.onnx"

static struct rig rig;
static struct tt_capture_pool pool;
static struct tt_rerun_model cache;

static int set_up(void **state)
{
    char database[80];

    (void)state;
    rig_up(&rig);
    (void)snprintf(database, sizeof database, "%s/db", rig.dir);
    tt_capture_pool_init(&pool, database, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tt_model_free(cache.model);
    cache = (struct tt_rerun_model){.path = ""};
    tt_capture_pool_end(&pool);
    rig_down(&rig);
    return 0;
}

/* A captured stream. */
static struct tt_stream *captured(const struct tt_policy *p, const struct tt_plan *plan,
                                  const char *snapshots)
{
    struct tt_stream *s = rig_stream(&rig, p, plan, snapshots);

    tt_capture_begin(s, &(struct tt_capture_spec){&pool, MODEL, "mine", "opened"}, 1500);
    return s;
}

static void files_dir(char ret[160])
{
    (void)snprintf(ret, 160, "%s/cam-7", pool.root);
}

static int list_files(struct tt_capture_file_size file[TT_CAPTURE_FILES])
{
    struct tt_err err;
    char dir[160];
    int n;

    files_dir(dir);
    assert_int_equal(tt_capture_files_list(dir, file, &n, &err), TT_OK);
    return n;
}

/* Run what is in dir again; fails the test when it cannot be run. */
static struct tt_rerun rerun_dir(const char *dir)
{
    struct tt_rerun_spec spec = {.dir = dir, .cache = &cache};
    struct tt_rerun r;
    struct tt_err err;

    if (tt_rerun_stream(&spec, &r, &err) != TT_OK)
        fail_msg("%s", err.msg);
    return r;
}

static struct tt_rerun rerun(void)
{
    char dir[160];

    files_dir(dir);
    return rerun_dir(dir);
}

static void label(struct tt_stream *s, int i)
{
    int64_t labels[ROWS] = {0};
    struct tt_credited got;
    struct tt_err err;
    char id[16];

    (void)snprintf(id, sizeof id, "%d", i);
    assert_int_equal(
        tt_stream_feedback(s, &(struct tt_labels){id, labels, ROWS, 3000 + i}, &got, &err), TT_OK);
}

static void order(struct tt_stream *s, enum tt_action action, bool thaw)
{
    const struct tt_order o = {.action = action, .thaw = thaw, .actor = "me", .now_ms = 4000};
    struct tt_ordered got;
    struct tt_err err;

    if (tt_stream_order(s, &o, &got, &err) != TT_OK)
        fail_msg("%s", err.msg);
}

static void what_was_captured_runs_again_and_is_equal(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT "capture: on\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = captured(p, plan, NULL);
    char last[TT_HASH_SHORT + 1];
    struct tt_rerun r;

    (void)state;
    for (int i = 0; i < 5; i++)
        (void)rig_step(&rig, s, plan, i);
    label(s, 2);
    order(s, TT_ACTION_FREEZE, false);
    (void)rig_step(&rig, s, plan, 6);
    order(s, TT_ACTION_FREEZE, true);
    (void)tt_versions_keep(&s->versions);
    tt_capture_keep(s, 4100);
    order(s, TT_ACTION_RESET, false);
    (void)rig_step(&rig, s, plan, 7);
    memcpy(last, s->versions.serving.name, sizeof last);
    tt_stream_free(s);
    tt_plan_free(plan);
    r = rerun();
    assert_string_equal(r.difference, "");
    assert_int_equal(r.batches, 7);
    assert_int_equal(r.versions, 5);
    assert_int_equal(r.labels, 1);
    assert_int_equal(r.orders, 3);
    assert_int_equal(r.nnotes, 0);
    assert_string_equal(r.version, last);
    assert_string_equal(r.stream, "cam-7");
}

static void nothing_is_kept_where_the_policy_does_not_say_so(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT);
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = captured(p, plan, NULL);
    struct stat st;

    (void)state;
    (void)rig_step(&rig, s, plan, 0);
    assert_null(s->capture);
    assert_int_equal(stat(pool.root, &st), -1);
    tt_stream_free(s);
    tt_plan_free(plan);
}

static void capture_changes_no_version(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT), *q = rig_policy(&rig, TENT "capture: on\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = rig_stream(&rig, p, plan, NULL), *t = captured(q, plan, NULL);

    (void)state;
    assert_string_not_equal(p->hash, q->hash);
    for (int i = 0; i < 3; i++) {
        (void)rig_step(&rig, s, plan, i);
        (void)rig_step(&rig, t, plan, i);
        assert_string_equal(s->versions.serving.name, t->versions.serving.name);
    }
    tt_stream_free(s);
    tt_stream_free(t);
    tt_plan_free(plan);
}

static void a_policy_that_changes_is_followed(void **state)
{
    const struct tt_policy *off = rig_policy(&rig, TENT),
                           *on = rig_policy(&rig, TENT "capture: on\n"),
                           *more = rig_policy(&rig, TENT "capture: on\nmonitor: {window: 99}\n");
    struct tt_plan *plan = rig_plan(&rig, on);
    struct tt_stream *s = captured(on, plan, NULL);
    const struct tt_policy *const turn[] = {more, off, on};
    struct tt_rerun r;

    (void)state;
    for (int i = 0; i < 3; i++) {
        (void)rig_step(&rig, s, plan, i);
        s->policy = turn[i];
        s->signals.window = s->policy->guard.settings.window;
        tt_capture_begin(s, &(struct tt_capture_spec){&pool, MODEL, "mine", "its policy changed"},
                         2500);
        assert_int_equal(s->capture != NULL, turn[i] != off);
    }
    (void)rig_step(&rig, s, plan, 3);
    tt_stream_free(s);
    tt_plan_free(plan);
    r = rerun();
    assert_string_equal(r.difference, "");
    assert_int_equal(r.files, 3);
    assert_int_equal(r.batches, 3);
}

/* Copy one file to a folder of its own. */
static void alone(int64_t number, char ret_dir[200])
{
    char from[TT_CAPTURE_PATH], to[TT_CAPTURE_PATH], dir[160], command[3 * TT_CAPTURE_PATH];

    files_dir(dir);
    (void)snprintf(ret_dir, 200, "%s/alone-%d", rig.dir, (int)number);
    tt_capture_files_path(dir, number, from);
    tt_capture_files_path(ret_dir, number, to);
    (void)snprintf(command, sizeof command, "mkdir '%s' && cp '%s' '%s'", ret_dir, from, to);
    assert_int_equal(system(command), 0);
}

static void the_oldest_files_go_and_each_runs_on_its_own(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT "capture: {mode: on, max_bytes: 1048576}\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = captured(p, plan, NULL);
    struct tt_capture_file_size file[TT_CAPTURE_FILES];
    int64_t total = 0, batches = 0;
    struct tt_rerun r;
    char dir[200];
    int n;

    (void)state;
    for (int i = 0; i < 40; i++) {
        (void)rig_step(&rig, s, plan, i);
        if (i % 4 == 3)
            label(s, i - 3); // often of the file before
        n = list_files(file);
        total = 0;
        for (int k = 0; k < n; k++)
            total += file[k].bytes;
        assert_true(total <= 1048576);
    }
    tt_stream_free(s);
    n = list_files(file);
    assert_true(n > 2 && file[0].number > 1);
    r = rerun();
    assert_string_equal(r.difference, "");
    assert_int_equal(r.files, n);
    assert_true(r.batches < 40 && r.batches > 5);
    for (int i = 0; i < n; i++) {
        struct tt_rerun one;

        alone(file[i].number, dir);
        one = rerun_dir(dir);
        assert_string_equal(one.difference, "");
        batches += one.batches;
    }
    assert_int_equal(batches, r.batches);
    tt_plan_free(plan);
}

static void a_result_that_is_not_what_comes_out_is_named(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT "capture: on\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = captured(p, plan, NULL);
    static float x[ROWS * 28 * 28], logits[ROWS * 10];
    struct tt_batch b = {
        .id = "lie", .x = x, .rows = ROWS, .learn = true, .now_ms = 9000, .logits = logits};
    struct tt_capture *capture = s->capture;
    struct tt_result ret;
    struct tt_rerun r;
    struct tt_err err;

    (void)state;
    (void)rig_step(&rig, s, plan, 0);
    rig_batch(&rig, 1, x);
    s->capture = NULL; // this one is captured with another input than it had
    assert_int_equal(tt_stream_step(s, plan, &b, &ret, &err), TT_OK);
    s->capture = capture;
    x[77] += 0.25f;
    tt_capture_batch(s, plan, &b, &ret);
    tt_stream_free(s);
    tt_plan_free(plan);
    r = rerun();
    assert_true(r.differs);
    assert_contains(r.difference, "batch 2 (id 'lie', step 1): the answer is another one");
}

static void checkpoints_without_memory_or_file_are_given_up_again(void **state)
{
    const struct tt_policy *p = rig_policy(
        &rig, TENT "capture: {mode: on, max_bytes: 1048576}\nrecovery: {soak_samples: 32}\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = captured(p, plan, rig.dir);
    struct tt_rerun r;
    char command[128];

    (void)state;
    for (int i = 0; i < 12; i++) { // files are begun between
        (void)rig_step(&rig, s, plan, i);
        if (i % 3 == 2)
            tt_stream_trim(s, 0);
    }
    tt_stream_trim(s, 0);
    assert_null(tt_versions_target(&s->versions, INT64_MAX)->block);
    tt_capture_restate(s, "for the test", 3900); // its numbers are only in the snapshot now
    (void)tt_stream_target(s, plan, INT64_MAX, 4000);
    order(s, TT_ACTION_ROLLBACK, false);
    assert_int_not_equal(s->versions.serving.state, TT_VERSION_BASE);
    (void)rig_step(&rig, s, plan, 13);
    tt_stream_free(s);
    r = rerun();
    assert_string_equal(r.difference, "");
    assert_int_equal(r.orders, 1);
    (void)snprintf(command, sizeof command, "rm '%s'/*.safetensors", rig.dir);
    assert_int_equal(system(command), 0);
    r = rerun(); // and says so
    assert_contains(r.difference, "the order of me after batch 12: from version ");
    assert_contains(r.note[0], "was only in its snapshot, which cannot be read any more");
    tt_plan_free(plan);
}

static void what_could_not_be_journaled_is_not_learnt_again(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT "predict: {order: after}\ncapture: on\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s;
    char dir[80], journal[120];
    struct tt_rerun r;

    (void)state;
    (void)snprintf(dir, sizeof dir, "%s/cam-7", rig.dir);
    (void)snprintf(journal, sizeof journal, "%s/newest.journal", dir);
    s = captured(p, plan, dir);
    for (int i = 0; i < 3; i++)
        (void)rig_step(&rig, s, plan, i);
    assert_int_equal(unlink(journal), 0);
    assert_int_equal(mkdir(journal, 0700), 0); // nothing can be written there
    assert_int_equal(rig_step(&rig, s, plan, 3).skip, TT_SKIP_NOT_READY);
    assert_int_equal(rig_step(&rig, s, plan, 4).skip, TT_SKIP_NOT_READY);
    assert_int_equal(rmdir(journal), 0);
    assert_true(rig_step(&rig, s, plan, 5).adapted);
    assert_int_equal(rig_step(&rig, s, plan, 5).skip, TT_SKIP_REPLAYED);
    tt_stream_free(s);
    r = rerun();
    assert_string_equal(r.difference, "");
    assert_int_equal(r.batches, 7);
    assert_int_equal(r.versions, 4);
    tt_plan_free(plan);
}

static void a_disk_that_is_full_stops_the_capture_for_a_minute_and_not_the_stream(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT "capture: on\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = captured(p, plan, NULL);
    struct rlimit all, little;
    struct tt_rerun r;

    (void)state;
    (void)rig_step(&rig, s, plan, 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
    little = (struct rlimit){.rlim_cur = 80000, .rlim_max = all.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    assert_true(rig_step(&rig, s, plan, 1).adapted);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_contains(rig.last_event, "inputs are not captured for a minute: ");
    (void)rig_step(&rig, s, plan, 2); // not captured
    (void)rig_step(&rig, s, plan, 6100);
    (void)rig_step(&rig, s, plan, 6101);
    tt_stream_free(s);
    r = rerun();
    assert_string_equal(r.difference, "");
    assert_int_equal(r.files, 2);
    assert_int_equal(r.batches, 2); // the first, and the one after the minute's last
    tt_plan_free(plan);
}

static void versions_too_large_for_the_bound_are_told_with_what_is_wanted(void **state)
{
    const struct tt_policy *p = rig_policy(
        &rig, "preset: tent\nselect: {kinds: [all]}\ncapture: {mode: on, max_bytes: 1048576}\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_stream *s = captured(p, plan, NULL);
    struct tt_capture_file_size file[TT_CAPTURE_FILES];

    (void)state;
    assert_contains(rig.last_event, "capture.max_bytes is 1048576, wanted at least ");
    assert_true(rig_step(&rig, s, plan, 0).adapted);
    assert_int_equal(list_files(file), 0);
    tt_stream_free(s);
    tt_plan_free(plan);
}

static void all_streams_together_have_a_bound_too(void **state)
{
    const struct tt_policy *p = rig_policy(&rig, TENT "capture: on\n");
    struct tt_plan *plan = rig_plan(&rig, p);
    struct tt_capture_file_size file[TT_CAPTURE_FILES];
    struct tt_stream *s;

    (void)state;
    pool.max = 300000;
    for (int i = 0; i < 8; i++) { // each begins a file, of 100 KB and more in the end
        s = captured(p, plan, NULL);
        (void)rig_step(&rig, s, plan, 0);
        (void)rig_step(&rig, s, plan, 1);
        assert_non_null(s->capture);
        if (i < 7)
            tt_stream_free(s);
    }
    assert_in_range(list_files(file), 1, 3);
    assert_int_equal(file[list_files(file) - 1].number, 8);
    tt_capture_pool_grew(&pool, pool.max); // what is being written stays, whatever the bound
    pool.max = 1;
    tt_capture_pool_grew(&pool, 1);
    assert_int_equal(list_files(file), 1);
    assert_int_equal(file[0].number, 8);
    tt_stream_free(s);
    tt_capture_pool_grew(&pool, 1);
    assert_int_equal(list_files(file), 0);
    tt_plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_captured_runs_again_and_is_equal, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_kept_where_the_policy_does_not_say_so, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(capture_changes_no_version, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_policy_that_changes_is_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_oldest_files_go_and_each_runs_on_its_own, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_result_that_is_not_what_comes_out_is_named, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(checkpoints_without_memory_or_file_are_given_up_again,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_could_not_be_journaled_is_not_learnt_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_disk_that_is_full_stops_the_capture_for_a_minute_and_not_the_stream, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            versions_too_large_for_the_bound_are_told_with_what_is_wanted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_streams_together_have_a_bound_too, set_up, tear_down),
    };

    omp_set_num_threads(1); // on a busy machine two wait for each other
    return cmocka_run_group_tests(tests, NULL, NULL);
}
