// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "daemon/commands.h"
#include "policies/preset.h"

static int list(const char *const *names)
{
    for (; *names; names++) {
        size_t n;
        const char *help = tt_preset_help(tt_preset_text(*names), &n);

        printf("%-12s %.*s\n", *names, (int)n, help);
    }
    return 0;
}

static int show(const char *name, const char *const *names)
{
    const char *text = tt_preset_text(name), *near;

    if (text) {
        fputs(text, stdout);
        return 0;
    }
    near = tt_did_you_mean(name, names);
    if (near)
        fprintf(stderr, "ttad preset: no preset '%s', did you mean '%s'\n", name, near);
    else
        fprintf(stderr, "ttad preset: no preset '%s'; ttad preset lists them\n", name);
    return 1;
}

int tt_cmd_preset(int argc, char **argv)
{
    const char *const *names;
    struct tt_arena arena;
    int rc = 1;

    if (argc > 2 || (argc == 2 && *argv[1] == '-')) {
        bool help = argc == 2 && !strcmp(argv[1], "--help");

        fprintf(help ? stdout : stderr, "usage: ttad preset [NAME]\n\n"
                                        "List the presets that policies may build on, or print "
                                        "one as YAML.\n");
        return help ? 0 : 2;
    }
    tt_arena_init(&arena, 0);
    names = tt_preset_names(&arena);
    if (!names)
        fprintf(stderr, "ttad preset: out of memory\n");
    else
        rc = argc == 2 ? show(argv[1], names) : list(names);
    tt_arena_release(&arena);
    return rc;
}
