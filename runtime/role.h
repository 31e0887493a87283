// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_ROLE_H
#define TT_RUNTIME_ROLE_H

#include "runtime/model.h"

/*
 * What a weight is to the node that takes it: after operator and operand (one line of a table in
 * role.c for each), or after the pattern in which exporters write a normalisation out.  Names in
 * the file play no part.
 */
struct tt_role {
    enum tt_kind kind;
    enum tt_member member;
};

/* Of the operand of a node of g.  What only gives it another shape or order (Transpose, Reshape)
 * is looked through: then it is what the result is. */
struct tt_role tt_role_of(const struct tt_graph *g, int node, int operand);

/* Of a normalisation: its weight, bias, mean or variance. */
bool tt_role_is_norm(struct tt_role role);

#endif
