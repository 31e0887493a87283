// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/depthwise.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/arena.h"
#include "tests/support/check.h"

static struct tt_arena arena;

static float *drawn(int64_t n)
{
    static uint64_t seed = 5;
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

static const struct {
    int64_t images, C, H[2], OH[2], K[2], stride[2], pad[2], dilation[2];
} shapes[] = {
    {2, 40, {9, 21}, {9, 21}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {3, 19, {7, 7}, {7, 7}, {7, 7}, {1, 1}, {3, 3}, {1, 1}},  // all at an edge
    {2, 16, {8, 11}, {4, 6}, {3, 5}, {2, 2}, {1, 2}, {1, 1}}, // phases
    {1, 33, {10, 9}, {4, 3}, {2, 1}, {3, 4}, {0, 0}, {1, 1}}, // pixels that nobody sees
    {2, 5, {6, 12}, {6, 10}, {3, 3}, {1, 1}, {2, 3}, {2, 4}}, // dilated
    {1, 8, {1, 3}, {3, 7}, {1, 5}, {1, 1}, {1, 4}, {1, 1}},   // results of padding alone
    {1, 12, {5, 6}, {2, 3}, {3, 3}, {3, 2}, {1, 1}, {1, 2}},  // no phase is like another
};
#define NSHAPES ((int)(sizeof shapes / sizeof *shapes))

static struct tt_depthwise shaped(int i)
{
    return (struct tt_depthwise){.images = shapes[i].images,
                                 .C = shapes[i].C,
                                 .H = shapes[i].H,
                                 .OH = shapes[i].OH,
                                 .K = shapes[i].K,
                                 .stride = shapes[i].stride,
                                 .pad = shapes[i].pad,
                                 .dilation = shapes[i].dilation,
                                 .weights = drawn(shapes[i].C * shapes[i].K[0] * shapes[i].K[1])};
}

/* to[] += what the formula has, term by term; forward or back. */
static void formula(const struct tt_depthwise *d, bool back, double *to)
{
    int64_t places = d->OH[0] * d->OH[1], taps = d->K[0] * d->K[1], pixels = d->H[0] * d->H[1];

    for (int64_t i = 0; i < d->images * places * taps * d->C; i++) {
        int64_t c = i % d->C, t = i / d->C % taps, p = i / d->C / taps % places;
        int64_t image = i / d->C / taps / places;
        int64_t h = p / d->OH[1] * d->stride[0] - d->pad[0] + t / d->K[1] * d->dilation[0];
        int64_t w = p % d->OH[1] * d->stride[1] - d->pad[1] + t % d->K[1] * d->dilation[1];
        int64_t in = (image * pixels + h * d->H[1] + w) * d->C + c;
        int64_t out = (image * places + p) * d->C + c;

        if (h < 0 || h >= d->H[0] || w < 0 || w >= d->H[1])
            continue;
        to[back ? in : out] += (double)d->x[back ? out : in] * d->weights[t * d->C + c];
    }
}

static int64_t floats(const struct tt_depthwise *d, const int64_t size[2])
{
    return d->images * d->C * size[0] * size[1];
}

/* Run with so many threads; y is new, of 5 and a 9 behind it. */
static void run(struct tt_depthwise *d, bool back, int threads)
{
    int64_t n = floats(d, back ? d->H : d->OH);

    d->y = drawn(n + 1);
    for (int64_t i = 0; i < n; i++)
        d->y[i] = d->finish.add ? 5 : NAN;
    d->y[n] = 9;
    omp_set_num_threads(threads);
    tt_depthwise_run(d, back);
    assert_true(d->y[n] == 9);
}

static void it_is_the_convolution_and_its_gradient(void **state)
{
    (void)state;
    for (int i = 0; i < NSHAPES; i++)
        for (int back = 0; back < 2; back++) {
            struct tt_depthwise d = shaped(i);
            int64_t n = floats(&d, back ? d.H : d.OH);
            double *want = TT_NEW(&arena, n, double);

            d.x = drawn(floats(&d, back ? d.OH : d.H));
            d.finish.add = i % 2;
            d.finish.shift = back ? NULL : drawn(d.C);
            run(&d, back, 2);
            formula(&d, back, want);
            for (int64_t k = 0; k < n; k++)
                assert_close(d.y[k],
                             want[k] + (d.finish.add ? 5 : 0) +
                                 (d.finish.shift ? d.finish.shift[k % d.C] : 0),
                             1e-5, 1e-5);
        }
}

static void results_do_not_depend_on_threads_or_neighbours(void **state)
{
    (void)state;
    for (int i = 0; i < NSHAPES; i++)
        for (int back = 0; back < 2; back++) {
            struct tt_depthwise d = shaped(i);
            int64_t from = floats(&d, back ? d.OH : d.H) / d.images;
            int64_t to = floats(&d, back ? d.H : d.OH) / d.images;
            const float *first;

            d.x = drawn(from * d.images);
            run(&d, back, 1);
            first = d.y;
            for (int threads = 2; threads < 5; threads++) {
                run(&d, back, threads);
                assert_memory_equal(d.y, first, sizeof *first * (size_t)(to * d.images));
            }
            d.x += from * (d.images - 1); // the last image, alone
            first += to * (d.images - 1);
            d.images = 1;
            run(&d, back, 2);
            assert_memory_equal(d.y, first, sizeof *first * (size_t)to);
        }
}

static void weights_are_turned_so_that_channels_are_last(void **state)
{
    static const float w[] = {1, 2, 3, 4, 5, 6}, want[] = {1, 4, 2, 5, 3, 6};
    float to[6];

    (void)state;
    tt_depthwise_weights(to, w, 2, 3);
    assert_memory_equal(to, want, sizeof want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_the_convolution_and_its_gradient, begin, end),
        cmocka_unit_test_setup_teardown(results_do_not_depend_on_threads_or_neighbours, begin, end),
        cmocka_unit_test(weights_are_turned_so_that_channels_are_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
