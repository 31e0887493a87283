// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_INSPECT_H
#define TT_DAEMON_INSPECT_H

#include <jansson.h>
#include <stdio.h>

#include "policies/policy.h"
#include "runtime/infer.h"

/* What is in a model, and what a policy takes of it: for people, and as JSON. */
struct tt_inspection {
    const char *path;
    const struct tt_model *model;
    const struct tt_probe *probes;  // shapes of its values
    const struct tt_policy *policy; // NULL: none was given; the rest is of it
    bool *selected;                 // [nparams]
    int nselected;
    int64_t scalars; // of those
    int64_t floats;  // of a version: parameters, optimizer, statistics
};

/* Look at a model under a policy, which may be NULL.  All in arena, and pointing to what is given.
 * The error is that of a policy that does not fit the model. */
TT_MUST_CHECK enum tt_code tt_inspect(const char *path, const struct tt_model *model,
                                      const struct tt_policy *policy, struct tt_arena *arena,
                                      struct tt_inspection *ret, struct tt_err *err);

/* At most 100 columns wide. */
void tt_inspection_print(const struct tt_inspection *t, FILE *to);

/* The same as an object, the caller's; NULL: out of memory. */
json_t *tt_inspection_json(const struct tt_inspection *t);

#endif
