// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "runtime/fold_row.h"

/*
 * One result element from two.  False: it is not affine in the batch, does not fit in 64 bits,
 * or divides by zero.  The batch is at least 1.
 */
typedef bool pair_function(struct tt_affine x, struct tt_affine y, struct tt_affine *ret);

static bool add(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    return !__builtin_add_overflow(x.a, y.a, &ret->a) && !__builtin_add_overflow(x.b, y.b, &ret->b);
}

static bool sub(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    return !__builtin_sub_overflow(x.a, y.a, &ret->a) && !__builtin_sub_overflow(x.b, y.b, &ret->b);
}

static bool mul(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    int64_t left, right;

    if (x.b && y.b)
        return false;
    return !__builtin_mul_overflow(x.a, y.a, &ret->a) && !__builtin_mul_overflow(x.a, y.b, &left) &&
           !__builtin_mul_overflow(x.b, y.a, &right) &&
           !__builtin_add_overflow(left, right, &ret->b);
}

static bool div_fixed(int64_t x, int64_t y, int64_t *ret)
{
    if (!y || (x == INT64_MIN && y == -1))
        return false;
    *ret = x / y;
    return true;
}

/* Towards zero; with a batch only where it leaves no remainder, or cancels. */
static bool divide(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    *ret = (struct tt_affine){0};
    if (!y.b && !x.b)
        return div_fixed(x.a, y.a, &ret->a);
    if (!y.b)
        return div_fixed(x.a, y.a, &ret->a) && div_fixed(x.b, y.a, &ret->b) &&
               ret->a * y.a == x.a && ret->b * y.a == x.b;
    if (!x.a && !x.b)
        return y.b > 0 && y.a >= 0; // the divisor is never 0
    return !x.a && !y.a && div_fixed(x.b, y.b, &ret->a) && ret->a * y.b == x.b;
}

/* With the divisor's sign, as in Python. */
static bool mod(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    *ret = (struct tt_affine){0};
    if (y.b || !y.a)
        return false;
    if (y.a == -1)
        return true;
    if (x.b % y.a)
        return false;
    ret->a = x.a % y.a;
    if (ret->a && (ret->a < 0) != (y.a < 0))
        ret->a += y.a;
    return true;
}

/* Whether x >= y, or with strict x > y, for every batch from 1 on. */
static bool always(struct tt_affine x, struct tt_affine y, bool strict)
{
    struct tt_affine d;
    int64_t at_one;

    if (!x.b && !y.b)
        return strict ? x.a > y.a : x.a >= y.a;
    if (!sub(x, y, &d) || d.b < 0 || __builtin_add_overflow(d.a, d.b, &at_one))
        return false;
    return strict ? at_one > 0 : at_one >= 0;
}

static bool smaller(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    *ret = always(y, x, false) ? x : y;
    return always(y, x, false) || always(x, y, false);
}

static bool larger(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    *ret = always(x, y, false) ? x : y;
    return always(y, x, false) || always(x, y, false);
}

static bool greater(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    *ret = (struct tt_affine){.a = always(x, y, true)};
    return ret->a || always(y, x, false);
}

static bool greater_or_equal(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    *ret = (struct tt_affine){.a = always(x, y, false)};
    return ret->a || always(y, x, true);
}

static bool less(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    return greater(y, x, ret);
}

static bool less_or_equal(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    return greater_or_equal(y, x, ret);
}

/* Where they meet at some batch, it is neither always nor never. */
static bool equal(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    struct tt_affine d;

    *ret = (struct tt_affine){.a = x.a == y.a && x.b == y.b};
    if (x.b == y.b)
        return true;
    if (!sub(x, y, &d) || d.a == INT64_MIN)
        return false;
    return d.a % d.b || -(d.a / d.b) < 1;
}

static bool both(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    *ret = (struct tt_affine){.a = x.a && y.a};
    return !x.b && !y.b;
}

static bool either(struct tt_affine x, struct tt_affine y, struct tt_affine *ret)
{
    *ret = (struct tt_affine){.a = x.a || y.a};
    return !x.b && !y.b;
}

/* The shape of x and y broadcast. */
static enum tt_code broadcast(struct tt_folding *f, const struct tt_ints *x,
                              const struct tt_ints *y, int *ret_ndim, int64_t *ret)
{
    int ndim = x->ndim > y->ndim ? x->ndim : y->ndim;

    for (int i = 0; i < ndim; i++) {
        int xi = i - (ndim - x->ndim), yi = i - (ndim - y->ndim);
        int64_t dx = xi < 0 ? 1 : x->dim[xi], dy = yi < 0 ? 1 : y->dim[yi];

        if (dx != dy && dx != 1 && dy != 1)
            return tt_fail(f->err, TT_ESHAPE,
                           "operands have %lld and %lld along dimension %d, which do not broadcast",
                           (long long)dx, (long long)dy, i);
        ret[i] = dx == 1 ? dy : dx;
    }
    *ret_ndim = ndim;
    return TT_OK;
}

/* The index in x of element i of a result of that shape, to which x is broadcast. */
static int64_t source_of(const struct tt_ints *x, const struct tt_ints *of, int64_t i)
{
    int64_t index = 0, stride = 1;

    for (int d = x->ndim - 1, k = of->ndim - 1; d >= 0; d--, k--) {
        int64_t at = i % of->dim[k];

        i /= of->dim[k];
        index += x->dim[d] == 1 ? 0 : at * stride;
        stride *= x->dim[d];
    }
    return index;
}

static enum tt_code each_pair(struct tt_folding *f, pair_function *function)
{
    struct tt_ints x = *f->in[0];

    for (int k = 1; k < f->nin; k++) {
        const struct tt_ints *y = f->in[k];
        int64_t dim[TT_MAXDIM];
        int ndim;
        enum tt_code rc;

        if (!y)
            return tt_fail(f->err, TT_EPARSE, "operand %d is missing", k);
        rc = broadcast(f, &x, y, &ndim, dim);
        if (!rc)
            rc = tt_fold_make(f, ndim, dim);
        if (rc)
            return rc;
        for (int64_t i = 0; i < f->ret->n; i++) {
            struct tt_affine p = x.v[source_of(&x, f->ret, i)];
            struct tt_affine q = y->v[source_of(y, f->ret, i)];

            if (function(p, q, &f->ret->v[i]))
                continue;
            if (p.b || q.b)
                return tt_fail(f->err, TT_EUNSUPPORTED, "the result " TT_FOLD_BATCH);
            return tt_fail(f->err, TT_ERANGE, "%lld and %lld have no result in 64 bits",
                           (long long)p.a, (long long)q.a);
        }
        x = *f->ret;
    }
    *f->ret = x;
    return TT_OK;
}

#define PAIR(name)                                       \
    static enum tt_code run_##name(struct tt_folding *f) \
    {                                                    \
        return each_pair(f, name);                       \
    }

PAIR(add)
PAIR(sub)
PAIR(mul)
PAIR(divide)
PAIR(smaller)
PAIR(larger)
PAIR(greater)
PAIR(greater_or_equal)
PAIR(less)
PAIR(less_or_equal)
PAIR(equal)
PAIR(both)
PAIR(either)

static enum tt_code run_mod(struct tt_folding *f)
{
    if (tt_attr_int(f->attrs, "fmod", 0))
        return tt_fail(f->err, TT_EUNSUPPORTED, "fmod 1 is not supported for integers");
    return each_pair(f, mod);
}

/* 0 - x, and x == 0. */
static enum tt_code with_zero(struct tt_folding *f, pair_function *function)
{
    struct tt_affine nought = {0};
    struct tt_ints zero = {.n = 1, .v = &nought};
    const struct tt_ints *in[2] = {&zero, f->in[0]};
    struct tt_folding g = *f;

    g.nin = 2;
    g.in = in;
    return each_pair(&g, function);
}

static enum tt_code run_neg(struct tt_folding *f)
{
    return with_zero(f, sub);
}

static enum tt_code run_not(struct tt_folding *f)
{
    return with_zero(f, equal);
}

/* Combine the elements along the axes, all by default; starts from the identity. */
static enum tt_code reduce(struct tt_folding *f, pair_function *function, int64_t identity)
{
    const struct tt_ints *x = f->in[0];
    bool keep = tt_attr_int(f->attrs, "keepdims", 1) != 0;
    bool none = tt_attr_int(f->attrs, "noop_with_empty_axes", 0) != 0;
    bool reduced[TT_MAXDIM] = {false};
    int64_t axes[TT_MAXDIM], n, dim[TT_MAXDIM] = {0};
    struct tt_ints kept;
    int ndim = 0;
    enum tt_code rc = tt_fold_axes(f, 1, axes, &n);

    for (int64_t i = 0; i < n && !rc; i++) {
        int axis = 0;

        rc = tt_fold_axis(f, axes[i], x->ndim, &axis);
        reduced[axis] = true;
    }
    for (int i = 0; i < x->ndim; i++) {
        reduced[i] |= n <= 0 && !none;
        dim[i] = reduced[i] ? 1 : x->dim[i];
    }
    if (!rc)
        rc = tt_fold_make(f, x->ndim, dim);
    if (rc)
        return rc;
    for (int64_t i = 0; i < f->ret->n; i++)
        f->ret->v[i].a = identity;
    kept = *f->ret;
    for (int64_t i = 0; i < x->n; i++) {
        struct tt_affine *to = &kept.v[source_of(&kept, x, i)];

        if (!function(*to, x->v[i], to))
            return tt_fail(f->err, TT_EUNSUPPORTED,
                           "the result " TT_FOLD_BATCH ", or does not fit in 64 bits");
    }
    for (int i = 0; i < x->ndim; i++)
        if (keep || !reduced[i])
            f->ret->dim[ndim++] = dim[i];
    f->ret->ndim = ndim;
    return TT_OK;
}

static enum tt_code run_product(struct tt_folding *f)
{
    return reduce(f, mul, 1);
}

static enum tt_code run_sum(struct tt_folding *f)
{
    return reduce(f, add, 0);
}

static enum tt_code run_where(struct tt_folding *f)
{
    const struct tt_ints *c = f->in[0], *x = f->in[1], *y = f->in[2];
    struct tt_ints cx = {0};
    int64_t dim[TT_MAXDIM];
    int ndim = 0;
    enum tt_code rc = tt_ints_fixed(c, "the condition", f->err);

    if (!rc)
        rc = broadcast(f, c, x, &cx.ndim, cx.dim);
    if (!rc)
        rc = broadcast(f, &cx, y, &ndim, dim);
    if (!rc)
        rc = tt_fold_make(f, ndim, dim);
    if (rc)
        return rc;
    for (int64_t i = 0; i < f->ret->n; i++) {
        const struct tt_ints *from = c->v[source_of(c, f->ret, i)].a ? x : y;

        f->ret->v[i] = from->v[source_of(from, f->ret, i)];
    }
    return TT_OK;
}

/* ONNX Range: start, start + delta, ... before limit. */
static enum tt_code run_range(struct tt_folding *f)
{
    int64_t at[3], n = 0, span, dim;
    struct tt_affine v;

    for (int i = 0; i < 3; i++) {
        enum tt_code rc = tt_ints_fixed(f->in[i], "its range", f->err);

        if (rc)
            return rc;
        if (f->in[i]->n != 1)
            return tt_fail(f->err, TT_ESHAPE, "operand %d has %lld elements, want 1", i,
                           (long long)f->in[i]->n);
        at[i] = f->in[i]->v[0].a;
    }
    if (!at[2] || __builtin_sub_overflow(at[1], at[0], &span) || span == INT64_MIN)
        return tt_fail(f->err, TT_ERANGE, "a range from %lld to %lld in steps of %lld",
                       (long long)at[0], (long long)at[1], (long long)at[2]);
    v = (struct tt_affine){.a = at[0]};
    if (span && (span > 0) == (at[2] > 0))
        n = (span - (span > 0 ? 1 : -1)) / at[2] + 1;
    dim = n;
    if (tt_fold_make(f, 1, &dim))
        return f->err->code;
    for (int64_t i = 0; i < n; i++) {
        f->ret->v[i] = v;
        if (i + 1 < n)
            v.a += at[2];
    }
    return TT_OK;
}

#define ANY INT32_MAX

const struct tt_fold tt_fold_math[] = {
    {"Add", 2, 2, run_add},
    {"Sub", 2, 2, run_sub},
    {"Mul", 2, 2, run_mul},
    {"Div", 2, 2, run_divide},
    {"Mod", 2, 2, run_mod},
    {"Neg", 1, 1, run_neg},
    {"Min", 1, ANY, run_smaller},
    {"Max", 1, ANY, run_larger},
    {"Equal", 2, 2, run_equal},
    {"Greater", 2, 2, run_greater},
    {"GreaterOrEqual", 2, 2, run_greater_or_equal},
    {"Less", 2, 2, run_less},
    {"LessOrEqual", 2, 2, run_less_or_equal},
    {"And", 2, 2, run_both},
    {"Or", 2, 2, run_either},
    {"Not", 1, 1, run_not},
    {"ReduceProd", 1, 2, run_product},
    {"ReduceSum", 1, 2, run_sum},
    {"Where", 3, 3, run_where},
    {"Range", 3, 3, run_range},
    {0},
};
