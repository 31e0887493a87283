// SPDX-License-Identifier: Apache-2.0
#include "runtime/graph.h"

#include <stdio.h>

#include "tests/support/check.h"

static const struct tt_op fake = {.name = "Fake", .min_in = 1, .max_in = 2};

static void nodes_name_their_operands(void **state)
{
    static const float w[3] = {1, 2, 3};
    struct tt_arena arena;
    struct tt_graph g;
    int x, v, y, in[2];

    (void)state;
    tt_arena_init(&arena, 0);
    tt_graph_init(&g, &arena);
    x = tt_graph_input(&g, "x", 2, (int64_t[]){-1, 3});
    v = tt_graph_weight(&g, "w", 1, (int64_t[]){3}, w);
    in[0] = x;
    in[1] = v;
    y = tt_graph_node(&g, &fake, "first", NULL, 2, in, "y");
    assert_true(tt_graph_output(&g, y));

    assert_int_equal(g.nvalues, 3);
    assert_int_equal(g.values[x].kind, TT_INPUT);
    assert_int_equal(g.values[x].dim[0], -1);
    assert_int_equal(g.values[v].kind, TT_WEIGHT);
    assert_ptr_equal(g.values[v].data, w);
    assert_int_equal(g.values[y].kind, TT_RESULT);
    assert_int_equal(g.values[y].node, 0);
    assert_int_equal(g.nodes[0].out, y);
    assert_int_equal(g.nodes[0].in[1], v);
    assert_int_equal(g.nodes[0].in[2], -1);
    assert_int_equal(g.outputs[0], y);
    assert_int_equal(tt_graph_find(&g, "w"), v);
    assert_int_equal(tt_graph_find(&g, "none"), -1);
    tt_arena_release(&arena);
}

static void a_graph_grows(void **state)
{
    struct tt_arena arena;
    struct tt_graph g;
    char names[300][8];
    int last;

    (void)state;
    tt_arena_init(&arena, 0);
    tt_graph_init(&g, &arena);
    last = tt_graph_input(&g, "x", 1, (int64_t[]){-1});
    for (int i = 0; i < 300; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        last = tt_graph_node(&g, &fake, names[i], NULL, 1, &last, names[i]);
        assert_int_equal(last, i + 1);
        assert_true(tt_graph_output(&g, last));
    }
    for (int i = 0; i < 300; i++) {
        assert_string_equal(g.nodes[i].name, names[i]);
        assert_int_equal(g.nodes[i].in[0], i);
        assert_int_equal(g.outputs[i], i + 1);
    }
    tt_arena_release(&arena);
}

static void extending_leaves_the_base_alone(void **state)
{
    struct tt_arena first, second;
    struct tt_graph base, more;
    struct tt_err err;
    int x, y;

    (void)state;
    tt_arena_init(&first, 0);
    tt_arena_init(&second, 0);
    tt_graph_init(&base, &first);
    x = tt_graph_input(&base, "x", 1, (int64_t[]){-1});
    y = tt_graph_node(&base, &fake, "one", NULL, 1, &x, "y");
    assert_true(tt_graph_output(&base, y));
    assert_int_equal(tt_graph_extend(&more, &base, &second, &err), TT_OK);
    for (int i = 0; i < 40; i++)
        y = tt_graph_node(&more, &fake, "two", NULL, 1, &y, "z");
    more.values[x].name = "changed";
    assert_int_equal(base.nnodes, 1);
    assert_int_equal(base.nvalues, 2);
    assert_string_equal(base.values[x].name, "x");
    assert_int_equal(more.nnodes, 41);
    assert_string_equal(more.nodes[0].name, "one");
    tt_arena_release(&second);
    assert_string_equal(base.nodes[0].name, "one");
    tt_arena_release(&first);
}

/* Every allocation fails once; what was built before it stays whole. */
static void running_out_of_memory_keeps_what_there_is(void **state)
{
    (void)state;
    for (size_t limit = 64; limit < (64 << 10); limit += 1024) {
        struct tt_arena arena, second;
        struct tt_graph g, more;
        struct tt_err err;
        int v = 0, made = 0;

        tt_arena_init(&arena, limit);
        tt_arena_init(&second, limit);
        tt_graph_init(&g, &arena);
        if (tt_graph_input(&g, "x", 1, (int64_t[]){-1}) == 0)
            while (made < 100 && v >= 0) {
                v = tt_graph_node(&g, &fake, "n", NULL, 1, &v, "y");
                made += v >= 0;
            }
        assert_int_equal(g.nnodes, made);
        assert_int_equal(g.nvalues, made ? made + 1 : g.nvalues);
        for (int i = 0; i < made; i++)
            assert_int_equal(g.nodes[i].in[0], i);
        if (tt_graph_extend(&more, &g, &second, &err) != TT_OK)
            assert_int_equal(err.code, TT_ENOMEM);
        else
            assert_int_equal(more.nnodes, made);
        tt_arena_release(&arena);
        tt_arena_release(&second);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_name_their_operands),
        cmocka_unit_test(a_graph_grows),
        cmocka_unit_test(extending_leaves_the_base_alone),
        cmocka_unit_test(running_out_of_memory_keeps_what_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
