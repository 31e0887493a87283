// SPDX-License-Identifier: Apache-2.0
#include "tests/daemon/served.h"

#include "monitor/reader.h"
#include "runtime/npy.h"

static struct served d;

static int up(void **state)
{
    (void)state;
    make(&d, "{credit: 64, queue_per_stream: 32}");
    must_start(&d);
    return 0;
}

static int down(void **state)
{
    (void)state;
    clean(&d);
    return 0;
}

static char *learn(int from, int to)
{
    char *version;
    json_t *o = NULL;

    for (int i = from; i < to; i++) {
        char id[8];

        snprintf(id, sizeof id, "%d", i);
        json_decref(o);
        o = infer(d.data, "cam-7", id, 16, 16 * i);
    }
    version = strdup(text_of(params(o), "version"));
    json_decref(o);
    return version;
}

static json_t *describe(void)
{
    return ask(d.data, "{\"op\":\"stream\",\"action\":\"describe\","
                       "\"parameters\":{\"stream_id\":\"cam-7\"}}");
}

static int64_t count_requests(void)
{
    json_t *o = ask(d.control, "{\"op\":\"status\"}");
    const int64_t n = number_of(o, "requests");

    json_decref(o);
    return n;
}

static void a_term_signal_drains_and_a_restart_goes_on(void **state)
{
    json_t *before, *after;
    int64_t came;
    int status;

    (void)state;
    free(learn(0, 3));
    before = describe();
    assert_int_equal(number_of(before, "step"), 3);
    came = count_requests() + 1; // with the question itself
    send_infer(d.data, "cam-7", "last", 16, 64);
    while (count_requests() == came) // until the signal finds it there
        came++;
    assert_int_equal(kill(d.pid, SIGTERM), 0);
    after = receive(d.data, WAIT_MS, NULL, 0);
    assert_non_null(after);
    assert_string_not_equal(text_of(after, "op"), "");
    json_decref(after);
    assert_int_equal(waitpid(d.pid, &status, 0), d.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    d.pid = 0;
    (void)end(&d, 0);
    must_start(&d);
    after = ask(d.control, "{\"op\":\"streams\"}"); // known before anybody asks for it
    assert_int_equal(json_array_size(json_object_get(after, "streams")), 1);
    json_decref(after);
    after = describe();
    assert_int_equal(number_of(after, "step"), 4);
    assert_string_equal(text_of(after, "policy"), "tent");
    json_decref(before);
    before = infer(d.data, "cam-7", "new", 16, 0);
    assert_string_equal(text_of(params(before), "version"), text_of(after, "version"));
    json_decref(before);
    json_decref(after);
}

static void an_interrupt_drains_too_and_a_hangup_does_not(void **state)
{
    json_t *o;

    (void)state;
    free(learn(0, 3));
    assert_int_equal(kill(d.pid, SIGHUP), 0);
    o = ask(d.control, "{\"op\":\"reload\"}"); // behind it
    assert_true(json_is_false(json_object_get(o, "changed")));
    json_decref(o);
    assert_int_equal(end(&d, SIGINT), 0); // an exit, with status 0
    must_start(&d);
    o = describe();
    assert_int_equal(number_of(o, "step"), 3); // of the snapshot that was written at the end
    json_decref(o);
}

static void kill_9_loses_nothing_that_was_acknowledged(void **state)
{
    struct tt_reader *reader;
    int64_t decision, event;
    char db[96], newest[17];
    struct tt_err err;
    json_t *o;

    (void)state;
    free(learn(0, 3));
    o = ask(d.control, "{\"op\":\"snapshot\",\"parameters\":{\"stream_id\":\"cam-7\"}}");
    assert_true(json_is_true(json_object_get(o, "stored")));
    json_decref(o);
    free(learn(3, 5));
    o = ask(d.control,
            "{\"op\":\"freeze\",\"parameters\":{\"stream_id\":\"cam-7\",\"reason\":\"r\"}}");
    assert_int_equal(number_of(o, "decision_id"), 1);
    snprintf(newest, sizeof newest, "%s", text_of(o, "version"));
    json_decref(o);
    (void)end(&d, SIGKILL);
    snprintf(db, sizeof db, "%s/state/ttad.sqlite", d.dir);
    assert_int_equal(tt_reader_open(db, &reader, &err), TT_OK);
    assert_int_equal(tt_reader_last(reader, &decision, &event, &err), TT_OK);
    assert_int_equal(decision, 1);
    tt_reader_close(reader);
    must_start(&d);
    o = describe();
    assert_string_equal(text_of(o, "version"), newest); // not the snapshot, which is older
    assert_int_equal(number_of(o, "step"), 5);
    assert_string_equal(text_of(o, "state"), "frozen");
    json_decref(o);
    o = ask(d.control, "{\"op\":\"thaw\",\"parameters\":{\"stream_id\":\"cam-7\"}}");
    json_decref(o);
    o = infer(d.data, "cam-7", "x", 16, 0);
    assert_string_equal(text_of(params(o), "version"), newest);
    assert_true(json_is_true(json_object_get(params(o), "adapted")));
    json_decref(o);
    o = infer(d.data, "cam-7", "4", 16, 64); // learnt from before the kill
    assert_true(json_is_false(json_object_get(params(o), "adapted")));
    assert_string_equal(text_of(params(o), "skipped"), "replayed");
    json_decref(o);
}

static void a_rollback_survives_a_restart(void **state)
{
    char base[17];
    json_t *o;

    (void)state;
    o = infer(d.data, "cam-7", "0", 16, 0);
    snprintf(base, sizeof base, "%s", text_of(params(o), "version"));
    json_decref(o);
    free(learn(1, 3));
    json_decref(ask(d.control, "{\"op\":\"snapshot\",\"parameters\":{\"stream_id\":\"cam-7\"}}"));
    o = ask(d.control, "{\"op\":\"rollback\",\"parameters\":{\"stream_id\":\"cam-7\",\"version\":"
                       "\"ffffffffffffffff\"}}");
    expect_error(o, "BAD_HEADER", "has no version 'ffffffffffffffff'");
    o = ask(d.control, "{\"op\":\"rollback\",\"parameters\":{\"stream_id\":\"cam-7\"}}");
    assert_string_equal(text_of(o, "version"), base);
    json_decref(o);
    (void)end(&d, SIGKILL);
    must_start(&d);
    o = describe();
    assert_string_equal(text_of(o, "version"), base); // not the snapshot that was set aside
    json_decref(o);
}

static void closing_a_stream_frees_it_and_it_can_be_opened_again(void **state)
{
    json_t *o;

    (void)state;
    free(learn(0, 2));
    o = ask(d.data, "{\"op\":\"stream\",\"action\":\"close\","
                    "\"parameters\":{\"stream_id\":\"cam-7\"}}");
    assert_string_equal(text_of(o, "state"), "closed");
    json_decref(o);
    expect_error(describe(), "NO_STREAM", "stream 'cam-7' is not known");
    o = infer(d.data, "cam-7", "again", 16, 0);
    assert_int_equal(number_of(params(o), "step"), 2); // where it was
    json_decref(o);
    o = ask(d.data, "{\"op\":\"stream\",\"action\":\"reset\","
                    "\"parameters\":{\"stream_id\":\"cam-7\"}}");
    assert_int_equal(number_of(o, "step"), 0);
    json_decref(o);
}

/* Run a second daemon over that configuration; it must end with status 1 and say why. */
static void expect_no_second(const char *config, const char *why)
{
    char path[96], log[96];
    int status = 0;
    char *text;
    pid_t pid;

    snprintf(path, sizeof path, "%s/other.yaml", d.dir);
    snprintf(log, sizeof log, "%s/log2", d.dir);
    write_text(path, config);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (!freopen(log, "w", stderr))
            _exit(3);
        execl(getenv("TTAD") ? getenv("TTAD") : "build/release/ttad", "ttad", "serve", "--config",
              path, (char *)NULL);
        _exit(3);
    }
    for (int i = 0; i < WAIT_MS / 10 && waitpid(pid, &status, WNOHANG) != pid; i++)
        nap(10);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1)
        kill(pid, SIGKILL);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    text = read_file(log, &(size_t){0});
    assert_contains(text, why);
    free(text);
}

static void what_one_daemon_has_no_other_takes(void **state)
{
    static const struct {
        const char *sockets, *folder, *database, *why;
    } rows[] = {
        {".othr", "state", "", "state' is used by another ttad"},
        {".othr", "other", "state/ttad.sqlite", "state/ttad.sqlite' is used by another ttad"},
        {".sock", "other", "", ".sock': another program listens there"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *config = read_file(d.config, &(size_t){0}), *at, own[4096];

        while ((at = strstr(config, ".sock")))
            memcpy(at, "\1\1\1\1\1", 5);
        while ((at = strstr(config, "\1\1\1\1\1")))
            memcpy(at, rows[i].sockets, 5);
        at = strstr(config, "state_dir:");
        if (at)
            memset(at, '#', 1); // a comment in its place
        snprintf(own, sizeof own, "%s\nstate_dir: %s\ndatabase: \"%s\"\n", config, rows[i].folder,
                 rows[i].database);
        free(config);
        expect_no_second(own, rows[i].why);
        assert_true(is_up(&d)); // and a new client still finds the first one
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_term_signal_drains_and_a_restart_goes_on, up, down),
        cmocka_unit_test_setup_teardown(an_interrupt_drains_too_and_a_hangup_does_not, up, down),
        cmocka_unit_test_setup_teardown(kill_9_loses_nothing_that_was_acknowledged, up, down),
        cmocka_unit_test_setup_teardown(a_rollback_survives_a_restart, up, down),
        cmocka_unit_test_setup_teardown(closing_a_stream_frees_it_and_it_can_be_opened_again, up,
                                        down),
        cmocka_unit_test_setup_teardown(what_one_daemon_has_no_other_takes, up, down),
    };
    struct tt_npy npy;
    struct tt_err err;
    size_t n;
    char *bytes = read_file("models/fashion_test_images.npy", &n);
    int failed;

    if (tt_npy_read(bytes, n, &npy, &err) != TT_OK)
        return 1;
    images = npy.data;
    failed = cmocka_run_group_tests_name("restart", tests, NULL, NULL);
    free(bytes);
    return failed;
}
