// SPDX-License-Identifier: Apache-2.0
#ifndef TT_CONFIG_OUT_H
#define TT_CONFIG_OUT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * Text that grows, in an arena.  Writing never fails; running out of memory is remembered and
 * told once, at the end.  What was outgrown stays in the arena until that is released.
 */
struct tt_out {
    struct tt_arena *arena;
    char *text; // NUL-terminated once something was written
    size_t n, cap;
    bool failed;
};

void tt_out_init(struct tt_out *o, struct tt_arena *arena);
void tt_out_add(struct tt_out *o, const char *s, size_t n);
void tt_outf(struct tt_out *o, const char *fmt, ...) TT_PRINTF(2, 3);

/* The text, "" if nothing was written; NULL: memory ran out. */
const char *tt_out_text(const struct tt_out *o);

/* s[n] in double quotes, as JSON and YAML both read it. */
void tt_out_quoted(struct tt_out *o, const char *s, size_t n);

/* The shortest decimal that reads back as v; v is finite. */
void tt_out_number(struct tt_out *o, double v);

#endif
