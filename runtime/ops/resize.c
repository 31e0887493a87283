// SPDX-License-Identifier: Apache-2.0
/* Resize and Upsample: each axis is sampled at other places, by the nearest, two or four values. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/arena.h"
#include "runtime/ops/resample.h"

enum mode { NEAREST, LINEAR, CUBIC };
enum place { HALF_PIXEL, PYTORCH_HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC, SYMMETRIC, TF_HALF_PIXEL };
enum rounding { PREFER_FLOOR, PREFER_CEIL, FLOOR, CEIL };
enum policy { STRETCH, NOT_LARGER, NOT_SMALLER };

static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
static const char *const places[] = {"half_pixel", "pytorch_half_pixel",   "align_corners",
                                     "asymmetric", "half_pixel_symmetric", "tf_half_pixel_for_nn",
                                     NULL};
static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil",
                                        NULL};
static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};

struct attr {
    enum mode mode;
    enum place place;
    enum rounding rounding;
    enum policy policy;
    bool exclude, antialias;
    float cubic;
    int scales; // which operand
    int naxes;  // 0: all
    int64_t axes[TT_MAXDIM];
    int nsizes; // 0: by scales
    struct tt_affine sizes[TT_MAXDIM];
};

static enum tt_code choose(struct tt_attrs *a, const char *name, const char *def,
                           const char *const *words, int *ret, struct tt_err *err)
{
    const char *word = tt_attr_str(a, name, def);
    int i = 0;

    while (words[i] && strcmp(words[i], word) != 0)
        i++;
    *ret = i;
    return words[i] ? TT_OK
                    : tt_fail(err, TT_EUNSUPPORTED,
                              "attribute '%s' is '%s', which is not supported", name, word);
}

static enum tt_code read_sizes(struct tt_attrs *a, struct attr *r, struct tt_err *err)
{
    const struct tt_ints *sizes = a->opset >= 11 ? a->ints[3] : NULL;
    int64_t n;
    const int64_t *axes = tt_attr_ints(a, "axes", &n);

    if (n > TT_MAXDIM || (sizes && sizes->n > TT_MAXDIM))
        return tt_fail(err, TT_EUNSUPPORTED, "more than %d axes", TT_MAXDIM);
    r->naxes = (int)n;
    for (int i = 0; i < r->naxes; i++)
        r->axes[i] = axes[i];
    r->nsizes = sizes ? (int)sizes->n : 0;
    for (int i = 0; i < r->nsizes; i++)
        r->sizes[i] = sizes->v[i];
    return TT_OK;
}

static enum tt_code read_resize(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *r = (struct attr *)attr;
    bool old = a->opset < 11;
    int mode, place, rounding, policy;

    if (choose(a, "mode", "nearest", modes, &mode, err) ||
        choose(a, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel", places,
               &place, err) ||
        choose(a, "nearest_mode", old ? "floor" : "round_prefer_floor", roundings, &rounding,
               err) ||
        choose(a, "keep_aspect_ratio_policy", "stretch", policies, &policy, err))
        return err->code;
    r->mode = (enum mode)mode;
    r->place = (enum place)place;
    r->rounding = (enum rounding)rounding;
    r->policy = (enum policy)policy;
    r->exclude = tt_attr_int(a, "exclude_outside", 0) != 0;
    r->antialias = tt_attr_int(a, "antialias", 0) != 0;
    r->cubic = tt_attr_float(a, "cubic_coeff_a", -.75f);
    (void)tt_attr_float(a, "extrapolation_value", 0); // of a mode that is not supported
    r->scales = old ? 1 : 2;
    return read_sizes(a, r, err);
}

static enum tt_code read_upsample(struct tt_attrs *a, void *attr, struct tt_err *err)
{
    struct attr *r = (struct attr *)attr;
    const char *mode = tt_attr_str(a, "mode", "nearest");

    *r = (struct attr){.place = ASYMMETRIC, .rounding = FLOOR, .scales = 1};
    r->mode = !strcmp(mode, "nearest") ? NEAREST : LINEAR;
    return r->mode == NEAREST || !strcmp(mode, "linear")
               ? TT_OK
               : tt_fail(err, TT_EUNSUPPORTED, "attribute 'mode' is '%s', want nearest or linear",
                         mode);
}

/* Which entry of sizes or scales is for axis i; -1: none, it stays as it is. */
static int entry_of(const struct attr *r, int i, int ndim)
{
    if (!r->naxes)
        return i;
    for (int k = 0; k < r->naxes; k++)
        if (r->axes[k] == i || r->axes[k] == i - ndim)
            return k;
    return -1;
}

static double scale_by_policy(const struct tt_node *n)
{
    const struct attr *r = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0];
    double scale = -1;

    for (int i = 0; i < x->ndim; i++) {
        int e = entry_of(r, i, x->ndim);
        double s = e < 0 ? 0 : (double)tt_now(r->sizes[e], n) / (double)x->dim[i];

        if (e >= 0 && (scale < 0 || (r->policy == NOT_LARGER ? s < scale : s > scale)))
            scale = s;
    }
    return scale;
}

/* The axis's new size, and how much larger it is. */
static int64_t resized(const struct tt_node *n, int i, double *scale)
{
    const struct attr *r = (const struct attr *)n->attr;
    int64_t from = n->in[0]->dim[i], to = from;
    int e = entry_of(r, i, n->in[0]->ndim);

    *scale = 1;
    if (e < 0)
        return from;
    if (!r->nsizes) {
        *scale = (double)n->in[r->scales]->x[e];
        return *scale > 0 && *scale < 65536 ? (int64_t)floor((double)from * *scale) : 0;
    }
    if (r->policy == STRETCH) {
        to = tt_now(r->sizes[e], n);
        *scale = (double)to / (double)from;
    } else {
        *scale = scale_by_policy(n);
        to = (int64_t)floor((double)from * *scale + .5);
    }
    return to;
}

/* How axes change; tables are not filled. */
static void plan(const struct tt_node *n, struct tt_axis *a, double *scale)
{
    static const int taps[] = {1, 2, 4};
    const struct attr *r = (const struct attr *)n->attr;

    for (int i = 0; i < n->in[0]->ndim; i++) {
        a[i] = (struct tt_axis){.from = n->in[0]->dim[i], .to = resized(n, i, &scale[i])};
        if (a[i].to != a[i].from || fabs(scale[i] - 1) > 1e-9)
            a[i].taps = taps[r->mode];
    }
}

static enum tt_code check(const struct tt_node *n, struct tt_err *err)
{
    const struct attr *r = (const struct attr *)n->attr;
    const struct tt_tensor *x = n->in[0], *s = r->scales < n->nin ? n->in[r->scales] : NULL;
    int64_t entries = r->nsizes;

    if (!r->nsizes) {
        if (!s || !n->constant[r->scales] || !s->x)
            return tt_fail(err, TT_EUNSUPPORTED,
                           "neither sizes nor scales are known when the "
                           "model is read");
        entries = tt_len(s);
    }
    for (int k = 0; k < r->naxes; k++)
        if (r->axes[k] < -x->ndim || r->axes[k] >= x->ndim)
            return tt_fail(err, TT_ERANGE, "axis %lld of input '%s', which has %d dimensions",
                           (long long)r->axes[k], x->name, x->ndim);
    if (entries != (r->naxes ? r->naxes : x->ndim) || !tt_len(x))
        return tt_fail(err, TT_ESHAPE, "%lld sizes or scales, want %d", (long long)entries,
                       r->naxes ? r->naxes : x->ndim);
    return TT_OK;
}

static enum tt_code shape(struct tt_node *n, struct tt_err *err)
{
    const struct attr *r = (const struct attr *)n->attr;
    struct tt_axis axes[TT_MAXDIM];
    double scale[TT_MAXDIM];
    int64_t len = 1;

    if (check(n, err) != TT_OK)
        return err->code;
    plan(n, axes, scale);
    n->out->ndim = n->in[0]->ndim;
    for (int i = 0; i < n->out->ndim; i++) {
        n->out->dim[i] = axes[i].to;
        if (axes[i].to < 1 || axes[i].to > INT32_MAX || !tt_mul(len, axes[i].to, &len))
            return tt_fail(err, TT_ESHAPE, "dimension %d of input '%s', %lld, is scaled by %g", i,
                           n->in[0]->name, (long long)axes[i].from, scale[i]);
        if (r->antialias && r->mode != NEAREST && scale[i] < 1)
            return tt_fail(err, TT_EUNSUPPORTED,
                           "attribute 'antialias' with a scale of %g is not "
                           "supported",
                           scale[i]);
    }
    n->nscratch = tt_resample_scratch(axes, n->out->ndim);
    return TT_OK;
}

/* Where in the operand the result's element j is. */
static double place_of(const struct attr *r, const struct tt_axis *a, double scale, int64_t j)
{
    double at = (double)j, to = (double)a->to, from = (double)a->from;

    switch (r->place) {
    case PYTORCH_HALF_PIXEL:
        return a->to > 1 ? (at + .5) / scale - .5 : 0;
    case ALIGN_CORNERS:
        return a->to > 1 ? at * (from - 1) / (scale * from - 1) : 0; // by the scale, not by to
    case ASYMMETRIC:
        return at / scale;
    case SYMMETRIC:
        return from / 2 * (1 - to / (scale * from)) + (at + .5) / scale - .5;
    case TF_HALF_PIXEL:
        return (at + .5) / scale;
    case HALF_PIXEL:
    default:
        return (at + .5) / scale - .5;
    }
}

static int64_t nearest(enum rounding how, double at)
{
    switch (how) {
    case PREFER_CEIL:
        return (int64_t)floor(at + .5);
    case FLOOR:
        return (int64_t)floor(at);
    case CEIL:
        return (int64_t)ceil(at);
    case PREFER_FLOOR:
    default:
        return (int64_t)ceil(at - .5);
    }
}

/* Weights of the values before and behind a place that lies f behind the second of four. Keys 1981
 */
static void cubic(double A, double f, double *w)
{
    double g = 1 - f;

    w[0] = ((A * (f + 1) - 5 * A) * (f + 1) + 8 * A) * (f + 1) - 4 * A;
    w[1] = ((A + 2) * f - (A + 3)) * f * f + 1;
    w[2] = ((A + 2) * g - (A + 3)) * g * g + 1;
    w[3] = ((A * (g + 1) - 5 * A) * (g + 1) + 8 * A) * (g + 1) - 4 * A;
}

static void fill(const struct attr *r, struct tt_axis *a, double scale)
{
    for (int64_t j = 0; j < a->to; j++) {
        double at = place_of(r, a, scale, j), w[4] = {1, 0, 0, 0}, sum = 0;
        int64_t first = (int64_t)floor(at);

        if (r->mode == NEAREST) {
            first = nearest(r->rounding, at);
        } else if (r->mode == LINEAR) {
            w[1] = at - (double)first;
            w[0] = 1 - w[1];
        } else {
            cubic((double)r->cubic, at - (double)first, w);
            first--;
        }
        for (int t = 0; t < a->taps; t++) {
            int64_t q = first + t;
            bool outside = q < 0 || q >= a->from;

            w[t] = outside && r->exclude ? 0 : w[t];
            sum += w[t];
            a->at[j * a->taps + t] = (int32_t)(q < 0 ? 0 : q >= a->from ? a->from - 1 : q);
        }
        for (int t = 0; t < a->taps; t++)
            a->w[j * a->taps + t] = (float)(r->exclude && sum != 0 ? w[t] / sum : w[t]);
    }
}

static void run(struct tt_node *n, bool back)
{
    struct tt_axis axes[TT_MAXDIM];
    double scale[TT_MAXDIM];

    plan(n, axes, scale);
    tt_resample_tables(axes, n->out->ndim, n->scratch);
    for (int i = 0; i < n->out->ndim; i++)
        if (axes[i].taps)
            fill((const struct attr *)n->attr, &axes[i], scale[i]);
    if (back)
        tt_resample_backward(n, axes);
    else
        tt_resample_forward(n, axes);
}

static void forward(struct tt_node *n)
{
    run(n, false);
}

static void backward(struct tt_node *n)
{
    if (n->in[0]->g)
        run(n, true);
}

#define RESIZE(variable, op_name, least, most, integers, since, text, read_) \
    const struct tt_op variable = {                                          \
        .name = op_name,                                                     \
        .min_in = least,                                                     \
        .max_in = most,                                                      \
        .ints = integers,                                                    \
        .known = 1u << 1 | 1u << 2,                                          \
        .opset = since,                                                      \
        .source = text,                                                      \
        .attr_size = sizeof(struct attr),                                    \
        .layout = TT_STRIDED,                                                \
        .read = read_,                                                       \
        .shape = shape,                                                      \
        .forward = forward,                                                  \
        .backward = backward,                                                \
    };

RESIZE(tt_op_resize, "Resize", 1, 4, 1u << 3, 10, "ONNX Resize-19", read_resize)
RESIZE(tt_op_upsample, "Upsample", 2, 2, 0, 9, "ONNX Upsample-9", read_upsample)
