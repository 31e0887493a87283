// SPDX-License-Identifier: Apache-2.0
#ifndef TT_CONFIG_YAML_H
#define TT_CONFIG_YAML_H

#include "base/arena.h"
#include "config/diag.h"

/*
 * YAML text as a tree in which every node knows its line and column.  Read with libyaml's
 * events, strictly: one document, no anchors, aliases or tags, no key given twice, at most
 * TT_YAML_DEPTH levels.  Scalars stay text; who reads a value decides what type it must have.
 */
#define TT_YAML_DEPTH 32

enum tt_ytype { TT_YSCALAR, TT_YLIST, TT_YMAP };

struct tt_ynode {
    enum tt_ytype type;
    int line, col;                 // from 1
    const char *text;              // scalar; NUL-terminated
    bool quoted;                   // scalar written in quotes: never a number, a bool or null
    const char *key;               // this node's own key, when it is a map's value
    int key_line, key_col;         // where that key stands
    int n;                         // list, map: children
    struct tt_ynode *first, *next; // children, in order; the next of the parent's
    const char *preset;            // merged in from that preset; NULL: from the file itself
};

/* The tree of text, in arena; NULL when d got an error (or memory ran out, which is one) that
 * leaves none.  A key given twice, an anchor or a tag is an error, and the tree is there all the
 * same, so that what else is wrong can be told with it: who calls looks at d->errors, too.
 * An empty text is an empty map. */
struct tt_ynode *tt_yaml_read(const char *text, size_t len, struct tt_arena *arena,
                              struct tt_diags *d);

/* The value of that key of a map, or NULL. */
struct tt_ynode *tt_yaml_get(const struct tt_ynode *map, const char *key);

#endif
