// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_CONSTANT_H
#define TT_RUNTIME_CONSTANT_H

#include "runtime/infer.h"

/*
 * What an operator makes of constants, computed once when a model is read: exporters leave
 * transposed weights, masks and scales behind them as nodes.  The node stays in the graph, for a
 * program in which one of its weights is variable; all others find its result there.
 *
 * value: a result, all of whose operands are weights or known; shape: its own, the same for every
 * batch.  Sets the value's and *shape's data, in arena.
 */
TT_MUST_CHECK enum tt_code tt_constant(struct tt_graph *g, int value, struct tt_probe *shape,
                                       struct tt_arena *arena, struct tt_err *err);

#endif
