// SPDX-License-Identifier: Apache-2.0
#ifndef TT_POLICIES_PRESET_H
#define TT_POLICIES_PRESET_H

#include "config/yaml.h"

/*
 * A preset is a published method of adaptation as a few lines of policy, compiled in from
 * policies/presets/.  A policy or another preset builds on it with `preset: NAME`: maps merge by
 * key, a new kind or mode drops the old one's keys, lists are replaced.
 */

/* The text of that preset, NUL-terminated; NULL: there is none of that name. */
const char *tt_preset_text(const char *name);

/* The names, sorted, NULL-terminated; in arena.  NULL: out of memory. */
const char *const *tt_preset_names(struct tt_arena *arena);

/* What a preset is, from the first comment line of its text; n is its length. */
const char *tt_preset_help(const char *text, size_t *ret_n);

/* The tree of a policy with every short form written out and its preset, if any, merged in.
 * What came from a preset has the place of the line that named it, and says so (tt_ynode.preset).
 * Mistakes go to d; NULL only when there is nothing to go on with. */
struct tt_ynode *tt_preset_merge(struct tt_ynode *policy, struct tt_arena *arena,
                                 struct tt_diags *d);

#endif
