// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_SOCKETS_H
#define TT_DAEMON_SOCKETS_H

#include "config/field.h"

/* Open a socket of that ZeroMQ type with the options that every socket of the daemon has, bound to
 * all endpoints.  Only ipc, whose folder is made with mode 0750, and TCP on loopback: anything
 * else is refused here again, whatever was configured.  max_bytes bounds a frame; 0: no bound.
 * *ret is the caller's. */
TT_MUST_CHECK enum tt_code tt_socket_bind(void *zmq, int type, const struct tt_strs *endpoints,
                                          int64_t max_bytes, void **ret, struct tt_err *err);

/* Make ready to bind a socket at that path: its folder is there, and nobody listens. */
TT_MUST_CHECK enum tt_code tt_socket_path(const char *path, struct tt_err *err);

#endif
