// SPDX-License-Identifier: Apache-2.0
#ifndef TT_BASE_TAPE_H
#define TT_BASE_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Values as bytes and back, by one walk over them for all three purposes, so that writer and
 * reader cannot differ: counting (a tape of nothing), writing, reading.  Numbers are
 * little-endian, as in memory.  What cannot be read makes the tape bad and leaves the value; the
 * caller looks at tt_tape_done() once, at the end.
 */
struct tt_tape {
    unsigned char *out;      // writing: where to; NULL: counting, or reading
    const unsigned char *in; // reading: where from
    size_t at, end;          // end: of in
    bool bad;
};

void tt_tape_count(struct tt_tape *t);
void tt_tape_write(struct tt_tape *t, void *out); // as many bytes as a count has said
void tt_tape_read(struct tt_tape *t, const void *in, size_t n);

static inline bool tt_tape_reads(const struct tt_tape *t)
{
    return t->in != NULL;
}

void tt_tape_bytes(struct tt_tape *t, void *p, size_t n);

/* A number within [min, max]; another one that is read is bad. */
void tt_tape_i64(struct tt_tape *t, int64_t *x, int64_t min, int64_t max);
void tt_tape_u64(struct tt_tape *t, uint64_t *x);
void tt_tape_f64(struct tt_tape *t, double *x);
void tt_tape_bool(struct tt_tape *t, bool *x);

/* A text of less than cap bytes without NUL. */
void tt_tape_text(struct tt_tape *t, char *buf, size_t cap);

/* Reading: everything was good, and nothing is left. */
bool tt_tape_done(const struct tt_tape *t);

#endif
