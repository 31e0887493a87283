// SPDX-License-Identifier: Apache-2.0
#ifndef TT_TESTS_SUPPORT_FAKE_DAEMON_H
#define TT_TESTS_SUPPORT_FAKE_DAEMON_H

#include <jansson.h>
#include <zmq.h>

/*
 * A ROUTER socket that says what a test wants, in the test's own thread, and an XPUB for events.
 * Whatever goes wrong in it fails the test.
 */
#define FAKE_FRAMES 12

struct fake {
    void *zmq, *router, *publisher;
    char dir[64], data[96], events[96];
    unsigned char who[256]; // of the newest request
    int nwho, nframes;
    zmq_msg_t frames[FAKE_FRAMES]; // of the newest request, without who sent it
    json_t *request;               // its header
};

void fake_start(struct fake *f);
void fake_stop(struct fake *f);

/* Close the socket, as a daemon that dies; open it again, as one that starts. */
void fake_die(struct fake *f);
void fake_live(struct fake *f);

/* The next request, its id; NULL: none came within ms. */
const char *fake_take(struct fake *f, int ms);

/* A parameter of the newest request, as text. */
const char *fake_parameter(const struct fake *f, const char *key);

/* Send frames to whoever sent the newest request; sizes of -1 are those of texts. */
void fake_send(struct fake *f, int n, const void *const *data, const long *size);
void fake_send_json(struct fake *f, const char *json);

void fake_send_json_to(struct fake *f, const char *format); // %s: the newest request's id

/* Refuse the newest request. */
void fake_refuse(struct fake *f, const char *code, int retry_after_ms);

/* Answer a request: logits [1, 2] are value and 0.5; credit < 0: none is told. */
void fake_answer(struct fake *f, const char *id, float value, int credit);

/* Publish, once a subscription has come. */
void fake_wait_subscribed(struct fake *f);
void fake_publish(struct fake *f, const char *topic, unsigned long long seq, const char *json);

#endif
