// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_COMMANDS_H
#define TT_DAEMON_COMMANDS_H

/*
 * The verbs of the command line, one file each (daemon/cmd_NAME.c).  argv[0] is the verb.
 * Each returns the exit status: 0 done, 1 it failed and said why, 2 wrong usage.
 */
#define TT_COMMANDS(X)                                                                            \
    X(serve, "--config FILE", "run the daemon")                                                   \
    X(adapt, "MODEL --policy FILE --inputs X.npy", "run a policy over an array, offline")         \
    X(inspect, "MODEL [--policy FILE] [--json]", "what is in a model, and what a policy selects") \
    X(bench, "MODEL [--policy FILE] [--batch N,...]",                                             \
      "how fast a model is here, frozen and adapting")                                            \
    X(check, "FILE... [--explain --model MODEL]", "check policies and configurations")            \
    X(replay, "--db FILE [--stream S]", "run captured streams again, compare every version")      \
    X(preset, "[NAME]", "list the presets, or print one")

#define TTAD_VERSION                      "0.1.0"

#define TT_COMMAND_DECL(name, args, help) int tt_cmd_##name(int argc, char **argv);
TT_COMMANDS(TT_COMMAND_DECL)
#undef TT_COMMAND_DECL

#endif
