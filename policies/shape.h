// SPDX-License-Identifier: Apache-2.0
#ifndef TT_POLICIES_SHAPE_H
#define TT_POLICIES_SHAPE_H

#include "config/yaml.h"

/*
 * Write the short forms of a policy out, in place, so that trees can be merged and read by key:
 * a word in a slot becomes a map with the key that names the part, one item where a list belongs
 * a list of it, and `stats` always has `answer` and `learn`.  What has no sensible shape is left
 * as it is, for the reader to complain about.
 */
void tt_shape_policy(struct tt_ynode *policy, struct tt_arena *arena, struct tt_diags *d);

#endif
