// SPDX-License-Identifier: Apache-2.0
#include "daemon/commands.h"

#include <stdio.h>
#include <string.h>

#include "daemon/version.h"

static const struct command {
    const char *name, *args, *help;
    int (*run)(int argc, char **argv);
} commands[] = {
#define TT_COMMAND_ROW(name, args, help) {#name, args, help, tt_cmd_##name},
    TT_COMMANDS(TT_COMMAND_ROW)
#undef TT_COMMAND_ROW
};

static void usage(FILE *to)
{
    fprintf(to, "usage: ttad COMMAND ...\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(to, "  ttad %-8s %-38s %s\n", commands[i].name, commands[i].args, commands[i].help);
    fprintf(to, "\n  ttad COMMAND --help says more; ttad --version\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (!strcmp(argv[1], "--version")) {
        tt_version_print(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "ttad: no command '%s'; ttad --help lists them\n", argv[1]);
    return 2;
}
