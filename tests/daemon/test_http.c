// SPDX-License-Identifier: Apache-2.0
#include "daemon/http.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/http_routes.h"
#include "daemon/loop.h"
#include "tests/support/check.h"

#define WAIT_MS 20000 // the machine may be busy
#define GET     "GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"

/* ---- the rules ----------------------------------------------------------------------------- */

static const struct {
    const char *headers; // lines "Name: value", ended by \n
    int status;          // 0: nothing is wrong
} heads[] = {
    {"Host: 127.0.0.1:5580\n", 0},
    {"Host: 10.1.2.3\n", 0},
    {"host: LOCALHOST:1\n", 0},
    {"Host: a.localhost\n", 0},
    {"Host: [::1]:5580\n", 0},
    {"Host: [fe80::1]\n", 0},
    {"", 400},
    {"Host: \n", 403},
    {"Host: evil.org\n", 403},
    {"Host: 127.0.0.1.evil.org\n", 403},
    {"Host: localhost.evil.org\n", 403},
    {"Host: evillocalhost\n", 403},
    {"Host: .localhost\n", 403},
    {"Host: a@localhost\n", 403},
    {"Host: localhost, evil.org\n", 403},
    {"Host: localhost:80:80\n", 403},
    {"Host: localhost:x\n", 403},
    {"Host: localhost:123456\n", 403},
    {"Host: [::1\n", 403},
    {"Host: []:80\n", 403},
    {"Host: [localhost]\n", 403},
    {"Host: ::1\n", 403},
    {"Host: 127.1\n", 403},
    {"Host: 0x7f000001\n", 403},
    {"Host: localhost\nHost: localhost\n", 400},
    {"Host: localhost\nContent-Length: 0\nContent-Length: 0\n", 400},
    {"Host: localhost\nContent-Length: 0\nTransfer-Encoding: chunked\n", 400},
    {"Host: localhost\nTransfer-Encoding: gzip, chunked\n", 400},
    {"Host: localhost\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n", 400},
    {"Host: localhost\nContent-Length: -1\n", 400},
    {"Host: localhost\nContent-Length: 1 \n", 400},
    {"Host: localhost\nContent-Length: \n", 400},
    {"Host: localhost\nInference-Header-Content-Length: 1\nInference-Header-Content-Length: 1\n",
     400},
    {"Host: localhost:5580\nOrigin: http://localhost:5580\n", 0},
    {"Host: localhost:5580\nOrigin: https://localhost:5580\n", 0},
    {"Host: localhost:5580\nOrigin: http://localhost:5581\n", 403},
    {"Host: localhost:5580\nOrigin: http://evil.org\n", 403},
    {"Host: localhost:5580\nOrigin: null\n", 403},
    {"Host: localhost:5580\nOrigin: localhost:5580\n", 403},
    {"Host: localhost\nSec-Fetch-Site: cross-site\n", 403},
    {"Host: localhost\nSec-Fetch-Site: same-site\n", 403},
    {"Host: localhost\nSec-Fetch-Site: same-origin\n", 0},
    {"Host: localhost\nSec-Fetch-Site: none\n", 0},
};

static int check_head(const char *lines, const char *version, struct tt_http_refusal *r)
{
    struct tt_http_head h = {.version = version};
    char text[512];

    (void)snprintf(text, sizeof text, "%s", lines);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *colon = strchr(line, ':');

        *colon = '\0';
        tt_http_header(&h, line, colon + 2);
    }
    return tt_http_check(&h, r) ? 0 : r->status;
}

static void a_doubtful_head_is_refused(void **state)
{
    struct tt_http_refusal r;

    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        const int got = check_head(heads[i].headers, "HTTP/1.1", &r);

        if (got != heads[i].status)
            fail_msg("%s: got %d (%s), wanted %d", heads[i].headers, got, got ? r.msg : "",
                     heads[i].status);
    }
    assert_int_equal(check_head("", "HTTP/1.0", &r), 0); // older than Host
    assert_int_equal(check_head("Host: evil.org\n", "HTTP/1.0", &r), 403);
    assert_int_equal(check_head("Host: localhost\n", "HTTP/2.0", &r), 400);
    assert_int_equal(check_head("Host: localhost\n", "", &r), 400);
}

static const struct {
    const char *path;
    int n; // of segments; -1: refused
    const char *last;
} paths[] = {
    {"/", 1, ""},
    {"/metrics", 1, "metrics"},
    {"/v2/health/live", 3, "live"},
    {"/v2/health/%6cive", 3, "live"},
    {"/v2//live", 3, "live"},
    {"/v2/health/live/", 4, ""},
    {"/%E2%82%AC", 1, "\xe2\x82\xac"},
    {"/v2%2Fhealth/live", -1, "'/' in a segment"},
    {"/metrics%00", -1, "a NUL"},
    {"/%", -1, "begins no byte"},
    {"/%4", -1, "begins no byte"},
    {"/%zz", -1, "begins no byte"},
    {"/%-1", -1, "begins no byte"},
    {"", -1, "is no path"},
    {"*", -1, "is no path"},
    {"http://evil.org/metrics", -1, "is no path"},
    {"/1/2/3/4/5/6/7/8/9", -1, "that deep"},
};

static void a_path_is_decoded_by_segments(void **state)
{
    char s[TT_HTTP_SEGMENTS][TT_HTTP_SEGMENT], longest[TT_HTTP_SEGMENT + 2];
    struct tt_http_refusal r;

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const int n = tt_http_split(paths[i].path, s, &r);

        if (n != paths[i].n)
            fail_msg("%s: got %d, wanted %d", paths[i].path, n, paths[i].n);
        if (n > 0)
            assert_string_equal(s[n - 1], paths[i].last);
        else
            assert_contains(r.msg, paths[i].last);
    }
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(tt_http_split(longest, s, &r), -1);
    assert_int_equal(r.status, 414);
    longest[sizeof longest - 2] = '\0';
    assert_int_equal(tt_http_split(longest, s, &r), 1);
}

/* ---- the port ------------------------------------------------------------------------------ */

struct port { // a daemon that has nothing but an HTTP port
    struct tt_daemon d;
    struct tt_settings settings;
    struct tt_loop data, control;
    char dir[64], where[96];
};

static int open_port(void **state)
{
    struct port *p = calloc(1, sizeof *p);
    struct tt_err err;

    assert_non_null(p);
    (void)snprintf(p->dir, sizeof p->dir, "/tmp/ttad-http-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->where, sizeof p->where, "unix:%s/run/http.sock", p->dir);
    p->settings = (struct tt_settings){.http = p->where, .limits = {.stuck_ms = 60000}};
    p->data.name = "data";
    p->control.name = "control";
    p->d = (struct tt_daemon){.settings = &p->settings, .data = &p->data, .control = &p->control};
    tt_arena_init(&p->d.arena, 0);
    tt_health_init(&p->d.health, NULL, NULL);
    if (tt_http_start(&p->d, &p->d.http, &err) != TT_OK)
        fail_msg("%s", err.msg);
    *state = p;
    return 0;
}

static int close_port(void **state)
{
    struct port *p = *state;
    char dir[96];

    tt_http_stop(p->d.http);
    assert_int_equal(access(p->where + 5, F_OK), -1);
    tt_health_end(&p->d.health);
    tt_arena_release(&p->d.arena);
    (void)snprintf(dir, sizeof dir, "%s/run", p->dir);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(rmdir(p->dir), 0);
    free(p);
    return 0;
}

static int dial(const struct port *p)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    memcpy(to.sun_path, p->where + 5, strlen(p->where + 5));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* What comes until the other side closes, or until wanted is in it. */
static void hear(int fd, const char *wanted, char *ret, size_t max)
{
    size_t n = 0;

    ret[0] = '\0';
    while (n < max - 1 && (!wanted || !strstr(ret, wanted))) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t got;

        if (poll(&p, 1, WAIT_MS) <= 0)
            fail_msg("nothing more came after '%s'", ret);
        got = recv(fd, ret + n, max - 1 - n, 0);
        if (got <= 0)
            return;
        n += (size_t)got;
        ret[n] = '\0';
    }
}

static void say(int fd, const char *text, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return; // it has hung up, which the answer will tell
        text += sent;
        n -= (size_t)sent;
    }
}

static void expect(const struct port *p, const char *request, size_t n, const char *wanted)
{
    char answer[8192];
    int fd = dial(p);

    say(fd, request, n);
    hear(fd, wanted, answer, sizeof answer);
    if (!strstr(answer, wanted))
        fail_msg("to %.60s: got '%s', wanted '%s'", request, answer, wanted);
    close(fd);
}

#define X64  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define LIVE "\r\n\r\n{\"live\":true}"

static void bad_requests_get_one_clear_answer(void **state)
{
    static const struct {
        const char *request;
        size_t n; // 0: its length
        const char *wanted;
    } rows[] = {
        {GET "\r\n", 0, LIVE},
        {"GET /v2/health/%6Cive?x=%00 HTTP/1.1\r\nHost: [::1]\r\n\r\n", 0, LIVE},
        {"GET /v2/health/live HTTP/1.0\r\n\r\n", 0, LIVE},
        {"GET /v2/health/live HTTP/1.1\r\n\r\n", 0, "HTTP/1.1 400 "},
        {"GET /v2/health%2Flive HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, "a '/' in a segment"},
        {"GET /metrics%00x HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, "a NUL in a segment"},
        {"GET /metric\0s HTTP/1.1\r\nHost: localhost\r\n\r\n", 43, "HTTP/1.1 404 "},
        {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, "HTTP/1.1 404 "},
        {"GET /v2/health/live/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, "HTTP/1.1 404 "},
        {"GET /v2/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, "HTTP/1.1 404 "},
        {"GET /V2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, "HTTP/1.1 404 "},
        {"DELETE /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, "Allow: GET, HEAD\r\n"},
        {"OPTIONS /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, "HTTP/1.1 405 "},
        {"GE /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, "HTTP/1.1 405 "},
        {"get /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, "HTTP/1.1 405 "},
        {"POST /v2/health/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc", 0,
         "HTTP/1.1 405 "},
        {GET "Content-Length: 9\r\n\r\nabc", 0, "takes no body"},
        {GET "Transfer-Encoding: chunked\r\n\r\n5\r\nabc", 0, "takes no body"},
        {GET "Transfer-Encoding: gzip, chunked\r\n\r\n", 0, "HTTP/1.1 400 "},
        {GET "Content-Length: 0\r\nContent-Length: 5\r\n\r\n", 0, "given twice"},
        {GET "Host: evil.org\r\n\r\n", 0, "header Host is given twice"},
        {GET "Origin: http://evil.org\r\n\r\n", 0, "HTTP/1.1 403 "},
        {"GET /v2/health/live HTTP/1.1\r\nHost: evil.org\r\n\r\n", 0, "HTTP/1.1 403 "},
        {"GET /v2/health/live HTTP/9.9\r\nHost: localhost\r\n\r\n", 0, "HTTP/1.1 "},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(*state, rows[i].request, rows[i].n ? rows[i].n : strlen(rows[i].request),
               rows[i].wanted);
    expect(*state, GET "\r\n", strlen(GET "\r\n"), LIVE); // and it is as it was
}

static void a_head_that_is_too_large_is_refused(void **state)
{
    static char text[1 << 20];
    size_t n = (size_t)snprintf(text, sizeof text, GET);

    while (n < sizeof text - 100)
        n += (size_t)snprintf(text + n, sizeof text - n, "X: " X64 "\r\n");
    expect(*state, text, n, "HTTP/1.1 431 ");
    n = (size_t)snprintf(text, sizeof text, "GET /");
    memset(text + n, 'x', sizeof text - n - 1);
    expect(*state, text, sizeof text - 1, "HTTP/1.1 414 ");
}

static void a_kept_connection_answers_in_order(void **state)
{
    static const char three[] = GET "\r\n"
                                    "HEAD /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
                                    "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" GET "\r\n";
    char answer[4096], *at;
    int fd = dial(*state);

    say(fd, three, sizeof three - 1);
    hear(fd, "at this path", answer, sizeof answer);
    assert_non_null(at = strstr(answer, "{\"live\":true}"));
    assert_non_null(at = strstr(at, "HTTP/1.1 200 OK"));
    assert_null(strstr(at, "ready")); // HEAD has no body
    assert_non_null(strstr(at, "HTTP/1.1 404 "));
    close(fd);
}

static void what_is_no_http_ends_the_connection(void **state)
{
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"; // TLS
    char answer[1024];
    int fd = dial(*state);

    say(fd, hello, sizeof hello - 1);
    hear(fd, NULL, answer, sizeof answer);
    assert_null(strstr(answer, " 200 "));
    close(fd);
}

static void a_request_that_ends_early_harms_nobody(void **state)
{
    static const char whole[] = GET "\r\n";

    for (size_t n = 0; n < sizeof whole - 1; n++) {
        int fd = dial(*state);

        say(fd, whole, n);
        close(fd);
    }
    expect(*state, whole, sizeof whole - 1, LIVE);
}

static void readiness_says_why_not(void **state)
{
    static const char request[] = "GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct port *p = *state;

    tt_health_set(&p->d.health, TT_HEALTH_RECORD, "disk \"full\"\n");
    expect(p, request, sizeof request - 1, "HTTP/1.1 503 ");
    expect(p, request, sizeof request - 1,
           "\"ready\":false,\"error\":\"record: disk \\\"full\\\"\\n\",\"reasons\":[{\"name\":"
           "\"record\",");
    tt_health_clear(&p->d.health, TT_HEALTH_RECORD);
    expect(p, request, sizeof request - 1, "\r\n\r\n{\"live\":true,\"ready\":true}");
}

static void a_stuck_thread_is_not_alive(void **state)
{
    static const char request[] = GET "\r\n";
    struct port *p = *state;

    tt_beat_busy(&p->control.beat, tt_now_us() - 59 * 1000000LL);
    expect(p, request, sizeof request - 1, LIVE);
    tt_beat_busy(&p->control.beat, tt_now_us() - 61 * 1000000LL);
    expect(p, request, sizeof request - 1, "\r\n\r\n{\"live\":false}");
    assert_true(tt_health_is_set(&p->d.health, TT_HEALTH_STUCK));
    tt_beat_idle(&p->control.beat, tt_now_us());
    expect(p, request, sizeof request - 1, LIVE);
    assert_true(tt_health_ready(&p->d.health));
}

/* More silent connections than there is room for do not keep others out for long. */
static void silent_connections_make_way(void **state)
{
    static const char request[] = GET "\r\n";
    struct port *p = *state;
    struct tt_http_stats stats;
    int fds[300];

    for (int i = 0; i < 300; i++) {
        fds[i] = dial(p);
        say(fds[i], "GET /", i % 2 ? 5 : 0);
    }
    expect(p, request, sizeof request - 1, LIVE);
    tt_http_stats(p->d.http, &stats);
    assert_true(stats.cut > 0);
    assert_true(stats.connections <= TT_HTTP_CONNECTIONS);
    for (int i = 0; i < 300; i++)
        close(fds[i]);
}

static void the_socket_is_the_groups(void **state)
{
    struct port *p = *state, other = *p;
    struct stat st;
    struct tt_err err;

    assert_int_equal(stat(p->where + 5, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    tt_arena_init(&other.d.arena, 0);
    assert_int_equal(tt_http_start(&other.d, &other.d.http, &err), TT_EBUSY);
    assert_contains(err.msg, "another program listens there");
    tt_arena_release(&other.d.arena);
}

static void only_this_machine_can_be_listened_to(void **state)
{
    static const char *const bad[] = {"0.0.0.0:5580",   "192.168.0.1:5580", "[::]:5580",
                                      "localhost:1",    "127.0.0.1",        "127.0.0.1:0",
                                      "127.0.0.1:70000"};
    struct tt_err err;
    int fd;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tt_http_listen(bad[i], &fd, &err) == TT_OK)
            fail_msg("listens at %s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_doubtful_head_is_refused),
        cmocka_unit_test(a_path_is_decoded_by_segments),
        cmocka_unit_test_setup_teardown(bad_requests_get_one_clear_answer, open_port, close_port),
        cmocka_unit_test_setup_teardown(a_head_that_is_too_large_is_refused, open_port, close_port),
        cmocka_unit_test_setup_teardown(a_kept_connection_answers_in_order, open_port, close_port),
        cmocka_unit_test_setup_teardown(what_is_no_http_ends_the_connection, open_port, close_port),
        cmocka_unit_test_setup_teardown(a_request_that_ends_early_harms_nobody, open_port,
                                        close_port),
        cmocka_unit_test_setup_teardown(readiness_says_why_not, open_port, close_port),
        cmocka_unit_test_setup_teardown(a_stuck_thread_is_not_alive, open_port, close_port),
        cmocka_unit_test_setup_teardown(silent_connections_make_way, open_port, close_port),
        cmocka_unit_test_setup_teardown(the_socket_is_the_groups, open_port, close_port),
        cmocka_unit_test(only_this_machine_can_be_listened_to),
    };

    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
