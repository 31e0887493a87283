// SPDX-License-Identifier: Apache-2.0
#include "tests/support/parity.h"

#include "tests/support/check.h"

static void every_method_computes_what_its_restatement_in_float64_does(void **state)
{
    int held;

    (void)state;
    assert_int_equal(parity_folder(stdout, "tests/golden/tta", NULL, NULL, &held), 0);
    assert_int_equal(held, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_computes_what_its_restatement_in_float64_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
