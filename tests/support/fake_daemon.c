// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fake_daemon.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/check.h"

static void *bound(struct fake *f, int type, const char *endpoint)
{
    const int zero = 0, one = 1;
    void *s = zmq_socket(f->zmq, type);

    assert_non_null(s);
    assert_int_equal(zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero), 0);
    if (type == ZMQ_ROUTER)
        assert_int_equal(zmq_setsockopt(s, ZMQ_ROUTER_MANDATORY, &one, sizeof one), 0);
    assert_int_equal(zmq_bind(s, endpoint), 0);
    return s;
}

void fake_start(struct fake *f)
{
    *f = (struct fake){.dir = "/tmp/ttad-test-XXXXXX"};
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->data, sizeof f->data, "ipc://%s/data", f->dir);
    (void)snprintf(f->events, sizeof f->events, "ipc://%s/events", f->dir);
    f->zmq = zmq_ctx_new();
    f->router = bound(f, ZMQ_ROUTER, f->data);
    f->publisher = bound(f, ZMQ_XPUB, f->events);
}

static void forget(struct fake *f)
{
    for (int i = 0; i < f->nframes; i++)
        zmq_msg_close(&f->frames[i]);
    f->nframes = 0;
    json_decref(f->request);
    f->request = NULL;
}

void fake_stop(struct fake *f)
{
    char path[128];

    forget(f);
    if (f->router)
        zmq_close(f->router);
    zmq_close(f->publisher);
    zmq_ctx_term(f->zmq);
    (void)snprintf(path, sizeof path, "%s/data", f->dir);
    (void)unlink(path); // libzmq may have done it
    (void)snprintf(path, sizeof path, "%s/events", f->dir);
    (void)unlink(path);
    assert_int_equal(rmdir(f->dir), 0);
}

void fake_die(struct fake *f)
{
    zmq_close(f->router);
    f->router = NULL;
    (void)poll(NULL, 0, 50); // until libzmq's own thread has closed the connections
}

void fake_live(struct fake *f)
{
    f->router = bound(f, ZMQ_ROUTER, f->data);
}

const char *fake_take(struct fake *f, int ms)
{
    zmq_pollitem_t item = {.socket = f->router, .events = ZMQ_POLLIN};
    int more = 1;

    forget(f);
    if (zmq_poll(&item, 1, ms) != 1)
        return NULL;
    f->nwho = zmq_recv(f->router, f->who, sizeof f->who, 0);
    while (more) {
        assert_true(f->nframes < FAKE_FRAMES);
        zmq_msg_init(&f->frames[f->nframes]);
        assert_true(zmq_msg_recv(&f->frames[f->nframes], f->router, 0) >= 0);
        more = zmq_msg_more(&f->frames[f->nframes++]);
    }
    assert_true(f->nframes >= 2);
    assert_memory_equal(zmq_msg_data(&f->frames[0]), "TTAD/1", 6);
    f->request = json_loadb((const char *)zmq_msg_data(&f->frames[1]), zmq_msg_size(&f->frames[1]),
                            JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(f->request);
    return json_string_value(json_object_get(f->request, "id"));
}

const char *fake_parameter(const struct fake *f, const char *key)
{
    return json_string_value(json_object_get(json_object_get(f->request, "parameters"), key));
}

void fake_send(struct fake *f, int n, const void *const *data, const long *size)
{
    assert_true(zmq_send(f->router, f->who, (size_t)f->nwho, n ? ZMQ_SNDMORE : 0) >= 0);
    for (int i = 0; i < n; i++) {
        const size_t bytes = size[i] < 0 ? strlen((const char *)data[i]) : (size_t)size[i];

        assert_true(zmq_send(f->router, data[i], bytes, i + 1 < n ? ZMQ_SNDMORE : 0) >= 0);
    }
}

void fake_send_json(struct fake *f, const char *json)
{
    const void *data[] = {"TTAD/1", json};
    const long size[] = {-1, -1};

    fake_send(f, 2, data, size);
}

void fake_send_json_to(struct fake *f, const char *format)
{
    const char *id = json_string_value(json_object_get(f->request, "id"));
    const char *at = strstr(format, "%s");
    char text[512];

    assert_non_null(at);
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - format), format, id, at + 2);
    fake_send_json(f, text);
}

void fake_refuse(struct fake *f, const char *code, int retry_after_ms)
{
    const char *id = json_string_value(json_object_get(f->request, "id"));
    char text[512];

    (void)snprintf(text, sizeof text,
                   "{\"op\":\"error\",\"id\":\"%s\",\"error\":\"because of %s\",\"code\":\"%s\","
                   "\"retry_after_ms\":%d}",
                   id, code, code, retry_after_ms);
    fake_send_json(f, text);
}

void fake_answer(struct fake *f, const char *id, float value, int credit)
{
    const float logits[] = {value, 0.5f};
    char text[512], tail[32] = "";
    const void *data[] = {"TTAD/1", text, logits};
    const long size[] = {-1, -1, sizeof logits};

    if (credit >= 0)
        (void)snprintf(tail, sizeof tail, ",\"credit\":%d", credit);
    (void)snprintf(
        text, sizeof text,
        "{\"op\":\"infer\",\"id\":\"%s\",\"parameters\":{\"version\":\"ab\",\"step\":3%s},"
        "\"outputs\":[{\"name\":\"logits\",\"shape\":[1,2],\"datatype\":\"FP32\","
        "\"parameters\":{\"binary_data_size\":8}}]}",
        id, tail);
    fake_send(f, 3, data, size);
}

void fake_wait_subscribed(struct fake *f)
{
    zmq_pollitem_t item = {.socket = f->publisher, .events = ZMQ_POLLIN};
    char topic[64];

    assert_int_equal(zmq_poll(&item, 1, 5000), 1);
    assert_true(zmq_recv(f->publisher, topic, sizeof topic, 0) >= 0);
}

void fake_publish(struct fake *f, const char *topic, unsigned long long seq, const char *json)
{
    unsigned char number[8];

    for (int i = 0; i < 8; i++)
        number[i] = (unsigned char)(seq >> (56 - 8 * i));
    assert_true(zmq_send(f->publisher, topic, strlen(topic), ZMQ_SNDMORE) >= 0);
    assert_true(zmq_send(f->publisher, number, sizeof number, ZMQ_SNDMORE) >= 0);
    assert_true(zmq_send(f->publisher, json, strlen(json), 0) >= 0);
}
