// SPDX-License-Identifier: Apache-2.0
#include <jansson.h>
#include <math.h>

#include "daemon/commands.h"
#include "runtime/npy.h"
#include "tests/daemon/verb.h"

#define MODEL "models/fashion_resnet.onnx"
#define ROWS  40
#define IMAGE (28 * 28)

static const char policy[] = "preset: tent\n"
                             "preprocess: {scale: 0.00392156862745098, mean: [0.2860], "
                             "std: [0.3530], layout: nhwc}\n";

/* Write an array with a header of that descr and shape. */
static void write_npy(const char *name, const char *descr, const char *order, const char *shape,
                      const void *data, size_t n)
{
    char text[128];
    FILE *f = fopen(in_dir(name), "wb");
    int len = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }",
                       descr, order, shape);
    const unsigned char head[] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)len, 0};

    assert_non_null(f);
    assert_int_equal(fwrite(head, 1, sizeof head, f), sizeof head);
    assert_int_equal(fwrite(text, 1, (size_t)len, f), len);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* The first ROWS images of the demo and their labels, as x.npy and y.npy. */
static void write_images(unsigned char *y)
{
    size_t n;
    struct tt_npy a;
    struct tt_err e;
    char *x = read_file("models/fashion_test_images.npy", &n);

    assert_int_equal(tt_npy_read(x, n, &a, &e), TT_OK);
    write_npy("x.npy", "|u1", "False", "(40, 28, 28, 1)", a.data, (size_t)ROWS * IMAGE);
    free(x);
    x = read_file("models/fashion_test_labels.npy", &n);
    assert_int_equal(tt_npy_read(x, n, &a, &e), TT_OK);
    write_npy("y.npy", "|u1", "False", "(40,)", a.data, ROWS);
    memcpy(y, a.data, ROWS);
    free(x);
}

static int set_up(void **state)
{
    static unsigned char y[ROWS];

    if (make_dir(state))
        return -1;
    *state = y;
    write_images(y);
    write_text("tent.yaml", policy);
    return 0;
}

#define ADAPT(...)    \
    run(tt_cmd_adapt, \
        (const char *const[]){"adapt", MODEL, "--policy", in_dir("tent.yaml"), __VA_ARGS__, NULL})

/* Right answers in an array of logits, each at its image's place. */
static int count_right(const char *path, const unsigned char *y)
{
    size_t n;
    struct tt_npy a;
    struct tt_err e;
    char *file = read_file(path, &n);
    float z[ROWS][10];
    int right = 0;

    assert_int_equal(tt_npy_read(file, n, &a, &e), TT_OK);
    assert_int_equal(a.type, TT_NPY_F32);
    assert_int_equal(a.dim[0], ROWS);
    assert_int_equal(a.n, ROWS * 10);
    memcpy(z, a.data, sizeof z);
    free(file);
    for (int i = 0; i < ROWS; i++) {
        int best = 0;

        for (int c = 1; c < 10; c++)
            best = z[i][c] > z[i][best] ? c : best;
        right += best == y[i];
    }
    return right;
}

static void outputs_lie_at_their_inputs_places_in_any_order(void **state)
{
    static const char *const orders[] = {"given", "shuffle", "sorted"};

    for (size_t i = 0; i < 3; i++) {
        json_t *j;

        // 16, 16 and a ragged 8
        assert_int_equal(ADAPT("--inputs", in_dir("x.npy"), "--labels", in_dir("y.npy"), "--batch",
                               "16", "--order", orders[i], "--outputs", in_dir("z.npy"), "--json"),
                         0);
        assert_string_equal(err, "");
        j = json_loads(out, 0, NULL);
        assert_int_equal(json_integer_value(json_object_get(j, "batches")), 3);
        assert_int_equal(json_integer_value(json_object_get(j, "samples_adapted")), ROWS);
        assert_close(json_real_value(json_object_get(j, "accuracy_adapted")),
                     count_right(in_dir("z.npy"), *state) / (double)ROWS, 0, 1e-9);
        json_decref(j);
    }
}

static void a_batch_has_no_more_rows_than_there_are(void **state)
{
    json_t *j;

    (void)state;
    assert_int_equal(ADAPT("--inputs", in_dir("x.npy"), "--batch", "60000", "--json"), 0);
    j = json_loads(out, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(j, "batch")), ROWS);
    assert_int_equal(json_integer_value(json_object_get(j, "batches")), 1);
    assert_true(json_integer_value(json_object_get(j, "plan_bytes")) < 100000000);
    assert_null(json_object_get(j, "accuracy_adapted")); // nothing to score by
    json_decref(j);
}

static void a_batch_that_is_not_finite_is_answered_and_not_learnt_from(void **state)
{
    static float x[ROWS * IMAGE];
    json_t *j;

    (void)state;
    for (int i = 0; i < ROWS * IMAGE; i++)
        x[i] = (float)(i % 97) / 97;
    x[20 * IMAGE + 5] = NAN;
    x[21 * IMAGE] = INFINITY;
    write_npy("nan.npy", "<f4", "False", "(40, 1, 28, 28)", x, sizeof x);
    assert_int_equal(ADAPT("--inputs", in_dir("nan.npy"), "--batch", "10", "--json"), 0);
    j = json_loads(out, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(j, "samples_adapted")), 30);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(j, "skipped"), "not_finite")), 10);
    json_decref(j);
}

static void arrays_that_do_not_fit_are_refused_with_what_was_wanted(void **state)
{
    static float x[ROWS * IMAGE];
    static const struct {
        const char *descr, *order, *shape;
        size_t n;
        const char *want;
    } rows[] = {
        {"<f8", "False", "(20, 1, 28, 28)", sizeof x, "float64, want float32, or uint8 images"},
        {"<f4", "True", "(40, 1, 28, 28)", sizeof x, "fortran_order: True, want False"},
        {"<f4", "False", "(0, 1, 28, 28)", 0, "no rows"},
        {"<f4", "False", "()", 4, "no rows"},
        {"<f4", "False", "(40, 784)", sizeof x, "shape [40, 784], the model wants [-1, 1, 28, 28]"},
        {"<f4", "False", "(40, 1, 28, 28)", sizeof x - 4, "the shape wants 31360 elements of 4"},
        {"|u1", "False", "(40, 28, 28, 3)", sizeof x * 3 / 4, "[40, 28, 28, 3] (nhwc)"},
        {"|O", "False", "(4,)", 32, "descr: '|O'"},
    };
    static unsigned char bytes[sizeof x * 3];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_npy("bad.npy", rows[i].descr, rows[i].order, rows[i].shape, bytes, rows[i].n);
        assert_int_equal(ADAPT("--inputs", in_dir("bad.npy")), 1);
        assert_contains(err, "bad.npy: ");
        assert_contains(err, rows[i].want);
        assert_string_equal(out, "");
    }
}

static void labels_that_do_not_fit_are_refused_with_what_was_wanted(void **state)
{
    static const int32_t wide[ROWS] = {[7] = 2000000000}, below[ROWS] = {[3] = -1};
    static const float real[ROWS];
    static const struct {
        const char *descr, *shape;
        const void *data;
        const char *want;
    } rows[] = {
        {"<i4", "(40,)", wide, "bad.npy: label 7 is 2000000000, want 0 to 9"},
        {"<i4", "(40,)", below, "bad.npy: label 3 is -1, want 0 to 9"},
        {"<f4", "(40,)", real, "bad.npy: float32 of shape [40], want 40 labels"},
        {"<i4", "(40, 1)", below, "bad.npy: int32 of shape [40, 1], want 40 labels"},
        {"<i4", "(39,)", below, "bad.npy: int32 of shape [39], want 40 labels"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_npy("bad.npy", rows[i].descr, "False", rows[i].shape, rows[i].data,
                  strcmp(rows[i].shape, "(39,)") ? 4 * ROWS : 4 * 39);
        assert_int_equal(
            ADAPT("--inputs", in_dir("x.npy"), "--labels", in_dir("bad.npy"), "--order", "sorted"),
            1);
        assert_contains(err, rows[i].want);
    }
}

static void what_is_missing_or_cannot_be_is_said_before_the_usage(void **state)
{
    (void)state;
    assert_int_equal(run(tt_cmd_adapt, (const char *const[]){"adapt", "--inputs", "x", NULL}), 2);
    assert_contains(err, "ttad adapt: MODEL is missing\nusage: ");
    assert_int_equal(run(tt_cmd_adapt, (const char *const[]){"adapt", MODEL, NULL}), 2);
    assert_contains(err, "ttad adapt: --policy is missing\nusage: ");
    assert_int_equal(ADAPT("--batch", "5"), 2);
    assert_contains(err, "ttad adapt: --inputs is missing\nusage: ");
    assert_int_equal(ADAPT("--inputs", "x", "--order", "odd"), 2);
    assert_contains(err, "ttad adapt: --order: 'odd', want given, shuffle or sorted\n");
    assert_int_equal(ADAPT("--inputs", "x", "--batch", "0"), 2);
    assert_contains(err, "ttad adapt: --batch: '0', want a whole number from 1 to 65536\n");
    assert_int_equal(ADAPT("--inputs", in_dir("x.npy"), "--order", "sorted"), 1);
    assert_contains(err, "--order sorted wants --labels");
    assert_int_equal(ADAPT("--inputs", in_dir("x.npy"), "--outputs", in_dir("no/z.npy")), 1);
    assert_contains(err, "no/z.npy: cannot be written: No such file or directory");
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_lie_at_their_inputs_places_in_any_order),
        cmocka_unit_test(a_batch_has_no_more_rows_than_there_are),
        cmocka_unit_test(a_batch_that_is_not_finite_is_answered_and_not_learnt_from),
        cmocka_unit_test(arrays_that_do_not_fit_are_refused_with_what_was_wanted),
        cmocka_unit_test(labels_that_do_not_fit_are_refused_with_what_was_wanted),
        cmocka_unit_test(what_is_missing_or_cannot_be_is_said_before_the_usage),
    };

    return cmocka_run_group_tests(tests, set_up, remove_dir);
}
