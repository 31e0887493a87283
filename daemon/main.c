// SPDX-License-Identifier: Apache-2.0
#include "daemon/commands.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* How often a thread of OpenMP looks for work before it sleeps: longer than the gaps between
 * operators, some 30 us, and shorter than libgomp's milliseconds, which beside other load are taken
 * from the thread that is waited for (docs/performance.md). */
#define SPIN_COUNT "2000"

/* libgomp reads its environment before main, so the program starts itself once more.  What the
 * operator says about waiting holds. */
static void wait_briefly(char **argv)
{
    char self[PATH_MAX];
    ssize_t n;

    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return;
    n = readlink("/proc/self/exe", self, sizeof self - 1); /* its name is kept for ps */
    if (n < 0 || setenv("GOMP_SPINCOUNT", SPIN_COUNT, 1))
        return;
    self[n] = '\0';
    execv(self, argv); /* where that cannot be, threads wait as long as libgomp says */
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
        if (!strcmp(argv[1], commands[i].name)) {
            wait_briefly(argv);
            return commands[i].run(argc - 1, argv + 1);
        }
    fprintf(stderr, "ttad: no command '%s'; ttad --help lists them\n", argv[1]);
    return 2;
}
