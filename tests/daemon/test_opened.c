// SPDX-License-Identifier: Apache-2.0
#include "daemon/opened.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/snapshot.h"
#include "tests/support/check.h"

static char root[64];
static struct tt_arena arena;

static int up(void **state)
{
    (void)state;
    tt_arena_init(&arena, 0);
    snprintf(root, sizeof root, "/tmp/ttad-opened-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int down(void **state)
{
    char command[96];

    (void)state;
    tt_arena_release(&arena);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void folder_of(const char *stream, char ret[512])
{
    char encoded[TT_SNAPSHOT_DIR];
    struct tt_err err;

    if (tt_snapshot_dir(stream, encoded, &err) != TT_OK)
        fail_msg("%s", err.msg);
    snprintf(ret, 512, "%s/%s", root, encoded);
}

static void open_one(const char *stream, const char *model, const char *policy)
{
    struct tt_opened o = {.closed = !strcmp(policy, "none")};
    struct tt_err err;
    char dir[512];

    folder_of(stream, dir);
    snprintf(o.stream, sizeof o.stream, "%s", stream);
    snprintf(o.model, sizeof o.model, "%s", model);
    snprintf(o.policy, sizeof o.policy, "%s", policy);
    if (tt_opened_write(dir, &o, &err) != TT_OK)
        fail_msg("%s", err.msg);
}

static int list(struct tt_opened **ret, int *ret_bad)
{
    struct tt_err err;
    int n;

    if (tt_opened_list(root, &arena, ret, &n, ret_bad, &err) != TT_OK)
        fail_msg("%s", err.msg);
    return n;
}

static void what_was_opened_and_what_was_closed_is_known(void **state)
{
    struct tt_opened *o;
    int bad;

    (void)state;
    assert_int_equal(list(&o, &bad), 0);
    open_one("cam 7/\"north\"\n", "fashion", "tent");
    open_one("cam 7/\"north\"\n", "fashion", "norm"); // again, with another policy
    assert_int_equal(list(&o, &bad), 1);
    assert_int_equal(bad, 0);
    assert_string_equal(o->stream, "cam 7/\"north\"\n");
    assert_string_equal(o->model, "fashion");
    assert_string_equal(o->policy, "norm");
    assert_false(o->closed);
    open_one(o->stream, "fashion", "none"); // that is: closed
    assert_int_equal(list(&o, &bad), 1);
    assert_true(o->closed);
}

static void many_are_listed_once_each(void **state)
{
    struct tt_opened *o;
    bool seen[200] = {false};
    int bad;

    (void)state;
    for (int i = 0; i < 200; i++) {
        char name[16];

        snprintf(name, sizeof name, "s%d", i);
        open_one(name, "m", "p");
    }
    assert_int_equal(list(&o, &bad), 200);
    for (int i = 0; i < 200; i++)
        seen[atoi(o[i].stream + 1)] = true;
    for (int i = 0; i < 200; i++)
        assert_true(seen[i]);
}

static void a_file_that_says_nothing_is_passed_over_and_counted(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "null",
        "{\"stream\":\"a\",\"model\":\"m\"}",
        "{\"stream\":\"a\",\"model\":1,\"policy\":\"p\"}",
        "{\"stream\":\"\",\"model\":\"m\",\"policy\":\"p\"}",
        "{\"stream\":\"b\",\"model\":\"m\",\"policy\":\"p\"}", // of another folder
        "{\"stream\":\"a\",\"stream\":\"a\",\"model\":\"m\",\"policy\":\"p\"}",
        "{\"stream\":\"a\",\"model\":\"m\",\"policy\":\"\xff\"}",
    };
    struct tt_opened *o;
    char path[600], dir[512];
    int bad;

    (void)state;
    open_one("sound", "m", "p");
    open_one("a", "m", "p");
    folder_of("a", dir);
    snprintf(path, sizeof path, "%s/" TT_OPENED_FILE, dir);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        fputs(texts[i], f);
        fclose(f);
        assert_int_equal(list(&o, &bad), 1);
        assert_string_equal(o->stream, "sound");
        assert_int_equal(bad, 1);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0750), 0); // a folder in its place
    assert_int_equal(list(&o, &bad), 1);
    assert_int_equal(bad, 1);
}

static void what_cannot_be_written_is_said_and_leaves_the_one_before(void **state)
{
    struct tt_opened o = {"x", "m", "p", false}, *got;
    struct tt_err err;
    char dir[512];
    int bad;

    (void)state;
    snprintf(dir, sizeof dir, "%s/none/x", root);
    assert_int_equal(tt_opened_write(dir, &o, &err), TT_EIO);
    assert_contains(err.msg, "none/x");
    open_one("x", "m", "p");
    folder_of("x", dir);
    snprintf(dir + strlen(dir), 64, "/tmp." TT_OPENED_FILE);
    assert_int_equal(mkdir(dir, 0750), 0); // nothing can be written there
    folder_of("x", dir);
    snprintf(o.policy, sizeof o.policy, "other");
    assert_int_equal(tt_opened_write(dir, &o, &err), TT_EIO);
    assert_int_equal(list(&got, &bad), 1);
    assert_string_equal(got->policy, "p");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_opened_and_what_was_closed_is_known, up, down),
        cmocka_unit_test_setup_teardown(many_are_listed_once_each, up, down),
        cmocka_unit_test_setup_teardown(a_file_that_says_nothing_is_passed_over_and_counted, up,
                                        down),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_is_said_and_leaves_the_one_before,
                                        up, down),
    };

    return cmocka_run_group_tests_name("opened", tests, NULL, NULL);
}
