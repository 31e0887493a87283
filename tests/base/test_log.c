// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/log_line.h"
#include "base/log_repeat.h"
#include "base/text.h"
#include "tests/support/check.h"

#define NOON 1769860800123 // 2026-01-31T12:00:00.123Z

static char line[TT_LOG_LINE + 1];

static const char *print(const struct tt_log_record *r, enum tt_log_format f, bool journal)
{
    const size_t n = tt_log_line(line, r, f, journal);

    assert_true(n > 0 && n <= TT_LOG_LINE);
    line[n] = '\0';
    assert_int_equal(strlen(line), n);
    assert_ptr_equal(strchr(line, '\n'), line + n - 1); // one line, and it is ended
    return line;
}

/* ---- lines --------------------------------------------------------------------------------- */

static void a_record_is_one_line_of_logfmt(void **state)
{
    const struct tt_log_field fields[] = {{"stream", "cam-7"}, {"kind", "state"}, {"actor", NULL},
                                          {"version", ""},     {"why", "a = b"},  {NULL, NULL}};
    struct tt_log_record r = {.level = TT_LOG_WARN,
                              .utc_ms = NOON,
                              .thread = "worker 2",
                              .msg = "disk is full",
                              .fields = fields};

    (void)state;
    assert_string_equal(print(&r, TT_LOG_LOGFMT, false),
                        "ts=2026-01-31T12:00:00.123Z level=warning thread=\"worker 2\" "
                        "msg=\"disk is full\" stream=cam-7 kind=state why=\"a = b\"\n");
    assert_string_equal(print(&r, TT_LOG_JSON, true),
                        "<4>{\"ts\":\"2026-01-31T12:00:00.123Z\",\"level\":\"warning\","
                        "\"thread\":\"worker 2\",\"msg\":\"disk is full\",\"stream\":\"cam-7\","
                        "\"kind\":\"state\",\"why\":\"a = b\"}\n");
    r = (struct tt_log_record){.level = TT_LOG_ERR, .msg = "up", .repeated = 12};
    assert_string_equal(print(&r, TT_LOG_LOGFMT, true),
                        "<3>ts=1970-01-01T00:00:00.000Z level=error msg=up repeated=12\n");
}

static const struct {
    const char *text, *written; // between quotes
} hostile[] = {
    {"a\nts=1 level=error msg=forged", "a\\nts=1 level=error msg=forged"},
    {"a\"b\\c", "a\\\"b\\\\c"},
    {"\x1b[31m\x7f\r\t", "\\u001b[31m\\u007f\\u000d\\u0009"},
    {"\xff\xc3(", "\\ufffd\\ufffd("},
    {"\xc3", "\\ufffd"},
    {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"},      // half of a surrogate pair
    {"x\xc2\x85y\xc2\x9b", "x\\u0085y\\u009b"},     // next line, and CSI
    {"\xe2\x80\xa8\xe2\x80\xa9", "\\u2028\\u2029"}, // line separators
    {"\xe2\x80\xae", "\\u202e"},                    // right to left from here
    {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x88", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x88"},
    {"", ""},
    {"=", "="},
};

static void what_is_hostile_stays_in_its_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        const struct tt_log_field fields[] = {{"stream", hostile[i].text}, {NULL, NULL}};
        const struct tt_log_record r = {
            .level = TT_LOG_INFO, .msg = hostile[i].text, .fields = fields};
        char want[128];
        json_t *o;

        (void)snprintf(want, sizeof want, " msg=\"%s\"", hostile[i].written);
        assert_contains(print(&r, TT_LOG_LOGFMT, false), want);
        (void)snprintf(want, sizeof want, "\"msg\":\"%s\"", hostile[i].written);
        assert_contains(print(&r, TT_LOG_JSON, false), want);
        o = json_loads(line, 0, NULL);
        assert_non_null(o);
        if (tt_text_char(hostile[i].text, strlen(hostile[i].text)) == 1 && hostile[i].text[0] > 0)
            assert_string_equal(json_string_value(json_object_get(o, "stream")), hostile[i].text);
        json_decref(o);
    }
}

static void a_long_record_is_cut_and_stays_whole(void **state)
{
    static const char *const units[] = {"x", "\n", "\xff", "\"", "\xe2\x82\xac", "\x01"};
    char value[3 * TT_LOG_LINE];

    (void)state;
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        struct tt_log_field fields[TT_LOG_FIELDS + 3] = {{NULL, NULL}};
        struct tt_log_record r = {
            .level = TT_LOG_ERR, .msg = value, .thread = value, .fields = fields, .repeated = 9};
        json_t *o;

        value[0] = '\0';
        while (strlen(value) + 4 < sizeof value)
            (void)strcat(value, units[u]);
        for (int i = 0; i < TT_LOG_FIELDS + 2; i++)
            fields[i] = (struct tt_log_field){"a_rather_long_key", value};
        assert_contains(print(&r, TT_LOG_LOGFMT, true),
                        u ? "...\" repeated=9\n" : "... repeated=9\n");
        assert_contains(print(&r, TT_LOG_JSON, false), "...\",\"repeated\":9}\n");
        o = json_loads(line, 0, NULL);
        assert_non_null(o);
        json_decref(o);
    }
}

/* ---- repeated lines ------------------------------------------------------------------------ */

static bool say(struct tt_log_repeats *r, const char *msg, const char *stream, int64_t ms)
{
    const struct tt_log_field fields[] = {{"stream", stream}, {NULL, NULL}};

    return tt_log_repeat_take(
        r,
        &(struct tt_log_record){.level = TT_LOG_WARN, .utc_ms = ms, .msg = msg, .fields = fields});
}

static void a_repeated_line_is_counted_instead(void **state)
{
    struct tt_log_repeats r = {.due_ms = 0};
    struct tt_log_repeat told;
    int said = 0;

    (void)state;
    for (int i = 0; i < 1000; i++)
        said += say(&r, "the disk is full", "a", NOON + i);
    assert_int_equal(said, TT_LOG_BURST);
    assert_true(say(&r, "the disk is full", "b", NOON + 1000)); // another line
    assert_false(tt_log_repeat_due(&r, NOON + TT_LOG_WINDOW_MS - 1, false, &told));
    assert_true(tt_log_repeat_due(&r, NOON + TT_LOG_WINDOW_MS, false, &told));
    assert_int_equal(told.held, 1000 - TT_LOG_BURST);
    assert_int_equal(told.level, TT_LOG_WARN);
    assert_string_equal(told.msg, "the disk is full");
    assert_false(tt_log_repeat_due(&r, NOON + 2 * TT_LOG_WINDOW_MS, false, &told));
    assert_true(say(&r, "the disk is full", "a", NOON + 2 * TT_LOG_WINDOW_MS));
}

static void a_new_window_tells_what_the_last_one_held(void **state)
{
    struct tt_log_repeats r = {.due_ms = 0};
    struct tt_log_repeat told;

    (void)state;
    for (int i = 0; i < 7; i++)
        (void)say(&r, "x", "a", NOON);
    assert_true(say(&r, "x", "a", NOON + TT_LOG_WINDOW_MS));
    assert_true(tt_log_repeat_due(&r, NOON + TT_LOG_WINDOW_MS, false, &told));
    assert_int_equal(told.held, 2);
    assert_true(say(&r, "x", "a", NOON - 5000)); // the clock was set back
}

static void counts_are_told_when_room_is_needed_and_at_the_end(void **state)
{
    struct tt_log_repeats r = {.due_ms = 0};
    struct tt_log_repeat told;
    char other[16];

    (void)state;
    for (int i = 0; i < 8; i++)
        (void)say(&r, "x", "a", NOON);
    for (int i = 0; i < TT_LOG_KNOWN; i++) {
        (void)snprintf(other, sizeof other, "other %d", i);
        assert_true(say(&r, other, "a", NOON + 1));
    }
    assert_true(tt_log_repeat_due(&r, NOON + 1, false, &told));
    assert_string_equal(told.msg, "x");
    assert_int_equal(told.held, 3);
    for (int i = 0; i < 8; i++)
        (void)say(&r, "y", "a", NOON + 2);
    assert_true(tt_log_repeat_due(&r, NOON + 2, true, &told));
    assert_string_equal(told.msg, "y");
    assert_false(tt_log_repeat_due(&r, NOON + 2, true, &told));
}

/* ---- stderr -------------------------------------------------------------------------------- */

static void levels_change_while_it_runs(void **state)
{
    const struct tt_log_field fields[] = {{"stream", "s\n"}, {NULL, NULL}};
    char path[] = "/tmp/ttad-log-XXXXXX", *text;
    const int saved = dup(STDERR_FILENO), fd = mkstemp(path);
    size_t n;

    (void)state;
    assert_true(fd >= 0 && saved >= 0);
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    tt_log_name("main");
    tt_log(TT_LOG_DEBUG, "not %s", "this");
    tt_log_level(TT_LOG_DEBUG);
    tt_log_with(TT_LOG_DEBUG, fields, "but %s", "that");
    tt_log_level(TT_LOG_ERR);
    tt_log(TT_LOG_WARN, "nor this");
    for (int i = 0; i < 9; i++)
        tt_log(TT_LOG_ERR, "again");
    tt_log_format(TT_LOG_JSON);
    tt_log_flush();
    tt_log_format(TT_LOG_LOGFMT);
    tt_log_level(TT_LOG_INFO);
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    close(saved);
    close(fd);
    text = read_file(path, &n);
    unlink(path);
    assert_contains(text, " level=debug thread=main msg=\"but that\" stream=\"s\\n\"\n");
    assert_null(strstr(text, "this"));
    assert_contains(text,
                    "\"level\":\"error\",\"thread\":\"main\",\"msg\":\"again\",\"repeated\":4}\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_one_line_of_logfmt),
        cmocka_unit_test(what_is_hostile_stays_in_its_value),
        cmocka_unit_test(a_long_record_is_cut_and_stays_whole),
        cmocka_unit_test(a_repeated_line_is_counted_instead),
        cmocka_unit_test(a_new_window_tells_what_the_last_one_held),
        cmocka_unit_test(counts_are_told_when_room_is_needed_and_at_the_end),
        cmocka_unit_test(levels_change_while_it_runs),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
