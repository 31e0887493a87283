// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/resample.h"

#include <string.h>

static bool changes(const struct tt_axis *a)
{
    return a->taps > 0;
}

/* Floats of tables, and of the largest tensor on the way, of which there are two. */
static void count(const struct tt_axis *a, int ndim, int64_t *tables, int64_t *largest)
{
    int64_t len = 1;

    *tables = *largest = 0;
    for (int i = 0; i < ndim; i++) {
        len *= a[i].from;
        if (changes(&a[i]))
            *tables += 2 * a[i].to * a[i].taps;
    }
    for (int i = 0; i < ndim; i++) {
        len = a[i].from ? len / a[i].from * a[i].to : 0;
        *largest = changes(&a[i]) && len > *largest ? len : *largest;
    }
}

int64_t tt_resample_scratch(const struct tt_axis *a, int ndim)
{
    int64_t tables, largest;

    count(a, ndim, &tables, &largest);
    return tables + 2 * largest;
}

void tt_resample_tables(struct tt_axis *a, int ndim, float *scratch)
{
    for (int i = 0; i < ndim; i++) {
        if (!changes(&a[i]))
            continue;
        a[i].w = scratch;
        a[i].at = (int32_t *)(void *)(scratch + a[i].to * a[i].taps);
        scratch += 2 * a[i].to * a[i].taps;
    }
}

/* Elements behind axis i in memory, when the axes before it have their new size. */
static int64_t behind(const struct tt_node *n, const struct tt_axis *a, int i)
{
    int64_t inner = 1;
    bool last = n->out->layout == TT_LAST && n->out->ndim >= 3;

    if (last && i == 1)
        return 1;
    for (int k = i + 1; k < n->out->ndim; k++)
        inner *= last && k == 1 ? 1 : a[k].from;
    return last && i != 0 ? inner * a[1].to : last ? inner * a[1].from : inner;
}

/* y [outer, to, inner] from x [outer, from, inner] */
static void spread(const struct tt_axis *a, float *y, const float *x, int64_t outer, int64_t inner)
{
#pragma omp parallel for schedule(static) if (outer * a->to * inner > 65536)
    for (int64_t i = 0; i < outer * a->to; i++) {
        const float *w = a->w + i % a->to * a->taps;
        const int32_t *at = a->at + i % a->to * a->taps;
        float *row = y + i * inner;

        memset(row, 0, sizeof *row * (size_t)inner);
        for (int t = 0; t < a->taps; t++) {
            const float *from = x + (i / a->to * a->from + at[t]) * inner;

            for (int64_t j = 0; at[t] >= 0 && j < inner; j++)
                row[j] += w[t] * from[j];
        }
    }
}

/* dx [outer, from, inner] (+)= from dy [outer, to, inner] */
static void collect(const struct tt_axis *a, float *dx, const float *dy, int64_t outer,
                    int64_t inner, bool add)
{
#pragma omp parallel for schedule(static) if (outer * a->to * inner > 65536)
    for (int64_t o = 0; o < outer; o++) {
        float *rows = dx + o * a->from * inner;

        if (!add)
            memset(rows, 0, sizeof *rows * (size_t)(a->from * inner));
        for (int64_t i = 0; i < a->to * a->taps; i++) {
            const float *row = dy + (o * a->to + i / a->taps) * inner;
            float *to = rows + a->at[i] * inner;

            for (int64_t j = 0; a->at[i] >= 0 && j < inner; j++)
                to[j] += a->w[i] * row[j];
        }
    }
}

static int last_change(const struct tt_axis *a, int ndim)
{
    int last = -1;

    for (int i = 0; i < ndim; i++)
        last = changes(&a[i]) ? i : last;
    return last;
}

/* Axes are taken in ONNX's order, so those before i have their new size when i is; what is in
 * front of axis i in memory follows from the sizes. */
static int64_t in_front(const struct tt_node *n, const struct tt_axis *a, int i)
{
    int64_t len = 1;

    for (int k = 0; k < n->out->ndim; k++)
        len *= k < i ? a[k].to : a[k].from;
    return len / a[i].from / behind(n, a, i);
}

void tt_resample_forward(struct tt_node *n, const struct tt_axis *a)
{
    int ndim = n->out->ndim, last = last_change(a, ndim), turn = 0;
    int64_t tables, largest;
    const float *x = n->in[0]->x;

    count(a, ndim, &tables, &largest);
    if (last < 0)
        memcpy(n->out->x, x, sizeof *x * (size_t)tt_len(n->out));
    for (int i = 0; i <= last; i++) {
        float *y = i == last ? n->out->x : n->scratch + tables + (turn % 2) * largest;

        if (!changes(&a[i]))
            continue;
        turn++;
        spread(&a[i], y, x, in_front(n, a, i), behind(n, a, i));
        x = y;
    }
}

void tt_resample_backward(struct tt_node *n, const struct tt_axis *a)
{
    int ndim = n->out->ndim, first = ndim, turn = 0;
    int64_t tables, largest, len = tt_len(n->out);
    const float *dy = n->out->g;

    count(a, ndim, &tables, &largest);
    for (int i = ndim - 1; i >= 0; i--)
        first = changes(&a[i]) ? i : first;
    for (int64_t i = 0; first == ndim && i < len; i++)
        n->in[0]->g[i] = n->add[0] ? n->in[0]->g[i] + dy[i] : dy[i];
    for (int i = ndim - 1; i >= first; i--) {
        float *dx = i == first ? n->in[0]->g : n->scratch + tables + (turn % 2) * largest;

        if (!changes(&a[i]))
            continue;
        turn++;
        collect(&a[i], dx, dy, in_front(n, a, i), behind(n, a, i), i == first && n->add[0]);
        dy = dx;
    }
}
