// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_SOCKETS_H
#define TT_DAEMON_SOCKETS_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "base/err.h"

/* A socket that listens at one endpoint. */
struct tt_listener {
    int fd;
    const char *path; // of an ipc socket's file, kept; NULL: none
    dev_t dev;        // which file it is: an inode is soon used again, at another time
    ino_t ino;
    struct timespec since;
};

/* Listen at ipc://PATH, whose folder is made with mode 0750 where it is missing, or at TCP on
 * loopback (port 0 or * is any): anything else is refused here again, whatever was configured.
 * TT_EBUSY: another program listens there. */
TT_MUST_CHECK enum tt_code tt_socket_listen(const char *endpoint, struct tt_listener *ret,
                                            struct tt_err *err);

/* Close it, and take its file away if that is still its own. */
void tt_socket_close(struct tt_listener *l);

/* Make ready to bind a socket at that path: its folder is there, and nobody listens. */
TT_MUST_CHECK enum tt_code tt_socket_path(const char *path, struct tt_err *err);

#endif
