// SPDX-License-Identifier: Apache-2.0
#include "base/tape.h"

#include <math.h>
#include <string.h>

#include "tests/support/check.h"

struct thing {
    int64_t n;
    uint64_t id;
    double x;
    bool on;
    char name[8];
    unsigned char raw[3];
};

static void walk(struct tt_tape *t, struct thing *v)
{
    tt_tape_i64(t, &v->n, -5, 5);
    tt_tape_u64(t, &v->id);
    tt_tape_f64(t, &v->x);
    tt_tape_bool(t, &v->on);
    tt_tape_text(t, v->name, sizeof v->name);
    tt_tape_bytes(t, v->raw, sizeof v->raw);
}

static const struct thing one = {-3, UINT64_MAX, NAN, true, "cam-7", {1, 2, 3}};

static size_t write_one(unsigned char *out)
{
    struct thing v = one;
    struct tt_tape t;
    size_t n;

    tt_tape_count(&t);
    walk(&t, &v);
    n = t.at;
    tt_tape_write(&t, out);
    walk(&t, &v);
    assert_int_equal(t.at, n);
    return n;
}

static void what_was_written_reads_back(void **state)
{
    struct thing got = {0};
    unsigned char bytes[128];
    struct tt_tape t;
    size_t n = write_one(bytes);

    (void)state;
    tt_tape_read(&t, bytes, n);
    walk(&t, &got);
    assert_true(tt_tape_done(&t));
    assert_int_equal(got.n, -3);
    assert_true(got.id == UINT64_MAX && isnan(got.x) && got.on);
    assert_string_equal(got.name, "cam-7");
    assert_memory_equal(got.raw, one.raw, 3);
}

static void every_other_length_is_bad_and_touches_nothing_outside(void **state)
{
    unsigned char bytes[128] = {0};
    size_t n = write_one(bytes);

    (void)state;
    for (size_t k = 0; k <= n + 1; k++) {
        struct thing got = {0};
        struct tt_tape t;

        tt_tape_read(&t, bytes, k);
        walk(&t, &got);
        assert_int_equal(tt_tape_done(&t), k == n);
    }
}

static void numbers_and_texts_out_of_bounds_are_bad(void **state)
{
    const struct {
        size_t at;
        unsigned char byte;
    } rows[] = {
        {0, 6},    // n: 6
        {24, 2},   // a bool of 2
        {32, 8},   // a text of 8 bytes
        {39, 255}, // of a negative length
        {41, 0},   // with a NUL in it
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char bytes[128];
        size_t n = write_one(bytes);
        struct thing got = {.n = 1};
        struct tt_tape t;

        if (rows[i].at == 0)
            memset(bytes, 0, 8);
        bytes[rows[i].at] = rows[i].byte;
        tt_tape_read(&t, bytes, n);
        walk(&t, &got);
        assert_false(tt_tape_done(&t));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_reads_back),
        cmocka_unit_test(every_other_length_is_bad_and_touches_nothing_outside),
        cmocka_unit_test(numbers_and_texts_out_of_bounds_are_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
