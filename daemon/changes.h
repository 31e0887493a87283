// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_CHANGES_H
#define TT_DAEMON_CHANGES_H

#include <jansson.h>

#include "daemon/draft.h"

/* What a draft changes, and what is wrong with it, for replies and events. */

/* {"changed", "config_hash", "policies": [{"name", "what", "from", "to"}], "models", "settings"} */
json_t *tt_changes_json(const struct tt_draft *d);

/* "2 policies, 0 models and 1 setting changed: policy 'tent' 12ab.. -> 34cd.., log_level" */
void tt_changes_sentence(const struct tt_draft *d, char *buf, size_t size);

/* The mistakes as a list of texts. */
json_t *tt_changes_lines(const struct tt_mistakes *m);

/* What is served: [{"name", "hash", "path", ..}] */
json_t *tt_changes_models(const struct tt_catalogue *c);
json_t *tt_changes_policies(const struct tt_catalogue *c);

#endif
