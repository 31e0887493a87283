// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "config/settings.h"

static const char *const own[] = {"listen", "models", "policies", "limits", NULL};

static bool is_own(const char *key)
{
    for (const struct tt_field *f = tt_settings_fields; f->key; f++)
        if (!strcmp(f->key, key))
            return true;
    for (int i = 0; own[i]; i++)
        if (!strcmp(own[i], key))
            return true;
    return false;
}

/* That key of map has changed; where the key is gone, the map's place is told. */
static void refuse(const struct tt_ynode *map, const char *key, struct tt_diags *d)
{
    const struct tt_ynode *n = tt_yaml_get(map, key), *at = n ? n : map;

    tt_diag_error(d, at ? at->line : 0, at ? at->col : 0,
                  "%s: it is not what the daemon runs with, and only a restart changes it", key);
}

/* A key that neither file has differs only because it follows another, which is told. */
static void check_fields(const struct tt_field *table, const struct tt_ynode *before,
                         const struct tt_ynode *map, const void *now, const void *next,
                         struct tt_diags *d)
{
    const struct tt_field *f = tt_fields_differ(table, now, next);

    for (; f; f = tt_fields_differ(f + 1, now, next))
        if (!(f->flags & TT_LIVE) && (tt_yaml_get(before, f->key) || tt_yaml_get(map, f->key)))
            refuse(map, f->key, d);
}

static void check_endpoints(const struct tt_ynode *listen, const char *key,
                            const struct tt_strs *now, const struct tt_strs *next,
                            struct tt_diags *d)
{
    bool same = now->n == next->n;

    for (int i = 0; i < now->n && same; i++)
        same = !strcmp(now->s[i], next->s[i]);
    if (!same)
        refuse(listen, key, d);
}

static bool same_tree(const struct tt_ynode *a, const struct tt_ynode *b)
{
    if (!a || !b || a->type != b->type || a->n != b->n)
        return a == b;
    if (a->type == TT_YSCALAR)
        return !strcmp(a->text, b->text);
    a = a->first;
    b = b->first;
    for (; a && b; a = a->next, b = b->next)
        if ((a->key && strcmp(a->key, b->key) != 0) || !same_tree(a, b))
            return false;
    return !a && !b;
}

/* Sections that no table above speaks of, as they are written. */
static void check_others(const struct tt_ynode *now, const struct tt_ynode *next,
                         struct tt_diags *d)
{
    for (const struct tt_ynode *c = next->first; c; c = c->next)
        if (!is_own(c->key) && !same_tree(tt_yaml_get(now, c->key), c))
            refuse(next, c->key, d);
    for (const struct tt_ynode *c = now->first; c; c = c->next)
        if (!is_own(c->key) && !tt_yaml_get(next, c->key))
            refuse(next, c->key, d);
}

void tt_settings_fixed(const struct tt_settings *now, const struct tt_settings *next,
                       struct tt_diags *d)
{
    const struct tt_ynode *listen = tt_yaml_get(next->tree, "listen");
    const struct tt_ynode *limits = tt_yaml_get(next->tree, "limits");

    check_fields(tt_settings_fields, now->tree, next->tree, now, next, d);
    check_fields(tt_limits_fields, tt_yaml_get(now->tree, "limits"), limits ? limits : next->tree,
                 &now->limits, &next->limits, d);
    check_endpoints(listen ? listen : next->tree, "data", &now->data, &next->data, d);
    check_endpoints(listen ? listen : next->tree, "control", &now->control, &next->control, d);
    check_endpoints(listen ? listen : next->tree, "events", &now->events, &next->events, d);
    if (strcmp(now->http ? now->http : "", next->http ? next->http : "") != 0)
        refuse(listen ? listen : next->tree, "http", d);
    check_others(now->tree, next->tree, d);
}

static int add_changed(const struct tt_field *table, const char *prefix, const void *now,
                       const void *next, struct tt_arena *arena, const char **ret, int n)
{
    const struct tt_field *f = tt_fields_differ(table, now, next);

    for (; f; f = tt_fields_differ(f + 1, now, next)) {
        struct tt_out o;

        tt_out_init(&o, arena);
        tt_outf(&o, "%s%s", prefix, f->key);
        if ((f->flags & TT_LIVE) && tt_out_text(&o))
            ret[n++] = tt_out_text(&o);
    }
    return n;
}

static int count(const struct tt_field *table)
{
    int n = 0;

    while (table[n].key)
        n++;
    return n;
}

int tt_settings_changed(const struct tt_settings *now, const struct tt_settings *next,
                        struct tt_arena *arena, const char ***ret)
{
    const int most = count(tt_settings_fields) + count(tt_limits_fields);
    int n;

    *ret = TT_NEW(arena, most, const char *);
    if (!*ret)
        return 0;
    n = add_changed(tt_settings_fields, "", now, next, arena, *ret, 0);
    return add_changed(tt_limits_fields, "limits.", &now->limits, &next->limits, arena, *ret, n);
}
