// SPDX-License-Identifier: Apache-2.0
#include "policies/preset.h"

#include <string.h>

#include "config/field.h"
#include "engines/part.h"
#include "policies/shape.h"
#include "texts.h"

#define FOLDER "policies/presets/"
#define ENDING ".yaml"
#define DEPTH  8 // presets that build on each other

/* The name of the preset in that compiled-in file and its length, or NULL. */
static const char *name_of(const char *path, size_t *ret_n)
{
    size_t n = strlen(path), before = strlen(FOLDER), after = strlen(ENDING);

    if (n <= before + after || strncmp(path, FOLDER, before) != 0 ||
        strcmp(path + n - after, ENDING) != 0)
        return NULL;
    *ret_n = n - before - after;
    return path + before;
}

const char *tt_preset_text(const char *name)
{
    for (const struct tt_text *t = tt_texts; t->path; t++) {
        size_t n;
        const char *found = name_of(t->path, &n);

        if (found && n == strlen(name) && !strncmp(found, name, n))
            return t->text;
    }
    return NULL;
}

static void insert(const char **names, int n, const char *name)
{
    for (; n > 0 && strcmp(name, names[n - 1]) < 0; n--)
        names[n] = names[n - 1];
    names[n] = name;
}

const char *const *tt_preset_names(struct tt_arena *arena)
{
    const char **names;
    int n = 0;

    for (const struct tt_text *t = tt_texts; t->path; t++)
        n++;
    names = TT_NEW(arena, n + 1, const char *);
    if (!names)
        return NULL;
    n = 0;
    for (const struct tt_text *t = tt_texts; t->path; t++) {
        size_t len;
        const char *found = name_of(t->path, &len), *copy;

        if (!found)
            continue;
        copy = tt_arena_strndup(arena, found, len);
        if (!copy)
            return NULL;
        insert(names, n++, copy);
    }
    return names;
}

const char *tt_preset_help(const char *text, size_t *ret_n)
{
    *ret_n = 0;
    while (*text == '#' || *text == '\n') {
        const char *s = text + (*text == '#');
        size_t n;

        s += strspn(s, " ");
        n = strcspn(s, "\n");
        if (n && strncmp(s, "SPDX", 4) != 0) {
            *ret_n = n;
            return s;
        }
        text = s + n + (s[n] == '\n');
    }
    return "";
}

/* Everything in the tree now stands where the preset was named. */
static void move_to(struct tt_ynode *tree, const struct tt_ynode *at, const char *name)
{
    tree->line = tree->key_line = at->line;
    tree->col = tree->key_col = at->col;
    tree->preset = name;
    for (struct tt_ynode *c = tree->first; c; c = c->next)
        move_to(c, at, name);
}

static struct tt_ynode *find(const struct tt_ynode *map, const char *key)
{
    return tt_yaml_get(map, key);
}

/* Whether over makes another thing of base: a key that names a part or mode has a new value. */
static bool is_other(const struct tt_ynode *base, const struct tt_ynode *over)
{
    static const char *const names[] = {"kind", "mode", "term"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct tt_ynode *a = find(base, names[i]), *b = find(over, names[i]);

        if (b &&
            (!a || a->type != TT_YSCALAR || b->type != TT_YSCALAR || strcmp(a->text, b->text) != 0))
            return true;
    }
    return false;
}

static void append(struct tt_ynode *map, struct tt_ynode *child)
{
    struct tt_ynode **at = &map->first;

    while (*at)
        at = &(*at)->next;
    *at = child;
    child->next = NULL;
    map->n++;
}

static void replace(struct tt_ynode *map, const struct tt_ynode *old, struct tt_ynode *by)
{
    struct tt_ynode **at = &map->first;

    while (*at != old)
        at = &(*at)->next;
    by->next = old->next;
    *at = by;
}

/* Put over's keys into base; both are maps, and used up.  The place is over's from now on. */
static void merge(struct tt_ynode *base, struct tt_ynode *over)
{
    for (struct tt_ynode *c = over->first, *next; c; c = next) {
        struct tt_ynode *old = find(base, c->key);

        next = c->next;
        if (!old) {
            append(base, c);
        } else if (old->type == TT_YMAP && c->type == TT_YMAP && !is_other(old, c)) {
            merge(old, c);
            old->key_line = c->key_line;
            old->key_col = c->key_col;
        } else {
            replace(base, old, c);
        }
    }
    base->line = over->line;
    base->col = over->col;
    base->preset = over->preset;
}

static struct tt_ynode *read_preset(const char *text, const char *name, struct tt_arena *arena,
                                    struct tt_diags *d)
{
    struct tt_diags own;
    struct tt_ynode *tree;
    struct tt_err err;

    tt_diags_init(&own, arena, name, text, strlen(text));
    tree = tt_yaml_read(text, strlen(text), arena, &own);
    if (tree && !own.errors)
        return tree;
    tt_diags_err(&own, &err);
    tt_diag_error(d, 0, 0, "preset %s", err.msg);
    return NULL;
}

static const char *known(struct tt_arena *arena, struct tt_out *o, const char *word)
{
    const char *const *names = tt_preset_names(arena);

    for (int i = 0; names && names[i]; i++)
        tt_outf(o, "%s%s", i ? "|" : "", names[i]);
    return names ? tt_did_you_mean(word, names) : NULL;
}

static void unknown(const struct tt_ynode *at, struct tt_arena *arena, struct tt_diags *d)
{
    struct tt_out o;
    const char *near, *list;

    tt_out_init(&o, arena);
    near = known(arena, &o, at->text);
    list = tt_out_text(&o);
    tt_diag_error(d, at->line, at->col, "preset: '%.40s' is not one of %s%s%s%s", at->text,
                  list ? list : "the presets", near ? ", did you mean '" : "", near ? near : "",
                  near ? "'" : "");
}

static struct tt_ynode *merge_down(struct tt_ynode *policy, int depth, struct tt_arena *arena,
                                   struct tt_diags *d)
{
    struct tt_ynode *at = find(policy, "preset"), *base;
    const char *text;

    tt_shape_policy(policy, arena, d);
    if (!at)
        return policy;
    if (at->type != TT_YSCALAR || !*at->text) {
        tt_field_mismatch(at, "the name of a preset", d);
        return policy;
    }
    text = tt_preset_text(at->text);
    if (!text) {
        unknown(at, arena, d);
        return policy;
    }
    if (depth == DEPTH) {
        tt_diag_error(d, at->line, at->col, "preset: more than %d build on each other", DEPTH);
        return policy;
    }
    base = read_preset(text, at->text, arena, d);
    if (!base)
        return policy;
    move_to(base, at, at->text);
    base = merge_down(base, depth + 1, arena, d);
    if (base)
        merge(base, policy);
    return base;
}

struct tt_ynode *tt_preset_merge(struct tt_ynode *policy, struct tt_arena *arena,
                                 struct tt_diags *d)
{
    if (policy->type != TT_YMAP) {
        tt_field_mismatch(policy, "a map", d);
        return NULL;
    }
    return merge_down(policy, 0, arena, d);
}
