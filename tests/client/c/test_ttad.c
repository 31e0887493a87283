// SPDX-License-Identifier: Apache-2.0
#include "client/c/ttad.h"

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/check.h"
#include "tests/support/fake_daemon.h"

#define GOLDEN "tests/golden/wire/"
#define LONG   5000 // ms: that nothing here takes

static struct fake f;
static struct ttad *c;

static int open_with(int64_t try_ms, unsigned flags)
{
    struct ttad_options o = TTAD_OPTIONS_INIT;

    fake_start(&f);
    o.data = o.control = f.data;
    o.events = f.events;
    o.name = "tester";
    o.timeout_ms = LONG;
    o.try_ms = try_ms;
    o.flags = flags;
    assert_int_equal(ttad_connect(&o, &c), TTAD_OK);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return open_with(0, 0);
}

static int setup_hasty(void **state)
{
    (void)state;
    return open_with(30, 0);
}

static int setup_once(void **state)
{
    (void)state;
    return open_with(0, TTAD_NO_RETRY);
}

static int teardown(void **state)
{
    (void)state;
    ttad_close(c);
    fake_stop(&f);
    return 0;
}

static const int64_t shape[] = {2, 3};
static const float image[6] = {1, 2, 3, 4, 5, 6};
static const struct ttad_tensor tensor = {
    .datatype = TTAD_FP32, .ndim = 2, .shape = shape, .data = image};

static struct ttad_request batch(const char *id)
{
    struct ttad_request q = TTAD_REQUEST_INIT;

    q.stream = "cam-7";
    q.inputs = &tensor;
    q.ninputs = 1;
    q.id = id;
    return q;
}

static void submit(const char *id)
{
    struct ttad_request q = batch(id);

    assert_int_equal(ttad_submit(c, &q, NULL), TTAD_OK);
}

/* Let the client send what is due, and receive nothing. */
static void turn(void)
{
    struct ttad_reply *reply;

    assert_int_equal(ttad_next(c, 0, &reply), TTAD_NOTHING);
    assert_null(reply);
}

/* The server's next request, with the client sending meanwhile. */
static const char *take(int ms)
{
    const char *id = NULL;

    for (; !id && ms > 0; ms -= 5) {
        struct ttad_reply *reply;

        assert_int_equal(ttad_next(c, 1, &reply), TTAD_NOTHING);
        id = fake_take(&f, 4);
    }
    return id;
}

static struct ttad_reply *next(void)
{
    struct ttad_reply *reply;

    assert_int_equal(ttad_next(c, LONG, &reply), TTAD_OK);
    return reply;
}

static void expect(const char *id, enum ttad_code code)
{
    struct ttad_reply *reply = next();

    assert_string_equal(reply->id, id);
    assert_string_equal(ttad_code_name(reply->code), ttad_code_name(code));
    assert_int_equal(*reply->error != '\0', code != TTAD_OK);
    ttad_reply_free(reply);
}

/* Calls that wait run in a thread of their own, while this one is the server.  The handle is that
 * thread's until it has ended. */
static pthread_t caller;
static char *said;

static void *do_rollback(void *ret)
{
    *(enum ttad_code *)ret = ttad_rollback(c, "cam-7", NULL, NULL, NULL);
    return ret;
}

static void *do_reset(void *ret)
{
    *(enum ttad_code *)ret = ttad_stream(c, "cam-7", "reset", NULL, NULL);
    return ret;
}

static void *do_load(void *ret)
{
    *(enum ttad_code *)ret = ttad_load(c, "m", "m.onnx", 1, NULL);
    return ret;
}

static void *do_unload(void *ret)
{
    *(enum ttad_code *)ret = ttad_unload(c, "m", NULL);
    return ret;
}

static void *do_drain(void *ret)
{
    *(enum ttad_code *)ret = ttad_drain(c, NULL);
    return ret;
}

static void *do_freeze(void *ret)
{
    *(enum ttad_code *)ret = ttad_freeze(c, "cam-7", NULL, NULL);
    return ret;
}

static void *do_cancel(void *ret)
{
    *(enum ttad_code *)ret = ttad_cancel(c, "j", "cam-7", NULL);
    return ret;
}

static void *do_feedback(void *ret)
{
    const int64_t labels[] = {3, 9};

    *(enum ttad_code *)ret = ttad_feedback(c, "a", "cam-7", labels, 2, &said);
    return ret;
}

static void start_call(void *(*run)(void *))
{
    static enum ttad_code code;

    assert_int_equal(pthread_create(&caller, NULL, run, &code), 0);
}

static enum ttad_code end_call(void)
{
    void *code;

    assert_int_equal(pthread_join(caller, &code), 0);
    return *(enum ttad_code *)code;
}

/* ---- messages ----------------------------------------------------------------------------- */

static void send_golden(const char *name)
{
    char path[128];
    const void *data[] = {"TTAD/1", NULL, NULL};
    long size[3] = {-1};
    size_t n;
    char *json, *bin = NULL;

    (void)snprintf(path, sizeof path, GOLDEN "%s.json", name);
    json = read_file(path, &n);
    data[1] = json;
    size[1] = (long)n;
    if (!strstr(json, "\"error\"")) {
        (void)snprintf(path, sizeof path, GOLDEN "%s.bin", name);
        bin = read_file(path, &n);
        data[2] = bin;
        size[2] = (long)n;
    }
    fake_send(&f, bin ? 3 : 2, data, size);
    free(json);
    free(bin);
}

static void an_answer_has_every_member_of_the_reply(void **state)
{
    struct ttad_reply *r;

    (void)state;
    submit("42");
    assert_string_equal(take(LONG), "42");
    send_golden("reply_infer");
    r = next();
    assert_int_equal(r->code, TTAD_OK);
    assert_string_equal(r->id, "42");
    assert_string_equal(r->stream, "cam-7");
    assert_string_equal(r->version, "00112233aabbccdd");
    assert_string_equal(r->engine, "tent");
    assert_string_equal(r->guard, "ok");
    assert_string_equal(r->skipped, "");
    assert_string_equal(r->rolled_back_to, "");
    assert_string_equal(r->error, "");
    assert_int_equal(r->step, 8);
    assert_int_equal(r->adapted, 1);
    assert_int_equal(r->queue_us, 3);
    assert_int_equal(r->infer_us, 40);
    assert_int_equal(r->adapt_us, 50);
    assert_int_equal(r->credit, 7);
    assert_int_equal(r->tries, 1);
    assert_close(r->loss, 0.5, 0, 0);
    assert_close(r->entropy, 0.25, 0, 0);
    assert_int_equal(r->noutputs, 1);
    assert_string_equal(r->outputs[0].name, "logits");
    assert_int_equal(r->outputs[0].bytes, 24);
    assert_int_equal((uintptr_t)r->logits % 64, 0);
    assert_int_equal(r->rows, 2);
    assert_int_equal(r->classes, 3);
    for (int i = 0; i < 6; i++)
        assert_close(r->logits[i], i, 0, 0);
    assert_contains(r->json, "\"model_name\":\"m\"");
    ttad_reply_free(r);
}

static void what_the_daemon_does_not_compute_is_nan_or_empty(void **state)
{
    struct ttad_reply *r;

    (void)state;
    submit("42");
    assert_string_equal(take(LONG), "42");
    send_golden("reply_infer_skipped");
    r = next();
    assert_int_equal(r->adapted, 0);
    assert_string_equal(r->skipped, "not_finite");
    assert_string_equal(r->rolled_back_to, "8899aabbccddeeff");
    assert_true(r->loss != r->loss && r->entropy != r->entropy);
    ttad_reply_free(r);
}

static void check_sent(const char *name)
{
    char path[128];
    json_t *want;
    size_t n;
    char *bin;

    (void)snprintf(path, sizeof path, GOLDEN "%s.json", name);
    want = json_load_file(path, 0, NULL);
    assert_non_null(want);
    if (!json_equal(want, f.request))
        fail_msg("%s: sent %s", path, json_dumps(f.request, 0));
    json_decref(want);
    (void)snprintf(path, sizeof path, GOLDEN "%s.bin", name);
    bin = read_file(path, &n);
    assert_int_equal(f.nframes, 3);
    assert_int_equal(zmq_msg_size(&f.frames[2]), n);
    assert_memory_equal(zmq_msg_data(&f.frames[2]), bin, n);
    free(bin);
}

static void requests_are_those_that_the_daemon_is_tested_with(void **state)
{
    const int64_t size[] = {2, 1, 4, 4};
    const double mean = 1, std = 2;
    float x[32];
    uint8_t u[32];
    struct ttad_tensor t = {
        .name = "image", .datatype = TTAD_FP32, .ndim = 4, .shape = size, .data = x};
    struct ttad_request q = batch("42");

    (void)state;
    for (int i = 0; i < 32; i++) {
        x[i] = (float)i / 8 - 1;
        u[i] = (uint8_t)i;
    }
    q.inputs = &t;
    q.model = "m";
    q.deadline_ms = 50;
    assert_int_equal(ttad_submit(c, &q, NULL), TTAD_OK);
    assert_non_null(take(LONG));
    check_sent("infer_fp32");
    q.model = NULL;
    q.deadline_ms = 0;
    q.id = "47";
    t.datatype = TTAD_UINT8;
    t.data = u;
    t.scale = 0.5;
    t.mean = &mean;
    t.std = &std;
    t.nmean = t.nstd = 1;
    assert_int_equal(ttad_submit(c, &q, NULL), TTAD_OK);
    assert_non_null(take(LONG));
    check_sent("infer_uint8");
    t = (struct ttad_tensor){.name = "image", .ndim = 4, .shape = size, .data = x};
    t.datatype = TTAD_FP32;
    q.id = "48";
    q.policy = "tent";
    assert_int_equal(ttad_submit(c, &q, NULL), TTAD_OK);
    assert_non_null(take(LONG));
    check_sent("infer_policy");
}

static void ids_made_here_are_unique_between_handles(void **state)
{
    char one[TTAD_ID_SIZE], two[TTAD_ID_SIZE], other[TTAD_ID_SIZE];
    struct ttad_options o = TTAD_OPTIONS_INIT;
    struct ttad_request q = batch(NULL);
    struct ttad *d;

    (void)state;
    o.data = f.data;
    assert_int_equal(ttad_connect(&o, &d), TTAD_OK);
    assert_int_equal(ttad_submit(c, &q, one), TTAD_OK);
    assert_int_equal(ttad_submit(c, &q, two), TTAD_OK);
    assert_int_equal(ttad_submit(d, &q, other), TTAD_OK);
    assert_string_not_equal(one, two);
    assert_memory_equal(one, two, 16);
    assert_memory_not_equal(one, other, 16);
    ttad_close(d);
}

#define OUT(shape, type)                                                           \
    "{\"op\":\"infer\",\"id\":\"1\",\"outputs\":[{\"name\":\"y\",\"shape\":" shape \
    ",\"datatype\":" type "}]}"
#define SAYS(what)                                        \
    "{\"op\":\"infer\",\"id\":\"1\",\"parameters\":" what \
    ",\"outputs\":[{\"name\":\"y\",\"shape\":[1,2],\"datatype\":\"FP32\"}]}"

static void malformed_replies_are_errors_of_their_request_and_harm_nobody(void **state)
{
    static const struct {
        int nframes;
        const char *magic, *header;
        long tensor; // bytes
        const char *says;
    } bad[] = {
        {1, "TTAD/1", "", 0, "1 frames"},
        {2, "TTAD/9", "{}", 0, "first frame"},
        {2, "TTAD/1", "", 0, "not JSON"},
        {2, "TTAD/1", "not json", 0, "not JSON"},
        {2, "TTAD/1", "{\"id\":\"1\",\"id\":\"1\"}", 0, "duplicate"},
        {2, "TTAD/1", "{\"op\":\"infer\",\"id\":\"\xff\"}", 0, "unable to decode"},
        {2, "TTAD/1", "{\"id\":\"1\",\"x\":NaN}", 0, "not JSON"},
        {2, "TTAD/1", "[]", 0, "a list, wanted an object"},
        {2, "TTAD/1", "[[[[[[[[[[[[[[[[[[[[[[[[[", 0, "levels"},
        {2, "TTAD/1", "{\"op\":\"infer\",\"id\":\"1\"}", 0, "0 outputs"},
        {2, "TTAD/1", OUT("[1,2]", "\"FP32\""), 0, "1 outputs and 0 tensor"},
        {3, "TTAD/1", OUT("[1,2]", "\"FP32\""), 7, "7 bytes, its shape 8"},
        {3, "TTAD/1", OUT("[1,2]", "\"FP32\""), 9, "9 bytes, its shape 8"},
        {4, "TTAD/1", OUT("[1,2]", "\"FP32\""), 8, "1 outputs and 2 tensor"},
        {3, "TTAD/1", OUT("[1,2]", "\"FP64\""), 16, "datatype"},
        {3, "TTAD/1", OUT("[1,2]", "7"), 8, "datatype"},
        {3, "TTAD/1", OUT("[-1,-2]", "\"FP32\""), 8, "sizes"},
        {3, "TTAD/1", OUT("[1.0,2]", "\"FP32\""), 8, "sizes"},
        {3, "TTAD/1", OUT("[1,1,1,1,1,1,1,1,2]", "\"FP32\""), 8, "sizes"},
        {3, "TTAD/1", OUT("{}", "\"FP32\""), 8, "sizes"},
        {3, "TTAD/1", OUT("[4294967296,4294967296,4294967296]", "\"FP32\""), 0, "too many"},
        {3, "TTAD/1", OUT("[9223372036854775807,2]", "\"FP32\""), 8, "too many"},
        {3, "TTAD/1", SAYS("5"), 8, "'parameters' is a number"},
        {3, "TTAD/1", SAYS("{\"loss\":\"high\"}"), 8, "'loss' is a string"},
        {3, "TTAD/1", SAYS("{\"step\":true}"), 8, "'step' is true"},
        {3, "TTAD/1", SAYS("{\"step\":1.5}"), 8, "'step' is a number, wanted a whole"},
    };
    static const char zeros[32];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const void *data[] = {bad[i].magic, bad[i].header, zeros, zeros};
        const long size[] = {-1, -1, bad[i].tensor, 8};
        struct ttad_reply *reply;

        submit("1");
        assert_string_equal(take(LONG), "1");
        fake_send(&f, bad[i].nframes, data, size);
        reply = next();
        if (reply->code != TTAD_BAD_REPLY || !strstr(reply->error, bad[i].says))
            fail_msg("%zu: %s: %s", i, ttad_code_name(reply->code), reply->error);
        assert_null(reply->logits);
        ttad_reply_free(reply);
    }
    submit("1");
    assert_string_equal(take(LONG), "1");
    fake_answer(&f, "1", 7, -1);
    expect("1", TTAD_OK);
}

static void every_cut_and_every_changed_byte_of_a_reply_is_survived(void **state)
{
    const void *data[] = {"TTAD/1", NULL, "012345678901234567890123"};
    long size[] = {-1, 0, 24};
    size_t n, good = 0;
    bool asked = false;
    char *json = read_file(GOLDEN "reply_infer.json", &n);
    char *copy = (char *)malloc(n);

    (void)state;
    assert_non_null(copy);
    for (size_t i = 0; i < 2 * n; i++) {
        struct ttad_reply *reply;

        if (!asked) {
            submit("42");
            assert_string_equal(take(LONG), "42");
        }
        memcpy(copy, json, n);
        if (i >= n)
            copy[i - n] = (char)(copy[i - n] ^ (1 << i % 7));
        data[1] = copy;
        size[1] = (long)(i < n ? i : n);
        fake_send(&f, 3, data, size);
        asked = ttad_next(c, 20, &reply) == TTAD_NOTHING; // then it named another id
        if (asked)
            continue;
        assert_true(reply->code == TTAD_OK || reply->code == TTAD_BAD_REPLY);
        good += reply->code == TTAD_OK;
        ttad_reply_free(reply);
    }
    assert_true(good > 0 && good < n); // a changed digit is another number
    free(copy);
    free(json);
}

static void a_reply_without_values_has_them_of_no_length(void **state)
{
    const void *data[] = {"TTAD/1", OUT("[0,3]", "\"FP32\""), ""};
    const long size[] = {-1, -1, 0};
    struct ttad_reply *r;

    (void)state;
    submit("1");
    assert_non_null(take(LONG));
    fake_send(&f, 3, data, size);
    r = next();
    assert_int_equal(r->code, TTAD_OK);
    assert_int_equal(r->rows, 0);
    assert_int_equal(r->classes, 0);
    ttad_reply_free(r);
}

/* ---- whose reply it is ----------------------------------------------------------------- */

static void replies_out_of_order_reach_who_asked(void **state)
{
    static const char *const ids[] = {"a", "b", "c"};
    struct ttad_reply *r;

    (void)state;
    for (int i = 0; i < 3; i++) {
        submit(ids[i]);
        assert_string_equal(take(LONG), ids[i]);
    }
    assert_int_equal(ttad_pending(c), 3);
    for (int i = 2; i >= 0; i--)
        fake_answer(&f, ids[i], (float)i, -1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ttad_result(c, ids[i], &r), TTAD_OK);
        assert_close(r->logits[0], i, 0, 0);
        ttad_reply_free(r);
    }
    assert_int_equal(ttad_pending(c), 0);
    assert_int_equal(ttad_result(c, "a", &r), TTAD_BAD_ARGUMENT);
    assert_null(r);
}

static void a_second_reply_is_dropped(void **state)
{
    struct ttad_reply *r;

    (void)state;
    submit("a");
    assert_non_null(take(LONG));
    fake_answer(&f, "a", 1, -1);
    fake_answer(&f, "a", 2, -1);
    r = next();
    assert_close(r->logits[0], 1, 0, 0);
    ttad_reply_free(r);
    submit("b");
    assert_non_null(take(LONG));
    fake_answer(&f, "a", 3, -1);
    fake_answer(&f, "b", 4, -1);
    r = next();
    assert_string_equal(r->id, "b");
    assert_close(r->logits[0], 4, 0, 0);
    ttad_reply_free(r);
    turn();
}

static void an_error_without_an_id_goes_to_the_oldest_request(void **state)
{
    (void)state;
    submit("a");
    submit("b");
    assert_non_null(take(LONG));
    fake_send_json(&f, "{\"op\":\"error\",\"id\":\"\",\"error\":\"no\",\"code\":\"BAD_HEADER\"}");
    expect("a", TTAD_BAD_HEADER);
    assert_int_equal(ttad_pending(c), 1);
}

static void every_code_is_its_own_and_a_new_one_is_named(void **state)
{
    static const char *const codes[] = {"BAD_HEADER", "BAD_TENSOR",  "BAD_SHAPE",    "TOO_LARGE",
                                        "NO_MODEL",   "NO_STREAM",   "BUSY",         "DEADLINE",
                                        "DRAINING",   "WRONG_SHARD", "UNAUTHORIZED", "NOT_FINITE",
                                        "INTERNAL",   "CANCELLED"};
    struct ttad_reply *r;

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        submit("1");
        assert_non_null(take(LONG));
        fake_refuse(&f, codes[i], 40);
        r = next();
        assert_string_equal(ttad_code_name(r->code), codes[i]);
        assert_contains(r->error, "because of");
        assert_int_equal(r->retry_after_ms, 40);
        ttad_reply_free(r);
    }
    submit("1");
    assert_non_null(take(LONG));
    fake_refuse(&f, "NEW\\u0007ONE", 0);
    r = next();
    assert_int_equal(r->code, TTAD_REFUSED);
    assert_string_equal(r->error, "NEW?ONE: because of NEW?ONE");
    ttad_reply_free(r);
    assert_string_equal(ttad_code_name((enum ttad_code)99), "UNKNOWN");
}

/* ---- again ----------------------------------------------------------------------------- */

static void busy_and_draining_are_sent_again_under_the_same_id(void **state)
{
    static const char *const codes[] = {"BUSY", "DRAINING", "BUSY"};
    struct ttad_reply *r;

    (void)state;
    submit("a");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(take(LONG), "a");
        assert_int_equal(zmq_msg_size(&f.frames[2]), sizeof image);
        assert_memory_equal(zmq_msg_data(&f.frames[2]), image, sizeof image);
        fake_refuse(&f, codes[i], 1);
    }
    assert_string_equal(take(LONG), "a");
    fake_answer(&f, "a", 1, -1);
    r = next();
    assert_int_equal(r->code, TTAD_OK);
    assert_int_equal(r->tries, 4);
    assert_string_equal(r->error, "");
    ttad_reply_free(r);
}

static void the_daemons_time_is_waited_for(void **state)
{
    (void)state;
    submit("a");
    assert_non_null(take(LONG));
    fake_refuse(&f, "BUSY", 300);
    assert_null(take(200));
    assert_non_null(take(LONG));
}

static void busy_until_the_timeout_is_busy(void **state)
{
    struct ttad_request q = batch("a");
    struct ttad_reply *r;

    (void)state;
    q.timeout_ms = 200;
    assert_int_equal(ttad_submit(c, &q, NULL), TTAD_OK);
    assert_non_null(take(LONG));
    fake_refuse(&f, "BUSY", 50);
    assert_non_null(take(LONG));
    fake_refuse(&f, "BUSY", 5000);
    assert_int_equal(ttad_result(c, "a", &r), TTAD_BUSY);
    assert_null(r);
    assert_int_equal(ttad_retry_after_ms(c), 5000);
    assert_string_equal(ttad_error(c), "because of BUSY");
}

static void silence_is_sent_again_and_then_a_timeout(void **state)
{
    struct ttad_request q = batch("a");
    struct ttad_reply *r;
    int n = 0;

    (void)state;
    q.timeout_ms = 400;
    assert_int_equal(ttad_submit(c, &q, NULL), TTAD_OK);
    while (n < 3 && take(400))
        n++;
    assert_int_equal(n, 3); // after 30, 60, 120 ms
    r = next();
    assert_int_equal(r->code, TTAD_TIMEOUT);
    assert_true(r->tries >= 3);
    assert_contains(r->error, "no reply from ipc://");
    ttad_reply_free(r);
    submit("b"); // a late reply harms nobody
    fake_answer(&f, "a", 1, -1);
    while (strcmp(take(LONG), "b") != 0)
        ;
    fake_answer(&f, "b", 2, -1);
    expect("b", TTAD_OK);
}

static void nothing_is_sent_twice_if_that_is_wanted(void **state)
{
    struct ttad_reply *r;

    (void)state;
    submit("a");
    assert_non_null(take(LONG));
    fake_refuse(&f, "BUSY", 1);
    expect("a", TTAD_BUSY);
    submit("b");
    assert_non_null(take(LONG));
    fake_die(&f);
    r = next();
    assert_int_equal(r->code, TTAD_DISCONNECTED);
    assert_contains(r->error, "it may have been carried out");
    ttad_reply_free(r);
}

static void what_a_dying_daemon_had_is_sent_to_the_next_one(void **state)
{
    (void)state;
    submit("a");
    submit("b");
    assert_string_equal(take(LONG), "a");
    fake_answer(&f, "a", 1, -1);
    expect("a", TTAD_OK);
    fake_die(&f);
    turn();
    submit("c");
    fake_live(&f);
    assert_string_equal(take(LONG), "b");
    fake_answer(&f, "b", 2, -1);
    expect("b", TTAD_OK);
    assert_string_equal(take(LONG), "c");
    fake_answer(&f, "c", 3, -1);
    expect("c", TTAD_OK);
}

static void a_daemon_that_is_not_there_is_told(void **state)
{
    struct ttad_request q = batch("a");
    struct ttad_reply *r;

    (void)state;
    fake_die(&f);
    q.timeout_ms = 100;
    assert_int_equal(ttad_infer(c, &q, &r), TTAD_DISCONNECTED);
    assert_null(r);
    assert_contains(ttad_error(c), "nothing takes requests at ipc://");
    assert_int_equal(ttad_errno(c), TTAD_DISCONNECTED);
}

static void no_more_is_on_the_wire_than_there_is_credit_for(void **state)
{
    int n = 0;

    (void)state;
    for (int i = 0; i < 30; i++) {
        struct ttad_request q = batch(NULL);

        assert_int_equal(ttad_submit(c, &q, NULL), TTAD_OK);
    }
    while (take(100)) // until the daemon tells, what its default is
        n++;
    assert_int_equal(n, 8);
}

static void the_credit_follows_what_the_daemon_tells(void **state)
{
    struct ttad_reply *r;
    char id[TTAD_ID_SIZE];
    int n = 0;

    (void)state;
    submit("first");
    assert_non_null(take(LONG));
    fake_answer(&f, "first", 0, 3); // three more: its limit is 3
    expect("first", TTAD_OK);
    for (int i = 0; i < 10; i++)
        submit((char[]){(char)('a' + i), '\0'});
    for (const char *got; (got = take(100)); n++)
        (void)snprintf(id, sizeof id, "%s", got);
    assert_int_equal(n, 3);
    fake_answer(&f, id, 0, 1);
    assert_int_equal(ttad_result(c, id, &r), TTAD_OK);
    ttad_reply_free(r);
    assert_string_equal(take(LONG), "d");
    fake_refuse(&f, "BUSY", 1); // it is less now
    for (n = 0; take(50); n++)
        ;
    assert_int_equal(n, 0);
}

static void a_request_that_waits_here_is_cancelled_here(void **state)
{
    struct ttad_reply *r;
    char *json;

    (void)state;
    for (int i = 0; i < 10; i++)
        submit((char[]){(char)('a' + i), '\0'});
    while (take(50))
        ;
    assert_int_equal(ttad_cancel(c, "j", "", &json), TTAD_BAD_ARGUMENT);
    assert_null(json);
    start_call(do_cancel);
    assert_non_null(fake_take(&f, LONG));
    assert_string_equal(fake_parameter(&f, "request_id"), "j");
    fake_send_json_to(&f, "{\"op\":\"cancel\",\"id\":\"%s\"}");
    assert_int_equal(end_call(), TTAD_OK);
    assert_int_equal(ttad_result(c, "j", &r), TTAD_CANCELLED);
    assert_null(r);
}

/* ---- what is not safe to do twice ------------------------------------------------------- */

static void what_may_have_been_done_is_not_sent_again(void **state)
{
    static void *(*const calls[])(void *) = {do_rollback, do_reset, do_load, do_unload, do_drain};

    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        start_call(calls[i]);
        assert_non_null(fake_take(&f, LONG));
        if (calls[i] == do_load || calls[i] == do_unload)
            assert_string_equal(json_string_value(json_object_get(f.request, "model_name")), "m");
        assert_null(fake_take(&f, 100)); // three tries long
        fake_die(&f);
        assert_int_equal(end_call(), TTAD_DISCONNECTED);
        assert_contains(ttad_error(c), "it may have been carried out");
        fake_live(&f);
        turn();
        assert_null(fake_take(&f, 20));
    }
}

static void what_was_refused_or_never_sent_is_sent_again(void **state)
{
    (void)state;
    start_call(do_rollback);
    for (int i = 0; i < 3; i++) {
        assert_non_null(fake_take(&f, LONG));
        fake_refuse(&f, i ? "DRAINING" : "BUSY", 1);
    }
    assert_non_null(fake_take(&f, LONG));
    assert_string_equal(fake_parameter(&f, "actor"), "tester");
    fake_send_json_to(&f, "{\"op\":\"rollback\",\"id\":\"%s\"}");
    assert_int_equal(end_call(), TTAD_OK);
    fake_die(&f);
    start_call(do_rollback);
    (void)poll(NULL, 0, 50);
    fake_live(&f);
    assert_non_null(fake_take(&f, LONG));
    fake_send_json_to(&f, "{\"op\":\"rollback\",\"id\":\"%s\"}");
    assert_int_equal(end_call(), TTAD_OK);
}

static void what_leaves_the_same_state_is_sent_again(void **state)
{
    char id[TTAD_ID_SIZE];

    (void)state;
    start_call(do_freeze);
    (void)snprintf(id, sizeof id, "%s", fake_take(&f, LONG));
    assert_string_equal(fake_take(&f, LONG), id);
    fake_die(&f);
    fake_live(&f);
    assert_string_equal(fake_take(&f, LONG), id);
    fake_send_json_to(&f, "{\"op\":\"freeze\",\"id\":\"%s\"}");
    assert_int_equal(end_call(), TTAD_OK);
}

static void a_second_answer_is_not_taken_for_the_reply_to_its_labels(void **state)
{
    (void)state;
    submit("a");
    assert_non_null(take(LONG));
    fake_answer(&f, "a", 1, -1);
    expect("a", TTAD_OK);
    start_call(do_feedback);
    assert_string_equal(fake_take(&f, LONG), "a");
    assert_int_equal(zmq_msg_size(&f.frames[2]), 16);
    fake_answer(&f, "a", 1, -1);
    fake_send_json_to(&f, "{\"op\":\"feedback\",\"id\":\"%s\",\"parameters\":{\"n\":2}}");
    assert_int_equal(end_call(), TTAD_OK);
    assert_contains(said, "\"n\":2");
    ttad_free(said);
}

/* ---- the descriptor -------------------------------------------------------------------- */

static int readable(int ms)
{
    struct pollfd p = {.fd = ttad_fd(c), .events = POLLIN};

    assert_true(p.fd >= 0);
    return poll(&p, 1, ms);
}

/* Everything done that the descriptor tells of now. */
static void quiet(void)
{
    struct ttad_event *e;

    while (readable(20)) {
        turn();
        if (ttad_event(c, 0, &e) == TTAD_OK)
            fail_msg("an event came");
    }
}

static void the_descriptor_tells_of_replies_until_they_are_taken(void **state)
{
    (void)state;
    submit("a");
    submit("b");
    quiet(); // connected and sent
    assert_string_equal(fake_take(&f, LONG), "a");
    assert_string_equal(fake_take(&f, LONG), "b");
    fake_answer(&f, "a", 1, -1);
    fake_answer(&f, "b", 1, -1);
    (void)poll(NULL, 0, 50); // both are there
    assert_int_equal(readable(LONG), 1);
    expect("a", TTAD_OK);
    assert_int_equal(readable(0), 1);
    expect("b", TTAD_OK);
    turn();
    assert_int_equal(readable(20), 0);
}

static void the_descriptor_tells_when_to_send_again_and_when_time_is_up(void **state)
{
    struct ttad_request q = batch("a");
    struct ttad_reply *r;
    int n = 0;

    (void)state;
    (void)ttad_fd(c);
    q.timeout_ms = 150;
    assert_int_equal(ttad_submit(c, &q, NULL), TTAD_OK);
    for (;;) { // no time but the descriptor's
        assert_int_equal(readable(LONG), 1);
        n += fake_take(&f, 0) != NULL;
        if (ttad_next(c, 0, &r) == TTAD_OK)
            break;
    }
    assert_int_equal(r->code, TTAD_TIMEOUT);
    assert_true(n >= 2 && r->tries >= 2);
    ttad_reply_free(r);
    assert_int_equal(readable(20), 0);
}

static void the_descriptor_carries_requests_over_a_restart(void **state)
{
    struct ttad_reply *r = NULL;

    (void)state;
    (void)ttad_fd(c);
    submit("a");
    while (!fake_take(&f, 1))
        if (readable(0))
            turn();
    fake_die(&f);
    fake_live(&f);
    while (!r) { // no call but those that the descriptor asks for
        if (readable(1) && ttad_next(c, 0, &r) == TTAD_OK)
            break;
        if (fake_take(&f, 1))
            fake_answer(&f, "a", 1, -1);
    }
    assert_int_equal(r->code, TTAD_OK);
    assert_int_equal(r->tries, 2);
    ttad_reply_free(r);
}

/* ---- arguments -------------------------------------------------------------------------- */

static void bad_arguments_are_refused_before_anything_is_sent(void **state)
{
    static const int64_t none[] = {0, 3}, large[] = {INT64_MAX, 3};
    const struct ttad_tensor good = tensor;
    const char *const outputs[] = {"\xff"};
    char long_id[80];
    struct ttad_request all[16];
    struct ttad_tensor t[16];
    struct ttad_reply *r;
    int n = 0;

    (void)state;
    memset(long_id, 'x', sizeof long_id - 1);
    long_id[79] = '\0';
    for (int i = 0; i < 16; i++) {
        t[i] = good;
        all[i] = batch("1");
        all[i].inputs = &t[i];
    }
    all[n++].size = 8;
    all[n++].stream = NULL;
    all[n++].stream = "\xff";
    all[n++].id = "";
    all[n++].id = long_id;
    all[n++].ninputs = 0;
    all[n++].ninputs = 9;
    all[n++].timeout_ms = -1;
    all[n++].deadline_ms = -1;
    t[n++].ndim = 0;
    t[n++].shape = none;
    t[n++].shape = large;
    t[n++].datatype = (enum ttad_datatype)7;
    t[n++].nmean = 17;
    t[n++].scale = (double)INFINITY;
    all[n].outputs = outputs;
    all[n++].noutputs = 1;
    assert_int_equal(n, 16);
    for (int i = 0; i < n; i++) {
        r = (struct ttad_reply *)all;
        if (ttad_infer(c, &all[i], &r) != TTAD_BAD_ARGUMENT || r || !*ttad_error(c))
            fail_msg("%d: %s: %s", i, ttad_code_name(ttad_errno(c)), ttad_error(c));
    }
    submit("1");
    all[0] = batch("1");
    assert_int_equal(ttad_submit(c, &all[0], NULL), TTAD_BAD_ARGUMENT);
    assert_contains(ttad_error(c), "under way");
    assert_string_equal(take(LONG), "1");
    assert_null(take(30)); // nothing else
}

static void bad_options_are_refused_and_the_handle_says_why(void **state)
{
    struct ttad_options o = TTAD_OPTIONS_INIT;
    struct ttad_request q = batch(NULL);
    struct ttad_reply *r;
    struct ttad *d;

    (void)state;
    o.data = "no such://endpoint";
    assert_int_equal(ttad_connect(&o, &d), TTAD_BAD_ARGUMENT);
    assert_contains(ttad_error(d), "endpoint 'no such://endpoint'");
    assert_int_equal(ttad_infer(d, &q, &r), TTAD_BAD_ARGUMENT);
    assert_null(r);
    ttad_close(d);
    o.data = NULL;
    o.flags = 2;
    assert_int_equal(ttad_connect(&o, &d), TTAD_BAD_ARGUMENT);
    ttad_close(d);
    o.size = 1;
    assert_int_equal(ttad_connect(&o, &d), TTAD_BAD_ARGUMENT);
    ttad_close(d);
    ttad_close(NULL);
    ttad_reply_free(NULL);
    ttad_event_free(NULL);
    ttad_free(NULL);
    assert_string_equal(ttad_error(NULL), "out of memory");
    assert_string_equal(ttad_version(), TTAD_CLIENT_VERSION);
}

/* ---- events ----------------------------------------------------------------------------- */

static void expect_event(unsigned long long seq, unsigned long long missed)
{
    struct ttad_event *e;

    assert_int_equal(ttad_event(c, LONG, &e), TTAD_OK);
    assert_int_equal(e->seq, seq);
    assert_int_equal(e->missed, missed);
    assert_contains(e->json, "{");
    ttad_event_free(e);
}

static void events_come_in_order_with_what_was_missed(void **state)
{
    struct ttad_event *e;

    (void)state;
    assert_int_equal(ttad_event(c, 0, &e), TTAD_BAD_ARGUMENT);
    assert_int_equal(ttad_subscribe(c, ""), TTAD_OK);
    fake_wait_subscribed(&f);
    quiet();
    fake_publish(&f, "decision", 5, "{\"n\":5}");
    fake_publish(&f, "sample", 9, "{}");
    fake_publish(&f, "state", 10, "{");
    fake_publish(&f, "state", 11, "{}");
    fake_publish(&f, "state", 1, "{}"); // a new record counts from one
    assert_int_equal(readable(LONG), 1);
    assert_int_equal(ttad_event(c, LONG, &e), TTAD_OK);
    assert_string_equal(e->topic, "decision");
    assert_string_equal(e->json, "{\"n\":5}");
    ttad_event_free(e);
    expect_event(9, 3);
    assert_int_equal(readable(LONG), 1);
    assert_int_equal(ttad_event(c, LONG, &e), TTAD_BAD_REPLY);
    assert_null(e);
    expect_event(11, 1); // the bad one did not count
    expect_event(1, 0);
    assert_int_equal(ttad_event(c, 10, &e), TTAD_NOTHING);
    turn();
    assert_int_equal(readable(20), 0);
}

static void other_topics_are_no_gap_and_overlapping_ones_come_once(void **state)
{
    struct ttad_event *e;

    (void)state;
    assert_int_equal(ttad_subscribe(c, "dec"), TTAD_OK);
    fake_wait_subscribed(&f);
    assert_int_equal(ttad_subscribe(c, "decision"), TTAD_OK);
    fake_wait_subscribed(&f);
    fake_publish(&f, "sample", 1, "{}");
    fake_publish(&f, "decision", 2, "{}");
    fake_publish(&f, "sample", 3, "{}");
    fake_publish(&f, "decision", 7, "{}");
    expect_event(2, 0);
    expect_event(7, 0);
    assert_int_equal(ttad_event(c, 10, &e), TTAD_NOTHING);
}

static void nap_us(long us)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000 * us}, NULL);
}

/* A monitor that nobody listens to any more blocks the connection, and that the close. */
static void a_handle_closes_while_its_connection_is_made(void **state)
{
    struct ttad_options o = TTAD_OPTIONS_INIT;

    (void)state;
    fake_start(&f);
    o.data = o.control = f.data;
    for (int i = 0; i < 300; i++) {
        assert_int_equal(ttad_connect(&o, &c), TTAD_OK);
        submit("x");
        turn();
        nap_us(3 * i); // just before, while, or just after it is made
        ttad_close(c);
    }
    fake_stop(&f);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_HASTY(name) cmocka_unit_test_setup_teardown(name, setup_hasty, teardown)
#define TEST_ONCE(name)  cmocka_unit_test_setup_teardown(name, setup_once, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handle_closes_while_its_connection_is_made),
        TEST(an_answer_has_every_member_of_the_reply),
        TEST(what_the_daemon_does_not_compute_is_nan_or_empty),
        TEST(requests_are_those_that_the_daemon_is_tested_with),
        TEST(ids_made_here_are_unique_between_handles),
        TEST(malformed_replies_are_errors_of_their_request_and_harm_nobody),
        TEST_ONCE(every_cut_and_every_changed_byte_of_a_reply_is_survived),
        TEST(a_reply_without_values_has_them_of_no_length),
        TEST(replies_out_of_order_reach_who_asked),
        TEST(a_second_reply_is_dropped),
        TEST(an_error_without_an_id_goes_to_the_oldest_request),
        TEST_ONCE(every_code_is_its_own_and_a_new_one_is_named),
        TEST(busy_and_draining_are_sent_again_under_the_same_id),
        TEST(the_daemons_time_is_waited_for),
        TEST(busy_until_the_timeout_is_busy),
        TEST_HASTY(silence_is_sent_again_and_then_a_timeout),
        TEST_ONCE(nothing_is_sent_twice_if_that_is_wanted),
        TEST(what_a_dying_daemon_had_is_sent_to_the_next_one),
        TEST(a_daemon_that_is_not_there_is_told),
        TEST(no_more_is_on_the_wire_than_there_is_credit_for),
        TEST(the_credit_follows_what_the_daemon_tells),
        TEST(a_request_that_waits_here_is_cancelled_here),
        TEST_HASTY(what_may_have_been_done_is_not_sent_again),
        TEST(what_was_refused_or_never_sent_is_sent_again),
        TEST_HASTY(what_leaves_the_same_state_is_sent_again),
        TEST(a_second_answer_is_not_taken_for_the_reply_to_its_labels),
        TEST(the_descriptor_tells_of_replies_until_they_are_taken),
        TEST_HASTY(the_descriptor_tells_when_to_send_again_and_when_time_is_up),
        TEST(the_descriptor_carries_requests_over_a_restart),
        TEST(bad_arguments_are_refused_before_anything_is_sent),
        TEST(bad_options_are_refused_and_the_handle_says_why),
        TEST(events_come_in_order_with_what_was_missed),
        TEST(other_topics_are_no_gap_and_overlapping_ones_come_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
