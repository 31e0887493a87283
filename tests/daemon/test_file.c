// SPDX-License-Identifier: Apache-2.0
#include "tests/support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/file.h"

static char dir[] = "/tmp/ttad-file-XXXXXX";
static char path[64];

static int make_dir(void **state)
{
    FILE *f;

    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/a", dir);
    f = fopen(path, "wb");
    if (!f)
        return -1;
    fwrite("one\0two", 1, 7, f);
    return fclose(f);
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void a_file_is_read_whole_with_a_nul_behind_it(void **state)
{
    struct tt_arena a;
    struct tt_err err;
    char *data;
    size_t n;

    (void)state;
    tt_arena_init(&a, 0);
    assert_int_equal(tt_file_read(path, 7, &a, &data, &n, &err), TT_OK);
    assert_int_equal(n, 7);
    assert_memory_equal(data, "one\0two", 8);
    tt_arena_release(&a);
}

static void what_cannot_be_read_is_named(void **state)
{
    struct tt_arena a, small;
    struct tt_err err;
    char *data = NULL, fifo[64];
    size_t n = 99;

    (void)state;
    tt_arena_init(&a, 0);
    tt_arena_init(&small, 1);
    assert_int_equal(tt_file_read(path, 6, &a, &data, &n, &err), TT_ERANGE);
    assert_contains(err.msg, "/a: 7 bytes, at most 6 are read");
    assert_int_equal(tt_file_read("/nowhere/x", 6, &a, &data, &n, &err), TT_ENOTFOUND);
    assert_string_equal(err.msg, "/nowhere/x: No such file or directory");
    assert_int_equal(tt_file_read(dir, 6, &a, &data, &n, &err), TT_EIO);
    assert_contains(err.msg, ": a directory, want a file");
    assert_int_equal(tt_file_read("/dev/null", 6, &a, &data, &n, &err), TT_EIO);
    assert_string_equal(err.msg, "/dev/null: not a regular file, want a file");
    assert_int_equal(tt_file_read(path, 7, &small, &data, &n, &err), TT_ENOMEM);
    snprintf(fifo, sizeof fifo, "%s/f", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(tt_file_read(fifo, 7, &a, &data, &n, &err), TT_EIO);
    unlink(fifo);
    assert_null(data);
    assert_int_equal(n, 99);
    tt_arena_release(&a);
    tt_arena_release(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_whole_with_a_nul_behind_it),
        cmocka_unit_test(what_cannot_be_read_is_named),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
