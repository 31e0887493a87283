// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "engines/plan.h"
#include "tests/support/check.h"

/* A convolution's model without normalisations, as that tool wrote it: what selecting bn says. */
static void what_was_folded_is_told_with_what_helps_in_that_tool(void **state)
{
    static const struct {
        const char *producer, *says;
    } cases[] = {
        {"pytorch 2.13.0",
         "stays, in PyTorch with model.eval() and torch.onnx.export(..., training="},
        {"tf2onnx 1.17.0 None",
         "stays, from Keras with export_with_batchnorm of docs/exporters.md"},
        {"", "so that it stays, with constants and normalisations not folded"},
    };
    const struct tt_select select = {.kinds = 1u << TT_KIND_BN, .line = 3, .col = 9};
    struct tt_arena arena;
    struct tt_model *m = tt_model_new(0);
    const float numbers[9] = {1};
    int in[2], *list, n;
    struct tt_err err;

    (void)state;
    assert_non_null(m);
    tt_arena_init(&arena, 0);
    in[0] = tt_graph_input(&m->graph, "x", 4, (int64_t[]){-1, 1, 6, 6});
    in[1] = tt_graph_weight(&m->graph, "w", 4, (int64_t[]){1, 1, 3, 3}, numbers);
    assert_true(tt_graph_node(&m->graph, tt_op_find("Conv"), "c", NULL, 2, in, "y") >= 0);
    assert_int_equal(tt_model_find_params(m, &err), TT_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        strcpy(m->producer, cases[i].producer);
        assert_int_equal(tt_select_params(m, &select, "p.yaml", &arena, &list, &n, &err),
                         TT_ENOTFOUND);
        assert_contains(err.msg, "p.yaml:3:9: select: no parameter matches: the model has "
                                 "convolutions and no BatchNormalization: if it had one, the "
                                 "exporter folded it into their weights; export it again so ");
        assert_contains(err.msg, cases[i].says);
    }
    tt_arena_release(&arena);
    tt_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_folded_is_told_with_what_helps_in_that_tool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
