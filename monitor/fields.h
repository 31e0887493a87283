// SPDX-License-Identifier: Apache-2.0
#ifndef TT_MONITOR_FIELDS_H
#define TT_MONITOR_FIELDS_H

#include "monitor/record.h"
#include <stddef.h>

/*
 * How each kind of record is packed for the queue and written to the database; for the store
 * alone.  A kind's fields are listed once (record.c); their packed order is the order of that
 * list, their names are the SQL parameters.
 *
 * Packed, every field is 8 bytes of int64 or double, or for a text 4 bytes of length and the
 * bytes; a length of TT_PACK_NULL is NULL.  The three common fields come first.
 */
#define TT_PACK_NULL    UINT32_MAX
#define TT_PACK_MAX     ((size_t)48 * 1024) // bytes of the largest packed record
#define TT_COUNTS_BYTES ((size_t)32 * 1024) // of its class counts: 1 000 times ,"999": and a number

enum tt_field_type {
    TT_FIELD_TEXT,
    TT_FIELD_JSON,
    TT_FIELD_COUNTS, // an int64_t array; its length is the int64_t member behind the pointer
    TT_FIELD_INT,
    TT_FIELD_NONZERO, // an int64_t; 0 is not known
    TT_FIELD_REAL,
    TT_FIELD_BOOL,
};

struct tt_field {
    const char *name; // of the SQL parameter, and of the column unless aside
    enum tt_field_type type;
    bool aside;    // no column of the kind's own table
    size_t offset; // in struct tt_record
    size_t limit;  // bytes of a text
};

struct tt_recipe {
    const char *table;             // one generated INSERT of all fields; NULL: none
    const struct tt_field *fields; // ends with a NULL name
    const char *const *sql;        // more statements, run after it; ends with NULL
};
extern const struct tt_recipe tt_recipes[TT_NRECORDS];

/* Pack into buf, which has TT_PACK_MAX bytes; the bytes used. */
size_t tt_record_pack(const struct tt_record *r, unsigned char *buf);

/* Copy s to dst, at most limit bytes, no NUL behind them: cut at a character's boundary, bytes
 * that are not UTF-8 become '?'.  Returns the bytes written. */
size_t tt_utf8_copy(char *dst, size_t limit, const char *s);

#endif
