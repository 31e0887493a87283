// SPDX-License-Identifier: Apache-2.0
#include "policies/policy.h"

#include <string.h>

#define MAXROWS 32 // of a table that is taken apart

struct head {
    int64_t version, steps;
    int convolution, adapt;
    const char *name, *preset;
};

static const struct tt_field head_fields[] = {
    TT_F(TT_FINT, struct head, version, "1", 1, 1, 0, "of this format"),
    TT_F(TT_FSTR, struct head, name, "", 0, 0, 0, "letters, digits, . _ -; the file's if missing"),
    TT_F(TT_FSTR, struct head, preset, "", 0, 0, 0, "what this policy builds on"),
    TT_F(TT_FINT, struct head, steps, "1", 1, 64, 0, "updates a batch"),
    TT_E(struct head, convolution, "fast", TT_CONVOLUTIONS, 0,
         "exact: by the formula, never by an algorithm that rounds more"),
    TT_E(struct head, adapt, "inline", TT_ADAPTS, 0,
         "when a batch is learnt from: inline: before its answer leaves, background: after"),
    {0},
};

static const char *const other_keys[] = {
    "select", "stats",    "objective", "optimizer", "reset",   "predict",  "preprocess",
    "guards", "recovery", "monitor",   "snapshots", "capture", "brownout", NULL};

static const struct tt_field preprocess_fields[] = {
    TT_F(TT_FFLOAT, struct tt_preprocess, scale, "0.00392156862745098", 1e-9, 1e9, 0,
         "what a pixel is multiplied by, first (default: 1/255)"),
    TT_F(TT_FFLOATS, struct tt_preprocess, mean, "[]", -1e6, 1e6, 0,
         "subtracted, one number or one a channel"),
    TT_F(TT_FFLOATS, struct tt_preprocess, std, "[]", 1e-9, 1e9, 0,
         "divided by, one number or one a channel"),
    TT_E(struct tt_preprocess, layout, "nchw", TT_IMAGE_LAYOUTS, 0, "of the images that come"),
    {0},
};

static const struct tt_field shadow_fields[] = {
    {.key = "every",
     .type = TT_FINT,
     .offset = offsetof(struct tt_monitor_options, shadow_every),
     .min = 0,
     .max = 1e9,
     .def = "8",
     .help = "batches: on each such batch the frozen model answers too; 0: never"},
    {.key = "stats",
     .type = TT_FFLAGS,
     .offset = offsetof(struct tt_monitor_options, shadow_stats),
     .def = "[source, same]",
     .choice = TT_SHADOWS,
     .help = "source: the model as deployed; same: under the method's statistics"},
    {0},
};

static const struct tt_field snapshot_fields[] = {
    TT_F(TT_FINT, struct tt_snapshot_options, every_updates, "50", 0, 1e9, 0,
         "a version that may be gone back to after so many updates; 0: never"),
    {0},
};

static const struct tt_field capture_fields[] = {
    TT_E(struct tt_capture_options, mode, "off", TT_CAPTURE_MODES, 0,
         "on: inputs are kept beside the record, for ttad replay"),
    TT_F(TT_FINT, struct tt_capture_options, max_bytes, "268435456", 1048576, 1e15, 0,
         "of a stream's files together; the oldest go"),
    {0},
};

static const struct tt_field brownout_fields[] = {
    TT_F(TT_FINT, struct tt_brownout_options, queue_ms, "5000", 0, 86400e3, 0,
         "with more work than this waiting for the worker nothing is learnt; 0: never so"),
    TT_F(TT_FINT, struct tt_brownout_options, clear_ms, "2500", 0, 86400e3, 0,
         "until no more than this waits"),
    {0},
};

/* tt_guard_settings_fields in two: what is measured stands under `monitor`, the rest under
 * `recovery`. */
struct settings_tables {
    struct tt_field monitor[MAXROWS + 1], recovery[MAXROWS + 1];
};

static void take_apart(struct settings_tables *ret)
{
    int m = 0, r = 0;

    *ret = (struct settings_tables){0};
    for (const struct tt_field *f = tt_guard_settings_fields; f->key; f++) {
        if (!strcmp(f->key, "window") && m < MAXROWS)
            ret->monitor[m++] = *f;
        else if (r < MAXROWS)
            ret->recovery[r++] = *f;
    }
}

static bool is_name(const char *s)
{
    size_t n = strlen(s);

    return n && n < TT_POLICY_NAME &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* The file's name without folder and ending, fit to be a policy's. */
static const char *stem(const char *file, struct tt_arena *arena)
{
    const char *base = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
    const char *dot = strrchr(base, '.');
    size_t n = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    char *s;

    if (n >= TT_POLICY_NAME)
        n = TT_POLICY_NAME - 1;
    s = tt_arena_strndup(arena, n ? base : "policy", n ? n : 6);
    for (char *c = s; c && *c; c++) {
        char one[2] = {*c, '\0'};

        if (!is_name(one))
            *c = '-';
    }
    return s;
}

static void read_head(const struct tt_ynode *tree, struct tt_policy *p, struct tt_arena *arena,
                      struct tt_diags *d)
{
    const struct tt_ynode *name = tt_yaml_get(tree, "name");
    struct head head = {0};

    tt_fields_read(head_fields, tree, other_keys, &head, d);
    p->method.steps = head.steps;
    p->method.convolution = head.convolution;
    p->adapt = head.adapt;
    p->name = name ? head.name : stem(p->file, arena);
    if (!p->name)
        tt_diag_error(d, 0, 0, "out of memory");
    else if (name && name->type == TT_YSCALAR && !is_name(p->name))
        tt_diag_error(d, name->line, name->col,
                      "name: '%.80s': want 1 to %d letters, digits, '.', '_' or '-'", p->name,
                      TT_POLICY_NAME - 1);
}

static void read_preprocess(const struct tt_ynode *tree, struct tt_preprocess *ret,
                            struct tt_diags *d)
{
    const struct tt_ynode *n = tt_yaml_get(tree, "preprocess"), *std;

    if (!tt_fields_read(preprocess_fields, n, NULL, ret, d))
        return;
    std = tt_yaml_get(n, "std");
    if (std && ret->mean.n > 1 && ret->std.n > 1 && ret->mean.n != ret->std.n)
        tt_diag_error(d, std->line, std->col, "std: %d numbers, mean has %d", ret->std.n,
                      ret->mean.n);
}

/* The rules alone; tt_guard_check wants the settings too. */
static void read_guards(const struct tt_ynode *tree, struct tt_guard_policy *ret,
                        struct tt_arena *arena, struct tt_diags *d)
{
    const struct tt_ynode *n = tt_yaml_get(tree, "guards"), *c;
    struct tt_guard_rule *rules;
    int i = 0;

    if (n && n->type != TT_YLIST) {
        tt_field_mismatch(n, "a list", d);
        return;
    }
    rules = TT_NEW(arena, n ? n->n : 0, struct tt_guard_rule);
    if (!rules) {
        tt_diag_error(d, 0, 0, "out of memory");
        return;
    }
    for (c = n ? n->first : NULL; c; c = c->next, i++) {
        tt_fields_read(tt_guard_fields, c, NULL, &rules[i], d);
        rules[i].line = c->line;
        rules[i].col = c->col;
    }
    ret->rules = rules;
    ret->nrules = i;
}

static void read_watch(const struct tt_ynode *tree, struct tt_policy *p, struct tt_diags *d)
{
    static const char *const shadow[] = {"shadow", NULL};
    const struct tt_ynode *monitor = tt_yaml_get(tree, "monitor");
    struct settings_tables t;

    take_apart(&t);
    tt_fields_read(t.monitor, monitor, shadow, &p->guard.settings, d);
    tt_fields_read(shadow_fields, tt_yaml_get(monitor, "shadow"), NULL, &p->monitor, d);
    tt_fields_read(t.recovery, tt_yaml_get(tree, "recovery"), NULL, &p->guard.settings, d);
    tt_fields_read(snapshot_fields, tt_yaml_get(tree, "snapshots"), NULL, &p->snapshots, d);
    tt_fields_read(capture_fields, tt_yaml_get(tree, "capture"), NULL, &p->capture, d);
}

static void read_brownout(const struct tt_ynode *tree, struct tt_brownout_options *ret,
                          struct tt_diags *d)
{
    const struct tt_ynode *n = tt_yaml_get(tree, "brownout"), *clear = tt_yaml_get(n, "clear_ms");

    if (!tt_fields_read(brownout_fields, n, NULL, ret, d))
        return;
    if (!clear)
        ret->clear_ms = ret->queue_ms / 2;
    else if (ret->clear_ms > ret->queue_ms)
        tt_diag_error(d, clear->line, clear->col, "clear_ms: %lld is above queue_ms %lld",
                      (long long)ret->clear_ms, (long long)ret->queue_ms);
}

static bool has_objective(const struct tt_method *m)
{
    for (int i = 0; i < m->nuses; i++)
        if (m->uses[i].part->slot == TT_OBJECTIVE)
            return true;
    return false;
}

/* An answer that has left cannot come from after the update. */
static void check_adapt(const struct tt_ynode *tree, const struct tt_policy *p, struct tt_diags *d)
{
    const struct tt_ynode *n = tt_yaml_get(tree, "adapt");

    if (p->adapt == TT_ADAPT_BACKGROUND && p->method.predict_order != TT_PREDICT_BEFORE)
        tt_diag_error(d, n->line, n->col,
                      "adapt: background answers before it learns, but predict.order is not "
                      "'before'");
}

/* Guards over what this policy never measures would hold the stream for ever. */
static void check_guards(const struct tt_policy *p, struct tt_diags *d)
{
    for (int i = 0; i < p->guard.nrules; i++) {
        const struct tt_guard_rule *r = &p->guard.rules[i];
        const struct tt_signal_row *s = &tt_signals[r->signal];
        unsigned wanted =
            r->signal == TT_SIG_SHADOW_DISAGREEMENT ? TT_SHADOW_SAME : TT_SHADOW_SOURCE;

        if (s->from == TT_FROM_LEARNING && !has_objective(&p->method))
            tt_diag_error(d, r->line, r->col,
                          "guards[%d]: %s is never measured: the policy has no objective", i,
                          s->name);
        if (s->from == TT_FROM_SAMPLE && !p->monitor.shadow_every)
            tt_diag_error(d, r->line, r->col,
                          "guards[%d]: %s is never measured: monitor.shadow.every is 0", i,
                          s->name);
        else if (s->from == TT_FROM_SAMPLE && !(p->monitor.shadow_stats & wanted))
            tt_diag_error(d, r->line, r->col,
                          "guards[%d]: %s is never measured: monitor.shadow.stats has no '%s'", i,
                          s->name, wanted == TT_SHADOW_SAME ? "same" : "source");
        else if (s->from == TT_FROM_SAMPLE && !r->dry_run &&
                 r->on_inconclusive == TT_INCONCLUSIVE_HOLD &&
                 r->min_samples > p->guard.settings.warmup_samples / p->monitor.shadow_every)
            tt_diag_warning(d, r->line, r->col,
                            "guards[%d]: with monitor.shadow.every %lld its min_samples %lld are "
                            "not there when recovery.warmup_samples %lld end: the stream holds "
                            "until they are",
                            i, (long long)p->monitor.shadow_every, (long long)r->min_samples,
                            (long long)p->guard.settings.warmup_samples);
    }
}

/* Whether two methods are made of the same things, whatever their options.  Papers give one
 * method with several optimizers (Tent: Adam on CIFAR, SGD on ImageNet): it is no difference. */
static bool same_parts(const struct tt_method *a, const struct tt_method *b)
{
    if (a->nuses != b->nuses || a->answer.mode != b->answer.mode || a->learn.mode != b->learn.mode)
        return false;
    for (int i = 0; i < a->nuses; i++)
        if (a->uses[i].part->slot != b->uses[i].part->slot ||
            (a->uses[i].part->slot != TT_OPTIMIZER && a->uses[i].part != b->uses[i].part))
            return false;
    return true;
}

/* The name that replies carry: the preset's while the method is made of the preset's parts. */
static const char *engine_name(const struct tt_ynode *tree, const struct tt_method *m,
                               struct tt_arena *arena, struct tt_diags *d)
{
    const struct tt_ynode *preset = tt_yaml_get(tree, "preset");
    struct tt_method plain = {0};
    struct tt_ynode *own;
    const char *text;

    if (!preset || preset->type != TT_YSCALAR)
        return "custom";
    text = tt_preset_text(preset->text);
    own = text ? tt_yaml_read(text, strlen(text), arena, d) : NULL;
    own = own ? tt_preset_merge(own, arena, d) : NULL;
    if (!own || !tt_method_read(own, arena, &plain, d))
        return "custom";
    return same_parts(m, &plain) ? preset->text : "custom";
}

/* One rule, without the numbers that it does not give. */
static void print_rule(const struct tt_guard_rule *r, struct tt_out *o)
{
    for (const struct tt_field *f = tt_guard_fields; f->key; f++) {
        const struct tt_field one[] = {*f, {0}};
        const char *at = (const char *)r + f->offset;

        if (f->type != TT_FFLOAT || *(const double *)(const void *)at != TT_GUARD_UNSET)
            tt_fields_print(one, r, 4, o);
    }
}

static void print_guards(const struct tt_guard_policy *g, struct tt_out *o)
{
    tt_outf(o, g->nrules ? "guards:\n" : "guards: []\n");
    for (int i = 0; i < g->nrules; i++) {
        tt_outf(o, "  -\n");
        print_rule(&g->rules[i], o);
    }
}

static void print_policy(const struct tt_policy *p, struct tt_out *o)
{
    struct settings_tables t;

    take_apart(&t);
    tt_outf(o, "version: 1\n");
    tt_method_print(&p->method, o);
    tt_outf(o, "preprocess:\n");
    tt_fields_print(preprocess_fields, &p->preprocess, 2, o);
    print_guards(&p->guard, o);
    tt_outf(o, "recovery:\n");
    tt_fields_print(t.recovery, &p->guard.settings, 2, o);
    tt_outf(o, "monitor:\n");
    tt_fields_print(t.monitor, &p->guard.settings, 2, o);
    tt_outf(o, "  shadow:\n");
    tt_fields_print(shadow_fields, &p->monitor, 4, o);
    tt_outf(o, "snapshots:\n");
    tt_fields_print(snapshot_fields, &p->snapshots, 2, o);
    tt_outf(o, "capture:\n");
    tt_fields_print(capture_fields, &p->capture, 2, o);
    tt_outf(o, "adapt: %s\n", p->adapt == TT_ADAPT_BACKGROUND ? "background" : "inline");
    tt_outf(o, "brownout:\n");
    tt_fields_print(brownout_fields, &p->brownout, 2, o);
}

static struct tt_policy *read_tree(const char *file, const struct tt_ynode *tree,
                                   struct tt_arena *arena, struct tt_diags *d)
{
    struct tt_policy *p = TT_NEW(arena, 1, struct tt_policy);
    int errors = d->errors;
    struct tt_out o;

    if (p)
        p->file = p->method.file = tt_arena_strndup(arena, file, strlen(file));
    if (!p || !p->file) {
        tt_diag_error(d, 0, 0, "out of memory");
        return NULL;
    }
    read_head(tree, p, arena, d);
    tt_method_read(tree, arena, &p->method, d);
    read_preprocess(tree, &p->preprocess, d);
    read_guards(tree, &p->guard, arena, d);
    read_watch(tree, p, d);
    read_brownout(tree, &p->brownout, d);
    if (d->errors > errors)
        return NULL;
    tt_method_check(tree, &p->method, d);
    tt_guard_check(&p->guard, d);
    check_guards(p, d);
    check_adapt(tree, p, d);
    p->method.preset = engine_name(tree, &p->method, arena, d);
    tt_out_init(&o, arena);
    print_policy(p, &o);
    p->text = tt_out_text(&o);
    if (!p->text) {
        tt_diag_error(d, 0, 0, "out of memory");
        return NULL;
    }
    tt_hash_bytes(p->text, strlen(p->text), p->hash);
    return p;
}

struct tt_policy *tt_policy_read(const char *file, const char *text, size_t len,
                                 struct tt_arena *arena, struct tt_diags *d)
{
    int errors = d->errors;
    struct tt_ynode *tree = tt_yaml_read(text, len, arena, d);
    struct tt_policy *p;

    if (tree && tree->type == TT_YMAP && !tree->n)
        tt_diag_warning(d, 0, 0, "nothing in it: the model answers as it was deployed");
    if (tree)
        tree = tt_preset_merge(tree, arena, d);
    p = tree ? read_tree(file, tree, arena, d) : NULL;
    return d->errors > errors ? NULL : p;
}
