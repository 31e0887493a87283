// SPDX-License-Identifier: Apache-2.0
#include "tests/support/parity.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/file.h"
#include "engines/step.h"
#include "policies/policy.h"
#include "runtime/npy.h"
#include "runtime/safetensors.h"

#define LIMIT ((size_t)1 << 30)

struct parity_case {
    struct tt_arena *arena;
    json_t *j;
    struct tt_st_file want;
    struct tt_npy images;
    struct tt_model *model;
    struct tt_policy *policy;
    struct tt_plan *plan;
    int64_t batch, batches, first, H, W, C;
    float *x, *version, *after, *logits, *first_grad;
    double worst_logits;
    int64_t same, rows;
};

static const char *text_of(const struct parity_case *c, const char *key)
{
    const char *s = json_string_value(json_object_get(c->j, key));

    return s ? s : "";
}

/* Numbers are written as numbers or as text ("2.2e-04"). */
static double number_of(const json_t *v)
{
    return json_is_string(v) ? atof(json_string_value(v)) : json_number_value(v);
}

/* The policy that a case means.  The project's own cases say it; the others by single keys. */
static const char *policy_of(const struct parity_case *c, char *text, size_t n)
{
    const char *engine = text_of(c, "engine"), *method = text_of(c, "method");
    const char *optimizer = text_of(c, "optimizer");
    double lr = number_of(json_object_get(c->j, "lr"));
    int64_t steps = json_integer_value(json_object_get(c->j, "steps"));
    bool episodic = json_is_true(json_object_get(c->j, "episodic"));

    if (*method) {
        size_t len = strlen(method);

        snprintf(text, n,
                 "%.*s, convolution: exact, preprocess: {mean: [%.9g], std: [%.9g], layout: nhwc}}",
                 (int)(len ? len - 1 : 0), method, number_of(json_object_get(c->j, "mean")),
                 number_of(json_object_get(c->j, "std")));
        return text;
    }
#define CIFAR              \
    "convolution: exact\n" \
    "preprocess: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], layout: nhwc}\n"
    if (!strcmp(engine, "source") || !strcmp(engine, "norm"))
        snprintf(text, n, "preset: %s\n" CIFAR, engine);
    else if (!strcmp(engine, "blend"))
        snprintf(text, n, "preset: norm_blend\nstats: {mode: blend, alpha: %g}\n" CIFAR,
                 number_of(json_object_get(c->j, "alpha")));
    else if (!strcmp(engine, "ema"))
        snprintf(text, n,
                 "preset: norm_ema\nstats: {answer: running, learn: {mode: batch, momentum: "
                 "%g}}\n" CIFAR,
                 number_of(json_object_get(c->j, "bn_momentum")));
    else if (!strcmp(engine, "tent"))
        snprintf(text, n, "preset: tent\noptimizer: {kind: %s, lr: %.9g%s}\nsteps: %d\n%s" CIFAR,
                 optimizer, lr, strcmp(optimizer, "sgd") ? "" : ", momentum: 0.9",
                 steps ? (int)steps : 1, episodic ? "reset: request\npredict: last\n" : "");
    else
        return NULL;
#undef CIFAR
    return text;
}

static enum tt_code read_all(struct parity_case *c, const char *path, char **data, size_t *n,
                             struct tt_err *err)
{
    return tt_file_read(path, LIMIT, c->arena, data, n, err);
}

static enum tt_code read_case(struct parity_case *c, const char *json, struct tt_err *err)
{
    char *data;
    json_error_t e;
    size_t n;

    if (read_all(c, json, &data, &n, err) != TT_OK)
        return err->code;
    c->j = json_loadb(data, n, 0, &e);
    if (!c->j)
        return tt_fail(err, TT_EPARSE, "%s:%d: %s", json, e.line, e.text);
    c->batch = json_integer_value(json_object_get(c->j, "batch"));
    c->batches = json_integer_value(json_object_get(c->j, "batches"));
    c->first = json_integer_value(json_object_get(c->j, "first"));
    return TT_OK;
}

static enum tt_code read_wanted(struct parity_case *c, const char *json, struct tt_err *err)
{
    char path[1024], *data;
    size_t n;

    snprintf(path, sizeof path, "%.*s.safetensors", (int)(strlen(json) - 5), json);
    if (read_all(c, path, &data, &n, err) != TT_OK)
        return err->code;
    return tt_st_read(data, n, c->arena, &c->want, err);
}

static enum tt_code read_images(struct parity_case *c, const char *json, const char *images,
                                struct tt_err *err)
{
    const char *slash = strrchr(json, '/');
    char path[1024], *data;
    size_t n;

    if (images)
        snprintf(path, sizeof path, "%s/%s.npy", images, text_of(c, "corruption"));
    else
        snprintf(path, sizeof path, "%.*s/%s", (int)(slash ? slash - json : 1), slash ? json : ".",
                 text_of(c, "images"));
    if (read_all(c, path, &data, &n, err) != TT_OK ||
        tt_npy_read(data, n, &c->images, err) != TT_OK)
        return err->code;
    if (c->images.type != TT_NPY_U8 || c->images.ndim != 4 ||
        c->images.dim[0] < c->first + c->batch * c->batches)
        return tt_fail(err, TT_ESHAPE, "%s: want enough uint8 images [N, H, W, C]", path);
    c->H = c->images.dim[1];
    c->W = c->images.dim[2];
    c->C = c->images.dim[3];
    return TT_OK;
}

static enum tt_code read_model(struct parity_case *c, const char *models, struct tt_err *err)
{
    char path[1024], *data;
    size_t n;

    if (models)
        snprintf(path, sizeof path, "%s/%s_cifar10.onnx", models, text_of(c, "model"));
    else
        snprintf(path, sizeof path, "%s", text_of(c, "model"));
    if (read_all(c, path, &data, &n, err) != TT_OK)
        return err->code;
    return tt_model_read_onnx(data, n, 0, &c->model, err);
}

static enum tt_code compile_case(struct parity_case *c, const char *text, struct tt_err *err)
{
    struct tt_diags d;

    tt_diags_init(&d, c->arena, "parity", text, strlen(text));
    c->policy = tt_policy_read("parity", text, strlen(text), c->arena, &d);
    if (!c->policy)
        return tt_diags_err(&d, err);
    if (tt_plan_new(c->model, &c->policy->method, c->batch, &c->plan, err) != TT_OK)
        return err->code;
    c->x = TT_NEW(c->arena, c->batch * tt_plan_row(c->plan), float);
    c->version = TT_NEW(c->arena, tt_plan_floats(c->plan) + 1, float);
    c->after = TT_NEW(c->arena, tt_plan_floats(c->plan) + 1, float);
    c->first_grad = TT_NEW(c->arena, tt_plan_floats(c->plan) + 1, float);
    c->logits = TT_NEW(c->arena, c->batch * 4096, float);
    tt_plan_source(c->plan, c->version);
    return TT_OK;
}

/* a / b, where nothing may be wrong of what is bounded by nothing. */
static double over(double error, double bound)
{
    return error == 0 ? 0 : bound > 0 ? error / bound : INFINITY;
}

static int argmax(const float *z, int64_t n)
{
    int best = 0;

    for (int i = 1; i < n; i++)
        if (z[i] > z[best])
            best = i;
    return best;
}

static enum tt_code judge_logits(struct parity_case *c, int64_t b, int64_t classes,
                                 struct tt_err *err)
{
    const struct tt_st_tensor *t = tt_st_find(&c->want, "logits");
    const json_t *bounds = json_object_get(c->j, "fp32_logit_error_per_batch");
    double bound = PARITY_MARGIN * number_of(json_array_get(bounds, (size_t)b)), worst = 0;

    if (!t || t->ndim != 3 || t->dim[1] != c->batch || t->dim[2] != classes || b >= t->dim[0])
        return tt_fail(err, TT_ESHAPE, "tensor 'logits' is not [batches, %lld, %lld]",
                       (long long)c->batch, (long long)classes);
    for (int64_t r = 0; r < c->batch; r++) {
        float want[4096];

        memcpy(want, (const char *)t->data + (b * c->batch + r) * classes * 4,
               sizeof *want * (size_t)classes);
        for (int64_t k = 0; k < classes; k++) {
            double e = fabs((double)want[k] - c->logits[r * classes + k]);

            if (!(e <= worst))
                worst = e;
        }
        c->same += argmax(want, classes) == argmax(c->logits + r * classes, classes);
        c->rows++;
    }
    if (!(over(worst, bound) <= c->worst_logits))
        c->worst_logits = over(worst, bound);
    return TT_OK;
}

static const struct tt_slice *slice(const struct parity_case *c, const char *name)
{
    int n;
    const struct tt_slice *s = tt_plan_slices(c->plan, &n);

    for (int i = 0; i < n; i++)
        if (!strcmp(s[i].name, name))
            return &s[i];
    return NULL;
}

/* "s/3/bn.running_mean" for "bn.running_mean": by the end of the name. */
static const struct tt_slice *stats_slice(const struct parity_case *c, const char *name)
{
    int n;
    const struct tt_slice *s = tt_plan_slices(c->plan, &n);

    for (int i = 0; i < n; i++) {
        const char *tail = s[i].name[0] == 's' ? strchr(s[i].name + 2, '/') : NULL;

        if (tail && !strcmp(tail + 1, name))
            return &s[i];
    }
    return NULL;
}

/* Adam makes a whole step of the sign of a gradient that is nearly zero: such scalars say
 * nothing.  After the first step its first moment is (1 - beta1) of the gradient. */
static void keep_first_gradient(struct parity_case *c)
{
    int n;
    const struct tt_slice *s = tt_plan_slices(c->plan, &n);

    for (int64_t i = 0; i < tt_plan_floats(c->plan); i++)
        c->first_grad[i] = INFINITY;
    for (int i = 0; i < n; i++) {
        char name[256];
        const struct tt_slice *m;

        snprintf(name, sizeof name, "o/%s/exp_avg", s[i].name + 2);
        m = s[i].name[0] == 'p' ? slice(c, name) : NULL;
        for (int64_t k = 0; m && k < m->n; k++)
            c->first_grad[s[i].offset + k] = fabsf(c->version[m->offset + k]) / 0.1f;
    }
}

/* Worst error of the tensors that begin with group, over the bound. */
static enum tt_code judge_state(struct parity_case *c, const char *group, const char *key,
                                double *ret, struct tt_err *err)
{
    double bound = PARITY_MARGIN * number_of(json_object_get(c->j, key)), worst = 0;

    for (int i = 0; i < c->want.ntensors; i++) {
        const struct tt_st_tensor *t = &c->want.tensors[i];
        const struct tt_slice *s;
        char name[256];

        if (strncmp(t->name, group, strlen(group)))
            continue;
        snprintf(name, sizeof name, "p/%s", t->name + strlen(group));
        s = group[0] == 'f' ? slice(c, name) : stats_slice(c, name + 2);
        if (!s && !strncmp(group, "final", 5) && !tt_plan_learns(c->plan))
            continue; // nothing is selected: the values are the model's
        if (!s && group[0] == 'f' && c->policy->method.nuses == 0)
            continue;
        if (!s || (size_t)s->n * 4 != t->bytes)
            return tt_fail(err, TT_ENOTFOUND, "tensor '%s' is not in the version", t->name);
        for (int64_t k = 0; k < s->n; k++) {
            float want;
            double e;

            memcpy(&want, (const char *)t->data + k * 4, sizeof want);
            e = fabs((double)want - c->version[s->offset + k]);
            if (c->first_grad[s->offset + k] > 1e-6f && !(e <= worst))
                worst = e;
        }
    }
    *ret = over(worst, bound);
    return TT_OK;
}

static enum tt_code play(struct parity_case *c, struct parity_result *ret, struct tt_err *err)
{
    int64_t row = c->H * c->W * c->C;

    for (int64_t b = 0; b < c->batches; b++) {
        struct tt_outcome o;
        float *swap = c->version;

        tt_preprocess_run(&c->policy->preprocess,
                          (const uint8_t *)c->images.data + (c->first + b * c->batch) * row,
                          c->batch, c->C, c->H, c->W, c->x);
        if (tt_step_run(c->plan, c->version, c->after, c->x, c->batch, true, TT_SKIP_NONE,
                        c->logits, &o, err) != TT_OK ||
            judge_logits(c, b, o.classes, err) != TT_OK)
            return err->code;
        c->version = c->after;
        c->after = swap;
        if (b == 0)
            keep_first_gradient(c);
    }
    ret->logits = c->worst_logits;
    ret->argmax = (double)c->same / (double)c->rows;
    if (judge_state(c, "final/", "fp32_param_error", &ret->params, err) != TT_OK)
        return err->code;
    if (json_object_get(c->j, "fp32_stats_error") &&
        judge_state(c, "stats/", "fp32_stats_error", &ret->stats, err) != TT_OK)
        return err->code;
    ret->verdict =
        ret->logits <= 1 && ret->params <= 1 && ret->stats <= 1 ? PARITY_HOLDS : PARITY_MISSES;
    return TT_OK;
}

enum tt_code parity_run(const char *json, const char *images, const char *models,
                        struct parity_result *ret, struct tt_err *err)
{
    struct tt_arena arena;
    struct parity_case c = {.arena = &arena};
    char text[2048];
    const char *policy;
    enum tt_code code;

    *ret = (struct parity_result){.verdict = PARITY_SKIPPED};
    tt_arena_init(&arena, 0);
    code = read_case(&c, json, err);
    policy = code == TT_OK ? policy_of(&c, text, sizeof text) : NULL;
    if (code == TT_OK && !policy)
        snprintf(ret->why, sizeof ret->why, "engine '%s' does not exist yet",
                 text_of(&c, "engine"));
    if (policy) {
        code = read_wanted(&c, json, err);
        code = code == TT_OK ? read_images(&c, json, images, err) : code;
        code = code == TT_OK ? read_model(&c, models, err) : code;
        code = code == TT_OK ? compile_case(&c, policy, err) : code;
        code = code == TT_OK ? play(&c, ret, err) : code;
    }
    json_decref(c.j);
    tt_plan_free(c.plan);
    tt_model_free(c.model);
    tt_arena_release(&arena);
    return code;
}

void parity_print(FILE *to, const char *name, const struct parity_result *r)
{
    static const char *const words[] = {"holds", "MISSES", "skipped"};

    fprintf(to, "  %-8s %-28s ", words[r->verdict], name);
    if (r->verdict == PARITY_SKIPPED)
        fprintf(to, "%s\n", r->why);
    else
        fprintf(to,
                "logits %5.2f  parameters %5.2f  statistics %5.2f  of the bound, same label "
                "%.4f\n",
                r->logits, r->params, r->stats, r->argmax);
}

static int cases_only(const struct dirent *d)
{
    size_t n = strlen(d->d_name);

    return n > 5 && !strcmp(d->d_name + n - 5, ".json");
}

int parity_folder(FILE *to, const char *dir, const char *images, const char *models, int *ret_held)
{
    struct dirent **list;
    int n = scandir(dir, &list, cases_only, alphasort), bad = 0;

    *ret_held = 0;
    if (n < 0) {
        fprintf(to, "%s: cannot be read\n", dir);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        struct parity_result r;
        struct tt_err err;
        char path[1024], name[64];

        snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name);
        snprintf(name, sizeof name, "%.*s", (int)strlen(list[i]->d_name) - 5, list[i]->d_name);
        if (parity_run(path, images, models, &r, &err) != TT_OK) {
            fprintf(to, "  FAILS    %-28s %s\n", name, err.msg);
            bad++;
        } else {
            parity_print(to, name, &r);
            bad += r.verdict == PARITY_MISSES;
            *ret_held += r.verdict == PARITY_HOLDS;
        }
        free(list[i]);
    }
    free(list);
    return bad;
}
