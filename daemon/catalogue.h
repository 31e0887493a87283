// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_CATALOGUE_H
#define TT_DAEMON_CATALOGUE_H

#include <pthread.h>
#include <stdatomic.h>

#include "config/settings.h"
#include "daemon/mistakes.h"
#include "policies/policy.h"
#include "runtime/inputs.h"

/*
 * What the daemon serves: a configuration, and models and policies by name.  All of it can change
 * while requests are answered, so none of it is ever changed: each model and policy is immutable
 * and counted, and so is the catalogue that lists them.  A change is a new catalogue, put on the
 * shelf in place of the old one; who holds the old one, or a model or policy of it, keeps it
 * whole, and what nobody holds any more is freed.
 *
 * take and hold add a reference, drop gives one back.  Any thread.
 */
struct tt_config { // as it was read
    atomic_int refs;
    struct tt_arena arena; // owns this
    const struct tt_settings *settings;
    char hash[TT_HASH_HEX + 1]; // of the file's bytes
};

struct tt_served_model {
    atomic_int refs;
    struct tt_arena arena; // owns this
    const char *name, *path;
    struct tt_model *model;
    struct tt_inputs inputs;
    const struct tt_value *input; // inputs.whole
    bool by_hand;                 // by the op load, not by the configuration
    struct tt_stamp {             // of the file, before it was read
        int64_t device, inode, size, mtime_s, mtime_ns;
    } stamp;
};

struct tt_served_policy {
    atomic_int refs;
    struct tt_arena arena; // owns this
    const char *name, *path;
    const struct tt_policy *policy;
};

struct tt_catalogue {
    atomic_int refs;
    struct tt_arena arena; // owns this
    int64_t number;        // of the change that made it; 0: not on a shelf yet
    struct tt_config *config;
    int nmodels, npolicies;
    struct tt_served_model *models[TT_MAXNAMED];
    struct tt_served_policy *policies[TT_MAXNAMED];
};

/* The place of the catalogue that counts. */
struct tt_shelf {
    pthread_mutex_t lock; // held for a moment only
    struct tt_catalogue *now;
    atomic_int_fast64_t number; // of now: somebody who remembers it sees whether anything changed
};

/* Read a configuration; NULL: what is wrong with it was added to *m, as are warnings. */
struct tt_config *tt_config_read(const char *file, struct tt_mistakes *m);
void tt_config_drop(struct tt_config *c); // NULL is nothing

/* Read a model; its error begins with its name. */
TT_MUST_CHECK enum tt_code tt_served_model_read(const char *name, const char *path,
                                                struct tt_served_model **ret, struct tt_err *err);
void tt_served_model_drop(struct tt_served_model *m); // NULL is nothing

/* Was m read from that path, and does the file look as it did then? */
bool tt_served_model_fresh(const struct tt_served_model *m, const char *path);

/* Read a policy; NULL: what is wrong with it was added to *m, as are warnings. */
struct tt_served_policy *tt_served_policy_read(const char *name, const char *path,
                                               struct tt_mistakes *m);
void tt_served_policy_drop(struct tt_served_policy *p); // NULL is nothing

struct tt_served_model *tt_served_model_hold(struct tt_served_model *m);
struct tt_served_policy *tt_served_policy_hold(struct tt_served_policy *p);

/* An empty catalogue of that configuration, which is held; the caller's until it is on a shelf.
 * NULL: out of memory. */
struct tt_catalogue *tt_catalogue_new(struct tt_config *config);
void tt_catalogue_drop(struct tt_catalogue *c); // NULL is nothing

/* The same once more, but for the model of that name; without NULL: all.  NULL: out of memory. */
struct tt_catalogue *tt_catalogue_copy(const struct tt_catalogue *c, const char *without);

/* List one more; the caller's reference goes to the catalogue.  One of that name makes room.
 * TT_ERANGE: there are too many, and nothing was done. */
TT_MUST_CHECK enum tt_code tt_catalogue_add_model(struct tt_catalogue *c, struct tt_served_model *m,
                                                  struct tt_err *err);
TT_MUST_CHECK enum tt_code tt_catalogue_add_policy(struct tt_catalogue *c,
                                                   struct tt_served_policy *p, struct tt_err *err);

/* The model or policy of that name, "" being the first model and the default policy; NULL: there is
 * none.  As long as the catalogue is held. */
struct tt_served_model *tt_catalogue_model(const struct tt_catalogue *c, const char *name);
struct tt_served_policy *tt_catalogue_policy(const struct tt_catalogue *c, const char *name);

/* "'fashion' and others are": what is served instead, as the end of a sentence. */
void tt_catalogue_say_models(const struct tt_catalogue *c, char *buf, size_t size);
void tt_catalogue_say_policies(const struct tt_catalogue *c, char *buf, size_t size);

void tt_shelf_init(struct tt_shelf *s);
void tt_shelf_end(struct tt_shelf *s);                         // drops what is on it
struct tt_catalogue *tt_shelf_take(struct tt_shelf *s);        // what counts now, held
void tt_shelf_put(struct tt_shelf *s, struct tt_catalogue *c); // takes the caller's reference

#endif
