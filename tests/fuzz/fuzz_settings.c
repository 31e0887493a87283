// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "config/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A text is settings that can be used, or has mistakes that are told. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct tt_settings *s;
    struct tt_arena arena;
    struct tt_diags *d;

    tt_arena_init(&arena, (size_t)64 << 20);
    d = TT_NEW(&arena, 1, struct tt_diags);
    tt_diags_init(d, &arena, "ttad.yaml", (const char *)data, n);
    s = tt_settings_read("ttad.yaml", (const char *)data, n, "/run/ttad", &arena, d);
    if (!s && (!d->errors || !*tt_diags_text(d)))
        abort();
    if (s && (!s->data.n || !s->control.n || !s->events.n || !s->nmodels || !s->models[0].path ||
              !s->state_dir || !s->database || s->workers < 1))
        abort();
    tt_arena_release(&arena);
    return 0;
}
