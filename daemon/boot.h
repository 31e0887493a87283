// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_BOOT_H
#define TT_DAEMON_BOOT_H

#include "daemon/daemon.h"

/* The phases that read files: configuration, models, policies, and which streams there were. */
TT_MUST_CHECK enum tt_code tt_boot_settings(struct tt_daemon *d, struct tt_err *err);
void tt_boot_free_settings(struct tt_daemon *d);
TT_MUST_CHECK enum tt_code tt_boot_models(struct tt_daemon *d, struct tt_err *err);
void tt_boot_free_models(struct tt_daemon *d);

/* Each policy must compile for at least one model, or nobody could use it. */
TT_MUST_CHECK enum tt_code tt_boot_policies(struct tt_daemon *d, struct tt_err *err);

/* Streams of the record that were not closed are known again; they resume when first used. */
TT_MUST_CHECK enum tt_code tt_boot_streams(struct tt_daemon *d, struct tt_err *err);

/* Likewise those that are not known yet, as far as that catalogue has their model and policy. */
TT_MUST_CHECK enum tt_code tt_boot_know(struct tt_daemon *d, const struct tt_catalogue *c,
                                        struct tt_err *err);

void tt_boot_nothing(struct tt_daemon *d);

#endif
