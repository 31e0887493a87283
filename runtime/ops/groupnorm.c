// SPDX-License-Identifier: Apache-2.0
/*
 * GroupNormalization and InstanceNormalization: statistics over the pixels of one image and the
 * channels of one group; with a group for each channel it is the latter.
 *   y = (x - mean) / sqrt(var + epsilon) * scale[c] + bias[c]
 *
 * Works in both layouts: what differs is how sums over one image's pixels, a channel each, are
 * taken.  These are joined to the groups' in double, by Chan, Golub and LeVeque's rule (1983).
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/kernels.h"
#include "runtime/op.h"
#include "runtime/rows.h"

struct attr {
    int64_t groups; // 0: one for each channel
    float epsilon;
    bool per_group; // scale and bias have an element a group
};

static enum tt_code read_group(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *g = (struct attr *)attr;
    int64_t stash = tt_attr_int(a, "stash_type", 1);

    g->groups = tt_attr_int(a, "num_groups", 0);
    g->epsilon = tt_attr_float(a, "epsilon", 1e-5f);
    g->per_group = a->opset < 21;
    if (stash != 1)
        return tt_fail(err, TT_EUNSUPPORTED, "attribute 'stash_type' is %lld, want 1 (float)",
                       (long long)stash);
    if (g->groups < 1)
        return tt_fail(err, TT_ERANGE, "attribute 'num_groups' is %lld, want 1 or more",
                       (long long)g->groups);
    return g->epsilon >= 0 ? TT_OK : tt_fail(err, TT_ERANGE, "epsilon is %g", (double)g->epsilon);
}

static enum tt_code read_instance(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *g = (struct attr *)attr;

    g->epsilon = tt_attr_float(a, "epsilon", 1e-5f);
    return g->epsilon >= 0 ? TT_OK : tt_fail(err, TT_ERANGE, "epsilon is %g", (double)g->epsilon);
}

struct size {
    int64_t N, C, G, P; // images, channels, groups, pixels
    int64_t each;       // channels of a group
    bool last;          // channels last
    bool per_group;     // one scale for so many channels
};

static struct size measure(const struct tt_node *n)
{
    const struct attr *g = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    struct size s = {.N = x->dim[0], .C = x->dim[1], .P = 1, .last = x->layout == TT_LAST};

    s.G = g->groups ? g->groups : s.C;
    s.each = s.C / s.G;
    s.per_group = g->per_group && g->groups;
    for (int i = 2; i < x->ndim; i++)
        s.P *= x->dim[i];
    return s;
}

/* Of an image's scratch: two doubles a channel, then five tables. */
static int64_t image_floats(const struct size *s)
{
    return 4 * s->C + 5 * tt_period(s->C);
}

/* saved[0]: mean and 1 / sqrt(var + epsilon) of each image's groups.  scratch: the images', then
 * two floats a channel for each image's dscale and dbias */
static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct attr *g = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    int64_t want;
    struct size s;

    if (x->ndim < 2 || !tt_len(x))
        return tt_fail(err, TT_ESHAPE, "input '%s' has %d dimensions, want 2 and more, not empty",
                       x->name, x->ndim);
    if (g->groups && x->dim[1] % g->groups)
        return tt_fail(err, TT_ESHAPE, "%lld channels do not divide into %lld groups",
                       (long long)x->dim[1], (long long)g->groups);
    s = measure(n);
    want = s.per_group ? s.G : s.C;
    for (int i = 1; i < 3; i++)
        if (n->in[i]->ndim != 1 || n->in[i]->dim[0] != want)
            return tt_fail(err, TT_ESHAPE, "%s '%s' has %lld elements, want %lld",
                           i == 1 ? "scale" : "bias", n->in[i]->name, (long long)tt_len(n->in[i]),
                           (long long)want);
    n->out->ndim = x->ndim;
    memcpy(n->out->dim, x->dim, sizeof x->dim);
    n->nsaved[0] = 2 * s.N * s.G;
    n->nscratch = s.N * (image_floats(&s) + 2 * s.C);
    return TT_OK;
}

/* One image's scratch; a with b, and d with e, have room for a double a channel, too. */
struct image {
    double *u, *v;
    float *a, *b, *d, *e, *f;
};

static struct image image_at(const struct tt_node *n, const struct size *s, int64_t i)
{
    struct image m;

    m.u = (double *)(void *)(n->scratch + i * image_floats(s));
    m.v = m.u + s->C;
    m.a = (float *)(void *)(m.v + s->C);
    m.b = m.a + tt_period(s->C);
    m.d = m.b + tt_period(s->C);
    m.e = m.d + tt_period(s->C);
    m.f = m.e + tt_period(s->C);
    return m;
}

/* sum[c] and dev[c], around each channel's own mean; a chunk's are joined to those before */
static void image_stats(const struct size *s, const float *x, struct image m)
{
    if (!s->last) {
        for (int64_t c = 0; c < s->C; c++)
            tt_rows()->stats(x + c * s->P, s->P, &m.u[c], &m.v[c]);
        return;
    }
    memset(m.u, 0, sizeof *m.u * 2 * (size_t)s->C);
    for (int64_t p = 0; p < s->P; p += TT_BN_CHUNK) {
        int64_t more = s->P - p < TT_BN_CHUNK ? s->P - p : TT_BN_CHUNK;
        double *sum = (double *)(void *)m.a, *dev = (double *)(void *)m.d;

        tt_kernels()->bn_stats(x + p * s->C, more, s->C, sum, dev);
        for (int64_t c = 0; c < s->C; c++) {
            double off = p ? sum[c] / (double)more - m.u[c] / (double)p : 0;

            m.v[c] += dev[c] + off * off * (double)more * (double)p / (double)(more + p);
            m.u[c] += sum[c];
        }
    }
}

/* mean and 1 / sqrt(var + epsilon) of group g from its channels' */
static void join_stats(const struct size *s, const struct image *m, int64_t g, double eps,
                       float *mean, float *rstd)
{
    double sum = 0, dev = 0, mu;

    for (int64_t c = g * s->each; c < (g + 1) * s->each; c++)
        sum += m->u[c];
    mu = sum / (double)(s->each * s->P);
    for (int64_t c = g * s->each; c < (g + 1) * s->each; c++) {
        double off = m->u[c] / (double)s->P - mu;

        dev += m->v[c] + off * off * (double)s->P;
    }
    *mean = (float)mu;
    *rstd = (float)(1 / sqrt(dev / (double)(s->each * s->P) + eps));
}

/* y = a x + b of each channel, channels last */
static void apply_last(const struct size *s, float *y, const float *x, struct image m)
{
    struct tt_finish f = {.scale = m.a, .shift = m.b};

    tt_repeat_table(m.a, s->C);
    tt_repeat_table(m.b, s->C);
    tt_kernels()->affine(y, x, NULL, &f, tt_period(s->C), 0, NULL, s->P * s->C);
}

static void forward(struct tt_node *n)
{
    double eps = (double)((const struct attr *)n->attr)->epsilon;
    struct size s = measure(n);
    float *mean = n->saved[0], *rstd = mean + s.N * s.G;

#pragma omp parallel for schedule(static) if (tt_len(n->out) > 16384)
    for (int64_t i = 0; i < s.N; i++) {
        const float *x = n->in[0]->x + i * s.C * s.P;
        float *y = n->out->x + i * s.C * s.P;
        struct image m = image_at(n, &s, i);

        image_stats(&s, x, m);
        for (int64_t g = 0; g < s.G; g++)
            join_stats(&s, &m, g, eps, &mean[i * s.G + g], &rstd[i * s.G + g]);
        for (int64_t c = 0; c < s.C; c++) {
            int64_t at = i * s.G + c / s.each, k = s.per_group ? c / s.each : c;

            m.a[c] = n->in[1]->x[k] * rstd[at];
            m.b[c] = n->in[2]->x[k] - mean[at] * m.a[c];
        }
        if (s.last)
            apply_last(&s, y, x, m);
        for (int64_t c = 0; !s.last && c < s.C; c++)
            tt_rows()->affine(y + c * s.P, x + c * s.P, m.a[c], m.b[c], s.P);
    }
}

/* u[c] = sum dy, v[c] = sum dy (x - mean of the group) */
static void image_sums(const struct size *s, const float *dy, const float *x, const float *mean,
                       struct image m)
{
    if (!s->last) {
        for (int64_t c = 0; c < s->C; c++)
            tt_rows()->sums(dy + c * s->P, x + c * s->P, mean[c / s->each], s->P, &m.u[c], &m.v[c]);
        return;
    }
    memset(m.u, 0, sizeof *m.u * 2 * (size_t)s->C);
    for (int64_t c = 0; c < s->C; c++)
        m.f[c] = mean[c / s->each];
    for (int64_t p = 0; p < s->P; p += TT_BN_CHUNK) {
        int64_t more = s->P - p < TT_BN_CHUNK ? s->P - p : TT_BN_CHUNK;
        double *sum = (double *)(void *)m.a, *dev = (double *)(void *)m.d;

        tt_kernels()->bn_sums(dy + p * s->C, x + p * s->C, m.f, more, s->C, sum, dev);
        for (int64_t c = 0; c < s->C; c++) {
            m.u[c] += sum[c];
            m.v[c] += dev[c];
        }
    }
}

/* dx = a dy + b x + d, of each channel:
 * with M values a group, S1 = sum scale dy and S2 = sum scale dy x^,
 * dx = rstd (scale dy - S1 / M - x^ S2 / M) */
static void set_slopes(const struct tt_node *n, const struct size *s, int64_t i, struct image m)
{
    const float *mean = n->saved[0] + i * s->G, *rstd = mean + s->N * s->G;
    double M = (double)(s->each * s->P);

    for (int64_t g = 0; g < s->G; g++) {
        double s1 = 0, s2 = 0, slope;

        for (int64_t c = g * s->each; c < (g + 1) * s->each; c++) {
            double scale = (double)n->in[1]->x[s->per_group ? g : c];

            s1 += scale * m.u[c];
            s2 += scale * m.v[c] * rstd[g];
        }
        slope = (double)rstd[g] * rstd[g] * s2 / M;
        for (int64_t c = g * s->each; c < (g + 1) * s->each; c++) {
            m.a[c] = n->in[1]->x[s->per_group ? g : c] * rstd[g];
            m.b[c] = (float)-slope;
            m.d[c] = (float)(slope * mean[g] - rstd[g] * s1 / M);
        }
    }
}

/* The same of channels last. */
static void grad_last(const struct size *s, float *dx, const float *dy, const float *x,
                      struct image m, bool add)
{
    tt_repeat_table(m.a, s->C);
    tt_repeat_table(m.b, s->C);
    tt_repeat_table(m.d, s->C);
    tt_kernels()->bn_grad(dx, dy, x, m.a, m.b, m.d, tt_period(s->C), s->P * s->C, add);
}

/* dscale and dbias, from the images' shares [N][2][C] in order */
static void join_params(const struct tt_node *n, const struct size *s, const float *share)
{
    for (int i = 2; i > 0; i--) {
        float *out = n->in[i]->g;
        int64_t len = s->per_group ? s->G : s->C, each = s->per_group ? s->each : 1;

        for (int64_t k = 0; out && k < len; k++) {
            double sum = n->add[i] ? (double)out[k] : 0;

            for (int64_t b = 0; b < s->N; b++)
                for (int64_t c = k * each; c < (k + 1) * each; c++)
                    sum += share[(2 * b + i - 1) * s->C + c];
            out[k] = (float)sum;
        }
    }
}

static void backward(struct tt_node *n)
{
    struct size s = measure(n);
    const float *mean = n->saved[0], *rstd = mean + s.N * s.G;
    float *share = n->scratch + s.N * image_floats(&s);

#pragma omp parallel for schedule(static) if (tt_len(n->out) > 16384)
    for (int64_t i = 0; i < s.N; i++) {
        const float *x = n->in[0]->x + i * s.C * s.P, *dy = n->out->g + i * s.C * s.P;
        float *dx = n->in[0]->g ? n->in[0]->g + i * s.C * s.P : NULL;
        struct image m = image_at(n, &s, i);

        image_sums(&s, dy, x, mean + i * s.G, m);
        for (int64_t c = 0; c < s.C; c++) {
            share[2 * i * s.C + c] = (float)(m.v[c] * rstd[i * s.G + c / s.each]);
            share[(2 * i + 1) * s.C + c] = (float)m.u[c];
        }
        if (!dx)
            continue;
        set_slopes(n, &s, i, m);
        if (s.last)
            grad_last(&s, dx, dy, x, m, n->add[0]);
        for (int64_t c = 0; !s.last && c < s.C; c++)
            tt_rows()->grad(dx + c * s.P, dy + c * s.P, x + c * s.P, m.a[c], m.b[c], m.d[c], s.P,
                            n->add[0]);
    }
    join_params(n, &s, share);
}

static unsigned reads(const struct tt_node *n, const bool wants[TT_MAXIN])
{
    (void)n;
    return (wants[0] || wants[1] ? TT_READS_IN(0) : 0) | (wants[0] ? TT_READS_IN(1) : 0);
}

#define NORM(variable, op_name, since, text, read_) \
    const struct tt_op variable = {                 \
        .name = op_name,                            \
        .min_in = 3,                                \
        .max_in = 3,                                \
        .opset = since,                             \
        .source = text,                             \
        .attr_size = sizeof(struct attr),           \
        .layout = TT_STRIDED,                       \
        .read = read_,                              \
        .shape = shape,                             \
        .forward = forward,                         \
        .reads = reads,                             \
        .backward = backward,                       \
    };

NORM(tt_op_groupnorm, "GroupNormalization", 18, "Wu and He 2018; ONNX GroupNormalization-21",
     read_group)
NORM(tt_op_instancenorm, "InstanceNormalization", 6,
     "Ulyanov, Vedaldi and Lempitsky 2016; ONNX InstanceNormalization-6", read_instance)
