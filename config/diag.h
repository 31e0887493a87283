// SPDX-License-Identifier: Apache-2.0
#ifndef TT_CONFIG_DIAG_H
#define TT_CONFIG_DIAG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * What is wrong with a text file: all mistakes at once, each with its place, in the form
 *
 *     tent.yaml:3:5: steps: 0 is outside [1, 64]
 *       3 |   steps: 0
 *         |          ^
 */
#define TT_MAXDIAGS 32 // more are counted, not kept

struct tt_diag {
    int line, col; // from 1; 0: the file as a whole
    bool warning;
    const char *msg;
};

struct tt_diags {
    struct tt_arena *arena; // owns the messages
    const char *file;       // as the user named it
    const char *text;       // of the file, for the source lines; may be NULL
    size_t len;
    int n, errors, dropped;
    struct tt_diag list[TT_MAXDIAGS];
};

void tt_diags_init(struct tt_diags *d, struct tt_arena *arena, const char *file, const char *text,
                   size_t len);

void tt_diag_error(struct tt_diags *d, int line, int col, const char *fmt, ...) TT_PRINTF(4, 5);
void tt_diag_warning(struct tt_diags *d, int line, int col, const char *fmt, ...) TT_PRINTF(4, 5);

/* All of it as text, sorted by place, with source lines; "" when there is nothing. In arena. */
const char *tt_diags_text(const struct tt_diags *d);

/* The i-th error by place, as "file:line:col: message"; NULL: there are not so many.  In arena. */
const char *tt_diags_line(const struct tt_diags *d, int i);

/* The first error as one line "file:line:col: message" in *err; its code is TT_EPARSE. */
enum tt_code tt_diags_err(const struct tt_diags *d, struct tt_err *err);

/* The word of choices (NULL-terminated) nearest to word, or NULL when none is near. */
const char *tt_did_you_mean(const char *word, const char *const *choices);

#endif
