// SPDX-License-Identifier: Apache-2.0
/* Operators on tensors that are large enough for several threads. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "runtime/program.h"
#include "tests/support/check.h"

#define LEN (3 * 70 * 40 * 52)

static const int64_t dim[] = {3, 70, 40, 52}, k3[] = {3, 3}, k1[] = {1}, k2[] = {0, 2}, k4[] = {3};
static struct tt_affine one_number[] = {{1, 0}};
static const struct tt_ints number = {1, {1}, 1, one_number};

struct subject {
    const char *op;
    struct tt_attr attr;
    const struct tt_ints *second; // operand 1
    unsigned axes;                // bits; of a reduction
};

#define LIST(name_, v)                                                             \
    {                                                                              \
        .name = name_, .type = TT_AINTS, .n = sizeof(v) / sizeof *(v), .ints = (v) \
    }

static const struct subject subjects[] = {
    {"ReduceMax", {0}, NULL, 15},
    {"ReduceMax", LIST("axes", k1), NULL, 2},
    {"ReduceMax", LIST("axes", k2), NULL, 5},
    {"ReduceMax", LIST("axes", k4), NULL, 8},
    {"ReduceMin", LIST("axes", k2), NULL, 5},
    {"ReduceProd", {0}, NULL, 15},
    {"ReduceProd", LIST("axes", k1), NULL, 2},
    {"ReduceProd", LIST("axes", k4), NULL, 8},
    {"CumSum", {0}, &number, 0},
    {"Trilu", {0}, &number, 0},
    {"TopK", {.name = "k", .type = TT_AINT, .i = 5}, NULL, 0},
    {"MaxPool", LIST("kernel_shape", k3), NULL, 0},
    {"AveragePool", LIST("kernel_shape", k3), NULL, 0},
    {"LpPool", LIST("kernel_shape", k3), NULL, 0},
    {"GlobalMaxPool", {0}, NULL, 0},
    {"GlobalLpPool", {0}, NULL, 0},
};

/* A program of the operator, in the middle: x and what follows are channels last or not. */
struct bench {
    struct tt_arena arena;
    struct tt_graph g;
    struct tt_program *p;
    int x, y;
};

static int apply(struct bench *b, const struct subject *s, const char *op, int from)
{
    const struct tt_op *o = tt_op_find(op);
    struct tt_attr list = s->attr;
    struct tt_attrs attrs = {.arena = &b->arena,
                             .n = s->attr.name && !strcmp(op, s->op),
                             .list = &list,
                             .opset = 13,
                             .nin = 1 + (s->second && !strcmp(op, s->op)),
                             .given = {true},
                             .nresults = 1};
    void *attr = tt_arena_alloc(&b->arena, 1, o->attr_size + 1);
    int in[2] = {from, -1};
    struct tt_err err;

    if (attrs.nin == 2)
        attrs.ints[1] = s->second;
    if (o->read && o->read(&attrs, attr, &err))
        fail_msg("%s: %s", op, err.msg);
    return tt_graph_node(&b->g, o, op, attr, attrs.nin, in, op);
}

static void begin(struct bench *b, const struct subject *s)
{
    struct tt_program_spec spec = {
        .graph = &b->g, .limit = 1, .outputs = &b->y, .noutputs = 1, .wanted = &b->x, .nwanted = 1};
    struct tt_err err;
    struct tt_tensor *x;

    tt_arena_init(&b->arena, 0);
    tt_graph_init(&b->g, &b->arena);
    b->x = tt_graph_input(&b->g, "x", 4, dim);
    b->y = apply(b, s, s->op, b->x);
    spec.loss = apply(b, s, "ReduceSumSquare", b->y);
    if (tt_program_new(&spec, &b->p, &err))
        fail_msg("%s: %s", s->op, err.msg);
    x = tt_program_tensor(b->p, b->x);
    for (int64_t i = 0; i < LEN; i++) // near 1, or a product has no digits left
        x->x[i] = 1 + (float)(i * 7919 % 100003 - 50001) / 1e7F;
}

static void end(struct bench *b)
{
    tt_program_free(b->p);
    tt_arena_release(&b->arena);
}

static void one_thread_and_three_give_the_same_bits(void **state)
{
    static float y[LEN], g[LEN];

    (void)state;
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        const struct tt_tensor *t;
        struct bench b;

        omp_set_num_threads(3);
        begin(&b, &subjects[i]);
        tt_program_forward(b.p);
        tt_program_backward(b.p);
        t = tt_program_tensor(b.p, b.y);
        assert_true(tt_len(t) <= LEN);
        memcpy(y, t->x, sizeof *y * (size_t)tt_len(t));
        memcpy(g, tt_program_tensor(b.p, b.x)->g, sizeof g);
        omp_set_num_threads(1);
        tt_program_forward(b.p);
        tt_program_backward(b.p);
        if (memcmp(y, t->x, sizeof *y * (size_t)tt_len(t)) != 0 ||
            memcmp(g, tt_program_tensor(b.p, b.x)->g, sizeof g) != 0)
            fail_msg("%s (%zu) differs", subjects[i].op, i);
        end(&b);
    }
}

/* By the definition, element by element. */
static void reductions_of_large_tensors_are_what_they_are_called(void **state)
{
    static double want[LEN];

    (void)state;
    for (size_t i = 0; subjects[i].axes; i++) {
        bool product = !strcmp(subjects[i].op, "ReduceProd");
        double sign = !strcmp(subjects[i].op, "ReduceMin") ? -1 : 1;
        struct bench b;
        const float *x, *y;
        int64_t n;

        begin(&b, &subjects[i]);
        omp_set_num_threads(2);
        tt_program_forward(b.p);
        x = tt_program_tensor(b.p, b.x)->x;
        y = tt_program_tensor(b.p, b.y)->x;
        n = tt_len(tt_program_tensor(b.p, b.y));
        for (int64_t k = 0; k < n; k++)
            want[k] = product ? 1 : (double)-INFINITY;
        for (int64_t e = 0; e < LEN; e++) {
            int64_t at = 0, stride = 1, rest = e;

            for (int d = 3; d >= 0; d--) {
                int64_t index = rest % dim[d];

                rest /= dim[d];
                at += subjects[i].axes >> d & 1 ? 0 : index * stride;
                stride *= subjects[i].axes >> d & 1 ? 1 : dim[d];
            }
            want[at] = product ? want[at] * (double)x[e] : fmax(want[at], sign * (double)x[e]);
        }
        for (int64_t k = 0; k < n; k++)
            assert_close(y[k], product ? want[k] : sign * want[k], product ? 1e-4 : 0, 0);
        end(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_and_three_give_the_same_bits),
        cmocka_unit_test(reductions_of_large_tensors_are_what_they_are_called),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
