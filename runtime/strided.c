// SPDX-License-Identifier: Apache-2.0
#include "runtime/strided.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/tensor.h"

struct axis {
    int64_t n, st, sf;
};

static int by_stride(const void *a, const void *b)
{
    const struct axis *x = (const struct axis *)a, *y = (const struct axis *)b;

    return x->st < y->st ? 1 : x->st > y->st ? -1 : 0;
}

/* The innermost axis: contiguous on both sides, or not. */
static void line(float *to, const float *from, const struct axis *a, bool add)
{
    if (a->st == 1 && a->sf == 1 && !add) {
        memcpy(to, from, sizeof *to * (size_t)a->n);
        return;
    }
    for (int64_t i = 0; i < a->n; i++) {
        float v = from[i * a->sf];

        to[i * a->st] = add ? to[i * a->st] + v : v;
    }
}

static void walk(float *to, const float *from, const struct axis *a, int n, bool add)
{
    if (n == 1) {
        line(to, from, a, add);
        return;
    }
    for (int64_t i = 0; i < a->n; i++)
        walk(to + i * a->st, from + i * a->sf, a + 1, n - 1, add);
}

void tt_strided_copy(int ndim, const int64_t *dim, float *to, const int64_t *st, const float *from,
                     const int64_t *sf, bool add)
{
    struct axis axes[TT_MAXINDEX + 1];
    int64_t len = 1;
    int n = 0;

    for (int i = 0; i < ndim; i++) {
        len *= dim[i];
        if (dim[i] != 1)
            axes[n++] = (struct axis){dim[i], st[i], sf[i]};
    }
    if (!len)
        return;
    if (!n)
        axes[n++] = (struct axis){1, 1, 1};
    qsort(axes, (size_t)n, sizeof *axes, by_stride);
    for (int i = n - 1; i > 0; i--) { // join neighbours that lie behind one another
        struct axis *outer = &axes[i - 1], *inner = &axes[i];

        if (outer->st != inner->st * inner->n || outer->sf != inner->sf * inner->n)
            continue;
        *outer = (struct axis){outer->n * inner->n, inner->st, inner->sf};
        memmove(inner, inner + 1, sizeof *inner * (size_t)(n - 1 - i));
        n--;
    }
    if (n == 1) {
        line(to, from, axes, add);
        return;
    }
#pragma omp parallel for schedule(static) if (len > 65536 && axes[0].st)
    for (int64_t i = 0; i < axes[0].n; i++)
        walk(to + i * axes[0].st, from + i * axes[0].sf, axes + 1, n - 1, add);
}
