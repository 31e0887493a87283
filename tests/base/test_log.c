// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <string.h>

#include "tests/support/check.h"

static void a_record_has_level_time_and_name(void **state)
{
    char line[TT_LOG_LINE];
    size_t n = tt_log_format(line, TT_LOG_WARN, 1769860800123, "worker 2", "disk is full");

    (void)state;
    line[n] = '\0';
    assert_string_equal(line, "<4>2026-01-31T12:00:00.123Z worker 2: disk is full\n");
    n = tt_log_format(line, TT_LOG_INFO, 0, NULL, "up");
    line[n] = '\0';
    assert_string_equal(line, "<6>1970-01-01T00:00:00.000Z up\n");
}

static void hostile_names_stay_on_one_line(void **state)
{
    char line[TT_LOG_LINE];
    size_t n = tt_log_format(line, TT_LOG_INFO, 0, NULL, "stream 'a\n<3>forged\x1b[31m\x7f'");

    (void)state;
    line[n] = '\0';
    assert_non_null(strstr(line, "stream 'a\\x0a<3>forged\\x1b[31m\\x7f'\n"));
    assert_ptr_equal(strchr(line, '\n'), line + n - 1);
}

static void a_long_record_is_cut_and_says_so(void **state)
{
    char msg[4 * TT_LOG_LINE], line[TT_LOG_LINE];
    size_t n;

    (void)state;
    for (int fill = 0; fill < 2; fill++) {
        memset(msg, fill ? '\n' : 'x', sizeof msg - 1);
        msg[sizeof msg - 1] = '\0';
        n = tt_log_format(line, TT_LOG_ERR, 0, "main", msg);
        assert_in_range(n, TT_LOG_LINE - 32, TT_LOG_LINE);
        assert_memory_equal(line + n - 4, "...\n", 4);
        n = tt_log_format(line, TT_LOG_ERR, 0, msg, "m");
        assert_in_range(n, TT_LOG_LINE - 32, TT_LOG_LINE);
        assert_memory_equal(line + n - 4, "...\n", 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_has_level_time_and_name),
        cmocka_unit_test(hostile_names_stay_on_one_line),
        cmocka_unit_test(a_long_record_is_cut_and_says_so),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
