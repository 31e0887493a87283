// SPDX-License-Identifier: Apache-2.0
#include "daemon/health.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"

static char told[1024];
static int ntold;

static void tell(void *ctx, const char *severity, const char *text)
{
    const size_t n = strlen(told);

    assert_ptr_equal(ctx, told);
    ntold++;
    (void)snprintf(told + n, sizeof told - n, "%s|%s\n", severity, text);
}

static void start(struct tt_health *h)
{
    told[0] = '\0';
    ntold = 0;
    tt_health_init(h, tell, told);
}

static void a_reason_is_told_once_and_its_sentence_renewed(void **state)
{
    struct tt_health_reason r[TT_NHEALTHS];
    struct tt_health h;

    (void)state;
    start(&h);
    assert_true(tt_health_ready(&h));
    assert_int_equal(tt_health_read(&h, r), 0);
    for (int i = 1; i <= 3; i++)
        tt_health_set(&h, TT_HEALTH_RECORD, "the disk is full, try %d", i);
    assert_string_equal(told, "error|not ready: record: the disk is full, try 1\n");
    assert_int_equal(tt_health_read(&h, r), 1);
    assert_string_equal(r[0].name, "record");
    assert_string_equal(r[0].why, "the disk is full, try 3");
    assert_true(r[0].holds);
    assert_true(r[0].since_ms > 0);
    assert_false(tt_health_ready(&h));

    tt_health_clear(&h, TT_HEALTH_RECORD);
    tt_health_clear(&h, TT_HEALTH_RECORD);
    assert_int_equal(ntold, 2);
    assert_non_null(strstr(told, "\ninfo|ready again: record is well after "));
    assert_true(tt_health_ready(&h));
    tt_health_end(&h);
}

static void sources_are_apart_and_only_some_hold_adaptation(void **state)
{
    struct tt_health_reason r[TT_NHEALTHS];
    struct tt_health h;

    (void)state;
    start(&h);
    tt_health_set(&h, TT_HEALTH_DRAINING, "takes no more work");
    assert_false(tt_health_ready(&h));
    assert_true(tt_health_may_learn(&h));
    tt_health_set(&h, TT_HEALTH_SNAPSHOTS, "no space left");
    assert_false(tt_health_may_learn(&h));
    assert_true(tt_health_is_set(&h, TT_HEALTH_SNAPSHOTS));
    assert_false(tt_health_is_set(&h, TT_HEALTH_RECORD));
    assert_int_equal(tt_health_read(&h, r), 2);
    tt_health_clear(&h, TT_HEALTH_SNAPSHOTS);
    assert_true(tt_health_may_learn(&h));
    assert_false(tt_health_ready(&h));
    assert_non_null(strstr(told, "info|still not ready: snapshots is well"));
    tt_health_end(&h);
}

static void a_long_sentence_is_cut(void **state)
{
    struct tt_health_reason r[TT_NHEALTHS];
    struct tt_health h;
    char line[2 * TT_ERR_MSG];

    (void)state;
    start(&h);
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    tt_health_set(&h, TT_HEALTH_MEMORY, "%s", line);
    assert_int_equal(tt_health_read(&h, r), 1);
    assert_int_equal(strlen(r[0].why), TT_ERR_MSG - 1);
    tt_health_end(&h);
}

static void *flip(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        tt_health_set(arg, TT_HEALTH_JOURNAL, "try %d", i);
        tt_health_clear(arg, TT_HEALTH_JOURNAL);
    }
    return NULL;
}

static atomic_int changes;

static void count(void *ctx, const char *severity, const char *text)
{
    (void)ctx;
    (void)severity;
    (void)text;
    atomic_fetch_add(&changes, 1);
}

static void each_change_is_told_once_whoever_makes_it(void **state)
{
    struct tt_health h;
    pthread_t t[2];

    (void)state;
    tt_health_init(&h, count, NULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, flip, &h), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_true(tt_health_ready(&h));
    assert_int_equal(atomic_load(&changes) % 2, 0); // as often set as cleared
    assert_true(atomic_load(&changes) >= 2);
    tt_health_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reason_is_told_once_and_its_sentence_renewed),
        cmocka_unit_test(sources_are_apart_and_only_some_hold_adaptation),
        cmocka_unit_test(a_long_sentence_is_cut),
        cmocka_unit_test(each_change_is_told_once_whoever_makes_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
