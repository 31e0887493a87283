// SPDX-License-Identifier: Apache-2.0
#include "runtime/rows.h"

#include <math.h>
#include <stdlib.h>

#include "tests/support/check.h"

/* Lengths around a register, around the blocks that are summed in float, and between. */
static const int64_t lengths[] = {1, 7, 16, 33, 4096, 4103, 9000};
#define NLENGTHS ((int)(sizeof lengths / sizeof *lengths))
#define LONGEST  9000

static float x[LONGEST], dy[LONGEST], gamma_[LONGEST], beta[LONGEST], y[LONGEST], z[LONGEST];

static void draw(void)
{
    for (int i = 0; i < LONGEST; i++) {
        x[i] = (float)((i * 7919 + 13) % 2003) / 1001 - 1;
        dy[i] = (float)((i * 104729 + 5) % 1999) / 999 - 1;
        gamma_[i] = (float)((i * 31 + 7) % 101) / 50;
        beta[i] = (float)((i * 17 + 3) % 97) / 48 - 1;
    }
}

static void sums_are_those_of_double(void **state)
{
    (void)state;
    draw();
    for (const struct tt_rows *const *k = tt_rows_all(); *k; k++)
        for (int l = 0; l < NLENGTHS; l++) {
            int64_t n = lengths[l];
            double sum = 0, dev = 0, s1 = 0, s2 = 0, a, b;

            for (int64_t i = 0; i < n; i++)
                sum += x[i];
            for (int64_t i = 0; i < n; i++) {
                dev += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
                s1 += dy[i];
                s2 += (double)dy[i] * (x[i] - 0.25);
            }
            (*k)->stats(x, n, &a, &b);
            assert_close(a, sum, 1e-5, 1e-4);
            assert_close(b, dev, 1e-5, 1e-5);
            (*k)->sums(dy, x, .25f, n, &a, &b);
            assert_close(a, s1, 1e-5, 1e-4);
            assert_close(b, s2, 1e-5, 1e-4);
        }
}

static void a_row_is_scaled_and_its_gradient_formed(void **state)
{
    (void)state;
    draw();
    for (const struct tt_rows *const *k = tt_rows_all(); *k; k++)
        for (int l = 0; l < NLENGTHS; l++) {
            int64_t n = lengths[l];

            y[n - 1] = 9;
            (*k)->affine(y, x, 1.5f, -.5f, n);
            for (int64_t i = 0; i < n; i++)
                assert_close(y[i], 1.5 * x[i] - .5, 1e-5, 1e-6);
            for (int add = 0; add < 2; add++) {
                for (int64_t i = 0; i < n; i++)
                    y[i] = 3;
                (*k)->grad(y, dy, x, 2, -1, .5f, n, add);
                for (int64_t i = 0; i < n; i++)
                    assert_close(y[i], 2.0 * dy[i] - x[i] + .5 + 3 * add, 1e-5, 1e-5);
            }
        }
}

static void a_row_is_normalised_and_its_gradient_formed(void **state)
{
    (void)state;
    draw();
    for (const struct tt_rows *const *k = tt_rows_all(); *k; k++)
        for (int l = 0; l < NLENGTHS; l++) {
            int64_t n = lengths[l];
            double s1 = 0, s2 = 0, a, b;

            (*k)->norm(y, x, gamma_, beta, .25f, 3, n);
            (*k)->norm(z, x, gamma_, NULL, .25f, 3, n);
            for (int64_t i = 0; i < n; i++) {
                double hat = (x[i] - .25) * 3;

                assert_close(z[i], hat * gamma_[i], 1e-5, 1e-5);
                assert_close(y[i], hat * gamma_[i] + beta[i], 1e-5, 1e-5);
                s1 += (double)dy[i] * gamma_[i];
                s2 += (double)dy[i] * gamma_[i] * hat;
                y[i] = z[i] = 1;
            }
            (*k)->norm_sums(y, z, dy, x, gamma_, .25f, 3, n, &a, &b);
            assert_close(a, s1, 1e-5, 1e-3);
            assert_close(b, s2, 1e-5, 1e-3);
            for (int64_t i = 0; i < n; i++) {
                assert_close(y[i], 1 + dy[i] * (x[i] - .25) * 3, 1e-5, 1e-5);
                assert_close(z[i], 1 + dy[i], 1e-5, 1e-5);
            }
            (*k)->norm_grad(y, dy, x, gamma_, .25f, 3, .1f, .2f, n, true);
            for (int64_t i = 0; i < n; i++) {
                double hat = (x[i] - .25) * 3;

                assert_close(y[i],
                             1 + dy[i] * hat + 3 * ((double)dy[i] * gamma_[i] - .1 - hat * .2),
                             1e-5, 1e-4);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_double),
        cmocka_unit_test(a_row_is_scaled_and_its_gradient_formed),
        cmocka_unit_test(a_row_is_normalised_and_its_gradient_formed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
