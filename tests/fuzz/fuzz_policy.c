// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "policies/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A text is a policy, or has mistakes that are told; and what a policy says it means is a policy
 * that means the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tt_arena arena;
    struct tt_diags *d;
    const struct tt_policy *p, *again;

    tt_arena_init(&arena, (size_t)64 << 20);
    d = TT_NEW(&arena, 2, struct tt_diags);
    tt_diags_init(&d[0], &arena, "a.yaml", (const char *)data, n);
    p = tt_policy_read("a.yaml", (const char *)data, n, &arena, &d[0]);
    if (!p && !d[0].errors)
        abort();
    if (!p && !*tt_diags_text(&d[0]))
        abort();
    if (p) {
        tt_diags_init(&d[1], &arena, "b.yaml", p->text, strlen(p->text));
        again = tt_policy_read("b.yaml", p->text, strlen(p->text), &arena, &d[1]);
        if (!again || strcmp(again->hash, p->hash) != 0 || strcmp(again->text, p->text) != 0)
            abort();
    }
    tt_arena_release(&arena);
    return 0;
}
