// SPDX-License-Identifier: Apache-2.0
#include "engines/part.h"

/* Mean Shannon entropy of the predictions; Tent's loss. */
static enum tt_code plan(struct tt_plan *p, struct tt_use *u, struct tt_err *err)
{
    int z = tt_plan_logits(p);

    (void)u;
    return tt_plan_term(p,
                        tt_graph_node(tt_plan_graph(p), tt_op_find("tt.Entropy"), "entropy", NULL,
                                      1, &z, "entropy"),
                        err);
}

const struct tt_part tt_part_entropy = {
    .name = "entropy",
    .slot = TT_OBJECTIVE,
    .help = "entropy of softmax(logits), in nats, averaged over the rows",
    .source = "Wang et al. 2021 (Tent), eq. 1; DequanWang/tent e9e926a",
    .plan = plan,
};
