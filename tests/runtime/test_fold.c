// SPDX-License-Identifier: Apache-2.0
#include "runtime/fold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

/*
 * Integers are written "2x3: 1 2 3 4 5 6", a scalar ": 7", the batch as n: "2: n 3n+1".
 * Attributes "axis=1; perm=1,0,", where a list ends with a comma.
 */
static struct tt_ints parse(struct tt_arena *arena, const char *text)
{
    struct tt_ints v;
    int64_t dim[TT_MAXDIM];
    int ndim = 0;
    char *at;

    for (at = (char *)(uintptr_t)text; *at != ':'; at += *at == 'x')
        dim[ndim++] = strtoll(at, &at, 10);
    assert_true(tt_ints_new(arena, ndim, dim, &v));
    at++;
    for (int64_t i = 0; i < v.n; i++) {
        int64_t number;
        char *end;

        while (*at == ' ')
            at++;
        assert_true(*at != '\0');
        number = strtoll(at, &end, 10);
        if (*end == 'n') {
            v.v[i].b = end == at ? 1 : number;
            at = end + 1;
            if (*at == '+' || *at == '-')
                v.v[i].a = strtoll(at, &at, 10);
        } else {
            v.v[i].a = number;
            at = end;
        }
    }
    assert_int_equal(*at, 0);
    return v;
}

static void print(const struct tt_ints *v, char *to, size_t size)
{
    size_t n = 0;

    to[0] = '\0';
    for (int i = 0; i < v->ndim; i++)
        n += (size_t)snprintf(to + n, size - n, "%s%lld", i ? "x" : "", (long long)v->dim[i]);
    n += (size_t)snprintf(to + n, size - n, ":");
    for (int64_t i = 0; i < v->n; i++) {
        struct tt_affine e = v->v[i];

        if (!e.b)
            n += (size_t)snprintf(to + n, size - n, " %lld", (long long)e.a);
        else if (e.a)
            n += (size_t)snprintf(to + n, size - n, " %lldn%+lld", (long long)e.b, (long long)e.a);
        else
            n += (size_t)snprintf(to + n, size - n, " %lldn", (long long)e.b);
    }
}

static int parse_attrs(struct tt_arena *arena, const char *text, struct tt_attr *list)
{
    int n = 0;

    while (text && *text) {
        const char *equals = strchr(text, '=');
        struct tt_attr *a = &list[n++];
        int64_t *ints = TT_NEW(arena, 8, int64_t);
        char *at = (char *)(uintptr_t)equals + 1;

        *a = (struct tt_attr){.name = tt_arena_strndup(arena, text, (size_t)(equals - text)),
                              .type = TT_AINTS,
                              .ints = ints};
        ints[a->n++] = strtoll(at, &at, 10);
        if (*at != ',') {
            a->type = TT_AINT;
            a->i = ints[0];
        }
        while (*at == ',' && at[1] && at[1] != ';')
            ints[a->n++] = strtoll(at + 1, &at, 10);
        at += *at == ',';
        text = at + (*at == ';' ? 2 : 0);
    }
    return n;
}

static enum tt_code run(const char *op, const char *attrs, const char *const *operands,
                        struct tt_arena *arena, struct tt_ints *ret, struct tt_err *err)
{
    struct tt_attr list[4];
    struct tt_attrs a = {.list = list, .opset = 13};
    struct tt_ints values[5];
    const struct tt_ints *in[5] = {NULL};
    int nin = 0;

    a.n = parse_attrs(arena, attrs, list);
    for (; nin < 5 && operands[nin]; nin++)
        if (operands[nin][0]) {
            values[nin] = parse(arena, operands[nin]);
            in[nin] = &values[nin];
        }
    assert_non_null(tt_fold_find(op));
    return tt_fold_run(tt_fold_find(op), &a, nin, in, arena, ret, err);
}

static void operators_compute_as_onnx_says(void **state)
{
    static const struct {
        const char *op, *attrs, *in[5], *want;
    } cases[] = {
        {"Add", "", {"2: 1 n", "2: 5 2n+3"}, "2: 6 3n+3"},
        {"Add", "", {"2x1: 1 10", "3: 1 2 3"}, "2x3: 2 3 4 11 12 13"},
        {"Add", "", {": 1", "1: 2"}, "1: 3"},
        {"Sub", "", {": 3n+1", ": n"}, ": 2n+1"},
        {"Sub", "", {": n", ": n"}, ": 0"},
        {"Mul", "", {"2: n 2", "2: 3 4n-1"}, "2: 3n 8n-2"},
        {"Div", "", {"4: 7 -7 7 -7", "4: 2 2 -2 -2"}, "4: 3 -3 -3 3"},
        {"Div", "", {": 6n+4", ": 2"}, ": 3n+2"},
        {"Div", "", {": 12n", ": 4n"}, ": 3"},
        {"Div", "", {": 0", ": n"}, ": 0"},
        {"Mod", "", {"4: 7 -7 7 -7", "4: 3 3 -3 -3"}, "4: 1 2 -2 -1"},
        {"Mod", "", {": 4n+3", ": 2"}, ": 1"},
        {"Neg", "", {"2: 4 n"}, "2: -4 -1n"},
        {"Min", "", {"2: 4 n", "2: 3 2n", ": 9n"}, "2: 3 1n"},
        {"Max", "", {": n", ": 1"}, ": 1n"},
        {"Max", "", {"1: 5"}, "1: 5"},
        {"Equal", "", {"4: 2 n n 2n", "4: 2 -1 n 3"}, "4: 1 0 1 0"},
        {"Equal", "", {": 9223372036854775807", ": -1"}, ": 0"},
        {"Greater", "", {"3: 3 n n+1", "3: 2 0 n"}, "3: 1 1 1"},
        {"GreaterOrEqual", "", {"2: n 0", "2: 1 n"}, "2: 1 0"},
        {"Less", "", {"2: 3 n", "2: 2 n"}, "2: 0 0"},
        {"LessOrEqual", "", {"2: 3 n", "2: 2 n"}, "2: 0 1"},
        {"And", "", {"2: 1 1", "2: 1 0"}, "2: 1 0"},
        {"Or", "", {"2: 0 1", "2: 0 0"}, "2: 0 1"},
        {"Not", "", {"3: 0 1 n"}, "3: 1 0 0"},
        {"ReduceProd", "keepdims=0", {"3: n 2 3"}, ": 6n"},
        {"ReduceProd", "", {"3: n 2 3"}, "1: 6n"},
        {"ReduceProd", "keepdims=0", {"0:"}, ": 1"},
        {"ReduceSum", "keepdims=0", {"2x3: 1 2 3 4 5 6", "1: 1"}, "2: 6 15"},
        {"ReduceSum", "axes=-2,; keepdims=1", {"2x3: 1 2 3 4 5 6"}, "1x3: 5 7 9"},
        {"ReduceSum", "noop_with_empty_axes=1", {"2: 1 2"}, "2: 1 2"},
        {"Where", "", {"2: 1 0", "2: n 2", ": 9"}, "2: 1n 9"},
        {"Where", "", {"1: 1", "2: 5 6", "3x1: 0 0 0"}, "3x2: 5 6 5 6 5 6"},
        {"Range", "", {": 2", ": 9", ": 3"}, "3: 2 5 8"},
        {"Range", "", {": 5", ": 1", ": -2"}, "2: 5 3"},
        {"Range", "", {": 1", ": 1", ": 1"}, "0:"},
        {"Range", "", {": 1", ": 9", ": -1"}, "0:"},
        {"Identity", "", {"1x2: n 2"}, "1x2: 1n 2"},
        {"Concat", "axis=0", {"1: n", "2: 3 -1"}, "3: 1n 3 -1"},
        {"Concat", "axis=-1", {"2x1: 1 2", "2x2: 3 4 5 6"}, "2x3: 1 3 4 2 5 6"},
        {"Concat", "axis=0", {"0:", "1: 4"}, "1: 4"},
        {"Gather", "axis=0", {"3: n 4 5", ": 0"}, ": 1n"},
        {"Gather", "", {"3: n 4 5", "2: -1 1"}, "2: 5 4"},
        {"Gather", "axis=1", {"2x3: 1 2 3 4 5 6", "1x2: 2 0"}, "2x1x2: 3 1 6 4"},
        {"Squeeze", "", {"1x2x1: 1 2"}, "2: 1 2"},
        {"Squeeze", "axes=0,", {"1x2x1: 1 2"}, "2x1: 1 2"},
        {"Squeeze", "", {"1x2x1: 1 2", "1: -1"}, "1x2: 1 2"},
        {"Unsqueeze", "axes=0,", {": n"}, "1: 1n"},
        {"Unsqueeze", "", {"2: 1 2", "2: 0 -1"}, "1x2x1: 1 2"},
        {"Reshape", "", {"2x3: 1 2 3 4 5 6", "2: 3 -1"}, "3x2: 1 2 3 4 5 6"},
        {"Reshape", "", {"2x3: 1 2 3 4 5 6", "3: 0 1 3"}, "2x1x3: 1 2 3 4 5 6"},
        {"Reshape", "", {"1: 5", "0:"}, ": 5"},
        {"Flatten", "axis=1", {"2x1x2: 1 2 3 4"}, "2x2: 1 2 3 4"},
        {"Flatten", "axis=-3", {"2x1x2: 1 2 3 4"}, "1x4: 1 2 3 4"},
        {"Transpose", "perm=1,0,", {"2x3: 1 2 3 4 5 6"}, "3x2: 1 4 2 5 3 6"},
        {"Transpose", "", {"2x1x3: 1 2 3 4 5 6"}, "3x1x2: 1 4 2 5 3 6"},
        {"Expand", "", {"2x1: 1 2", "3: 2 1 3"}, "2x2x3: 1 1 1 2 2 2 1 1 1 2 2 2"},
        {"Expand", "", {": n", "1: 2"}, "2: 1n 1n"},
        {"Slice", "", {"5: 0 1 2 3 4", "1: 1", "1: 9223372036854775807"}, "4: 1 2 3 4"},
        {"Slice",
         "",
         {"5: 0 1 2 3 4", "1: -1", "1: -9223372036854775807", "1: 0", "1: -1"},
         "5: 4 3 2 1 0"},
        {"Slice", "", {"5: 0 1 2 3 4", "1: -2", "1: 5"}, "2: 3 4"},
        {"Slice", "", {"5: 0 1 2 3 4", "1: 4", "1: 0", "", "1: -3"}, "2: 4 1"},
        {"Slice", "", {"5: 0 1 2 3 4", "1: 3", "1: 2"}, "0:"},
        {"Slice", "", {"0:", "1: 0", "1: 1", "1: 0", "1: -1"}, "0:"},
        {"Slice", "", {"0:", "1: -1", "1: -9", "1: 0", "1: -1"}, "0:"},
        {"Slice", "", {"2x3: 1 2 3 4 5 6", "2: 0 1", "2: 1 3", "2: -2 1"}, "1x2: 2 3"},
        {"Slice", "starts=1,; ends=3,; axes=0,", {"4: 1 n 3 4"}, "2: 1n 3"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char got[512];
        struct tt_arena arena;
        struct tt_ints v;
        struct tt_err err;

        tt_arena_init(&arena, 0);
        if (run(cases[i].op, cases[i].attrs, cases[i].in, &arena, &v, &err))
            fail_msg("%s %s: %s", cases[i].op, cases[i].in[0], err.msg);
        print(&v, got, sizeof got);
        if (strcmp(got, cases[i].want))
            fail_msg("%s %s: got '%s', want '%s'", cases[i].op, cases[i].in[0], got, cases[i].want);
        tt_arena_release(&arena);
    }
}

static void what_cannot_be_folded_is_an_error(void **state)
{
    static const char batch[] = "depends on the batch in a way that cannot be folded";
    static const struct {
        const char *op, *attrs, *in[5];
        enum tt_code code;
        const char *message;
    } cases[] = {
        {"Mul", "", {": n", ": n"}, TT_EUNSUPPORTED, batch},
        {"Div", "", {": n", ": 2"}, TT_EUNSUPPORTED, batch},
        {"Div", "", {": 6", ": n"}, TT_EUNSUPPORTED, batch},
        {"Mod", "", {": n", ": 2"}, TT_EUNSUPPORTED, batch},
        {"Equal", "", {": n", ": 3"}, TT_EUNSUPPORTED, batch},
        {"Greater", "", {": n", ": 3"}, TT_EUNSUPPORTED, batch},
        {"Max", "", {": n", ": 3"}, TT_EUNSUPPORTED, batch},
        {"ReduceProd", "", {"2: n n"}, TT_EUNSUPPORTED, batch},
        {"Where", "", {": n", ": 1", ": 2"}, TT_EUNSUPPORTED, "the condition depends on the batch"},
        {"Range", "", {": 0", ": n", ": 1"}, TT_EUNSUPPORTED, "its range depends on the batch"},
        {"Gather", "", {"2: 1 2", ": n"}, TT_EUNSUPPORTED, "the index depends on the batch"},
        {"Reshape", "", {"2: 1 2", "1: n"}, TT_EUNSUPPORTED, "the shape depends on the batch"},
        {"Slice", "", {"2: 1 2", "1: 0", "1: n"}, TT_EUNSUPPORTED, "ends depends on the batch"},
        {"Div", "", {": 1", ": 0"}, TT_ERANGE, "1 and 0 have no result"},
        {"Div", "", {": -9223372036854775808", ": -1"}, TT_ERANGE, "have no result in 64 bits"},
        {"Mod", "", {": 1", ": 0"}, TT_ERANGE, "1 and 0 have no result"},
        {"Add", "", {": 9223372036854775807", ": 1"}, TT_ERANGE, "have no result in 64 bits"},
        {"Mul", "", {": 4294967296", ": 4294967296"}, TT_ERANGE, "have no result in 64 bits"},
        {"Neg", "", {": -9223372036854775808"}, TT_ERANGE, "have no result in 64 bits"},
        {"Add", "", {"2: 1 2", "3: 1 2 3"}, TT_ESHAPE, "have 2 and 3 along dimension 0"},
        {"Add", "axis=1", {": 1", ": 2"}, TT_EUNSUPPORTED, "attribute 'axis' is not supported"},
        {"Add", "", {": 1"}, TT_EPARSE, "1 operands, want 2 to 2"},
        {"Add", "", {"", ": 1"}, TT_EPARSE, "operand 0 is missing"},
        {"Concat", "axis=0", {"1: 1", "", "1: 2"}, TT_EPARSE, "operand 1 is missing"},
        {"Concat", "axis=1", {"1: 1", "1: 2"}, TT_ESHAPE, "axis 1 is outside 1 dimensions"},
        {"Concat", "axis=0", {"1: 1", "1x1: 2"}, TT_ESHAPE, "operand 1 differs from operand 0"},
        {"Concat", "axis=0,", {"1: 1"}, TT_EPARSE, "'axis' is a list of integers, want an integer"},
        {"Gather", "", {"2: 1 2", ": 2"}, TT_ERANGE, "index 2 is outside 2 elements"},
        {"Gather", "", {"2: 1 2", ": -3"}, TT_ERANGE, "index -3 is outside 2 elements"},
        {"Gather", "", {": 1", ": 0"}, TT_ESHAPE, "axis 0 is outside 0 dimensions"},
        {"Squeeze", "axes=0,", {"2: 1 2"}, TT_ESHAPE, "dimension 0 is 2, want 1 to squeeze"},
        {"Unsqueeze", "axes=0,0,", {": 1"}, TT_EPARSE, "axis 0 is given twice"},
        {"Unsqueeze", "", {": 1"}, TT_EPARSE, "axes are missing"},
        {"Unsqueeze", "axes=0,1,2,3,4,5,", {"1: 1"}, TT_EUNSUPPORTED, "of 7 dimensions"},
        {"Reshape", "", {"3: 1 2 3", "2: 2 -1"}, TT_ESHAPE, "3 elements do not fill"},
        {"Reshape", "", {"2: 1 2", "2: -1 -1"}, TT_ESHAPE, "dimension 1 of the shape is -1"},
        {"Reshape", "allowzero=1", {"2: 1 2", "2: 0 -1"}, TT_ESHAPE, "2 elements do not fill"},
        {"Reshape", "", {"1: 1", "7: 1 1 1 1 1 1 1"}, TT_EUNSUPPORTED, "7 dimensions"},
        {"Transpose", "perm=0,0,", {"1x1: 1"}, TT_ESHAPE, "perm is not an order"},
        {"Transpose", "perm=0,", {"1x1: 1"}, TT_ESHAPE, "perm has 1 entries, want 2"},
        {"Expand", "", {"2: 1 2", "1: 3"}, TT_ESHAPE, "dimension 0 of 2 does not expand to 3"},
        {"Expand",
         "",
         {": 1", "2: 65536 65536"},
         TT_ENOMEM,
         "no room for a result of [65536, 65536"},
        {"Expand", "", {": 1", "1: -1"}, TT_ESHAPE, "dimension 0 of the result is -1"},
        {"Slice", "", {"2: 1 2", "1: 0", "1: 1", "1: 0", "1: 0"}, TT_ERANGE, "a step of 0"},
        {"Slice", "", {"2: 1 2", "1: 0", "2: 1 2"}, TT_ESHAPE, "ends has 2 entries, want 1"},
        {"Slice", "", {"2: 1 2", "1: 0", "1: 1", "1: 4"}, TT_ESHAPE, "axis 4 is outside"},
        {"Slice", "", {"1x1: 1", "2: 0 0", "2: 1 1", "2: 0 0"}, TT_EPARSE, "axis 0 is given twice"},
        {"Slice", "", {"2: 1 2"}, TT_ESHAPE, "starts has 0 entries"},
        {"Range", "", {": 0", ": 9", ": 0"}, TT_ERANGE, "in steps of 0"},
        {"Range", "", {": 0", ": 1000000", ": 1"}, TT_ENOMEM, "[1000000] integers"},
        {"Range", "", {": -1", ": 9223372036854775807", ": 1"}, TT_ERANGE, "a range from -1"},
        {"Range", "", {"2: 0 0", ": 1", ": 1"}, TT_ESHAPE, "operand 0 has 2 elements"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_arena arena;
        struct tt_ints v = {.n = -7};
        struct tt_err err;

        tt_arena_init(&arena, 0);
        if (run(cases[i].op, cases[i].attrs, cases[i].in, &arena, &v, &err) != cases[i].code)
            fail_msg("%s %s (case %zu): not refused as it should be", cases[i].op, cases[i].in[0],
                     i);
        assert_contains(err.msg, cases[i].message);
        assert_int_equal(v.n, -7);
        tt_arena_release(&arena);
    }
}

/* The rule of an affine result, against plain arithmetic with eleven batches. */
static void affine_results_hold_for_every_batch(void **state)
{
    static const char *const ops[] = {"Add", "Sub",   "Mul",     "Div",  "Mod",           "Min",
                                      "Max", "Equal", "Greater", "Less", "GreaterOrEqual"};
    int folded = 0;

    (void)state;
    for (size_t o = 0; o < sizeof ops / sizeof *ops; o++)
        for (int k = 0; k < 7 * 7 * 7 * 7; k++) {
            struct tt_affine x = {k % 7 - 3, k / 7 % 7 - 3}, y = {k / 49 % 7 - 3, k / 343 - 3};
            struct tt_ints in[2] = {{.n = 1, .v = &x}, {.n = 1, .v = &y}}, v;
            const struct tt_ints *list[2] = {&in[0], &in[1]};
            struct tt_attrs a = {0};
            struct tt_arena arena;
            struct tt_err err;
            bool done;

            tt_arena_init(&arena, 0);
            done = !tt_fold_run(tt_fold_find(ops[o]), &a, 2, list, &arena, &v, &err);
            folded += done;
            for (int64_t n = 1; done && n <= 11; n++) {
                int64_t p = x.a + x.b * n, q = y.a + y.b * n, got = v.v[0].a + v.v[0].b * n;
                int64_t want[] = {p + q,         p - q,         p * q,         q ? p / q : 0,
                                  q ? p % q : 0, p < q ? p : q, p > q ? p : q, p == q,
                                  p > q,         p < q,         p >= q};

                if (!strcmp(ops[o], "Mod") && want[4] && (want[4] < 0) != (q < 0))
                    want[4] += q;
                if (got != want[o])
                    fail_msg("%s of %lld+%lldn and %lld+%lldn: %lld with n = %lld, want %lld",
                             ops[o], (long long)x.a, (long long)x.b, (long long)y.a, (long long)y.b,
                             (long long)got, (long long)n, (long long)want[o]);
            }
            tt_arena_release(&arena);
        }
    assert_true(folded > 5000);
}

static void running_out_of_memory_is_an_error(void **state)
{
    static const char *const in[] = {"2x3: 1 2 3 4 5 6", "3: 1 2 3", NULL, NULL, NULL};
    struct tt_attr none;
    struct tt_attrs a = {.list = &none};
    struct tt_arena whole, arena;
    struct tt_ints x, y, v;
    const struct tt_ints *list[2] = {&x, &y};
    struct tt_err err;

    (void)state;
    tt_arena_init(&whole, 0);
    x = parse(&whole, in[0]);
    y = parse(&whole, in[1]);
    tt_arena_init(&arena, 64);
    assert_int_equal(tt_fold_run(tt_fold_find("Add"), &a, 2, list, &arena, &v, &err), TT_ENOMEM);
    tt_arena_release(&arena);
    tt_arena_release(&whole);
    assert_null(tt_fold_find("Relu"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_compute_as_onnx_says),
        cmocka_unit_test(what_cannot_be_folded_is_an_error),
        cmocka_unit_test(affine_results_hold_for_every_batch),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
