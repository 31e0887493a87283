// SPDX-License-Identifier: Apache-2.0
#include "runtime/kernels.h"

#include <math.h>
#include <string.h>

#include "tests/support/check.h"

static float draw(int i)
{
    return (float)((i * 7919 + 13) % 2003) / 1001 - 1;
}

static void a_tile_is_the_sum_over_taps_and_depth(void **state)
{
    enum { TAPS = 3, K = 5 };
    float a[TAPS][TT_MAX_MR][K], b[TAPS * K * TT_NR], bias[TT_NR], scale[TT_NR],
        c[TT_MAX_MR][TT_NR + 2];
    const float *from[TAPS * TT_MAX_MR];
    float *to[TT_MAX_MR];

    (void)state;
    for (int i = 0; i < TAPS * TT_MAX_MR * K; i++)
        (&a[0][0][0])[i] = draw(i);
    for (int i = 0; i < TAPS * K * TT_NR; i++)
        b[i] = draw(3 * i);
    for (int j = 0; j < TT_NR; j++) {
        bias[j] = draw(5 * j);
        scale[j] = 1 + draw(9 * j) / 2;
    }
    for (const struct tt_kernels *const *k = tt_kernels_all(); *k; k++)
        for (int mr = 1; mr <= (*k)->mr; mr++)
            for (int nr = 1; nr <= TT_NR; nr += 5) {
                bool add = (mr + nr) % 2, clamp = nr > 8;
                const struct tt_finish f = {.scale = add ? NULL : scale,
                                            .shift = add ? NULL : bias,
                                            .add = add,
                                            .clamp = clamp,
                                            .low = -.5f,
                                            .high = 8.75f};

                for (int t = 0; t < TAPS; t++)
                    for (int r = 0; r < (*k)->mr; r++)
                        from[t * (*k)->mr + r] = a[t][r < mr ? r : 0];
                for (int r = 0; r < (*k)->mr; r++)
                    to[r] = c[r];
                for (int i = 0; i < TT_MAX_MR * (TT_NR + 2); i++)
                    (&c[0][0])[i] = 9;
                (*k)->tile(to, mr, nr, from, TAPS, K, b, &f);
                for (int r = 0; r < TT_MAX_MR; r++)
                    for (int j = 0; j < TT_NR + 2; j++) {
                        double want = 0;

                        for (int t = 0; t < TAPS; t++)
                            for (int d = 0; d < K; d++)
                                want += (double)a[t][r][d] * b[(t * K + d) * TT_NR + j % TT_NR];
                        want = add ? 9 + want : want * scale[j % TT_NR] + bias[j % TT_NR];
                        if (clamp)
                            want = fmin(fmax(want, (double)f.low), (double)f.high);
                        /* what lies outside of the tile is left alone */
                        assert_close(c[r][j], r < mr && j < nr ? want : 9, 1e-5, 1e-5);
                    }
            }
}

static void statistics_are_the_same_on_every_processor(void **state)
{
    enum { R = 37, C = 21 };
    float x[R * C], dy[R * C], mean[C];
    double sum[C], dev[C], s1[C], s2[C];

    (void)state;
    for (int i = 0; i < R * C; i++) {
        x[i] = 100 + draw(i); // far from 0: a sum of squares would lose its digits
        dy[i] = draw(11 * i);
    }
    for (const struct tt_kernels *const *k = tt_kernels_all(); *k; k++) {
        (*k)->bn_stats(x, R, C, sum, dev);
        for (int c = 0; c < C; c++)
            mean[c] = (float)(sum[c] / R);
        (*k)->bn_sums(dy, x, mean, R, C, s1, s2);
        for (int c = 0; c < C; c++) {
            double m = 0, v = 0, p = 0, q = 0;

            for (int r = 0; r < R; r++)
                m += x[r * C + c] / (double)R;
            for (int r = 0; r < R; r++) {
                v += (x[r * C + c] - m) * (x[r * C + c] - m);
                p += dy[r * C + c];
                q += dy[r * C + c] * ((double)x[r * C + c] - mean[c]);
            }
            assert_close(sum[c] / R, m, 1e-6, 0);
            assert_close(dev[c], v, 1e-4, 0);
            assert_close(s1[c], p, 1e-5, 1e-5);
            assert_close(s2[c], q, 1e-4, 1e-5);
        }
    }
}

static void relu_lets_nan_through(void **state)
{
    float x[5] = {-1, 0, 2, NAN, -INFINITY}, y[5];

    (void)state;
    for (const struct tt_kernels *const *k = tt_kernels_all(); *k; k++) {
        (*k)->relu(y, x, 5);
        assert_true(y[0] == 0 && y[1] == 0 && y[2] == 2 && isnan(y[3]) && y[4] == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tile_is_the_sum_over_taps_and_depth),
        cmocka_unit_test(statistics_are_the_same_on_every_processor),
        cmocka_unit_test(relu_lets_nan_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
