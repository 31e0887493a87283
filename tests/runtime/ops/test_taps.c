// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/taps.h"

#include <omp.h>
#include <string.h>

#include "base/arena.h"
#include "tests/support/check.h"

static struct tt_arena arena;

static float *drawn(int64_t n)
{
    static uint64_t seed = 7;
    float *x = TT_NEW(&arena, n, float);

    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(seed >> 40) / 8388608.0f - 1;
    }
    return x;
}

static int begin(void **state)
{
    (void)state;
    tt_arena_init(&arena, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tt_arena_release(&arena);
    return 0;
}

/* A 3x3 kernel over H x W pixels with a padding of one, at that stride. */
static const struct {
    int64_t images, H, W, stride, K, N;
} shapes[] = {
    {2, 5, 9, 1, 3, 16},  // few channels
    {3, 9, 7, 2, 3, 21},  // panels that are not full
    {2, 8, 8, 2, 16, 32}, // rows of a group that end in the next image
    {1, 3, 1, 1, 5, 4},   // every pixel at an edge
    {2, 4, 6, 1, 400, 8}, // too deep to be put together at edges
};
#define NSHAPES ((int)(sizeof shapes / sizeof *shapes))

static struct tt_taps shaped(int i)
{
    int64_t OH = (shapes[i].H - 1) / shapes[i].stride + 1,
            OW = (shapes[i].W - 1) / shapes[i].stride + 1;
    int64_t H = shapes[i].H, W = shapes[i].W, K = shapes[i].K, N = shapes[i].N;
    int32_t *offset = TT_NEW(&arena, OH * OW * 9, int32_t);
    struct tt_taps p = {
        .images = shapes[i].images, .pixels = OH * OW, .taps = 9, .run = 3, .K = K, .N = N};

    for (int64_t k = 0; k < OH * OW * 9; k++) {
        int64_t h = k / 9 / OW * shapes[i].stride - 1 + k % 9 / 3;
        int64_t w = k / 9 % OW * shapes[i].stride - 1 + k % 3;

        offset[k] = h >= 0 && h < H && w >= 0 && w < W ? (int32_t)(h * W + w) : -1;
    }
    p.offset = offset;
    p.x = drawn(p.images * H * W * K);
    p.zeros = TT_NEW(&arena, K, float);
    p.x_image = H * W * K;
    p.x_pixel = K;
    p.y_image = OH * OW * N;
    p.y_pixel = N;
    p.packed = drawn((N + TT_NR - 1) / TT_NR * TT_NR * 9 * K);
    return p;
}

static float *run(struct tt_taps *p, int threads)
{
    p->y = drawn(p->images * p->y_image + 1);
    for (int64_t i = 0; i < p->images * p->y_image; i++)
        p->y[i] = 5;
    p->y[p->images * p->y_image] = 9;
    omp_set_num_threads(threads);
    tt_taps_run(p);
    assert_true(p->y[p->images * p->y_image] == 9);
    return p->y;
}

static double formula(const struct tt_taps *p, int64_t image, int64_t pixel, int64_t n)
{
    const float *w = p->packed + n / TT_NR * TT_NR * 9 * p->K + n % TT_NR;
    double sum = 0;

    for (int64_t t = 0; t < 9; t++)
        for (int64_t k = 0; k < p->K; k++) {
            int32_t at = p->offset[pixel * 9 + t];

            if (at >= 0)
                sum += (double)p->x[image * p->x_image + at * p->x_pixel + k] *
                       w[(t * p->K + k) * TT_NR];
        }
    return sum;
}

static void it_is_the_sum_over_taps(void **state)
{
    (void)state;
    for (int i = 0; i < NSHAPES; i++) {
        struct tt_taps p = shaped(i);

        p.finish.add = i % 2;
        p.finish.shift = i % 3 ? drawn(p.N) : NULL;
        run(&p, 2);
        for (int64_t k = 0; k < p.images * p.y_image; k++) {
            double want = formula(&p, k / p.y_image, k % p.y_image / p.N, k % p.N);

            want += (p.finish.add ? 5 : 0) + (p.finish.shift ? p.finish.shift[k % p.N] : 0);
            assert_close(p.y[k], want, 1e-5, 1e-4);
        }
    }
}

static void results_do_not_depend_on_runs_threads_or_neighbours(void **state)
{
    (void)state;
    for (int i = 0; i < NSHAPES; i++) {
        struct tt_taps p = shaped(i);
        size_t image = sizeof(float) * (size_t)p.y_image;
        float *first = run(&p, 1);

        for (int threads = 2; threads < 5; threads++)
            assert_memory_equal(run(&p, threads), first, image * (size_t)p.images);
        p.run = 1;
        assert_memory_equal(run(&p, 2), first, image * (size_t)p.images);
        p.run = 3;
        p.x += p.x_image * (p.images - 1); // the last image, alone
        first += p.y_image * (p.images - 1);
        p.images = 1;
        assert_memory_equal(run(&p, 2), first, image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_the_sum_over_taps, begin, end),
        cmocka_unit_test_setup_teardown(results_do_not_depend_on_runs_threads_or_neighbours, begin,
                                        end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
