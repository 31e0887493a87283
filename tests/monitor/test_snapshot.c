// SPDX-License-Identifier: Apache-2.0
#include "monitor/snapshot.h"

#include "tests/monitor/scratch.h"
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const char v_a[] = "aaaaaaaaaaaaaaaa", v_b[] = "bbbbbbbbbbbbbbbb";

static void put(const char *dir, int64_t step, const char *version, size_t n)
{
    char name[TT_SNAPSHOT_NAME], bytes[4096] = {0};
    struct tt_err err;

    assert_int_equal(tt_snapshot_name(step, version, name, &err), TT_OK);
    if (tt_snapshot_write(dir, name, bytes, n, &err))
        fail_msg("%s", err.msg);
}

/* Steps in the order of a scan, as "3 2 1". */
static bool note(void *arg, const struct tt_snapshot_file *f)
{
    char *to = arg;

    sprintf(to + strlen(to), "%s%lld", *to ? " " : "", (long long)f->step);
    return true;
}

static const char *steps(const char *dir)
{
    static char to[1024];
    struct tt_err err;

    to[0] = '\0';
    if (tt_snapshot_scan(dir, note, to, &err))
        fail_msg("%s", err.msg);
    return to;
}

static int entries(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void touch(const char *dir, const char *name)
{
    char path[512];
    int fd;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void streams_have_safe_directories(void **state)
{
    static const struct {
        const char *stream, *want;
    } cases[] = {
        {"cam-7", "cam-7"},
        {"a.b_C9", "a.b_C9"},
        {".", "%2E"},
        {"..", "%2E."},
        {".hidden", "%2Ehidden"},
        {"../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"},
        {"a b", "a%20b"},
        {"100%", "100%25"},
        {"x~y", "x%7Ey"},
        {"\xc3\xa9\n", "%C3%A9%0A"},
    };
    char got[TT_SNAPSHOT_DIR];
    struct tt_err err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(tt_snapshot_dir(cases[i].stream, got, &err), TT_OK);
        assert_string_equal(got, cases[i].want);
    }
}

static void long_streams_stay_apart_and_short(void **state)
{
    char a[130], b[130], da[TT_SNAPSHOT_DIR], db[TT_SNAPSHOT_DIR];
    struct tt_err err;

    (void)state;
    memset(a, '\xe9', sizeof a);
    a[128] = '\0';
    strcpy(b, a);
    b[127] = '\xea'; // differs behind what is spelt out
    assert_int_equal(tt_snapshot_dir(a, da, &err), TT_OK);
    assert_int_equal(tt_snapshot_dir(b, db, &err), TT_OK);
    assert_true(strlen(da) <= 200 && strchr(da, '~') && !strchr(da, '/'));
    assert_string_not_equal(da, db);
    a[128] = 'x';
    a[129] = '\0';
    assert_int_equal(tt_snapshot_dir(a, da, &err), TT_ERANGE);
    assert_contains(err.msg, "129 bytes, want 1 to 128");
    assert_int_equal(tt_snapshot_dir("", da, &err), TT_ERANGE);
}

static void names_say_step_and_version(void **state)
{
    char name[TT_SNAPSHOT_NAME];
    struct tt_err err;

    (void)state;
    assert_int_equal(tt_snapshot_name(42, "0123456789abcdef0123", name, &err), TT_OK);
    assert_string_equal(name, "000000000042-0123456789abcdef.safetensors");
    assert_int_equal(tt_snapshot_name(-1, v_a, name, &err), TT_ERANGE);
    assert_int_equal(tt_snapshot_name(1000000000000, v_a, name, &err), TT_ERANGE);
    assert_int_equal(tt_snapshot_name(1, "0123", name, &err), TT_ERANGE);
    assert_int_equal(tt_snapshot_name(1, "../../../../etc/x", name, &err), TT_ERANGE);
    assert_int_equal(tt_snapshot_name(1, "ABCDEF0123456789", name, &err), TT_ERANGE);
}

static void what_was_written_is_read(void **state)
{
    struct scratch *x = *state;
    char dir[96], name[TT_SNAPSHOT_NAME];
    unsigned char bytes[3000];
    struct tt_arena arena;
    struct tt_err err;
    void *got;
    size_t n;

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7);
    snprintf(dir, sizeof dir, "%s/cam-7", x->dir);
    assert_int_equal(tt_snapshot_name(1, v_a, name, &err), TT_OK);
    assert_int_equal(tt_snapshot_write(dir, name, bytes, 10, &err), TT_OK);
    assert_int_equal(tt_snapshot_write(dir, name, bytes, sizeof bytes, &err), TT_OK);
    assert_int_equal(entries(dir), 1);
    tt_arena_init(&arena, 0);
    assert_int_equal(tt_snapshot_read(dir, name, 3000, &arena, &got, &n, &err), TT_OK);
    assert_int_equal(n, sizeof bytes);
    assert_memory_equal(got, bytes, n);
    assert_int_equal(tt_snapshot_read(dir, name, 2999, &arena, &got, &n, &err), TT_ERANGE);
    assert_contains(err.msg, "3000 bytes, want at most 2999");
    assert_int_equal(tt_snapshot_remove(dir, name, &err), TT_OK);
    assert_int_equal(tt_snapshot_remove(dir, name, &err), TT_OK);
    assert_int_equal(tt_snapshot_read(dir, name, 3000, &arena, &got, &n, &err), TT_ENOTFOUND);
    tt_arena_release(&arena);
}

static void names_from_outside_do_not_leave_the_directory(void **state)
{
    static const char *const bad[] = {"", ".", "..", "../x", "a/b", ".tmp-x", "/etc/passwd"};
    struct scratch *x = *state;
    struct tt_arena arena;
    struct tt_err err;
    void *got;
    size_t n;

    tt_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(tt_snapshot_write(x->dir, bad[i], "x", 1, &err), TT_ERANGE);
        assert_int_equal(tt_snapshot_remove(x->dir, bad[i], &err), TT_ERANGE);
        assert_int_equal(tt_snapshot_read(x->dir, bad[i], 9, &arena, &got, &n, &err), TT_ERANGE);
    }
    tt_arena_release(&arena);
    assert_int_equal(entries(x->dir), 0);
}

static void only_regular_files_are_read(void **state)
{
    struct scratch *x = *state;
    char path[128];
    struct tt_arena arena;
    struct tt_err err;
    void *got;
    size_t n;

    tt_arena_init(&arena, 0);
    snprintf(path, sizeof path, "%s/link", x->dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_not_equal(tt_snapshot_read(x->dir, "link", 99999, &arena, &got, &n, &err), TT_OK);
    snprintf(path, sizeof path, "%s/fifo", x->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(tt_snapshot_read(x->dir, "fifo", 99999, &arena, &got, &n, &err), TT_EPARSE);
    assert_contains(err.msg, "no regular file");
    snprintf(path, sizeof path, "%s/dir", x->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(tt_snapshot_read(x->dir, "dir", 99999, &arena, &got, &n, &err), TT_EPARSE);
    tt_arena_release(&arena);
}

static void a_scan_sees_snapshots_only_newest_first(void **state)
{
    struct scratch *x = *state;
    char path[256];

    assert_string_equal(steps("/nonexistent/cam-7"), "");
    put(x->dir, 2, v_a, 10);
    put(x->dir, 10, v_a, 10);
    put(x->dir, 1, v_b, 10);
    touch(x->dir, ".tmp-000000000011-aaaaaaaaaaaaaaaa.safetensors");
    touch(x->dir, "README");
    touch(x->dir, "000000000003-aaaaaaaaaaaaaaaa.safetensors.bak");
    touch(x->dir, "00000000003x-aaaaaaaaaaaaaaaa.safetensors");
    touch(x->dir, "000000000003-AAAAAAAAAAAAAAAA.safetensors");
    snprintf(path, sizeof path, "%s/000000000004-aaaaaaaaaaaaaaaa.safetensors", x->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/000000000005-aaaaaaaaaaaaaaaa.safetensors", x->dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    snprintf(path, sizeof path, "%s/.tmp-dir", x->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(entries(x->dir), 11);
    assert_string_equal(steps(x->dir), "10 2 1");
    assert_int_equal(entries(x->dir), 10); // the temporary went, nothing else
}

static bool stop_at_once(void *arg, const struct tt_snapshot_file *f)
{
    *(struct tt_snapshot_file *)arg = *f;
    return false;
}

static void a_scan_tells_what_a_file_is(void **state)
{
    struct scratch *x = *state;
    struct tt_snapshot_file f;
    struct tt_err err;

    put(x->dir, 7, v_a, 10);
    put(x->dir, 8, v_b, 1234);
    assert_int_equal(tt_snapshot_scan(x->dir, stop_at_once, &f, &err), TT_OK);
    assert_int_equal(f.step, 8);
    assert_string_equal(f.version, v_b);
    assert_string_equal(f.name, "000000000008-bbbbbbbbbbbbbbbb.safetensors");
    assert_int_equal(f.bytes, 1234);
    assert_true(f.mtime_ms > 1600000000000);
    touch(x->dir, "file");
    char path[128];
    snprintf(path, sizeof path, "%s/file", x->dir);
    assert_int_not_equal(tt_snapshot_scan(path, stop_at_once, &f, &err), TT_OK);
}

static bool is_odd(void *arg, const struct tt_snapshot_file *f)
{
    (void)arg;
    return f->step % 2;
}

static void note_removed(void *arg, const struct tt_snapshot_file *f)
{
    (void)note(arg, f);
}

static void retention_keeps_newest_pinned_and_the_last(void **state)
{
    static const struct {
        int newest;
        int64_t quota; // ten files of 100 bytes each
        bool (*pinned)(void *arg, const struct tt_snapshot_file *f);
        const char *removed, *left;
    } cases[] = {
        {10, 0, NULL, "", "9 8 7 6 5 4 3 2 1 0"},    {4, 0, NULL, "0 1 2 3 4 5", "9 8 7 6"},
        {4, 0, is_odd, "0 2 4", "9 8 7 6 5 3 1"},    {4, 200, NULL, "0 1 2 3 4 5 6 7", "9 8"},
        {10, 650, is_odd, "0 2 4 6", "9 8 7 5 3 1"}, {10, 1, is_odd, "0 2 4 6 8", "9 7 5 3 1"},
        {0, 1, NULL, "0 1 2 3 4 5 6 7 8", "9"},      {-5, 0, NULL, "0 1 2 3 4 5 6 7 8", "9"},
    };
    struct scratch *x = *state;
    struct tt_err err;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char dir[96], removed[128] = "";
        struct tt_snapshot_keep keep = {cases[i].newest, cases[i].quota, cases[i].pinned,
                                        note_removed, removed};

        snprintf(dir, sizeof dir, "%s/%zu", x->dir, i);
        for (int step = 0; step < 10; step++)
            put(dir, step, v_a, 100);
        assert_int_equal(tt_snapshot_retain(dir, &keep, &err), TT_OK);
        assert_string_equal(removed, cases[i].removed);
        assert_string_equal(steps(dir), cases[i].left);
    }
}

/* In a child, because the limit is the process's. */
static void a_disk_that_takes_no_more_leaves_the_old_file(void **state)
{
    struct scratch *x = *state;
    char name[TT_SNAPSHOT_NAME], big[4096] = {1};
    struct tt_err err;
    int status;
    pid_t pid;

    assert_int_equal(tt_snapshot_name(1, v_a, name, &err), TT_OK);
    assert_int_equal(tt_snapshot_write(x->dir, name, "old", 3, &err), TT_OK);
    pid = fork();
    if (!pid) {
        struct rlimit r = {1000, 1000};

        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &r);
        _exit(tt_snapshot_write(x->dir, name, big, sizeof big, &err) == TT_EIO &&
                      strstr(err.msg, "writing: ")
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(entries(x->dir), 1);
    struct tt_arena arena;
    void *got;
    size_t n;
    tt_arena_init(&arena, 0);
    assert_int_equal(tt_snapshot_read(x->dir, name, 100, &arena, &got, &n, &err), TT_OK);
    assert_int_equal(n, 3);
    tt_arena_release(&arena);
}

static void a_directory_that_cannot_be_is_an_error(void **state)
{
    struct scratch *x = *state;
    char dir[128], name[TT_SNAPSHOT_NAME];
    struct tt_err err;

    assert_int_equal(tt_snapshot_name(1, v_a, name, &err), TT_OK);
    snprintf(dir, sizeof dir, "%s/gone/cam", x->dir); // one level is made, not two
    assert_int_equal(tt_snapshot_write(dir, name, "x", 1, &err), TT_ENOTFOUND);
    assert_contains(err.msg, "gone/cam': opening the directory: ");
    touch(x->dir, "file");
    snprintf(dir, sizeof dir, "%s/file", x->dir);
    assert_int_not_equal(tt_snapshot_write(dir, name, "x", 1, &err), TT_OK);
    snprintf(dir, sizeof dir, "%s/link", x->dir);
    assert_int_equal(symlink("/tmp", dir), 0);
    assert_int_not_equal(tt_snapshot_write(dir, name, "x", 1, &err), TT_OK);
}

static void set_age(const char *dir, int step, int64_t hours)
{
    char path[160];
    const struct timespec at = {.tv_sec = 4000000 - hours * 3600}, both[2] = {at, at};

    snprintf(path, sizeof path, "%s/%012d-%s.safetensors", dir, step, v_a);
    assert_int_equal(utimensat(AT_FDCWD, path, both, 0), 0);
}

static bool wants_three(void *arg, const struct tt_snapshot_file *f)
{
    (void)arg;
    return f->step == 3;
}

/* One every half hour for 200 hours: step 0 is the oldest. */
static void the_newest_of_each_hour_and_day_stay(void **state)
{
    const struct scratch *x = *state;
    struct tt_snapshot_keep keep = {
        .newest = 2, .now_ms = 4000000000, .hourly = 24, .daily = 7, .wanted = wants_three};
    char dir[96];
    struct tt_err err;
    int left = 1;

    snprintf(dir, sizeof dir, "%s/s", x->dir);
    for (int step = 0; step < 400; step++) {
        put(dir, step, v_a, 10);
        set_age(dir, step, (399 - step) / 2);
    }
    assert_int_equal(tt_snapshot_retain(dir, &keep, &err), TT_OK);
    for (const char *p = steps(dir); *p; p++)
        left += *p == ' ';
    /* 24 hours, the second of the newest, 5 or 6 days before those hours, and step 3. */
    assert_in_range(left, 24 + 1 + 5 + 1, 24 + 1 + 6 + 1);
    assert_contains(steps(dir), "399 398 397 395 393 ");
    assert_true(strlen(steps(dir)) > 2 && !strcmp(steps(dir) + strlen(steps(dir)) - 2, " 3"));
    keep.quota = 35;
    assert_int_equal(tt_snapshot_retain(dir, &keep, &err), TT_OK);
    assert_string_equal(steps(dir), "399 398 397"); // what is wanted gives way, too
}

static void a_sweep_adds_up_and_removes_what_a_crash_left(void **state)
{
    const struct scratch *x = *state;
    char dir[96], path[128];
    int64_t bytes;
    struct tt_err err;

    for (int i = 0; i < 3; i++) {
        snprintf(dir, sizeof dir, "%s/s%d", x->dir, i);
        put(dir, i, v_a, 100);
        snprintf(path, sizeof path, "%s/.tmp-newest.journal", dir);
        fclose(fopen(path, "w"));
    }
    assert_int_equal(tt_snapshot_sweep(x->dir, &bytes, &err), TT_OK);
    assert_int_equal(bytes, 300);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof path, "%s/none", x->dir);
    assert_int_equal(tt_snapshot_sweep(path, &bytes, &err), TT_ENOTFOUND);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, scratch_new, scratch_free)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_have_safe_directories),
        cmocka_unit_test(long_streams_stay_apart_and_short),
        cmocka_unit_test(names_say_step_and_version),
        CASE(what_was_written_is_read),
        CASE(names_from_outside_do_not_leave_the_directory),
        CASE(only_regular_files_are_read),
        CASE(a_scan_sees_snapshots_only_newest_first),
        CASE(a_scan_tells_what_a_file_is),
        CASE(retention_keeps_newest_pinned_and_the_last),
        CASE(the_newest_of_each_hour_and_day_stay),
        CASE(a_sweep_adds_up_and_removes_what_a_crash_left),
        CASE(a_disk_that_takes_no_more_leaves_the_old_file),
        CASE(a_directory_that_cannot_be_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
