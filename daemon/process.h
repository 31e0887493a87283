// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_PROCESS_H
#define TT_DAEMON_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* What the kernel knows of this process.  What it does not say is 0. */
struct tt_process {
    int64_t resident_bytes, virtual_bytes;
    int64_t open_fds, max_fds;
    double cpu_s; // user and system, of all threads
};

void tt_process_read(struct tt_process *ret);

/* The most bytes that were resident since the start, or since that was last forgotten; 0: the
 * kernel does not say.  Forgetting returns false where the kernel offers neither. */
int64_t tt_process_peak(void);
bool tt_process_forget_peak(void);

#endif
