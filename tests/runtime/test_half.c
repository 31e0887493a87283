// SPDX-License-Identifier: Apache-2.0
#include "runtime/half.h"

#include <math.h>

#include "tests/support/check.h"

#define N 71 // no multiple of a register

static void numbers_come_back_to_eleven_bits(void **state)
{
    float x[N], y[N], z[N];
    uint16_t h[N], p[N];

    (void)state;
    for (int e = -30; e < 16; e++) {
        for (int i = 0; i < N; i++)
            x[i] = ldexpf(1 + (float)i / N, e) * (i % 2 ? 1 : -1);
        tt_half_of(h, x, N);
        tt_half_of_plain(p, x, N);
        tt_half_read(y, h, N);
        tt_half_read_plain(z, h, N);
        for (int i = 0; i < N; i++) {
            float most = fabsf(x[i]) > 65504 ? 65504 : fabsf(x[i]);

            assert_true(h[i] == p[i] && y[i] == z[i]);
            assert_true(fabsf(fabsf(y[i]) - most) <= most * 0x1p-11f + 3e-8f);
            assert_true(signbit(y[i]) == signbit(x[i]));
        }
    }
}

static void what_is_no_number_or_too_large_is_told(void **state)
{
    static const float x[] = {NAN, INFINITY, -INFINITY, 65504, 65519, -7e4f, 0, -0.f, NAN};
    static const float want[] = {NAN, 65504, -65504, 65504, 65504, -65504, 0, 0, NAN};
    uint16_t h[9], p[9];
    float y[9];

    (void)state;
    tt_half_of(h, x, 9);
    tt_half_of_plain(p, x, 9);
    for (int from = 0; from < 2; from++) {
        tt_half_read(y, from ? p : h, 9);
        for (int i = 0; i < 9; i++)
            assert_true(want[i] == want[i] ? y[i] == want[i] : isnan(y[i]));
        tt_half_read_plain(y, from ? p : h, 9);
        for (int i = 0; i < 9; i++)
            assert_true(want[i] == want[i] ? y[i] == want[i] : isnan(y[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back_to_eleven_bits),
        cmocka_unit_test(what_is_no_number_or_too_large_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
