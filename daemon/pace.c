// SPDX-License-Identifier: Apache-2.0
#include "daemon/pace.h"

#define WEIGHT 0.25F // of the newest
#define COLD   4     // first ones, that may have been slow for reasons of their own
#define FAR    2     // sizes
#define DEAR   4     // times an answer, that a step of learning takes at most while it is cold

static int size_of(int64_t rows)
{
    int i = 0;

    while (i < TT_PACE_SIZES - 1 && rows > (int64_t)1 << i)
        i++;
    return i;
}

void tt_pace_saw(struct tt_pace *p, int64_t rows, bool learnt, int64_t us)
{
    struct tt_pace_size *s = &p->size[size_of(rows)];
    const float old = s->us[learnt], now = us > 0 ? (float)us : 1;
    const bool cold = s->n[learnt] < COLD;

    s->us[learnt] = old <= 0 || (cold && now < old) ? now : old + WEIGHT * (now - old);
    s->n[learnt] += cold;
    if (learnt)
        return;
    /* While nothing is learnt its time is not measured: what slows the one down slows the other. */
    if (old > 0)
        s->us[true] *= s->us[false] / old;
    if (s->n[true] < COLD && s->us[true] > DEAR * s->us[false])
        s->us[true] = DEAR * s->us[false];
}

static float known(const struct tt_pace_size *s, bool learn)
{
    return s->us[learn] > 0 ? s->us[learn] : s->us[!learn];
}

int64_t tt_pace_expect(const struct tt_pace *p, int64_t rows, bool learn)
{
    const int at = size_of(rows);

    for (int far = 0; far <= FAR; far++)
        for (int i = at + far; i >= at - far; i -= far ? 2 * far : 1) {
            const float us = i >= 0 && i < TT_PACE_SIZES ? known(&p->size[i], learn) : 0;

            if (us > 0 && !far)
                return (int64_t)us;
            if (us > 0)
                return (int64_t)(us * (float)rows / (float)((int64_t)1 << i));
        }
    return 0;
}
