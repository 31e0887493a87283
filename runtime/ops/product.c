// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/product.h"

#include <cblas.h>
#include <string.h>

#define SMALL 2e6 // multiplications: from here on one product has work for all threads

static CBLAS_TRANSPOSE trans(bool t)
{
    return t ? CblasTrans : CblasNoTrans;
}

void tt_product(float *c, const float *a, bool ta, const float *b, bool tb, int64_t m, int64_t n,
                int64_t k, float scale, float keep)
{
    if (m && n)
        cblas_sgemm(CblasRowMajor, trans(ta), trans(tb), (int)m, (int)n, (int)k, scale, a,
                    (int)(ta ? m : k), b, (int)(tb ? k : n), keep, c, (int)n);
}

/* Where the matrices of index i are: *c, *a, *b in floats. */
static void locate(const struct tt_repeat *r, int nr, int64_t i, int64_t *c, int64_t *a, int64_t *b)
{
    *c = *a = *b = 0;
    for (int d = nr - 1; d >= 0; d--) {
        int64_t at = i % r[d].n;

        *c += at * r[d].sc;
        *a += at * r[d].sa;
        *b += at * r[d].sb;
        i /= r[d].n;
    }
}

void tt_products(const struct tt_repeat *r, int nr, float *c, const float *a, bool ta,
                 const float *b, bool tb, int64_t m, int64_t n, int64_t k, bool add)
{
    struct tt_repeat own[TT_MAXDIM], shared[TT_MAXDIM];
    int nown = 0, nshared = 0;
    int64_t targets = 1, each = 1;

    for (int i = 0; i < nr; i++) {
        if (r[i].sc || r[i].n == 1) {
            own[nown++] = r[i];
            targets *= r[i].n;
        } else {
            shared[nshared++] = r[i];
            each *= r[i].n;
        }
    }
#pragma omp parallel for schedule( \
    static) if (targets > 1 && ((double)m * (double)n * (double)k < SMALL || targets >= 16))
    for (int64_t t = 0; t < targets; t++) {
        int64_t oc, oa, ob, none, sa, sb;

        locate(own, nown, t, &oc, &oa, &ob);
        for (int64_t s = 0; s < each; s++) {
            locate(shared, nshared, s, &none, &sa, &sb);
            tt_product(c + oc, a + oa + sa, ta, b + ob + sb, tb, m, n, k, 1, add || s ? 1 : 0);
        }
    }
}
