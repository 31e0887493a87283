// SPDX-License-Identifier: Apache-2.0
#include "runtime/proto.h"

#include <string.h>

#include "base/text.h"

#define WINDOW ((size_t)64 << 10) // bytes of the source that are held

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct reader {
    const struct tt_feed *feed;
    uint64_t at;            // bytes taken
    uint64_t fed;           // bytes that the source has given
    size_t next, have;      // of the window
    unsigned char *window;  // [WINDOW]
    struct tt_arena *arena; // owns the message
    tt_proto_place *place;
    void *ctx;
    struct tt_err *err;
};

/* ---- bytes -------------------------------------------------------------------- */

/* The next n bytes, of which the caller knows that they are there; to NULL: skip them. */
static enum tt_code take(struct reader *r, void *to, uint64_t n)
{
    char *out = (char *)to;

    while (n) {
        size_t some = r->have - r->next;

        if (!some && to && n >= WINDOW) { // straight to where it stays
            enum tt_code rc = r->feed->read(r->feed->from, out, (size_t)n, r->err);

            r->fed += n;
            r->at += n;
            return rc;
        }
        if (!some) {
            uint64_t left = r->feed->size - r->fed;

            r->next = 0;
            r->have = some = left < WINDOW ? (size_t)left : WINDOW;
            if (r->feed->read(r->feed->from, r->window, some, r->err))
                return r->err->code;
            r->fed += some;
        }
        some = some < n ? some : (size_t)n;
        if (to) {
            memcpy(out, r->window + r->next, some);
            out += some;
        }
        r->next += some;
        r->at += some;
        n -= some;
    }
    return TT_OK;
}

static enum tt_code take_placed(void *from, void *to, size_t n, struct tt_err *err)
{
    (void)err; // the reader's, which is the same
    return take((struct reader *)from, to, n);
}

static enum tt_code fail_at(struct reader *r, uint64_t at, const char *what)
{
    return tt_fail(r->err, TT_EPARSE, "byte %llu: %s", (unsigned long long)at, what);
}

static enum tt_code no_memory(struct reader *r)
{
    return tt_fail(r->err, TT_ENOMEM, "byte %llu: out of memory", (unsigned long long)r->at);
}

static enum tt_code need(struct reader *r, uint64_t end, uint64_t n, uint64_t start)
{
    if (n <= end - r->at)
        return TT_OK;
    return tt_fail(r->err, TT_EPARSE, "byte %llu: %llu bytes follow, want %llu",
                   (unsigned long long)start, (unsigned long long)(end - r->at),
                   (unsigned long long)n);
}

static enum tt_code read_varint(struct reader *r, uint64_t end, uint64_t *ret)
{
    uint64_t start = r->at, v = 0;

    for (unsigned shift = 0; shift < 70 && r->at < end; shift += 7) {
        unsigned char byte;

        if (take(r, &byte, 1))
            return r->err->code;
        if (shift < 64)
            v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = v;
            return TT_OK;
        }
    }
    return fail_at(r, start, "a number that does not end");
}

/* ---- where a field of the struct is ---------------------------------------------- */

static void *member(ProtobufCMessage *m, unsigned offset)
{
    return (char *)m + offset;
}

/* How a type comes, and what it takes in a struct; size 0: onnx.proto has no field of it. */
static const struct form {
    enum wire wire;
    size_t size;
} forms[] = {
    [PROTOBUF_C_TYPE_INT32] = {WIRE_VARINT, 4},
    [PROTOBUF_C_TYPE_ENUM] = {WIRE_VARINT, 4},
    [PROTOBUF_C_TYPE_INT64] = {WIRE_VARINT, 8},
    [PROTOBUF_C_TYPE_UINT64] = {WIRE_VARINT, 8},
    [PROTOBUF_C_TYPE_FLOAT] = {WIRE_32, 4},
    [PROTOBUF_C_TYPE_DOUBLE] = {WIRE_64, 8},
    [PROTOBUF_C_TYPE_STRING] = {WIRE_BYTES, sizeof(char *)},
    [PROTOBUF_C_TYPE_BYTES] = {WIRE_BYTES, sizeof(ProtobufCBinaryData)},
    [PROTOBUF_C_TYPE_MESSAGE] = {WIRE_BYTES, sizeof(ProtobufCMessage *)},
};

/* Of a list with n items: the next power of two. */
static size_t room_of(size_t n)
{
    size_t room = n ? 4 : 0;

    while (room && room < n)
        room *= 2;
    return room;
}

/* n more items at the end of a list, or the one of a field that is none; NULL: out of memory. */
static void *slot(struct reader *r, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                  size_t n)
{
    size_t *count = (size_t *)member(m, f->quantifier_offset), size = forms[f->type].size;
    void **list = (void **)member(m, f->offset), *more;

    if (f->label != PROTOBUF_C_LABEL_REPEATED)
        return member(m, f->offset);
    if (*count + n > room_of(*count)) {
        more = tt_arena_alloc(r->arena, room_of(*count + n), size);
        if (!more)
            return NULL;
        if (*count)
            memcpy(more, *list, *count * size);
        *list = more;
    }
    *count += n;
    return (char *)*list + (*count - n) * size;
}

/* Say that a field is there, where the struct has a place for that. */
static void mark_given(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *(uint32_t *)member(m, f->quantifier_offset) = f->id;
    else if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
        *(protobuf_c_boolean *)member(m, f->quantifier_offset) = 1;
}

/* ---- one field -------------------------------------------------------------------- */

static void put_number(void *to, const ProtobufCFieldDescriptor *f, uint64_t v)
{
    uint32_t low = (uint32_t)v;

    memcpy(to, forms[f->type].size == 4 ? (const void *)&low : (const void *)&v,
           forms[f->type].size);
}

static enum tt_code read_number(struct reader *r, uint64_t end, ProtobufCMessage *m,
                                const ProtobufCFieldDescriptor *f)
{
    uint64_t v;
    void *to;

    if (read_varint(r, end, &v))
        return r->err->code;
    to = slot(r, m, f, 1);
    if (!to)
        return no_memory(r);
    put_number(to, f, v);
    return TT_OK;
}

/* A list in one run of n bytes. */
static enum tt_code read_packed(struct reader *r, ProtobufCMessage *m,
                                const ProtobufCFieldDescriptor *f, uint64_t n)
{
    uint64_t end = r->at + n;
    void *to;

    if (forms[f->type].wire == WIRE_VARINT) {
        while (r->at < end)
            if (read_number(r, end, m, f))
                return r->err->code;
        return TT_OK;
    }
    if (n % forms[f->type].size)
        return tt_fail(r->err, TT_EPARSE, "byte %llu: %s has %llu bytes, want a multiple of %zu",
                       (unsigned long long)r->at, f->name, (unsigned long long)n,
                       forms[f->type].size);
    if (!n)
        return TT_OK;
    to = slot(r, m, f, (size_t)n / forms[f->type].size);
    return to ? take(r, to, n) : no_memory(r);
}

static enum tt_code read_text(struct reader *r, ProtobufCMessage *m,
                              const ProtobufCFieldDescriptor *f, size_t n)
{
    uint64_t start = r->at;
    char *text = TT_NEW(r->arena, n + 1, char), **to;

    if (!text)
        return no_memory(r);
    if (take(r, text, n))
        return r->err->code;
    for (size_t i = 0; i < n;) {
        size_t len = text[i] ? tt_text_char(text + i, n - i) : 0;

        if (!len)
            return tt_fail(r->err, TT_EPARSE, "byte %llu: %s is not UTF-8 text",
                           (unsigned long long)start, f->name);
        i += len;
    }
    to = (char **)slot(r, m, f, 1);
    if (!to)
        return no_memory(r);
    *to = text;
    return TT_OK;
}

static enum tt_code read_bytes(struct reader *r, ProtobufCMessage *m,
                               const ProtobufCFieldDescriptor *f, size_t n)
{
    struct tt_feed bytes = {.from = r, .size = n, .read = take_placed};
    ProtobufCBinaryData data = {.len = n}, *to;

    if (r->place && n >= TT_PROTO_LONG) {
        uint64_t end = r->at + n;

        if (r->place(r->ctx, m, f, &bytes, &data, r->err))
            return r->err->code;
        if (r->at != end)
            return fail_at(r, r->at, "bytes that were not placed"); // a mistake of ours
    } else if (n) {
        data.data = TT_NEW(r->arena, n, uint8_t);
        if (!data.data)
            return no_memory(r);
        if (take(r, data.data, n))
            return r->err->code;
    }
    to = (ProtobufCBinaryData *)slot(r, m, f, 1);
    if (!to)
        return no_memory(r);
    *to = data;
    return TT_OK;
}

static enum tt_code read_message(struct reader *r, const ProtobufCMessageDescriptor *type,
                                 uint64_t end, int depth, ProtobufCMessage **ret);

static bool is_given(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return false;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(uint32_t *)member(m, f->quantifier_offset) != 0;
    return *(void **)member(m, f->offset) != NULL;
}

static enum tt_code read_inner(struct reader *r, ProtobufCMessage *m, // NOLINT
                               const ProtobufCFieldDescriptor *f, uint64_t n, int depth)
{
    ProtobufCMessage *inner, **to;

    if (is_given(m, f))
        return tt_fail(r->err, TT_EPARSE, "byte %llu: %s is given twice", (unsigned long long)r->at,
                       f->name);
    if (read_message(r, (const ProtobufCMessageDescriptor *)f->descriptor, r->at + n, depth + 1,
                     &inner))
        return r->err->code;
    to = (ProtobufCMessage **)slot(r, m, f, 1);
    if (!to)
        return no_memory(r);
    *to = inner;
    return TT_OK;
}

/* A field of n bytes, all of them there. */
static enum tt_code read_run(struct reader *r, ProtobufCMessage *m, // NOLINT
                             const ProtobufCFieldDescriptor *f, uint64_t n, int depth)
{
    switch ((int)f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return read_inner(r, m, f, n, depth);
    case PROTOBUF_C_TYPE_STRING:
        return read_text(r, m, f, (size_t)n);
    case PROTOBUF_C_TYPE_BYTES:
        return read_bytes(r, m, f, (size_t)n);
    default:
        return read_packed(r, m, f, n);
    }
}

/* The value behind a key; f NULL: of a field that the type does not have. */
static enum tt_code read_field(struct reader *r, ProtobufCMessage *m, // NOLINT
                               const ProtobufCFieldDescriptor *f, enum wire wire, uint64_t start,
                               uint64_t end, int depth)
{
    bool list = f && f->label == PROTOBUF_C_LABEL_REPEATED;
    uint64_t n = wire == WIRE_64 ? 8 : 4;
    void *to;

    if (wire != WIRE_VARINT && wire != WIRE_64 && wire != WIRE_BYTES && wire != WIRE_32)
        return tt_fail(r->err, TT_EPARSE, "byte %llu: there is no wire type %d",
                       (unsigned long long)start, (int)wire);
    if (f && wire != forms[f->type].wire && !(list && wire == WIRE_BYTES))
        return tt_fail(r->err, TT_EPARSE, "byte %llu: %s has wire type %d, want %d",
                       (unsigned long long)start, f->name, (int)wire, (int)forms[f->type].wire);
    if (wire == WIRE_VARINT)
        return f ? read_number(r, end, m, f) : read_varint(r, end, &n);
    if (wire == WIRE_BYTES && read_varint(r, end, &n))
        return r->err->code;
    if (need(r, end, n, start))
        return r->err->code;
    if (!f)
        return take(r, NULL, n);
    if (wire == WIRE_BYTES)
        return read_run(r, m, f, n, depth);
    to = slot(r, m, f, 1);
    return to ? take(r, to, n) : no_memory(r);
}

/* Recurses at most TT_PROTO_DEPTH deep. */
static enum tt_code read_message(struct reader *r, const ProtobufCMessageDescriptor *type, // NOLINT
                                 uint64_t end, int depth, ProtobufCMessage **ret)
{
    ProtobufCMessage *m;

    if (depth > TT_PROTO_DEPTH)
        return tt_fail(r->err, TT_EPARSE, "byte %llu: messages nested more than %d deep",
                       (unsigned long long)r->at, TT_PROTO_DEPTH);
    m = (ProtobufCMessage *)tt_arena_alloc(r->arena, 1, type->sizeof_message);
    if (!m)
        return no_memory(r);
    protobuf_c_message_init(type, m);
    while (r->at < end) {
        const ProtobufCFieldDescriptor *f;
        uint64_t start = r->at, key = 0;

        if (read_varint(r, end, &key))
            return r->err->code;
        if (!(key >> 3) || key >> 3 > INT32_MAX)
            return tt_fail(r->err, TT_EPARSE, "byte %llu: there is no field %llu",
                           (unsigned long long)start, (unsigned long long)(key >> 3));
        f = protobuf_c_message_descriptor_get_field(type, (unsigned)(key >> 3));
        if (f && !forms[f->type].size)
            f = NULL;
        if (read_field(r, m, f, (enum wire)(key & 7), start, end, depth))
            return r->err->code;
        if (f)
            mark_given(m, f);
    }
    *ret = m;
    return TT_OK;
}

enum tt_code tt_proto_read(const ProtobufCMessageDescriptor *type, const struct tt_feed *feed,
                           struct tt_arena *arena, tt_proto_place *place, void *ctx,
                           ProtobufCMessage **ret, struct tt_err *err)
{
    struct reader r = {.feed = feed,
                       .arena = arena,
                       .place = place,
                       .ctx = ctx,
                       .err = err,
                       .window = TT_NEW(arena, WINDOW, unsigned char)};

    if (!r.window)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    return read_message(&r, type, feed->size, 1, ret);
}
