// SPDX-License-Identifier: Apache-2.0
#include "runtime/machine.h"

#include <cblas.h>
#include <stdio.h>

#include "runtime/kernels.h"

void tt_machine(char ret[TT_MACHINE_BYTES])
{
    (void)snprintf(ret, TT_MACHINE_BYTES, "kernels %s, OpenBLAS %.32s, compiler %.64s",
                   tt_kernels()->name, openblas_get_corename(), __VERSION__);
}

void tt_machine_product(int n, const float *a, const float *b, float *c)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a, n, b, n, 0, c, n);
}

const char *tt_machine_blas(void)
{
    return openblas_get_config();
}
