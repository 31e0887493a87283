// SPDX-License-Identifier: Apache-2.0
#include "daemon/commands.h"

#include <stdio.h>

#include "daemon/inspect.h"
#include "daemon/load.h"
#include "daemon/options.h"

static const char usage[] =
    "usage: ttad inspect MODEL [--policy FILE] [--json]\n\n"
    "Print what is in an ONNX model: inputs, outputs, operators, parameters.\n\n"
    "  --policy FILE  mark the parameters that the policy selects, and say what a stream\n"
    "                 under it costs\n"
    "  --json         the same as JSON\n";

static enum tt_code inspect(const char *path, const char *policy_path, bool json,
                            const struct tt_model *model, struct tt_arena *arena,
                            struct tt_err *err)
{
    const struct tt_policy *policy = NULL;
    struct tt_inspection t;
    struct tt_diags d;
    json_t *o;

    if (policy_path) {
        policy = tt_load_policy(policy_path, arena, &d);
        fputs(tt_diags_text(&d), stderr);
        if (!policy)
            return tt_fail(err, TT_EPARSE, "%s: %d mistake%s", policy_path, d.errors,
                           d.errors == 1 ? "" : "s");
    }
    if (tt_inspect(path, model, policy, arena, &t, err))
        return err->code;
    if (!json) {
        tt_inspection_print(&t, stdout);
        return TT_OK;
    }
    o = tt_inspection_json(&t);
    if (!o || json_dumpf(o, stdout, JSON_INDENT(2)) < 0) {
        json_decref(o);
        return tt_fail(err, TT_EIO, "the JSON could not be written");
    }
    printf("\n");
    json_decref(o);
    return TT_OK;
}

int tt_cmd_inspect(int argc, char **argv)
{
    const char *path = NULL, *policy = NULL;
    bool json = false, help = false;
    const struct tt_option table[] = {
        {.name = "--policy", .text = &policy},
        {.name = "--json", .on = &json},
        {.name = "--help", .on = &help},
        {0},
    };
    struct tt_model *model = NULL;
    struct tt_arena arena;
    struct tt_err err;
    enum tt_code rc;
    int n = 0;

    if (!tt_options_read(argc, argv, table, &path, 1, &n))
        return 2;
    if (help || !n) {
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    tt_arena_init(&arena, 0);
    rc = tt_load_model(path, &model, &err);
    if (!rc)
        rc = inspect(path, policy, json, model, &arena, &err);
    if (rc)
        fprintf(stderr, "ttad inspect: %s\n", err.msg);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "ttad inspect: standard output cannot be written\n");
        rc = TT_EIO;
    }
    tt_model_free(model);
    tt_arena_release(&arena);
    return rc ? 1 : 0;
}
