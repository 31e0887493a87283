// SPDX-License-Identifier: Apache-2.0
#include "daemon/catalogue.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/load.h"

/* Give one reference back; true: it was the last one. */
static bool was_last(atomic_int *refs)
{
    return atomic_fetch_sub(refs, 1) == 1;
}

static void release(const struct tt_arena *owner)
{
    struct tt_arena arena = *owner; // it owns the struct that it is in

    tt_arena_release(&arena);
}

static const char *copy(struct tt_arena *arena, const char *text)
{
    return tt_arena_strndup(arena, text, strlen(text));
}

struct tt_config *tt_config_read(const char *file, struct tt_mistakes *m)
{
    struct tt_arena own;
    struct tt_config *c;
    struct tt_diags d;

    tt_arena_init(&own, 0);
    c = TT_NEW(&own, 1, struct tt_config);
    if (!c) {
        tt_mistakes_say(m, "%.300s: out of memory", file);
        return NULL;
    }
    c->settings = tt_load_settings(file, &own, &d);
    tt_mistakes_add(m, &d);
    if (!c->settings) {
        tt_arena_release(&own);
        return NULL;
    }
    tt_hash_bytes(d.text, d.len, c->hash);
    atomic_init(&c->refs, 1);
    c->arena = own;
    return c;
}

void tt_config_drop(struct tt_config *c)
{
    if (c && was_last(&c->refs))
        release(&c->arena);
}

/* What a file looks like from outside; all zero: it cannot be looked at. */
static struct tt_stamp look(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return (struct tt_stamp){.size = 0};
    return (struct tt_stamp){.device = (int64_t)st.st_dev,
                             .inode = (int64_t)st.st_ino,
                             .size = (int64_t)st.st_size,
                             .mtime_s = (int64_t)st.st_mtim.tv_sec,
                             .mtime_ns = (int64_t)st.st_mtim.tv_nsec};
}

bool tt_served_model_fresh(const struct tt_served_model *m, const char *path)
{
    const struct tt_stamp now = look(path);

    return now.size && !strcmp(m->path, path) && !memcmp(&now, &m->stamp, sizeof now);
}

static enum tt_code load_model(struct tt_served_model *m, struct tt_err *err)
{
    if (!m->name || !m->path)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (tt_load_model(m->path, &m->model, err) != TT_OK)
        return err->code;
    if (tt_inputs_of(&m->model->graph, &m->inputs, err) != TT_OK)
        return tt_fail_in(err, "%.300s", m->path);
    m->input = &m->inputs.whole;
    return TT_OK;
}

enum tt_code tt_served_model_read(const char *name, const char *path, struct tt_served_model **ret,
                                  struct tt_err *err)
{
    struct tt_arena own;
    struct tt_served_model *m;

    tt_arena_init(&own, 0);
    m = TT_NEW(&own, 1, struct tt_served_model);
    if (!m)
        return tt_fail(err, TT_ENOMEM, "model '%.64s': out of memory", name);
    atomic_init(&m->refs, 1);
    m->name = copy(&own, name);
    m->path = copy(&own, path);
    m->stamp = look(path);
    m->arena = own;
    if (load_model(m, err) != TT_OK) {
        tt_served_model_drop(m);
        return tt_fail_in(err, "model '%.64s'", name);
    }
    *ret = m;
    return TT_OK;
}

void tt_served_model_drop(struct tt_served_model *m)
{
    if (!m || !was_last(&m->refs))
        return;
    tt_model_free(m->model);
    release(&m->arena);
}

struct tt_served_policy *tt_served_policy_read(const char *name, const char *path,
                                               struct tt_mistakes *m)
{
    struct tt_arena own;
    struct tt_served_policy *p;
    struct tt_diags d;

    tt_arena_init(&own, 0);
    p = TT_NEW(&own, 1, struct tt_served_policy);
    if (p) {
        p->name = copy(&own, name);
        p->path = copy(&own, path);
        p->policy = tt_load_policy(path, &own, &d);
        tt_mistakes_add(m, &d);
    }
    if (!p || !p->name || !p->path)
        tt_mistakes_say(m, "policy '%.64s': out of memory", name);
    if (!p || !p->name || !p->path || !p->policy) {
        tt_arena_release(&own);
        return NULL;
    }
    atomic_init(&p->refs, 1);
    p->arena = own;
    return p;
}

void tt_served_policy_drop(struct tt_served_policy *p)
{
    if (p && was_last(&p->refs))
        release(&p->arena);
}

struct tt_served_model *tt_served_model_hold(struct tt_served_model *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

struct tt_served_policy *tt_served_policy_hold(struct tt_served_policy *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

struct tt_catalogue *tt_catalogue_new(struct tt_config *config)
{
    struct tt_arena own;
    struct tt_catalogue *c;

    tt_arena_init(&own, 0);
    c = TT_NEW(&own, 1, struct tt_catalogue);
    if (!c)
        return NULL;
    atomic_init(&c->refs, 1);
    c->arena = own;
    c->config = config;
    atomic_fetch_add(&config->refs, 1);
    return c;
}

void tt_catalogue_drop(struct tt_catalogue *c)
{
    if (!c || !was_last(&c->refs))
        return;
    for (int i = 0; i < c->nmodels; i++)
        tt_served_model_drop(c->models[i]);
    for (int i = 0; i < c->npolicies; i++)
        tt_served_policy_drop(c->policies[i]);
    tt_config_drop(c->config);
    release(&c->arena);
}

struct tt_catalogue *tt_catalogue_copy(const struct tt_catalogue *c, const char *without)
{
    struct tt_catalogue *copied = tt_catalogue_new(c->config);

    for (int i = 0; copied && i < c->nmodels; i++)
        if (!without || strcmp(c->models[i]->name, without) != 0)
            copied->models[copied->nmodels++] = tt_served_model_hold(c->models[i]);
    for (int i = 0; copied && i < c->npolicies; i++)
        copied->policies[copied->npolicies++] = tt_served_policy_hold(c->policies[i]);
    return copied;
}

enum tt_code tt_catalogue_add_model(struct tt_catalogue *c, struct tt_served_model *m,
                                    struct tt_err *err)
{
    for (int i = 0; i < c->nmodels; i++)
        if (!strcmp(c->models[i]->name, m->name)) {
            tt_served_model_drop(c->models[i]);
            c->models[i] = m;
            return TT_OK;
        }
    if (c->nmodels == TT_MAXNAMED)
        return tt_fail(err, TT_ERANGE, "model '%s': %d models are served, at most %d can be",
                       m->name, c->nmodels, TT_MAXNAMED);
    c->models[c->nmodels++] = m;
    return TT_OK;
}

enum tt_code tt_catalogue_add_policy(struct tt_catalogue *c, struct tt_served_policy *p,
                                     struct tt_err *err)
{
    for (int i = 0; i < c->npolicies; i++)
        if (!strcmp(c->policies[i]->name, p->name)) {
            tt_served_policy_drop(c->policies[i]);
            c->policies[i] = p;
            return TT_OK;
        }
    if (c->npolicies == TT_MAXNAMED)
        return tt_fail(err, TT_ERANGE, "policy '%s': there are %d, at most %d can be", p->name,
                       c->npolicies, TT_MAXNAMED);
    c->policies[c->npolicies++] = p;
    return TT_OK;
}

struct tt_served_model *tt_catalogue_model(const struct tt_catalogue *c, const char *name)
{
    for (int i = 0; i < c->nmodels; i++)
        if (!*name || !strcmp(c->models[i]->name, name))
            return c->models[i];
    return NULL;
}

struct tt_served_policy *tt_catalogue_policy(const struct tt_catalogue *c, const char *name)
{
    const char *want = *name ? name : c->config->settings->default_policy;

    for (int i = 0; i < c->npolicies; i++)
        if (!strcmp(c->policies[i]->name, want))
            return c->policies[i];
    return NULL;
}

static void say(char *buf, size_t size, const char *first, int n)
{
    if (n)
        (void)snprintf(buf, size, "'%s'%s", first, n > 1 ? " and others are" : " is");
    else
        (void)snprintf(buf, size, "none is");
}

void tt_catalogue_say_models(const struct tt_catalogue *c, char *buf, size_t size)
{
    say(buf, size, c->nmodels ? c->models[0]->name : "", c->nmodels);
}

void tt_catalogue_say_policies(const struct tt_catalogue *c, char *buf, size_t size)
{
    say(buf, size, c->npolicies ? c->policies[0]->name : "", c->npolicies);
}

void tt_shelf_init(struct tt_shelf *s)
{
    pthread_mutex_init(&s->lock, NULL);
    s->now = NULL;
    atomic_init(&s->number, 0);
}

void tt_shelf_end(struct tt_shelf *s)
{
    tt_catalogue_drop(s->now);
    s->now = NULL;
    pthread_mutex_destroy(&s->lock);
}

struct tt_catalogue *tt_shelf_take(struct tt_shelf *s)
{
    struct tt_catalogue *c;

    pthread_mutex_lock(&s->lock);
    c = s->now;
    atomic_fetch_add(&c->refs, 1);
    pthread_mutex_unlock(&s->lock);
    return c;
}

void tt_shelf_put(struct tt_shelf *s, struct tt_catalogue *c)
{
    struct tt_catalogue *old;

    pthread_mutex_lock(&s->lock);
    old = s->now;
    c->number = atomic_load(&s->number) + 1;
    s->now = c;
    atomic_store(&s->number, c->number);
    pthread_mutex_unlock(&s->lock);
    tt_catalogue_drop(old);
}
