// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "runtime/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What is read lies inside the bytes given, to the last of them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tt_npy a;
    struct tt_err err;
    size_t bytes;

    if (tt_npy_read(data, n, &a, &err))
        return 0;
    bytes = (size_t)a.n * tt_npy_size(a.type);
    if ((const uint8_t *)a.data + bytes != data + n || bytes > n)
        abort();
    return 0;
}
