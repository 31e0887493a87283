// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/product.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

/* Sizes around tiles, panels, groups of panels, blocks of depth and of rows. */
static const struct size {
    int64_t m, n, k;
} sizes[] = {
    {1, 1, 1},    {1, 17, 1},    {5, 1, 9},     {7, 33, 0},     {13, 16, 256},
    {1, 300, 70}, {29, 47, 257}, {400, 21, 31}, {197, 197, 64}, {61, 150, 600},
};

static float draw(int64_t i)
{
    return (float)((i * 7919 + 13) % 2003) / 1001 - 1;
}

static float *fill(int64_t n, int64_t by)
{
    float *x = (float *)malloc(sizeof *x * (size_t)(n + 1));

    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = draw(i * by);
    return x;
}

static void check_product(const struct size *s, bool ta, bool tb, float scale, bool keep)
{
    float *a = fill(s->m * s->k, 1), *b = fill(s->k * s->n, 3), *c = fill(s->m * s->n, 5);

    tt_product(c, a, ta, b, tb, s->m, s->n, s->k, scale, keep ? 1 : 0);
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double want = keep ? (double)draw((i * s->n + j) * 5) : 0;

            for (int64_t k = 0; k < s->k; k++)
                want += (double)scale * (double)a[ta ? k * s->m + i : i * s->k + k] *
                        (double)b[tb ? j * s->k + k : k * s->n + j];
            assert_close(c[i * s->n + j], want, 1e-4, 1e-4);
        }
    free(a);
    free(b);
    free(c);
}

static void products_are_right_whatever_is_transposed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int how = 0; how < 8; how++)
            check_product(&sizes[i], how & 1, how & 2, how & 4 ? .5f : 1, how & 4);
}

/* Operands that lie in larger arrays, as heads do in what all heads share, and a bias. */
static void operands_may_lie_wide_apart(void **state)
{
    enum { M = 19, N = 35, K = 24, WIDE = 70 };
    float *a = fill((int64_t)M * WIDE, 1), *b = fill((int64_t)K * WIDE, 3);
    float *c = fill((int64_t)M * WIDE, 5), *bias = fill(N, 7);
    const struct tt_product p = {.m = M,
                                 .n = N,
                                 .k = K,
                                 .a = a,
                                 .b = b,
                                 .a_row = WIDE,
                                 .a_col = 1,
                                 .b_row = WIDE,
                                 .b_col = 1,
                                 .c = c,
                                 .c_row = WIDE,
                                 .bias = bias,
                                 .scale = 2};

    (void)state;
    tt_product_run(&p);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < WIDE; j++) {
            double want = (double)bias[j < N ? j : 0];

            for (int k = 0; k < K; k++)
                want += 2 * (double)a[i * WIDE + k] * (double)b[k * WIDE + j];
            assert_close(c[i * WIDE + j], j < N ? want : (double)draw((int64_t)(i * WIDE + j) * 5),
                         1e-4, 1e-4);
        }
    free(a);
    free(b);
    free(c);
    free(bias);
}

/* A row is the same bits alone, among others, and however many threads there are. */
static void bits_depend_on_neither_threads_nor_neighbours(void **state)
{
    enum { M = 301, N = 203, K = 611 };
    int before = omp_get_max_threads();
    float *a = fill((int64_t)M * K, 1), *b = fill((int64_t)K * N, 3), *c[5];

    (void)state;
    for (int t = 0; t < 5; t++) {
        c[t] = fill((int64_t)M * N, 5);
        omp_set_num_threads(t + 1);
        tt_product(c[t], a, false, b, t % 2, M, N, K, 1, 0);
    }
    omp_set_num_threads(before);
    assert_memory_equal(c[0], c[2], sizeof(float) * M * N);
    assert_memory_equal(c[0], c[4], sizeof(float) * M * N);
    assert_memory_equal(c[1], c[3], sizeof(float) * M * N);
    for (int64_t i = 0; i < M; i += 50) {
        tt_product(c[2], a + i * K, false, b, false, 1, N, K, 1, 0);
        assert_memory_equal(c[0] + i * N, c[2], sizeof(float) * N);
    }
    for (int t = 0; t < 5; t++)
        free(c[t]);
    free(a);
    free(b);
}

/* c [2, 3] is the sum over a dimension that it has not. */
static void what_shares_a_result_is_summed(void **state)
{
    enum { M = 4, N = 5, K = 3 };
    const struct tt_repeat r[] = {{2, M * N, M * K, 0}, {3, 0, 2 * M * K, K * N}};
    float *a = fill(6 * M * K, 1), *b = fill(3 * K * N, 3), c[2 * M * N];

    (void)state;
    for (int add = 0; add < 2; add++) {
        for (int i = 0; i < 2 * M * N; i++)
            c[i] = 7;
        tt_products(r, 2, c, a, false, b, false, M, N, K, add);
        for (int at = 0; at < 2 * M * N; at++) {
            int one = at / (M * N), i = at % (M * N) / N, j = at % N;
            double want = add ? 7 : 0;

            for (int s = 0; s < 3; s++)
                for (int k = 0; k < K; k++)
                    want += (double)a[one * M * K + s * 2 * M * K + i * K + k] *
                            (double)b[s * K * N + k * N + j];
            assert_close(c[at], want, 1e-5, 1e-5);
        }
    }
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_right_whatever_is_transposed),
        cmocka_unit_test(operands_may_lie_wide_apart),
        cmocka_unit_test(bits_depend_on_neither_threads_nor_neighbours),
        cmocka_unit_test(what_shares_a_result_is_summed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
