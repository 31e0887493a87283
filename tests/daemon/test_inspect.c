// SPDX-License-Identifier: Apache-2.0
#include "daemon/inspect.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/load.h"
#include "tests/support/check.h"

#define MODEL  "models/fashion_resnet.onnx"
#define GOLDEN "tests/golden/onnx/"

static struct tt_inspection look(const char *model, const char *policy, struct tt_arena *arena)
{
    struct tt_policy *p = NULL;
    struct tt_inspection t;
    struct tt_model *m;
    struct tt_diags d;
    struct tt_err err;

    tt_arena_init(arena, 0);
    if (policy)
        assert_non_null(p = tt_load_policy(policy, arena, &d));
    if (tt_load_model(model, &m, &err) || tt_inspect(model, m, p, arena, &t, &err))
        fail_msg("%s", err.msg);
    return t;
}

static void done(struct tt_inspection *t, struct tt_arena *arena)
{
    tt_model_free((struct tt_model *)(uintptr_t)t->model);
    tt_arena_release(arena);
}

/* The caller's to free. */
static char *printed(const struct tt_inspection *t)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    assert_non_null(f);
    tt_inspection_print(t, f);
    fclose(f);
    return text;
}

static void people_read_shapes_kinds_and_what_is_selected(void **state)
{
    static const char *const lines[] = {
        "  inputs    image                     [batch, 1, 28, 28]\n",
        "  outputs   logits                    [batch, 10]\n",
        "  operators 31 nodes: 9 Conv, 9 BatchNormalization,",
        "  selected  18 of 47 parameters, 672 of 78,426 scalars (0.86 %), marked * below\n",
        "  a stream  8,068 bytes a version: 2,017 floats",
        "  bn        mean              9            336            1,344\n",
        "  all                        47         78,426          313,704\n",
        "\n* bn        weight   [16]                16      64  bn1.weight\n",
        "\n  conv      weight   [16, 1, 3, 3]      144     576  conv1.weight\n",
        "\n                     Conv operand 1 of ",
        "\n  linear    bias     [10]                10      40  linear.bias\n",
    };
    struct tt_arena arena;
    struct tt_inspection t = look(MODEL, "policies/tent.yaml", &arena);
    char *text = printed(&t);

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_contains(text, lines[i]);
    free(text);
    done(&t, &arena);
}

static void no_line_is_wider_than_a_terminal(void **state)
{
    static const char *const models[] = {MODEL, GOLDEN "arithmetic.onnx", GOLDEN "merged.onnx"};

    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct tt_arena arena;
        struct tt_inspection t = look(models[i], NULL, &arena);
        struct tt_graph *g = (struct tt_graph *)(uintptr_t)&t.model->graph;
        char *text;

        if (t.model->nparams) { // a name that does not fit keeps its end
            char *name = (char *)tt_arena_alloc(&arena, 1, 300);

            memset(name, 'y', 290);
            strcpy(name + 290, ".end");
            t.model->params[0].name = g->values[0].name = name;
        }
        text = printed(&t);
        for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
            if (strcspn(line, "\n") > 100)
                fail_msg("%zu columns: %.*s", strcspn(line, "\n"), (int)strcspn(line, "\n"), line);
        if (t.model->nparams)
            assert_contains(text, "yyy.end\n");
        free(text);
        done(&t, &arena);
    }
}

static void dimensions_may_be_multiples_of_the_batch(void **state)
{
    struct tt_arena arena;
    struct tt_inspection t = look(GOLDEN "merged.onnx", NULL, &arena);
    json_t *o;

    (void)state;
    /* Look at the merged rows as if they were the output. */
    t.model->graph.outputs[0] = t.model->graph.nodes[1].out;
    o = tt_inspection_json(&t);
    assert_non_null(o);
    assert_string_equal(
        json_string_value(json_array_get(
            json_object_get(json_array_get(json_object_get(o, "outputs"), 0), "shape"), 0)),
        "3*batch");
    json_decref(o);
    done(&t, &arena);
}

static void outputs_that_are_not_answered_are_told(void **state)
{
    struct tt_arena arena;
    struct tt_inspection t = look(GOLDEN "ml_softmax.onnx", NULL, &arena);
    char *text = printed(&t);
    json_t *o = tt_inspection_json(&t);

    (void)state;
    assert_contains(text, "  outputs   logits                    [batch, 3]\n");
    assert_contains(text, "  note      what is answered and adapted are the logits of which output "
                          "'y' is the probabilities\n");
    assert_contains(text, "  note      not computed: 'label'\n");
    assert_string_equal(json_string_value(json_object_get(o, "probabilities")), "y");
    assert_string_equal(json_string_value(json_array_get(json_object_get(o, "left_out"), 0)),
                        "label");
    json_decref(o);
    free(text);
    done(&t, &arena);
    t = look(MODEL, NULL, &arena);
    o = tt_inspection_json(&t);
    assert_true(json_is_null(json_object_get(o, "probabilities")));
    assert_int_equal(json_array_size(json_object_get(o, "left_out")), 0);
    json_decref(o);
    done(&t, &arena);
}

/* One parameter each of what an exporter may have done, told to people and to scripts. */
static void what_the_exporter_did_to_parameters_is_told(void **state)
{
    struct tt_arena arena;
    struct tt_inspection t = look(MODEL, NULL, &arena);
    struct tt_param *p = ((struct tt_model *)(uintptr_t)t.model)->params;
    char *text;
    json_t *o, *list;

    (void)state;
    text = printed(&t);
    assert_null(strstr(text, "  note"));
    free(text);
    p[1].norms = 3;
    for (int i = 4; i < 7; i++)
        p[i].unmerged = true;
    p[7].kind = TT_KIND_EMBEDDING;
    p[7].twin = 8;
    text = printed(&t);
    assert_contains(text, "feeds 3 normalisations: adapting it adapts all of them\n");
    assert_contains(text, "was merged with others of its value by the exporter");
    assert_contains(text, "parameter of its own; and so are 2 more\n");
    assert_contains(text, "hold the same values: ");
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
    o = tt_inspection_json(&t);
    list = json_object_get(o, "parameters");
    assert_contains(json_string_value(json_object_get(json_array_get(list, 1), "note")), "feeds 3");
    assert_contains(json_string_value(json_object_get(json_array_get(list, 6), "note")), "merged");
    assert_contains(json_string_value(json_object_get(json_array_get(list, 7), "note")), "untied");
    json_decref(o);
    free(text);
    done(&t, &arena);
}

static void scripts_read_the_same_as_json(void **state)
{
    struct tt_arena arena;
    struct tt_inspection t = look(MODEL, "policies/tent.yaml", &arena);
    json_t *o = tt_inspection_json(&t), *params, *first, *policy;
    json_int_t scalars = 0, selected = 0;
    size_t i;

    (void)state;
    assert_non_null(o);
    params = json_object_get(o, "parameters");
    assert_int_equal(json_array_size(params), 47);
    json_array_foreach(params, i, first)
    {
        json_int_t n = json_integer_value(json_object_get(first, "scalars"));

        assert_int_equal(json_integer_value(json_object_get(first, "bytes")), 4 * n);
        scalars += n;
        if (json_is_true(json_object_get(first, "selected"))) {
            selected += n;
            assert_string_equal(json_string_value(json_object_get(first, "kind")), "bn");
            assert_string_equal(
                json_string_value(json_object_get(json_object_get(first, "place"), "operator")),
                "BatchNormalization");
            assert_null(json_object_get(first, "note"));
        }
    }
    policy = json_object_get(o, "policy");
    assert_int_equal(scalars,
                     json_integer_value(json_object_get(json_object_get(o, "totals"), "scalars")));
    assert_int_equal(selected, json_integer_value(json_object_get(policy, "scalars")));
    assert_int_equal(json_integer_value(json_object_get(policy, "stream_bytes")), 8068);
    assert_string_equal(json_string_value(json_object_get(policy, "engine")), "tent");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "operators"), "Conv")),
                     9);
    assert_int_equal(json_integer_value(json_object_get(o, "opset")), 13);
    json_decref(o);
    done(&t, &arena);
}

static void a_policy_that_selects_nothing_is_refused(void **state)
{
    struct tt_arena arena;
    struct tt_policy *p;
    struct tt_inspection t;
    struct tt_model *m;
    struct tt_diags d;
    struct tt_err err;

    (void)state;
    tt_arena_init(&arena, 0);
    p = tt_load_policy("policies/tent.yaml", &arena, &d);
    assert_non_null(p);
    assert_int_equal(tt_load_model(GOLDEN "arithmetic.onnx", &m, &err), TT_OK);
    assert_int_equal(tt_inspect("m", m, p, &arena, &t, &err), TT_ENOTFOUND);
    assert_contains(err.msg, "policies/tent.yaml:");
    tt_model_free(m);
    tt_arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(people_read_shapes_kinds_and_what_is_selected),
        cmocka_unit_test(no_line_is_wider_than_a_terminal),
        cmocka_unit_test(dimensions_may_be_multiples_of_the_batch),
        cmocka_unit_test(outputs_that_are_not_answered_are_told),
        cmocka_unit_test(what_the_exporter_did_to_parameters_is_told),
        cmocka_unit_test(scripts_read_the_same_as_json),
        cmocka_unit_test(a_policy_that_selects_nothing_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
