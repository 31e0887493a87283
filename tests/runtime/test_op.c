// SPDX-License-Identifier: Apache-2.0
#include "runtime/op.h"
#include "runtime/ops/layer.h"

#include <string.h>

#include "tests/support/check.h"
#include "tests/support/gradcheck.h"

/* Every operator's backward, in every layout that its rule allows. */
extern const struct gradcase tt_grad_common[], tt_grad_linear[], tt_grad_move[], tt_grad_norm[],
    tt_grad_pool[], tt_grad_pointwise[], tt_grad_reduce[];

static const struct gradcase *const tables[] = {
    tt_grad_common, tt_grad_linear,    tt_grad_move,   tt_grad_norm,
    tt_grad_pool,   tt_grad_pointwise, tt_grad_reduce,
};

static const int ntables = (int)(sizeof tables / sizeof *tables);

static void check_case(const struct gradcase *c)
{
    const struct tt_op *op = tt_op_find(c->op);

    if (!op)
        fail_msg("there is no operator %s", c->op);
    for (int layout = TT_PLAIN; layout <= TT_LAST; layout++)
        for (int add = 0; add < 2; add++) {
            double e;

            if ((op->layout == TT_WANTS_PLAIN && layout == TT_LAST) ||
                (op->layout == TT_WANTS_LAST && layout == TT_PLAIN))
                continue;
            e = tt_gradcheck(op, c, (enum tt_layout)layout, add);
            if (!(e < GRAD_TOLERANCE))
                fail_msg("%s (%s), layout %d, add %d: worst relative error %g", c->op, c->what,
                         layout, add, e);
        }
}

static void gradients_match_finite_differences(void **state)
{
    (void)state;
    for (int i = 0; i < ntables; i++)
        for (const struct gradcase *c = tables[i]; c->op; c++)
            check_case(c);
}
static bool has_case(const char *name)
{
    for (int i = 0; i < ntables; i++)
        for (const struct gradcase *c = tables[i]; c->op; c++)
            if (!strcmp(c->op, name))
                return true;
    return false;
}

static void every_operator_with_a_backward_has_a_case(void **state)
{
    (void)state;
    for (const struct tt_op *const *op = tt_ops; *op; op++) {
        if ((*op)->backward && !has_case((*op)->name) && *op != &tt_op_layer) // test_layers.c
            fail_msg("operator %s has no gradient case", (*op)->name);
        assert_non_null((*op)->source);
    }
}

static void skewed(struct tt_node *n) // a wrong gradient, 5 % too large
{
    tt_op_find("Relu")->backward(n);
    for (int64_t i = 0; i < tt_len(n->in[0]); i++)
        n->in[0]->g[i] *= 1.05f;
}

static void the_gradient_check_itself_can_fail(void **state)
{
    struct tt_op wrong = *tt_op_find("Relu");
    static const struct gradcase c = {"Relu", "skewed", 1, {{3, 2, 3, 5}}};

    (void)state;
    wrong.backward = skewed;
    assert_true(tt_gradcheck(&wrong, &c, TT_PLAIN, false) > 1e-2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_match_finite_differences),
        cmocka_unit_test(every_operator_with_a_backward_has_a_case),
        cmocka_unit_test(the_gradient_check_itself_can_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
