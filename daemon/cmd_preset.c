// SPDX-License-Identifier: Apache-2.0
#include "daemon/commands.h"

int tt_cmd_preset(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return 1;
}
