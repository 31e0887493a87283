// SPDX-License-Identifier: Apache-2.0
#include "config/field.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAXKNOWN  96                 // keys of one map
#define MAXITEMS  1024               // of one list
#define MAXCHOICE 32                 // words of a choice: as many as an unsigned has bits
#define EXACT     9007199254740992.0 // 2^53: up to here every integer is a double
#define WORDS     512                // bytes of a choice or a default

/* A choice "a|b|c" taken apart. */
struct words {
    char text[WORDS];
    const char *w[MAXCHOICE + 1];
    int n;
};

static void split(struct words *ret, const char *choice)
{
    char *s;

    *ret = (struct words){.n = 0};
    snprintf(ret->text, sizeof ret->text, "%s", choice);
    for (s = ret->text; s && ret->n < MAXCHOICE;) {
        ret->w[ret->n++] = s;
        s = strchr(s, '|');
        if (s)
            *s++ = '\0';
    }
}

static const char *describe(const struct tt_ynode *n)
{
    if (n->type == TT_YLIST)
        return "a list";
    if (n->type == TT_YMAP)
        return "a map";
    return !*n->text && !n->quoted ? "nothing" : NULL;
}

/* " (from preset 'tent')" behind what a preset said. */
static const char *origin(const struct tt_ynode *n, char buf[64])
{
    *buf = '\0';
    if (n && n->preset)
        snprintf(buf, 64, " (from preset '%.30s')", n->preset);
    return buf;
}

void tt_field_mismatch(const struct tt_ynode *n, const char *what, struct tt_diags *d)
{
    const char *found = describe(n), *q = n->quoted ? "\"" : "'";
    char from[64];

    origin(n, from);
    if (found)
        tt_diag_error(d, n->line, n->col, "%s%sfound %s, want %s%s", n->key ? n->key : "",
                      n->key ? ": " : "", found, what, from);
    else
        tt_diag_error(d, n->line, n->col, "%s%sfound %s%.60s%s, want %s%s", n->key ? n->key : "",
                      n->key ? ": " : "", q, n->text, q, what, from);
}

void tt_field_unknown(const struct tt_ynode *n, const char *const *known, struct tt_diags *d)
{
    const char *near = tt_did_you_mean(n->key, known);
    char list[240] = "", from[64];
    size_t at = 0;

    origin(n, from);
    if (near) {
        tt_diag_error(d, n->key_line, n->key_col, "unknown key '%.40s', did you mean '%s'%s",
                      n->key, near, from);
        return;
    }
    for (; *known && at < sizeof list - 1; known++) {
        int more = snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", *known);

        at += more > 0 ? (size_t)more : 0;
    }
    tt_diag_error(d, n->key_line, n->key_col, "unknown key '%.40s', known here: %s%s", n->key,
                  *list ? list : "none", from);
}

/* Digits [. digits] [e digits], a sign before each: what every reader of YAML calls a number. */
static bool is_number(const char *s, bool *ret_whole)
{
    int digits = 0;

    *ret_whole = true;
    s += *s == '-';
    for (; *s >= '0' && *s <= '9'; s++)
        digits++;
    if (*s == '.') {
        *ret_whole = false;
        for (s++; *s >= '0' && *s <= '9'; s++)
            digits++;
    }
    if (!digits)
        return false;
    if (*s == 'e' || *s == 'E') {
        *ret_whole = false;
        s++;
        s += *s == '-' || *s == '+';
        if (*s < '0' || *s > '9')
            return false;
        while (*s >= '0' && *s <= '9')
            s++;
    }
    return !*s;
}

static void outside(const struct tt_field *f, const struct tt_ynode *n, struct tt_diags *d)
{
    char from[64];

    tt_diag_error(d, n->line, n->col, "%s: %.60s is outside [%.15g, %.15g]%s", f->key, n->text,
                  f->min, f->max, origin(n, from));
}

static bool read_number(const struct tt_field *f, const struct tt_ynode *n, bool whole, double *ret,
                        struct tt_diags *d)
{
    const char *want = whole ? "a whole number" : "a number";
    bool is_whole;
    double v;

    if (n->type != TT_YSCALAR || n->quoted || !is_number(n->text, &is_whole) ||
        (whole && !is_whole)) {
        tt_field_mismatch(n, want, d);
        return false;
    }
    if (whole && n->text[n->text[0] == '-'] == '0' && strlen(n->text) > 1) {
        tt_diag_error(d, n->line, n->col, "%s: %.60s begins with 0, is it octal", f->key, n->text);
        return false;
    }
    v = strtod(n->text, NULL);
    if (!isfinite(v) || v < f->min || v > f->max || (whole && fabs(v) > EXACT)) {
        outside(f, n, d);
        return false;
    }
    *ret = v;
    return true;
}

static bool read_int(const struct tt_field *f, const struct tt_ynode *n, void *dst,
                     struct tt_diags *d)
{
    double v;

    if (!read_number(f, n, true, &v, d))
        return false;
    *(int64_t *)dst = (int64_t)v;
    return true;
}

static bool read_bool(const struct tt_ynode *n, void *dst, struct tt_diags *d)
{
    if (n->type != TT_YSCALAR || n->quoted ||
        (strcmp(n->text, "true") != 0 && strcmp(n->text, "false") != 0)) {
        tt_field_mismatch(n, "true or false", d);
        return false;
    }
    *(bool *)dst = n->text[0] == 't';
    return true;
}

static bool read_text(const struct tt_field *f, const struct tt_ynode *n, const char **ret,
                      struct tt_diags *d)
{
    size_t len;

    if (n->type != TT_YSCALAR ||
        (!n->quoted && (!*n->text || !strcmp(n->text, "~") || !strcmp(n->text, "null")))) {
        tt_field_mismatch(n, "a text", d);
        return false;
    }
    len = strlen(n->text);
    if (f->max > 0 && ((double)len < f->min || (double)len > f->max)) {
        tt_diag_error(d, n->line, n->col, "%s: %zu bytes, want %.15g to %.15g", f->key, len, f->min,
                      f->max);
        return false;
    }
    *ret = n->text;
    return true;
}

static bool read_choice(const struct tt_field *f, const struct tt_ynode *n, int *ret,
                        struct tt_diags *d)
{
    struct words c = {.n = 0};
    const char *near;
    char from[64];

    split(&c, f->choice);
    if (n->type != TT_YSCALAR || (!*n->text && !n->quoted)) {
        char want[WORDS + 16];

        snprintf(want, sizeof want, "one of %s", f->choice);
        tt_field_mismatch(n, want, d);
        return false;
    }
    for (int i = 0; i < c.n; i++)
        if (!strcmp(n->text, c.w[i])) {
            *ret = i;
            return true;
        }
    near = tt_did_you_mean(n->text, c.w);
    tt_diag_error(d, n->line, n->col, "%s: '%.40s' is not one of %s%s%s%s%s", f->key, n->text,
                  f->choice, near ? ", did you mean '" : "", near ? near : "", near ? "'" : "",
                  origin(n, from));
    return false;
}

/* The items of a list field: a list's children, or the one scalar itself. */
static const struct tt_ynode *items(const struct tt_field *f, const struct tt_ynode *n, int *ret_n,
                                    struct tt_diags *d)
{
    if (n->type == TT_YMAP || (n->type == TT_YSCALAR && !*n->text && !n->quoted)) {
        tt_field_mismatch(n, "a list", d);
        return NULL;
    }
    if (n->type == TT_YSCALAR) {
        *ret_n = 1;
        return n;
    }
    if (n->n > MAXITEMS) {
        tt_diag_error(d, n->line, n->col, "%s: %d entries, at most %d", f->key, n->n, MAXITEMS);
        return NULL;
    }
    *ret_n = n->n;
    return n->first;
}

static bool read_flags(const struct tt_field *f, const struct tt_ynode *n, void *dst,
                       struct tt_diags *d)
{
    int count = 0, errors = d->errors;
    const struct tt_ynode *item = items(f, n, &count, d);
    unsigned flags = 0;

    for (int i = 0; i < count; i++, item = item->next) {
        int bit;

        if (!read_choice(f, item, &bit, d))
            continue;
        if (flags & 1u << bit)
            tt_diag_error(d, item->line, item->col, "%s: '%s' is given twice", f->key, item->text);
        flags |= 1u << bit;
    }
    if (d->errors > errors)
        return false;
    *(unsigned *)dst = flags;
    return true;
}

static bool read_texts(const struct tt_field *f, const struct tt_ynode *n, void *dst,
                       struct tt_diags *d)
{
    int count = 0, errors = d->errors;
    const struct tt_ynode *item = items(f, n, &count, d);
    struct tt_strs v = {0, NULL};

    if (count) {
        v.s = TT_NEW(d->arena, count, const char *);
        if (!v.s)
            tt_diag_error(d, 0, 0, "out of memory");
    }
    for (; v.s && v.n < count; v.n++, item = item->next)
        read_text(f, item, &v.s[v.n], d);
    if (d->errors > errors)
        return false;
    *(struct tt_strs *)dst = v;
    return true;
}

static bool read_numbers(const struct tt_field *f, const struct tt_ynode *n, void *dst,
                         struct tt_diags *d)
{
    int count = 0, errors = d->errors;
    const struct tt_ynode *item = items(f, n, &count, d);
    struct tt_floats v = {0, NULL};

    if (count) {
        v.v = TT_NEW(d->arena, count, double);
        if (!v.v)
            tt_diag_error(d, 0, 0, "out of memory");
    }
    for (; v.v && v.n < count; v.n++, item = item->next)
        read_number(f, item, false, &v.v[v.n], d);
    if (d->errors > errors)
        return false;
    *(struct tt_floats *)dst = v;
    return true;
}

static bool read_field(const struct tt_field *f, const struct tt_ynode *n, void *dst,
                       struct tt_diags *d)
{
    switch (f->type) {
    case TT_FINT:
        return read_int(f, n, dst, d);
    case TT_FFLOAT:
        return read_number(f, n, false, (double *)dst, d);
    case TT_FBOOL:
        return read_bool(n, dst, d);
    case TT_FSTR:
        return read_text(f, n, (const char **)dst, d);
    case TT_FENUM:
        return read_choice(f, n, (int *)dst, d);
    case TT_FFLAGS:
        return read_flags(f, n, dst, d);
    case TT_FSTRS:
        return read_texts(f, n, dst, d);
    case TT_FFLOATS:
        return read_numbers(f, n, dst, d);
    default:
        return false;
    }
}

static bool is_list(enum tt_ftype type)
{
    return type == TT_FFLAGS || type == TT_FSTRS || type == TT_FFLOATS;
}

/* Read the default, "word" or "[a, b]", by the same rules; what it makes lives in d->arena. */
static void read_default(const struct tt_field *f, void *dst, struct tt_diags *d)
{
    struct tt_ynode nodes[MAXCHOICE + 1] = {{.type = TT_YLIST}}, *list = &nodes[0];
    char *s = tt_arena_strndup(d->arena, f->def, strlen(f->def)), *rest;

    if (!s) {
        tt_diag_error(d, 0, 0, "out of memory");
        return;
    }
    list->key = f->key;
    if (!is_list(f->type) || *s != '[') {
        struct tt_ynode one = {.type = TT_YSCALAR, .text = s, .key = f->key};

        one.quoted = f->type == TT_FSTR; // any text may be a default, the empty one too
        read_field(f, &one, dst, d);
        return;
    }
    for (s = strtok_r(s, "[], ", &rest); s && list->n < MAXCHOICE;
         s = strtok_r(NULL, "[], ", &rest)) {
        struct tt_ynode *item = &nodes[++list->n];

        *item = (struct tt_ynode){.type = TT_YSCALAR, .text = s};
        if (list->n > 1)
            item[-1].next = item;
    }
    list->first = list->n ? &nodes[1] : NULL;
    read_field(f, list, dst, d);
}

static bool is_in(const char *key, const char *const *list)
{
    for (; list && *list; list++)
        if (!strcmp(key, *list))
            return true;
    return false;
}

static void check_keys(const struct tt_field *table, const struct tt_ynode *map,
                       const char *const *also, struct tt_diags *d)
{
    const char *known[MAXKNOWN + 1];
    int n = 0;

    for (const struct tt_field *f = table; f->key && n < MAXKNOWN; f++)
        known[n++] = f->key;
    for (; also && *also && n < MAXKNOWN; also++)
        known[n++] = *also;
    known[n] = NULL;
    for (const struct tt_ynode *c = map->first; c; c = c->next)
        if (!is_in(c->key, known))
            tt_field_unknown(c, known, d);
}

bool tt_fields_read(const struct tt_field *table, const struct tt_ynode *map,
                    const char *const *also, void *dst, struct tt_diags *d)
{
    int errors = d->errors;
    char from[64];

    if (map && map->type != TT_YMAP) {
        tt_field_mismatch(map, "a map", d);
        return false;
    }
    for (const struct tt_field *f = table; f->key; f++) {
        const struct tt_ynode *n = tt_yaml_get(map, f->key);
        void *at = (char *)dst + f->offset;

        if (f->def)
            read_default(f, at, d);
        else if (!n)
            tt_diag_error(d, map ? map->line : 0, map ? map->col : 0, "key '%s' is missing: %s%s",
                          f->key, f->help, origin(map, from));
        if (n)
            read_field(f, n, at, d);
    }
    if (map)
        check_keys(table, map, also, d);
    return d->errors == errors;
}

static bool same_texts(const struct tt_strs *a, const struct tt_strs *b)
{
    for (int i = 0; i < a->n && a->n == b->n; i++)
        if (strcmp(a->s[i], b->s[i]) != 0)
            return false;
    return a->n == b->n;
}

static bool same_number(double a, double b)
{
    return !(a < b) && !(a > b);
}

static bool same_numbers(const struct tt_floats *a, const struct tt_floats *b)
{
    for (int i = 0; i < a->n && a->n == b->n; i++)
        if (!same_number(a->v[i], b->v[i]))
            return false;
    return a->n == b->n;
}

static bool same_field(const struct tt_field *f, const void *a, const void *b)
{
    switch (f->type) {
    case TT_FINT:
        return *(const int64_t *)a == *(const int64_t *)b;
    case TT_FFLOAT:
        return same_number(*(const double *)a, *(const double *)b);
    case TT_FBOOL:
        return *(const bool *)a == *(const bool *)b;
    case TT_FSTR:
        return !strcmp(*(const char *const *)a, *(const char *const *)b);
    case TT_FENUM:
        return *(const int *)a == *(const int *)b;
    case TT_FFLAGS:
        return *(const unsigned *)a == *(const unsigned *)b;
    case TT_FSTRS:
        return same_texts(a, b);
    case TT_FFLOATS:
        return same_numbers(a, b);
    default:
        return false;
    }
}

const struct tt_field *tt_fields_differ(const struct tt_field *table, const void *a, const void *b)
{
    for (; table->key; table++)
        if (!same_field(table, (const char *)a + table->offset, (const char *)b + table->offset))
            return table;
    return NULL;
}
