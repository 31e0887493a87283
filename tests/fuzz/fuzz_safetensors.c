// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "runtime/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What is read can be written, and is then read the same. */
static void rewrite(const struct tt_st_file *f, struct tt_arena *arena)
{
    struct tt_st_file back;
    struct tt_err err;
    void *data, *again;
    size_t n, m;

    if (tt_st_write(f, arena, &data, &n, &err) || tt_st_read(data, n, arena, &back, &err) ||
        back.ntensors != f->ntensors || back.nmeta != f->nmeta)
        abort();
    for (int i = 0; i < f->ntensors; i++) {
        const struct tt_st_tensor *a = tt_st_find(&back, f->tensors[i].name);

        if (!a || a->bytes != f->tensors[i].bytes || strcmp(a->dtype, f->tensors[i].dtype) != 0 ||
            (a->bytes && memcmp(a->data, f->tensors[i].data, a->bytes) != 0))
            abort();
    }
    if (tt_st_write(&back, arena, &again, &m, &err) || m != n || memcmp(data, again, n) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tt_arena arena;
    struct tt_st_file f;
    struct tt_err err;

    tt_arena_init(&arena, 0);
    if (!tt_st_read(data, n, &arena, &f, &err))
        rewrite(&f, &arena);
    tt_arena_release(&arena);
    return 0;
}
