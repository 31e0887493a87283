// SPDX-License-Identifier: Apache-2.0
#include "tests/support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/settings.h"

#define MODELS "models: [{name: m, path: m.onnx}]\n"

static struct tt_arena arena;
static struct tt_diags diags;

static int set_up(void **state)
{
    (void)state;
    tt_arena_init(&arena, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tt_arena_release(&arena);
    return 0;
}

static struct tt_settings *read_settings(const char *text)
{
    tt_diags_init(&diags, &arena, "/etc/ttad/t.yaml", text, strlen(text));
    return tt_settings_read("/etc/ttad/t.yaml", text, strlen(text), "/run/user/7/ttad", &arena,
                            &diags);
}

static void what_is_not_given_has_its_default(void **state)
{
    struct tt_settings *s = read_settings(MODELS);

    (void)state;
    assert_non_null(s);
    assert_int_equal(s->data.n, 1);
    assert_string_equal(s->data.s[0], "ipc:///run/user/7/ttad/data.sock");
    assert_string_equal(s->control.s[0], "ipc:///run/user/7/ttad/control.sock");
    assert_string_equal(s->events.s[0], "ipc:///run/user/7/ttad/events.sock");
    assert_string_equal(s->models[0].path, "/etc/ttad/m.onnx");
    assert_string_equal(s->state_dir, "/etc/ttad/state");
    assert_string_equal(s->database, "/etc/ttad/state/ttad.sqlite");
    assert_string_equal(s->default_policy, "");
    assert_int_equal(s->workers, 1);
    assert_int_equal(s->log_level, TT_LOG_INFO);
    assert_int_equal(s->limits.max_message_bytes, 64 << 20);
    assert_int_equal(s->limits.ring_versions, 16);
    assert_int_equal(s->limits.stream_bytes, 40 << 20);
    assert_string_equal(s->http, "");
    assert_int_equal(s->limits.capture_bytes, 8ll << 30);
}

static void what_is_given_is_read(void **state)
{
    struct tt_settings *s =
        read_settings("listen:\n"
                      "  data: [\"ipc://run/d.sock\", \"tcp://localhost:5570\"]\n"
                      "  control: ipc:///c\n"
                      "  events: [\"tcp://[::1]:1\", \"tcp://127.255.0.9:65535\"]\n"
                      "  http: localhost:5580\n"
                      "models:\n  - {name: a, path: /x/a.onnx}\n  - {name: b, path: b.onnx}\n"
                      "policies: [{name: p, path: p.yaml}, {name: q, path: q.yaml}]\n"
                      "default_policy: q\nstate_dir: /var/s\ndatabase: r.db\nworkers: 2\n"
                      "log_level: debug\nlimits: {credit: 3}\n");

    (void)state;
    if (!s)
        fail_msg("%s", tt_diags_text(&diags));
    assert_string_equal(s->data.s[0], "ipc:///etc/ttad/run/d.sock");
    assert_string_equal(s->data.s[1], "tcp://127.0.0.1:5570");
    assert_string_equal(s->events.s[0], "tcp://[::1]:1");
    assert_int_equal(s->events.n, 2);
    assert_string_equal(s->http, "127.0.0.1:5580");
    assert_int_equal(s->nmodels, 2);
    assert_string_equal(s->models[0].path, "/x/a.onnx");
    assert_int_equal(s->models[1].line, 8);
    assert_string_equal(s->default_policy, "q");
    assert_string_equal(s->database, "/etc/ttad/r.db");
    assert_int_equal(s->log_level, TT_LOG_DEBUG);
    assert_int_equal(s->limits.credit, 3);
    assert_int_equal(s->limits.queue_total, 256);
}

#define REMOTE                                                                                    \
    "is not of this machine alone: remote access needs CURVE, which this version does not have; " \
    "want 127.0.0.1, [::1] or ipc://PATH"
#define AT "/etc/ttad/t.yaml:1:16: "

static const struct {
    const char *text, *first_line;
} bad[] = {
    {"workers: 1\n", "/etc/ttad/t.yaml: models: none are given, there is nothing to serve"},
    {"models: []\n", "/etc/ttad/t.yaml:1:9: models: none are given, there is nothing to serve"},
    {"models: m.onnx\n",
     "/etc/ttad/t.yaml:1:9: models: found 'm.onnx', want a list of maps {name, path}"},
    {"models: [{name: m}]\n", "/etc/ttad/t.yaml:1:10: key 'path' is missing: the file"},
    {"models: [{name: m, path: a}, {name: m, path: b}]\n",
     "/etc/ttad/t.yaml:1:37: name: 'm' is given twice, first in line 1"},
    {"models: [{name: m/x, path: a}]\n",
     "/etc/ttad/t.yaml:1:17: name: 'm/x': want letters, digits, '.', '_' or '-'"},
    {"listen: {data: \"tcp://0.0.0.0:5570\"}\n" MODELS, AT "'tcp://0.0.0.0:5570' " REMOTE},
    {"listen: {data: \"tcp://*:5570\"}\n" MODELS, AT "'tcp://*:5570' " REMOTE},
    {"listen: {data: \"tcp://192.168.1.2:5570\"}\n" MODELS, AT "'tcp://192.168.1.2:5570' " REMOTE},
    {"listen: {data: \"tcp://127.0.0.1.evil.org:1\"}\n" MODELS,
     AT "'tcp://127.0.0.1.evil.org:1' " REMOTE},
    {"listen: {data: \"tcp://127.0.0.256:1\"}\n" MODELS, AT "'tcp://127.0.0.256:1' " REMOTE},
    {"listen: {data: \"tcp://127.0.1:1\"}\n" MODELS, AT "'tcp://127.0.1:1' " REMOTE},
    {"listen: {data: \"tcp://0127.0.0.1:1\"}\n" MODELS, AT "'tcp://0127.0.0.1:1' " REMOTE},
    {"listen: {data: \"tcp://[::]:1\"}\n" MODELS, AT "'tcp://[::]:1' " REMOTE},
    {"listen: {data: \"tcp://eth0;127.0.0.1:1\"}\n" MODELS, AT "'tcp://eth0;127.0.0.1:1' " REMOTE},
    {"listen: {data: \"tcp://127.0.0.1\"}\n" MODELS,
     AT "'tcp://127.0.0.1': want a port from 1 to 65535 behind the ':'"},
    {"listen: {data: \"tcp://127.0.0.1:0\"}\n" MODELS,
     AT "'tcp://127.0.0.1:0': want a port from 1 to 65535 behind the ':'"},
    {"listen: {data: \"tcp://127.0.0.1:65536\"}\n" MODELS,
     AT "'tcp://127.0.0.1:65536': want a port from 1 to 65535 behind the ':'"},
    {"listen: {data: \"tcp://127.0.0.1:55x\"}\n" MODELS,
     AT "'tcp://127.0.0.1:55x': want a port from 1 to 65535 behind the ':'"},
    {"listen: {http: \"0.0.0.0:5580\"}\n" MODELS, AT
     "'0.0.0.0:5580' is not of this machine alone, want 127.0.0.1:PORT, [::1]:PORT or unix:PATH"},
    {"listen: {http: \"127.0.0.1\"}\n" MODELS,
     AT "'127.0.0.1': want a port from 1 to 65535 behind the ':'"},
    {"listen: {http: \"unix:@x\"}\n" MODELS,
     AT "'unix:@x': want the path of a socket behind unix:"},
    {"listen: {http: [\"127.0.0.1:1\"]}\n" MODELS,
     AT "http: found a list, want 127.0.0.1:PORT, [::1]:PORT or unix:PATH"},
    {"listen: {data: \"ipc://\"}\n" MODELS, AT "'ipc://': want the path of a socket behind ipc://"},
    {"listen: {data: \"ipc://@x\"}\n" MODELS,
     AT "'ipc://@x': want the path of a socket behind ipc://; abstract ones have no permissions"},
    {"listen: {data: \"udp://127.0.0.1:1\"}\n" MODELS,
     AT "'udp://127.0.0.1:1' is no endpoint, want ipc://PATH or tcp://127.0.0.1:PORT"},
    {"listen: {data: []}\n" MODELS, AT "data: found a list, want a list of endpoints"},
    {"listen: {data: [\"ipc:///a\", \"ipc:///a\"]}\n" MODELS,
     "/etc/ttad/t.yaml:1:29: 'ipc:///a' is given twice"},
    {"listen: {data: \"ipc:///a\", events: \"ipc:///a\"}\n" MODELS,
     "/etc/ttad/t.yaml:1:9: listen: 'ipc:///a' is given to two sockets"},
    {"listen: {dat: \"ipc:///a\"}\n" MODELS,
     "/etc/ttad/t.yaml:1:10: unknown key 'dat', did you mean 'data'"},
    {"listen: 5570\n" MODELS, "/etc/ttad/t.yaml:1:9: listen: found '5570', want a map"},
    {"workers: 65\n" MODELS, "/etc/ttad/t.yaml:1:10: workers: 65 is outside [1, 64]"},
    {"worker: 2\n" MODELS, "/etc/ttad/t.yaml:1:1: unknown key 'worker', did you mean 'workers'"},
    {"limits: {queue_per_stream: 9, queue_total: 8}\n" MODELS,
     "/etc/ttad/t.yaml:1:9: limits: queue_per_stream 9 is above queue_total 8"},
    {"default_policy: tnet\npolicies: [{name: tent, path: t}]\n" MODELS,
     "/etc/ttad/t.yaml:1:17: default_policy: there is no policy 'tnet', did you mean 'tent'"},
    {"default_policy: tent\n" MODELS,
     "/etc/ttad/t.yaml:1:17: default_policy: there is no policy 'tent'"},
    {"state_dir: \"\"\n" MODELS, "/etc/ttad/t.yaml:1:12: state_dir: 0 bytes, want 1 to 4096"},
    {"- 1\n", "/etc/ttad/t.yaml:1:1: found a list, want a map"},
};

static void each_mistake_is_told_at_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *told;
        char line[300];

        if (read_settings(bad[i].text))
            fail_msg("accepted: %s", bad[i].text);
        told = tt_diags_text(&diags);
        snprintf(line, sizeof line, "%.*s", (int)strcspn(told, "\n"), told);
        assert_string_equal(line, bad[i].first_line);
    }
}

static void a_socket_path_has_107_bytes_at_most(void **state)
{
    char text[300], path[200];

    (void)state;
    memset(path, 'p', sizeof path);
    path[0] = '/';
    path[107] = '\0';
    snprintf(text, sizeof text, "listen: {data: \"ipc://%s\"}\n" MODELS, path);
    assert_non_null(read_settings(text));
    path[107] = 'p';
    path[108] = '\0';
    snprintf(text, sizeof text, "listen: {data: \"ipc://%s\"}\n" MODELS, path);
    assert_null(read_settings(text));
    assert_contains(tt_diags_text(&diags), "a path of 108 bytes, sockets take at most 107");
}

static void the_example_file_is_what_the_program_prints_and_says_the_defaults(void **state)
{
    size_t n;
    char *file = read_file("config/ttad.example.yaml", &n);
    struct tt_settings *s = read_settings(file), *plain;

    (void)state;
    assert_string_equal(file, tt_settings_example(&arena));
    if (!s)
        fail_msg("%s", tt_diags_text(&diags));
    plain = read_settings(MODELS);
    assert_memory_equal(&s->limits, &plain->limits, sizeof s->limits);
    assert_int_equal(s->workers, plain->workers);
    assert_string_equal(s->database, plain->database);
    assert_string_equal(s->default_policy, "observe");
    free(file);
}

static void every_allocation_may_fail(void **state)
{
    const char *text = "listen: {data: [\"ipc://a\", \"tcp://localhost:1\"]}\n" MODELS
                       "policies: [{name: p, path: p}]\n";
    struct tt_settings *s = NULL;
    int failures = 0;

    (void)state;
    for (size_t limit = 64; !s && limit < 1000000; limit += 64) {
        struct tt_arena small;

        tt_arena_init(&small, limit);
        tt_diags_init(&diags, &small, "t.yaml", text, strlen(text));
        s = tt_settings_read("t.yaml", text, strlen(text), "/run/ttad", &small, &diags);
        if (!s) {
            failures++;
            assert_contains(tt_diags_text(&diags), "out of memory");
        }
        tt_arena_release(&small);
    }
    assert_non_null(s);
    assert_true(failures > 20);
}

static void a_configuration_is_told_from_a_policy(void **state)
{
    static const struct {
        const char *text;
        bool meant;
    } rows[] = {{"listen: {}\n", true}, {MODELS, true}, {"preset: tent\n", false}, {"", false}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tt_diags_init(&diags, &arena, "t", rows[i].text, strlen(rows[i].text));
        assert_int_equal(
            tt_settings_meant(tt_yaml_read(rows[i].text, strlen(rows[i].text), &arena, &diags)),
            rows[i].meant);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_given_has_its_default),
        cmocka_unit_test(what_is_given_is_read),
        cmocka_unit_test(each_mistake_is_told_at_its_place),
        cmocka_unit_test(a_socket_path_has_107_bytes_at_most),
        cmocka_unit_test(the_example_file_is_what_the_program_prints_and_says_the_defaults),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(a_configuration_is_told_from_a_policy),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
