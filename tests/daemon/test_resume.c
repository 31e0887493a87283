// SPDX-License-Identifier: Apache-2.0
#include "tests/daemon/rig.h"

#include <sys/stat.h>

#include "daemon/snapshots.h"

#define TENT "preset: tent\n"

static struct rig rig;
static const struct tt_policy *policy;
static struct tt_plan *plan;
static char dir[80]; // of the stream's snapshots

static int set_up(void **state)
{
    (void)state;
    rig_up(&rig);
    snprintf(dir, sizeof dir, "%s/cam-7", rig.dir);
    policy = rig_policy(&rig, TENT "snapshots: {every_updates: 1}\n");
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

/* A stream after n batches, each version of which is on the disk. */
static struct tt_stream *learnt(int n)
{
    struct tt_stream *s = rig_stream(&rig, policy, plan, dir);
    struct tt_err err;

    for (int i = 0; i < n; i++) {
        (void)rig_step(&rig, s, plan, i);
        if (tt_stream_save(s, plan, tt_versions_keep(&s->versions), "asked for", 1, &err) != TT_OK)
            fail_msg("%s", err.msg);
    }
    return s;
}

/* As after a loss of power: what was not synced is gone. */
static void lose_journal(void)
{
    char path[160];

    snprintf(path, sizeof path, "%s/newest.journal", dir);
    (void)unlink(path);
}

static struct tt_stream *resumed(const struct tt_policy *p, const struct tt_plan *of,
                                 const struct tt_known_version *known, int n, char *text)
{
    struct tt_stream *s = rig_stream(&rig, p, of, dir);
    struct tt_err err;

    if (tt_stream_resume(s, of, &(struct tt_known){known, n, 0, known != NULL}, 5000, text, &err) !=
        TT_OK)
        fail_msg("%s", err.msg);
    return s;
}

static void path_of(const char *version, int step, char ret[160])
{
    snprintf(ret, 160, "%s/%012d-%s.safetensors", dir, step, version);
}

static void a_stream_goes_on_where_it_was(void **state)
{
    struct tt_stream *s = learnt(3), *t;
    char text[TT_LINE_BYTES];
    struct tt_result a, b;

    (void)state;
    t = resumed(policy, plan, NULL, 0, text);
    assert_contains(text, "resumes at version ");
    assert_contains(text, s->versions.serving.name);
    assert_string_equal(t->versions.serving.name, s->versions.serving.name);
    assert_int_equal(t->versions.serving.step, 3);
    assert_int_equal(t->guard.samples, s->guard.samples);
    assert_int_equal(t->signals.batches, s->signals.batches);
    a = rig_step(&rig, s, plan, 3);
    b = rig_step(&rig, t, plan, 3);
    assert_close(a.loss, b.loss, 0, 0);
    assert_string_equal(s->versions.serving.name, t->versions.serving.name); // bit for bit
    assert_int_equal(t->versions.serving.step, 4);
    tt_stream_free(s);
    tt_stream_free(t);
}

static void nothing_to_resume_starts_from_the_source(void **state)
{
    char text[TT_LINE_BYTES];
    struct tt_stream *s = resumed(policy, plan, NULL, 0, text);

    (void)state;
    assert_string_equal(text, "starts from the source: no snapshot");
    assert_string_equal(s->versions.serving.name, s->versions.base.name);
    tt_stream_free(s);
}

/* Cut, flip or empty the newest file: it is lost, the one before serves. */
static void a_damaged_snapshot_is_lost_and_the_older_serves(void **state)
{
    struct tt_stream *s = learnt(2), *t;
    char path[160], text[TT_LINE_BYTES], older[TT_HASH_SHORT + 1], want[64];
    size_t n;
    char *good;

    (void)state;
    memcpy(older, s->versions.serving.parent, sizeof older);
    path_of(s->versions.serving.name, 2, path);
    lose_journal();
    good = read_file(path, &n);
    for (int how = 0; how < 8; how++) {
        const size_t at = 8 + (size_t)how * (n - 9) / 8; // all over header and numbers
        FILE *f = fopen(path, "wb");
        size_t keep = how == 0 ? 0 : how == 1 ? n / 2 : n;

        assert_non_null(f);
        good[at] = (char)(good[at] ^ 4);
        assert_int_equal(fwrite(good, 1, keep, f), keep);
        fclose(f);
        good[at] = (char)(good[at] ^ 4);
        rig.njudged = 0;
        t = resumed(policy, plan, NULL, 0, text);
        assert_string_equal(t->versions.serving.name, older);
        assert_int_equal(t->step, 2); // its number is not given again
        snprintf(want, sizeof want, "%s lost", s->versions.serving.name);
        assert_int_equal(rig.njudged, 1);
        assert_string_equal(rig.judged[0], want);
        assert_contains(rig.last_event, "snapshot 000000000002-");
        tt_stream_free(t);
    }
    free(good);
    tt_stream_free(s);
}

static void what_was_set_aside_is_not_resumed(void **state)
{
    struct tt_stream *s = learnt(3), *t;
    struct tt_known_version known[2] = {
        {.version = s->versions.serving.name, .state = "bad", .file = "", .step = 40},
        {.version = s->versions.serving.parent, .state = "suspect", .file = ""}};
    char text[TT_LINE_BYTES];

    (void)state;
    lose_journal();
    t = resumed(policy, plan, known, 2, text);
    assert_int_equal(t->versions.serving.step, 1);
    assert_int_equal(t->step, 40); // the record knows of later ones
    tt_stream_free(s);
    tt_stream_free(t);
}

/* What the record says of each version that was judged, the last word counts. */
static int judged_last(struct tt_known_version *known, int max)
{
    int n = 0;

    for (int i = rig.njudged - 1; i >= 0; i--) {
        char *name = tt_arena_strndup(&rig.arena, rig.judged[i], TT_HASH_SHORT);
        int k = 0;

        while (k < n && strcmp(known[k].version, name) != 0)
            k++;
        assert_true(k < max);
        if (k == n)
            known[n++] = (struct tt_known_version){
                .version = name, .state = rig.judged[i] + TT_HASH_SHORT + 1, .file = ""};
    }
    return n;
}

static void what_a_person_went_back_to_is_resumed_whatever_set_it_aside(void **state)
{
    struct tt_order back = {.action = TT_ACTION_RESET, .now_ms = 4000};
    struct tt_stream *s = learnt(3), *t;
    char text[TT_LINE_BYTES], two[TT_HASH_SHORT + 1];
    struct tt_known_version known[8];
    struct tt_ordered got;
    struct tt_err err;
    int n;

    (void)state;
    memcpy(two, s->versions.serving.parent, sizeof two);
    assert_int_equal(tt_stream_order(s, &back, &got, &err), TT_OK); // all are set aside
    for (int i = 0; i < 20 && s->guard.state != TT_GUARD_ADAPTING; i++)
        (void)rig_step(&rig, s, plan, 3 + i);
    back = (struct tt_order){.action = TT_ACTION_ROLLBACK, .version = two, .now_ms = 4001};
    assert_int_equal(tt_stream_fetch(s, plan, two, &err), TT_OK);
    assert_int_equal(tt_stream_order(s, &back, &got, &err), TT_OK);
    assert_string_equal(got.to, two);
    assert_int_equal(tt_versions_find(&s->versions, two)->state, TT_VERSION_SOAKING);

    n = rig.njudged; // killed, and the record does not know of it yet
    known[0] = (struct tt_known_version){.version = two, .state = "suspect", .file = ""};
    t = resumed(policy, plan, known, 1, text);
    assert_string_equal(t->versions.serving.name, two);
    assert_int_equal(rig.njudged, n + 1);
    assert_contains(rig.judged[n], " soaking");
    tt_stream_free(t);

    tt_stream_part(s, plan, 4002);
    tt_stream_closed(s, 4002);
    tt_stream_free(s);

    lose_journal();
    t = resumed(policy, plan, known, judged_last(known, 8), text);
    assert_string_equal(t->versions.serving.name, two);
    tt_stream_free(t);
}

static void files_and_rows_are_brought_together(void **state)
{
    struct tt_stream *s = learnt(3), *t;
    char text[TT_LINE_BYTES], file[96], want[64];
    const struct tt_known_version known[] = {
        {.version = s->versions.serving.name, .state = "soaking", .file = file, .step = 3},
        {.version = "0123456789abcdef",
         .state = "good",
         .file = "cam-7/000000000001-0123456789abcdef.safetensors"},
        {.version = "1123456789abcdef",
         .state = "bad",
         .file = "cam-7/000000000002-1123456789abcdef.safetensors"}};

    (void)state;
    snprintf(file, sizeof file, "cam-7/%012d-%s.safetensors", 3, s->versions.serving.name);
    memset(rig.n, 0, sizeof rig.n);
    rig.njudged = 0;
    t = resumed(policy, plan, known, 3, text);
    assert_int_equal(t->versions.serving.step, 3);
    assert_int_equal(rig.n[TT_REC_VERSION], 1 + 2); // the base, and two files without a row
    snprintf(want, sizeof want, "0123456789abcdef lost");
    assert_int_equal(rig.njudged, 1); // the bad one stays bad, its file is gone
    assert_string_equal(rig.judged[0], want);
    assert_int_equal(rig.n[TT_REC_VERSION_STATE], 2);
    assert_contains(rig.last_event, "had no row in the record: it has one now");
    tt_stream_free(s);
    tt_stream_free(t);
}

static int files_in(const char *folder)
{
    char command[128];
    FILE *p;
    int n = -1;

    snprintf(command, sizeof command, "ls '%s' | grep -c safetensors", folder);
    p = popen(command, "r");
    assert_non_null(p);
    assert_int_equal(fscanf(p, "%d", &n), 1);
    pclose(p);
    return n;
}

/* The bound of one stream, and of all: the oldest go, not what serves or what a decision names. */
static void snapshots_stay_within_their_bytes(void **state)
{
    struct tt_room room = {.most = 0};

    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct tt_stream *s = learnt(1);
        char first[TT_HASH_SHORT + 1], path[160];
        struct stat st;
        struct tt_err err;

        memcpy(first, s->versions.serving.name, sizeof first);
        path_of(first, 1, path);
        assert_int_equal(stat(path, &st), 0);
        tt_storage_pin(&s->storage, s->versions.serving.id);
        s->storage.newest = 100;
        s->storage.bytes = shared ? 0 : 3 * st.st_size + st.st_size / 2;
        s->storage.room = shared ? &room : NULL;
        room.most = 3 * st.st_size + st.st_size / 2;
        atomic_store(&room.used, st.st_size);
        for (int i = 1; i < 9; i++) {
            (void)rig_step(&rig, s, plan, i);
            assert_int_equal(
                tt_stream_save(s, plan, tt_versions_keep(&s->versions), "asked for", 1, &err),
                TT_OK);
            assert_true(files_in(dir) <= 3);
        }
        assert_int_equal(files_in(dir), 3);
        assert_int_equal(access(path, F_OK), 0); // a decision names it
        path_of(s->versions.serving.name, 9, path);
        assert_int_equal(access(path, F_OK), 0);
        if (shared)
            assert_true(atomic_load(&room.used) <= room.most);
        tt_stream_free(s);
        (void)tear_down(NULL);
        (void)set_up(NULL);
    }
}

static void another_method_starts_from_the_source_and_says_so(void **state)
{
    const struct tt_policy *p =
        rig_policy(&rig, "preset: tent\noptimizer: {kind: sgd, lr: 0.01}\n");
    struct tt_plan *other = rig_plan(&rig, p);
    struct tt_stream *s = learnt(1), *t;
    char text[TT_LINE_BYTES], path[160];

    (void)state;
    t = resumed(p, other, NULL, 0, text);
    assert_string_equal(text, "starts from the source: none of 1 snapshots serves: the model or "
                              "the method has changed");
    assert_string_equal(t->versions.serving.name, t->versions.base.name);
    path_of(s->versions.serving.name, 1, path);
    assert_int_equal(access(path, F_OK), 0); // and harms nothing
    assert_int_equal(rig.njudged, 0);
    tt_stream_free(s);
    tt_stream_free(t);
    tt_plan_free(other);
}

static void other_rules_begin_the_guard_anew(void **state)
{
    const struct tt_policy *p =
        rig_policy(&rig, TENT "guards:\n  - {name: far, signal: param_drift, above: 0.5, "
                              "min_samples: 1, action: rollback}\n");
    struct tt_stream *s = learnt(2), *t;
    char text[TT_LINE_BYTES];

    (void)state;
    t = resumed(p, plan, NULL, 0, text);
    assert_contains(text, ", the guard begins anew: its rules have changed");
    assert_string_equal(t->versions.serving.name, s->versions.serving.name);
    assert_int_equal(t->guard.samples, 0);
    (void)rig_step(&rig, t, plan, 2);
    tt_stream_free(s);
    tt_stream_free(t);
}

static void a_version_on_the_disk_can_be_fetched_to_go_back_to(void **state)
{
    struct tt_stream *s = learnt(2), *t;
    char text[TT_LINE_BYTES], older[TT_HASH_SHORT + 1];
    struct tt_err err;

    (void)state;
    memcpy(older, s->versions.serving.parent, sizeof older);
    t = resumed(policy, plan, NULL, 0, text);
    assert_int_equal(tt_versions_find(&t->versions, older)->state, TT_VERSION_SOAKING); // still
    for (int i = 0; i < t->versions.nring; i++)
        t->versions.ring[i].name[0] = '\0';
    assert_null(tt_versions_find(&t->versions, older));
    assert_int_equal(tt_stream_fetch(t, plan, older, &err), TT_OK);
    assert_int_equal(tt_versions_find(&t->versions, older)->step, 1);
    assert_int_equal(tt_stream_fetch(t, plan, "00000000", &err), TT_ENOTFOUND);
    tt_stream_free(s);
    tt_stream_free(t);
}

static void parting_writes_what_was_learnt_once(void **state)
{
    struct tt_stream *s = rig_stream(&rig, policy, plan, dir);
    char path[160];
    int told;

    (void)state;
    tt_stream_part(s, plan, 1);
    assert_int_not_equal(access(dir, F_OK), 0); // the source is the model file
    (void)rig_step(&rig, s, plan, 0);
    tt_stream_part(s, plan, 2);
    path_of(s->versions.serving.name, 1, path);
    assert_int_equal(access(path, F_OK), 0);
    told = rig.n[TT_REC_VERSION];
    tt_stream_part(s, plan, 3);
    assert_int_equal(rig.n[TT_REC_VERSION], told);
    tt_stream_free(s);
}

/* The stream's good version of that step, its numbers on the disk alone. */
static const struct tt_version *given_up(struct tt_stream *s, int64_t step)
{
    for (int i = 0; i < s->versions.nring; i++)
        if (s->versions.ring[i].step == step) {
            s->versions.ring[i].state = TT_VERSION_GOOD;
            tt_stream_trim(s, 0);
            assert_null(s->versions.ring[i].block);
            return &s->versions.ring[i];
        }
    fail_msg("there is no version of step %d", (int)step);
    return NULL;
}

static void a_version_given_up_for_memory_is_read_back_to_go_back_to(void **state)
{
    struct tt_stream *s = learnt(3);
    const struct tt_version *good = given_up(s, 2), *to;
    char name[TT_HASH_SHORT + 1];

    (void)state;
    memcpy(name, good->name, sizeof name);
    to = tt_stream_target(s, plan, INT64_MAX, 5000);
    assert_string_equal(to->name, name);
    assert_int_equal(to->state, TT_VERSION_GOOD); // not what the file, which is older, says
    assert_non_null(to->block);
    tt_versions_restore(&s->versions, to);
    tt_version_name(s->salt, s->versions.serving.block, s->versions.floats, name,
                    &s->versions.serving.id);
    assert_string_equal(to->name, name); // bit for bit
    tt_stream_free(s);
}

static void one_that_cannot_be_read_back_is_lost_and_the_next_is_tried(void **state)
{
    struct tt_stream *s = learnt(3);
    const struct tt_version *good = given_up(s, 2), *older = given_up(s, 1);
    char path[160];

    (void)state;
    path_of(good->name, 2, path);
    assert_int_equal(truncate(path, 100), 0);
    assert_ptr_equal(tt_stream_target(s, plan, INT64_MAX, 5000), older);
    assert_int_equal(good->state, TT_VERSION_LOST);
    assert_non_null(older->block);
    (void)given_up(s, 1);
    path_of(older->name, 1, path);
    assert_int_equal(unlink(path), 0);
    assert_ptr_equal(tt_stream_target(s, plan, INT64_MAX, 5000), &s->versions.base);
    tt_stream_free(s);
}

static void a_trimmed_stream_learns_as_if_nothing_had_happened(void **state)
{
    struct tt_stream *s = learnt(1), *t = rig_stream(&rig, policy, plan, NULL);

    (void)state;
    (void)rig_step(&rig, t, plan, 0);
    for (int i = 1; i < 6; i++) {
        tt_stream_trim(s, 0);
        assert_in_range(tt_stream_bytes(s), 1, tt_stream_bytes(t) - 1);
        (void)rig_step(&rig, s, plan, i);
        (void)rig_step(&rig, t, plan, i);
        assert_string_equal(s->versions.serving.name, t->versions.serving.name);
    }
    tt_stream_free(s);
    tt_stream_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_stream_goes_on_where_it_was, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_to_resume_starts_from_the_source, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_snapshot_is_lost_and_the_older_serves, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_set_aside_is_not_resumed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_person_went_back_to_is_resumed_whatever_set_it_aside,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_and_rows_are_brought_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(snapshots_stay_within_their_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_method_starts_from_the_source_and_says_so, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(other_rules_begin_the_guard_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_version_on_the_disk_can_be_fetched_to_go_back_to, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(parting_writes_what_was_learnt_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_version_given_up_for_memory_is_read_back_to_go_back_to,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_cannot_be_read_back_is_lost_and_the_next_is_tried,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_trimmed_stream_learns_as_if_nothing_had_happened, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("resume", tests, NULL, NULL);
}
