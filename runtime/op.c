// SPDX-License-Identifier: Apache-2.0
#include "runtime/op.h"

#include <stdio.h>
#include <string.h>

#define TT_OP(name) extern const struct tt_op tt_op_##name;
#include "runtime/ops/ops.def"
#undef TT_OP

const struct tt_op *const tt_ops[] = {
#define TT_OP(name) &tt_op_##name,
#include "runtime/ops/ops.def"
#undef TT_OP
    NULL,
};

const struct tt_op *tt_op_find(const char *name)
{
    for (const struct tt_op *const *op = tt_ops; *op; op++)
        if (!strcmp((*op)->name, name))
            return *op;
    return NULL;
}

void tt_strides(const struct tt_tensor *t, int64_t stride[TT_MAXDIM])
{
    bool last = t->layout == TT_LAST && t->ndim >= 3;
    int64_t step = 1;

    if (last) {
        stride[1] = 1;
        step = t->dim[1];
    }
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (last && i == 1)
            continue;
        stride[i] = step;
        step *= t->dim[i];
    }
}

const char *tt_shape_text(const int64_t *dim, int ndim, char *text, int n)
{
    int used = snprintf(text, (size_t)n, "[");

    for (int i = 0; i < ndim && used < n; i++)
        used +=
            snprintf(text + used, (size_t)(n - used), "%s%lld", i ? ", " : "", (long long)dim[i]);
    if (used < n)
        snprintf(text + used, (size_t)(n - used), "]");
    return text;
}
