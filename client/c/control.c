// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/c/handle.h"

/* Which ops are answered where, and which may be carried out twice: what only reads, and what
 * leaves the same state behind.  Others go to the control socket and are not safe; nor is drain,
 * which would reach the daemon that was started in the place of the drained one. */
static const struct {
    const char *name;
    bool data, twice, counted;
} ops[] = {
    {"hello", true, true},      {"stream", true, true, true}, {"cancel", true, true},
    {"ping", false, true},      {"status", false, true},      {"models", false, true},
    {"streams", false, true},   {"snapshots", false, true},   {"snapshot", false, true},
    {"freeze", false, true},    {"thaw", false, true},        {"reload", false, true},
    {"log_level", false, true},
};

void ttad_free(char *text)
{
    free(text);
}

/* A reply's header, NULL where there was an error, as a text of the caller's. */
static enum ttad_code give_text(struct ttad *c, struct ttad_reply *reply, char **json)
{
    struct ttadi_reply *r = (struct ttadi_reply *)reply;

    if (r && json) {
        *json = r->text;
        r->text = NULL;
    }
    ttad_reply_free(reply);
    return c->code;
}

static enum ttad_code call(struct ttad *c, struct ttadi_channel *ch, struct ttadi_ask *ask,
                           char **json)
{
    struct ttad_reply *reply = NULL;
    char id[TTAD_ID_SIZE];

    if (json)
        *json = NULL;
    if (ttadi_ask(c, ch, ask, id) == TTAD_OK)
        (void)ttadi_result(c, ch, id, &reply);
    return give_text(c, reply, json);
}

/* Takes parameters, which may be NULL, as may model. */
static enum ttad_code call_model(struct ttad *c, const char *op, const char *model,
                                 json_t *parameters, int64_t timeout_ms, char **json)
{
    const char *action = json_string_value(json_object_get(parameters, "action"));
    struct ttadi_ask ask = {
        .op = op, .model = model, .parameters = parameters, .timeout_ms = timeout_ms};
    struct ttadi_channel *ch = &c->control;

    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(op, ops[i].name)) {
            ask.twice = ops[i].twice && !(action && !strcmp(action, "reset"));
            ask.counted = ops[i].counted;
            ch = ops[i].data ? &c->data : ch;
        }
    return call(c, ch, &ask, json);
}

static enum ttad_code call_op(struct ttad *c, const char *op, json_t *parameters,
                              int64_t timeout_ms, char **json)
{
    return call_model(c, op, NULL, parameters, timeout_ms, json);
}

enum ttad_code ttad_call(struct ttad *c, const char *op, const char *parameters, int64_t timeout_ms,
                         char **json)
{
    json_error_t e;
    json_t *p = parameters ? json_loads(parameters, JSON_REJECT_DUPLICATES, &e) : NULL;

    if (json)
        *json = NULL;
    if (!op || !*op || strlen(op) >= TTAD_ID_SIZE) {
        json_decref(p);
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "an op of %zu bytes, wanted 1 to %d",
                          op ? strlen(op) : 0, TTAD_ID_SIZE - 1);
    }
    if (parameters && !p)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "parameters: byte %d: %s", e.position, e.text);
    return call_op(c, op, p, timeout_ms, json);
}

/* Parameters from key, text, key, text, ..., NULL; a NULL text is left out.  NULL: c says why. */
static json_t *texts_json(struct ttad *c, const char *op, const char *const *texts)
{
    json_t *p = json_object();

    for (; *texts; texts += 2)
        if (!p || !ttadi_set_text(p, texts[0], texts[1])) {
            json_decref(p);
            (void)ttadi_fail(c, TTAD_BAD_ARGUMENT, "%s: '%s' is not UTF-8", op, texts[0]);
            return NULL;
        }
    return p;
}

static enum ttad_code call_texts(struct ttad *c, const char *op, const char *const *texts,
                                 char **json)
{
    json_t *p = texts_json(c, op, texts);

    if (json)
        *json = NULL;
    return p ? call_op(c, op, p, 0, json) : c->code;
}

/* ---- what needs nothing ------------------------------------------------------------------ */

enum ttad_code ttad_ping(struct ttad *c, int64_t timeout_ms)
{
    return call_op(c, "ping", NULL, timeout_ms, NULL);
}

enum ttad_code ttad_hello(struct ttad *c, char **json)
{
    const char *const texts[] = {"client", c->name, "client_version", TTAD_CLIENT_VERSION, NULL};

    return call_texts(c, "hello", texts, json);
}

enum ttad_code ttad_status(struct ttad *c, char **json)
{
    return call_op(c, "status", NULL, 0, json);
}

enum ttad_code ttad_models(struct ttad *c, char **json)
{
    return call_op(c, "models", NULL, 0, json);
}

enum ttad_code ttad_streams(struct ttad *c, char **json)
{
    return call_op(c, "streams", NULL, 0, json);
}

enum ttad_code ttad_reload(struct ttad *c, char **json)
{
    const char *const texts[] = {"actor", c->name, NULL};

    return call_texts(c, "reload", texts, json);
}

enum ttad_code ttad_drain(struct ttad *c, char **json)
{
    return call_op(c, "drain", NULL, 0, json);
}

/* ---- what is about a stream, or a model -------------------------------------------------- */

static enum ttad_code steer(struct ttad *c, const char *op, const char *stream, const char *version,
                            const char *reason, char **json)
{
    const char *const texts[] = {"stream_id", stream,   "version", version, "actor",
                                 c->name,     "reason", reason,    NULL};

    return call_texts(c, op, texts, json);
}

enum ttad_code ttad_snapshots(struct ttad *c, const char *stream, char **json)
{
    const char *const texts[] = {"stream_id", stream, NULL};

    return call_texts(c, "snapshots", texts, json);
}

enum ttad_code ttad_snapshot(struct ttad *c, const char *stream, const char *reason, char **json)
{
    return steer(c, "snapshot", stream, NULL, reason, json);
}

enum ttad_code ttad_rollback(struct ttad *c, const char *stream, const char *version,
                             const char *reason, char **json)
{
    return steer(c, "rollback", stream, version, reason, json);
}

enum ttad_code ttad_freeze(struct ttad *c, const char *stream, const char *reason, char **json)
{
    return steer(c, "freeze", stream, NULL, reason, json);
}

enum ttad_code ttad_thaw(struct ttad *c, const char *stream, const char *reason, char **json)
{
    return steer(c, "thaw", stream, NULL, reason, json);
}

enum ttad_code ttad_load(struct ttad *c, const char *model, const char *path, int replace,
                         char **json)
{
    const char *const texts[] = {"path", path, "actor", c->name, NULL};
    json_t *p = texts_json(c, "load", texts);

    if (json)
        *json = NULL;
    if (!p)
        return c->code;
    if (replace && json_object_set_new(p, "replace", json_true()) != 0) {
        json_decref(p);
        return ttadi_fail(c, TTAD_NO_MEMORY, "out of memory");
    }
    return call_model(c, "load", model, p, 0, json);
}

enum ttad_code ttad_unload(struct ttad *c, const char *model, char **json)
{
    const char *const texts[] = {"actor", c->name, NULL};
    json_t *p = texts_json(c, "unload", texts);

    if (json)
        *json = NULL;
    return p ? call_model(c, "unload", model, p, 0, json) : c->code;
}

enum ttad_code ttad_log_level(struct ttad *c, const char *level, char **json)
{
    const char *const texts[] = {"level", level, NULL};

    return call_texts(c, "log_level", texts, json);
}

enum ttad_code ttad_stream(struct ttad *c, const char *stream, const char *action,
                           const char *policy, char **json)
{
    const char *const texts[] = {"stream_id", stream, "action", action, "policy", policy, NULL};

    return call_texts(c, "stream", texts, json);
}

enum ttad_code ttad_cancel(struct ttad *c, const char *id, const char *stream, char **json)
{
    const char *const texts[] = {"stream_id", stream, "request_id", id, NULL};

    if (json)
        *json = NULL;
    if (!id || !*id || !stream || !*stream)
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "cancel: wanted an id and a stream");
    ttadi_channel_cancel(&c->data, id);
    return call_texts(c, "cancel", texts, json);
}

enum ttad_code ttad_feedback(struct ttad *c, const char *id, const char *stream,
                             const int64_t *labels, int64_t n, char **json)
{
    const struct ttad_tensor label = {
        .name = "label", .datatype = TTAD_INT64, .ndim = 1, .shape = &n, .data = labels};
    json_t *p = json_object();
    struct ttadi_ask ask = {.op = "feedback",
                            .id = id,
                            .parameters = p,
                            .inputs = &label,
                            .ninputs = 1,
                            .twice = true,
                            .counted = true};

    if (json)
        *json = NULL;
    if (!id || !stream || !p || !ttadi_set_text(p, "stream_id", stream)) {
        json_decref(p);
        return ttadi_fail(c, TTAD_BAD_ARGUMENT, "feedback: wanted an id and a stream, in UTF-8");
    }
    return call(c, &c->data, &ask, json);
}
