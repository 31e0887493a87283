// SPDX-License-Identifier: Apache-2.0
#include "daemon/sockets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "tests/support/check.h"

static void *zmq;

static int set_up(void **state)
{
    (void)state;
    zmq = zmq_ctx_new();
    return zmq ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return zmq_ctx_term(zmq);
}

static enum tt_code bind_to(const char *endpoint, void **ret, struct tt_err *err)
{
    const struct tt_strs list = {1, &endpoint};

    return tt_socket_bind(zmq, ZMQ_ROUTER, &list, 1 << 20, ret, err);
}

static void only_this_machine_is_bound(void **state)
{
    static const char *const outside[] = {
        "tcp://0.0.0.0:*",   "tcp://*:*",         "tcp://192.0.2.1:9",
        "tcp://127.evil:9",  "tcp://localhost:*", "tcp://[::]:*",
        "tcp://128.0.0.1:*", "pgm://127.0.0.1:9", "inproc://x",
    };
    void *s;
    struct tt_err err;

    (void)state;
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        assert_int_equal(bind_to(outside[i], &s, &err), TT_EDENIED);
        assert_contains(err.msg, outside[i]);
        assert_contains(err.msg, "can be reached from other machines");
    }
    assert_int_equal(bind_to("tcp://127.0.0.1:*", &s, &err), TT_OK);
    zmq_close(s);
}

static void the_folder_of_an_ipc_socket_is_for_the_group_only(void **state)
{
    char dir[] = "/tmp/ttad-test-XXXXXX", endpoint[64], run[40], path[64];
    struct stat st;
    struct tt_err err;
    void *s;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(run, sizeof run, "%s/run", dir);
    snprintf(path, sizeof path, "%s/data.sock", run);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path);
    assert_int_equal(bind_to(endpoint, &s, &err), TT_OK);
    assert_int_equal(stat(run, &st), 0);
    assert_int_equal(st.st_mode & 0027, 0);
    zmq_close(s);
    (void)zmq_ctx_term(zmq); // the socket file goes with its socket
    zmq = zmq_ctx_new();
    unlink(path);
    rmdir(run);
    rmdir(dir);
}

static void every_option_is_set(void **state)
{
    static const struct {
        int option, want;
    } cases[] = {{ZMQ_SNDHWM, 64},
                 {ZMQ_RCVHWM, 64},
                 {ZMQ_HANDSHAKE_IVL, 5000},
                 {ZMQ_HEARTBEAT_IVL, 2000},
                 {ZMQ_HEARTBEAT_TIMEOUT, 6000},
                 {ZMQ_LINGER, 0}};
    int64_t most;
    size_t n = sizeof most;
    struct tt_err err;
    void *s;

    (void)state;
    assert_int_equal(bind_to("tcp://127.0.0.1:*", &s, &err), TT_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int got;
        size_t size = sizeof got;

        assert_int_equal(zmq_getsockopt(s, cases[i].option, &got, &size), 0);
        assert_int_equal(got, cases[i].want);
    }
    assert_int_equal(zmq_getsockopt(s, ZMQ_MAXMSGSIZE, &most, &n), 0);
    assert_int_equal(most, 1 << 20);
    zmq_close(s);
}

static void an_endpoint_that_cannot_be_bound_is_named(void **state)
{
    struct tt_err err;
    void *s;

    (void)state;
    assert_int_equal(bind_to("ipc:///proc/nowhere/x/data.sock", &s, &err), TT_EIO);
    assert_contains(err.msg, "endpoint 'ipc:///proc/nowhere/x/data.sock': folder");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_this_machine_is_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_folder_of_an_ipc_socket_is_for_the_group_only, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(every_option_is_set, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_endpoint_that_cannot_be_bound_is_named, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("sockets", tests, NULL, NULL);
}
