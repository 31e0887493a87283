// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_SALT_H
#define TT_DAEMON_SALT_H

#include "policies/policy.h"
#include "runtime/model.h"

/* What goes into the name of each version beside its numbers: a hash of the model, and of the
 * method as text. */
TT_MUST_CHECK enum tt_code tt_stream_salt(const struct tt_model *model,
                                          const struct tt_policy *policy, char ret[TT_HASH_HEX + 1],
                                          struct tt_err *err);

#endif
