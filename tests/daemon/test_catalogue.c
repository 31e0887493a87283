// SPDX-License-Identifier: Apache-2.0
#include "daemon/catalogue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/check.h"

#define MODEL "models/fashion_resnet.onnx"

static char dir[64];

static const char *write_file(const char *name, const char *text)
{
    static char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

static int up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/ttad-catalogue-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return 0;
}

static int down(void **state)
{
    char command[96];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static struct tt_config *config(void)
{
    struct tt_mistakes m;
    struct tt_config *c;

    tt_mistakes_init(&m);
    c = tt_config_read(write_file("ttad.yaml", "models: [{name: a, path: a.onnx}]\n"
                                               "policies: [{name: p, path: p.yaml}]\n"),
                       &m);
    assert_int_equal(m.n, 0);
    tt_mistakes_end(&m);
    assert_non_null(c);
    return c;
}

static struct tt_served_policy *policy(const char *name, const char *text)
{
    struct tt_mistakes m;
    struct tt_served_policy *p;

    tt_mistakes_init(&m);
    p = tt_served_policy_read(name, write_file("p.yaml", text), &m);
    tt_mistakes_end(&m);
    assert_non_null(p);
    return p;
}

static struct tt_served_model *model(const char *name)
{
    struct tt_served_model *m;
    struct tt_err err;

    if (tt_served_model_read(name, MODEL, &m, &err) != TT_OK)
        fail_msg("%s", err.msg);
    return m;
}

/* Of one model and one policy. */
static struct tt_catalogue *catalogue(struct tt_served_model *m, struct tt_served_policy *p)
{
    struct tt_config *conf = config();
    struct tt_catalogue *c = tt_catalogue_new(conf);
    struct tt_err err;

    tt_config_drop(conf); // the catalogue holds it
    assert_int_equal(tt_catalogue_add_model(c, m, &err), TT_OK);
    assert_int_equal(tt_catalogue_add_policy(c, p, &err), TT_OK);
    return c;
}

static void what_is_served_is_found_by_name(void **state)
{
    struct tt_catalogue *c = catalogue(model("a"), policy("p", "preset: tent\n"));
    struct tt_served_policy *other;
    struct tt_err err;
    char text[96];

    (void)state;
    assert_ptr_equal(tt_catalogue_model(c, "a"), c->models[0]);
    assert_ptr_equal(tt_catalogue_model(c, ""), c->models[0]);
    assert_null(tt_catalogue_model(c, "b"));
    assert_ptr_equal(tt_catalogue_policy(c, ""), c->policies[0]);
    assert_null(tt_catalogue_policy(c, "q"));
    tt_catalogue_say_models(c, text, sizeof text);
    assert_string_equal(text, "'a' is");
    other = policy("p", "preset: norm\n");
    assert_int_equal(tt_catalogue_add_policy(c, other, &err), TT_OK); // in place of the other
    assert_int_equal(c->npolicies, 1);
    assert_ptr_equal(tt_catalogue_policy(c, "p"), other);
    assert_int_equal(tt_catalogue_add_policy(c, policy("q", "preset: norm\n"), &err), TT_OK);
    tt_catalogue_say_policies(c, text, sizeof text);
    assert_string_equal(text, "'p' and others are");
    tt_catalogue_drop(c);
}

static void what_somebody_holds_outlives_the_catalogue(void **state)
{
    struct tt_served_model *m = tt_served_model_hold(model("a"));
    struct tt_served_policy *p = tt_served_policy_hold(policy("p", "preset: tent\n"));
    struct tt_shelf shelf;
    struct tt_catalogue *old;

    (void)state;
    tt_shelf_init(&shelf);
    tt_shelf_put(&shelf, catalogue(m, p));
    old = tt_shelf_take(&shelf);
    assert_int_equal(old->number, 1);
    tt_shelf_put(&shelf, catalogue(model("b"), policy("p", "preset: norm\n")));
    assert_int_equal(atomic_load(&shelf.number), 2);
    assert_string_equal(tt_catalogue_model(old, "a")->model->hash, m->model->hash);
    assert_int_equal(atomic_load(&m->refs), 2);
    tt_catalogue_drop(old);
    assert_int_equal(atomic_load(&m->refs), 1); // the test's own
    assert_int_equal(atomic_load(&p->refs), 1);
    assert_string_equal(m->name, "a");
    assert_string_equal(p->policy->method.preset, "tent");
    tt_served_model_drop(m);
    tt_served_policy_drop(p);
    tt_shelf_end(&shelf);
}

static void mistakes_of_all_files_are_told_with_their_places(void **state)
{
    static const char wrong[] = "preset: tent\nsteps: 0\nguards:\n  - {name: x, signal: entropi}\n";
    struct tt_mistakes m;
    struct tt_err err;

    (void)state;
    tt_mistakes_init(&m);
    assert_null(tt_config_read(write_file("ttad.yaml", "models: []\nworkers: 99\n"), &m));
    assert_null(tt_served_policy_read("p", write_file("p.yaml", wrong), &m));
    assert_null(tt_served_policy_read("q", "/nowhere/q.yaml", &m));
    assert_true(m.n >= 5);
    assert_contains(m.list[0], "/ttad.yaml:1:");
    assert_contains(m.list[1], "/ttad.yaml:2:10: workers: 99 is outside [1, 64]");
    assert_contains(m.list[2], "/p.yaml:2:8: steps: 0 is outside");
    assert_contains(m.list[3], "/p.yaml:4:");
    assert_contains(m.list[m.n - 1], "/nowhere/q.yaml: No such file");
    assert_contains(tt_out_text(&m.text), "  2 | steps: 0\n");
    assert_int_equal(tt_mistakes_err(&m, &err), TT_EPARSE);
    assert_string_equal(err.msg, m.list[0]);
    for (int i = m.n; i < TT_MAXMISTAKES + 3; i++)
        tt_mistakes_say(&m, "number %d", i);
    assert_int_equal(m.n, TT_MAXMISTAKES);
    assert_int_equal(m.more, 3);
    tt_mistakes_end(&m);
}

static void a_model_that_cannot_be_read_is_named(void **state)
{
    struct tt_served_model *m = NULL;
    struct tt_err err;

    (void)state;
    assert_int_equal(tt_served_model_read("a", "/nowhere.onnx", &m, &err), TT_ENOTFOUND);
    assert_contains(err.msg, "model 'a': /nowhere.onnx: No such file");
    assert_int_equal(tt_served_model_read("a", dir, &m, &err), TT_EIO);
    assert_contains(err.msg, "a directory");
    assert_null(m);
}

/* A reader takes what is on the shelf again and again, and looks into it. */
static void *look(void *arg)
{
    struct tt_shelf *shelf = arg;
    intptr_t wrong = 0;

    for (int i = 0; i < 2000; i++) {
        struct tt_catalogue *c = tt_shelf_take(shelf);
        struct tt_served_policy *p = tt_served_policy_hold(tt_catalogue_policy(c, "p"));

        wrong += c->number < 1 || strcmp(c->models[0]->name, "a") != 0;
        tt_catalogue_drop(c);
        wrong += strlen(p->policy->hash) != TT_HASH_HEX;
        tt_served_policy_drop(p);
    }
    return (void *)wrong;
}

static void readers_see_one_whole_catalogue_while_it_is_changed(void **state)
{
    struct tt_served_model *m = tt_served_model_hold(model("a"));
    pthread_t thread[3];
    struct tt_shelf shelf;
    void *wrong;

    (void)state;
    tt_shelf_init(&shelf);
    tt_shelf_put(&shelf, catalogue(m, policy("p", "preset: tent\n")));
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, look, &shelf), 0);
    for (int i = 0; i < 100; i++)
        tt_shelf_put(&shelf, catalogue(tt_served_model_hold(m), policy("p", "preset: norm\n")));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(thread[i], &wrong), 0);
        assert_null(wrong);
    }
    tt_shelf_end(&shelf);
    assert_int_equal(atomic_load(&m->refs), 1); // nothing was forgotten, nothing freed twice
    tt_served_model_drop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_served_is_found_by_name),
        cmocka_unit_test(what_somebody_holds_outlives_the_catalogue),
        cmocka_unit_test(mistakes_of_all_files_are_told_with_their_places),
        cmocka_unit_test(a_model_that_cannot_be_read_is_named),
        cmocka_unit_test(readers_see_one_whole_catalogue_while_it_is_changed),
    };

    return cmocka_run_group_tests(tests, up, down);
}
