// SPDX-License-Identifier: Apache-2.0
#include "client/c/reply.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 64 // bytes of a tensor's data

static const struct {
    enum ttad_code code;
    const char *name;
} codes[] = {
    {TTAD_OK, "OK"},
    {TTAD_BAD_HEADER, "BAD_HEADER"},
    {TTAD_BAD_TENSOR, "BAD_TENSOR"},
    {TTAD_BAD_SHAPE, "BAD_SHAPE"},
    {TTAD_TOO_LARGE, "TOO_LARGE"},
    {TTAD_NO_MODEL, "NO_MODEL"},
    {TTAD_NO_STREAM, "NO_STREAM"},
    {TTAD_UNAUTHORIZED, "UNAUTHORIZED"},
    {TTAD_NOT_FINITE, "NOT_FINITE"},
    {TTAD_WRONG_SHARD, "WRONG_SHARD"},
    {TTAD_CANCELLED, "CANCELLED"},
    {TTAD_BUSY, "BUSY"},
    {TTAD_DEADLINE, "DEADLINE"},
    {TTAD_DRAINING, "DRAINING"},
    {TTAD_INTERNAL, "INTERNAL"},
    {TTAD_REFUSED, "REFUSED"},
    {TTAD_TIMEOUT, "TIMEOUT"},
    {TTAD_DISCONNECTED, "DISCONNECTED"},
    {TTAD_BAD_REPLY, "BAD_REPLY"},
    {TTAD_BAD_ARGUMENT, "BAD_ARGUMENT"},
    {TTAD_NO_MEMORY, "NO_MEMORY"},
    {TTAD_NOTHING, "NOTHING"},
};

static const struct {
    const char *name;
    size_t size;
} datatypes[TTADI_DATATYPES] = {
    [TTAD_BOOL] = {"BOOL", 1},   [TTAD_UINT8] = {"UINT8", 1}, [TTAD_INT32] = {"INT32", 4},
    [TTAD_INT64] = {"INT64", 8}, [TTAD_FP16] = {"FP16", 2},   [TTAD_BF16] = {"BF16", 2},
    [TTAD_FP32] = {"FP32", 4},
};

const char *ttadi_datatype_name(enum ttad_datatype type)
{
    return datatypes[type].name;
}

size_t ttadi_datatype_size(enum ttad_datatype type)
{
    return datatypes[type].size;
}

const char *ttad_code_name(enum ttad_code code)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code)
            return codes[i].name;
    return "UNKNOWN";
}

enum ttad_code ttadi_code_of(const char *name)
{
    for (size_t i = 1; i < sizeof codes / sizeof *codes && codes[i].code < TTAD_REFUSED; i++)
        if (!strcmp(codes[i].name, name))
            return codes[i].code;
    return TTAD_REFUSED;
}

const char *ttadi_text(const char *text)
{
    return text ? text : "";
}

const char *ttadi_type_name(const json_t *v)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };

    return v ? names[json_typeof(v)] : "missing";
}

struct ttadi_reply *ttadi_reply_new(const char *id)
{
    struct ttadi_reply *r = (struct ttadi_reply *)calloc(1, sizeof *r);

    if (!r)
        return NULL;
    (void)snprintf(r->id, sizeof r->id, "%s", id); // its length was checked
    r->pub.id = r->id;
    r->pub.error = r->error;
    r->pub.outputs = r->outputs;
    r->pub.stream = r->pub.version = r->pub.skipped = r->pub.engine = r->pub.guard = "";
    r->pub.rolled_back_to = r->pub.json = "";
    r->pub.loss = r->pub.entropy = (double)NAN;
    return r;
}

void ttad_reply_free(struct ttad_reply *reply)
{
    struct ttadi_reply *r = (struct ttadi_reply *)reply;

    if (!r)
        return;
    json_decref(r->root);
    free(r->text);
    free(r->data);
    free(r);
}

enum ttad_code ttadi_reply_fail(struct ttadi_reply *r, enum ttad_code code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(r->error, sizeof r->error, fmt, ap); // cut when too long
    va_end(ap);
    for (char *s = r->error; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?'; // it may come from a peer, and goes to terminals
    r->pub.code = code;
    return code;
}

/* Nesting is bounded before the parser, which recurses, sees it. */
static int too_deep(const char *s, size_t n)
{
    int quoted = 0, depth = 0;

    for (size_t i = 0; i < n; i++) {
        if (quoted && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            quoted = !quoted;
        else if (!quoted && (s[i] == '[' || s[i] == '{') && ++depth > TTAD_WIRE_DEPTH_MAX)
            return 1;
        else if (!quoted && (s[i] == ']' || s[i] == '}'))
            depth--;
    }
    return 0;
}

json_t *ttadi_header_read(zmq_msg_t *frames, int nframes, char *why, size_t nwhy)
{
    json_error_t e;
    json_t *root;
    const char *s;
    size_t n;

    if (nframes < 2) {
        (void)snprintf(why, nwhy, "a message of %d frames, wanted at least 2", nframes);
        return NULL;
    }
    if (zmq_msg_size(&frames[0]) != strlen(TTAD_WIRE_MAGIC) ||
        memcmp(zmq_msg_data(&frames[0]), TTAD_WIRE_MAGIC, strlen(TTAD_WIRE_MAGIC)) != 0) {
        (void)snprintf(why, nwhy, "the first frame is not " TTAD_WIRE_MAGIC);
        return NULL;
    }
    s = (const char *)zmq_msg_data(&frames[1]);
    n = zmq_msg_size(&frames[1]);
    if (n > TTAD_WIRE_REPLY_MAX || too_deep(s, n)) {
        (void)snprintf(why, nwhy, "a header of %zu bytes, at most %d and %d levels are read", n,
                       TTAD_WIRE_REPLY_MAX, TTAD_WIRE_DEPTH_MAX);
        return NULL;
    }
    root = json_loadb(s, n, JSON_REJECT_DUPLICATES, &e);
    if (!root || !json_is_object(root)) {
        if (root)
            (void)snprintf(why, nwhy, "the header is %s, wanted an object", ttadi_type_name(root));
        else
            (void)snprintf(why, nwhy, "the header is not JSON: byte %d: %s", e.position, e.text);
        json_decref(root);
        return NULL;
    }
    return root;
}

/* ---- an answer ------------------------------------------------------------------------- */

static enum ttad_code bad(struct ttadi_reply *r, const char *name, const char *what)
{
    return ttadi_reply_fail(r, TTAD_BAD_REPLY, "output '%.64s': %s", name, what);
}

/* The description of an output, checked against its frame. */
static enum ttad_code read_output(struct ttadi_reply *r, const json_t *o, zmq_msg_t *frame,
                                  struct ttad_output *to)
{
    const char *name = json_string_value(json_object_get(o, "name"));
    const char *type = json_string_value(json_object_get(o, "datatype"));
    const json_t *shape = json_object_get(o, "shape");
    const size_t ndim = json_array_size(shape);
    size_t t = 0, n;

    if (!name)
        return ttadi_reply_fail(r, TTAD_BAD_REPLY, "an output without a name");
    while (t < TTADI_DATATYPES && (!type || strcmp(datatypes[t].name, type) != 0))
        t++;
    if (t == TTADI_DATATYPES)
        return bad(r, name, "its datatype is not one of BOOL UINT8 INT32 INT64 FP16 BF16 FP32");
    if (!json_is_array(shape) || ndim > TTAD_MAX_DIMS)
        return bad(r, name, "its shape is not a list of at most 8 sizes");
    *to = (struct ttad_output){.name = name,
                               .datatype = (enum ttad_datatype)t,
                               .ndim = (int)ndim,
                               .bytes = zmq_msg_size(frame)};
    n = datatypes[t].size;
    for (size_t i = 0; i < ndim; i++) {
        const json_t *v = json_array_get(shape, i);
        const json_int_t size = json_is_integer(v) ? json_integer_value(v) : -1;

        if (size < 0)
            return bad(r, name, "its shape is not a list of at most 8 sizes");
        if (size && n > SIZE_MAX / 2 / (size_t)size)
            return bad(r, name, "its shape has too many elements");
        n *= (size_t)size;
        to->shape[i] = size;
    }
    if (n != to->bytes)
        return ttadi_reply_fail(r, TTAD_BAD_REPLY,
                                "output '%.64s': its frame has %zu bytes, its shape %zu", name,
                                to->bytes, n);
    return TTAD_OK;
}

static enum ttad_code read_outputs(struct ttadi_reply *r, const json_t *root, zmq_msg_t *frames,
                                   int nframes)
{
    const json_t *list = json_object_get(root, "outputs");
    const size_t n = json_array_size(list);
    size_t bytes = 0;

    if (!json_is_array(list) || n < 1 || n > TTAD_WIRE_TENSORS || (int)n != nframes - 2)
        return ttadi_reply_fail(r, TTAD_BAD_REPLY,
                                "an answer with %zu outputs and %d tensor frames, wanted 1 to %d "
                                "of both",
                                n, nframes - 2, TTAD_WIRE_TENSORS);
    for (size_t i = 0; i < n; i++) {
        if (read_output(r, json_array_get(list, i), &frames[2 + i], &r->outputs[i]))
            return r->pub.code;
        bytes += (r->outputs[i].bytes + ALIGN - 1) / ALIGN * ALIGN;
    }
    if (posix_memalign(&r->data, ALIGN, bytes ? bytes : ALIGN) != 0) {
        r->data = NULL;
        return ttadi_reply_fail(r, TTAD_NO_MEMORY, "out of memory for an answer of %zu bytes",
                                bytes);
    }
    bytes = 0;
    for (size_t i = 0; i < n; i++) {
        r->outputs[i].data = (char *)r->data + bytes;
        memcpy((char *)r->data + bytes, zmq_msg_data(&frames[2 + i]), r->outputs[i].bytes);
        bytes += (r->outputs[i].bytes + ALIGN - 1) / ALIGN * ALIGN;
    }
    r->pub.noutputs = (int)n;
    return TTAD_OK;
}

static void set_logits(struct ttad_reply *p)
{
    const struct ttad_output *o = &p->outputs[0];

    if (o->datatype != TTAD_FP32)
        return;
    p->logits = (const float *)o->data;
    p->rows = o->ndim ? o->shape[0] : 1;
    p->classes = p->rows ? (int64_t)(o->bytes / sizeof(float)) / p->rows : 0;
}

/* A number of the parameters: absent and null leave *to alone. */
static enum ttad_code number(struct ttadi_reply *r, const json_t *said, const char *key, double *to)
{
    const json_t *v = json_object_get(said, key);

    if (!v || json_is_null(v))
        return TTAD_OK;
    if (!json_is_number(v))
        return ttadi_reply_fail(r, TTAD_BAD_REPLY, "'%s' is %s, wanted a number", key,
                                ttadi_type_name(v));
    *to = json_number_value(v);
    return TTAD_OK;
}

static enum ttad_code integer(struct ttadi_reply *r, const json_t *said, const char *key,
                              int64_t *to)
{
    const json_t *v = json_object_get(said, key);

    if (!v || json_is_null(v))
        return TTAD_OK;
    if (!json_is_integer(v))
        return ttadi_reply_fail(r, TTAD_BAD_REPLY, "'%s' is %s, wanted a whole number", key,
                                ttadi_type_name(v));
    *to = json_integer_value(v);
    return TTAD_OK;
}

static enum ttad_code read_said(struct ttadi_reply *r, const json_t *root)
{
    const json_t *said = json_object_get(root, "parameters");
    struct ttad_reply *p = &r->pub;

    if (said && !json_is_object(said))
        return ttadi_reply_fail(r, TTAD_BAD_REPLY, "'parameters' is %s, wanted an object",
                                ttadi_type_name(said));
    if (integer(r, said, "step", &p->step) || integer(r, said, "queue_us", &p->queue_us) ||
        integer(r, said, "infer_us", &p->infer_us) || integer(r, said, "adapt_us", &p->adapt_us) ||
        integer(r, said, "credit", &p->credit) || number(r, said, "loss", &p->loss) ||
        number(r, said, "entropy", &p->entropy))
        return p->code;
    p->adapted = json_is_true(json_object_get(said, "adapted"));
    p->stream = ttadi_text(json_string_value(json_object_get(said, "stream_id")));
    p->version = ttadi_text(json_string_value(json_object_get(said, "version")));
    p->skipped = ttadi_text(json_string_value(json_object_get(said, "skipped")));
    p->engine = ttadi_text(json_string_value(json_object_get(said, "engine")));
    p->guard = ttadi_text(json_string_value(json_object_get(said, "guard")));
    p->rolled_back_to = ttadi_text(json_string_value(json_object_get(said, "rolled_back_to")));
    return TTAD_OK;
}

enum ttad_code ttadi_reply_read(struct ttadi_reply *r, json_t *root, zmq_msg_t *frames, int nframes,
                                int tensors)
{
    const size_t n = zmq_msg_size(&frames[1]);

    r->root = json_incref(root);
    r->text = (char *)malloc(n + 1);
    if (!r->text)
        return ttadi_reply_fail(r, TTAD_NO_MEMORY, "out of memory for a header of %zu bytes", n);
    memcpy(r->text, zmq_msg_data(&frames[1]), n);
    r->text[n] = '\0';
    r->pub.json = r->text;
    r->pub.code = TTAD_OK;
    if (!tensors)
        return TTAD_OK;
    if (read_outputs(r, root, frames, nframes) || read_said(r, root))
        return r->pub.code;
    set_logits(&r->pub);
    return TTAD_OK;
}
