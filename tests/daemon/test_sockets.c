// SPDX-License-Identifier: Apache-2.0
#include "daemon/sockets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/check.h"

static void only_this_machine_is_listened_to(void **state)
{
    static const char *const outside[] = {
        "tcp://0.0.0.0:*",   "tcp://*:*",         "tcp://192.0.2.1:9",
        "tcp://127.evil:9",  "tcp://localhost:*", "tcp://[::]:*",
        "tcp://128.0.0.1:*", "pgm://127.0.0.1:9", "inproc://x",
    };
    struct tt_listener l;
    struct tt_err err;

    (void)state;
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        assert_int_equal(tt_socket_listen(outside[i], &l, &err), TT_EDENIED);
        assert_contains(err.msg, outside[i]);
        assert_contains(err.msg, "can be reached from other machines");
    }
    assert_int_equal(tt_socket_listen("tcp://127.0.0.1:*", &l, &err), TT_OK);
    tt_socket_close(&l);
}

static void what_is_no_address_is_said(void **state)
{
    static const struct {
        const char *endpoint, *why;
    } cases[] = {
        {"tcp://127.0.0.1:70000", "port '70000', wanted 0 to 65535"},
        {"tcp://127.0.0.1:", "port '', wanted 0 to 65535"},
        {"tcp://127.0.0.1:8x", "port '8x', wanted 0 to 65535"},
        {"tcp://127.0.0.1.9:0", "not an address in digits"},
        {"tcp://[::1]:-1", "port '-1', wanted 0 to 65535"},
        {"ipc:///proc/nowhere/x/data.sock", "folder '/proc/nowhere/x'"},
    };
    struct tt_listener l;
    struct tt_err err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_not_equal(tt_socket_listen(cases[i].endpoint, &l, &err), TT_OK);
        assert_contains(err.msg, cases[i].endpoint);
        assert_contains(err.msg, cases[i].why);
    }
}

struct place {
    char dir[32], run[40], path[64], endpoint[80];
};

static void make_place(struct place *p)
{
    strcpy(p->dir, "/tmp/ttad-test-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->run, sizeof p->run, "%s/run", p->dir);
    snprintf(p->path, sizeof p->path, "%s/data.sock", p->run);
    snprintf(p->endpoint, sizeof p->endpoint, "ipc://%s", p->path);
}

static void clean_place(const struct place *p)
{
    (void)unlink(p->path);
    assert_int_equal(rmdir(p->run), 0);
    assert_int_equal(rmdir(p->dir), 0);
}

static void an_ipc_folder_is_for_the_group_only_and_its_file_goes_again(void **state)
{
    struct tt_listener l;
    struct tt_err err;
    struct place p;
    struct stat st;

    (void)state;
    make_place(&p);
    assert_int_equal(tt_socket_listen(p.endpoint, &l, &err), TT_OK);
    assert_int_equal(stat(p.run, &st), 0);
    assert_int_equal(st.st_mode & 0027, 0);
    tt_socket_close(&l);
    assert_int_not_equal(stat(p.path, &st), 0);
    clean_place(&p);
}

static void where_somebody_listens_is_refused_and_what_is_left_over_is_taken(void **state)
{
    struct tt_listener a, b;
    struct tt_err err;
    struct place p;
    struct stat st;

    (void)state;
    make_place(&p);
    assert_int_equal(tt_socket_listen(p.endpoint, &a, &err), TT_OK);
    assert_int_equal(tt_socket_listen(p.endpoint, &b, &err), TT_EBUSY);
    assert_contains(err.msg, "another program listens there");
    close(a.fd); // as if it had been killed
    assert_int_equal(stat(p.path, &st), 0);
    assert_int_equal(tt_socket_listen(p.endpoint, &b, &err), TT_OK);
    a.fd = dup(b.fd);
    tt_socket_close(&a); // the file is another's now
    assert_int_equal(stat(p.path, &st), 0);
    tt_socket_close(&b);
    clean_place(&p);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
    struct tt_listener l;
    struct tt_err err;
    struct place p;
    struct stat st;
    FILE *f;

    (void)state;
    make_place(&p);
    assert_int_equal(mkdir(p.run, 0700), 0);
    f = fopen(p.path, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(tt_socket_listen(p.endpoint, &l, &err), TT_EBUSY);
    assert_int_equal(stat(p.path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    clean_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_this_machine_is_listened_to),
        cmocka_unit_test(what_is_no_address_is_said),
        cmocka_unit_test(an_ipc_folder_is_for_the_group_only_and_its_file_goes_again),
        cmocka_unit_test(where_somebody_listens_is_refused_and_what_is_left_over_is_taken),
        cmocka_unit_test(a_file_that_is_no_socket_is_left_alone),
    };

    return cmocka_run_group_tests_name("sockets", tests, NULL, NULL);
}
