// SPDX-License-Identifier: Apache-2.0
#include "runtime/constant.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/model.h"
#include "runtime/program.h"
#include "tests/support/check.h"

/* y = trunc(10 x) + steps, times half of the weight's transpose: [n, 4] x [4, 3]. */
static struct tt_model *numbers(void)
{
    struct tt_model *m;
    struct tt_err err;
    size_t n;
    char *data = read_file("tests/golden/onnx/numbers.onnx", &n);

    if (tt_model_read_onnx(data, n, 0, &m, &err))
        fail_msg("%s", err.msg);
    free(data);
    return m;
}

static struct tt_program *program(const struct tt_model *m, const int *variable, int nvariable)
{
    const struct tt_program_spec spec = {.graph = &m->graph,
                                         .limit = 1,
                                         .outputs = m->graph.outputs,
                                         .noutputs = 1,
                                         .loss = -1,
                                         .variable = variable,
                                         .nvariable = nvariable};
    struct tt_program *p;
    struct tt_err err;

    if (tt_program_new(&spec, &p, &err))
        fail_msg("%s", err.msg);
    memset(tt_program_tensor(p, 0)->x, 0, 4 * sizeof(float));
    tt_program_forward(p);
    return p;
}

static void what_follows_from_weights_alone_is_known_and_not_computed_again(void **state)
{
    struct tt_model *m = numbers();
    const int scaled = tt_graph_find(&m->graph, "scaled");
    const struct tt_value *v = &m->graph.values[scaled];
    const float *w = m->graph.values[tt_graph_find(&m->graph, "weight")].data;
    struct tt_program *p = program(m, NULL, 0);

    (void)state;
    assert_int_equal(v->ndim, 2);
    assert_int_equal(v->dim[0], 4);
    assert_int_equal(v->dim[1], 3);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 3; k++)
            assert_close(v->data[3 * i + k], 0.5F * w[4 * k + i], 0, 0);
    assert_ptr_equal(tt_program_tensor(p, scaled)->x, v->data);
    assert_null(tt_program_tensor(p, tt_graph_find(&m->graph, "weight")));
    tt_program_free(p);
    tt_model_free(m);
}

static void a_variable_weight_is_seen_behind_its_transpose(void **state)
{
    struct tt_model *m = numbers();
    const int weight = tt_graph_find(&m->graph, "weight");
    struct tt_program *p = program(m, NULL, 0), *q = program(m, &weight, 1);
    const float *y = tt_program_tensor(p, m->graph.outputs[0])->x;
    const float *z = tt_program_tensor(q, m->graph.outputs[0])->x;
    float twice[12];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_close(z[i], y[i], 0, 0);
    for (int i = 0; i < 12; i++)
        twice[i] = 2 * m->graph.values[weight].data[i];
    tt_program_bind(q, weight, twice, NULL);
    tt_program_forward(q);
    for (int i = 0; i < 3; i++)
        assert_close(z[i], 2 * y[i], 1e-6, 1e-6);
    tt_program_free(p);
    tt_program_free(q);
    tt_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_follows_from_weights_alone_is_known_and_not_computed_again),
        cmocka_unit_test(a_variable_weight_is_seen_behind_its_transpose),
    };

    return cmocka_run_group_tests_name("constant", tests, NULL, NULL);
}
