// SPDX-License-Identifier: Apache-2.0
#include "runtime/program.h"

#include <math.h>
#include <string.h>

#include "daemon/file.h"
#include "runtime/model.h"
#include "tests/support/check.h"

#define MODEL "models/fashion_resnet.onnx"

static struct tt_arena arena;
static struct tt_model *model;
static struct tt_graph graph;
static int loss, weights[64], nweights;

static int load(void **state)
{
    struct tt_err err;
    char *data;
    size_t n;
    int z;

    (void)state;
    tt_arena_init(&arena, 0);
    if (tt_file_read(MODEL, 1 << 30, &arena, &data, &n, &err) != TT_OK ||
        tt_model_read_onnx(data, n, 0, &model, &err) != TT_OK ||
        tt_graph_extend(&graph, &model->graph, &arena, &err) != TT_OK) {
        print_error("%s\n", err.msg);
        return -1;
    }
    z = graph.outputs[0];
    loss = tt_graph_node(&graph, tt_op_find("tt.Entropy"), "entropy", NULL, 1, &z, "entropy");
    for (int i = 0; i < model->nparams && nweights < 64; i++)
        if (model->params[i].kind == TT_KIND_BN && !tt_member_is_stat(model->params[i].member))
            weights[nweights++] = model->params[i].value;
    return 0;
}

static int unload(void **state)
{
    (void)state;
    tt_model_free(model);
    tt_arena_release(&arena);
    return 0;
}

static struct tt_program *compile_beside(int64_t limit, bool grad, struct tt_program *beside)
{
    struct tt_program_spec spec = {.graph = &graph,
                                   .limit = limit,
                                   .outputs = graph.outputs,
                                   .noutputs = 1,
                                   .loss = grad ? loss : -1,
                                   .wanted = weights,
                                   .nwanted = grad ? nweights : 0,
                                   .variable = weights,
                                   .nvariable = nweights,
                                   .beside = beside};
    struct tt_program *p;
    struct tt_err err;

    if (tt_program_new(&spec, &p, &err) != TT_OK)
        fail_msg("%s", err.msg);
    return p;
}

static struct tt_program *compile(int64_t limit, bool grad)
{
    return compile_beside(limit, grad, NULL);
}

static int input_of(const struct tt_graph *g)
{
    int i = 0;

    while (g->values[i].kind != TT_INPUT)
        i++;
    return i;
}

static void run(struct tt_program *p, int64_t n, bool batch_stats, float *logits)
{
    struct tt_tensor *x = tt_program_tensor(p, input_of(&graph));
    struct tt_err err;
    int count;
    struct tt_norm *norm = tt_program_norms(p, &count);

    assert_int_equal(tt_program_resize(p, n, &err), TT_OK);
    for (int64_t i = 0; i < tt_len(x); i++)
        x->x[i] = (float)(i * 7919 % 2001) / 1000 - 1;
    for (int i = 0; batch_stats && i < count; i++) {
        norm[i].prior = 0;
        norm[i].batch = 1;
        norm[i].through = true;
    }
    tt_program_forward(p);
    memcpy(logits, tt_program_tensor(p, graph.outputs[0])->x, sizeof *logits * (size_t)(n * 10));
}

static void a_smaller_batch_gives_what_a_program_of_its_size_gives(void **state)
{
    struct tt_program *large = compile(9, true), *small = compile(4, true);
    float a[90], b[40];

    (void)state;
    run(large, 9, true, a);
    run(large, 4, true, a);
    run(small, 4, true, b);
    assert_memory_equal(a, b, sizeof b);
    tt_program_backward(large);
    tt_program_backward(small);
    for (int i = 0; i < nweights; i++) {
        const struct tt_tensor *g = tt_program_tensor(large, weights[i]);

        assert_memory_equal(g->g, tt_program_tensor(small, weights[i])->g,
                            sizeof(float) * (size_t)tt_len(g));
    }
    tt_program_free(large);
    tt_program_free(small);
}

static void rows_do_not_see_each_other_under_source_statistics(void **state)
{
    struct tt_program *p = compile(8, false);
    float many[80], one[10];

    (void)state;
    run(p, 8, false, many);
    run(p, 1, false, one);
    for (int i = 0; i < 10; i++)
        assert_close(one[i], many[i], 1e-5, 1e-5);
    tt_program_free(p);
}

static void memory_is_shared_without_changing_an_answer(void **state)
{
    struct tt_program *infer = compile(8, false), *grad = compile(8, true);
    float a[80], b[80];

    (void)state;
    run(infer, 8, true, a);
    run(grad, 8, true, b);
    assert_memory_equal(a, b, sizeof a);
    assert_true(tt_program_bytes(infer) < tt_program_bytes(grad));
    tt_program_free(infer);
    tt_program_free(grad);
}

static void a_program_beside_another_shares_memory_and_answers_as_alone(void **state)
{
    struct tt_program *alone = compile(8, false), *learn = compile(8, true);
    struct tt_program *beside = compile_beside(8, false, learn);
    float want[2][80], got[80], *g = NULL;
    const struct tt_tensor *w;

    (void)state;
    run(alone, 8, true, want[0]);
    run(learn, 8, true, want[1]);
    tt_program_backward(learn);
    w = tt_program_tensor(learn, weights[0]);
    g = TT_NEW(&arena, tt_len(w), float);
    memcpy(g, w->g, sizeof *g * (size_t)tt_len(w));
    for (int i = 0; i < 2; i++) { // by turns, and nothing of one run is needed by the next
        run(beside, 8, true, got);
        assert_memory_equal(got, want[0], sizeof got);
        run(learn, 8, true, got);
        assert_memory_equal(got, want[1], sizeof got);
        tt_program_backward(learn);
        assert_memory_equal(w->g, g, sizeof *g * (size_t)tt_len(w));
    }
    assert_true(4 * tt_program_bytes(beside) < tt_program_bytes(alone));
    tt_program_free(beside);
    tt_program_free(learn);
    tt_program_free(alone);
}

/* Through the whole network, with memory shared and gradients in place. */
static void gradients_of_the_whole_network_match_differences(void **state)
{
    struct tt_program *p = compile(6, true);
    float logits[60], grads[64];

    (void)state;
    run(p, 6, true, logits);
    tt_program_backward(p);
    for (int i = 0; i < nweights; i++) // the next forward run may use their memory
        grads[i] = tt_program_tensor(p, weights[i])->g[1];
    for (int i = 0; i < nweights; i++) {
        const struct tt_value *v = &graph.values[weights[i]];
        struct tt_tensor *t = tt_program_tensor(p, weights[i]);
        float *own = TT_NEW(&arena, tt_len(t), float); // bound until the program ends
        double up, down;

        memcpy(own, v->data, sizeof(float) * (size_t)tt_len(t));
        tt_program_bind(p, weights[i], own, NULL);
        own[1] = v->data[1] + 5e-4f;
        run(p, 6, true, logits);
        up = *tt_program_tensor(p, loss)->x;
        own[1] = v->data[1] - 5e-4f;
        run(p, 6, true, logits);
        down = *tt_program_tensor(p, loss)->x;
        own[1] = v->data[1];
        assert_close(grads[i], (up - down) / 1e-3, 3e-2, 3e-3);
    }
    tt_program_free(p);
}

struct seen {
    int runs[2], layers[2], nodes[2]; // forward, backward
    double flops[2];
};

static void see(void *ctx, const struct tt_node *node, bool backward)
{
    struct seen *s = (struct seen *)ctx;

    if (!node) {
        s->runs[backward]++;
        return;
    }
    s->nodes[backward]++;
    s->layers[backward] += !strcmp(node->op->name, "tt.Layer");
    s->flops[backward] += node->op->flops ? node->op->flops(node, backward) : 0;
}

/* The demo's model: gradients go through all products but the first convolution, whose input wants
 * none, and through none to a weight. */
static void who_watches_sees_every_node_and_what_it_computes(void **state)
{
    const double first = 2.0 * 28 * 28 * 16 * 9;
    struct tt_program *p = compile(2, true);
    struct seen one = {0}, two = {0};
    float a[20], b[20];

    (void)state;
    run(p, 2, true, a);
    tt_program_watch(p, see, &two);
    run(p, 2, true, b);
    tt_program_backward(p);
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal(two.runs[0], 1);
    assert_int_equal(two.runs[1], 1);
    assert_int_equal(two.layers[0], 9);
    assert_int_equal(two.layers[1], 9);
    tt_program_watch(p, see, &one);
    run(p, 1, true, b);
    tt_program_backward(p);
    assert_int_equal(one.nodes[0], two.nodes[0]);
    assert_true(one.flops[0] > 2e6);
    assert_close(two.flops[0], 2 * one.flops[0], 0, 1);
    assert_close(two.flops[0] - two.flops[1], 2 * first, 0, 1);
    tt_program_watch(p, NULL, NULL);
    run(p, 1, true, b);
    assert_int_equal(one.runs[0], 1);
    tt_program_free(p);
}

static void too_many_rows_are_an_error_that_names_the_limit(void **state)
{
    struct tt_program *p = compile(4, false);
    struct tt_err err;

    (void)state;
    assert_int_equal(tt_program_resize(p, 5, &err), TT_ERANGE);
    assert_string_equal(err.msg, "a batch of 5 rows, want 1 to 4");
    assert_int_equal(tt_program_resize(p, 0, &err), TT_ERANGE);
    tt_program_free(p);
}

static void an_operator_without_gradient_is_named_when_one_is_needed(void **state)
{
    struct tt_op blind = *tt_op_find("Relu");
    struct tt_graph g;
    struct tt_program *p;
    struct tt_err err;
    int64_t dim[2] = {-1, 3}, wdim[1] = {3};
    static const float w[3] = {1, 2, 3};
    int in[2], out;
    struct tt_program_spec spec = {.graph = &g, .limit = 2, .outputs = &out, .noutputs = 1};

    (void)state;
    blind.backward = NULL;
    tt_graph_init(&g, &arena);
    in[0] = tt_graph_input(&g, "x", 2, dim);
    in[1] = tt_graph_weight(&g, "w", 1, wdim, w);
    out = tt_graph_node(&g, tt_op_find("Mul"), "scale", NULL, 2, in, "y");
    out = tt_graph_node(&g, &blind, "step", NULL, 1, &out, "z");
    spec.loss = tt_graph_node(&g, tt_op_find("tt.Entropy"), "entropy", NULL, 1, &out, "h");
    spec.wanted = &in[1];
    spec.nwanted = 1;
    assert_int_equal(tt_program_new(&spec, &p, &err), TT_EUNSUPPORTED);
    assert_contains(err.msg, "node 'step': operator 'Relu' passes no gradient back");
}

/* A node without attributes of operands that are given. */
static int apply(struct tt_graph *g, const char *op, int nin, const int *in)
{
    const struct tt_op *o = tt_op_find(op);
    struct tt_attrs attrs = {.arena = &arena, .opset = 17, .nin = nin, .nresults = 1};
    void *attr = tt_arena_alloc(&arena, 1, o->attr_size + 1);
    struct tt_err err;

    if (o->read)
        assert_int_equal(o->read(&attrs, attr, &err), TT_OK);
    return tt_graph_node(g, o, op, attr, nin, in, op);
}

/* A sum of two convolutions' results, of which the first gains a dimension by it. */
static struct tt_program *widened_sum(struct tt_graph *g, int x[2], int *weight, int *sum, int *h)
{
    static const int64_t dim[2][4] = {{2, 3, 4}, {1, 2, 3, 4}},
                         wdim[2][4] = {{3, 3, 1}, {2, 2, 1, 1}};
    static const float eye[2][9] = {{1, 0, 0, 0, 1, 0, 0, 0, 1}, {1, 0, 0, 1}};
    struct tt_program_spec spec = {.graph = g,
                                   .limit = 1,
                                   .outputs = sum,
                                   .noutputs = 1,
                                   .wanted = weight,
                                   .nwanted = 1,
                                   .variable = weight,
                                   .nvariable = 1};
    struct tt_program *p;
    struct tt_err err;
    int convs[2], flat;

    tt_graph_init(g, &arena);
    for (int i = 0; i < 2; i++) {
        int in[2];

        x[i] = in[0] = tt_graph_input(g, "x", 3 + i, dim[i]);
        in[1] = tt_graph_weight(g, "w", 3 + i, wdim[i], eye[i]);
        convs[i] = apply(g, "Conv", 2, in);
        *weight = i ? *weight : in[1];
    }
    *sum = apply(g, "Add", 2, convs);
    flat = apply(g, "Flatten", 1, sum);
    *h = spec.loss = apply(g, "tt.Entropy", 1, &flat);
    if (tt_program_new(&spec, &p, &err) != TT_OK)
        fail_msg("%s", err.msg);
    return p;
}

/* Channels last, both have as many elements and lie in different orders: neither values nor
 * gradients may share memory. */
static void what_gains_a_dimension_is_not_overwritten_in_another_order(void **state)
{
    struct tt_graph g;
    struct tt_tensor *t[2];
    int x[2], weight, sum, h;
    struct tt_program *p = widened_sum(&g, x, &weight, &sum, &h);
    float own[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1}, dw[9], unused[9];

    (void)state;
    for (int i = 0; i < 2; i++) {
        t[i] = tt_program_tensor(p, x[i]);
        for (int k = 0; k < 24; k++)
            t[i]->x[k] = (float)(i ? k * k % 7 : k * 5 % 11) / 8;
    }
    tt_program_bind(p, weight, own, dw);
    tt_program_forward(p);
    for (int k = 0; k < 24; k++)
        assert_close(tt_program_tensor(p, sum)->x[k], t[0]->x[k] + t[1]->x[k], 0, 1e-6);
    tt_program_backward(p);
    tt_program_bind(p, weight, own, unused);
    for (int k = 0; k < 9; k++) {
        double at[2];

        for (int i = 0; i < 2; i++) {
            own[k] += i ? -0.02f : 0.01f;
            tt_program_forward(p);
            at[i] = (double)*tt_program_tensor(p, h)->x;
        }
        own[k] += 0.01f;
        assert_close(dw[k], (at[0] - at[1]) / 0.02, 1e-2, 1e-4);
    }
    tt_program_free(p);
}

static int transposed(struct tt_graph *g, const int64_t *perm, int in)
{
    const struct tt_op *op = tt_op_find("Transpose");
    struct tt_attr list = {.name = "perm", .type = TT_AINTS, .n = 4, .ints = perm};
    struct tt_attrs attrs = {.arena = &arena, .opset = 17, .nin = 1, .n = 1, .list = &list};
    void *attr = tt_arena_alloc(&arena, 1, op->attr_size);
    struct tt_err err;

    assert_int_equal(op->read(&attrs, attr, &err), TT_OK);
    return tt_graph_node(g, op, "turn", attr, 1, &in, "turn");
}

static void count_moves(void *ctx, const struct tt_node *node, bool backward)
{
    int *moves = (int *)ctx;

    if (node)
        moves[backward] +=
            !strcmp(node->op->name, "Transpose") || !strcmp(node->op->name, "tt.Layout");
}

/* x + scale x by channels, which are made the last dimension and again the second, as ConvNeXt's
 * blocks do, between convolutions that work channels last; `to` and back are the permutations. */
static struct tt_program *scaled_channels(struct tt_graph *g, const int64_t *to,
                                          const int64_t *back, int *x, int *scale, int *y, int *h)
{
    static const int64_t dim[] = {1, 3, 4, 5}, kernel[] = {3, 3, 1, 1}, channels[] = {3};
    static const float eye[] = {1, 0, 0, 0, 1, 0, 0, 0, 1}, one[] = {1, 1, 1};
    struct tt_program_spec spec = {.graph = g,
                                   .limit = 1,
                                   .outputs = y,
                                   .noutputs = 1,
                                   .wanted = scale,
                                   .nwanted = 1,
                                   .variable = scale,
                                   .nvariable = 1};
    struct tt_program *p;
    struct tt_err err;
    int in[2], pixels, sum[2];

    tt_graph_init(g, &arena);
    *x = in[0] = tt_graph_input(g, "x", 4, dim);
    in[1] = tt_graph_weight(g, "w", 4, kernel, eye);
    sum[0] = apply(g, "Conv", 2, in);
    pixels = transposed(g, to, sum[0]);
    *scale = tt_graph_weight(g, "scale", 1, channels, one);
    in[0] = apply(g, "Mul", 2, (int[]){pixels, *scale});
    sum[1] = transposed(g, back, in[0]);
    in[0] = apply(g, "Add", 2, sum);
    *y = apply(g, "Conv", 2, in);
    in[0] = apply(g, "Flatten", 1, y);
    *h = spec.loss = apply(g, "tt.Entropy", 1, in);
    if (tt_program_new(&spec, &p, &err) != TT_OK)
        fail_msg("%s", err.msg);
    return p;
}

static void a_transpose_to_the_order_in_memory_moves_nothing(void **state)
{
    static const struct {
        int64_t to[4], back[4];
        int moves[2]; // operand and result are row-major: two, and one back
    } cases[] = {{{0, 2, 3, 1}, {0, 3, 1, 2}, {2, 1}}, {{0, 3, 2, 1}, {0, 3, 2, 1}, {4, 2}}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct tt_graph g;
        int x, scale, y, h, moves[2] = {0};
        struct tt_program *p = scaled_channels(&g, cases[i].to, cases[i].back, &x, &scale, &y, &h);
        float own[3] = {0.5f, -2, 3}, d[3], unused[3];

        for (int k = 0; k < 60; k++)
            tt_program_tensor(p, x)->x[k] = (float)(k * k % 17) / 16;
        tt_program_bind(p, scale, own, d);
        tt_program_watch(p, count_moves, moves);
        tt_program_forward(p);
        for (int k = 0; k < 60; k++)
            assert_close(tt_program_tensor(p, y)->x[k],
                         (float)(k * k % 17) / 16 * (1 + own[k / 20]), 0, 1e-6);
        tt_program_backward(p);

        assert_true(moves[0] == cases[i].moves[0] && moves[1] == cases[i].moves[1]);
        tt_program_watch(p, NULL, NULL);
        tt_program_bind(p, scale, own, unused);
        for (int k = 0; k < 3; k++) {
            double at[2];

            for (int side = 0; side < 2; side++) {
                own[k] += side ? -0.02f : 0.01f;
                tt_program_forward(p);
                at[side] = (double)*tt_program_tensor(p, h)->x;
            }
            own[k] += 0.01f;
            assert_close(d[k], (at[0] - at[1]) / 0.02, 1e-2, 1e-4);
        }
        tt_program_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_smaller_batch_gives_what_a_program_of_its_size_gives),
        cmocka_unit_test(rows_do_not_see_each_other_under_source_statistics),
        cmocka_unit_test(memory_is_shared_without_changing_an_answer),
        cmocka_unit_test(a_program_beside_another_shares_memory_and_answers_as_alone),
        cmocka_unit_test(gradients_of_the_whole_network_match_differences),
        cmocka_unit_test(who_watches_sees_every_node_and_what_it_computes),
        cmocka_unit_test(too_many_rows_are_an_error_that_names_the_limit),
        cmocka_unit_test(an_operator_without_gradient_is_named_when_one_is_needed),
        cmocka_unit_test(what_gains_a_dimension_is_not_overwritten_in_another_order),
        cmocka_unit_test(a_transpose_to_the_order_in_memory_moves_nothing),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
