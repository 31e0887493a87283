// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_ZMTP_H
#define TT_DAEMON_ZMTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * ZMTP 3, the protocol of ZeroMQ's connections (rfc.zeromq.org/spec/23 and 37), as bytes: each
 * side sends a greeting, then frames.  The first frame is the command READY, after it messages of
 * one or more frames and commands follow in any order.  Mechanism NULL.  Pure: no sockets, no
 * state; what came from outside can only be refused.
 */
#define TT_ZMTP_GREETING 64  // bytes of a greeting
#define TT_ZMTP_HEAD     9   // bytes of a frame's head, at most
#define TT_ZMTP_COMMAND  512 // bytes of a command that is read, at most
#define TT_ZMTP_PING     9   // bytes of the PING that is sent, with its head
#define TT_ZMTP_CONTEXT  16  // bytes of a PING that its PONG gives back, at most

struct tt_zmtp_frame {
    bool more, command;
    uint64_t size; // of its body
};

/* A command's parts point into its body. */
enum tt_zmtp_verb {
    TT_ZMTP_READY,
    TT_ZMTP_ERROR,
    TT_ZMTP_PINGED,
    TT_ZMTP_PONG,
    TT_ZMTP_SUBSCRIBE,
    TT_ZMTP_CANCEL,
    TT_ZMTP_UNKNOWN, // whatever it is, it may be ignored
};
struct tt_zmtp_command {
    enum tt_zmtp_verb verb;
    const unsigned char *rest; // [nrest] after the name; of PINGED: its context
    size_t nrest;
};

/* The greeting that is sent.  ret [TT_ZMTP_GREETING] */
void tt_zmtp_greet(unsigned char *ret);

/* Check the first n bytes of a greeting, as far as they go; a whole one also gives its version
 * 3.*ret_minor. */
TT_MUST_CHECK enum tt_code tt_zmtp_read_greeting(const unsigned char *b, size_t n, int *ret_minor,
                                                 struct tt_err *err);

/* The head of a frame: *ret_n is its length, 0: the n bytes are not all of it yet. */
TT_MUST_CHECK enum tt_code tt_zmtp_read_head(const unsigned char *b, size_t n,
                                             struct tt_zmtp_frame *ret, size_t *ret_n,
                                             struct tt_err *err);

/* Write the head of a message's frame; its length.  ret [TT_ZMTP_HEAD] */
size_t tt_zmtp_head(unsigned char *ret, bool more, uint64_t size);

TT_MUST_CHECK enum tt_code tt_zmtp_read_command(const unsigned char *b, size_t n,
                                                struct tt_zmtp_command *ret, struct tt_err *err);

/* Check READY's properties: one must be a Socket-Type of types, words with a space behind each. */
TT_MUST_CHECK enum tt_code tt_zmtp_check_ready(const struct tt_zmtp_command *c, const char *types,
                                               struct tt_err *err);

/* Commands with their heads; the length.  ret [TT_ZMTP_GREETING, TT_ZMTP_PING] */
size_t tt_zmtp_ready(unsigned char *ret, const char *socket_type);
size_t tt_zmtp_ping(unsigned char *ret, int ttl_ms);
size_t tt_zmtp_pong(unsigned char *ret, const unsigned char *context, size_t n);
size_t tt_zmtp_error(unsigned char *ret, const char *reason); // cut to fit

#endif
