// SPDX-License-Identifier: Apache-2.0
#include "base/tape.h"

#include <string.h>

static const unsigned char nothing[1];

void tt_tape_count(struct tt_tape *t)
{
    *t = (struct tt_tape){.at = 0};
}

void tt_tape_write(struct tt_tape *t, void *out)
{
    *t = (struct tt_tape){.out = (unsigned char *)out};
}

void tt_tape_read(struct tt_tape *t, const void *in, size_t n)
{
    *t = (struct tt_tape){.in = in ? (const unsigned char *)in : nothing, .end = in ? n : 0};
}

void tt_tape_bytes(struct tt_tape *t, void *p, size_t n)
{
    if (t->in) {
        if (t->bad || n > t->end - t->at) {
            t->bad = true;
            return;
        }
        if (n)
            memcpy(p, t->in + t->at, n);
    } else if (t->out && n) {
        memcpy(t->out + t->at, p, n);
    }
    t->at += n;
}

void tt_tape_i64(struct tt_tape *t, int64_t *x, int64_t min, int64_t max)
{
    int64_t v = *x;

    tt_tape_bytes(t, &v, sizeof v);
    if (t->in && (v < min || v > max))
        t->bad = true;
    if (!t->bad)
        *x = v;
}

void tt_tape_u64(struct tt_tape *t, uint64_t *x)
{
    tt_tape_bytes(t, x, sizeof *x);
}

void tt_tape_f64(struct tt_tape *t, double *x)
{
    tt_tape_bytes(t, x, sizeof *x);
}

void tt_tape_bool(struct tt_tape *t, bool *x)
{
    int64_t v = *x;

    tt_tape_i64(t, &v, 0, 1);
    *x = v != 0;
}

void tt_tape_text(struct tt_tape *t, char *buf, size_t cap)
{
    int64_t n = t->in ? 0 : (int64_t)strlen(buf);
    char *end;

    tt_tape_i64(t, &n, 0, (int64_t)cap - 1);
    if (t->bad)
        return;
    tt_tape_bytes(t, buf, (size_t)n);
    if (!t->in)
        return;
    end = t->bad ? buf : buf + n;
    *end = '\0';
    if (strlen(buf) != (size_t)(end - buf))
        t->bad = true;
}

bool tt_tape_done(const struct tt_tape *t)
{
    return !t->bad && (!t->in || t->at == t->end);
}
