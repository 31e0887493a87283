// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_OPS_CONV_GEOMETRY_H
#define TT_RUNTIME_OPS_CONV_GEOMETRY_H

#include "runtime/op.h"
#include "runtime/ops/window.h"

/* Of runtime/ops/conv.c, which runtime/ops/conv_back.c is a part of. */

struct tt_conv_attr {
    struct tt_window window;
    int64_t groups;
};

/* Ways of a node (runtime/node.h): Winograd's transformed weights are not kept. */
enum tt_conv_way { TT_PASSING = 1, TT_PASSING_BACK = 2 };

/* What a node's shapes and attributes say; one dimension is two of which the first has size 1. */
struct tt_conv {
    int64_t C, O, H[2], OH[2], K[2], stride[2], pad[2], dilation[2], groups, Cg, Og;
    int64_t taps, panels, panels_back; // of one group
    int64_t table, table_back;         // ints
    int64_t packed, packed_back;       // floats
    int64_t transformed;               // floats of Winograd's weights, kept or not
    int64_t places;                    // ints
    bool winograd, depthwise;
    bool dense; // a kernel of one tap: pixel for pixel
};

/* What a node keeps, in this order; the last three only where backward has work. */
struct tt_conv_kept {
    float *marks; // [0] forward's table made, [1] forward packed, [2] [3] the same, back
    float *zeros; // that padding reads
    int32_t *table;
    float *packed;
    int32_t *table_back, *places; // which pixel of the input each row of a phase is
    float *packed_back;
};

void tt_conv_measure(const struct tt_node *n, struct tt_conv *g);

/* The node's way, from its shapes at the most rows that it is compiled for. */
unsigned tt_conv_choose_way(const struct tt_node *n, const struct tt_conv *g);

/* Floats of the part that both directions need. */
int64_t tt_conv_nkept(const struct tt_conv *g);
struct tt_conv_kept tt_conv_kept(const struct tt_node *n, const struct tt_conv *g);

/* The gradient to the input, by phases. */
void tt_conv_backward_phases(struct tt_node *n, const struct tt_conv *g);

#endif
