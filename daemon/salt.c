// SPDX-License-Identifier: Apache-2.0
#include "daemon/salt.h"

#include <string.h>

enum tt_code tt_stream_salt(const struct tt_model *model, const struct tt_policy *policy,
                            char ret[TT_HASH_HEX + 1], struct tt_err *err)
{
    struct tt_arena arena;
    struct tt_hash h;
    struct tt_out out;

    tt_arena_init(&arena, 0);
    tt_out_init(&out, &arena);
    tt_method_print(&policy->method, &out);
    tt_hash_init(&h);
    tt_hash_add(&h, model->hash, strlen(model->hash));
    if (tt_out_text(&out))
        tt_hash_add(&h, tt_out_text(&out), strlen(tt_out_text(&out)));
    else
        (void)tt_fail(err, TT_ENOMEM, "out of memory");
    tt_hash_end(&h, ret);
    tt_arena_release(&arena);
    return out.failed ? TT_ENOMEM : TT_OK;
}
