// SPDX-License-Identifier: Apache-2.0
/* The library against the real daemon: $TTAD, or build/release/ttad. */
#include "client/c/ttad.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "tests/support/check.h"

#define ROWS   16
#define PIXELS 784
#define IMAGES "models/fashion_tune_images.npy"
#define LABELS "models/fashion_tune_labels.npy"

static char dir[] = "/tmp/ttad-test-XXXXXX", endpoint[3][64];
static char *images, *labels; // uint8 [n, 28, 28], [n]
static size_t nimages;        // batches of ROWS
static pid_t pid;
static struct ttad *c;

/* What stands behind the header of a .npy file of one-byte elements. */
static char *npy(const char *path, size_t *ret_bytes)
{
    size_t n, head;
    char *file = read_file(path, &n);

    assert_true(n > 10 && !memcmp(file, "\x93NUMPY\1", 7));
    assert_non_null(strstr(file + 10, "'|u1'"));
    head = 10 + (size_t)(unsigned char)file[8] + 256 * (size_t)(unsigned char)file[9];
    assert_true(head < n);
    memmove(file, file + head, n - head);
    *ret_bytes = n - head;
    return file;
}

static void write_config(void)
{
    char path[96], cwd[512];
    FILE *f;

    assert_non_null(getcwd(cwd, sizeof cwd));
    (void)snprintf(path, sizeof path, "%s/tent.yaml", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("version: 1\npreset: tent\n"
          "preprocess: {scale: 0.00392156862745098, mean: [0.2860], std: [0.3530], layout: nhwc}\n"
          "snapshots: {every_updates: 1}\n",
          f);
    fclose(f);
    (void)snprintf(path, sizeof path, "%s/ttad.yaml", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "listen: {data: \"%s\", control: \"%s\", events: \"%s\"}\n"
            "models: [{name: fashion, path: \"%s/models/fashion_resnet.onnx\"}]\n"
            "policies: [{name: tent, path: tent.yaml}]\nthreads_per_worker: 1\n",
            endpoint[0], endpoint[1], endpoint[2], cwd);
    fclose(f);
}

static void start(void)
{
    const char *program = getenv("TTAD");
    char config[96], log[96];

    (void)snprintf(config, sizeof config, "%s/ttad.yaml", dir);
    (void)snprintf(log, sizeof log, "%s/log", dir);
    program = program ? program : "build/release/ttad";
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

        if (fd >= 0 && dup2(fd, 1) >= 0 && dup2(fd, 2) >= 0)
            execl(program, program, "serve", "--config", config, (char *)NULL);
        _exit(127);
    }
}

/* Its exit status; -1: by a signal. */
static int end(int sig)
{
    int status = 0;

    assert_int_equal(kill(pid, sig), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int setup(void **state)
{
    static const char *const names[] = {"data", "control", "events"};
    struct ttad_options o = TTAD_OPTIONS_INIT;
    size_t n;

    (void)state;
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 3; i++)
        (void)snprintf(endpoint[i], sizeof endpoint[i], "ipc://%s/%s.sock", dir, names[i]);
    images = npy(IMAGES, &n);
    nimages = n / PIXELS / ROWS;
    labels = npy(LABELS, &n);
    assert_true(nimages >= 40 && n / ROWS >= nimages);
    write_config();
    start();
    o.data = endpoint[0];
    o.control = endpoint[1];
    o.events = endpoint[2];
    o.name = "tester";
    o.timeout_ms = 120000; // also under a sanitizer
    assert_int_equal(ttad_connect(&o, &c), TTAD_OK);
    return 0;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    ttad_close(c);
    free(images);
    free(labels);
    if (pid)
        assert_int_equal(end(SIGTERM), 0);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
    return 0;
}

static const int64_t shape[] = {ROWS, 28, 28, 1};

static struct ttad_tensor batch(size_t k)
{
    struct ttad_tensor t = TTAD_TENSOR_INIT;

    t.datatype = TTAD_UINT8;
    t.ndim = 4;
    t.shape = shape;
    t.data = images + k % nimages * ROWS * PIXELS;
    return t;
}

static struct ttad_reply *infer(const char *stream, size_t k)
{
    const struct ttad_tensor t = batch(k);
    struct ttad_request q = TTAD_REQUEST_INIT;
    struct ttad_reply *r;

    q.stream = stream;
    q.inputs = &t;
    q.ninputs = 1;
    if (ttad_infer(c, &q, &r) != TTAD_OK)
        fail_msg("%s: %s", ttad_code_name(ttad_errno(c)), ttad_error(c));
    return r;
}

#define good(call)                                                                    \
    do {                                                                              \
        if ((call) != TTAD_OK)                                                        \
            fail_msg(#call ": %s: %s", ttad_code_name(ttad_errno(c)), ttad_error(c)); \
    } while (0)

/* A member of a reply or of its parameters; the text is freed. */
static json_t *member(char *json, const char *key)
{
    json_t *root = json_loads(json, 0, NULL), *v;

    assert_non_null(root);
    v = json_object_get(root, key);
    v = v ? v : json_object_get(json_object_get(root, "parameters"), key);
    if (!v)
        fail_msg("no '%s' in %s", key, json);
    json_incref(v);
    json_decref(root);
    ttad_free(json);
    return v;
}

static int64_t number(char *json, const char *key)
{
    json_t *v = member(json, key);
    int64_t n = json_integer_value(v);

    assert_true(json_is_integer(v));
    json_decref(v);
    return n;
}

static void text_is(char *json, const char *key, const char *want)
{
    json_t *v = member(json, key);

    assert_string_equal(json_string_value(v), want);
    json_decref(v);
}

static void batches_adapt_and_labels_are_credited(void **state)
{
    struct ttad_reply *r;
    int64_t label[ROWS], right = 0;
    char *json;

    (void)state;
    good(ttad_ping(c, 0));
    for (int k = 0; k < 3; k++) {
        r = infer("cam", (size_t)k);
        assert_int_equal(r->step, k);
        assert_int_equal(r->adapted, 1);
        assert_string_equal(r->engine, "tent");
        assert_int_equal(r->rows, ROWS);
        assert_int_equal(r->classes, 10);
        assert_true(r->loss == r->loss);
        if (k < 2)
            ttad_reply_free(r);
    }
    for (int64_t i = 0; i < ROWS; i++) {
        int64_t best = 0;

        for (int64_t j = 1; j < 10; j++)
            best = r->logits[i * 10 + j] > r->logits[i * 10 + best] ? j : best;
        label[i] = (unsigned char)labels[2 * ROWS + i];
        right += best == label[i];
    }
    assert_true(right > ROWS / 2);
    good(ttad_feedback(c, r->id, "cam", label, ROWS, &json));
    assert_int_equal(number(json, "correct"), right);
    assert_int_equal(ttad_feedback(c, r->id, "cam", label, ROWS, &json), TTAD_BAD_HEADER);
    assert_null(json);
    ttad_reply_free(r);
}

static void images_and_their_floats_give_the_same_answer(void **state)
{
    const int64_t size[] = {ROWS, 1, 28, 28};
    float *x = (float *)malloc(ROWS * PIXELS * sizeof *x);
    struct ttad_tensor t = {.name = "image", .ndim = 4, .shape = size, .data = x};
    struct ttad_request q = TTAD_REQUEST_INIT;
    struct ttad_reply *a = infer("same-1", 0), *b;

    (void)state;
    for (int i = 0; i < ROWS * PIXELS; i++)
        x[i] = ((float)(unsigned char)images[i] / 255.0f - 0.2860f) / 0.3530f;
    t.datatype = TTAD_FP32;
    q.stream = "same-2";
    q.inputs = &t;
    q.ninputs = 1;
    good(ttad_infer(c, &q, &b));
    for (int i = 0; i < ROWS * 10; i++)
        assert_close(b->logits[i], a->logits[i], 1e-3, 1e-3);
    ttad_reply_free(a);
    ttad_reply_free(b);
    free(x);
}

static void an_operator_steers(void **state)
{
    struct ttad_event *event;
    struct ttad_reply *r;
    char *json, back[64];

    (void)state;
    for (size_t k = 0; k < 3; k++)
        ttad_reply_free(infer("steered", k));
    good(ttad_hello(c, &json));
    text_is(json, "server", "ttad");
    good(ttad_status(c, &json));
    text_is(json, "state", "serving");
    good(ttad_models(c, &json));
    assert_contains(json, "\"fashion\"");
    ttad_free(json);
    good(ttad_streams(c, &json));
    assert_contains(json, "\"steered\"");
    ttad_free(json);
    good(ttad_stream(c, "steered", "describe", NULL, &json));
    text_is(json, "policy", "tent");
    good(ttad_snapshot(c, "steered", "before the test", &json));
    assert_int_equal(number(json, "step"), 3);
    good(ttad_snapshots(c, "steered", &json));
    assert_contains(json, "\"snapshots\"");
    ttad_free(json);

    good(ttad_subscribe(c, "decision"));
    (void)poll(NULL, 0, 200); // until the subscription has arrived
    r = infer("steered", 3);
    (void)snprintf(back, sizeof back, "%s", r->version);
    ttad_reply_free(r);
    good(ttad_rollback(c, "steered", back, "for the test", &json));
    text_is(json, "version", back);
    good(ttad_event(c, 60000, &event));
    assert_string_equal(event->topic, "decision");
    assert_contains(event->json, "for the test");
    ttad_event_free(event);

    good(ttad_freeze(c, "steered", NULL, &json));
    text_is(json, "state", "frozen");
    r = infer("steered", 4);
    assert_int_equal(r->adapted, 0);
    assert_string_equal(r->skipped, "frozen");
    ttad_reply_free(r);
    good(ttad_thaw(c, "steered", NULL, NULL));
    assert_int_equal(ttad_freeze(c, "nobody", NULL, &json), TTAD_NO_STREAM);
    assert_string_equal(ttad_error(c), "stream 'nobody' is not known");
    assert_int_equal(ttad_call(c, "no_such_op", "{}", 0, &json), TTAD_BAD_HEADER);
    good(ttad_call(c, "status", NULL, 0, NULL));
    good(ttad_stream(c, "steered", "close", NULL, NULL));
}

static void refusals_have_their_codes(void **state)
{
    struct ttad_tensor t = batch(0);
    const int64_t wrong[] = {ROWS, 7, 112, 1};
    struct ttad_request q = TTAD_REQUEST_INIT;
    struct ttad_reply *r;

    (void)state;
    q.stream = "bad";
    q.inputs = &t;
    q.ninputs = 1;
    q.model = "zoo";
    assert_int_equal(ttad_infer(c, &q, &r), TTAD_NO_MODEL);
    q.model = NULL;
    t.name = "zoo";
    assert_int_equal(ttad_infer(c, &q, &r), TTAD_BAD_TENSOR);
    t.name = NULL;
    t.shape = wrong;
    assert_int_equal(ttad_infer(c, &q, &r), TTAD_BAD_SHAPE);
    assert_null(r);
}

/* Submit n batches to a stream, and kill the daemon while they are answered.  Returns how many
 * were learnt from, as the replies say. */
static int through_kills(const char *stream, int n, int every)
{
    int answered = 0, adapted = 0;

    for (int k = 0; k < n; k++) {
        const struct ttad_tensor t = batch((size_t)k);
        struct ttad_request q = TTAD_REQUEST_INIT;

        q.stream = stream;
        q.inputs = &t;
        q.ninputs = 1;
        good(ttad_submit(c, &q, NULL));
    }
    assert_int_equal(ttad_pending(c), n);
    while (answered < n) {
        struct ttad_reply *r;

        good(ttad_next(c, -1, &r));
        if (r->code != TTAD_OK)
            fail_msg("%s: %s", ttad_code_name(r->code), r->error);
        adapted += r->adapted;
        answered++;
        ttad_reply_free(r);
        if (answered % every == 0 && answered < n) {
            assert_int_equal(end(SIGKILL), -1);
            start();
        }
    }
    assert_int_equal(ttad_pending(c), 0);
    return adapted;
}

static void every_batch_is_answered_through_kills_and_none_is_learnt_from_twice(void **state)
{
    const int n = 40;
    const int adapted = through_kills("killed", n, 15);
    struct ttad_reply *r = infer("killed", 0);

    (void)state;
    assert_true(adapted > n / 2 && adapted <= n);
    if (r->step < adapted || r->step > n) // no update that was answered for is lost, either
        fail_msg("%d updates by %d batches, %d answered for", (int)r->step, n, adapted);
    ttad_reply_free(r);
}

static void a_drained_daemon_ends(void **state)
{
    int status;

    (void)state;
    good(ttad_drain(c, NULL));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    pid = 0;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_adapt_and_labels_are_credited),
        cmocka_unit_test(images_and_their_floats_give_the_same_answer),
        cmocka_unit_test(an_operator_steers),
        cmocka_unit_test(refusals_have_their_codes),
        cmocka_unit_test(every_batch_is_answered_through_kills_and_none_is_learnt_from_twice),
        cmocka_unit_test(a_drained_daemon_ends),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
