// SPDX-License-Identifier: Apache-2.0
/* Reductions over some axes: sums of a function of the elements, or the largest, the smallest, the
 * product.  Gradients read what was reduced line by line, beside the result. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/fmath.h"
#include "runtime/ops/broadcast.h"
#include "runtime/ops/patterns.h"

struct attr {
    bool keep, none; // none: without axes nothing is reduced, else all are
    int n;
    int64_t axis[TT_MAXDIM];
};

static enum tt_code read_attr(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *t = (struct attr *)attr;
    int64_t n;
    const int64_t *old = tt_attr_ints(a, "axes", &n);

    t->keep = tt_attr_int(a, "keepdims", 1) != 0;
    t->none = tt_attr_int(a, "noop_with_empty_axes", 0) != 0;
    if (a->ints[1])
        n = a->ints[1]->n;
    if (n > TT_MAXDIM)
        return tt_fail(err, TT_ERANGE, "%lld axes, want at most %d", (long long)n, TT_MAXDIM);
    t->n = (int)n;
    for (int i = 0; i < t->n; i++) {
        t->axis[i] = a->ints[1] ? a->ints[1]->v[i].a : old[i];
        if (a->ints[1] && a->ints[1]->v[i].b)
            return tt_fail(err, TT_EUNSUPPORTED, "an axis depends on the batch");
    }
    return TT_OK;
}

bool tt_reduces(const void *attr, int n, int axis)
{
    const struct attr *t = (const struct attr *)attr;

    for (int i = 0; i < t->n; i++)
        if (t->axis[i] == axis || t->axis[i] + n == axis)
            return true;
    return !t->n && !t->none;
}

/* Which axes are reduced.  shape() has checked them. */
static void find_reduced(const struct tt_node *n, bool reduced[TT_MAXDIM])
{
    const struct attr *t = (const struct attr *)n->attr;
    int ndim = n->in[0]->ndim;

    for (int i = 0; i < TT_MAXDIM; i++)
        reduced[i] = !t->n && !t->none;
    for (int i = 0; i < t->n; i++)
        reduced[t->axis[i] < 0 ? t->axis[i] + ndim : t->axis[i]] = true;
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct attr *t = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    bool reduced[TT_MAXDIM];

    for (int i = 0; i < t->n; i++)
        if (t->axis[i] < -x->ndim || t->axis[i] >= x->ndim)
            return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                           (long long)t->axis[i], x->name, x->ndim);
    find_reduced(n, reduced);
    n->out->ndim = 0;
    for (int i = 0; i < x->ndim; i++)
        if (t->keep || !reduced[i])
            n->out->dim[n->out->ndim++] = reduced[i] ? 1 : x->dim[i];
    n->nscratch = tt_fold_scratch(tt_len(x), tt_len(n->out)) + 2 * tt_len(n->out);
    return TT_OK;
}

/* What a line needs; at[0] is where it lies in the operand, at[1] in the result. */
struct work {
    const struct tt_node *n;
    struct tt_lines lines;
    float scale;
    float *extra[2]; // of the result's size, in scratch
    float *scratch;  // behind them
};

static struct work begin(const struct tt_node *n)
{
    const struct attr *t = (const struct attr *)n->attr;
    struct work w = {.n = n, .extra = {n->scratch, n->scratch + tt_len(n->out)}};
    int64_t own[TT_MAXDIM], seen[TT_MAXDIM];
    bool reduced[TT_MAXDIM];
    int at = 0;

    w.scratch = n->scratch + 2 * tt_len(n->out);
    find_reduced(n, reduced);
    tt_strides(n->out, own);
    for (int i = 0; i < n->in[0]->ndim; i++) {
        seen[i] = reduced[i] ? 0 : own[at];
        at += t->keep || !reduced[i];
    }
    tt_lines_fold(&w.lines, n->in[0], seen);
    return w;
}

/* ---- what is summed ------------------------------------------------------------------------- */

/* One function of x, and of y, dy, u, v: the result's, its gradient's, the extras' elements. */
#define LINE(id, f)                                                           \
    static void id(void *context, float *d, const int64_t *at, int64_t n)     \
    {                                                                         \
        const struct work *w = (const struct work *)context;                  \
        const float *px = w->n->in[0]->x + at[0], *py = w->n->out->x + at[1]; \
        const float *pg = w->n->out->g ? w->n->out->g + at[1] : py;           \
        const float *pu = w->extra[0] + at[1], *pv = w->extra[1] + at[1];     \
        int64_t step = w->lines.step[1];                                      \
                                                                              \
        (void)px, (void)py, (void)pg, (void)pu, (void)pv, (void)step;         \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++)                   \
        {                                                                     \
            d[i] = f;                                                         \
        }                                                                     \
    }
#define X  px[i]
#define Y  py[i * step]
#define DY pg[i * step]
#define U  pu[i * step]
#define V  pv[i * step]

LINE(same, X)
LINE(magnitude, fabsf(X))
LINE(square, X *X)
LINE(above, tt_exp(X - Y)) // in LogSumExp, while the result is the largest element

static void sum_to(const struct tt_node *n, tt_slope *term, float *to)
{
    struct work w = begin(n);

    tt_lines_sum(&w.lines, 0, to, false, w.scratch, term, &w);
}

static void scale(struct tt_node *n, float by)
{
    for (int64_t i = 0; i < tt_len(n->out); i++)
        n->out->x[i] *= by;
}

/* How many elements go into one. */
static float ratio(const struct tt_node *n)
{
    return (float)tt_len(n->in[0]) / (float)tt_len(n->out);
}

static void forward_sum(struct tt_node *n)
{
    sum_to(n, same, n->out->x);
}

static void forward_mean(struct tt_node *n)
{
    sum_to(n, same, n->out->x);
    scale(n, 1 / ratio(n));
    for (int64_t i = 0; n->out->dtype == TT_INTS && i < tt_len(n->out); i++)
        n->out->x[i] = truncf(n->out->x[i]);
}

static void forward_l1(struct tt_node *n)
{
    sum_to(n, magnitude, n->out->x);
}

static void forward_sumsquare(struct tt_node *n)
{
    sum_to(n, square, n->out->x);
}

static void forward_l2(struct tt_node *n)
{
    sum_to(n, square, n->out->x);
    for (int64_t i = 0; i < tt_len(n->out); i++)
        n->out->x[i] = sqrtf(n->out->x[i]);
}

static void forward_logsum(struct tt_node *n)
{
    sum_to(n, same, n->out->x);
    for (int64_t i = 0; i < tt_len(n->out); i++)
        n->out->x[i] = logf(n->out->x[i]);
}

/* ---- folds: line after line ------------------------------------------------------------------ */

/* y = pair(y, x) element by element; step 0: all into one */
typedef void fold_line(float *y, int64_t step, const float *x, int64_t n);

#define FOLD(id, pair)                                                \
    static void id(float *y, int64_t step, const float *x, int64_t n) \
    {                                                                 \
        float one = *y;                                               \
                                                                      \
        for (int64_t i = 0; step && i < n; i++) {                     \
            float a = y[i * step], b = x[i];                          \
                                                                      \
            y[i * step] = pair;                                       \
        }                                                             \
        for (int64_t i = 0; !step && i < n; i++) {                    \
            float a = one, b = x[i];                                  \
                                                                      \
            one = pair;                                               \
        }                                                             \
        if (!step)                                                    \
            *y = one;                                                 \
    }

FOLD(larger, b > a || b != b ? b : a)
FOLD(smaller, b < a || b != b ? b : a)
FOLD(product, a *b)
FOLD(product_but_zeros, b != 0 ? a * b : a)

#define PIECE 4096 // elements
#define PARTS 16   // of what becomes one number

/* The dimensions outside of a line that the result has, and those that it has not. */
struct folding {
    const struct tt_lines *l;
    int n[2], dims[2][TT_MAXDIM];
    int64_t lines[2];
};

/* Moves at by line i over the dimensions that the result has (0), or has not (1). */
static void move(const struct folding *f, int which, int64_t i, int64_t at[2])
{
    for (int d = f->n[which] - 1; d >= 0; d--) {
        int dim = f->dims[which][d];

        for (int k = 0; k < 2; k++)
            at[k] += i % f->l->dim[dim] * f->l->stride[dim][k];
        i /= f->l->dim[dim];
    }
}

/* Elements begin to end of the lines first to last that become the result's line at. */
static void fold_some(const struct folding *f, fold_line *line, const float *x, float *y,
                      const int64_t at[2], int64_t first, int64_t last, int64_t begin, int64_t end)
{
    for (int64_t r = first; r < last; r++) {
        int64_t from[2] = {at[0], 0};

        move(f, 1, r, from);
        line(y, f->l->step[1], x + from[0] + begin, end - begin);
    }
}

/* All of x into one number: parts side by side, then these. */
static void fold_to_one(const struct folding *f, fold_line *line, const float *x, float start,
                        float *y)
{
    int64_t pieces = (f->l->len + PIECE - 1) / PIECE, turns = f->lines[1] * pieces;
    const int64_t at[2] = {0, 0};
    float part[PARTS];

#pragma omp parallel for schedule(static) if (f->l->count * f->l->len > 8 * PIECE)
    for (int64_t p = 0; p < PARTS; p++) {
        part[p] = start;
        for (int64_t t = turns * p / PARTS; t < turns * (p + 1) / PARTS; t++) {
            int64_t begin = t % pieces * PIECE, left = f->l->len - begin;

            fold_some(f, line, x, &part[p], at, t / pieces, t / pieces + 1, begin,
                      begin + (left < PIECE ? left : PIECE));
        }
    }
    *y = start;
    line(y, 0, part, PARTS);
}

/* y, of the result's size, = start pair x pair ..., in the order of x's elements */
static void fold(const struct work *w, fold_line *line, float start, float *y)
{
    struct folding f = {.l = &w->lines, .lines = {1, 1}};
    int64_t step = f.l->step[1], pieces = step ? (f.l->len + PIECE - 1) / PIECE : 1;
    const float *x = w->n->in[0]->x;

    for (int d = 0; d < f.l->n; d++) {
        int which = f.l->stride[d][1] == 0;

        f.dims[which][f.n[which]++] = d;
        f.lines[which] *= f.l->dim[d];
    }
    if (!step && f.lines[0] == 1) {
        fold_to_one(&f, line, x, start, y);
        return;
    }
#pragma omp parallel for schedule(static) if (f.l->count * f.l->len > 8 * PIECE)
    for (int64_t t = 0; t < f.lines[0] * pieces; t++) {
        int64_t at[2] = {0, 0}, begin = step ? t % pieces * PIECE : 0;
        int64_t end = step && f.l->len - begin > PIECE ? begin + PIECE : f.l->len;
        float *to;

        move(&f, 0, t / pieces, at);
        to = y + at[1] + begin * step;
        for (int64_t i = 0; i < (step ? end - begin : 1); i++)
            to[i * step] = start;
        fold_some(&f, line, x, to, at, 0, f.lines[1], begin, end);
    }
}

#define FORWARD(id, line, start)                \
    static void forward_##id(struct tt_node *n) \
    {                                           \
        struct work w = begin(n);               \
                                                \
        fold(&w, line, start, n->out->x);       \
    }

FORWARD(max, larger, -INFINITY)
FORWARD(min, smaller, INFINITY)
FORWARD(prod, product, 1)

/* max + log of the sum of exp(x - max) */
static void forward_logsumexp(struct tt_node *n)
{
    float *sum = n->scratch;

    forward_max(n);
    sum_to(n, above, sum);
    for (int64_t i = 0; i < tt_len(n->out); i++)
        n->out->x[i] += logf(sum[i]);
}

/* ---- backward -------------------------------------------------------------------------------- */

LINE(slope_sum, DY * w->scale)
LINE(slope_l1, X > 0 ? DY : X < 0 ? -DY : 0)
LINE(slope_l2, Y > 0 ? DY * X / Y : 0)
LINE(slope_sumsquare, 2 * X * DY)
LINE(slope_logsum, DY *tt_exp(-Y))
LINE(slope_logsumexp, DY *tt_exp(X - Y))
LINE(is_result, X == Y ? 1.f : 0.f)
LINE(slope_share, X == Y ? DY / U : 0) // U: how many are the result
LINE(is_zero, X == 0 ? 1.f : 0.f)
LINE(slope_prod, U == 0             ? DY * Y / X
                 : U == 1 && X == 0 ? DY * V
                                    : 0) // U: zeros; V: the others' product

struct writing {
    struct work *w;
    tt_slope *slope;
};

static void write_line(void *context, const int64_t *at, int64_t n)
{
    const struct writing *t = (const struct writing *)context;
    const struct tt_node *node = t->w->n;
    float *dx = node->in[0]->g + at[0], d[1024];

    if (!node->add[0]) {
        t->slope(t->w, dx, at, n);
        return;
    }
    for (int64_t i = 0; i < n; i += 1024) {
        int64_t m = n - i < 1024 ? n - i : 1024;
        int64_t from[2] = {at[0] + i, at[1] + i * t->w->lines.step[1]};

        t->slope(t->w, d, from, m);
        for (int64_t k = 0; k < m; k++)
            dx[i + k] += d[k];
    }
}

static void write_all(struct work *w, tt_slope *slope)
{
    struct writing t = {w, slope};

    tt_lines_each(&w->lines, write_line, &t);
}

#define BACKWARD(id, slope, scale_)              \
    static void backward_##id(struct tt_node *n) \
    {                                            \
        struct work w = begin(n);                \
                                                 \
        w.scale = scale_;                        \
        write_all(&w, slope);                    \
    }

BACKWARD(sum, slope_sum, 1)
BACKWARD(mean, slope_sum, 1 / ratio(n))
BACKWARD(l1, slope_l1, 1)
BACKWARD(l2, slope_l2, 1)
BACKWARD(sumsquare, slope_sumsquare, 1)
BACKWARD(logsum, slope_logsum, 1)
BACKWARD(logsumexp, slope_logsumexp, 1)

/* Elements that are the result together share its gradient. */
static void backward_share(struct tt_node *n)
{
    struct work w = begin(n);

    tt_lines_sum(&w.lines, 0, w.extra[0], false, w.scratch, is_result, &w);
    write_all(&w, slope_share);
}

static void backward_prod(struct tt_node *n)
{
    struct work w = begin(n);

    tt_lines_sum(&w.lines, 0, w.extra[0], false, w.scratch, is_zero, &w);
    fold(&w, product_but_zeros, 1, w.extra[1]);
    write_all(&w, slope_prod);
}

#define READS(id, what)                                                             \
    static unsigned reads_##id(const struct tt_node *n, const bool wants[TT_MAXIN]) \
    {                                                                               \
        (void)n;                                                                    \
        (void)wants;                                                                \
        return what;                                                                \
    }

READS(none, 0)
READS(x, TT_READS_IN(0))
READS(y, TT_READS_OUT)
READS(both, TT_READS_IN(0) | TT_READS_OUT)

#define OPERATOR(id, onnx, forward_, backward_, reads_) \
    const struct tt_op tt_op_reduce##id = {             \
        .name = onnx,                                   \
        .min_in = 1,                                    \
        .max_in = 2,                                    \
        .ints = 1u << 1,                                \
        .opset = 1,                                     \
        .source = "ONNX " onnx "-18",                   \
        .attr_size = sizeof(struct attr),               \
        .layout = TT_STRIDED,                           \
        .read = read_attr,                              \
        .shape = shape,                                 \
        .forward = forward_,                            \
        .reads = reads_,                                \
        .backward = backward_,                          \
    };

OPERATOR(sum, "ReduceSum", forward_sum, backward_sum, reads_none)
OPERATOR(mean, "ReduceMean", forward_mean, backward_mean, reads_none)
OPERATOR(l1, "ReduceL1", forward_l1, backward_l1, reads_x)
OPERATOR(l2, "ReduceL2", forward_l2, backward_l2, reads_both)
OPERATOR(sumsquare, "ReduceSumSquare", forward_sumsquare, backward_sumsquare, reads_x)
OPERATOR(logsum, "ReduceLogSum", forward_logsum, backward_logsum, reads_y)
OPERATOR(logsumexp, "ReduceLogSumExp", forward_logsumexp, backward_logsumexp, reads_both)
OPERATOR(max, "ReduceMax", forward_max, backward_share, reads_both)
OPERATOR(min, "ReduceMin", forward_min, backward_share, reads_both)
OPERATOR(prod, "ReduceProd", forward_prod, backward_prod, reads_both)
