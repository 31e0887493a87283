// SPDX-License-Identifier: Apache-2.0
#include "runtime/kernels.h"

#include <math.h>
#include <string.h>

#include "runtime/half.h"
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

static void each_channel_has_its_own_sum(void **state)
{
    enum { C = 39, STEP = 2 * C, PIXELS = 14, TAPS = 5 };
    static const int64_t tap[TAPS][2] = {
        {0, 0}, {C, 3 * C}, {7 * C, C}, {4 * C, 4 * C}, {2, 2 * C}};
    float x[PIXELS * STEP + 9 * C], w[TAPS * C], scale[C], shift[C], y[(PIXELS + 1) * C];

    (void)state;
    for (int i = 0; i < PIXELS * STEP + 9 * C; i++)
        x[i] = draw(i);
    for (int i = 0; i < TAPS * C; i++)
        w[i] = draw(3 * i);
    for (int c = 0; c < C; c++) {
        scale[c] = draw(5 * c);
        shift[c] = draw(7 * c);
    }
    for (const struct tt_kernels *const *k = tt_kernels_all(); *k; k++)
        for (int pixels = 0; pixels <= PIXELS; pixels++) {
            struct tt_finish f = {.add = pixels % 2, .clamp = pixels % 3, .low = -1, .high = 2};

            if (pixels % 4) {
                f.scale = scale;
                f.shift = shift;
            }
            for (int i = 0; i < (PIXELS + 1) * C; i++)
                y[i] = 0.5f;
            (*k)->depthwise(y, C, x, STEP, pixels, tap, TAPS, w, C, &f);
            for (int p = 0; p <= PIXELS; p++)
                for (int c = 0; c < C; c++) {
                    double want = 0;

                    for (int t = 0; t < TAPS; t++)
                        want += (double)x[p % PIXELS * STEP + tap[t][0] + c] * w[tap[t][1] + c];
                    want = (f.scale ? want * scale[c] + shift[c] : want) + (f.add ? 0.5 : 0);
                    if (f.clamp)
                        want = want < -1 ? -1 : want > 2 ? 2 : want;
                    assert_close(y[p * C + c], p < pixels ? want : 0.5, 1e-5, 1e-5);
                }
        }
}

static void a_row_of_neighbours_has_each_channels_sum(void **state)
{
    enum { C = 21, WIDTH = 14 };
    float x[3 * WIDTH * C], w[3 * 7 * C], y[9 * C];

    (void)state;
    for (int i = 0; i < 3 * WIDTH * C; i++)
        x[i] = draw(i);
    for (int i = 0; i < 3 * 7 * C; i++)
        w[i] = draw(3 * i);
    for (const struct tt_kernels *const *k = tt_kernels_all(); *k; k++)
        for (int n = 0; n < 8 * 3 * 4; n++) {
            struct tt_finish f = {.add = n % 2};
            struct tt_depthwise_row r = {y, x, w, C, C, C, .pixels = n % 8 + 1, .rows = n / 24};

            r.cols = 3 + n / 8 % 3 * 2;
            r.first = n % 5;
            r.end = r.pixels + r.cols - 1 - n % 3;
            for (int a = 0; a < r.rows; a++) {
                r.at[a] = (2 - a) * WIDTH * C;
                r.of[a] = a * r.cols * C;
            }
            for (int i = 0; i < 9 * C; i++)
                y[i] = 0.5f;
            (*k)->depthwise_row(&r, C, &f);
            for (int i = 0; i < 9 * C; i++) {
                double want = i / C < r.pixels && !f.add ? 0 : 0.5;

                for (int t = 0; t < r.rows * r.cols && i / C < r.pixels; t++) {
                    int j = i / C + t % r.cols;

                    if (j >= r.first && j < r.end)
                        want += (double)x[((2 - t / r.cols) * WIDTH + j) * C + i % C] *
                                w[t * C + i % C];
                }
                assert_close(y[i], want, 1e-5, 1e-5);
            }
        }
}

static void a_product_of_any_number_of_rows(void **state)
{
    enum { ROWS = 2 * TT_MAX_MR + 1, K = 21, WIDE = TT_NR + 3 };
    float v[ROWS * K], u[K * TT_NR], m[ROWS * WIDE];

    (void)state;
    for (int i = 0; i < ROWS * K; i++)
        v[i] = draw(i);
    for (int i = 0; i < K * TT_NR; i++)
        u[i] = draw(3 * i);
    for (const struct tt_kernels *const *k = tt_kernels_all(); *k; k++)
        for (int rows = 0; rows <= ROWS; rows++) {
            for (int i = 0; i < ROWS * WIDE; i++)
                m[i] = 9;
            (*k)->winograd_product(m, WIDE, v, u, rows, K);
            for (int r = 0; r < ROWS; r++)
                for (int j = 0; j < WIDE; j++) {
                    double want = 0;

                    for (int d = 0; d < K; d++)
                        want += (double)v[r * K + d] * u[d * TT_NR + j % TT_NR];
                    assert_close(m[r * WIDE + j], r < rows && j < TT_NR ? want : 9, 1e-5, 1e-5);
                }
        }
}

enum { SIDE = 34, POINTS = 36 }; // pixels of a row that TT_WINO_RUN tiles see

/* Pixel (i, j) of what the band sees through 3x3 pixels of x, each by w. */
static double seen(const struct tt_winograd_band *b, const float *w, int i, int j)
{
    double sum = 0;

    for (int t = 0; t < 9; t++) {
        int h = i + t / 3, c = j + t % 3;

        if (h >= b->top && h < b->bottom && c >= b->first && c < b->end)
            sum += (double)b->x[h * b->row + c * b->pixel] * w[t];
    }
    return sum;
}

/* Each channel by a kernel of its own, so that the product is one of numbers. */
static void tiles_of_a_row_go_there_and_back(void **state)
{
    enum { C = 32, STEP = TT_WINO_RUN * C + 16 };
    static float x[6 * SIDE * C], w[C * 9], u[POINTS * C * C], v[POINTS * STEP], y[4 * SIDE * C];
    static float one[C * C * 9];
    struct tt_winograd_band bands[] = {
        {x, SIDE * C, C, 0, 6, 0, SIDE}, {x, SIDE * C, C, 1, 6, 1, SIDE - 2},
        {x, SIDE * C, C, 0, 5, -3, 7},   {x, SIDE * C, C, 2, 3, 2, 99},
        {x, SIDE * C, C, 1, 5, 1, 5},
    };

    (void)state;
    for (int i = 0; i < 6 * SIDE * C; i++)
        x[i] = draw(i);
    for (int i = 0; i < C * 9; i++)
        one[(i / 9 * C + i / 9) * 9 + i % 9] = w[i] = draw(3 * i);
    for (const struct tt_kernels *const *k = tt_kernels_all(); *k; k++) {
        for (int panel = 0; panel < C / TT_NR; panel++)
            (*k)->winograd_weights(u + panel * C * TT_NR, C * C, one + panel * TT_NR * 9 * C, C, 9,
                                   9 * C, false);
        for (int n = 0; n < 5 * TT_WINO_RUN; n++) {
            int tiles = n / 5 + 1, cols = 4 * tiles - n % 4, rows = 4 - n % 3;
            struct tt_finish f = {.add = n % 2};

            for (int i = 0; i < 4 * SIDE * C; i++)
                y[i] = 3;
            (*k)->winograd_in(v, STEP, C, &bands[n % 5], tiles, C);
            for (int i = 0; i < POINTS * STEP; i++) { // u [36][panel][C][16]: the diagonal
                int c = i % STEP % C;

                v[i] *= u[((i / STEP * 2 + c / 16) * C + c) * 16 + c % 16];
            }
            (*k)->winograd_out(y, SIDE * C, C, rows, cols, v, STEP, C, C, &f);
            for (int i = 0; i < 4 * SIDE * C; i++) {
                int h = i / C / SIDE, j = i / C % SIDE, c = i % C;
                struct tt_winograd_band b = bands[n % 5];
                double want = 3;

                b.x += c;
                if (h < rows && j < cols)
                    want = seen(&b, w + 9 * c, h, j) + (f.add ? 3 : 0);
                assert_close(y[i], want, 1e-5, 2e-5);
            }
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

static void fill(float *x, int64_t n, int seed)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = sinf((float)(i * (seed + 1)) * .7f) * (float)(1 + i % 5);
}

/* From the kernels of floats, with what the halves are; odd numbers of channels and rows. */
static void backward_from_halves_is_that_from_their_numbers(void **state)
{
    enum { R = 37, MOST = 40 };
    static const int64_t channels[] = {3, 16, 23, 40};
    float x[R * MOST], dy[R * MOST], hat[R * MOST], got[R * MOST], want[R * MOST];
    float table[3][16 * MOST], none[MOST] = {0};
    uint16_t half[R * MOST], plain[R * MOST];

    (void)state;
    fill(x, R * MOST, 1);
    fill(dy, R * MOST, 2);
    x[5] = 1e9f;
    x[R] = NAN;
    for (const struct tt_kernels *const *k = tt_kernels_all(); *k; k++)
        for (int i = 0; i < 4; i++) {
            int64_t C = channels[i], n = R * C, period = tt_period(C);
            double s[2][MOST], t[2][MOST];

            for (int j = 0; j < 3; j++) {
                fill(table[j], C, j + 3);
                tt_repeat_table(table[j], C);
            }
            (*k)->bn_keep(half, x, table[0], table[1], period, n);
            for (int64_t j = 0; j < n; j++)
                hat[j] = x[j] * table[0][j % C] + table[1][j % C];
            tt_half_of_plain(plain, hat, n);
            tt_half_read_plain(hat, plain, n);
            tt_half_read_plain(got, half, n);
            for (int64_t j = 0; j < n; j++) // multiplying and adding at once may round elsewhere
                assert_true(isnan(hat[j])
                                ? isnan(got[j])
                                : fabsf(got[j] - hat[j]) <= 0x1p-10f * fabsf(hat[j]) + 1e-7f);
            tt_half_read_plain(hat, half, n);
            for (int add = 0; add < 2; add++) {
                memcpy(got, dy, sizeof got);
                memcpy(want, dy, sizeof want);
                (*k)->bn_grad_kept(got, dy, half, table[0], table[1], table[2], period, n, add);
                (*k)->bn_grad(want, dy, hat, table[0], table[1], table[2], period, n, add);
                for (int64_t j = 0; j < n; j++)
                    assert_true(isnan(want[j]) ? isnan(got[j]) : got[j] == want[j]);
            }
            (*k)->bn_sums_kept(dy, half, R, C, s[0], s[1]);
            (*k)->bn_sums(dy, hat, none, R, C, t[0], t[1]);
            for (int64_t c = 0; c < C; c++)
                assert_true(s[0][c] == t[0][c] &&
                            (isnan(t[1][c]) ? isnan(s[1][c]) : s[1][c] == t[1][c]));
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

static void the_largest_is_the_first_of_equals_or_nan(void **state)
{
    enum { N = 21 };

    (void)state;
    for (const struct tt_kernels *const *k = tt_kernels_all(); *k; k++)
        for (int indices = 0; indices < 2; indices++) {
            float y[N], x[N];
            int32_t won[N];

            for (int i = 0; i < N; i++) {
                y[i] = draw(i);
                x[i] = i % 3 ? draw(i) + (float)(i % 3) - 1.5f : draw(i);
                won[i] = 4;
            }
            y[2] = x[18] = x[20] = NAN;
            (*k)->largest(y, indices ? won : NULL, x, 7, N);
            for (int i = 0; i < N; i++) {
                bool more = i % 3 == 2 || i == 18;

                if (i == 2 || i == 18 || i == 20)
                    assert_true(isnan(y[i]));
                else
                    assert_true(y[i] == (more ? x[i] : draw(i)));
                assert_int_equal(won[i], indices && more && i != 2 ? 7 : 4);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tile_is_the_sum_over_taps_and_depth),
        cmocka_unit_test(each_channel_has_its_own_sum),
        cmocka_unit_test(a_row_of_neighbours_has_each_channels_sum),
        cmocka_unit_test(a_product_of_any_number_of_rows),
        cmocka_unit_test(tiles_of_a_row_go_there_and_back),
        cmocka_unit_test(statistics_are_the_same_on_every_processor),
        cmocka_unit_test(backward_from_halves_is_that_from_their_numbers),
        cmocka_unit_test(the_largest_is_the_first_of_equals_or_nan),
        cmocka_unit_test(relu_lets_nan_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
