// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/broadcast.h"

#include <stdlib.h>
#include <string.h>

#define PIECE  4096 // elements of a turn
#define SUMMED 1024 // elements of a turn of a sum: three buffers of them fit the first-level cache
#define PARTS  16   // in which a long sum is split
#define ROWS   256  // summands of a part at least
#define BLOCK  64   // summands that are added in float before they are added to the rest

/* ---- shapes --------------------------------------------------------------------------------- */

/* Which of the result's dimensions operand k's first is. */
static int first_dim(const struct tt_tensor *t, const struct tt_tensor *out, int k, int from)
{
    return k == 1 && from >= 0 ? from : out->ndim - t->ndim;
}

enum tt_code tt_broadcast_shape(struct tt_node *n, int from, struct tt_err *err)
{
    struct tt_tensor *out = n->out;
    char ta[TT_SHAPE_TEXT], tb[TT_SHAPE_TEXT];

    out->ndim = 0;
    for (int k = 0; k < n->nin; k++)
        if (n->in[k]->ndim > out->ndim)
            out->ndim = n->in[k]->ndim;
    for (int i = 0; i < out->ndim; i++)
        out->dim[i] = 1;
    for (int k = 0; k < n->nin; k++) {
        const struct tt_tensor *t = n->in[k];
        int first = first_dim(t, out, k, from);

        if (first + t->ndim > out->ndim)
            return tt_fail(err, TT_ERANGE, "axis %d, which operand 1 of %d dimensions goes beyond",
                           from, t->ndim);
        for (int i = 0; i < t->ndim; i++) {
            int64_t *d = &out->dim[first + i];

            if (t->dim[i] != *d && t->dim[i] != 1 && *d != 1)
                return tt_fail(err, TT_ESHAPE, "operands %s and %s do not broadcast",
                               tt_shape_text(n->in[0]->dim, n->in[0]->ndim, ta, sizeof ta),
                               tt_shape_text(t->dim, t->ndim, tb, sizeof tb));
            if (*d == 1)
                *d = t->dim[i];
        }
    }
    n->nscratch = tt_sum_scratch(n);
    return TT_OK;
}

/* In how many parts the sums over out for an operand are split. */
static int64_t parts_of(int64_t out, int64_t operand)
{
    int64_t parts = operand ? out / operand / ROWS : 1;

    return parts < 1 ? 1 : parts > PARTS ? PARTS : parts;
}

int64_t tt_fold_scratch(int64_t many, int64_t few)
{
    int64_t parts = parts_of(many, few);

    return parts > 1 ? parts * few : 0;
}

int64_t tt_sum_scratch(const struct tt_node *n)
{
    int64_t most = 0;

    for (int k = 0; k < n->nin; k++) {
        int64_t need = n->in[k] ? tt_fold_scratch(tt_len(n->out), tt_len(n->in[k])) : 0;

        most = need > most ? need : most;
    }
    return most;
}

/* ---- lines ---------------------------------------------------------------------------------- */

struct axis {
    int64_t n, stride[TT_LINE_OPERANDS];
};

static int by_stride(const void *a, const void *b)
{
    const struct axis *x = (const struct axis *)a, *y = (const struct axis *)b;

    return x->stride[0] < y->stride[0] ? 1 : x->stride[0] > y->stride[0] ? -1 : 0;
}

/* The result's dimensions of more than one element, outermost first.  Returns how many. */
static int find_axes(const struct tt_node *n, int from, struct axis *axes)
{
    const struct tt_tensor *out = n->out;
    int64_t own[TT_MAXDIM];
    struct axis all[TT_MAXDIM];
    int count = 0;

    memset(all, 0, sizeof all);
    tt_strides(out, own);
    for (int i = 0; i < out->ndim; i++)
        all[i] = (struct axis){.n = out->dim[i], .stride = {own[i]}};
    for (int k = 0; k < n->nin; k++) {
        const struct tt_tensor *t = n->in[k];
        int first = t ? first_dim(t, out, k, from) : 0;

        if (!t)
            continue;
        tt_strides(t, own);
        for (int i = 0; i < t->ndim; i++)
            all[first + i].stride[k + 1] = t->dim[i] == 1 ? 0 : own[i];
    }
    for (int i = 0; i < out->ndim; i++)
        if (all[i].n != 1)
            axes[count++] = all[i];
    qsort(axes, (size_t)count, sizeof *axes, by_stride);
    return count;
}

static bool joins(const struct axis *outer, const struct axis *inner, int noperands)
{
    for (int k = 0; k < noperands; k++)
        if (outer->stride[k] != inner->stride[k] * inner->n)
            return false;
    return true;
}

/* Lines from axes that are sorted; neighbours that lie behind one another in all are one. */
static void join(struct tt_lines *l, struct axis *axes, int count, int noperands)
{
    int joined = 0;

    *l = (struct tt_lines){.noperands = noperands, .count = 1, .len = 1};
    for (int i = 0; i < count; i++) {
        if (joined && joins(&axes[joined - 1], &axes[i], noperands)) {
            axes[i].n *= axes[joined - 1].n;
            axes[joined - 1] = axes[i];
        } else {
            axes[joined++] = axes[i];
        }
    }
    if (!joined)
        return;
    l->n = joined - 1;
    for (int i = 0; i < l->n; i++) {
        l->dim[i] = axes[i].n;
        l->count *= axes[i].n;
        memcpy(l->stride[i], axes[i].stride, sizeof l->stride[i]);
    }
    l->len = axes[l->n].n;
    memcpy(l->step, axes[l->n].stride, sizeof l->step);
}

void tt_lines_make(struct tt_lines *l, const struct tt_node *n, int from)
{
    struct axis axes[TT_MAXDIM];

    join(l, axes, find_axes(n, from, axes), n->nin + 1);
}

void tt_lines_fold(struct tt_lines *l, const struct tt_tensor *x, const int64_t *stride)
{
    struct axis axes[TT_MAXDIM];
    int64_t own[TT_MAXDIM];
    int count = 0;

    tt_strides(x, own);
    for (int i = 0; i < x->ndim; i++)
        if (x->dim[i] != 1)
            axes[count++] = (struct axis){x->dim[i], {own[i], stride[i]}};
    qsort(axes, (size_t)count, sizeof *axes, by_stride);
    join(l, axes, count, 2);
}

void tt_line_at(const struct tt_lines *l, int64_t i, int64_t *at)
{
    for (int k = 0; k < l->noperands; k++)
        at[k] = 0;
    for (int d = l->n - 1; d >= 0; d--) {
        int64_t index = i % l->dim[d];

        i /= l->dim[d];
        for (int k = 0; k < l->noperands; k++)
            at[k] += index * l->stride[d][k];
    }
}

/* Lines first to last, one after another; they are short. */
static void some_lines(const struct tt_lines *l, int64_t first, int64_t last, tt_line *line,
                       void *context)
{
    int64_t at[TT_LINE_OPERANDS];

    for (int64_t i = first; i < last; i++) {
        tt_line_at(l, i, at);
        line(context, at, l->len);
    }
}

void tt_lines_each(const struct tt_lines *l, tt_line *line, void *context)
{
    int64_t pieces = (l->len + PIECE - 1) / PIECE, group = l->len >= PIECE ? 1 : PIECE / l->len;
    int64_t turns = pieces > 1 ? l->count * pieces : (l->count + group - 1) / group;

#pragma omp parallel for schedule(static) if (l->count * l->len > 8 * PIECE)
    for (int64_t t = 0; t < turns; t++) {
        int64_t at[TT_LINE_OPERANDS], begin = t % pieces * PIECE;

        if (pieces == 1) {
            int64_t last = (t + 1) * group < l->count ? (t + 1) * group : l->count;

            some_lines(l, t * group, last, line, context);
            continue;
        }
        tt_line_at(l, t / pieces, at);
        for (int k = 0; k < l->noperands; k++)
            at[k] += begin * l->step[k];
        line(context, at, l->len - begin < PIECE ? l->len - begin : PIECE);
    }
}

/* ---- sums ----------------------------------------------------------------------------------- */

struct sums {
    const struct tt_lines *l;
    int k;
    float *g;
    bool add;
    tt_slope *slope;
    void *context;
    int nkept, nsummed, kept[TT_MAXDIM], summed[TT_MAXDIM]; // dimensions outside of the lines
    int64_t nkept_lines, nsummed_lines;
    int64_t pieces; // of a line
};

/* An operand that is not broadcast: every element is written once. */
static void one_line(void *context, const int64_t *at, int64_t n)
{
    const struct sums *s = (const struct sums *)context;
    int64_t step = s->l->step[s->k];
    float *g = s->g + at[s->k], d[SUMMED];

    if (step == 1 && !s->add) {
        s->slope(s->context, g, at, n);
        return;
    }
    for (int64_t begin = 0; begin < n; begin += SUMMED, g += SUMMED * step) {
        int64_t m = n - begin < SUMMED ? n - begin : SUMMED, from[TT_LINE_OPERANDS];

        for (int i = 0; i < s->l->noperands; i++)
            from[i] = at[i] + begin * s->l->step[i];
        s->slope(s->context, d, from, m);
        if (s->add)
            for (int64_t i = 0; i < m; i++)
                g[i * step] += d[i];
        else
            for (int64_t i = 0; i < m; i++)
                g[i * step] = d[i];
    }
}

/* Moves at by line i of those over some of the dimensions. */
static void move(const struct sums *s, const int *dims, int n, int64_t i, int64_t *at)
{
    for (int d = n - 1; d >= 0; d--) {
        int64_t size = s->l->dim[dims[d]], index = i % size;

        i /= size;
        for (int k = 0; k < s->l->noperands; k++)
            at[k] += index * s->l->stride[dims[d]][k];
    }
}

/* Where the summand begins: line kept of those that are kept, line summed of those that are not,
 * element begin. */
static void find_summand(const struct sums *s, int64_t kept, int64_t summed, int64_t begin,
                         int64_t *at)
{
    for (int k = 0; k < s->l->noperands; k++)
        at[k] = begin * s->l->step[k];
    move(s, s->kept, s->nkept, kept, at);
    move(s, s->summed, s->nsummed, summed, at);
}

/* Summands first to last of some elements of a line of the operand, into to. */
static void sum_lines(const struct sums *s, int64_t turn, int64_t first, int64_t last, float *to,
                      bool add)
{
    float d[SUMMED], block[SUMMED], sum[SUMMED] = {0};
    int64_t begin = turn % s->pieces * SUMMED, at[TT_LINE_OPERANDS] = {0};
    int64_t m = s->l->len - begin < SUMMED ? s->l->len - begin : SUMMED, step = s->l->step[s->k];

    for (int64_t r = first; r < last;) {
        int64_t end = last - r < BLOCK ? last : r + BLOCK;

        memset(block, 0, sizeof *block * (size_t)m);
        for (; r < end; r++) {
            find_summand(s, turn / s->pieces, r, begin, at);
            s->slope(s->context, d, at, m);
            for (int64_t i = 0; i < m; i++)
                block[i] += d[i];
        }
        for (int64_t i = 0; i < m; i++)
            sum[i] += block[i];
    }
    find_summand(s, turn / s->pieces, 0, begin, at);
    for (int64_t i = 0; i < m; i++)
        to[at[s->k] + i * step] = (add ? to[at[s->k] + i * step] : 0) + sum[i];
}

/* Pieces first to last of lines, into one number. */
static void sum_all(const struct sums *s, int64_t kept, int64_t first, int64_t last, float *to,
                    bool add)
{
    float d[SUMMED];
    int64_t at[TT_LINE_OPERANDS] = {0};
    double sum = 0;

    for (int64_t r = first; r < last; r++) {
        int64_t begin = r % s->pieces * SUMMED;
        int64_t m = s->l->len - begin < SUMMED ? s->l->len - begin : SUMMED;

        find_summand(s, kept, r / s->pieces, begin, at);
        s->slope(s->context, d, at, m);
        for (int64_t i = 0; i < m; i++)
            sum += d[i];
    }
    find_summand(s, kept, 0, 0, at);
    to[at[s->k]] = (add ? to[at[s->k]] : 0) + (float)sum;
}

static void split_dimensions(struct sums *s)
{
    s->nkept_lines = s->nsummed_lines = 1;
    s->pieces = (s->l->len + SUMMED - 1) / SUMMED;
    for (int d = 0; d < s->l->n; d++)
        if (s->l->stride[d][s->k]) {
            s->kept[s->nkept++] = d;
            s->nkept_lines *= s->l->dim[d];
        } else {
            s->summed[s->nsummed++] = d;
            s->nsummed_lines *= s->l->dim[d];
        }
}

void tt_lines_sum(const struct tt_lines *l, int k, float *g, bool add, float *scratch,
                  tt_slope *slope, void *context)
{
    struct sums s = {.l = l, .k = k + 1, .g = g, .add = add, .slope = slope, .context = context};
    bool along = l->step[k + 1] == 0 && l->len > 1;
    int64_t elements, turns, summands, parts;

    split_dimensions(&s);
    if (!along && !s.nsummed) {
        tt_lines_each(l, one_line, &s);
        return;
    }
    elements = s.nkept_lines * (along ? 1 : l->len);
    turns = s.nkept_lines * (along ? 1 : s.pieces);
    summands = s.nsummed_lines * (along ? s.pieces : 1);
    parts = parts_of(l->count * l->len, elements);
#pragma omp parallel for schedule(static) if (l->count * l->len > 8 * PIECE)
    for (int64_t t = 0; t < turns * parts; t++) {
        int64_t part = t / turns, first = summands * part / parts;
        int64_t last = summands * (part + 1) / parts;
        float *to = parts > 1 ? scratch + part * elements : g;

        if (along)
            sum_all(&s, t % turns, first, last, to, add && parts == 1);
        else
            sum_lines(&s, t % turns, first, last, to, add && parts == 1);
    }
    for (int64_t i = 0; parts > 1 && i < elements; i++) {
        float sum = 0;

        for (int64_t part = 0; part < parts; part++)
            sum += scratch[part * elements + i];
        g[i] = (add ? g[i] : 0) + sum;
    }
}
