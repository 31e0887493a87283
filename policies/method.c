// SPDX-License-Identifier: Apache-2.0
#include "policies/policy.h"

#include <string.h>

#define KIND_WORD(kind, name, help) name "|"
#define KIND_WORDS                  TT_KINDS(KIND_WORD) "all"
#define ALL_KINDS                   ((1u << TT_NKINDS) - 1)

static const struct tt_field select_fields[] = {
    {.key = "kinds",
     .type = TT_FFLAGS,
     .offset = offsetof(struct tt_select, kinds),
     .def = "[]",
     .choice = KIND_WORDS,
     .help = "parameters of these operators; [] with include: of any"},
    {.key = "members",
     .type = TT_FFLAGS,
     .offset = offsetof(struct tt_select, members),
     .def = "[]",
     .choice = "weight|bias",
     .help = "[]: both"},
    TT_F(TT_FSTRS, struct tt_select, include, "[]", 0, 0, 0, "globs on names; []: any name"),
    TT_F(TT_FSTRS, struct tt_select, exclude, "[]", 0, 0, 0, "globs on names, left out"),
    {0},
};

/* The defaults of options that a mode does not take are never seen: they are cleared. */
#define STATS_ROWS                                                                              \
    TT_E(struct tt_stats, mode, "source", TT_STATS_MODES, 0, "which statistics normalise"),     \
        TT_F(TT_FFLOAT, struct tt_stats, alpha, "1", 1e-6, 1, 0, "blend: weight of the batch"), \
        TT_F(TT_FFLOAT, struct tt_stats, half_life, "1", 1, 1e9, 0,                             \
             "ema: samples after which a batch counts half")

static const struct tt_field answer_fields[] = {STATS_ROWS, {0}};
static const struct tt_field learn_fields[] = {
    STATS_ROWS,
    TT_F(TT_FFLOAT, struct tt_stats, momentum, "0", 0, 1, 0,
         "running statistics move this far towards each batch; 0: not at all"),
    {0},
};

static const struct tt_field reset_fields[] = {
    {.key = "scope",
     .type = TT_FENUM,
     .offset = offsetof(struct tt_method, reset_scope),
     .def = "never",
     .choice = TT_RESET_SCOPES,
     .help = "what begins at the source parameters"},
    TT_F(TT_FINT, struct tt_method, every_updates, "0", 0, 1e12, 0,
         "back to the source after so many batches learnt from; 0: never"),
    {0},
};

static const struct tt_field predict_fields[] = {
    {.key = "order",
     .type = TT_FENUM,
     .offset = offsetof(struct tt_method, predict_order),
     .def = "before",
     .choice = TT_PREDICT_ORDERS,
     .help = "which forward pass answers"},
    {0},
};

static const char *const mode_names[] = {"source", "running", "batch", "blend", "ema"};
_Static_assert(sizeof mode_names / sizeof *mode_names == TT_NSTATS, "a name for every mode");

/* An option that belongs to one mode: wanted there, refused elsewhere. */
static void check_option(const struct tt_ynode *map, const char *key, int mode, int owner,
                         struct tt_diags *d)
{
    const struct tt_ynode *n = tt_yaml_get(map, key);

    if (n && mode != owner)
        tt_diag_error(d, n->key_line, n->key_col, "%s: mode %s has none, %s has", key,
                      mode_names[mode], mode_names[owner]);
    if (!n && mode == owner)
        tt_diag_error(d, map->line, map->col, "key '%s' is missing: mode %s has no default of it",
                      key, mode_names[mode]);
}

static void read_stats(const struct tt_ynode *stats, const char *key, const struct tt_field *table,
                       struct tt_stats *ret, struct tt_diags *d)
{
    static const char *const elsewhere[] = {"momentum", NULL};
    const struct tt_ynode *map = tt_yaml_get(stats, key), *momentum = tt_yaml_get(map, "momentum");
    bool answers = table == answer_fields;

    if (answers && momentum)
        tt_diag_error(d, momentum->key_line, momentum->key_col,
                      "momentum: stats.%s does not track statistics, stats.learn does", key);
    if (!tt_fields_read(table, map, answers ? elsewhere : NULL, ret, d))
        return;
    if (map) {
        check_option(map, "alpha", ret->mode, TT_STATS_BLEND, d);
        check_option(map, "half_life", ret->mode, TT_STATS_EMA, d);
    }
    if (ret->mode == TT_STATS_EMA && ret->momentum > 0 && momentum)
        tt_diag_error(d, momentum->key_line, momentum->key_col,
                      "momentum: mode ema tracks by its half_life");
    if (ret->mode != TT_STATS_BLEND)
        ret->alpha = 0;
    if (ret->mode != TT_STATS_EMA)
        ret->half_life = 0;
}

static void read_both_stats(const struct tt_ynode *tree, struct tt_method *ret, struct tt_diags *d)
{
    static const struct tt_field none[] = {{0}};
    static const char *const both[] = {"answer", "learn", NULL};
    const struct tt_ynode *stats = tt_yaml_get(tree, "stats");

    if (stats) {
        ret->stats_line = stats->line;
        ret->stats_col = stats->col;
        tt_fields_read(none, stats, both, ret, d);
    }
    read_stats(stats, "answer", answer_fields, &ret->answer, d);
    read_stats(stats, "learn", learn_fields, &ret->learn, d);
}

static void unknown_part(enum tt_slot slot, const struct tt_ynode *name, struct tt_diags *d)
{
    const char *names[64];
    struct tt_out list;
    const char *near;
    int n = 0;

    tt_out_init(&list, d->arena);
    for (const struct tt_part *const *p = tt_parts; *p && n < 63; p++)
        if ((*p)->slot == slot) {
            tt_outf(&list, "%s%s", n ? "|" : "", (*p)->name);
            names[n++] = (*p)->name;
        }
    names[n] = NULL;
    near = tt_did_you_mean(name->text, names);
    tt_diag_error(d, name->line, name->col, "%s: '%.40s' is not one of %s%s%s%s",
                  tt_slot_named_by(slot), name->text,
                  tt_out_text(&list) ? tt_out_text(&list) : "the parts",
                  near ? ", did you mean '" : "", near ? near : "", near ? "'" : "");
}

/* The part that a map of a slot names, or NULL. */
static const struct tt_part *find_part(enum tt_slot slot, const struct tt_ynode *n,
                                       struct tt_diags *d)
{
    const char *key = tt_slot_named_by(slot);
    const struct tt_ynode *name = tt_yaml_get(n, key);
    const struct tt_part *part;

    if (n->type != TT_YMAP) {
        tt_field_mismatch(n, "a map", d);
        return NULL;
    }
    if (!name) {
        tt_diag_error(d, n->line, n->col, "key '%s' is missing: which part of %s", key,
                      tt_slot_key(slot));
        return NULL;
    }
    if (name->type != TT_YSCALAR) {
        tt_field_mismatch(name, "the name of a part", d);
        return NULL;
    }
    part = tt_part_find(slot, name->text);
    if (!part)
        unknown_part(slot, name, d);
    return part;
}

static void read_use(enum tt_slot slot, const struct tt_ynode *n, struct tt_arena *arena,
                     struct tt_method *ret, struct tt_diags *d)
{
    static const struct tt_field none[] = {{0}};
    const char *also[] = {tt_slot_named_by(slot), NULL};
    const struct tt_part *part = find_part(slot, n, d);
    char *options = NULL;

    if (!part)
        return;
    if (ret->nuses == TT_MAXUSES) {
        tt_diag_error(d, n->line, n->col, "%s: more than %d parts", tt_slot_key(slot), TT_MAXUSES);
        return;
    }
    if (part->options) {
        options = TT_NEW(arena, part->options_size, char);
        if (!options) {
            tt_diag_error(d, 0, 0, "out of memory");
            return;
        }
    }
    tt_fields_read(part->options ? part->options : none, n, also, options, d);
    ret->uses[ret->nuses++] =
        (struct tt_use){.part = part, .options = options, .line = n->line, .col = n->col};
}

static void read_slot(enum tt_slot slot, const struct tt_ynode *tree, struct tt_arena *arena,
                      struct tt_method *ret, struct tt_diags *d)
{
    const struct tt_ynode *n = tt_yaml_get(tree, tt_slot_key(slot));

    if (!n)
        return;
    if (!tt_slot_is_list(slot)) {
        read_use(slot, n, arena, ret, d);
        return;
    }
    if (n->type != TT_YLIST) {
        tt_field_mismatch(n, "a list", d);
        return;
    }
    for (const struct tt_ynode *c = n->first; c; c = c->next)
        read_use(slot, c, arena, ret, d);
}

static void read_select(const struct tt_ynode *tree, struct tt_select *ret, struct tt_diags *d)
{
    const struct tt_ynode *n = tt_yaml_get(tree, "select");

    if (n) {
        ret->line = n->line;
        ret->col = n->col;
    }
    tt_fields_read(select_fields, n, NULL, ret, d);
    if (ret->kinds & 1u << TT_NKINDS)
        ret->kinds = ALL_KINDS;
}

bool tt_method_read(const struct tt_ynode *tree, struct tt_arena *arena, struct tt_method *ret,
                    struct tt_diags *d)
{
    const struct tt_ynode *predict = tt_yaml_get(tree, "predict");
    int errors = d->errors;

    read_select(tree, &ret->select, d);
    read_both_stats(tree, ret, d);
    for (int slot = 0; slot < TT_NSLOTS; slot++)
        read_slot((enum tt_slot)slot, tree, arena, ret, d);
    tt_fields_read(reset_fields, tt_yaml_get(tree, "reset"), NULL, ret, d);
    tt_fields_read(predict_fields, predict, NULL, ret, d);
    if (predict) {
        ret->predict_line = predict->line;
        ret->predict_col = predict->col;
    }
    return d->errors == errors;
}

static void print_stats(const char *key, const struct tt_stats *s, struct tt_out *o)
{
    tt_outf(o, "  %s: {mode: %s", key, mode_names[s->mode]);
    if (s->mode == TT_STATS_BLEND) {
        tt_outf(o, ", alpha: ");
        tt_out_number(o, s->alpha);
    }
    if (s->mode == TT_STATS_EMA) {
        tt_outf(o, ", half_life: ");
        tt_out_number(o, s->half_life);
    }
    if (s->momentum > 0) {
        tt_outf(o, ", momentum: ");
        tt_out_number(o, s->momentum);
    }
    tt_outf(o, "}\n");
}

static void print_slot(enum tt_slot slot, const struct tt_method *m, struct tt_out *o)
{
    bool list = tt_slot_is_list(slot), first = true;

    for (int i = 0; i < m->nuses; i++) {
        const struct tt_use *u = &m->uses[i];

        if (u->part->slot != slot)
            continue;
        if (first)
            tt_outf(o, "%s:\n", tt_slot_key(slot));
        first = false;
        tt_outf(o, "%s%s: %s\n", list ? "  - " : "  ", tt_slot_named_by(slot), u->part->name);
        if (u->options)
            tt_fields_print(u->part->options, u->options, list ? 4 : 2, o);
    }
}

void tt_method_print(const struct tt_method *m, struct tt_out *o)
{
    bool learns = m->nuses > 0;

    if (learns) {
        tt_outf(o, "select:\n");
        tt_fields_print(select_fields, &m->select, 2, o);
    }
    tt_outf(o, "stats:\n");
    print_stats("answer", &m->answer, o);
    print_stats("learn", &m->learn, o);
    for (int slot = 0; slot < TT_NSLOTS; slot++)
        print_slot((enum tt_slot)slot, m, o);
    tt_outf(o, "steps: %lld\nreset:\n", (long long)m->steps);
    tt_fields_print(reset_fields, m, 2, o);
    tt_outf(o, "predict:\n");
    tt_fields_print(predict_fields, m, 2, o);
    tt_outf(o, "convolution: %s\n", m->convolution == TT_CONVOLUTION_EXACT ? "exact" : "fast");
}
