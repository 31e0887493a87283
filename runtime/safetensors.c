// SPDX-License-Identifier: Apache-2.0
#include "runtime/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define HEADER_MAX ((uint64_t)16 << 20)
#define PREFIX     8 // bytes: the length of the header
#define META       "__metadata__"

/* jansson bounds the nesting of what it reads only at 2048; a header needs three. */
#define DEPTH 3

static const struct dtype {
    const char *name;
    int64_t bytes;
} dtypes[] = {{"F32", 4}, {"F64", 8}, {"I64", 8}, {"U64", 8}};

static const struct dtype *find_dtype(const char *name)
{
    for (size_t i = 0; name && i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, name))
            return &dtypes[i];
    return NULL;
}

/* ---- reading ----------------------------------------------------------------- */

/* One tensor with its place, before they are sorted. */
struct entry {
    struct tt_st_tensor t;
    uint64_t begin, end;
};

static bool as_unsigned(const json_t *v, uint64_t *ret)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *ret = (uint64_t)json_integer_value(v);
    return true;
}

static enum tt_code read_shape(const json_t *list, struct tt_st_tensor *t, struct tt_err *err)
{
    if (!json_is_array(list))
        return tt_fail(err, TT_EPARSE, "\"shape\" is missing or not a list");
    if (json_array_size(list) > TT_ST_MAXDIM)
        return tt_fail(err, TT_EUNSUPPORTED, "%zu dimensions, at most %d are supported",
                       json_array_size(list), TT_ST_MAXDIM);
    t->ndim = (int)json_array_size(list);
    for (int i = 0; i < t->ndim; i++) {
        uint64_t d;

        if (!as_unsigned(json_array_get(list, (size_t)i), &d))
            return tt_fail(err, TT_EPARSE, "\"shape\" entry %d is not a whole number from 0 on", i);
        t->dim[i] = (int64_t)d;
    }
    return TT_OK;
}

/* Bytes of a tensor of that type and shape. */
static enum tt_code measure(const struct tt_st_tensor *t, int64_t *ret, struct tt_err *err)
{
    const struct dtype *type = find_dtype(t->dtype);
    int64_t n;

    if (!type)
        return tt_fail(err, TT_EUNSUPPORTED, "type '%.32s', want F32, F64, I64 or U64",
                       t->dtype ? t->dtype : "");
    n = type->bytes;
    for (int i = 0; i < t->ndim; i++)
        if (!tt_mul(n, t->dim[i], &n))
            return tt_fail(err, TT_ESHAPE, "dimension %d is %" PRId64 ": too many bytes to count",
                           i, t->dim[i]);
    *ret = n;
    return TT_OK;
}

static enum tt_code read_entry(const json_t *o, uint64_t bytes, struct entry *e, struct tt_err *err)
{
    const json_t *dtype = json_object_get(o, "dtype"), *place = json_object_get(o, "data_offsets");
    int64_t want;

    if (!json_is_object(o))
        return tt_fail(err, TT_EPARSE, "it is not an object");
    if (!json_is_string(dtype))
        return tt_fail(err, TT_EPARSE, "\"dtype\" is missing or not a string");
    if (json_object_size(o) != 3)
        return tt_fail(err, TT_EPARSE, "%zu keys, want dtype, shape and data_offsets",
                       json_object_size(o));
    e->t.dtype = json_string_value(dtype);
    if (read_shape(json_object_get(o, "shape"), &e->t, err) || measure(&e->t, &want, err))
        return err->code;
    e->t.dtype = find_dtype(e->t.dtype)->name;
    if (!json_is_array(place) || json_array_size(place) != 2 ||
        !as_unsigned(json_array_get(place, 0), &e->begin) ||
        !as_unsigned(json_array_get(place, 1), &e->end))
        return tt_fail(err, TT_EPARSE, "\"data_offsets\" is missing or not two whole numbers");
    if (e->begin > e->end || e->end > bytes)
        return tt_fail(err, TT_ERANGE,
                       "data_offsets [%" PRIu64 ", %" PRIu64 "] are outside of %" PRIu64 " bytes",
                       e->begin, e->end, bytes);
    if (e->end - e->begin != (uint64_t)want)
        return tt_fail(err, TT_ESHAPE, "%" PRIu64 " bytes of data, its shape wants %" PRId64,
                       e->end - e->begin, want);
    e->t.bytes = (size_t)want;
    return TT_OK;
}

static enum tt_code read_meta(json_t *o, struct tt_arena *arena, struct tt_st_file *f,
                              struct tt_err *err)
{
    const char *(*meta)[2];
    const char *key;
    json_t *value;

    if (!json_is_object(o))
        return tt_fail(err, TT_EPARSE, META " is not an object");
    meta = (const char *(*)[2])tt_arena_alloc(arena, json_object_size(o), sizeof *meta);
    if (!meta)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    f->meta = meta;
    json_object_foreach(o, key, value)
    {
        if (!json_is_string(value))
            return tt_fail(err, TT_EPARSE, META " '%.64s' is not a string", key);
        meta[f->nmeta][0] = tt_arena_strndup(arena, key, strlen(key));
        meta[f->nmeta][1] =
            tt_arena_strndup(arena, json_string_value(value), json_string_length(value));
        if (!meta[f->nmeta][0] || !meta[f->nmeta][1])
            return tt_fail(err, TT_ENOMEM, "out of memory");
        f->nmeta++;
    }
    return TT_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct entry *x = (const struct entry *)a, *y = (const struct entry *)b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) // an empty one comes before what begins where it stands
        return x->end < y->end ? -1 : 1;
    return strcmp(x->t.name, y->t.name);
}

/* Sort by place; every byte belongs to one tensor. */
static enum tt_code place(struct entry *list, int n, const char *data, uint64_t bytes,
                          struct tt_st_file *f, struct tt_err *err)
{
    uint64_t at = 0;

    qsort(list, (size_t)n, sizeof *list, by_place);
    for (int i = 0; i < n; i++) {
        if (list[i].begin != at)
            return tt_fail(err, TT_EPARSE,
                           "tensor '%.128s': begins at %" PRIu64 " of the data, want %" PRIu64
                           ": %s",
                           list[i].t.name, list[i].begin, at,
                           list[i].begin < at ? "it overlaps another" : "there is a hole");
        at = list[i].end;
        f->tensors[i] = list[i].t;
        f->tensors[i].data = data + list[i].begin;
    }
    if (at != bytes)
        return tt_fail(err, TT_EPARSE,
                       "the tensors end at %" PRIu64 " of the data, which has %" PRIu64 " bytes",
                       at, bytes);
    return TT_OK;
}

static enum tt_code read_header(json_t *root, const char *data, uint64_t bytes,
                                struct tt_arena *arena, struct tt_st_file *f, struct tt_err *err)
{
    size_t n = json_object_size(root);
    struct entry *list = TT_NEW(arena, n, struct entry);
    const char *key;
    json_t *value;
    int count = 0;

    f->tensors = TT_NEW(arena, n, struct tt_st_tensor);
    if (!list || !f->tensors)
        return tt_fail(err, TT_ENOMEM, "out of memory for %zu tensors", n);
    json_object_foreach(root, key, value)
    {
        struct entry *e = &list[count];

        if (!strcmp(key, META)) {
            if (read_meta(value, arena, f, err))
                return err->code;
            continue;
        }
        e->t.name = tt_arena_strndup(arena, key, strlen(key));
        if (!e->t.name)
            return tt_fail(err, TT_ENOMEM, "out of memory");
        if (read_entry(value, bytes, e, err))
            return tt_fail_in(err, "tensor '%.128s'", key);
        count++;
    }
    f->ntensors = count;
    return place(list, count, data, bytes, f, err);
}

/* jansson recurses with the text: look at the brackets before it does. */
static enum tt_code check_depth(const char *text, size_t n, struct tt_err *err)
{
    bool quoted = false;
    int depth = 0;

    for (size_t i = 0; i < n; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!quoted && (text[i] == '}' || text[i] == ']'))
            depth--;
        if (depth > DEPTH)
            return tt_fail(err, TT_EPARSE, "byte %zu: nested more than %d deep", PREFIX + i, DEPTH);
    }
    return TT_OK;
}

enum tt_code tt_st_read(const void *data, size_t n, struct tt_arena *arena, struct tt_st_file *ret,
                        struct tt_err *err)
{
    const unsigned char *bytes = (const unsigned char *)data;
    struct tt_st_file f = {0};
    uint64_t length = 0;
    json_error_t why;
    json_t *root;
    enum tt_code rc;

    if (n < PREFIX)
        return tt_fail(err, TT_EPARSE, "%zu bytes, want at least %d", n, PREFIX);
    for (int i = 0; i < PREFIX; i++)
        length |= (uint64_t)bytes[i] << (8 * i);
    if (length > HEADER_MAX)
        return tt_fail(err, TT_EPARSE, "byte 0: a header of %" PRIu64 " bytes, at most %" PRIu64,
                       length, HEADER_MAX);
    if (length > n - PREFIX)
        return tt_fail(err, TT_EPARSE, "byte 0: a header of %" PRIu64 " bytes, %zu follow", length,
                       n - PREFIX);
    rc = check_depth((const char *)bytes + PREFIX, (size_t)length, err);
    if (rc)
        return rc;
    root = json_loadb((const char *)bytes + PREFIX, (size_t)length, JSON_REJECT_DUPLICATES, &why);
    if (!root) // jansson calls an allocation that failed a syntax error
        root =
            json_loadb((const char *)bytes + PREFIX, (size_t)length, JSON_REJECT_DUPLICATES, &why);
    if (!root) {
        tt_text_clean(why.text);
        return tt_fail(err, TT_EPARSE, "byte %d: %s", PREFIX + why.position, why.text);
    }
    if (!json_is_object(root))
        rc = tt_fail(err, TT_EPARSE, "byte %d: the header is not a JSON object", PREFIX);
    else
        rc = read_header(root, (const char *)bytes + PREFIX + length, n - PREFIX - length, arena,
                         &f, err);
    json_decref(root);
    if (rc)
        tt_text_clean(err->msg); // it may quote a name of the file
    else
        *ret = f;
    return rc;
}

const struct tt_st_tensor *tt_st_find(const struct tt_st_file *f, const char *name)
{
    for (int i = 0; i < f->ntensors; i++)
        if (!strcmp(f->tensors[i].name, name))
            return &f->tensors[i];
    return NULL;
}

const char *tt_st_meta(const struct tt_st_file *f, const char *key)
{
    for (int i = 0; i < f->nmeta; i++)
        if (!strcmp(f->meta[i][0], key))
            return f->meta[i][1];
    return NULL;
}

/* ---- writing ------------------------------------------------------------------ */

static json_t *one_tensor(const struct tt_st_tensor *t, uint64_t begin)
{
    json_t *o = json_object(), *shape = json_array();

    for (int i = 0; i < t->ndim; i++)
        json_array_append_new(shape, json_integer(t->dim[i]));
    json_object_set_new(o, "dtype", json_string(t->dtype));
    json_object_set_new(o, "shape", shape);
    json_object_set_new(
        o, "data_offsets",
        json_pack("[I, I]", (json_int_t)begin, (json_int_t)begin + (json_int_t)t->bytes));
    if (json_object_size(o) == 3 && json_array_size(shape) == (size_t)t->ndim)
        return o;
    json_decref(o);
    return NULL;
}

static enum tt_code check_tensor(const struct tt_st_file *f, int i, struct tt_err *err)
{
    const struct tt_st_tensor *t = &f->tensors[i];
    int64_t want = 0;

    if (!strcmp(t->name, META))
        return tt_fail(err, TT_EPARSE, "the name is taken by the metadata");
    if (t->ndim < 0 || t->ndim > TT_ST_MAXDIM)
        return tt_fail(err, TT_ESHAPE, "%d dimensions, at most %d", t->ndim, TT_ST_MAXDIM);
    if (measure(t, &want, err))
        return err->code;
    if ((uint64_t)want != t->bytes)
        return tt_fail(err, TT_ESHAPE, "%zu bytes, its shape wants %" PRId64, t->bytes, want);
    return TT_OK;
}

/* Add under a key that must be new and UTF-8; takes value. */
static enum tt_code add(json_t *o, const char *key, json_t *value, struct tt_err *err)
{
    if (json_object_get(o, key)) {
        json_decref(value);
        return tt_fail(err, TT_EPARSE, "the name '%.128s' is given twice", key);
    }
    if (!value || json_object_set_new(o, key, value))
        return tt_fail(err, TT_EPARSE, "the name '%.128s', or what it stands for, is not UTF-8",
                       key);
    return TT_OK;
}

static enum tt_code fill_header(const struct tt_st_file *f, json_t *root, uint64_t *ret_bytes,
                                struct tt_err *err)
{
    json_t *meta = json_object();
    uint64_t at = 0;

    if (json_object_set_new(root, META, meta))
        return tt_fail(err, TT_ENOMEM, "out of memory");
    for (int i = 0; i < f->nmeta; i++)
        if (add(meta, f->meta[i][0], json_string(f->meta[i][1]), err))
            return tt_fail_in(err, META);
    if (!f->nmeta)
        json_object_del(root, META);
    for (int i = 0; i < f->ntensors; i++) {
        const struct tt_st_tensor *t = &f->tensors[i];

        if (check_tensor(f, i, err))
            return tt_fail_in(err, "tensor '%.128s'", t->name);
        if (t->bytes > INT64_MAX - at)
            return tt_fail(err, TT_ERANGE, "tensor '%.128s': too many bytes to count", t->name);
        if (add(root, t->name, one_tensor(t, at), err))
            return err->code;
        at += t->bytes;
    }
    *ret_bytes = at;
    return TT_OK;
}

static enum tt_code join(const struct tt_st_file *f, const char *text, uint64_t bytes,
                         struct tt_arena *arena, void **ret_data, size_t *ret_n, struct tt_err *err)
{
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    unsigned char *to;
    size_t at = PREFIX + padded;

    if (padded > HEADER_MAX)
        return tt_fail(err, TT_ERANGE, "a header of %zu bytes, at most %" PRIu64, padded,
                       HEADER_MAX);
    to = bytes > SIZE_MAX - at ? NULL : TT_NEW(arena, at + bytes, unsigned char);
    if (!to)
        return tt_fail(err, TT_ENOMEM, "out of memory for %" PRIu64 " bytes", bytes + at);
    for (int i = 0; i < PREFIX; i++)
        to[i] = (unsigned char)((uint64_t)padded >> (8 * i));
    memcpy(to + PREFIX, text, length); // NOLINT(bugprone-not-null-terminated-result): no string
    memset(to + PREFIX + length, ' ', padded - length);
    for (int i = 0; i < f->ntensors; i++) {
        if (f->tensors[i].bytes)
            memcpy(to + at, f->tensors[i].data, f->tensors[i].bytes);
        at += f->tensors[i].bytes;
    }
    *ret_data = to;
    *ret_n = at;
    return TT_OK;
}

enum tt_code tt_st_write(const struct tt_st_file *f, struct tt_arena *arena, void **ret_data,
                         size_t *ret_n, struct tt_err *err)
{
    json_t *root = json_object();
    uint64_t bytes = 0;
    enum tt_code rc;
    char *text;

    if (!root)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    rc = fill_header(f, root, &bytes, err);
    if (!rc) {
        text = json_dumps(root, JSON_COMPACT); // in the order of insertion
        rc = text ? join(f, text, bytes, arena, ret_data, ret_n, err)
                  : tt_fail(err, TT_ENOMEM, "out of memory");
        free(text);
    }
    json_decref(root);
    return rc;
}
