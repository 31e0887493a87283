// SPDX-License-Identifier: Apache-2.0
#include "tests/daemon/served.h"

#include "runtime/npy.h"

static struct served d;

static int up(void **state)
{
    (void)state;
    make(&d, "{credit: 64, queue_per_stream: 32}");
    must_start(&d);
    return 0;
}

static int down(void **state)
{
    (void)state;
    clean(&d);
    return 0;
}

static void requests_are_answered_on_their_sockets(void **state)
{
    json_t *o = ask(d.data, "{\"op\":\"hello\",\"id\":\"h\",\"parameters\":{\"client\":\"t\"}}");
    float logits[40];

    (void)state;
    assert_string_equal(text_of(o, "op"), "hello");
    assert_string_equal(text_of(o, "id"), "h");
    assert_int_equal(number_of(o, "credit"), 64);
    assert_int_equal(json_array_size(json_object_get(o, "models")), 1);
    assert_int_equal(strlen(text_of(o, "boot_id")), 32);
    json_decref(o);
    send_infer(d.data, "s", "1", 4, 0);
    o = receive(d.data, WAIT_MS, logits, 40);
    assert_string_equal(text_of(o, "model_name"), "fashion");
    assert_string_equal(text_of(params(o), "stream_id"), "s");
    assert_string_equal(text_of(params(o), "engine"), "tent");
    assert_int_equal(strlen(text_of(params(o), "version")), 16);
    assert_true(json_is_true(json_object_get(params(o), "adapted")));
    assert_true(json_is_null(json_object_get(params(o), "skipped")));
    assert_string_equal(text_of(params(o), "guard"), "ok");
    assert_int_equal(number_of(params(o), "credit"), 64);
    assert_true(number_of(params(o), "adapt_us") > 0);
    assert_true(number_of(params(o), "infer_us") > 0); // the forward pass that both need
    json_decref(o);
    o = ask(d.control, "{\"op\":\"status\"}");
    assert_string_equal(text_of(o, "state"), "serving");
    assert_int_equal(number_of(o, "streams"), 1);
    json_decref(o);
    o = ask(d.control, "{\"op\":\"streams\"}");
    assert_string_equal(text_of(json_array_get(json_object_get(o, "streams"), 0), "stream_id"),
                        "s");
    json_decref(o);
    expect_error(ask(d.data, "{\"op\":\"status\"}"), "BAD_HEADER", "on the control socket");
    expect_error(ask(d.control, "{\"op\":\"freeze\",\"parameters\":{\"stream_id\":\"x\"}}"),
                 "NO_STREAM", "stream 'x' is not known");
}

static void a_request_that_comes_twice_is_learnt_from_once(void **state)
{
    json_t *a = infer(d.data, "s", "same", 8, 0), *b = infer(d.data, "s", "same", 8, 0), *c;

    (void)state;
    assert_true(json_equal(a, b));
    c = infer(d.data, "s", "other", 8, 8);
    assert_int_equal(number_of(params(c), "step"), 1);
    json_decref(a);
    json_decref(b);
    json_decref(c);
}

static void labels_are_taken_for_what_was_answered(void **state)
{
    int64_t label[4] = {0, 1, 2, 3};
    const char *f = "{\"op\":\"feedback\",\"id\":\"1\",\"parameters\":{\"stream_id\":\"s\"},"
                    "\"inputs\":[{\"name\":\"label\",\"shape\":[4],\"datatype\":\"INT64\","
                    "\"parameters\":{\"binary_data_size\":32}}]}";
    json_t *a = infer(d.data, "s", "1", 4, 0), *o;

    (void)state;
    send_header(d.data, f, label, sizeof label);
    o = receive(d.data, WAIT_MS, NULL, 0);
    assert_string_equal(text_of(o, "op"), "feedback");
    assert_string_equal(text_of(params(o), "version"), text_of(params(a), "version"));
    assert_int_equal(number_of(params(o), "n"), 4);
    json_decref(o);
    json_decref(a);
    send_header(d.data, f, label, sizeof label);
    expect_error(receive(d.data, WAIT_MS, NULL, 0), "BAD_HEADER", "has been labelled before");
}

/* Tensors that a model cannot take, each with what it wants. */
static void what_the_model_cannot_take_is_said_with_what_it_wants(void **state)
{
    static const struct {
        const char *input;
        int bytes;
        const char *code, *part;
    } cases[] = {
        {"\"name\":\"image\",\"shape\":[2,28,28],\"datatype\":\"FP32\"", 6272, "BAD_SHAPE",
         "input 'image': shape [2, 28, 28] has 3 dimensions, the model wants 4 [-1, 1, 28, 28]"},
        {"\"name\":\"image\",\"shape\":[1,1,28,14],\"datatype\":\"FP32\"", 1568, "BAD_SHAPE",
         "input 'image': shape [1, 1, 28, 14], the model wants [-1, 1, 28, 28]"},
        {"\"name\":\"image\",\"shape\":[1,28,28,1],\"datatype\":\"UINT8\"", 784, "BAD_SHAPE",
         "images of shape [1, 28, 28, 1] (nchw)"},
        {"\"name\":\"x\",\"shape\":[1,1,28,28],\"datatype\":\"UINT8\"", 784, "BAD_TENSOR",
         "input 'x' is not known, model 'fashion' takes 'image'"},
        {"\"name\":\"image\",\"shape\":[300,1,1,1],\"datatype\":\"UINT8\"", 300, "TOO_LARGE",
         "a batch of 300, the limit is 256"},
    };
    static const unsigned char zero[8000];
    char header[512];
    json_t *o;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(header, sizeof header,
                 "{\"op\":\"infer\",\"parameters\":{\"stream_id\":\"s\"},\"inputs\":[{%s,"
                 "\"parameters\":{\"binary_data_size\":%d}}]}",
                 cases[i].input, cases[i].bytes);
        send_header(d.data, header, zero, (size_t)cases[i].bytes);
        expect_error(receive(d.data, WAIT_MS, NULL, 0), cases[i].code, cases[i].part);
    }
    expect_error(ask(d.data, "{\"op\":\"stream\",\"action\":\"open\",\"model_name\":\"m\","
                             "\"parameters\":{\"stream_id\":\"t\"}}"),
                 "NO_MODEL", "model 'm' is not served; 'fashion' is");
    expect_error(ask(d.data, "{\"op\":\"stream\",\"action\":\"open\","
                             "\"parameters\":{\"stream_id\":\"t\",\"policy\":\"sar\"}}"),
                 "BAD_HEADER", "policy 'sar' is not configured; 'tent' is");
    o = infer(d.data, "s", "1", 4, 0);
    assert_int_equal(number_of(params(o), "step"), 0); // none of it was learnt from
    json_decref(o);
}

static json_t *infer_floats(const char *stream, const float *x, const char *more, float *logits)
{
    char header[512];

    snprintf(header, sizeof header,
             "{\"op\":\"infer\",\"parameters\":{\"stream_id\":\"%s\"},\"inputs\":[{\"name\":"
             "\"image\",\"shape\":[4,1,28,28],\"datatype\":\"FP32\",\"parameters\":{"
             "\"binary_data_size\":%d%s}}]}",
             stream, 4 * IMAGE * 4, more);
    send_header(d.data, header, x, (size_t)4 * IMAGE * sizeof *x);
    return receive(d.data, WAIT_MS, logits, 40);
}

static void images_and_floats_are_the_same_to_the_model(void **state)
{
    static float x[4 * IMAGE];
    float a[40], b[40], c[40];

    (void)state;
    send_infer(d.data, "a", "1", 4, 0);
    json_decref(receive(d.data, WAIT_MS, a, 40));
    for (int i = 0; i < 4 * IMAGE; i++)
        x[i] = (float)images[i] / 255.0f;
    json_decref(infer_floats("b", x, "", b));
    for (int i = 0; i < 4 * IMAGE; i++)
        x[i] = (float)images[i] * 2 + 3;
    json_decref(infer_floats("c", x, ",\"scale\":0.5,\"mean\":[1.5],\"std\":[255]", c));
    for (int i = 0; i < 40; i++) {
        assert_close(b[i], a[i], 1e-4, 1e-4);
        assert_close(c[i], a[i], 1e-4, 1e-4);
    }
}

static void nan_is_answered_and_never_learnt_from(void **state)
{
    static float x[4 * IMAGE];
    float logits[40];
    json_t *o;

    (void)state;
    json_decref(infer(d.data, "s", "1", 4, 0));
    memset(&x[9], 0xff, sizeof x[9]);
    o = infer_floats("s", x, "", logits);
    assert_string_equal(text_of(params(o), "skipped"), "not_finite");
    assert_true(json_is_false(json_object_get(params(o), "adapted")));
    assert_true(logits[0] != logits[0]);
    assert_int_equal(number_of(params(o), "step"), 1);
    json_decref(o);
    o = infer(d.data, "s", "2", 4, 0);
    assert_int_equal(number_of(params(o), "step"), 1);
    assert_string_equal(text_of(params(o), "guard"), "ok");
    json_decref(o);
}

/* Whatever frames come, one error goes back, and the next request is answered. */
static void bad_frames_get_one_error_and_the_daemon_lives(void **state)
{
    char *big = calloc(1, 300000);

    (void)state;
    assert_true(zmq_send(d.data, "GET / HTTP/1.1", 14, 0) >= 0);
    expect_error(receive(d.data, WAIT_MS, NULL, 0), "BAD_HEADER", "frame 0 is 'GET / HTTP/1.1'");
    assert_true(zmq_send(d.data, "", 0, 0) >= 0);
    expect_error(receive(d.data, WAIT_MS, NULL, 0), "BAD_HEADER", "frame 0 is ''");
    assert_true(zmq_send(d.data, "TTAD/1", 6, 0) >= 0);
    expect_error(receive(d.data, WAIT_MS, NULL, 0), "BAD_HEADER", "no frame 1");
    expect_error(ask(d.data, "{\"op\":"), "BAD_HEADER", "header: byte 6");
    for (int i = 0; i < 40; i++) // more frames than any message has
        assert_true(zmq_send(d.data, "TTAD/1", 6, i < 39 ? ZMQ_SNDMORE : 0) >= 0);
    expect_error(receive(d.data, WAIT_MS, NULL, 0), "TOO_LARGE", "message has 40 frames");
    assert_true(zmq_send(d.data, "TTAD/1", 6, ZMQ_SNDMORE) >= 0);
    memset(big, '[', 300000);
    assert_true(zmq_send(d.data, big, 300000, 0) >= 0);
    expect_error(receive(d.data, WAIT_MS, NULL, 0), "TOO_LARGE", "header is 300000 bytes");
    free(big);
    assert_null(receive(d.data, 50, NULL, 0));
    json_decref(infer(d.data, "s", "1", 4, 0));
}

/* Each bound of the queues, flooded: what was taken is answered, the rest is BUSY and says why. */
static void a_flood_is_busy_and_what_was_taken_is_answered(void **state)
{
    static const struct {
        const char *limits, *why;
        int least; // that are answered
    } cases[] = {
        {"{credit: 6, queue_per_stream: 64, queue_total: 64}", "its credit is 6", 6},
        {"{credit: 64, queue_per_stream: 4, queue_total: 64}", "for stream 'a', the limit is 4", 4},
        {"{credit: 64, queue_per_stream: 8, queue_total: 8}", "what is left is for others", 4},
        {"{credit: 64, queue_per_stream: 64, queue_total: 64, queue_bytes: 210000, "
         "max_message_bytes: 100000}",
         "bytes), what is left is for others", 2},
    };

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int answered = 0, busy = 0, adapted = 0;

        clean(&d);
        make(&d, cases[c].limits);
        must_start(&d);
        for (int i = 0; i < 24; i++) {
            char id[8];

            snprintf(id, sizeof id, "%d", i);
            send_infer(d.data, "a", id, 64, 0);
        }
        for (int i = 0; i < 24; i++) {
            json_t *o = receive(d.data, WAIT_MS, NULL, 0);

            assert_non_null(o);
            if (!strcmp(text_of(o, "op"), "error")) {
                assert_string_equal(text_of(o, "code"), "BUSY");
                assert_contains(text_of(o, "error"), cases[c].why);
                assert_true(number_of(o, "retry_after_ms") > 0);
                busy++;
            } else {
                adapted += json_is_true(json_object_get(params(o), "adapted"));
                answered++;
            }
            json_decref(o);
        }
        assert_in_range(answered, cases[c].least, 23);
        assert_in_range(busy, 1, 24 - cases[c].least);
        assert_int_equal(adapted, answered);
        json_decref(infer(d.data, "a", "later", 4, 0)); // there is room again
    }
}

static void control_answers_while_workers_are_busy(void **state)
{
    int frozen = 0;
    json_t *o;

    (void)state;
    for (int i = 0; i < 6; i++) {
        char id[8];

        snprintf(id, sizeof id, "%d", i);
        send_infer(d.data, "s", id, 256, 0);
    }
    nap(20); // they are being worked on
    o = ask(d.control, "{\"op\":\"status\"}");
    assert_true(number_of(o, "queued") > 1);
    json_decref(o);
    json_decref(ask(d.control, "{\"op\":\"freeze\",\"parameters\":{\"stream_id\":\"s\"}}"));
    for (int i = 0; i < 6; i++) {
        o = receive(d.data, WAIT_MS, NULL, 0);
        frozen += !strcmp(text_of(params(o), "skipped"), "frozen");
        json_decref(o);
    }
    assert_in_range(frozen, 1, 6); // a person's order does not wait behind the queue
}

static void decisions_are_published_in_order(void **state)
{
    static const char *const kinds[] = {"client", "state", "freeze", "state", "thaw"};
    void *s = d.events = zmq_socket(d.zmq, ZMQ_SUB);
    char endpoint[128];
    uint64_t last = 0;
    int seen = 0;

    (void)state;
    snprintf(endpoint, sizeof endpoint, "ipc://%s/events.sock", d.dir);
    zmq_setsockopt(s, ZMQ_SUBSCRIBE, "state", 5);
    zmq_setsockopt(s, ZMQ_SUBSCRIBE, "decision", 8);
    zmq_setsockopt(s, ZMQ_SUBSCRIBE, "daemon", 6);
    assert_int_equal(zmq_connect(s, endpoint), 0);
    nap(300); // until the subscriptions have arrived
    json_decref(infer(d.data, "cam-7", "0", 4, 0));
    json_decref(ask(d.control, "{\"op\":\"freeze\",\"parameters\":{\"stream_id\":\"cam-7\"}}"));
    json_decref(ask(d.control, "{\"op\":\"thaw\",\"parameters\":{\"stream_id\":\"cam-7\"}}"));
    while (seen < 5) {
        zmq_pollitem_t item = {.socket = s, .events = ZMQ_POLLIN};
        unsigned char topic[32], seq[8];
        uint64_t n = 0;
        char text[4096];
        json_t *o;
        int len;

        assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
        assert_true(zmq_recv(s, topic, sizeof topic, 0) > 0);
        assert_int_equal(zmq_recv(s, seq, sizeof seq, 0), 8);
        len = zmq_recv(s, text, sizeof text, 0);
        assert_in_range(len, 2, sizeof text);
        for (int i = 0; i < 8; i++)
            n = n << 8 | seq[i];
        assert_true(n > last);
        last = n;
        o = json_loadb(text, (size_t)len, 0, NULL);
        assert_non_null(o);
        if (!strcmp(text_of(o, "stream"), "cam-7")) {
            if (seen == 1 && !strcmp(text_of(o, "kind"), "state") &&
                strstr(text_of(o, "text"), "-> adapting")) {
                json_decref(o); // the stream may leave warming first
                continue;
            }
            assert_string_equal(text_of(o, "kind"), kinds[seen++]);
        }
        json_decref(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_are_answered_on_their_sockets, up, down),
        cmocka_unit_test_setup_teardown(a_request_that_comes_twice_is_learnt_from_once, up, down),
        cmocka_unit_test_setup_teardown(labels_are_taken_for_what_was_answered, up, down),
        cmocka_unit_test_setup_teardown(what_the_model_cannot_take_is_said_with_what_it_wants, up,
                                        down),
        cmocka_unit_test_setup_teardown(images_and_floats_are_the_same_to_the_model, up, down),
        cmocka_unit_test_setup_teardown(nan_is_answered_and_never_learnt_from, up, down),
        cmocka_unit_test_setup_teardown(bad_frames_get_one_error_and_the_daemon_lives, up, down),
        cmocka_unit_test_setup_teardown(a_flood_is_busy_and_what_was_taken_is_answered, up, down),
        cmocka_unit_test_setup_teardown(control_answers_while_workers_are_busy, up, down),
        cmocka_unit_test_setup_teardown(decisions_are_published_in_order, up, down),
    };
    struct tt_npy npy;
    struct tt_err err;
    size_t n;
    char *bytes = read_file("models/fashion_test_images.npy", &n);
    int failed;

    if (tt_npy_read(bytes, n, &npy, &err) != TT_OK)
        return 1;
    images = npy.data;
    failed = cmocka_run_group_tests_name("serve", tests, NULL, NULL);
    free(bytes);
    return failed;
}
