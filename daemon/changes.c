// SPDX-License-Identifier: Apache-2.0
#include "daemon/changes.h"

#include <stdarg.h>
#include <stdio.h>

#include "daemon/reply.h"

#define SHOWN 12 // digits of a hash, for people

static json_t *hash_json(const char *hash)
{
    return hash ? json_string(hash) : json_null();
}

static json_t *changed_json(const struct tt_changed *list, int n)
{
    json_t *o = json_array();

    for (int i = 0; i < n; i++)
        json_array_append_new(o, json_pack("{s:o, s:s, s:o, s:o}", "name",
                                           tt_json_text(list[i].name), "what", list[i].what, "from",
                                           hash_json(list[i].from), "to", hash_json(list[i].to)));
    return o;
}

json_t *tt_changes_json(const struct tt_draft *d)
{
    json_t *settings = json_array();

    for (int i = 0; i < d->nsettings; i++)
        json_array_append_new(settings, json_string(d->settings[i]));
    return json_pack("{s:b, s:s, s:o, s:o, s:o}", "changed",
                     d->npolicies || d->nmodels || d->nsettings, "config_hash",
                     d->next->config->hash, "policies", changed_json(d->policies, d->npolicies),
                     "models", changed_json(d->models, d->nmodels), "settings", settings);
}

/* Text that is cut where the buffer ends. */
struct line {
    char *buf;
    size_t size, n;
};

static void add(struct line *l, const char *fmt, ...) TT_PRINTF(2, 3);

static void add(struct line *l, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(l->buf + l->n, l->size - l->n, fmt, ap);
    va_end(ap);
    if (n > 0)
        l->n = l->n + (size_t)n < l->size ? l->n + (size_t)n : l->size - 1;
}

static void add_changed(struct line *l, const char *kind, const struct tt_changed *list, int n)
{
    for (int i = 0; i < n; i++)
        add(l, "; %s '%s' %s%s%.*s%s%.*s", kind, list[i].name, list[i].what,
            list[i].from ? " " : "", SHOWN, list[i].from ? list[i].from : "",
            !list[i].to    ? ""
            : list[i].from ? " -> "
                           : " ",
            SHOWN, list[i].to ? list[i].to : "");
}

void tt_changes_sentence(const struct tt_draft *d, char *buf, size_t size)
{
    struct line l = {buf, size, 0};

    if (!d->npolicies && !d->nmodels && !d->nsettings) {
        add(&l, "nothing has changed");
        return;
    }
    add(&l, "%d policies, %d models and %d settings have changed", d->npolicies, d->nmodels,
        d->nsettings);
    add_changed(&l, "policy", d->policies, d->npolicies);
    add_changed(&l, "model", d->models, d->nmodels);
    for (int i = 0; i < d->nsettings; i++)
        add(&l, "; %s", d->settings[i]);
}

json_t *tt_changes_lines(const struct tt_mistakes *m)
{
    json_t *list = json_array();

    for (int i = 0; i < m->n; i++)
        json_array_append_new(list, tt_json_text(m->list[i]));
    return list;
}

json_t *tt_changes_models(const struct tt_catalogue *c)
{
    json_t *list = json_array();

    for (int i = 0; i < c->nmodels; i++)
        json_array_append_new(
            list, json_pack("{s:o, s:s, s:o}", "name", tt_json_text(c->models[i]->name), "hash",
                            c->models[i]->model->hash, "path", tt_json_text(c->models[i]->path)));
    return list;
}

json_t *tt_changes_policies(const struct tt_catalogue *c)
{
    json_t *list = json_array();

    for (int i = 0; i < c->npolicies; i++)
        json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:o}", "name",
                                              tt_json_text(c->policies[i]->name), "hash",
                                              c->policies[i]->policy->hash, "path",
                                              tt_json_text(c->policies[i]->path), "engine",
                                              tt_json_text(c->policies[i]->policy->method.preset)));
    return list;
}
