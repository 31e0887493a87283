// SPDX-License-Identifier: Apache-2.0
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/commands.h"
#include "daemon/file.h"
#include "daemon/load.h"
#include "engines/plan.h"

static const char usage[] =
    "usage: ttad check [--json] FILE...\n"
    "       ttad check --explain --model MODEL [--batch N] [--json] POLICY...\n"
    "       ttad check --example\n\n"
    "Check policies and configurations of the daemon, with the policies that these name.\n"
    "Mistakes go to stderr, each with its place; the exit status is 1 if there was one.\n\n"
    "  --explain     compile the policy for MODEL and print the step: passes, parts, bytes\n"
    "  --model FILE  ONNX model to compile for\n"
    "  --batch N     rows of the largest batch (default 64)\n"
    "  --json        print the verdicts as JSON on stdout\n"
    "  --example     print a configuration with every key and its default\n";

struct check {
    bool json, explain, example, help;
    const char *model_path;
    int64_t batch;
    int nfiles;
    struct tt_model *model;
    json_t *reports;
    bool failed;
};

/* What is said about one file. */
struct report {
    const char *path, *kind; // kind: policy, configuration
    const struct tt_policy *policy;
    const char *explained;
};

static json_t *mistakes(const struct tt_diags *d)
{
    json_t *list = json_array();

    for (int i = 0; i < d->n; i++) {
        const struct tt_diag *m = &d->list[i];

        json_array_append_new(list, json_pack("{s:i, s:i, s:s, s:s}", "line", m->line, "col",
                                              m->col, "level", m->warning ? "warning" : "error",
                                              "message", m->msg));
    }
    return list;
}

static void say(struct check *c, const struct report *r, const struct tt_diags *d)
{
    bool ok = !d->errors;

    c->failed |= !ok;
    if (!c->json) {
        fflush(stdout); // mistakes of one file stay behind the verdict of the one before
        fputs(tt_diags_text(d), stderr);
        if (ok)
            printf("%s: ok\n", r->path);
        if (r->explained)
            printf("%s", r->explained);
        return;
    }
    json_array_append_new(c->reports,
                          json_pack("{s:s, s:s, s:b, s:o, s:s?, s:s?, s:s?, s:s?}", "file", r->path,
                                    "kind", r->kind, "ok", ok, "mistakes", mistakes(d), "name",
                                    r->policy ? r->policy->name : NULL, "engine",
                                    r->policy ? r->policy->method.preset : NULL, "hash",
                                    r->policy ? r->policy->hash : NULL, "explained", r->explained));
}

/* A plan's message without the "file:line:col: " before it, and that place; 0 where it has none. */
static const char *split_place(const char *msg, const char *file, int *ret_line, int *ret_col)
{
    const char *s = msg + strlen(file);
    char *end;
    long line, col;

    *ret_line = *ret_col = 0;
    if (strncmp(msg, file, strlen(file)) != 0 || *s != ':')
        return msg;
    line = strtol(s + 1, &end, 10);
    if (end == s + 1 || *end != ':' || line < 1 || line > INT_MAX)
        return msg;
    s = end;
    col = strtol(s + 1, &end, 10);
    if (end == s + 1 || strncmp(end, ": ", 2) != 0 || col < 1 || col > INT_MAX)
        return msg;
    *ret_line = (int)line;
    *ret_col = (int)col;
    return end + 2;
}

/* The compiled step of a policy as text; NULL: it cannot be compiled, which is told. */
static const char *explain(struct check *c, const struct tt_policy *p, struct tt_arena *arena,
                           struct tt_diags *d)
{
    struct tt_plan *plan;
    struct tt_err err;
    const char *text, *msg;
    int line, col;

    if (tt_plan_new(c->model, &p->method, c->batch, &plan, &err) != TT_OK) {
        msg = split_place(err.msg, p->file, &line, &col);
        tt_diag_error(d, line, col, "%s", msg);
        return NULL;
    }
    text = tt_plan_explain(plan, arena);
    if (!text)
        tt_diag_error(d, 0, 0, "out of memory");
    tt_plan_free(plan);
    return text;
}

static void check_policy(struct check *c, const char *path)
{
    struct report r = {.path = path, .kind = "policy"};
    struct tt_arena arena;
    struct tt_diags d;

    tt_arena_init(&arena, 0);
    r.policy = tt_load_policy(path, &arena, &d);
    if (r.policy && c->explain)
        r.explained = explain(c, r.policy, &arena, &d);
    say(c, &r, &d);
    tt_arena_release(&arena);
}

static void check_settings(struct check *c, const char *path)
{
    struct report r = {.path = path, .kind = "configuration"};
    struct tt_settings *s;
    struct tt_arena arena;
    struct tt_diags d;

    tt_arena_init(&arena, 0);
    s = tt_load_settings(path, &arena, &d);
    for (int i = 0; s && i < s->nmodels; i++)
        if (access(s->models[i].path, R_OK) < 0)
            tt_diag_error(&d, s->models[i].line, s->models[i].col, "models[%d]: %s cannot be read",
                          i, s->models[i].path);
    for (int i = 0; s && i < s->npolicies; i++)
        if (access(s->policies[i].path, R_OK) < 0)
            tt_diag_error(&d, s->policies[i].line, s->policies[i].col,
                          "policies[%d]: %s cannot be read", i, s->policies[i].path);
    say(c, &r, &d);
    for (int i = 0; s && i < s->npolicies; i++)
        if (access(s->policies[i].path, R_OK) == 0)
            check_policy(c, s->policies[i].path);
    tt_arena_release(&arena);
}

/* Whether the file looks like the daemon's configuration; what is not YAML counts as a policy. */
static bool is_settings(const char *path)
{
    const struct tt_ynode *tree = NULL;
    struct tt_arena arena;
    struct tt_diags d;
    struct tt_err err;
    char *text;
    size_t n;
    bool ret;

    tt_arena_init(&arena, 0);
    if (tt_file_read(path, TT_SETTINGS_BYTES, &arena, &text, &n, &err) == TT_OK) {
        tt_diags_init(&d, &arena, path, text, n);
        tree = tt_yaml_read(text, n, &arena, &d);
    }
    ret = tree && tt_settings_meant(tree);
    tt_arena_release(&arena);
    return ret;
}

static int wrong_usage(const char *what, const char *arg)
{
    fprintf(stderr, "ttad check: %s%s%s\n%s", what, arg ? " " : "", arg ? arg : "", usage);
    return 2;
}

static int read_batch(const char *s, int64_t *ret)
{
    char *end;
    long v = strtol(s, &end, 10);

    if (end == s || *end || v < 1 || v > 65536)
        return wrong_usage("--batch wants 1 to 65536, not", s);
    *ret = v;
    return 0;
}

/* Take argv[*i] and, if it wants one, its value; 0, or the exit status. */
static int read_option(int argc, char **argv, int *i, struct check *c)
{
    const char *arg = argv[*i];
    bool takes = !strcmp(arg, "--model") || !strcmp(arg, "--batch");

    if (takes && ++*i == argc)
        return wrong_usage("a value is missing behind", arg);
    if (!strcmp(arg, "--model"))
        c->model_path = argv[*i];
    else if (!strcmp(arg, "--batch"))
        return read_batch(argv[*i], &c->batch);
    else if (!strcmp(arg, "--json"))
        c->json = true;
    else if (!strcmp(arg, "--explain"))
        c->explain = true;
    else if (!strcmp(arg, "--example"))
        c->example = true;
    else if (!strcmp(arg, "--help"))
        c->help = true;
    else
        return wrong_usage("no option", arg);
    return 0;
}

/* 0, or the exit status.  Files may stand between options; they are moved to argv's front. */
static int read_args(int argc, char **argv, struct check *c)
{
    for (int i = 1; i < argc; i++) {
        int rc;

        if (argv[i][0] != '-' || !argv[i][1]) {
            argv[c->nfiles++] = argv[i];
            continue;
        }
        rc = read_option(argc, argv, &i, c);
        if (rc)
            return rc;
    }
    if (c->help || c->example)
        return 0;
    if (!c->nfiles)
        return wrong_usage("which FILE", NULL);
    if (c->explain != (c->model_path != NULL))
        return wrong_usage("--explain and --model want each other", NULL);
    return 0;
}

static int print_example(void)
{
    struct tt_arena arena;
    const char *text;

    tt_arena_init(&arena, 0);
    text = tt_settings_example(&arena);
    if (text)
        fputs(text, stdout);
    tt_arena_release(&arena);
    return text ? 0 : 1;
}

static int check_files(char **files, struct check *c)
{
    struct tt_err err;

    if (c->model_path && tt_load_model(c->model_path, &c->model, &err) != TT_OK) {
        fprintf(stderr, "ttad check: %s\n", err.msg);
        return 1;
    }
    c->reports = json_array();
    for (int i = 0; i < c->nfiles; i++) {
        if (is_settings(files[i]))
            check_settings(c, files[i]);
        else
            check_policy(c, files[i]);
    }
    if (c->json) {
        json_dumpf(c->reports, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(c->reports);
    if (c->model)
        tt_model_free(c->model);
    return c->failed ? 1 : 0;
}

int tt_cmd_check(int argc, char **argv)
{
    struct check c = {.batch = 64};
    int rc = read_args(argc, argv, &c);

    if (rc)
        return rc;
    if (c.help) {
        fputs(usage, stdout);
        return 0;
    }
    if (c.example)
        return print_example();
    return check_files(argv, &c);
}
