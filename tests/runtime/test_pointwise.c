// SPDX-License-Identifier: Apache-2.0
#include "runtime/pointwise.h"

#include <math.h>
#include <string.h>

#include "runtime/fmath.h"
#include "tests/support/check.h"

/* Every function without a library's call, on every kind of processor that this one can be. */
#define N 40000

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double softplus(double x)
{
    return log1p(exp(-fabs(x))) + (x > 0 ? x : 0);
}

static double elu(double x)
{
    return x < 0 ? expm1(x) : x;
}

static double gelu(double x)
{
    return .5 * x * erfc(-x / sqrt(2));
}

/* rtol is of the result, or of x where that is larger: half of 1 + erf(x) is known no better. */
static const struct function {
    enum tt_unary row;
    const char *name;
    double (*want)(double x);
    double rtol;
    bool of_x;
} functions[] = {
    {TT_UNARY_exp, "exp", exp, 3e-7, false},
    {TT_UNARY_log, "log", log, 3e-7, false},
    {TT_UNARY_tanh, "tanh", tanh, 5e-7, false},
    {TT_UNARY_erf, "erf", erf, 5e-7, false},
    {TT_UNARY_sigmoid, "sigmoid", sigmoid, 5e-7, false},
    {TT_UNARY_softplus, "softplus", softplus, 5e-7, false},
    {TT_UNARY_elu, "elu", elu, 5e-7, false},
    {TT_UNARY_gelu, "gelu", gelu, 5e-7, true},
    {TT_UNARY_floor, "floor", floor, 0, false},
    {TT_UNARY_ceil, "ceil", ceil, 0, false},
    {TT_UNARY_round, "round", nearbyint, 0, false},
};

/* All exponents, then what is near 0 in equal steps. */
static void arguments(float *x)
{
    for (int i = 0; i < N / 2; i++) {
        x[i] = tt_float_of((uint32_t)i * 214748u + (uint32_t)i % 7919u);
        x[i] = isfinite(x[i]) ? x[i] : 1;
        x[N / 2 + i] = (float)(i - N / 4) * (88.f / (N / 4));
    }
}

static void functions_are_as_exact_as_they_say(void **state)
{
    static float x[N], y[N];

    (void)state;
    arguments(x);
    for (const struct tt_pointwise *const *p = tt_pointwise_all(); *p; p++)
        for (size_t f = 0; f < sizeof functions / sizeof *functions; f++) {
            (*p)->unary[functions[f].row].y(y, x, N, 1, 0);
            for (int i = 0; i < N; i++) {
                double want = functions[f].want((double)x[i]), scale = fabs(want);

                if (functions[f].of_x && fabsf(x[i]) > 1)
                    scale = fabs((double)x[i]);
                if (isnan(want) ? isnan(y[i]) : y[i] == (float)want)
                    continue;
                if (!(fabs((double)y[i] - want) <= functions[f].rtol * scale + 2e-38))
                    fail_msg("%s: %s(%.9g) is %.9g, want %.9g", (*p)->name, functions[f].name,
                             (double)x[i], (double)y[i], want);
            }
        }
}

static void what_is_not_finite_is_right(void **state)
{
    static const struct {
        enum tt_unary row;
        float x, want;
    } cases[] = {
        {TT_UNARY_exp, INFINITY, INFINITY},
        {TT_UNARY_exp, -INFINITY, 0},
        {TT_UNARY_log, INFINITY, INFINITY},
        {TT_UNARY_log, 0, -INFINITY},
        {TT_UNARY_log, -1, NAN},
        {TT_UNARY_tanh, INFINITY, 1},
        {TT_UNARY_tanh, -INFINITY, -1},
        {TT_UNARY_erf, -INFINITY, -1},
        {TT_UNARY_sigmoid, -INFINITY, 0},
        {TT_UNARY_softplus, INFINITY, INFINITY},
        {TT_UNARY_elu, -INFINITY, -1},
        {TT_UNARY_softsign, 0, 0},
    };

    (void)state;
    for (const struct tt_pointwise *const *p = tt_pointwise_all(); *p; p++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            float y;

            (*p)->unary[cases[i].row].y(&y, &cases[i].x, 1, 1, 0);
            if (!(y == cases[i].want || (isnan(y) && isnan(cases[i].want))))
                fail_msg("%s: row %d of %g is %g", (*p)->name, (int)cases[i].row,
                         (double)cases[i].x, (double)y);
        }
        for (size_t f = 0; f < sizeof functions / sizeof *functions; f++) {
            float nan = NAN, y = 0;

            (*p)->unary[functions[f].row].y(&y, &nan, 1, 1, 0);
            if (!isnan(y))
                fail_msg("%s: %s(NaN) is %g", (*p)->name, functions[f].name, (double)y);
        }
    }
}

static void sums_of_exponentials_are_of_what_is_written(void **state)
{
    static float x[N], y[N];

    (void)state;
    for (const struct tt_pointwise *const *p = tt_pointwise_all(); *p; p++) {
        double want = 0, got;

        for (int i = 0; i < N; i++)
            x[i] = (float)(i % 991) / 200;
        got = (*p)->exp_sum(y, x, 2, N);
        for (int i = 0; i < N; i++) {
            assert_close(y[i], exp((double)x[i] - 2), 5e-7, 0);
            want += (double)y[i];
        }
        assert_close(got, want, 1e-6, 0);
    }
}

/* A row with strides gives what it gives without. */
static void strides_repeat_one_number_or_skip_some(void **state)
{
    float a[40], b[40], y[20], want;

    (void)state;
    for (int i = 0; i < 40; i++) {
        a[i] = 1 + (float)i;
        b[i] = 3 - (float)(i % 7);
    }
    for (const struct tt_pointwise *const *p = tt_pointwise_all(); *p; p++)
        for (int row = 0; row < TT_NBINARY; row++)
            for (int s = 0; s < 9; s++) {
                int64_t sa = s / 3, sb = s % 3;

                (*p)->binary[row].y(y, a, sa, b, sb, 20);
                for (int i = 0; i < 20; i++) {
                    (*p)->binary[row].y(&want, a + i * sa, 2, b + i * sb, 2, 1);
                    if (!(fabsf(y[i] - want) <= 1e-6f * fabsf(want)) && y[i] != want &&
                        !(isnan(y[i]) && isnan(want)))
                        fail_msg("%s: row %d, strides %d and %d: %g, want %g", (*p)->name, row,
                                 (int)sa, (int)sb, (double)y[i], (double)want);
                }
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_as_exact_as_they_say),
        cmocka_unit_test(what_is_not_finite_is_right),
        cmocka_unit_test(sums_of_exponentials_are_of_what_is_written),
        cmocka_unit_test(strides_repeat_one_number_or_skip_some),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
