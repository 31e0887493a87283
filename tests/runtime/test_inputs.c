// SPDX-License-Identifier: Apache-2.0
#include "runtime/inputs.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/model.h"
#include "tests/support/check.h"

static void inputs_lie_side_by_side_in_a_row(void **state)
{
    /* tokens [n, 3] and x [n, 4]: what is written for two rows */
    static const float rows[2][7] = {{1, 2, 3, 10, 11, 12, 13}, {4, 5, 6, 14, 15, 16, 17}};
    struct tt_program_spec spec = {.limit = 2, .noutputs = 1, .loss = -1};
    struct tt_program *p;
    struct tt_inputs in;
    struct tt_model *m;
    struct tt_err err;
    size_t n;
    char *data = read_file("tests/golden/onnx/pair.onnx", &n);

    (void)state;
    if (tt_model_read_onnx(data, n, 0, &m, &err) || tt_inputs_of(&m->graph, &in, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(in.n, 2);
    assert_int_equal(in.row, 7);
    assert_string_equal(in.whole.name, "inputs");
    assert_int_equal(in.whole.ndim, 2);
    assert_int_equal(in.whole.dim[0], -1);
    assert_int_equal(in.whole.dim[1], 7);
    spec.graph = &m->graph;
    spec.outputs = m->graph.outputs;
    if (tt_program_new(&spec, &p, &err))
        fail_msg("%s", err.msg);
    tt_inputs_write(&in, p, rows[0], 2);
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < 7; i++) {
            const int k = i < 3 ? 0 : 1;
            const float *x = tt_program_tensor(p, in.of[k].value)->x;

            assert_close(x[r * in.of[k].row + i - in.of[k].offset], rows[r][i], 0, 0);
        }
    tt_program_free(p);
    tt_model_free(m);
    free(data);
}

static void inputs_that_are_no_batch_are_refused(void **state)
{
    static const int64_t free_rows[] = {-1, 2}, four[] = {4, 2}, large[] = {-1, INT64_MAX / 2};
    struct tt_arena arena;
    struct tt_inputs in;
    struct tt_graph g;
    struct tt_err err;

    (void)state;
    tt_arena_init(&arena, 0);
    tt_graph_init(&g, &arena);
    assert_int_equal(tt_inputs_of(&g, &in, &err), TT_EUNSUPPORTED);
    assert_true(tt_graph_input(&g, "a", 2, free_rows) >= 0);
    assert_int_equal(tt_inputs_of(&g, &in, &err), TT_OK);
    assert_string_equal(in.whole.name, "a");
    assert_true(tt_graph_input(&g, "b", 2, four) >= 0);
    assert_int_equal(tt_inputs_of(&g, &in, &err), TT_ESHAPE);
    assert_contains(err.msg, "inputs 'a' and 'b' are not of the same batch");
    tt_graph_init(&g, &arena);
    for (int i = 0; i < 3; i++)
        assert_true(tt_graph_input(&g, "c", 2, large) >= 0);
    assert_int_equal(tt_inputs_of(&g, &in, &err), TT_ERANGE);
    tt_graph_init(&g, &arena);
    for (int i = 0; i <= TT_MAXINPUTS; i++)
        assert_true(tt_graph_input(&g, "d", 2, free_rows) >= 0);
    assert_int_equal(tt_inputs_of(&g, &in, &err), TT_EUNSUPPORTED);
    tt_arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_lie_side_by_side_in_a_row),
        cmocka_unit_test(inputs_that_are_no_batch_are_refused),
    };

    return cmocka_run_group_tests_name("inputs", tests, NULL, NULL);
}
