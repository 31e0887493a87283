// SPDX-License-Identifier: Apache-2.0
#include "daemon/draft.h"

#include <stdio.h>
#include <string.h>

#include "engines/plan.h"

void tt_draft_init(struct tt_draft *d)
{
    *d = (struct tt_draft){.next = NULL};
    tt_arena_init(&d->arena, 0);
    tt_mistakes_init(&d->mistakes);
    tt_mistakes_init(&d->refused);
}

void tt_draft_end(struct tt_draft *d)
{
    tt_catalogue_drop(d->next);
    tt_mistakes_end(&d->mistakes);
    tt_mistakes_end(&d->refused);
    tt_arena_release(&d->arena);
}

static const char *copy(struct tt_draft *d, const char *text)
{
    return text ? tt_arena_strndup(&d->arena, text, strlen(text)) : NULL;
}

static void note(struct tt_draft *d, struct tt_changed *list, int *n, const char *name,
                 const char *from, const char *to)
{
    list[(*n)++] = (struct tt_changed){.what = !from ? "added"
                                               : to  ? "changed"
                                                     : "removed",
                                       .name = copy(d, name),
                                       .from = copy(d, from),
                                       .to = copy(d, to)};
}

/* ---- what must compile --------------------------------------------------------------------- */

static enum tt_code compile(const struct tt_served_model *m, const struct tt_policy *p,
                            struct tt_err *err)
{
    struct tt_plan *plan;
    char msg[TT_ERR_MSG];

    if (tt_plan_new(m->model, &p->method, 1, &plan, err) == TT_OK) {
        tt_plan_free(plan);
        return TT_OK;
    }
    (void)snprintf(msg, sizeof msg, "%.440s (model '%.60s')", err->msg, m->name);
    return tt_fail(err, err->code, "%s", msg);
}

enum tt_code tt_draft_try(const struct tt_catalogue *c, const struct tt_policy *p,
                          struct tt_err *err)
{
    if (!c->nmodels)
        return TT_OK;
    for (int i = 0; i < c->nmodels; i++)
        if (compile(c->models[i], p, err) == TT_OK)
            return TT_OK;
    return err->code;
}

static bool is_new(const struct tt_catalogue *now, const struct tt_served_model *m,
                   const struct tt_served_policy *p)
{
    return tt_catalogue_model(now, m->name) != m || tt_catalogue_policy(now, p->name) != p;
}

/* What streams in memory use together. */
static void check_users(struct tt_draft *d, const struct tt_catalogue *now,
                        const struct tt_user *users, int nusers)
{
    struct tt_err err;

    for (int i = 0; i < nusers; i++) {
        const struct tt_served_model *m = tt_catalogue_model(d->next, users[i].model);
        const struct tt_served_policy *p = tt_catalogue_policy(d->next, users[i].policy);

        if (m && p && is_new(now, m, p) && compile(m, p->policy, &err) != TT_OK)
            tt_mistakes_say(&d->mistakes, "%s, and stream '%s' uses it", err.msg, users[i].stream);
    }
}

static void check_policies(struct tt_draft *d, const struct tt_catalogue *now)
{
    struct tt_err err;

    for (int i = 0; i < d->next->npolicies; i++) {
        const struct tt_served_policy *p = d->next->policies[i];

        if (tt_catalogue_policy(now, p->name) != p &&
            tt_draft_try(d->next, p->policy, &err) != TT_OK)
            tt_mistakes_say(&d->mistakes, "%s", err.msg);
    }
}

/* ---- reading ------------------------------------------------------------------------------- */

static void read_policy(struct tt_draft *d, const struct tt_catalogue *now,
                        const struct tt_named *named)
{
    struct tt_served_policy *p = tt_served_policy_read(named->name, named->path, &d->mistakes);
    struct tt_served_policy *old = tt_catalogue_policy(now, named->name);
    struct tt_err err;

    if (!p)
        return;
    if (old && !strcmp(old->policy->hash, p->policy->hash) && !strcmp(old->path, p->path)) {
        tt_served_policy_drop(p);
        p = tt_served_policy_hold(old);
    } else if (!old || strcmp(old->policy->hash, p->policy->hash) != 0) {
        note(d, d->policies, &d->npolicies, p->name, old ? old->policy->hash : NULL,
             p->policy->hash);
    }
    if (tt_catalogue_add_policy(d->next, p, &err) != TT_OK) {
        tt_mistakes_say(&d->mistakes, "%s", err.msg);
        tt_served_policy_drop(p);
    }
}

/* The served model of a file, the old one if the file has not changed; NULL: *err says why. */
static struct tt_served_model *read_model(struct tt_served_model *old, const char *name,
                                          const char *path, struct tt_err *err)
{
    struct tt_served_model *m;

    if (old && tt_served_model_fresh(old, path))
        return tt_served_model_hold(old);
    if (tt_served_model_read(name, path, &m, err) != TT_OK)
        return NULL;
    if (!old || strcmp(old->model->hash, m->model->hash) != 0)
        return m;
    tt_served_model_drop(m);
    return tt_served_model_hold(old);
}

static void take_model(struct tt_draft *d, struct tt_served_model *old, struct tt_served_model *m)
{
    struct tt_err err;

    if (m != old)
        note(d, d->models, &d->nmodels, m->name, old ? old->model->hash : NULL, m->model->hash);
    if (tt_catalogue_add_model(d->next, m, &err) != TT_OK) {
        tt_mistakes_say(&d->mistakes, "%s", err.msg);
        tt_served_model_drop(m);
    }
}

static void read_models(struct tt_draft *d, const struct tt_catalogue *now)
{
    const struct tt_settings *s = d->next->config->settings;
    struct tt_err err;

    for (int i = 0; i < s->nmodels; i++) {
        const struct tt_named *named = &s->models[i];
        struct tt_served_model *old = tt_catalogue_model(now, named->name);
        struct tt_served_model *m = read_model(old, named->name, named->path, &err);

        if (m)
            take_model(d, old, m);
        else
            tt_mistakes_say(&d->mistakes, "%s:%d:%d: %.400s", s->file, named->line, named->col,
                            err.msg);
    }
    for (int i = 0; i < now->nmodels; i++)
        if (now->models[i]->by_hand && !tt_catalogue_model(d->next, now->models[i]->name))
            take_model(d, now->models[i], tt_served_model_hold(now->models[i]));
}

/* ---- what is gone ---------------------------------------------------------------------------- */

static const struct tt_user *find_user(const struct tt_user *users, int n, const char *policy)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(users[i].policy, policy))
            return &users[i];
    return NULL;
}

static void see_removed(struct tt_draft *d, const struct tt_catalogue *now,
                        const struct tt_user *users, int nusers)
{
    const struct tt_settings *s = d->next->config->settings;
    const struct tt_ynode *place = tt_yaml_get(s->tree, "policies");

    for (int i = 0; i < now->npolicies; i++) {
        const struct tt_served_policy *p = now->policies[i];
        const struct tt_user *user = find_user(users, nusers, p->name);

        if (tt_catalogue_policy(d->next, p->name))
            continue;
        note(d, d->policies, &d->npolicies, p->name, p->policy->hash, NULL);
        if (user)
            tt_mistakes_say(&d->mistakes,
                            "%s:%d:%d: policies: '%s' is missing, and stream '%s' uses it; close "
                            "the stream, or keep the policy",
                            s->file, place ? place->line : 1, place ? place->col : 1, p->name,
                            user->stream);
    }
    for (int i = 0; i < now->nmodels; i++)
        if (!tt_catalogue_model(d->next, now->models[i]->name))
            note(d, d->models, &d->nmodels, now->models[i]->name, now->models[i]->model->hash,
                 NULL);
}

static void check_settings(struct tt_draft *d, const struct tt_config *now,
                           const struct tt_config *next)
{
    struct tt_diags diags;

    tt_diags_init(&diags, &d->arena, next->settings->file, NULL, 0);
    tt_settings_fixed(now->settings, next->settings, &diags);
    tt_mistakes_add(&d->mistakes, &diags);
    d->nsettings = tt_settings_changed(now->settings, next->settings, &d->arena, &d->settings);
    if (!next->settings->npolicies)
        tt_mistakes_say(&d->mistakes, "%s: policies: none are given", next->settings->file);
}

/* Mistakes leave nothing. */
static void settle(struct tt_draft *d)
{
    if (!d->mistakes.n && !d->mistakes.more)
        return;
    tt_catalogue_drop(d->next);
    d->next = NULL;
}

void tt_draft_reload(struct tt_draft *d, const struct tt_catalogue *now, const char *file,
                     const struct tt_user *users, int nusers)
{
    struct tt_config *config = tt_config_read(file, &d->mistakes);
    const struct tt_settings *s;

    if (!config)
        return;
    d->next = tt_catalogue_new(config);
    tt_config_drop(config); // next holds it
    if (!d->next) {
        tt_mistakes_say(&d->mistakes, "out of memory");
        return;
    }
    s = d->next->config->settings;
    check_settings(d, now->config, d->next->config);
    for (int i = 0; i < s->npolicies; i++)
        read_policy(d, now, &s->policies[i]);
    read_models(d, now);
    if (!d->mistakes.n) { // what could not be read is not gone
        see_removed(d, now, users, nusers);
        check_policies(d, now);
        check_users(d, now, users, nusers);
    }
    settle(d);
}

/* ---- one model ------------------------------------------------------------------------------- */

static bool start(struct tt_draft *d, const struct tt_catalogue *now, const char *without)
{
    d->next = tt_catalogue_copy(now, without);
    if (!d->next)
        tt_mistakes_say(&d->mistakes, "out of memory");
    return d->next != NULL;
}

/* Policies that cannot be used with m are told; one must do. */
static void try_model(struct tt_draft *d, const struct tt_catalogue *now,
                      const struct tt_served_model *m)
{
    struct tt_err err;
    bool works = !now->npolicies;

    for (int i = 0; i < now->npolicies; i++) {
        if (compile(m, now->policies[i]->policy, &err) == TT_OK)
            works = true;
        else
            tt_mistakes_say(&d->refused, "policy '%s': %s", now->policies[i]->name, err.msg);
    }
    if (!works)
        tt_mistakes_say(&d->mistakes, "no policy can be used with model '%s': %s", m->name,
                        d->refused.n ? d->refused.list[0] : "out of memory");
}

static const char *beside(struct tt_draft *d, const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');
    struct tt_out o;

    if (*path == '/' || !slash)
        return path;
    tt_out_init(&o, &d->arena);
    tt_outf(&o, "%.*s/%s", (int)(slash - file), file, path);
    return tt_out_text(&o) ? tt_out_text(&o) : path;
}

void tt_draft_load(struct tt_draft *d, const struct tt_catalogue *now, const char *name,
                   const char *path, bool replace, const struct tt_user *users, int nusers)
{
    const char *file = beside(d, now->config->settings->file, path);
    struct tt_served_model *old = tt_catalogue_model(now, name), *m;
    struct tt_err err;

    if (!tt_settings_name(name)) {
        tt_mistakes_say(&d->mistakes,
                        "model_name '%s': want 1 to %d letters, digits, '.', '_' or '-'", name,
                        TT_SETTINGS_NAME - 1);
        return;
    }
    m = read_model(old, name, file, &err);
    if (!m) {
        tt_mistakes_say(&d->mistakes, "%s", err.msg);
        return;
    }
    if (m == old) {
        tt_served_model_drop(m);
        return;
    }
    m->by_hand = true;
    if (old && !replace)
        tt_mistakes_say(&d->mistakes,
                        "model '%s' is served with hash %.16s, and %s has %.16s; replace puts it "
                        "in its place",
                        name, old->model->hash, file, m->model->hash);
    else
        try_model(d, now, m);
    if (d->mistakes.n || !start(d, now, NULL)) {
        tt_served_model_drop(m);
        return;
    }
    take_model(d, old, m);
    if (!d->mistakes.n)
        check_users(d, now, users, nusers);
    settle(d);
}

void tt_draft_unload(struct tt_draft *d, const struct tt_catalogue *now, const char *name)
{
    const struct tt_served_model *m = tt_catalogue_model(now, name);

    if (start(d, now, name))
        note(d, d->models, &d->nmodels, name, m->model->hash, NULL);
}
