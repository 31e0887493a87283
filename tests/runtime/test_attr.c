// SPDX-License-Identifier: Apache-2.0
#include "runtime/attr.h"

#include "tests/support/check.h"

static const int64_t two[2] = {3, 5};

static struct tt_attrs make(struct tt_attr list[4])
{
    list[0] = (struct tt_attr){.name = "axis", .type = TT_AINT, .i = -1};
    list[1] = (struct tt_attr){.name = "alpha", .type = TT_AFLOAT, .f = 0.5f};
    list[2] = (struct tt_attr){.name = "mode", .type = TT_ASTR, .s = "constant"};
    list[3] = (struct tt_attr){.name = "pads", .type = TT_AINTS, .n = 2, .ints = two};
    return (struct tt_attrs){.n = 4, .list = list};
}

static void values_are_read_by_name_and_defaults_stand_in(void **state)
{
    struct tt_attr list[4];
    struct tt_attrs a = make(list);
    struct tt_err err;
    int64_t n;

    (void)state;
    assert_int_equal(tt_attr_int(&a, "axis", 7), -1);
    assert_int_equal(tt_attr_int(&a, "group", 7), 7);
    assert_close(tt_attr_float(&a, "alpha", 1), 0.5, 0, 0);
    assert_close(tt_attr_float(&a, "beta", 2), 2, 0, 0);
    assert_string_equal(tt_attr_str(&a, "mode", "edge"), "constant");
    assert_string_equal(tt_attr_str(&a, "auto_pad", "NOTSET"), "NOTSET");
    assert_ptr_equal(tt_attr_ints(&a, "pads", &n), two);
    assert_int_equal(n, 2);
    assert_null(tt_attr_ints(&a, "strides", &n));
    assert_int_equal(n, 0);
    assert_int_equal(tt_attrs_done(&a, &err), TT_OK);
}

static void an_attribute_nobody_asked_for_is_named(void **state)
{
    struct tt_attr list[4];
    struct tt_attrs a = make(list);
    struct tt_err err;
    int64_t n;

    (void)state;
    tt_attr_int(&a, "axis", 0);
    tt_attr_float(&a, "alpha", 0);
    tt_attr_ints(&a, "pads", &n);
    assert_int_equal(tt_attrs_done(&a, &err), TT_EUNSUPPORTED);
    assert_string_equal(err.msg, "attribute 'mode' is not supported");
}

static void an_attribute_of_another_type_is_named_with_both_types(void **state)
{
    struct tt_attr list[4];
    struct tt_attrs a = make(list);
    struct tt_err err;

    (void)state;
    a.n = 1;
    assert_close(tt_attr_float(&a, "axis", 9), 9, 0, 0);
    assert_int_equal(tt_attrs_done(&a, &err), TT_EPARSE);
    assert_string_equal(err.msg, "attribute 'axis' is an integer, want a float");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read_by_name_and_defaults_stand_in),
        cmocka_unit_test(an_attribute_nobody_asked_for_is_named),
        cmocka_unit_test(an_attribute_of_another_type_is_named_with_both_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
