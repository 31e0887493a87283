// SPDX-License-Identifier: Apache-2.0
#include "runtime/inputs.h"

#include <string.h>

#include "base/arena.h"

static enum tt_code add(struct tt_inputs *in, const struct tt_graph *g, int value,
                        struct tt_err *err)
{
    const struct tt_value *v = &g->values[value];
    const struct tt_value *first = in->n ? &g->values[in->of[0].value] : v;
    int64_t row = 1;

    if (in->n == TT_MAXINPUTS)
        return tt_fail(err, TT_EUNSUPPORTED, "more than %d inputs", TT_MAXINPUTS);
    if (v->ndim < 1)
        return tt_fail(err, TT_ESHAPE, "input '%s' has no dimensions", v->name);
    if (v->dim[0] != first->dim[0])
        return tt_fail(err, TT_ESHAPE, "inputs '%s' and '%s' are not of the same batch",
                       first->name, v->name);
    for (int i = 1; i < v->ndim; i++)
        if (!tt_mul(row, v->dim[i], &row))
            return tt_fail(err, TT_ERANGE, "a row of input '%s' is too large", v->name);
    in->of[in->n].value = value;
    in->of[in->n].row = row;
    in->of[in->n].offset = in->row;
    if (__builtin_add_overflow(in->row, row, &in->row))
        return tt_fail(err, TT_ERANGE, "a row of input '%s' is too large", v->name);
    in->n++;
    return TT_OK;
}

enum tt_code tt_inputs_of(const struct tt_graph *g, struct tt_inputs *ret, struct tt_err *err)
{
    struct tt_inputs in = {.n = 0};

    for (int i = 0; i < g->nvalues; i++)
        if (g->values[i].kind == TT_INPUT && add(&in, g, i, err) != TT_OK)
            return err->code;
    if (!in.n)
        return tt_fail(err, TT_EUNSUPPORTED, "the model has no input");
    in.whole = g->values[in.of[0].value];
    if (in.n > 1)
        in.whole = (struct tt_value){.name = "inputs",
                                     .kind = TT_INPUT,
                                     .ndim = 2,
                                     .dim = {in.whole.dim[0], in.row},
                                     .node = -1};
    *ret = in;
    return TT_OK;
}

void tt_inputs_write(const struct tt_inputs *in, struct tt_program *p, const float *x, int64_t n)
{
    for (int i = 0; i < in->n; i++) {
        const struct tt_tensor *to = tt_program_tensor(p, in->of[i].value);
        const size_t bytes = (size_t)in->of[i].row * sizeof *x;

        if (!to) // nothing that the program computes reads it
            continue;
        if (in->n == 1)
            memcpy(to->x, x, (size_t)n * bytes);
        for (int64_t r = 0; in->n > 1 && r < n; r++)
            memcpy(to->x + r * in->of[i].row, x + r * in->row + in->of[i].offset, bytes);
    }
}
