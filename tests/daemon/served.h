// SPDX-License-Identifier: Apache-2.0
#ifndef TT_TESTS_DAEMON_SERVED_H
#define TT_TESTS_DAEMON_SERVED_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "tests/support/check.h"

/* A real daemon on ipc sockets in a fresh folder, and a raw client of it.  TTAD names the program.
 */
#define WAIT_MS 60000 // the machine may be busy: a reply that is later than this is none
#define IMAGE   (28 * 28)

struct served {
    char dir[64], config[96];
    pid_t pid;
    void *zmq, *data, *control, *events; // events: NULL, or a test's
};

static const char policy_text[] =
    "preset: tent\n"
    "preprocess: {layout: nchw}\n"
    "monitor: {window: 64, shadow: {every: 4, stats: [source]}}\n"
    "guards:\n"
    "  - {name: one, signal: class_share, above: 0.9, min_samples: 32, consecutive: 1, "
    "action: rollback, on_inconclusive: continue}\n"
    "recovery: {warmup_samples: 0, soak_samples: 32, soak_evidence: 1}\n"
    "snapshots: {every_updates: 2}\n";

static inline void nap(int ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    nanosleep(&t, NULL);
}

static inline void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static inline void *connect_to(struct served *d, const char *name)
{
    const int zero = 0;
    char endpoint[128];
    void *s = zmq_socket(d->zmq, ZMQ_DEALER);

    snprintf(endpoint, sizeof endpoint, "ipc://%s/%s.sock", d->dir, name);
    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero);
    assert_int_equal(zmq_connect(s, endpoint), 0);
    return s;
}

/* The header of the next message; its tensor's bytes, if any, in *ret_floats.  NULL: none came. */
static inline json_t *receive(void *s, int timeout_ms, float *ret_floats, size_t max)
{
    zmq_pollitem_t item = {.socket = s, .events = ZMQ_POLLIN};
    json_t *header = NULL;
    bool more = true;

    if (zmq_poll(&item, 1, timeout_ms) <= 0)
        return NULL;
    for (int i = 0; more; i++) {
        zmq_msg_t m;

        zmq_msg_init(&m);
        assert_true(zmq_msg_recv(&m, s, 0) >= 0);
        more = zmq_msg_more(&m);
        if (i == 0)
            assert_memory_equal(zmq_msg_data(&m), "TTAD/1", 6);
        if (i == 1)
            header = json_loadb(zmq_msg_data(&m), zmq_msg_size(&m), 0, NULL);
        if (i == 2 && ret_floats) {
            assert_int_equal(zmq_msg_size(&m), max * sizeof *ret_floats);
            memcpy(ret_floats, zmq_msg_data(&m), zmq_msg_size(&m));
        }
        zmq_msg_close(&m);
    }
    assert_non_null(header);
    return header;
}

static inline void send_header(void *s, const char *header, const void *tensor, size_t n)
{
    assert_true(zmq_send(s, "TTAD/1", 6, ZMQ_SNDMORE) >= 0);
    assert_true(zmq_send(s, header, strlen(header), tensor ? ZMQ_SNDMORE : 0) >= 0);
    if (tensor)
        assert_true(zmq_send(s, tensor, n, 0) >= 0);
}

static inline json_t *ask(void *s, const char *header)
{
    json_t *o;

    send_header(s, header, NULL, 0);
    o = receive(s, WAIT_MS, NULL, 0);
    if (!o)
        fail_msg("no reply to %s", header);
    return o;
}

static inline const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static inline int64_t number_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

/* Fail unless the reply is that error. */
static inline void expect_error(json_t *o, const char *code, const char *part)
{
    if (strcmp(text_of(o, "op"), "error") != 0 || strcmp(text_of(o, "code"), code) != 0)
        fail_msg("got %s, wanted %s", json_dumps(o, 0), code);
    assert_contains(text_of(o, "error"), part);
    json_decref(o);
}

static const unsigned char *images; // of the demo, as UINT8 [2000, 1, 28, 28]

static inline void send_infer(void *s, const char *stream, const char *id, int rows, int first)
{
    char header[512];

    snprintf(header, sizeof header,
             "{\"op\":\"infer\",\"model_name\":\"fashion\",\"id\":\"%s\",\"parameters\":{"
             "\"stream_id\":\"%s\"},\"inputs\":[{\"name\":\"image\",\"shape\":[%d,1,28,28],"
             "\"datatype\":\"UINT8\",\"parameters\":{\"binary_data_size\":%d}}]}",
             id, stream, rows, rows * IMAGE);
    send_header(s, header, images + (size_t)first * IMAGE, (size_t)rows * IMAGE);
}

static inline json_t *infer(void *s, const char *stream, const char *id, int rows, int first)
{
    json_t *o;

    send_infer(s, stream, id, rows, first);
    o = receive(s, WAIT_MS, NULL, 0);
    assert_non_null(o);
    return o;
}

/* parameters of a reply, which stays alive with it */
static inline const json_t *params(const json_t *o)
{
    return json_object_get(o, "parameters");
}

static inline bool is_up(struct served *d)
{
    void *s = connect_to(d, "control");
    json_t *o;

    send_header(s, "{\"op\":\"ping\"}", NULL, 0);
    o = receive(s, 200, NULL, 0);
    zmq_close(s);
    json_decref(o);
    return o != NULL;
}

/* Start the program; false: it ended instead of serving, with that status. */
static inline bool start(struct served *d, int *ret_status)
{
    const char *program = getenv("TTAD");
    char log[96];

    snprintf(log, sizeof log, "%s/log", d->dir);
    d->pid = fork();
    assert_true(d->pid >= 0);
    if (d->pid == 0) {
        signal(SIGHUP, SIG_DFL); // which nohup(1) around the tests would have taken away
        if (!freopen(log, "a", stderr))
            _exit(3);
        execl(program ? program : "build/release/ttad", "ttad", "serve", "--config", d->config,
              (char *)NULL);
        _exit(3);
    }
    for (int i = 0; i < WAIT_MS / 200; i++) {
        if (waitpid(d->pid, ret_status, WNOHANG) == d->pid) {
            d->pid = 0;
            return false;
        }
        if (is_up(d))
            break;
    }
    d->data = connect_to(d, "data");
    d->control = connect_to(d, "control");
    return true;
}

static inline void must_start(struct served *d)
{
    int status = 0;

    if (!start(d, &status)) {
        char log[96];

        snprintf(log, sizeof log, "%s/log", d->dir);
        fail_msg("the daemon ended with %d:\n%s", status, read_file(log, &(size_t){0}));
    }
}

/* Send sig and wait for the end; returns the status of waitpid. */
static inline int end(struct served *d, int sig)
{
    int status = -1;

    if (d->data) {
        zmq_close(d->data);
        zmq_close(d->control);
    }
    d->data = d->control = NULL;
    if (d->pid) {
        assert_int_equal(kill(d->pid, sig), 0);
        assert_int_equal(waitpid(d->pid, &status, 0), d->pid);
    }
    d->pid = 0;
    return status;
}

/* limits: what stands under `limits:`, as a YAML map. */
static inline void make(struct served *d, const char *limits)
{
    char text[2048], path[128], cwd[512];

    *d = (struct served){.pid = 0};
    snprintf(d->dir, sizeof d->dir, "/tmp/ttad-serve-XXXXXX");
    assert_non_null(mkdtemp(d->dir));
    assert_non_null(getcwd(cwd, sizeof cwd));
    d->zmq = zmq_ctx_new();
    snprintf(path, sizeof path, "%s/tent.yaml", d->dir);
    write_text(path, policy_text);
    snprintf(d->config, sizeof d->config, "%s/ttad.yaml", d->dir);
    snprintf(text, sizeof text,
             "listen: {data: \"ipc://%s/data.sock\", control: \"ipc://%s/control.sock\", "
             "events: \"ipc://%s/events.sock\"}\n"
             "models: [{name: fashion, path: \"%s/models/fashion_resnet.onnx\"}]\n"
             "policies: [{name: tent, path: tent.yaml}]\n"
             "state_dir: state\nthreads_per_worker: 1\nlimits: %s\n",
             d->dir, d->dir, d->dir, cwd, limits);
    write_text(d->config, text);
}

static inline void clean(struct served *d)
{
    char command[128];

    (void)end(d, SIGKILL);
    if (d->events)
        zmq_close(d->events);
    zmq_ctx_term(d->zmq);
    snprintf(command, sizeof command, "rm -rf '%s'", d->dir);
    assert_int_equal(system(command), 0);
}

#endif
