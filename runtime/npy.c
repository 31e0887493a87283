// SPDX-License-Identifier: Apache-2.0
#include "runtime/npy.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"

#define MAGIC  "\x93NUMPY"
#define NMAGIC 6
#define ALIGN  64

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are little-endian");

static const struct type {
    const char *descr;
    size_t bytes;
} types[TT_NPY_NTYPES] = {
    [TT_NPY_U8] = {"|u1", 1},  [TT_NPY_I32] = {"<i4", 4}, [TT_NPY_I64] = {"<i8", 8},
    [TT_NPY_F32] = {"<f4", 4}, [TT_NPY_F64] = {"<f8", 8},
};

size_t tt_npy_size(enum tt_npy_type type)
{
    return (unsigned)type < TT_NPY_NTYPES ? types[type].bytes : 0;
}

/* The header is a Python dict; what NumPy writes of it: strings, True, False, a tuple. */
struct scan {
    const char *text;
    size_t at, n;
    size_t offset; // of text in the file
    struct tt_err *err;
};

static void skip_space(struct scan *s)
{
    while (s->at < s->n && (s->text[s->at] == ' ' || s->text[s->at] == '\n'))
        s->at++;
}

static bool take(struct scan *s, char c)
{
    skip_space(s);
    if (s->at >= s->n || s->text[s->at] != c)
        return false;
    s->at++;
    return true;
}

static enum tt_code wanted(struct scan *s, const char *what)
{
    return tt_fail(s->err, TT_EPARSE, "byte %zu: want %s", s->offset + s->at, what);
}

static enum tt_code take_string(struct scan *s, char *to, size_t size)
{
    char quote;
    size_t n = 0;

    skip_space(s);
    quote = s->at < s->n ? s->text[s->at] : 0;
    if (quote != '\'' && quote != '"')
        return wanted(s, "a string");
    for (s->at++; s->at < s->n && s->text[s->at] != quote; s->at++) {
        if (n + 1 >= size || !isprint((unsigned char)s->text[s->at]) || s->text[s->at] == '\\')
            return wanted(s, "a shorter, plain string");
        to[n++] = s->text[s->at];
    }
    to[n] = '\0';
    return take(s, quote) ? TT_OK : wanted(s, "the end of a string");
}

static enum tt_code take_bool(struct scan *s, bool *ret)
{
    static const char *const words[] = {"False", "True"};

    skip_space(s);
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(words[i]);

        if (s->n - s->at >= n && !memcmp(s->text + s->at, words[i], n)) {
            s->at += n;
            *ret = i != 0;
            return TT_OK;
        }
    }
    return wanted(s, "True or False");
}

static enum tt_code take_number(struct scan *s, int64_t *ret)
{
    size_t start;
    int64_t v = 0;

    skip_space(s);
    start = s->at;
    for (; s->at < s->n && isdigit((unsigned char)s->text[s->at]); s->at++)
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, s->text[s->at] - '0', &v))
            return wanted(s, "a size below 2^63");
    if (s->at == start)
        return wanted(s, "a whole number");
    *ret = v;
    return TT_OK;
}

static enum tt_code take_shape(struct scan *s, struct tt_npy *a)
{
    a->ndim = 0;
    if (!take(s, '('))
        return wanted(s, "a tuple");
    while (!take(s, ')')) {
        if (a->ndim == TT_MAXDIM)
            return tt_fail(s->err, TT_EUNSUPPORTED, "shape: more than %d dimensions", TT_MAXDIM);
        if (take_number(s, &a->dim[a->ndim]))
            return s->err->code;
        a->ndim++;
        if (take(s, ','))
            continue;
        if (a->ndim == 1)
            return wanted(s, "a comma: (n,) is a tuple and (n) is not");
        if (!take(s, ')'))
            return wanted(s, "a comma or the end of the tuple");
        break;
    }
    return TT_OK;
}

static enum tt_code find_type(const char *descr, enum tt_npy_type *ret, struct tt_err *err)
{
    for (unsigned i = 0; i < TT_NPY_NTYPES; i++)
        if (!strcmp(descr, types[i].descr)) {
            *ret = (enum tt_npy_type)i;
            return TT_OK;
        }
    return tt_fail(err, TT_EUNSUPPORTED, "descr: '%s', want |u1, <i4, <i8, <f4 or <f8", descr);
}

enum { DESCR = 1, ORDER = 2, SHAPE = 4, ALL = 7 };

static enum tt_code take_entry(struct scan *s, struct tt_npy *a, unsigned *seen)
{
    char key[32], descr[32];
    unsigned bit;
    bool fortran = false;

    if (take_string(s, key, sizeof key))
        return s->err->code;
    bit = !strcmp(key, "descr")           ? DESCR
          : !strcmp(key, "fortran_order") ? ORDER
          : !strcmp(key, "shape")         ? SHAPE
                                          : 0;
    if (!bit || *seen & bit)
        return tt_fail(s->err, TT_EPARSE, "key '%s' is %s", key, bit ? "given twice" : "not known");
    *seen |= bit;
    if (!take(s, ':'))
        return wanted(s, "a colon");
    if (bit == SHAPE)
        return take_shape(s, a);
    if (bit == ORDER) {
        if (take_bool(s, &fortran))
            return s->err->code;
        return fortran ? tt_fail(s->err, TT_EUNSUPPORTED, "fortran_order: True, want False")
                       : TT_OK;
    }
    return take_string(s, descr, sizeof descr) ? s->err->code : find_type(descr, &a->type, s->err);
}

static enum tt_code read_dict(struct scan *s, struct tt_npy *a)
{
    unsigned seen = 0;

    if (!take(s, '{'))
        return wanted(s, "a dict");
    while (!take(s, '}')) {
        if (take_entry(s, a, &seen))
            return s->err->code;
        if (take(s, ','))
            continue;
        if (!take(s, '}'))
            return wanted(s, "a comma or the end of the dict");
        break;
    }
    skip_space(s);
    if (s->at < s->n)
        return wanted(s, "the end of the header");
    if (seen != ALL)
        return tt_fail(s->err, TT_EPARSE, "key '%s' is missing",
                       !(seen & DESCR)   ? "descr"
                       : !(seen & ORDER) ? "fortran_order"
                                         : "shape");
    return TT_OK;
}

enum tt_code tt_npy_read(const void *data, size_t n, struct tt_npy *ret, struct tt_err *err)
{
    const unsigned char *bytes = (const unsigned char *)data;
    struct scan s = {.err = err};
    struct tt_npy a = {0};
    int64_t want;
    size_t length;

    if (n < NMAGIC + 4 || memcmp(bytes, MAGIC, NMAGIC) != 0)
        return tt_fail(err, TT_EPARSE, "byte 0: not an .npy file: want \\x93NUMPY and a version");
    if (bytes[6] < 1 || bytes[6] > 3 || bytes[7])
        return tt_fail(err, TT_EUNSUPPORTED, "byte 6: version %d.%d, want 1.0, 2.0 or 3.0",
                       bytes[6], bytes[7]);
    s.offset = bytes[6] == 1 ? 10 : 12;
    if (n < s.offset)
        return tt_fail(err, TT_EPARSE, "byte 8: the length of the header is cut off");
    length = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] > 1)
        length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (length > n - s.offset)
        return tt_fail(err, TT_EPARSE, "byte 8: a header of %zu bytes, %zu follow", length,
                       n - s.offset);
    s.text = (const char *)bytes + s.offset;
    s.n = length;
    if (read_dict(&s, &a))
        return err->code;
    a.n = 1;
    for (int i = 0; i < a.ndim; i++)
        if (!tt_mul(a.n, a.dim[i], &a.n))
            return tt_fail(err, TT_ESHAPE, "shape: too many elements to count");
    if (!tt_mul(a.n, (int64_t)types[a.type].bytes, &want) ||
        (uint64_t)want != n - s.offset - length)
        return tt_fail(err, TT_ESHAPE, "%zu bytes of data, the shape wants %lld elements of %zu",
                       n - s.offset - length, (long long)a.n, types[a.type].bytes);
    a.data = bytes + s.offset + length;
    *ret = a;
    return TT_OK;
}

size_t tt_npy_header(char ret[TT_NPY_HEADER], int ndim, const int64_t *dim)
{
    int start = NMAGIC + 4;
    int n = start + snprintf(ret + start, (size_t)(TT_NPY_HEADER - start),
                             "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    size_t whole;

    for (int i = 0; i < ndim && i < TT_MAXDIM; i++)
        n += snprintf(ret + n, (size_t)(TT_NPY_HEADER - n), i && ndim > 1 ? " %lld%s" : "%lld%s",
                      (long long)dim[i], i + 1 < ndim || ndim == 1 ? "," : "");
    n += snprintf(ret + n, (size_t)(TT_NPY_HEADER - n), "), }");
    whole = ((size_t)n + 1 + ALIGN - 1) / ALIGN * ALIGN;
    memset(ret + n, ' ', whole - (size_t)n);
    ret[whole - 1] = '\n';
    memcpy(ret, MAGIC "\x01\x00", NMAGIC + 2);
    ret[8] = (char)((whole - (size_t)start) & 0xff);
    ret[9] = (char)((whole - (size_t)start) >> 8);
    return whole;
}
