// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_DRAFT_H
#define TT_DAEMON_DRAFT_H

#include "daemon/catalogue.h"

/*
 * The next catalogue: files are read and everything is checked before anything counts.  Either
 * there is one, or there are mistakes, and then nothing has changed.  No thread, no socket.
 */
struct tt_changed {
    const char *what;      // added, changed, removed
    const char *name;      // what requests call it
    const char *from, *to; // hashes; NULL: none
};

struct tt_user { // a model and a policy that a stream in memory uses
    const char *model, *policy, *stream;
};

struct tt_draft {
    struct tt_arena arena;
    struct tt_mistakes mistakes;
    struct tt_catalogue *next; // NULL: there are mistakes, or nothing is to change
    struct tt_changed models[2 * TT_MAXNAMED], policies[2 * TT_MAXNAMED];
    int nmodels, npolicies, nsettings;
    const char **settings;      // keys that changed
    struct tt_mistakes refused; // load: policies that cannot be used with the model, and why
};

void tt_draft_init(struct tt_draft *d);
void tt_draft_end(struct tt_draft *d); // drops next, unless it was taken

/* All of the configuration file.  Models that were loaded by hand stay, unless it names them. */
void tt_draft_reload(struct tt_draft *d, const struct tt_catalogue *now, const char *file,
                     const struct tt_user *users, int nusers);

/* One model more, or with replace in the place of another.  A relative path is relative to the
 * folder of the configuration file. */
void tt_draft_load(struct tt_draft *d, const struct tt_catalogue *now, const char *name,
                   const char *path, bool replace, const struct tt_user *users, int nusers);

/* One model less; it is there. */
void tt_draft_unload(struct tt_draft *d, const struct tt_catalogue *now, const char *name);

/* Compile a policy for every model of a catalogue; one must do, the error is of the last. */
TT_MUST_CHECK enum tt_code tt_draft_try(const struct tt_catalogue *c, const struct tt_policy *p,
                                        struct tt_err *err);

#endif
