// SPDX-License-Identifier: Apache-2.0
#include "config/field.h"

#include <inttypes.h>
#include <string.h>

/* Word i of "a|b|c". */
static void add_word(struct tt_out *o, const char *choice, int i)
{
    for (; i > 0 && choice; i--) {
        choice = strchr(choice, '|');
        choice = choice ? choice + 1 : NULL;
    }
    if (choice)
        tt_out_add(o, choice, strcspn(choice, "|"));
}

static void add_flags(struct tt_out *o, const char *choice, unsigned flags)
{
    const char *sep = "";

    tt_outf(o, "[");
    for (int i = 0; flags >> i; i++) {
        if (!(flags & 1u << i))
            continue;
        tt_outf(o, "%s", sep);
        add_word(o, choice, i);
        sep = ", ";
        if (i == 31)
            break;
    }
    tt_outf(o, "]");
}

static void add_texts(struct tt_out *o, const struct tt_strs *v)
{
    tt_outf(o, "[");
    for (int i = 0; i < v->n; i++) {
        tt_outf(o, "%s", i ? ", " : "");
        tt_out_quoted(o, v->s[i], strlen(v->s[i]));
    }
    tt_outf(o, "]");
}

static void add_numbers(struct tt_out *o, const struct tt_floats *v)
{
    tt_outf(o, "[");
    for (int i = 0; i < v->n; i++) {
        tt_outf(o, "%s", i ? ", " : "");
        tt_out_number(o, v->v[i]);
    }
    tt_outf(o, "]");
}

static void add_value(struct tt_out *o, const struct tt_field *f, const void *src)
{
    const char *s;

    switch (f->type) {
    case TT_FINT:
        tt_outf(o, "%" PRId64, *(const int64_t *)src);
        break;
    case TT_FFLOAT:
        tt_out_number(o, *(const double *)src);
        break;
    case TT_FBOOL:
        tt_outf(o, "%s", *(const bool *)src ? "true" : "false");
        break;
    case TT_FSTR:
        s = *(const char *const *)src;
        tt_out_quoted(o, s ? s : "", s ? strlen(s) : 0);
        break;
    case TT_FENUM:
        add_word(o, f->choice, *(const int *)src);
        break;
    case TT_FFLAGS:
        add_flags(o, f->choice, *(const unsigned *)src);
        break;
    case TT_FSTRS:
        add_texts(o, (const struct tt_strs *)src);
        break;
    case TT_FFLOATS:
        add_numbers(o, (const struct tt_floats *)src);
        break;
    default:
        break;
    }
}

void tt_fields_print(const struct tt_field *table, const void *src, int indent, struct tt_out *o)
{
    for (const struct tt_field *f = table; f->key; f++) {
        tt_outf(o, "%*s%s: ", indent, "", f->key);
        add_value(o, f, (const char *)src + f->offset);
        tt_outf(o, "\n");
    }
}

void tt_fields_example(const struct tt_field *table, int indent, struct tt_out *o)
{
    for (const struct tt_field *f = table; f->key; f++) {
        bool number = f->type == TT_FINT || f->type == TT_FFLOAT;

        tt_outf(o, "%*s# %s", indent, "", f->help);
        if (number)
            tt_outf(o, " [%.15g to %.15g]", f->min, f->max);
        if (f->choice)
            tt_outf(o, " [%s]", f->choice);
        if (f->flags & TT_LIVE)
            tt_outf(o, " (a reload changes it)");
        if (!f->def)
            tt_outf(o, "\n%*s# %s:\n", indent, "", f->key);
        else
            tt_outf(o, "\n%*s%s: %s\n", indent, "", f->key, *f->def ? f->def : "\"\"");
    }
}
