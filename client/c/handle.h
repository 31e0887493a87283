// SPDX-License-Identifier: Apache-2.0
#ifndef TTAD_HANDLE_H
#define TTAD_HANDLE_H

#include "client/c/channel.h"

/* What a handle is, and what the functions of the library have in common. */
struct ttad {
    void *zmq;
    struct ttadi_channel data, control;
    char *name, *events_endpoint;
    void *events; // SUB socket, NULL before ttad_subscribe()
    bool all_topics;
    uint64_t last_seq; // of an event; 0: none yet
    int64_t timeout_ms;
    uint64_t prefix, count, random; // of ids; for pauses
    int epoll, timer, wake;         // -1 before ttad_fd()
    enum ttad_code code;
    int64_t retry_after_ms;
    char error[512];
};

/* What a request asks for, before it is a message. */
struct ttadi_ask {
    const char *op, *model, *id;
    json_t *parameters; // taken, also on an error
    const struct ttad_tensor *inputs;
    int ninputs;
    const char *const *outputs;
    int noutputs;
    int64_t timeout_ms; // 0: the handle's
    bool tensors, twice, counted;
};

/* Set what ttad_errno() and ttad_error() say; returns code. */
enum ttad_code ttadi_fail(struct ttad *c, enum ttad_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
enum ttad_code ttadi_good(struct ttad *c); // nothing to say

/* Encode a request, and give it to the channel, which is opened.  ret_id: a copy of its id. */
enum ttad_code ttadi_ask(struct ttad *c, struct ttadi_channel *ch, struct ttadi_ask *ask,
                         char ret_id[TTAD_ID_SIZE]);

/* Frames and reply of a request with that id. */
enum ttad_code ttadi_encode(struct ttad *c, const struct ttadi_ask *ask, const char *id,
                            struct ttadi_request **ret);

/* Wait until the request of that id (NULL: any) on ch ends, or the time comes; NULL: it came. */
struct ttadi_request *ttadi_wait(struct ttad *c, struct ttadi_channel *ch, const char *id,
                                 int64_t until_us);

/* Until then a wait of timeout_ms lasts: 0 now, negative for good. */
int64_t ttadi_until(int64_t timeout_ms);

/* Wait for a request that is under way, and say how it went.  *ret NULL unless TTAD_OK. */
enum ttad_code ttadi_result(struct ttad *c, struct ttadi_channel *ch, const char *id,
                            struct ttad_reply **ret);

/* At the end of each call: make ttad_fd() readable if there is something to do. */
void ttadi_settle(struct ttad *c);
void ttadi_watch_events(struct ttad *c); // the socket of events is there

/* Add a key with a text; NULL is left out.  False: it is not UTF-8, or out of memory. */
bool ttadi_set_text(json_t *o, const char *key, const char *text);

#endif
