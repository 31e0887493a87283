// SPDX-License-Identifier: Apache-2.0
#ifndef TTAD_REPLY_H
#define TTAD_REPLY_H

#include <jansson.h>
#include <zmq.h>

#include "client/c/ttad.h"
#include "client/c/wire.h"

/*
 * A reply while it is made, and with what it owns.  It is allocated when its request is, so that
 * whatever happens to the request can be told without memory.
 */
struct ttadi_reply {
    struct ttad_reply pub; // first: the caller has a pointer to it
    json_t *root;          // owns the texts
    char *text;            // the header
    void *data;            // the tensors
    struct ttad_output outputs[TTAD_WIRE_TENSORS];
    char id[TTAD_ID_SIZE];
    char error[512];
};

#define TTADI_DATATYPES 7
const char *ttadi_datatype_name(enum ttad_datatype type); // of one that is
size_t ttadi_datatype_size(enum ttad_datatype type);

/* Text for a NULL; the name of a json type, for messages. */
const char *ttadi_text(const char *text);
const char *ttadi_type_name(const json_t *v);

enum ttad_code ttadi_code_of(const char *name); // REFUSED for one that is not known

/* A reply to a request of that id; NULL: no memory. */
struct ttadi_reply *ttadi_reply_new(const char *id);

/* Set the code and a sentence, one line of it. */
enum ttad_code ttadi_reply_fail(struct ttadi_reply *r, enum ttad_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The header of a message, for the caller to json_decref(); NULL: it has none, and why says so. */
json_t *ttadi_header_read(zmq_msg_t *frames, int nframes, char *why, size_t nwhy);

/* Take a good message: keep the header as text, and, where tensors are wanted, read the members of
 * an answer.  Borrows root. */
enum ttad_code ttadi_reply_read(struct ttadi_reply *r, json_t *root, zmq_msg_t *frames, int nframes,
                                int tensors);

#endif
