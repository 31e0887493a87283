// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_LAYERS_H
#define TT_RUNTIME_LAYERS_H

#include "runtime/compile.h"

/*
 * Join the nodes of a program that follow each other and are used by nobody else:
 *
 *   [Conv] [BatchNormalization] [Add] [Relu or Clip]
 *
 * of which there is at least one of the first two, and another, into one node
 * (runtime/ops/layer.h), which stands where the last one stood.  need: the nodes that the program
 * is made of.  Only the program's own copy of nodes is changed.
 */
TT_MUST_CHECK enum tt_code tt_join_layers(struct tt_program *p, const struct tt_program_spec *spec,
                                          const bool *need, struct tt_err *err);

#endif
