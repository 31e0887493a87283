// SPDX-License-Identifier: Apache-2.0
/* Cast while a model runs: what is a float32 either way becomes an integer or a truth value. */
#include <math.h>

#include "runtime/op.h"

struct cast {
    enum tt_number to;
};

static enum tt_code read_cast(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    enum { FLOAT = 1, BOOL = 9, FLOAT16 = 10, DOUBLE = 11, BFLOAT16 = 16 }; // ONNX's numbers
    struct cast *c = (struct cast *)attr;
    const int64_t to = tt_attr_int(a, "to", 0);

    (void)err;
    (void)tt_attr_int(a, "saturate", 1); // of 8-bit floats
    c->to = to == BOOL                                                       ? TT_BOOLS
            : to == FLOAT || to == FLOAT16 || to == DOUBLE || to == BFLOAT16 ? TT_FLOATS
                                                                             : TT_INTS;
    return TT_OK;
}

static enum tt_code shape_cast(struct tt_node *n, struct tt_err *err)
{
    (void)err;
    n->out->ndim = n->in[0]->ndim;
    for (int i = 0; i < n->out->ndim; i++)
        n->out->dim[i] = n->in[0]->dim[i];
    n->out->dtype = ((const struct cast *)n->attr)->to;
    return TT_OK;
}

static void forward_cast(struct tt_node *n)
{
    const enum tt_number to = n->out->dtype;
    const float *x = n->in[0]->x;
    float *y = n->out->x;

    for (int64_t i = 0, len = tt_len(n->out); i < len; i++)
        y[i] = to == TT_BOOLS ? x[i] != 0 : to == TT_INTS ? truncf(x[i]) : x[i];
}

const struct tt_op tt_op_cast = {
    .name = "Cast",
    .min_in = 1,
    .max_in = 1,
    .opset = 9,
    .source = "ONNX Cast-13",
    .attr_size = sizeof(struct cast),
    .layout = TT_FOLLOWS,
    .inplace = true,
    .read = read_cast,
    .shape = shape_cast,
    .forward = forward_cast,
};
