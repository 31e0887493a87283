// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_REPLY_H
#define TT_DAEMON_REPLY_H

#include <jansson.h>

#include "daemon/job.h"

/* The answer of a job, as JSON in its arena.  Memory that runs out makes an answer without
 * details, never none. */

/* Answer with the members of o, to which op and id are added.  Takes o. */
void tt_reply_json(struct tt_job *job, json_t *o);

/* Answer with an error. */
void tt_reply_refusal(struct tt_job *job, const struct tt_refusal *r);

/* Likewise, with one member more, which is borrowed. */
void tt_reply_refusal_with(struct tt_job *job, const struct tt_refusal *r, const char *key,
                           json_t *more);

/* Answer with an error that a function returned, under the code that fits it. */
void tt_reply_error(struct tt_job *job, const struct tt_err *err);

json_t *tt_json_number(double x);       // null when it is not finite
json_t *tt_json_text(const char *text); // also of what is not UTF-8; NULL is null

#endif
