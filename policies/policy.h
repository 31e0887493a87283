// SPDX-License-Identifier: Apache-2.0
#ifndef TT_POLICIES_POLICY_H
#define TT_POLICIES_POLICY_H

#include "engines/method.h"
#include "monitor/rule.h"
#include "policies/preset.h"

/*
 * A policy: how streams adapt, what watches them, and what is done when that trips.  One YAML
 * file, read once, never changed afterwards.
 *
 *     version, name, preset                     what this is, and what it builds on
 *     select, stats, objective, optimizer,
 *     steps, reset, predict                     the method (engines/method.h)
 *     preprocess                                how images become inputs
 *     guards, recovery                          rules, and what follows a trip (monitor/rule.h)
 *     monitor, snapshots, capture               what is measured, what is kept
 *     adapt, brownout                           when is learnt, and when it makes way for answers
 */
#define TT_POLICY_NAME  64                // bytes of a name, with its NUL
#define TT_POLICY_BYTES ((size_t)1 << 20) // of a file, at most

/* Which frozen answers are compared with the stream's, on the batches that are sampled. */
enum tt_shadow { TT_SHADOW_SOURCE = 1, TT_SHADOW_SAME = 2 };
#define TT_SHADOWS "source|same"

struct tt_monitor_options {
    int64_t shadow_every; // every so many batches the frozen model answers too; 0: never
    unsigned
        shadow_stats; // enum tt_shadow, or-ed: SOURCE makes base_disagreement (the model as it
                      // was deployed), SAME shadow_disagreement (under the method's statistics)
};

struct tt_snapshot_options {
    int64_t every_updates; // a version that may be gone back to, after so many updates; 0: never
};

/* Inputs kept beside the record, so that `ttad replay` can run the stream again. */
enum tt_capture_mode { TT_CAPTURE_OFF, TT_CAPTURE_ON };
#define TT_CAPTURE_MODES "off|on"

struct tt_capture_options {
    int mode;          // enum tt_capture_mode
    int64_t max_bytes; // of a stream's files together; the oldest go
};

/* When a batch is learnt from: before its answer leaves, or after. */
enum tt_adapt { TT_ADAPT_INLINE, TT_ADAPT_BACKGROUND };
#define TT_ADAPTS "inline|background"

struct tt_brownout_options {
    int64_t queue_ms; // of work that waits, from which on nothing is learnt; 0: never
    int64_t clear_ms; // of work that waits, until which nothing is learnt again
};

struct tt_policy {
    const char *name; // `name`, else the file's without folder and ending
    const char *file; // as it was given
    const char *text; // all that it means, defaults and presets filled in, as YAML that reads back
                      // to the same policy
    char hash[TT_HASH_HEX + 1]; // of that text; so comments, order and name do not matter
    struct tt_method method;
    struct tt_preprocess preprocess;
    struct tt_guard_policy guard;
    struct tt_monitor_options monitor;
    struct tt_snapshot_options snapshots;
    struct tt_capture_options capture;
    struct tt_brownout_options brownout;
    int adapt; // enum tt_adapt
};

/* The policy of a text; NULL: it has mistakes, which are in d.  Warnings leave a policy.
 * What it holds is in arena, which d must use too. */
struct tt_policy *tt_policy_read(const char *file, const char *text, size_t len,
                                 struct tt_arena *arena, struct tt_diags *d);

/* The part of the above that needs no file: select to predict of a merged tree.  For
 * policies/method.c; line and column of what is told are the tree's. */
bool tt_method_read(const struct tt_ynode *tree, struct tt_arena *arena, struct tt_method *ret,
                    struct tt_diags *d);

/* Refuse a method that cannot do what it says, whatever the model. */
void tt_method_check(const struct tt_ynode *tree, const struct tt_method *m, struct tt_diags *d);

/* The method as YAML, defaults filled in. */
void tt_method_print(const struct tt_method *m, struct tt_out *o);

#endif
