// SPDX-License-Identifier: Apache-2.0
#include "policies/shape.h"

#include <string.h>

#include "engines/part.h"

struct shaper {
    struct tt_arena *arena;
    struct tt_diags *d;
};

/* A node at the place of another. */
static struct tt_ynode *new_node(struct shaper *s, const struct tt_ynode *like, enum tt_ytype type)
{
    struct tt_ynode *n = TT_NEW(s->arena, 1, struct tt_ynode);

    if (!n) {
        tt_diag_error(s->d, 0, 0, "out of memory");
        return NULL;
    }
    *n = (struct tt_ynode){.type = type,
                           .line = like->line,
                           .col = like->col,
                           .key_line = like->line,
                           .key_col = like->col,
                           .preset = like->preset};
    return n;
}

/* Turn n into a container that holds what it was; key: of the child, NULL in a list. */
static void wrap(struct shaper *s, struct tt_ynode *n, enum tt_ytype type, const char *key)
{
    struct tt_ynode *child = new_node(s, n, n->type);

    if (!child)
        return;
    child->text = n->text;
    child->quoted = n->quoted;
    child->n = n->n;
    child->first = n->first;
    child->key = key;
    n->type = type;
    n->text = NULL;
    n->quoted = false;
    n->n = 1;
    n->first = child;
}

static bool is_word(const struct tt_ynode *n)
{
    return n->type == TT_YSCALAR && (*n->text || n->quoted);
}

static void shape_word(struct shaper *s, struct tt_ynode *n, const char *key)
{
    if (n && is_word(n))
        wrap(s, n, TT_YMAP, key);
}

/* key: what a word in the list is the value of; NULL: words stay. */
static void shape_list(struct shaper *s, struct tt_ynode *n, const char *key)
{
    if (!n)
        return;
    if (n->type == TT_YMAP || is_word(n))
        wrap(s, n, TT_YLIST, NULL);
    for (struct tt_ynode *c = n->first; key && c; c = c->next)
        shape_word(s, c, key);
}

static struct tt_ynode *copy(struct shaper *s, const struct tt_ynode *n)
{
    struct tt_ynode *to = TT_NEW(s->arena, 1, struct tt_ynode), **at;

    if (!to) {
        tt_diag_error(s->d, 0, 0, "out of memory");
        return NULL;
    }
    *to = *n;
    to->first = to->next = NULL;
    at = &to->first;
    for (const struct tt_ynode *c = n->first; c; c = c->next) {
        *at = copy(s, c);
        if (!*at)
            return NULL;
        at = &(*at)->next;
    }
    return to;
}

static void drop(struct tt_ynode *map, const char *key)
{
    for (struct tt_ynode **at = &map->first; *at; at = &(*at)->next)
        if (!strcmp((*at)->key, key)) {
            *at = (*at)->next;
            map->n--;
            return;
        }
}

/* One map of statistics serves both; only what learns can track. */
static void shape_stats(struct shaper *s, struct tt_ynode *n)
{
    struct tt_ynode *answer, *learn;

    if (!n)
        return;
    shape_word(s, n, "mode");
    if (n->type != TT_YMAP)
        return;
    if (tt_yaml_get(n, "answer") || tt_yaml_get(n, "learn")) {
        shape_word(s, tt_yaml_get(n, "answer"), "mode");
        shape_word(s, tt_yaml_get(n, "learn"), "mode");
        return;
    }
    answer = copy(s, n);
    learn = copy(s, n);
    if (!answer || !learn)
        return;
    answer->key = "answer";
    learn->key = "learn";
    drop(answer, "momentum");
    answer->next = learn;
    learn->next = NULL;
    n->first = answer;
    n->n = 2;
}

void tt_shape_policy(struct tt_ynode *policy, struct tt_arena *arena, struct tt_diags *d)
{
    struct shaper s = {arena, d};

    for (int slot = 0; slot < TT_NSLOTS; slot++) {
        struct tt_ynode *n = tt_yaml_get(policy, tt_slot_key((enum tt_slot)slot));
        const char *named_by = tt_slot_named_by((enum tt_slot)slot);

        if (tt_slot_is_list((enum tt_slot)slot))
            shape_list(&s, n, named_by);
        else
            shape_word(&s, n, named_by);
    }
    shape_stats(&s, tt_yaml_get(policy, "stats"));
    shape_word(&s, tt_yaml_get(policy, "reset"), "scope");
    shape_word(&s, tt_yaml_get(policy, "predict"), "order");
    shape_word(&s, tt_yaml_get(policy, "capture"), "mode");
    shape_list(&s, tt_yaml_get(policy, "guards"), NULL);
}
