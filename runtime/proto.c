// SPDX-License-Identifier: Apache-2.0
#include "runtime/proto.h"

#include "base/text.h"

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct walk {
    const unsigned char *data;
    size_t at;
    struct tt_err *err;
};

/* Text is UTF-8 without NUL. */
static bool is_text(const char *s, size_t n)
{
    while (n) {
        size_t len = *s ? tt_text_char(s, n) : 0;

        if (!len)
            return false;
        s += len;
        n -= len;
    }
    return true;
}

static enum tt_code read_varint(struct walk *w, size_t end, uint64_t *ret)
{
    size_t start = w->at;
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70 && w->at < end; shift += 7) {
        unsigned char byte = w->data[w->at++];

        if (shift < 64)
            v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = v;
            return TT_OK;
        }
    }
    return tt_fail(w->err, TT_EPARSE, "byte %zu: a number that does not end", start);
}

static enum tt_code skip(struct walk *w, size_t end, uint64_t n, size_t start)
{
    if (n > end - w->at)
        return tt_fail(w->err, TT_EPARSE, "byte %zu: %llu bytes follow, want %llu", start,
                       (unsigned long long)(end - w->at), (unsigned long long)n);
    w->at += (size_t)n;
    return TT_OK;
}

static enum tt_code check_message(struct walk *w, const ProtobufCMessageDescriptor *type,
                                  size_t end, int depth);

/* One length-delimited field of n bytes at w->at. */
static enum tt_code check_bytes(struct walk *w, const ProtobufCFieldDescriptor *field, size_t n,
                                int depth)
{
    size_t start = w->at;

    if (field && field->type == PROTOBUF_C_TYPE_MESSAGE)
        return check_message(w, (const ProtobufCMessageDescriptor *)field->descriptor, start + n,
                             depth + 1);
    if (field && field->type == PROTOBUF_C_TYPE_STRING &&
        !is_text((const char *)w->data + start, n))
        return tt_fail(w->err, TT_EPARSE, "byte %zu: %s is not UTF-8 text", start, field->name);
    w->at += n;
    return TT_OK;
}

/* Recurses at most TT_PROTO_DEPTH deep. */
static enum tt_code check_message(struct walk *w, const ProtobufCMessageDescriptor *type, // NOLINT
                                  size_t end, int depth)
{
    if (depth > TT_PROTO_DEPTH)
        return tt_fail(w->err, TT_EPARSE, "byte %zu: messages nested more than %d deep", w->at,
                       TT_PROTO_DEPTH);
    while (w->at < end) {
        const ProtobufCFieldDescriptor *field;
        size_t start = w->at;
        uint64_t key = 0, n = 0;
        enum tt_code rc = read_varint(w, end, &key);

        if (rc)
            return rc;
        if (!(key >> 3) || key >> 3 > INT32_MAX)
            return tt_fail(w->err, TT_EPARSE, "byte %zu: there is no field %llu", start,
                           (unsigned long long)(key >> 3));
        field = protobuf_c_message_descriptor_get_field(type, (unsigned)(key >> 3));
        switch (key & 7) {
        case WIRE_VARINT:
            rc = read_varint(w, end, &n);
            break;
        case WIRE_64:
            rc = skip(w, end, 8, start);
            break;
        case WIRE_32:
            rc = skip(w, end, 4, start);
            break;
        case WIRE_BYTES:
            rc = read_varint(w, end, &n);
            if (!rc && n > end - w->at)
                rc = skip(w, end, n, start);
            if (!rc)
                rc = check_bytes(w, field, (size_t)n, depth);
            break;
        default:
            rc = tt_fail(w->err, TT_EPARSE, "byte %zu: there is no wire type %d", start,
                         (int)(key & 7));
        }
        if (rc)
            return rc;
    }
    return TT_OK;
}

struct pool {
    struct tt_arena *arena;
    bool full;
};

static void *pool_alloc(void *data, size_t n)
{
    struct pool *pool = (struct pool *)data;
    void *p = tt_arena_alloc(pool->arena, n, 1);

    pool->full |= !p;
    return p;
}

static void pool_free(void *data, void *p)
{
    (void)data; // the arena gives everything back at once
    (void)p;
}

enum tt_code tt_proto_unpack(const ProtobufCMessageDescriptor *type, const void *data, size_t n,
                             struct tt_arena *arena, const ProtobufCMessage **ret,
                             struct tt_err *err)
{
    struct walk w = {.data = (const unsigned char *)data, .err = err};
    struct pool pool = {.arena = arena};
    ProtobufCAllocator allocator = {pool_alloc, pool_free, &pool};
    const ProtobufCMessage *m;
    enum tt_code rc = check_message(&w, type, n, 1);

    if (rc)
        return rc;
    m = protobuf_c_message_unpack(type, &allocator, n, w.data);
    if (!m && pool.full)
        return tt_fail(err, TT_ENOMEM, "out of memory while unpacking %zu bytes", n);
    if (!m)
        return tt_fail(err, TT_EPARSE, "%zu bytes do not unpack as %s", n, type->name);
    *ret = m;
    return TT_OK;
}
