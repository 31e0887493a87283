// SPDX-License-Identifier: Apache-2.0
/*
 * Operators of the domain ai.onnx.ml, which converters of scikit-learn's models write, where they
 * are a few of ONNX's own (ONNX operator schemas ai.onnx.ml, versions 1 to 4):
 *
 *   Scaler                  Sub Mul
 *   Normalizer              ReduceL1 or ReduceL2, Clip, Div: a row of zeros stays one
 *   LinearClassifier        Gemm, and Softmax or Sigmoid: its scores.  The labels are not computed.
 *   ArrayFeatureExtractor   Gather along the last dimension
 *
 * LinearClassifier's LOGISTIC of two classes whose coefficients are each other's negatives, which
 * is how a logistic regression is written, is the Softmax of half of the scores: the same numbers,
 * of which it is known that they sum to 1.
 */
#include <float.h>
#include <string.h>

#include "runtime/fold.h"
#include "runtime/onnx_rules.h"

bool tt_onnx_is_ml(const Onnx__NodeProto *node)
{
    return node->domain && !strcmp(node->domain, "ai.onnx.ml");
}

/* A constant that belongs to the node, called after its result: "RESULT.coefficients"; -1: *r->err
 * is filled.  data is kept. */
static int make_weight(struct tt_onnx_reading *r, const char *what, enum tt_number dtype, int ndim,
                       const int64_t *dim, const float *data)
{
    const size_t room = strlen(r->out->name) + strlen(what) + 16;
    char *name = TT_NEW(r->o->arena, room, char);
    struct tt_symbol s = {.name = name, .value = -1};

    if (!name) {
        (void)tt_fail(r->err, TT_ENOMEM, "out of memory");
        return -1;
    }
    strcat(strcat(strcpy(name, r->out->name), "."), what);
    while (tt_onnx_symbol(r->o, name) && strlen(name) + 2 < room)
        strcat(name, "_");
    if (tt_onnx_symbol(r->o, name)) {
        (void)tt_fail(r->err, TT_EPARSE, "the name '%s' is taken", name);
        return -1;
    }
    return tt_onnx_weight(r->o, &s, dtype, ndim, dim, data, r->err) ? -1 : s.value;
}

/* The name of a result on the way to the node's own; the arena has room, or *r->err is filled. */
static int make_part(struct tt_onnx_reading *r, const char *op, int nin, const int *in, int nattrs,
                     struct tt_attr *list, const char *suffix)
{
    const char *name = tt_onnx_name(r->o, r->out->name, suffix, r->err);

    return name ? tt_onnx_make(r, op, nin, in, nattrs, list, name) : -1;
}

/* Operand 0 as floats of at least so many dimensions; -1: *r->err is filled. */
static int take_floats(struct tt_onnx_reading *r, int ndim)
{
    struct tt_attr to = {.name = "to", .type = TT_AINT, .i = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT};
    const struct tt_probe *x;

    if (tt_onnx_number_weight(r, r->in[0]))
        return -1;
    x = &r->o->probes[r->in[0]->value];
    if (x->ndim < ndim) {
        (void)tt_fail(r->err, TT_ESHAPE, "input '%s' has %d dimensions, want %d", r->in[0]->name,
                      x->ndim, ndim);
        return -1;
    }
    if (x->dtype == TT_FLOATS)
        return r->in[0]->value;
    return make_part(r, "Cast", 1, &r->in[0]->value, 1, &to, "as floats");
}

/* The numbers of a row of operand 0. */
static int64_t features(const struct tt_onnx_reading *r)
{
    const struct tt_probe *x = &r->o->probes[r->in[0]->value];

    return x->dim[0][x->ndim - 1];
}

static enum tt_code give(struct tt_onnx_reading *r, int value)
{
    r->out->value = value;
    return value < 0 ? r->err->code : TT_OK;
}

/* ---- Scaler: (x - offset) * scale ------------------------------------------------------------ */

/* An attribute of one number a feature, or of one for all, as a weight. */
static int make_per_feature(struct tt_onnx_reading *r, const char *name)
{
    int64_t n, f = features(r);
    const float *v = tt_attr_floats(&r->attrs, name, &n);

    if (!v || (n != 1 && n != f)) {
        (void)tt_fail(r->err, TT_ESHAPE, "attribute '%s' has %lld numbers, want %lld or 1", name,
                      (long long)n, (long long)f);
        return -1;
    }
    return make_weight(r, name, TT_FLOATS, 1, &n, v);
}

static enum tt_code run_scaler(struct tt_onnx_reading *r)
{
    int in[2];

    if (tt_onnx_need(r, 1, 1))
        return r->err->code;
    in[0] = take_floats(r, 1);
    in[1] = in[0] < 0 ? -1 : make_per_feature(r, "offset");
    if (in[1] < 0)
        return r->err->code;
    in[0] = make_part(r, "Sub", 2, in, 0, NULL, "without offset");
    in[1] = in[0] < 0 ? -1 : make_per_feature(r, "scale");
    return give(r, in[1] < 0 ? -1 : tt_onnx_make(r, "Mul", 2, in, 0, NULL, r->out->name));
}

/* ---- Normalizer: rows divided by their norm -------------------------------------------------- */

/* x / norm(x), for rows whose norm is not 0. */
static int make_normalized(struct tt_onnx_reading *r, const char *norm, int x)
{
    static const int64_t last[] = {-1};
    struct tt_attr over[] = {{.name = "axes", .type = TT_AINTS, .n = 1, .ints = last}};
    struct tt_attr least[] = {{.name = "min", .type = TT_AFLOAT, .f = FLT_MIN}};
    int in[2] = {x, -1};

    in[1] = make_part(r, norm, 1, &x, 1, over, "norm");
    if (in[1] >= 0)
        in[1] = make_part(r, "Clip", 1, &in[1], 1, least, "divisor");
    return in[1] < 0 ? -1 : tt_onnx_make(r, "Div", 2, in, 0, NULL, r->out->name);
}

static enum tt_code run_normalizer(struct tt_onnx_reading *r)
{
    const char *norm = tt_attr_str(&r->attrs, "norm", "MAX");
    bool l1 = !strcmp(norm, "L1");
    int x;

    if (tt_onnx_need(r, 1, 1))
        return r->err->code;
    if (!l1 && strcmp(norm, "L2") != 0)
        return tt_fail(r->err, TT_EUNSUPPORTED, "norm '%s', want 'L1' or 'L2'", norm);
    x = take_floats(r, 1);
    return give(r, x < 0 ? -1 : make_normalized(r, l1 ? "ReduceL1" : "ReduceL2", x));
}

/* ---- LinearClassifier ------------------------------------------------------------------------ */

struct classifier {
    int64_t classes, features;
    const float *weight, *bias; // [classes, features], [classes]
    const char *transform;
};

/* The labels, whose number is that of the classes; 0: not given. */
static int64_t count_labels(struct tt_onnx_reading *r)
{
    int64_t n;

    (void)tt_attr_ints(&r->attrs, "classlabels_ints", &n);
    tt_attr_ignore(&r->attrs, "classlabels_strings");
    for (size_t i = 0; !n && i < r->node->n_attribute; i++)
        if (r->node->attribute[i]->name &&
            !strcmp(r->node->attribute[i]->name, "classlabels_strings"))
            n = (int64_t)r->node->attribute[i]->n_strings;
    return n;
}

static enum tt_code read_classifier(struct tt_onnx_reading *r, struct classifier *c)
{
    const int64_t labels = count_labels(r);
    int64_t n;

    *c = (struct classifier){.features = features(r)};
    c->bias = tt_attr_floats(&r->attrs, "intercepts", &c->classes);
    c->weight = tt_attr_floats(&r->attrs, "coefficients", &n);
    c->transform = tt_attr_str(&r->attrs, "post_transform", "NONE");
    tt_attr_ignore(&r->attrs, "multi_class");
    if (!c->weight || !c->bias || c->classes < 1)
        return tt_fail(r->err, TT_EUNSUPPORTED, "%lld coefficients and %lld intercepts, want both",
                       (long long)n, (long long)c->classes);
    if (labels && labels != c->classes)
        return tt_fail(r->err, TT_EUNSUPPORTED, "%lld labels and %lld intercepts, want one each",
                       (long long)labels, (long long)c->classes);
    if (n % c->classes || n / c->classes != c->features)
        return tt_fail(r->err, TT_ESHAPE,
                       "%lld coefficients for %lld classes, want %lld for each feature",
                       (long long)n, (long long)c->classes, (long long)c->features);
    return TT_OK;
}

/* Two classes, the scores of one being the other's negatives. */
static bool is_opposed(const struct classifier *c)
{
    if (c->classes != 2 || c->bias[0] != -c->bias[1])
        return false;
    for (int64_t i = 0; i < c->features; i++)
        if (c->weight[i] != -c->weight[c->features + i])
            return false;
    return true;
}

/* transform of factor * (x weight^T + bias) */
static int make_scores(struct tt_onnx_reading *r, const struct classifier *c, int x, float factor,
                       const char *transform)
{
    struct tt_attr product[] = {{.name = "transB", .type = TT_AINT, .i = 1},
                                {.name = "alpha", .type = TT_AFLOAT, .f = factor},
                                {.name = "beta", .type = TT_AFLOAT, .f = factor}};
    struct tt_attr axis = {.name = "axis", .type = TT_AINT, .i = 1};
    int in[3] = {x}, scores;

    in[1] = make_weight(r, "coefficients", TT_FLOATS, 2, (int64_t[]){c->classes, c->features},
                        c->weight);
    in[2] = in[1] < 0 ? -1 : make_weight(r, "intercepts", TT_FLOATS, 1, &c->classes, c->bias);
    if (in[2] < 0)
        return -1;
    if (!transform)
        return tt_onnx_make(r, "Gemm", 3, in, 3, product, r->out->name);
    scores = make_part(r, "Gemm", 3, in, 3, product, "scores");
    return scores < 0 ? -1
                      : tt_onnx_make(r, transform, 1, &scores, !strcmp(transform, "Softmax"), &axis,
                                     r->out->name);
}

static enum tt_code run_linear_classifier(struct tt_onnx_reading *r)
{
    struct classifier c;
    bool half;
    int x;

    if (!r->out->result)
        return tt_fail(r->err, TT_EUNSUPPORTED, "its labels, '%s', are used: they are not computed",
                       r->out->name);
    if (tt_onnx_need(r, 1, 1))
        return r->err->code;
    x = take_floats(r, 2);
    if (x < 0 || read_classifier(r, &c))
        return r->err->code;
    if (!strcmp(c.transform, "NONE"))
        return give(r, make_scores(r, &c, x, 1, NULL));
    if (!strcmp(c.transform, "SOFTMAX"))
        return give(r, make_scores(r, &c, x, 1, "Softmax"));
    if (strcmp(c.transform, "LOGISTIC") != 0)
        return tt_fail(r->err, TT_EUNSUPPORTED,
                       "post_transform '%s', want 'NONE', 'SOFTMAX' or 'LOGISTIC'", c.transform);
    half = is_opposed(&c);
    return give(r, make_scores(r, &c, x, half ? .5f : 1, half ? "Softmax" : "Sigmoid"));
}

/* ---- ArrayFeatureExtractor
 * ------------------------------------------------------------------------ */

static enum tt_code run_extractor(struct tt_onnx_reading *r)
{
    struct tt_attr axis = {.name = "axis", .type = TT_AINT, .i = -1};
    const struct tt_ints *which;
    int in[2];
    float *at;

    if (tt_onnx_need(r, 2, 2))
        return r->err->code;
    which = r->in[1]->ints;
    if (!which || !which->n)
        return tt_fail(r->err, TT_EUNSUPPORTED, "the features '%s' are not known integers",
                       r->in[1]->name);
    if (tt_ints_fixed(which, "the list of features", r->err))
        return r->err->code;
    at = TT_NEW(&r->o->model->arena, which->n, float);
    if (!at)
        return tt_fail(r->err, TT_ENOMEM, "out of memory");
    in[0] = take_floats(r, 1);
    for (int64_t i = 0; in[0] >= 0 && i < which->n; i++) {
        if (which->v[i].a < 0 || which->v[i].a >= features(r))
            return tt_fail(r->err, TT_ERANGE, "feature %lld of %lld", (long long)which->v[i].a,
                           (long long)features(r));
        at[i] = (float)which->v[i].a;
    }
    in[1] = in[0] < 0 ? -1 : make_weight(r, "features", TT_INTS, 1, &which->n, at);
    return give(r, in[1] < 0 ? -1 : tt_onnx_make(r, "Gather", 2, in, 1, &axis, r->out->name));
}

/* ---- the table
 * ------------------------------------------------------------------------------------- */

#define TREES "a gradient reaches nothing in trees"
#define KERNELS \
    "kernel machines are not served; a linear one is: scikit-learn's LinearSVC, SGDClassifier"
#define TEXTS "models take numbers: encode text and categories before"

static const struct row {
    const char *op;
    tt_onnx_rule *run; // NULL: it is not supported
    const char *why;
} rows[] = {
    {"Scaler", run_scaler, NULL},
    {"Normalizer", run_normalizer, NULL},
    {"LinearClassifier", run_linear_classifier, NULL},
    {"ArrayFeatureExtractor", run_extractor, NULL},
    {"LinearRegressor", NULL, "a regression has no classes"},
    {"SVMClassifier", NULL, KERNELS},
    {"SVMRegressor", NULL, "a regression has no classes"},
    {"TreeEnsemble", NULL, TREES},
    {"TreeEnsembleClassifier", NULL, TREES},
    {"TreeEnsembleRegressor", NULL, TREES},
    {"ZipMap", NULL, "convert with options={'zipmap': False}"},
    {"CategoryMapper", NULL, TEXTS},
    {"DictVectorizer", NULL, TEXTS},
    {"LabelEncoder", NULL, TEXTS},
    {"OneHotEncoder", NULL, TEXTS},
};

tt_onnx_rule *tt_onnx_find_ml_rule(const char *op, const char **ret_why)
{
    *ret_why = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].op, op)) {
            *ret_why = rows[i].why;
            return rows[i].run;
        }
    return NULL;
}
