// SPDX-License-Identifier: Apache-2.0
#include "runtime/model.h"

#include <string.h>

#include "tests/support/check.h"

static float data[64]; // of no value twice, but where a test says so

static int number(void **state)
{
    (void)state;
    for (int i = 0; i < 64; i++)
        data[i] = (float)i;
    return 0;
}

static int weight(struct tt_model *m, const char *name, int ndim, int64_t d0, int64_t d1)
{
    return tt_graph_weight(&m->graph, name, ndim, (int64_t[]){d0, d1}, data);
}

static int node(struct tt_model *m, const char *op, int nin, int a, int b, int c, int d, int e)
{
    int in[TT_MAXIN] = {a, b, c, d, e};

    assert_non_null(tt_op_find(op));
    return tt_graph_node(&m->graph, tt_op_find(op), op, NULL, nin, in, op);
}

/* x -> BatchNormalization -> MatMul -> Add -> Mul -> Gemm, the last with a weight used before. */
static struct tt_model *build(size_t limit)
{
    struct tt_model *m = tt_model_new(limit);
    int x, w[8];

    assert_non_null(m);
    x = tt_graph_input(&m->graph, "x", 2, (int64_t[]){-1, 4});
    w[0] = weight(m, "bn.weight", 1, 4, 0);
    w[1] = weight(m, "bn.bias", 1, 4, 0);
    w[2] = weight(m, "bn.mean", 1, 4, 0);
    w[3] = weight(m, "bn.var", 1, 4, 0);
    x = node(m, "BatchNormalization", 5, x, w[0], w[1], w[2], w[3]);
    w[4] = weight(m, "proj.weight", 2, 4, 4);
    x = node(m, "MatMul", 2, x, w[4], -1, -1, -1);
    w[5] = weight(m, "proj.bias", 1, 4, 0);
    x = node(m, "Add", 2, w[5], x, -1, -1, -1);
    w[6] = weight(m, "scale", 0, 0, 0);
    x = node(m, "Mul", 2, x, w[6], -1, -1, -1);
    x = node(m, "Gemm", 3, x, w[4], w[5], -1, -1);
    w[7] = weight(m, "shift", 1, 4, 0);
    x = node(m, "Add", 2, x, w[7], -1, -1, -1);
    assert_true(tt_graph_output(&m->graph, x));
    return m;
}

static void kinds_and_members_follow_the_first_use(void **state)
{
    static const struct {
        const char *name;
        enum tt_kind kind;
        enum tt_member member;
        int64_t n;
        int node, uses;
    } want[] = {
        {"bn.weight", TT_KIND_BN, TT_MEMBER_WEIGHT, 4, 0, 1},
        {"bn.bias", TT_KIND_BN, TT_MEMBER_BIAS, 4, 0, 1},
        {"bn.mean", TT_KIND_BN, TT_MEMBER_MEAN, 4, 0, 1},
        {"bn.var", TT_KIND_BN, TT_MEMBER_VAR, 4, 0, 1},
        {"proj.weight", TT_KIND_LINEAR, TT_MEMBER_WEIGHT, 16, 1, 2},
        {"proj.bias", TT_KIND_LINEAR, TT_MEMBER_BIAS, 4, 2, 2},
        {"scale", TT_KIND_OTHER, TT_MEMBER_OTHER, 1, 3, 1},
        {"shift", TT_KIND_OTHER, TT_MEMBER_OTHER, 4, 5, 1},
    };
    struct tt_model *m = build(0);
    struct tt_err err;

    (void)state;
    assert_int_equal(tt_model_find_params(m, &err), TT_OK);
    assert_int_equal(m->nparams, (int)(sizeof want / sizeof *want));
    for (int i = 0; i < m->nparams; i++) {
        const struct tt_param *p = &m->params[i];

        assert_string_equal(p->name, want[i].name);
        assert_int_equal(p->kind, want[i].kind);
        assert_int_equal(p->member, want[i].member);
        assert_int_equal(p->n, want[i].n);
        assert_int_equal(p->node, want[i].node);
        assert_int_equal(p->uses, want[i].uses);
        assert_string_equal(m->graph.values[p->value].name, p->name);
    }
    tt_model_free(m);
}

static void running_out_of_memory_is_an_error(void **state)
{
    struct tt_model *m = build(0);
    struct tt_err err;

    (void)state;
    m->arena.limit = 1;
    while (tt_arena_alloc(&m->arena, 64, 1))
        ;
    assert_int_equal(tt_model_find_params(m, &err), TT_ENOMEM);
    assert_int_equal(m->nparams, 0);
    tt_model_free(m);
    tt_model_free(NULL);
}

static void kinds_and_members_have_the_names_of_policies(void **state)
{
    (void)state;
    assert_string_equal(tt_kind_name(TT_KIND_BN), "bn");
    assert_string_equal(tt_kind_name(TT_KIND_OTHER), "other");
    assert_string_equal(tt_kind_name((enum tt_kind)77), "unknown");
    assert_string_equal(tt_member_name(TT_MEMBER_VAR), "var");
    assert_string_equal(tt_member_name((enum tt_member)77), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_and_members_follow_the_first_use),
        cmocka_unit_test(running_out_of_memory_is_an_error),
        cmocka_unit_test(kinds_and_members_have_the_names_of_policies),
    };

    return cmocka_run_group_tests(tests, number, NULL);
}
