// SPDX-License-Identifier: Apache-2.0
/*
 * What encoders are made of (tests/golden/make_onnx.py): rows that nobody asks for are not made,
 * attention is one node, and what is answered and learnt is the same as by a model whose parts
 * cannot be taken together, because one is an output.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/model.h"
#include "runtime/npy.h"
#include "runtime/program.h"
#include "tests/support/check.h"

#define GOLDEN "tests/golden/onnx/"
enum { BATCH = 3, MOST = 32 };

static struct tt_model *load(const char *name)
{
    struct tt_model *m;
    struct tt_err err;
    char path[256], *data;
    size_t n;

    snprintf(path, sizeof path, GOLDEN "%s.onnx", name);
    data = read_file(path, &n);
    if (tt_model_read_onnx(data, n, 0, &m, &err) != TT_OK)
        fail_msg("%s: %s", name, err.msg);
    free(data);
    return m;
}

static void feed(struct tt_program *p)
{
    struct tt_tensor *x = tt_program_tensor(p, 0);

    for (int64_t i = 0; i < tt_len(x); i++)
        x->x[i] = (float)sin(0.37 * (double)i);
}

/* Values of that many rows that nodes of the operator make. */
static int made(struct tt_program *p, const struct tt_model *m, const char *op, int64_t rows)
{
    int n = 0;

    for (int i = 0; i < m->graph.nnodes; i++) {
        const struct tt_tensor *t = tt_program_tensor(p, m->graph.nodes[i].out);

        n += t && !strcmp(m->graph.nodes[i].op->name, op) && t->ndim > 2 && t->dim[1] == rows;
    }
    return n;
}

static void assert_golden(const struct tt_tensor *y, const char *name)
{
    struct tt_npy want;
    struct tt_err err;
    char path[256], *data;
    size_t n;

    snprintf(path, sizeof path, GOLDEN "%s.%d.npy", name, BATCH);
    data = read_file(path, &n);
    assert_int_equal(tt_npy_read(data, n, &want, &err), TT_OK);
    assert_int_equal(tt_len(y), want.n);
    for (int64_t i = 0; i < want.n; i++) {
        float v;

        memcpy(&v, (const char *)want.data + 4 * i, sizeof v);
        assert_close(y->x[i], v, 1e-5, 1e-6);
    }
    free(data);
}

static void rows_that_nobody_asks_for_are_not_made(void **state)
{
    static const struct {
        const char *name;
        int64_t rows;                        // that are asked for
        int linear, attention, norms, slice; // how many nodes make only them
    } cases[] = {
        /* queries and up; down is with its sum; two of three norms */
        {"class_token", 1, 2, 1, 2, 2},        {"class_tokens", 2, 3, 1, 2, 2}, // and the head
        {"class_token_causal", 1, 2, 1, 2, 2}, // and its mask, of two dimensions
        {"class_token_last", 1, 0, 0, 0, 0},   {"class_token_all", 1, 0, 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_model *m = load(cases[i].name);
        struct tt_program_spec spec = {.graph = &m->graph,
                                       .limit = BATCH,
                                       .outputs = m->graph.outputs,
                                       .noutputs = 1,
                                       .loss = -1};
        struct tt_program *p;
        struct tt_err err;

        if (tt_program_new(&spec, &p, &err) != TT_OK)
            fail_msg("%s: %s", cases[i].name, err.msg);
        feed(p);
        tt_program_forward(p);
        assert_golden(tt_program_tensor(p, m->graph.outputs[0]), cases[i].name);
        assert_int_equal(made(p, m, "tt.Linear", cases[i].rows), cases[i].linear);
        assert_int_equal(made(p, m, "tt.Attention", cases[i].rows), cases[i].attention);
        assert_int_equal(made(p, m, "LayerNormalization", cases[i].rows), cases[i].norms);
        assert_int_equal(made(p, m, "Slice", cases[i].rows), cases[i].slice);
        assert_int_equal(made(p, m, "tt.LinearSum", cases[i].rows), cases[i].slice / 2);
        tt_program_free(p);
        tt_model_free(m);
    }
}

struct learnt {
    struct tt_arena arena;
    struct tt_model *m;
    struct tt_graph g; // the model's and its loss
    struct tt_program *p;
};

/* The gradients of the answers' entropy to all that is learnt. */
static void learn(struct learnt *l, const char *name)
{
    struct tt_program_spec spec = {.graph = &l->g, .limit = BATCH, .noutputs = 1, .exact = true};
    int wanted[MOST];
    struct tt_err err;

    l->m = load(name);
    tt_arena_init(&l->arena, 0);
    assert_int_equal(tt_graph_extend(&l->g, &l->m->graph, &l->arena, &err), TT_OK);
    spec.outputs = l->g.outputs;
    spec.loss =
        tt_graph_node(&l->g, tt_op_find("tt.Entropy"), "entropy", NULL, 1, l->g.outputs, "entropy");
    assert_true(l->m->nparams <= MOST);
    for (int i = 0; i < l->m->nparams; i++)
        if (!tt_member_is_stat(l->m->params[i].member) &&
            (l->m->params[i].kind != TT_KIND_OTHER || !strcmp(l->m->params[i].name, "scale")))
            wanted[spec.nwanted++] = l->m->params[i].value;
    spec.wanted = wanted;
    if (tt_program_new(&spec, &l->p, &err) != TT_OK)
        fail_msg("%s: %s", name, err.msg);
    feed(l->p);
    tt_program_forward(l->p);
    tt_program_backward(l->p);
}

static void forget(struct learnt *l)
{
    tt_program_free(l->p);
    tt_model_free(l->m);
    tt_arena_release(&l->arena);
}

/* How many parameters had the same gradients in both. */
static int compare(const struct learnt *one, const struct learnt *other)
{
    int ret = 0;

    for (int i = 0; i < one->m->nparams; i++) {
        const struct tt_param *a = &one->m->params[i];
        const struct tt_tensor *x = tt_program_tensor(one->p, a->value), *y;
        float most = 0;

        if (!x || !x->g)
            continue;
        y = tt_program_tensor(other->p, tt_graph_find(&other->m->graph, a->name));
        assert_non_null(y);
        for (int64_t k = 0; k < tt_len(y); k++)
            most = fmaxf(most, fabsf(y->g[k]));
        assert_true(most > 0 || !strcmp(a->name, "one.k.bias"));
        for (int64_t k = 0; k < tt_len(x); k++)
            assert_close(x->g[k], y->g[k], 0, 1e-5 * (double)most + 1e-7);
        ret++;
    }
    return ret;
}

static void gradients_are_those_of_the_parts(void **state)
{
    static const struct {
        const char *name, *apart;
        int params;
    } cases[] = {{"class_token", "class_token_all", 6 * 2 + 6 + 1},
                 {"guarded_some", "guarded_seen", 3 * 2},
                 {"keras_norms", "keras_norms_apart", 4},
                 {"keras_turned", "keras_turned_apart", 6}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct learnt one, apart;

        learn(&one, cases[i].name);
        learn(&apart, cases[i].apart);
        assert_true(apart.m->graph.nnodes != one.m->graph.nnodes);
        assert_int_equal(compare(&one, &apart), cases[i].params);
        forget(&one);
        forget(&apart);
    }
}

/* Channels last is how convolutions have them: behind a Transpose that is what there is. */
static void turning_channels_moves_nothing(void **state)
{
    struct learnt l;
    int turns = 0;

    (void)state;
    learn(&l, "keras_turned");
    assert_golden(tt_program_tensor(l.p, l.m->graph.outputs[0]), "keras_turned");
    for (int i = 0; i < l.g.nnodes; i++) {
        const struct tt_gnode *n = &l.g.nodes[i];

        if (strcmp(n->op->name, "Transpose") != 0)
            continue;
        turns++;
        assert_ptr_equal(tt_program_tensor(l.p, n->out)->x, tt_program_tensor(l.p, n->in[0])->x);
    }
    assert_int_equal(turns, 4);
    forget(&l);
}

static void attention_without_a_key_is_zero_where_the_model_says_so(void **state)
{
    struct learnt l;
    const struct tt_tensor *y;

    (void)state;
    learn(&l, "guarded");
    y = tt_program_tensor(l.p, l.m->graph.outputs[0]);
    assert_golden(y, "guarded");
    for (int i = 0; i < 12; i++)
        assert_true(y->x[2 * 12 + i] == 0);
    assert_int_equal(compare(&l, &l), 3 * 2); // and there is a number in every gradient
    forget(&l);
}

static int count(const struct tt_model *m, const char *op)
{
    int n = 0;

    for (int k = 0; k < m->graph.nnodes; k++)
        n += !strcmp(m->graph.nodes[k].op->name, op);
    return n;
}

static void count_members(const struct tt_model *m, enum tt_kind kind, int n[2])
{
    n[TT_MEMBER_WEIGHT] = n[TT_MEMBER_BIAS] = 0;
    for (int k = 0; k < m->nparams; k++)
        for (int member = 0; member < 2; member++)
            n[member] += m->params[k].kind == kind && (int)m->params[k].member == member;
}

static void normalisations_as_keras_writes_them_are_known(void **state)
{
    static const struct {
        const char *name;
        enum tt_kind kind;
        int params, nodes; // as many weights as biases; how many are LayerNormalization
    } cases[] = {{"keras_norms", TT_KIND_LN, 2, 2},
                 {"keras_norms_apart", TT_KIND_LN, 2, 0},
                 {"keras_groups", TT_KIND_GN, 1, 0},
                 {"keras_not", TT_KIND_LN, 4, 1},
                 {"keras_gelu", TT_KIND_LN, 0, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_model *m = load(cases[i].name);
        struct tt_program_spec spec = {.graph = &m->graph,
                                       .limit = BATCH,
                                       .outputs = m->graph.outputs,
                                       .noutputs = 1,
                                       .loss = -1};
        struct tt_program *p;
        struct tt_err err;
        int n[2];

        assert_int_equal(count(m, "LayerNormalization"), cases[i].nodes);
        assert_int_equal(count(m, "Gelu"), !strcmp(cases[i].name, "keras_gelu"));
        count_members(m, cases[i].kind, n);
        assert_int_equal(n[TT_MEMBER_WEIGHT], cases[i].params);
        assert_int_equal(n[TT_MEMBER_BIAS], cases[i].params);
        if (tt_program_new(&spec, &p, &err) != TT_OK)
            fail_msg("%s: %s", cases[i].name, err.msg);
        feed(p);
        tt_program_forward(p);
        assert_golden(tt_program_tensor(p, m->graph.outputs[0]), cases[i].name);
        tt_program_free(p);
        tt_model_free(m);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_nobody_asks_for_are_not_made),
        cmocka_unit_test(gradients_are_those_of_the_parts),
        cmocka_unit_test(normalisations_as_keras_writes_them_are_known),
        cmocka_unit_test(turning_channels_moves_nothing),
        cmocka_unit_test(attention_without_a_key_is_zero_where_the_model_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
