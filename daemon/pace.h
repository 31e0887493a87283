// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_PACE_H
#define TT_DAEMON_PACE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * How long a batch takes, from how long the last ones of about as many rows took: answered only,
 * and learnt from as well.  Of a size that was not measured yet, what is known of those up to four
 * times as large or small, by rows.
 */
#define TT_PACE_SIZES 17 // powers of two, of rows

struct tt_pace {
    struct tt_pace_size {
        float us[2]; // [learnt]; 0: not known
        int n[2];    // how many it is made of, up to some
    } size[TT_PACE_SIZES];
};

/* A batch of so many rows took so long. */
void tt_pace_saw(struct tt_pace *p, int64_t rows, bool learnt, int64_t us);

/* What one will take; 0: nothing is known. */
int64_t tt_pace_expect(const struct tt_pace *p, int64_t rows, bool learn);

#endif
