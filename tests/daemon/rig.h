// SPDX-License-Identifier: Apache-2.0
#ifndef TT_TESTS_DAEMON_RIG_H
#define TT_TESTS_DAEMON_RIG_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/decide.h"
#include "daemon/labels.h"
#include "daemon/resume.h"
#include "daemon/save.h"
#include "daemon/stream.h"
#include "policies/policy.h"
#include "runtime/npy.h"
#include "tests/support/check.h"

/* A stream over the demo model and its images, with a sink that counts and keeps what it is told.
 */
#define ROWS 16

struct rig {
    struct tt_arena arena;
    struct tt_model *model;
    struct tt_npy images;
    char *image_bytes;
    char dir[64]; // of snapshots
    /* what was told */
    int n[TT_NRECORDS];
    int64_t decisions, tickets, synced;
    struct tt_rec_decision decision; // the last one; texts are in the arena
    char state[32], serving[32], last_event[TT_LINE_BYTES], judged[16][40];
    int njudged;
};

static const char *own(struct rig *r, const char *s)
{
    return s ? tt_arena_strndup(&r->arena, s, strlen(s)) : NULL;
}

static int64_t rig_put(void *ctx, const struct tt_record *rec)
{
    struct rig *r = ctx;

    r->n[rec->kind]++;
    if (rec->kind == TT_REC_DECISION) {
        r->decision = rec->decision;
        r->decision.rule = own(r, rec->decision.rule);
        r->decision.action = own(r, rec->decision.action);
        r->decision.from_version = own(r, rec->decision.from_version);
        r->decision.to_version = own(r, rec->decision.to_version);
        r->decision.to_reason = own(r, rec->decision.to_reason);
        r->decision.sentence = own(r, rec->decision.sentence);
        r->decision.evidence = own(r, rec->decision.evidence);
    } else if (rec->kind == TT_REC_STREAM) {
        snprintf(r->state, sizeof r->state, "%s", rec->state.state);
        snprintf(r->serving, sizeof r->serving, "%s", rec->state.version ? rec->state.version : "");
    } else if (rec->kind == TT_REC_EVENT) {
        snprintf(r->last_event, sizeof r->last_event, "%s", rec->event.text);
    } else if (rec->kind == TT_REC_VERSION_STATE && rec->version_state.state && r->njudged < 16) {
        snprintf(r->judged[r->njudged++], sizeof r->judged[0], "%s %s", rec->version_state.version,
                 rec->version_state.state);
    }
    return ++r->tickets;
}

static enum tt_code rig_sync(void *ctx, int64_t ticket, struct tt_err *err)
{
    struct rig *r = ctx;

    (void)err;
    if (ticket > r->synced)
        r->synced = ticket;
    return TT_OK;
}

static int64_t rig_decision(void *ctx)
{
    return ++((struct rig *)ctx)->decisions;
}

static void rig_up(struct rig *r)
{
    struct tt_err err;
    size_t n;
    char *bytes = read_file("models/fashion_resnet.onnx", &n);

    memset(r, 0, sizeof *r);
    tt_arena_init(&r->arena, 0);
    if (tt_model_read_onnx(bytes, n, 0, &r->model, &err) != TT_OK)
        fail_msg("%s", err.msg);
    free(bytes);
    r->image_bytes = read_file("models/fashion_test_images.npy", &n);
    assert_int_equal(tt_npy_read(r->image_bytes, n, &r->images, &err), TT_OK);
    snprintf(r->dir, sizeof r->dir, "/tmp/ttad-test-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
}

static void rig_down(struct rig *r)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", r->dir);
    assert_int_equal(system(command), 0);
    free(r->image_bytes);
    tt_model_free(r->model);
    tt_arena_release(&r->arena);
}

static inline const struct tt_policy *rig_policy(struct rig *r, const char *text)
{
    struct tt_diags *d = TT_NEW(&r->arena, 1, struct tt_diags);
    const struct tt_policy *p;

    tt_diags_init(d, &r->arena, "test.yaml", text, strlen(text));
    p = tt_policy_read("test.yaml", text, strlen(text), &r->arena, d);
    if (!p)
        fail_msg("%s", tt_diags_text(d));
    return p;
}

static inline struct tt_plan *rig_plan(struct rig *r, const struct tt_policy *p)
{
    struct tt_plan *plan;
    struct tt_err err;

    if (tt_plan_new(r->model, &p->method, ROWS, &plan, &err) != TT_OK)
        fail_msg("%s", err.msg);
    return plan;
}

static inline struct tt_stream *rig_stream(struct rig *r, const struct tt_policy *p,
                                           const struct tt_plan *plan, const char *dir)
{
    struct tt_sink sink = {
        .ctx = r, .put = rig_put, .sync = rig_sync, .next_decision = rig_decision};
    struct tt_stream *s;
    struct tt_err err;

    if (tt_stream_new(&(struct tt_stream_spec){.name = "cam-7",
                                               .model_name = "fashion",
                                               .model = r->model,
                                               .policy = p,
                                               .plan = plan,
                                               .sink = sink,
                                               .snapshots = dir,
                                               .now_ms = 1000},
                      &s, &err) != TT_OK)
        fail_msg("%s", err.msg);
    return s;
}

/* Rows of images from the i-th batch on, as the model wants them. */
static inline void rig_batch(const struct rig *r, int64_t i, float *x)
{
    const unsigned char *from = r->images.data;
    const int64_t P = 28 * 28;

    for (int64_t j = 0; j < ROWS * P; j++)
        x[j] = (float)from[(i * ROWS * P + j) % (r->images.dim[0] * P)] / 255.0f;
}

/* Step i of the stream on its i-th batch; id "i". */
static inline struct tt_result rig_step(const struct rig *r, struct tt_stream *s,
                                        struct tt_plan *plan, int64_t i)
{
    static float x[ROWS * 28 * 28], logits[ROWS * 10];
    char id[16];
    struct tt_batch b = {
        .id = id, .x = x, .rows = ROWS, .learn = true, .now_ms = 2000 + 10 * i, .logits = logits};
    struct tt_result ret;
    struct tt_err err;

    snprintf(id, sizeof id, "%d", (int)i);
    rig_batch(r, i, x);
    if (tt_stream_step(s, plan, &b, &ret, &err) != TT_OK)
        fail_msg("%s", err.msg);
    tt_stream_settle(s, plan, b.now_ms);
    return ret;
}

#endif
