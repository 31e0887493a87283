// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_MACHINE_H
#define TT_RUNTIME_MACHINE_H

#include <stddef.h>

/* What decides the last bits of a result beside its inputs and the number of threads: the kernels
 * that this processor gets, ours and OpenBLAS's, and the compiler.  One line. */
#define TT_MACHINE_BYTES 160
void tt_machine(char ret[TT_MACHINE_BYTES]);

/* c = a b for square matrices of side n, by OpenBLAS: what this machine can do at most. */
void tt_machine_product(int n, const float *a, const float *b, float *c);

/* The version of OpenBLAS and what it was built for. */
const char *tt_machine_blas(void);

#endif
