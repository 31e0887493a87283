// SPDX-License-Identifier: Apache-2.0
#include "daemon/protocol.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "daemon/inputs.h"

#define KNOWN_KEYS "op, id, model_name, model_version, action, parameters, inputs, outputs"

static const struct ask {
    const char *name;
    enum tt_door door;
    bool stream, tensors;
} asks[TT_NASKS] = {
#define TT_ASK_ROW(ask, name, door, stream, tensors) [ask] = {name, door, stream, tensors},
    TT_ASKS(TT_ASK_ROW)
#undef TT_ASK_ROW
};

static const char *const wires[TT_NWIRES] = {
#define TT_WIRE_ROW(wire, name) [wire] = name,
    TT_WIRES(TT_WIRE_ROW)
#undef TT_WIRE_ROW
};

const char *tt_wire_name(enum tt_wire code)
{
    return (unsigned)code < TT_NWIRES ? wires[code] : "INTERNAL";
}

const char *tt_ask_name(enum tt_ask ask)
{
    return (unsigned)ask < TT_NASKS ? asks[ask].name : "";
}

enum tt_wire tt_refuse(struct tt_refusal *r, enum tt_wire code, const char *fmt, ...)
{
    va_list ap;

    *r = (struct tt_refusal){.code = code};
    va_start(ap, fmt);
    (void)vsnprintf(r->msg, sizeof r->msg, fmt, ap); // cut when too long
    va_end(ap);
    tt_text_clean(r->msg);
    return code;
}

/* Nesting beyond the limit is refused before the parser, which recurses, sees it. */
static enum tt_wire check_depth(const char *s, size_t n, struct tt_refusal *r)
{
    bool quoted = false;
    int depth = 0;

    for (size_t i = 0; i < n; i++) {
        if (quoted && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            quoted = !quoted;
        else if (!quoted && (s[i] == '[' || s[i] == '{') && ++depth > TTAD_WIRE_DEPTH_MAX)
            return tt_refuse(r, TT_WIRE_BAD_HEADER,
                             "header: byte %zu: nested deeper than %d levels", i,
                             TTAD_WIRE_DEPTH_MAX);
        else if (!quoted && (s[i] == ']' || s[i] == '}'))
            depth--;
    }
    return TT_WIRE_OK;
}

static enum tt_wire parse(const struct tt_frame *f, json_t **ret, struct tt_refusal *r)
{
    json_error_t e;
    json_t *root;

    if (f->size > TTAD_WIRE_HEADER_MAX)
        return tt_refuse(r, TT_WIRE_TOO_LARGE, "header is %zu bytes, the limit is %d", f->size,
                         TTAD_WIRE_HEADER_MAX);
    if (check_depth(f->data, f->size, r))
        return r->code;
    root = json_loadb(f->data, f->size, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "header: byte %d: %s", e.position, e.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "header is a JSON list, wanted an object");
    }
    *ret = root;
    return TT_WIRE_OK;
}

static const char *type_name(const json_t *v)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };

    return names[json_typeof(v)];
}

/* The text of a key, one line of it: it is printed in logs and on terminals.  Absent leaves ret
 * alone.  where is "" or "parameters.". */
static enum tt_wire take_text(const json_t *o, const char *where, const char *key, char *ret,
                              size_t max, struct tt_refusal *r)
{
    const json_t *v = json_object_get(o, key);
    size_t n;

    if (!v)
        return TT_WIRE_OK;
    if (!json_is_string(v))
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "%s%s is %s, wanted a string", where, key,
                         type_name(v));
    n = json_string_length(v);
    if (n > max)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "%s%s is %zu bytes long, the limit is %zu", where,
                         key, n, max);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)json_string_value(v)[i];

        if (c < 0x20 || c == 0x7f)
            return tt_refuse(r, TT_WIRE_BAD_HEADER, "%s%s has the control character 0x%02x", where,
                             key, c);
    }
    memcpy(ret, json_string_value(v), n + 1);
    return TT_WIRE_OK;
}

static enum tt_wire unknown_op(const char *op, enum tt_door door, struct tt_refusal *r)
{
    char list[256] = "";
    size_t at = 0;

    for (int i = 0; i < TT_NASKS; i++)
        if (asks[i].door & door)
            at +=
                (size_t)snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", asks[i].name);
    return tt_refuse(r, TT_WIRE_BAD_HEADER, "op '%.64s' is not known; the %s socket answers %s", op,
                     door == TT_DOOR_DATA ? "data" : "control", list);
}

static enum tt_wire read_op(const json_t *root, enum tt_door door, struct tt_request *ret,
                            struct tt_refusal *r)
{
    char op[TTAD_WIRE_ID_MAX + 1] = "";

    if (take_text(root, "", "op", op, sizeof op - 1, r))
        return r->code;
    if (!*op)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "op is missing");
    for (int i = 0; i < TT_NASKS; i++) {
        if (strcmp(op, asks[i].name) != 0)
            continue;
        ret->ask = (enum tt_ask)i;
        if (asks[i].door & door)
            return TT_WIRE_OK;
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "op '%s' is answered on the %s socket", op,
                         asks[i].door == TT_DOOR_DATA ? "data" : "control");
    }
    return unknown_op(op, door, r);
}

static enum tt_wire check_keys(json_t *root, struct tt_refusal *r)
{
    static const char *const known[] = {"op",     "id",         "model_name", "model_version",
                                        "action", "parameters", "inputs",     "outputs"};
    const char *key;
    json_t *v;

    json_object_foreach(root, key, v)
    {
        size_t i = 0;

        while (i < sizeof known / sizeof *known && strcmp(key, known[i]) != 0)
            i++;
        if (i == sizeof known / sizeof *known)
            return tt_refuse(r, TT_WIRE_BAD_HEADER, "unknown key '%.64s'; known are " KNOWN_KEYS,
                             key);
    }
    return TT_WIRE_OK;
}

static enum tt_wire read_action(const char *text, struct tt_request *ret, struct tt_refusal *r)
{
    static const char *const names[] = {"open", "close", "reset", "describe"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i])) {
            ret->action = (enum tt_stream_action)i;
            return TT_WIRE_OK;
        }
    return tt_refuse(r, TT_WIRE_BAD_HEADER, "action: '%.64s' is not one of " TT_STREAM_ACTIONS,
                     text);
}

static enum tt_wire read_deadline(const json_t *p, struct tt_request *ret, struct tt_refusal *r)
{
    const json_t *v = json_object_get(p, "deadline_ms");
    double ms;

    if (!v)
        return TT_WIRE_OK;
    if (!json_is_number(v))
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "parameters.deadline_ms is %s, wanted a number",
                         type_name(v));
    ms = json_number_value(v);
    if (ms < 1 || ms > 86400e3)
        return tt_refuse(r, TT_WIRE_BAD_HEADER,
                         "parameters.deadline_ms: %g is outside [1, 86400000]", ms);
    ret->deadline_ms = (int64_t)ms;
    return TT_WIRE_OK;
}

static enum tt_wire read_on_deadline(const json_t *p, struct tt_request *ret, struct tt_refusal *r)
{
    char text[TTAD_WIRE_ID_MAX + 1] = "frozen";

    if (take_text(p, "parameters.", "on_deadline", text, sizeof text - 1, r))
        return r->code;
    ret->refuse_late = !strcmp(text, "refuse");
    if (!ret->refuse_late && strcmp(text, "frozen") != 0)
        return tt_refuse(r, TT_WIRE_BAD_HEADER,
                         "parameters.on_deadline: '%.64s' is not one of frozen|refuse", text);
    return TT_WIRE_OK;
}

static enum tt_wire read_level(const json_t *p, struct tt_request *ret, struct tt_refusal *r)
{
    static const struct {
        const char *name;
        enum tt_level level;
    } levels[] = {
        {"err", TT_LOG_ERR}, {"warn", TT_LOG_WARN}, {"info", TT_LOG_INFO}, {"debug", TT_LOG_DEBUG}};
    char text[TTAD_WIRE_ID_MAX + 1] = "";

    if (take_text(p, "parameters.", "level", text, sizeof text - 1, r))
        return r->code;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (!strcmp(text, levels[i].name)) {
            ret->level = levels[i].level;
            return TT_WIRE_OK;
        }
    return tt_refuse(r, TT_WIRE_BAD_HEADER,
                     "parameters.level: '%.64s' is not one of err|warn|info|debug", text);
}

/* What load and unload want. */
static enum tt_wire read_model(const json_t *p, struct tt_request *ret, struct tt_refusal *r)
{
    const json_t *replace = json_object_get(p, "replace");

    if (take_text(p, "parameters.", "path", ret->path, TTAD_WIRE_PATH_MAX, r))
        return r->code;
    if (replace && !json_is_boolean(replace))
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "parameters.replace is %s, wanted true or false",
                         type_name(replace));
    ret->replace = json_is_true(replace);
    if (!*ret->model)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "model_name is missing; op '%s' wants it",
                         asks[ret->ask].name);
    if (ret->ask == TT_ASK_LOAD && !*ret->path)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "parameters.path is missing; op 'load' wants it");
    return TT_WIRE_OK;
}

/* What stands outside inputs and outputs. */
static enum tt_wire read_words(const json_t *root, struct tt_request *ret, struct tt_refusal *r)
{
    const json_t *p = json_object_get(root, "parameters");
    char action[TTAD_WIRE_ID_MAX + 1] = "", ignored[TTAD_WIRE_NAME_MAX + 1];
    const size_t max = TTAD_WIRE_NAME_MAX;

    if (p && !json_is_object(p))
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "parameters is %s, wanted an object", type_name(p));
    if (take_text(root, "", "model_name", ret->model, max, r) ||
        take_text(root, "", "model_version", ignored, max, r) ||
        take_text(root, "", "action", action, sizeof action - 1, r) ||
        take_text(p, "parameters.", "action", action, sizeof action - 1, r) ||
        take_text(p, "parameters.", "stream_id", ret->stream, max, r) ||
        take_text(p, "parameters.", "policy", ret->policy, max, r) ||
        take_text(p, "parameters.", "version", ret->version, max, r) ||
        take_text(p, "parameters.", "actor", ret->actor, max, r) ||
        take_text(p, "parameters.", "reason", ret->reason, max, r) ||
        take_text(p, "parameters.", "request_id", ret->target, TTAD_WIRE_ID_MAX, r) ||
        read_deadline(p, ret, r) || read_on_deadline(p, ret, r))
        return r->code;
    if (asks[ret->ask].stream && !*ret->stream)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "parameters.stream_id is missing; op '%s' wants it",
                         asks[ret->ask].name);
    if (ret->ask == TT_ASK_FEEDBACK && !*ret->id)
        return tt_refuse(r, TT_WIRE_BAD_HEADER,
                         "id is missing; op 'feedback' wants the id of the request it labels");
    if (ret->ask == TT_ASK_CANCEL && !*ret->target)
        return tt_refuse(r, TT_WIRE_BAD_HEADER,
                         "parameters.request_id is missing; op 'cancel' wants the id to drop");
    if (ret->ask == TT_ASK_STREAM)
        return read_action(action, ret, r);
    if (ret->ask == TT_ASK_LOAD || ret->ask == TT_ASK_UNLOAD)
        return read_model(p, ret, r);
    return ret->ask == TT_ASK_LOG_LEVEL ? read_level(p, ret, r) : TT_WIRE_OK;
}

static enum tt_wire check_frames(const struct tt_frame *frames, int nframes, struct tt_refusal *r)
{
    const size_t n = sizeof TTAD_WIRE_MAGIC - 1;

    if (nframes < 1)
        return tt_refuse(r, TT_WIRE_BAD_HEADER,
                         "message is empty, wanted [" TTAD_WIRE_MAGIC "][JSON header]...");
    if (frames[0].size != n || memcmp(frames[0].data, TTAD_WIRE_MAGIC, n) != 0)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "frame 0 is '%.*s' (%zu bytes), wanted '%s'",
                         (int)(frames[0].size < 16 ? frames[0].size : 16),
                         (const char *)frames[0].data, frames[0].size, TTAD_WIRE_MAGIC);
    if (nframes < 2)
        return tt_refuse(r, TT_WIRE_BAD_HEADER, "message has no frame 1, wanted the JSON header");
    return TT_WIRE_OK;
}

enum tt_wire tt_proto_decode(const struct tt_frame *frames, int nframes, enum tt_door door,
                             struct tt_request *ret, struct tt_refusal *r)
{
    const json_t *in, *out;
    json_t *root = NULL;
    enum tt_wire code;

    *ret = (struct tt_request){.ask = TT_NASKS};
    if (check_frames(frames, nframes, r) || parse(&frames[1], &root, r))
        return r->code;
    in = json_object_get(root, "inputs");
    out = json_object_get(root, "outputs");
    code = take_text(root, "", "id", ret->id, TTAD_WIRE_ID_MAX, r);
    if (!code)
        code = read_op(root, door, ret, r);
    if (!code)
        code = check_keys(root, r);
    if (!code)
        code = read_words(root, ret, r);
    if (!code && in && !asks[ret->ask].tensors)
        code = tt_refuse(r, TT_WIRE_BAD_HEADER, "op '%s' takes no inputs", asks[ret->ask].name);
    if (!code && asks[ret->ask].tensors)
        code = tt_proto_inputs(in, frames, nframes, ret, r);
    else if (!code && nframes > 2)
        code = tt_refuse(r, TT_WIRE_BAD_HEADER, "message has %d tensor frames, op '%s' takes none",
                         nframes - 2, asks[ret->ask].name);
    if (!code && out)
        code = tt_proto_outputs(out, ret, r);
    json_decref(root);
    return code;
}
