// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_OPTIONS_H
#define TT_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The command line of one verb: options with a value, switches, and plain arguments, from a
 * table.  The last row is {0}.
 */
struct tt_option {
    const char *name;  // "--batch"
    const char **text; // its value goes here, or
    int64_t *number;   // here, or
    bool *on;          // it is a switch
    int64_t min, max;  // of number
};

/* Read argv[1..]; plain arguments go to plain [max], their number to *nplain.
 * false: something is wrong and was said on stderr, with the verb's name before it. */
bool tt_options_read(int argc, char **argv, const struct tt_option *table, const char **plain,
                     int max, int *nplain);

#endif
