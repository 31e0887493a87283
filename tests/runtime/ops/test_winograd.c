// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/winograd.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/arena.h"
#include "runtime/program.h"
#include "tests/support/check.h"

static uint64_t seed;

static float draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(seed >> 40) / 8388608.0f - 1;
}

static struct tt_arena arena;

static float *drawn(int64_t n)
{
    float *x = TT_NEW(&arena, n, float);

    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = draw();
    return x;
}

static int begin(void **state)
{
    (void)state;
    seed = 3;
    tt_arena_init(&arena, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tt_arena_release(&arena);
    return 0;
}

/* Pixel (h, c) of image b, channel o, by the formula; *size is the sum of its terms' sizes.
 * turned: as the gradient to the input has it, of weights w [C, O, 3, 3]. */
static double formula(const struct tt_winograd *g, const float *w, bool turned, const int64_t at[4],
                      double *size)
{
    double sum = 0;

    *size = 0;
    for (int64_t k = 0; k < g->C; k++)
        for (int64_t t = 0; t < 9; t++) {
            int64_t h = at[1] + t / 3 - g->pad[0], c = at[2] + t % 3 - g->pad[1];
            double term;

            if (h < 0 || h >= g->H[0] || c < 0 || c >= g->H[1])
                continue;
            term = g->x[((at[0] * g->H[0] + h) * g->H[1] + c) * g->C + k];
            term *= turned ? w[(k * g->O + at[3]) * 9 + 8 - t] : w[(at[3] * g->C + k) * 9 + t];
            sum += term;
            *size += fabs(term);
        }
    return sum;
}

/* The worst error of any pixel, as a part of the sizes of the terms that it is the sum of. */
static double worst(const struct tt_winograd *g, const float *w, bool turned)
{
    double bad = 0;

    for (int64_t b = 0; b < g->images; b++)
        for (int64_t h = 0; h < g->OH[0]; h++)
            for (int64_t c = 0; c < g->OH[1]; c++)
                for (int64_t o = 0; o < g->O; o++) {
                    int64_t at[4] = {b, h, c, o};
                    double size, want = formula(g, w, turned, at, &size), e;

                    want *= g->finish.scale ? g->finish.scale[o] : 1;
                    want += (g->finish.shift ? g->finish.shift[o] : 0) + (g->finish.add ? 5 : 0);
                    if (g->finish.clamp)
                        want = fmin(fmax(want, (double)g->finish.low), (double)g->finish.high);
                    e = fabs(g->y[((b * g->OH[0] + h) * g->OH[1] + c) * g->O + o] - want);
                    e /= size + 1;
                    if (!(e <= bad))
                        bad = e;
                }
    return bad;
}

static void run(struct tt_winograd *g, int threads)
{
    float *scratch = drawn(threads * tt_winograd_nscratch(g->C, g->O));
    int64_t n = g->images * g->OH[0] * g->OH[1] * g->O;

    g->y = drawn(n + 1);
    for (int64_t i = 0; i < n; i++)
        g->y[i] = g->finish.add ? 5 : NAN;
    g->y[n] = 9;
    tt_winograd_run(g, scratch, threads);
    assert_true(g->y[n] == 9);
}

static const struct {
    int64_t images, H[2], pad[2], OH[2], C, O;
} shapes[] = {
    {2, {8, 12}, {1, 1}, {8, 12}, 16, 32}, // whole tiles
    {3, {7, 9}, {1, 1}, {7, 9}, 32, 16},   // tiles that end outside
    {1, {9, 10}, {0, 0}, {7, 8}, 16, 16},  // no padding
    {2, {6, 5}, {2, 0}, {8, 5}, 16, 48},   // padding of two, and more behind than before
    {40, {8, 8}, {1, 1}, {8, 8}, 64, 64},  // more than one block
    {1, {4, 5}, {1, 1}, {4, 5}, 208, 208}, // weights that are transformed while they are used
    {25, {4, 6}, {1, 1}, {4, 6}, 464, 96}, // and in several blocks
};
#define NSHAPES ((int)(sizeof shapes / sizeof *shapes))

static struct tt_winograd shaped(int i)
{
    struct tt_winograd g = {.images = shapes[i].images,
                            .C = shapes[i].C,
                            .O = shapes[i].O,
                            .x_pixel = shapes[i].C,
                            .y_pixel = shapes[i].O};

    for (int k = 0; k < 2; k++) {
        g.H[k] = shapes[i].H[k];
        g.OH[k] = shapes[i].OH[k];
        g.pad[k] = shapes[i].pad[k];
    }
    g.x = drawn(g.images * g.H[0] * g.H[1] * g.C);
    return g;
}

/* Of w [O, C, 3, 3], or turned: [C, O, 3, 3]. */
static void set_weights(struct tt_winograd *g, const float *w, bool turned)
{
    float *u = NULL;

    if (tt_winograd_nweights(g->C, g->O)) {
        u = drawn(tt_winograd_nweights(g->C, g->O));
        tt_winograd_weights(u, w, turned ? g->O : g->C, turned ? g->C : g->O, turned);
    }
    g->weights = u;
    g->kernel = w;
    g->turned = turned;
}

static void it_is_the_convolution_within_a_bound(void **state)
{
    (void)state;
    for (int i = 0; i < NSHAPES; i++)
        for (int turned = 0; turned < 2; turned++) {
            struct tt_winograd g = shaped(i);
            float *w = drawn(9 * g.C * g.O);

            set_weights(&g, w, turned);
            g.finish.scale = turned ? drawn(g.O) : NULL;
            g.finish.shift = turned ? NULL : drawn(g.O);
            g.finish.add = i % 2 != turned;
            g.finish.clamp = i % 3 == 1;
            g.finish.low = -1;
            g.finish.high = 5.5f;
            run(&g, 2);
            assert_true(worst(&g, w, turned) < 3e-6); // float32's own is 6e-8 a term
        }
}

static void results_do_not_depend_on_threads_or_neighbours(void **state)
{
    (void)state;
    for (int i = 0; i < NSHAPES; i++) {
        struct tt_winograd g = shaped(i);
        float *w = drawn(9 * g.C * g.O), *first;
        int64_t image = g.OH[0] * g.OH[1] * g.O;

        set_weights(&g, w, false);
        run(&g, 1);
        first = g.y;
        for (int threads = 2; threads < 6; threads++) {
            run(&g, threads);
            assert_memory_equal(g.y, first, sizeof(float) * (size_t)(g.images * image));
        }
        g.images = 1; // the last image, alone
        g.x += (shapes[i].images - 1) * g.H[0] * g.H[1] * g.C;
        run(&g, 2);
        assert_memory_equal(g.y, first + (shapes[i].images - 1) * image,
                            sizeof(float) * (size_t)image);
    }
}

/* A graph of one convolution, compiled; its result for x. */
static float *convolved(const struct tt_graph *g, bool exact, const float *x, int64_t n)
{
    struct tt_program_spec spec = {
        .graph = g, .limit = 2, .outputs = g->outputs, .noutputs = 1, .loss = -1, .exact = exact};
    struct tt_program *p;
    struct tt_err err;
    float *y = TT_NEW(&arena, n, float);

    assert_int_equal(tt_program_new(&spec, &p, &err), TT_OK);
    memcpy(tt_program_tensor(p, 0)->x, x, sizeof *x * (size_t)n);
    tt_program_forward(p);
    memcpy(y, tt_program_tensor(p, g->outputs[0])->x, sizeof *y * (size_t)n);
    tt_program_free(p);
    return y;
}

static void a_program_that_must_be_exact_does_without(void **state)
{
    static const int64_t dim[] = {-1, 16, 8, 8}, wdim[] = {16, 16, 3, 3}, pads[] = {1, 1, 1, 1};
    struct tt_attr list[] = {{.name = "pads", .type = TT_AINTS, .n = 4, .ints = pads}};
    struct tt_attrs a = {.arena = &arena, .list = list, .n = 1, .opset = 13, .nin = 2};
    const struct tt_op *op = tt_op_find("Conv");
    int64_t n = 2 * 16 * 8 * 8;
    float *x = drawn(n), *w = drawn(16 * 16 * 9), *exact, *fast;
    void *attr = tt_arena_alloc(&arena, 1, op->attr_size);
    struct tt_graph g;
    struct tt_err err;
    double most = 0;
    int in[2];

    (void)state;
    tt_graph_init(&g, &arena);
    in[0] = tt_graph_input(&g, "x", 4, dim);
    in[1] = tt_graph_weight(&g, "w", 4, wdim, w);
    assert_int_equal(op->read(&a, attr, &err), TT_OK);
    tt_graph_output(&g, tt_graph_node(&g, op, "conv", attr, 2, in, "y"));
    exact = convolved(&g, true, x, n);
    fast = convolved(&g, false, x, n);
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)exact[i] - fast[i]));
    assert_true(most > 0); // they are two algorithms
    assert_true(most < 1e-4);
}

/* The mean of two convolutions of s x, in groups of 32 channels; s [C, 1, 1] is what is learnt. */
static void build_chain(struct tt_graph *g, struct tt_program_spec *spec, int64_t groups)
{
    const int64_t C = 32 * groups, dim[] = {-1, C, 8, 8}, wdim[] = {C, 32, 3, 3},
                  sdim[] = {C, 1, 1};
    static const int64_t pads[] = {1, 1, 1, 1};
    struct tt_attr list[] = {{.name = "pads", .type = TT_AINTS, .n = 4, .ints = pads},
                             {.name = "group", .type = TT_AINT, .i = groups}};
    struct tt_attrs a = {.arena = &arena, .list = list, .n = 2, .opset = 13, .nin = 2};
    struct tt_attrs none = {.arena = &arena, .opset = 13, .nin = 1};
    const struct tt_op *conv = tt_op_find("Conv"), *mean = tt_op_find("ReduceMean");
    void *attr = tt_arena_alloc(&arena, 1, conv->attr_size);
    void *all = tt_arena_alloc(&arena, 1, mean->attr_size);
    static int wanted;
    struct tt_err err;
    int in[2], y;

    assert_int_equal(conv->read(&a, attr, &err), TT_OK);
    assert_int_equal(mean->read(&none, all, &err), TT_OK);
    tt_graph_init(g, &arena);
    in[0] = tt_graph_input(g, "x", 4, dim);
    in[1] = wanted = tt_graph_weight(g, "s", 3, sdim, drawn(C));
    y = tt_graph_node(g, tt_op_find("Mul"), "mul", NULL, 2, in, "sx");
    for (int i = 0; i < 2; i++) {
        in[0] = y;
        in[1] = tt_graph_weight(g, i ? "w2" : "w1", 4, wdim, drawn(C * 32 * 9));
        y = tt_graph_node(g, conv, i ? "c2" : "c1", attr, 2, in, i ? "y2" : "y1");
    }
    tt_graph_output(g, y);
    y = tt_graph_node(g, mean, "mean", all, 1, &y, "loss");
    *spec = (struct tt_program_spec){.graph = g,
                                     .outputs = g->outputs,
                                     .noutputs = 1,
                                     .loss = y,
                                     .wanted = &wanted,
                                     .nwanted = 1};
}

/* A program for so many rows; compiled for one thread, run by several. */
static struct tt_program *chain(struct tt_program_spec *spec, int64_t limit)
{
    struct tt_program *p;
    struct tt_err err;

    spec->limit = limit;
    omp_set_num_threads(1);
    assert_int_equal(tt_program_new(spec, &p, &err), TT_OK);
    omp_set_num_threads(3);
    return p;
}

static void weights_that_are_not_kept_make_the_same_results(void **state)
{
    enum { ROWS = 2, LEN = ROWS * 32 * 8 * 8 };
    static const int64_t limits[] = {ROWS, 16, 64}; // all kept, forward's, none
    struct tt_graph g;
    struct tt_program_spec spec;
    float *x, *y = NULL, *ds = NULL;

    (void)state;
    build_chain(&g, &spec, 1);
    x = drawn(LEN);
    for (int i = 0; i < 3; i++) {
        struct tt_program *p = chain(&spec, limits[i]);
        struct tt_err err;

        assert_int_equal(tt_program_resize(p, ROWS, &err), TT_OK);
        for (int run = 0; run < 2; run++) {
            memcpy(tt_program_tensor(p, 0)->x, x, sizeof(float) * LEN);
            tt_program_forward(p);
            tt_program_backward(p);
            if (!y) {
                y = drawn(LEN);
                ds = drawn(32);
                memcpy(y, tt_program_tensor(p, g.outputs[0])->x, sizeof(float) * LEN);
                memcpy(ds, tt_program_tensor(p, spec.wanted[0])->g, sizeof(float) * 32);
            }
            assert_memory_equal(tt_program_tensor(p, g.outputs[0])->x, y, sizeof(float) * LEN);
            assert_memory_equal(tt_program_tensor(p, spec.wanted[0])->g, ds, sizeof(float) * 32);
        }
        tt_program_free(p);
    }
    omp_set_num_threads(omp_get_num_procs());
}

static double largest_difference(const float *a, const float *b, int64_t n)
{
    double most = 0;

    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i] - b[i]));
    return most;
}

static void groups_are_convolutions_of_their_own(void **state)
{
    enum { GROUPS = 3, ROWS = 2, LEN = ROWS * GROUPS * 32 * 8 * 8 };
    static const int64_t limits[] = {ROWS, 16, 64}; // weights are kept, or not
    struct tt_graph g;
    struct tt_program_spec spec;
    float *x, *y = drawn(LEN), *ds = drawn(GROUPS * 32);

    (void)state;
    build_chain(&g, &spec, GROUPS);
    x = drawn(LEN);
    for (int i = -1; i < 3; i++) { // exact first
        struct tt_program *p;
        struct tt_err err;

        spec.exact = i < 0;
        p = chain(&spec, limits[i < 0 ? 0 : i]);
        assert_int_equal(tt_program_resize(p, ROWS, &err), TT_OK);
        memcpy(tt_program_tensor(p, 0)->x, x, sizeof(float) * LEN);
        tt_program_forward(p);
        tt_program_backward(p);
        if (i < 0) {
            memcpy(y, tt_program_tensor(p, g.outputs[0])->x, sizeof(float) * LEN);
            memcpy(ds, tt_program_tensor(p, spec.wanted[0])->g, sizeof(float) * GROUPS * 32);
        } else {
            double most = largest_difference(tt_program_tensor(p, g.outputs[0])->x, y, LEN);

            assert_true(most > 0);    // another algorithm
            assert_true(most < 1e-3); // of some 100
            assert_true(largest_difference(tt_program_tensor(p, spec.wanted[0])->g, ds,
                                           (int64_t)GROUPS * 32) < 1e-4);
        }
        tt_program_free(p);
    }
    omp_set_num_threads(omp_get_num_procs());
}

static void a_program_for_more_rows_that_keeps_no_weights_is_smaller(void **state)
{
    struct tt_graph g;
    struct tt_program_spec spec;
    size_t bytes[4];

    (void)state;
    build_chain(&g, &spec, 1);
    for (int i = 0; i < 4; i++) {
        struct tt_program *p = chain(&spec, (int64_t[]){15, 16, 63, 64}[i]);

        bytes[i] = tt_program_bytes(p);
        tt_program_free(p);
    }
    assert_true(bytes[1] < bytes[0]); // both backward weights, one of them in scratch at a time
    assert_true(bytes[3] < bytes[2]); // and forward's
    omp_set_num_threads(omp_get_num_procs());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_the_convolution_within_a_bound, begin, end),
        cmocka_unit_test_setup_teardown(results_do_not_depend_on_threads_or_neighbours, begin, end),
        cmocka_unit_test_setup_teardown(a_program_that_must_be_exact_does_without, begin, end),
        cmocka_unit_test_setup_teardown(groups_are_convolutions_of_their_own, begin, end),
        cmocka_unit_test_setup_teardown(weights_that_are_not_kept_make_the_same_results, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_program_for_more_rows_that_keeps_no_weights_is_smaller,
                                        begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
