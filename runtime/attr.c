// SPDX-License-Identifier: Apache-2.0
#include "runtime/attr.h"

#include <string.h>

static const char *type_name(enum tt_attr_type type)
{
    static const char *const names[] = {
        [TT_AINT] = "an integer",
        [TT_AFLOAT] = "a float",
        [TT_ASTR] = "a string",
        [TT_AINTS] = "a list of integers",
        [TT_AFLOATS] = "a list of floats",
        [TT_AOTHER] = "of another type",
    };

    return names[type];
}

/* The attribute of that name and type, or NULL; remembers that it was asked for, and as what. */
static const struct tt_attr *ask(struct tt_attrs *a, const char *name, enum tt_attr_type type)
{
    for (int i = 0; i < a->n; i++) {
        struct tt_attr *attr = &a->list[i];

        if (strcmp(attr->name, name) != 0)
            continue;
        attr->used = true;
        attr->asked = type;
        return attr->type == type ? attr : NULL;
    }
    return NULL;
}

int64_t tt_attr_int(struct tt_attrs *a, const char *name, int64_t def)
{
    const struct tt_attr *attr = ask(a, name, TT_AINT);

    return attr ? attr->i : def;
}

float tt_attr_float(struct tt_attrs *a, const char *name, float def)
{
    const struct tt_attr *attr = ask(a, name, TT_AFLOAT);

    return attr ? attr->f : def;
}

const char *tt_attr_str(struct tt_attrs *a, const char *name, const char *def)
{
    const struct tt_attr *attr = ask(a, name, TT_ASTR);

    return attr ? attr->s : def;
}

const int64_t *tt_attr_ints(struct tt_attrs *a, const char *name, int64_t *ret_n)
{
    const struct tt_attr *attr = ask(a, name, TT_AINTS);

    *ret_n = attr ? attr->n : 0;
    return attr ? attr->ints : NULL;
}

const float *tt_attr_floats(struct tt_attrs *a, const char *name, int64_t *ret_n)
{
    const struct tt_attr *attr = ask(a, name, TT_AFLOATS);

    *ret_n = attr ? attr->n : 0;
    return attr ? attr->floats : NULL;
}

void tt_attr_ignore(struct tt_attrs *a, const char *name)
{
    for (int i = 0; i < a->n; i++)
        if (!strcmp(a->list[i].name, name)) {
            a->list[i].used = true;
            a->list[i].asked = a->list[i].type;
        }
}

enum tt_code tt_attrs_done(const struct tt_attrs *a, struct tt_err *err)
{
    for (int i = 0; i < a->n; i++) {
        const struct tt_attr *attr = &a->list[i];

        if (!attr->used)
            return tt_fail(err, TT_EUNSUPPORTED, "attribute '%s' is not supported", attr->name);
        if (attr->type != attr->asked)
            return tt_fail(err, TT_EPARSE, "attribute '%s' is %s, want %s", attr->name,
                           type_name(attr->type), type_name(attr->asked));
    }
    return TT_OK;
}
