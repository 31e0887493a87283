// SPDX-License-Identifier: Apache-2.0
#include "client/c/ttad.h"

#include <string.h>

#include "client/c/handle.h"

/* An infer request as an ask; its parameters are made. */
static enum ttad_code read_request(struct ttad *c, const struct ttad_request *q,
                                   struct ttadi_ask *ret)
{
    json_t *p;

    if (!q || q->size != sizeof *q)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT,
                          "request: size is %zu, wanted %zu: begin with TTAD_REQUEST_INIT",
                          q ? q->size : 0, sizeof *q);
    if (!q->stream || !*q->stream)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "request: no stream is named");
    if (q->ninputs < 1 || q->ninputs > TTAD_WIRE_TENSORS || !q->inputs || q->noutputs < 0 ||
        q->noutputs > TTAD_WIRE_TENSORS || (q->noutputs && !q->outputs) || q->deadline_ms < 0)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT,
                          "request: %d inputs and %d outputs, wanted 1 to %d and 0 to %d; and no "
                          "deadline before now",
                          q->ninputs, q->noutputs, TTAD_WIRE_TENSORS, TTAD_WIRE_TENSORS);
    p = json_object();
    if (!p || !ttadi_set_text(p, "stream_id", q->stream) ||
        !ttadi_set_text(p, "policy", q->policy) ||
        !ttadi_set_text(p, "on_deadline", q->on_deadline) ||
        (q->deadline_ms &&
         json_object_set_new(p, "deadline_ms", json_integer(q->deadline_ms)) != 0)) {
        json_decref(p);
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "request: a name is not UTF-8");
    }
    *ret = (struct ttadi_ask){.op = "infer",
                              .model = q->model,
                              .id = q->id,
                              .parameters = p,
                              .inputs = q->inputs,
                              .ninputs = q->ninputs,
                              .outputs = q->outputs,
                              .noutputs = q->noutputs,
                              .timeout_ms = q->timeout_ms,
                              .tensors = true,
                              .twice = true,
                              .counted = true};
    return TTAD_OK;
}

static enum ttad_code send_request(struct ttad *c, const struct ttad_request *request,
                                   char id[TTAD_ID_SIZE])
{
    struct ttadi_ask ask;

    if (read_request(c, request, &ask))
        return c->code;
    return ttadi_ask(c, &c->data, &ask, id);
}

enum ttad_code ttad_infer(struct ttad *c, const struct ttad_request *request,
                          struct ttad_reply **ret)
{
    char id[TTAD_ID_SIZE];

    *ret = NULL;
    if (send_request(c, request, id))
        return c->code;
    return ttadi_result(c, &c->data, id, ret);
}

enum ttad_code ttad_submit(struct ttad *c, const struct ttad_request *request,
                           char id[TTAD_ID_SIZE])
{
    char own[TTAD_ID_SIZE];
    enum ttad_code code = send_request(c, request, own);

    if (code == TTAD_OK && id)
        memcpy(id, own, sizeof own);
    ttadi_settle(c);
    return code;
}

enum ttad_code ttad_next(struct ttad *c, int64_t timeout_ms, struct ttad_reply **ret)
{
    struct ttadi_request *r = ttadi_wait(c, &c->data, NULL, ttadi_until(timeout_ms));

    (void)ttadi_good(c);
    *ret = NULL;
    if (r) {
        *ret = &r->reply->pub;
        r->reply = NULL; // the caller's
        ttadi_request_free(r);
    }
    ttadi_settle(c);
    return r ? TTAD_OK : ttadi_fail(c, TTAD_NOTHING, "no request has ended");
}

enum ttad_code ttad_result(struct ttad *c, const char *id, struct ttad_reply **ret)
{
    *ret = NULL;
    if (!id || !ttadi_channel_has(&c->data, id))
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "no request with id '%s' is under way",
                          ttadi_text(id));
    return ttadi_result(c, &c->data, id, ret);
}

int ttad_pending(const struct ttad *c)
{
    return c->data.pending.n + c->data.done.n;
}
