// SPDX-License-Identifier: Apache-2.0
#ifndef TT_CONFIG_FIELD_H
#define TT_CONFIG_FIELD_H

#include <stdbool.h>
#include <stddef.h>

#include "config/out.h"
#include "config/yaml.h"

/*
 * A field table says what a YAML map may hold: one row per key, with its type,
 * bounds, default and one line of help.  The same table reads the file, prints
 * `ttad --print-config`, and says which keys there are when one is misspelt.
 */
enum tt_ftype {
    TT_FINT,   // int64_t
    TT_FFLOAT, // double
    TT_FBOOL,  // bool
    TT_FSTR,   // const char *; in the tree's arena
    TT_FENUM,  // int, the index in choice
    TT_FFLAGS, // unsigned; a list of choices, bit i for choice i
    TT_FSTRS,  // struct tt_strs; a list of strings
    TT_FFLOATS // struct tt_floats; a list of numbers
};

struct tt_strs {
    int n;
    const char **s;
};

struct tt_floats {
    int n;
    double *v;
};

struct tt_field {
    const char *key;
    enum tt_ftype type;
    size_t offset;      // into the struct being filled
    double min, max;    // TT_FINT, TT_FFLOAT, TT_FFLOATS: both ends allowed; TT_FSTR, TT_FSTRS:
                        // bytes of a text, max 0: any number
    const char *def;    // default as it would be written; NULL: the key is required
    const char *choice; // TT_FENUM, TT_FFLAGS: "a|b|c"
    unsigned flags;     // TT_LIVE: may change without a restart
    const char *help;   // one line, with the unit
};

#define TT_LIVE 1u

/* Rows are written with these; the last row is {0}. */
#define TT_F(type_, st, member, def_, min_, max_, flags_, help_)                        \
    {                                                                                   \
        .key = #member, .type = (type_), .offset = offsetof(st, member), .def = (def_), \
        .min = (min_), .max = (max_), .flags = (flags_), .help = (help_)                \
    }

#define TT_E(st, member, def_, choice_, flags_, help_)                                   \
    {                                                                                    \
        .key = #member, .type = TT_FENUM, .offset = offsetof(st, member), .def = (def_), \
        .choice = (choice_), .flags = (flags_), .help = (help_)                          \
    }

/* Fill *dst from map by the table: defaults first, then the file.  An unknown key (with the
 * nearest known one), a wrong type and a value out of bounds are added to d, each with its
 * place, and reading goes on; so all mistakes of a file are found at once.
 * map may be NULL: defaults alone; a required key that is missing is then told at line 0.
 * Keys in also (NULL-terminated, may be NULL) are known and left to the caller.
 * Returns whether nothing was added. */
bool tt_fields_read(const struct tt_field *table, const struct tt_ynode *map,
                    const char *const *also, void *dst, struct tt_diags *d);

/* Tell that node is not what was wanted: "want <what>, found a list", at its place. */
void tt_field_mismatch(const struct tt_ynode *node, const char *what, struct tt_diags *d);

/* Say that a key is not known here, with the nearest of known (NULL-terminated). */
void tt_field_unknown(const struct tt_ynode *node, const char *const *known, struct tt_diags *d);

/* The first row from table on in which *a and *b hold something else, or NULL: so
 * for (f = tt_fields_differ(table, a, b); f; f = tt_fields_differ(f + 1, a, b)) sees them all. */
const struct tt_field *tt_fields_differ(const struct tt_field *table, const void *a, const void *b);

/* What *src holds as "key: value" lines that read back to the same, keys in table order. */
void tt_fields_print(const struct tt_field *table, const void *src, int indent, struct tt_out *o);

/* The table as an example: each key with its default, under its help as comments.  A key
 * without a default is written commented out. */
void tt_fields_example(const struct tt_field *table, int indent, struct tt_out *o);

#endif
