// SPDX-License-Identifier: Apache-2.0
#include "daemon/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/file.h"
#include "daemon/model_file.h"

enum tt_code tt_load_model(const char *path, struct tt_model **ret, struct tt_err *err)
{
    struct tt_model_file f;
    enum tt_code rc;

    if (tt_model_file_open(path, TT_MODEL_BYTES, &f, err))
        return err->code;
    f.source.logits = true;
    rc = tt_model_read(&f.source, TT_MODEL_BYTES, ret, err);
    if (rc != TT_OK)
        (void)tt_fail_in(err, "%.200s", path); // the code stays as it is
    tt_model_file_close(&f);
    return rc;
}

/* The text of a file with *d made ready for its mistakes; NULL: it cannot be read, which is one. */
static const char *load_text(const char *path, size_t limit, struct tt_arena *arena,
                             struct tt_diags *d, size_t *ret_n)
{
    struct tt_err err;
    char *text;

    tt_diags_init(d, arena, path, NULL, 0);
    if (tt_file_read(path, limit, arena, &text, ret_n, &err) != TT_OK) {
        const char *why = err.msg;

        for (const char *p = path; *p && *p == *why; p++) // the place is told anyway
            why++;
        tt_diag_error(d, 0, 0, "%s", why[0] == ':' && why[1] == ' ' ? why + 2 : err.msg);
        return NULL;
    }
    tt_diags_init(d, arena, path, text, *ret_n);
    return text;
}

struct tt_policy *tt_load_policy(const char *path, struct tt_arena *arena, struct tt_diags *d)
{
    size_t n;
    const char *text = load_text(path, TT_POLICY_BYTES, arena, d, &n);

    return text ? tt_policy_read(path, text, n, arena, d) : NULL;
}

struct tt_settings *tt_load_settings(const char *path, struct tt_arena *arena, struct tt_diags *d)
{
    char run_dir[TT_RUN_DIR];
    size_t n;
    const char *text = load_text(path, TT_SETTINGS_BYTES, arena, d, &n);

    tt_run_dir(run_dir);
    return text ? tt_settings_read(path, text, n, run_dir, arena, d) : NULL;
}

void tt_run_dir(char ret[TT_RUN_DIR])
{
    const char *dir = getenv("XDG_RUNTIME_DIR");

    if (!dir || *dir != '/' || geteuid() == 0)
        dir = "/run";
    snprintf(ret, TT_RUN_DIR, "%.100s/ttad", dir);
}
