// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_VERSION_H
#define TT_DAEMON_VERSION_H

#include <stdio.h>

/* What this program is: its version on the first line, then the libraries that it runs with, what
 * they can do, and how it was built. */
void tt_version_print(FILE *to);

#endif
