// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_MISTAKES_H
#define TT_DAEMON_MISTAKES_H

#include "config/diag.h"
#include "config/out.h"

/*
 * What is wrong with the files that the daemon is to serve by: of all of them, so that one try
 * tells everything.
 */
#define TT_MAXMISTAKES 64 // more are counted, not kept

struct tt_mistakes {
    struct tt_arena arena;
    int n, more;
    const char *list[TT_MAXMISTAKES]; // "file:line:col: message", one line each
    struct tt_out text; // the same with source lines, and the warnings, for a terminal
};

void tt_mistakes_init(struct tt_mistakes *m);
void tt_mistakes_end(struct tt_mistakes *m);

/* Diagnostics of one file; they may go afterwards. */
void tt_mistakes_add(struct tt_mistakes *m, const struct tt_diags *d);

/* One that has no place in a file, or names it itself. */
void tt_mistakes_say(struct tt_mistakes *m, const char *fmt, ...) TT_PRINTF(2, 3);

/* The first as an error.  There is one. */
enum tt_code tt_mistakes_err(const struct tt_mistakes *m, struct tt_err *err);

#endif
