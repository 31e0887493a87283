// SPDX-License-Identifier: Apache-2.0
/*
 * An ONNX file, and the files beside it that hold what it calls external data, read once and in
 * order.  A mapping would save the reading, but a file that is cut short under it kills the process
 * (SIGBUS), one that is written to changes weights that have a name, and weights lie in it at any
 * odd address.  So each weight is read to an aligned place that the model owns, and is there only
 * once; what is hashed is what was read.
 */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "runtime/onnx.h"
#include "runtime/onnx_tensor.h"
#include "runtime/proto.h"

#define OPSET_MIN 1
#define OPSET_MAX 25 // 22 to 25 add types, and operators that are refused by name

/* What the file may take while it is read, beside long raw_data: a node of 100 bytes becomes some
 * 2 KB, a list of short numbers ten times itself. */
#define SCRATCH(n) (((size_t)64 << 20) + 8 * (n))

_Static_assert(TT_ONNX_KEPT == TT_PROTO_LONG, "what is placed is kept, and nothing else");

/* ---- external data -------------------------------------------------------------- */

/* A piece of a file beside the model. */
struct piece {
    struct tt_onnx *o;
    const char *location;
    uint64_t offset;
};

static enum tt_code read_piece(void *from, void *to, size_t n, struct tt_err *err)
{
    struct piece *p = (struct piece *)from;
    const struct tt_model_source *s = p->o->source;

    if (s->beside(s->folder, p->location, p->offset, to, n, err))
        return err->code;
    tt_hash_add(&p->o->hash, to, n);
    p->offset += n;
    return TT_OK;
}

/* A way that stays in the folder, as far as the text tells. */
static enum tt_code check_location(const char *location, struct tt_err *err)
{
    if (!location || !location[0])
        return tt_fail(err, TT_EPARSE, "its values are in another file, which is not named");
    if (location[0] == '/')
        return tt_fail(err, TT_EDENIED,
                       "its values are in '%.200s': an absolute path, want one in the model's "
                       "folder",
                       location);
    for (const char *part = location; part; part = strchr(part, '/')) {
        part += part[0] == '/';
        if (!strncmp(part, "..", 2) && (!part[2] || part[2] == '/'))
            return tt_fail(err, TT_EDENIED,
                           "its values are in '%.200s', which leaves the model's folder", location);
    }
    return TT_OK;
}

static enum tt_code read_count(const char *key, const char *text, uint64_t *ret, struct tt_err *err)
{
    uint64_t v = 0;
    size_t n = 0;

    for (; text && text[n] >= '0' && text[n] <= '9' && v <= (uint64_t)INT64_MAX / 10 - 1; n++)
        v = 10 * v + (uint64_t)(text[n] - '0');
    if (!n || text[n])
        return tt_fail(err, TT_EPARSE, "the %s of its values is '%.40s', want a number of bytes",
                       key, text ? text : "");
    *ret = v;
    return TT_OK;
}

/* Where the values are, and that there are as many as the shape wants.  Other keys than these, as
 * a checksum, change nothing. */
static enum tt_code find_piece(const Onnx__TensorProto *t, uint64_t want, struct piece *p,
                               struct tt_err *err)
{
    uint64_t length = want;

    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = t->external_data[i]->key ? t->external_data[i]->key : "";
        const char *value = t->external_data[i]->value;

        if (!strcmp(key, "location"))
            p->location = value;
        else if (!strcmp(key, "offset") && read_count(key, value, &p->offset, err))
            return err->code;
        else if (!strcmp(key, "length") && read_count(key, value, &length, err))
            return err->code;
    }
    if (check_location(p->location, err))
        return err->code;
    if (length != want)
        return tt_fail(err, TT_ESHAPE, "it has %llu bytes in '%.200s', its shape wants %llu",
                       (unsigned long long)length, p->location, (unsigned long long)want);
    return TT_OK;
}

static bool is_external(const Onnx__TensorProto *t)
{
    return t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}

/* Make of an external tensor one that has raw_data. */
static enum tt_code fetch(struct tt_onnx *o, Onnx__TensorProto *t, struct tt_err *err)
{
    struct piece p = {.o = o};
    struct tt_feed bytes = {.from = &p, .read = read_piece};
    ProtobufCBinaryData data = {0};
    bool kept; // as floats, which may be more bytes than the file has

    if (t->raw_data.len)
        return tt_fail(err, TT_EPARSE, "it has raw_data and values in another file");
    if (tt_onnx_bytes(t, &bytes.size, err) || find_piece(t, bytes.size, &p, err))
        return err->code;
    kept = bytes.size >= TT_ONNX_KEPT || tt_onnx_count(t) >= TT_ONNX_KEPT / 4;
    if (bytes.size && tt_onnx_take(t, &bytes, kept ? &o->model->arena : o->arena, &data, err))
        return err->code;
    t->raw_data = data;
    t->has_raw_data = 1;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT;
    t->n_external_data = 0;
    return TT_OK;
}

static enum tt_code fetch_named(struct tt_onnx *o, Onnx__TensorProto *t, const char *name,
                                struct tt_err *err)
{
    if (!is_external(t) || !fetch(o, t, err))
        return TT_OK;
    return tt_fail_in(err, "tensor '%s'", name);
}

enum tt_code tt_onnx_fetch(struct tt_onnx *o, struct tt_err *err)
{
    const Onnx__GraphProto *g = o->file;

    if (!o->source->beside)
        return TT_OK; // who reads such a tensor says so
    for (size_t i = 0; i < g->n_initializer; i++)
        if (tt_onnx_symbol(o, g->initializer[i]->name)->needed &&
            fetch_named(o, g->initializer[i], g->initializer[i]->name, err))
            return err->code;
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; tt_onnx_needed(o, g->node[i]) && k < g->node[i]->n_attribute; k++) {
            Onnx__TensorProto *t = g->node[i]->attribute[k]->t;

            if (t && fetch_named(o, t, tt_onnx_node_name(g->node[i]), err))
                return err->code;
        }
    return TT_OK;
}

/* ---- the file -------------------------------------------------------------------- */

/* The version of a domain that the file imports; -1: none. */
static int64_t find_import(const Onnx__ModelProto *m, const char *domain)
{
    for (size_t i = m->n_opset_import; i-- > 0;) {
        const char *name = m->opset_import[i]->domain;

        if (!strcmp(!name || !strcmp(name, "ai.onnx") ? "" : name, domain))
            return m->opset_import[i]->version;
    }
    return -1;
}

static enum tt_code find_opset(const Onnx__ModelProto *m, struct tt_onnx *o, struct tt_err *err)
{
    const int64_t opset = find_import(m, ""), ml = find_import(m, "ai.onnx.ml");

    if (opset < 0)
        return tt_fail(err, TT_EPARSE, "the file does not say which opset it is written in");
    if (opset < OPSET_MIN || opset > OPSET_MAX)
        return tt_fail(err, TT_EUNSUPPORTED, "opset %lld is outside [%d, %d]", (long long)opset,
                       OPSET_MIN, OPSET_MAX);
    o->opset = (int)opset;
    o->ml_opset = ml < -1 || ml > INT32_MAX ? -1 : (int)ml;
    return TT_OK;
}

/* Who wrote the file, cut to fit, without what would break a line or JSON. */
static void set_producer(struct tt_model *m, const char *name, const char *version)
{
    const char *parts[] = {name ? name : "", name && version && version[0] ? " " : "",
                           version ? version : ""};
    size_t n = 0;

    for (size_t k = 0; k < 3; k++)
        for (const char *c = parts[k]; *c && n + 1 < sizeof m->producer; c++)
            m->producer[n++] = *c < 0x20 || *c > 0x7e ? '?' : *c;
}

static enum tt_code read_hashed(void *from, void *to, size_t n, struct tt_err *err)
{
    struct tt_onnx *o = (struct tt_onnx *)from;

    if (o->source->file.read(o->source->file.from, to, n, err))
        return err->code;
    tt_hash_add(&o->hash, to, n);
    return TT_OK;
}

/* raw_data of tensors belongs to the model at once; long text of attributes does not. */
static enum tt_code place(void *ctx, ProtobufCMessage *m, const ProtobufCFieldDescriptor *field,
                          const struct tt_feed *bytes, ProtobufCBinaryData *ret, struct tt_err *err)
{
    struct tt_onnx *o = (struct tt_onnx *)ctx;

    if (m->descriptor == &onnx__tensor_proto__descriptor && !strcmp(field->name, "raw_data"))
        return tt_onnx_take((Onnx__TensorProto *)m, bytes, &o->model->arena, ret, err);
    *ret =
        (ProtobufCBinaryData){.len = bytes->size, .data = TT_NEW(o->arena, bytes->size, uint8_t)};
    if (!ret->data)
        return tt_fail(err, TT_ENOMEM, "out of memory for %zu bytes", ret->len);
    return bytes->read(bytes->from, ret->data, ret->len, err);
}

static enum tt_code read_model(struct tt_onnx *o, struct tt_err *err)
{
    struct tt_feed feed = {.from = o, .size = o->source->file.size, .read = read_hashed};
    ProtobufCMessage *message;
    const Onnx__ModelProto *file;

    if (tt_proto_read(&onnx__model_proto__descriptor, &feed, o->arena, place, o, &message, err))
        return err->code == TT_EPARSE ? tt_fail_in(err, "damaged, or not ONNX") : err->code;
    file = (const Onnx__ModelProto *)message;
    if (!file->graph)
        return tt_fail(err, TT_EPARSE, "damaged, or not ONNX: the file holds no graph");
    if (file->graph->n_sparse_initializer)
        return tt_fail(err, TT_EUNSUPPORTED, "sparse initializers are not supported");
    if (find_opset(file, o, err))
        return err->code;
    o->file = file->graph;
    o->model->ir_version = (int)file->ir_version;
    set_producer(o->model, file->producer_name, file->producer_version);
    return tt_onnx_import(o, err);
}

enum tt_code tt_model_read(const struct tt_model_source *source, size_t limit,
                           struct tt_model **ret, struct tt_err *err)
{
    uint64_t n = source->file.size;
    struct tt_arena scratch;
    struct tt_onnx o = {.source = source, .arena = &scratch};
    enum tt_code rc;

    if (limit && n > limit)
        return tt_fail(err, TT_ERANGE, "the file has %llu bytes, at most %zu are allowed",
                       (unsigned long long)n, limit);
    if (n > SIZE_MAX / 16)
        return tt_fail(err, TT_ERANGE, "the file has %llu bytes", (unsigned long long)n);
    o.model = tt_model_new(limit);
    if (!o.model)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    tt_arena_init(&scratch, SCRATCH((size_t)n));
    tt_hash_init(&o.hash);
    rc = read_model(&o, err);
    tt_hash_end(&o.hash, o.model->hash);
    tt_arena_release(&scratch);
    if (rc) {
        tt_text_clean(err->msg); // it may quote any text of the file
        tt_model_free(o.model);
        return rc;
    }
    *ret = o.model;
    return TT_OK;
}

static enum tt_code read_memory(void *from, void *to, size_t n, struct tt_err *err)
{
    const char **next = (const char **)from;

    (void)err;
    memcpy(to, *next, n);
    *next += n;
    return TT_OK;
}

enum tt_code tt_model_read_onnx(const void *data, size_t n, size_t limit, struct tt_model **ret,
                                struct tt_err *err)
{
    const char *next = (const char *)data;
    struct tt_model_source source = {
        .file = {.from = &next, .size = n, .read = read_memory},
    };

    return tt_model_read(&source, limit, ret, err);
}
