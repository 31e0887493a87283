// SPDX-License-Identifier: Apache-2.0
#include "runtime/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

static const float weights[6] = {1, -2, 3.5f, 0, 5, 6};
static const int64_t steps[1] = {42};

/* Two tensors, one of them empty, and two lines of metadata. */
static struct tt_st_file sample(void)
{
    static const char *meta[2][2] = {{"model", "resnet"}, {"note", "caf\xc3\xa9 \"x\"\n"}};
    static struct tt_st_tensor list[3] = {
        {.name = "p/w", .dtype = "F32", .ndim = 2, .dim = {2, 3}, .data = weights, .bytes = 24},
        {.name = "empty", .dtype = "F64", .ndim = 2, .dim = {0, 7}},
        {.name = "step", .dtype = "I64", .data = steps, .bytes = 8},
    };

    return (struct tt_st_file){.ntensors = 3, .nmeta = 2, .tensors = list, .meta = meta};
}

/* A file with that header and bytes of data, in a block of its own size. */
static unsigned char *make(const char *header, size_t bytes, size_t *ret_n)
{
    size_t n = strlen(header);
    unsigned char *file = (unsigned char *)calloc(1, 8 + n + bytes);

    assert_non_null(file);
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(file + 8, header, n);
    *ret_n = 8 + n + bytes;
    return file;
}

static void what_is_written_is_read_back(void **state)
{
    struct tt_st_file f = sample(), back;
    const struct tt_st_tensor *w;
    struct tt_arena arena;
    struct tt_err err;
    float x[6];
    void *data, *again;
    size_t n, m;

    (void)state;
    tt_arena_init(&arena, 0);
    assert_int_equal(tt_st_write(&f, &arena, &data, &n, &err), TT_OK);
    assert_int_equal(*(unsigned char *)data % 8, 0);
    assert_int_equal(tt_st_read(data, n, &arena, &back, &err), TT_OK);
    assert_int_equal(back.ntensors, 3);
    w = tt_st_find(&back, "p/w");
    assert_non_null(w);
    assert_string_equal(w->dtype, "F32");
    assert_int_equal(w->ndim, 2);
    assert_int_equal(w->dim[1], 3);
    memcpy(x, w->data, sizeof x);
    for (int i = 0; i < 6; i++)
        assert_close(x[i], weights[i], 0, 0);
    assert_int_equal(tt_st_find(&back, "empty")->bytes, 0);
    assert_int_equal(tt_st_find(&back, "step")->ndim, 0);
    assert_null(tt_st_find(&back, "none"));
    assert_string_equal(tt_st_meta(&back, "note"), "caf\xc3\xa9 \"x\"\n");
    assert_null(tt_st_meta(&back, "none"));
    assert_int_equal(tt_st_write(&back, &arena, &again, &m, &err), TT_OK);
    assert_int_equal(m, n);
    assert_memory_equal(data, again, n);
    tt_arena_release(&arena);
}

static void a_file_of_another_writer_is_read(void **state)
{
    /* Keys in another order, space, offsets not in the order of the names. */
    static const char header[] =
        "{\"b\": {\"shape\": [], \"data_offsets\": [8, 16], \"dtype\": \"U64\"},\n"
        " \"a\": {\"dtype\":\"F32\", \"shape\":[2,1], \"data_offsets\":[0, 8]}}    ";
    struct tt_st_file f;
    struct tt_arena arena;
    struct tt_err err;
    size_t n;
    unsigned char *data = make(header, 16, &n);

    (void)state;
    tt_arena_init(&arena, 0);
    assert_int_equal(tt_st_read(data, n, &arena, &f, &err), TT_OK);
    assert_int_equal(f.ntensors, 2);
    assert_string_equal(f.tensors[0].name, "a");
    assert_ptr_equal(f.tensors[1].data, data + n - 8);
    tt_arena_release(&arena);
    free(data);
}

#define T(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}"

static void bad_headers_are_told_apart(void **state)
{
    static const struct {
        const char *header;
        size_t bytes;
        enum tt_code code;
        const char *message;
    } cases[] = {
        {"{" T("a", "F32", "2", "0,8") "}", 9, TT_EPARSE, "end at 8 of the data, which has 9"},
        {"{" T("a", "F32", "2", "0,8") "}", 7, TT_ERANGE, "tensor 'a': data_offsets [0, 8]"},
        {"{" T("a", "F32", "3", "0,8") "}", 8, TT_ESHAPE, "8 bytes of data, its shape wants 12"},
        {"{" T("a", "F32", "2", "8,0") "}", 8, TT_ERANGE, "[8, 0] are outside of 8 bytes"},
        {"{" T("a", "F32", "2", "0,8") "," T("b", "F32", "2", "4,12") "}", 12, TT_EPARSE,
         "tensor 'b': begins at 4 of the data, want 8: it overlaps another"},
        {"{" T("a", "F32", "2", "0,8") "," T("b", "F32", "2", "12,20") "}", 20, TT_EPARSE,
         "tensor 'b': begins at 12 of the data, want 8: there is a hole"},
        {"{" T("a", "F32", "2", "4,12") "}", 12, TT_EPARSE, "begins at 4 of the data, want 0"},
        {"{" T("a", "F32", "2", "0,8") "," T("a", "F32", "2", "8,16") "}", 16, TT_EPARSE,
         "duplicate object key"},
        {"{" T("a", "F16", "4", "0,8") "}", 8, TT_EUNSUPPORTED, "type 'F16', want F32"},
        {"{" T("a", "F32", "-2", "0,8") "}", 8, TT_EPARSE, "\"shape\" entry 0"},
        {"{" T("a", "F32", "2.0", "0,8") "}", 8, TT_EPARSE, "\"shape\" entry 0"},
        {"{" T("a", "F32", "9223372036854775807", "0,8") "}", 8, TT_ESHAPE, "too many bytes"},
        {"{" T("a", "F32", "4294967296,4294967296", "0,8") "}", 8, TT_ESHAPE, "dimension 1"},
        {"{" T("a", "F32", "2", "0,9223372036854775807") "}", 8, TT_ERANGE, "outside of 8 bytes"},
        {"{" T("a", "F32", "2", "0,9223372036854775808") "}", 8, TT_EPARSE, "too big integer"},
        {"{" T("a", "F32", "1,1,1,1,1,1,1,1,1", "0,4") "}", 4, TT_EUNSUPPORTED, "9 dimensions"},
        {"{" T("a", "F32", "2", "0,8,9") "}", 8, TT_EPARSE, "\"data_offsets\" is missing or not"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, TT_EPARSE, "2 keys, want dtype"},
        {"{\"a\":{\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, TT_EPARSE, "\"dtype\""},
        {"{\"a\":[]}", 0, TT_EPARSE, "tensor 'a': it is not an object"},
        {"{\"__metadata__\":[]}", 0, TT_EPARSE, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"k\":1}}", 0, TT_EPARSE, "'k' is not a string"},
        {"[]", 0, TT_EPARSE, "not a JSON object"},
        {"{\"a\":[[[[]]]]}", 0, TT_EPARSE, "nested more than 3 deep"},
        {"{\"a\xff\":{}}", 0, TT_EPARSE, "byte"},
        {"{\"a\\u0000\":{}}", 0, TT_EPARSE, "byte"},
        {"{} x", 0, TT_EPARSE, "byte"},
        {"", 0, TT_EPARSE, "byte"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_st_file f = {.ntensors = -7};
        struct tt_arena arena;
        struct tt_err err;
        size_t n;
        unsigned char *data = make(cases[i].header, cases[i].bytes, &n);

        tt_arena_init(&arena, 0);
        if (tt_st_read(data, n, &arena, &f, &err) != cases[i].code)
            fail_msg("%s: not refused as it should be", cases[i].header);
        assert_contains(err.msg, cases[i].message);
        assert_null(strchr(err.msg, '\n'));
        assert_int_equal(f.ntensors, -7);
        tt_arena_release(&arena);
        free(data);
    }
}

static void hostile_lengths_are_refused(void **state)
{
    static const unsigned char tops[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    struct tt_arena arena;
    struct tt_st_file f;
    struct tt_err err;

    (void)state;
    tt_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof tops; i++) {
        unsigned char data[10] = {0xff, 0, 0, 0, 0, 0, 0, tops[i], '{', '}'};

        assert_int_equal(tt_st_read(data, sizeof data, &arena, &f, &err), TT_EPARSE);
        assert_contains(err.msg, "byte 0: a header of");
    }
    tt_arena_release(&arena);
}

/* Each prefix in a block of its own size, so that a sanitizer sees a byte too many. */
static void every_truncation_is_refused(void **state)
{
    struct tt_st_file f = sample(), back;
    struct tt_arena arena, scratch;
    struct tt_err err;
    void *data;
    size_t n;

    (void)state;
    tt_arena_init(&arena, 0);
    tt_arena_init(&scratch, 0);
    assert_int_equal(tt_st_write(&f, &arena, &data, &n, &err), TT_OK);
    for (size_t cut = 0; cut < n; cut++) {
        char *part = (char *)malloc(cut ? cut : 1);

        assert_non_null(part);
        memcpy(part, data, cut);
        assert_int_not_equal(tt_st_read(part, cut, &scratch, &back, &err), TT_OK);
        tt_arena_reset(&scratch);
        free(part);
    }
    tt_arena_release(&scratch);
    tt_arena_release(&arena);
}

static void every_flipped_bit_of_the_header_is_an_error_or_another_valid_file(void **state)
{
    struct tt_st_file f = sample(), back;
    struct tt_arena arena, scratch;
    struct tt_err err;
    int refused = 0, read = 0;
    void *data;
    size_t n;

    (void)state;
    tt_arena_init(&arena, 0);
    tt_arena_init(&scratch, 0);
    assert_int_equal(tt_st_write(&f, &arena, &data, &n, &err), TT_OK);
    for (size_t bit = 0; bit < (n - 32) * 8; bit++) {
        unsigned char *bytes = (unsigned char *)data;

        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        if (tt_st_read(data, n, &scratch, &back, &err)) {
            refused++;
        } else {
            size_t sum = 0;

            for (int i = 0; i < back.ntensors; i++)
                sum += back.tensors[i].bytes;
            assert_int_equal(sum, 32);
            read++;
        }
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        tt_arena_reset(&scratch);
    }
    assert_true(refused > 1000); // structure
    assert_true(read > 100);     // names and texts
    tt_arena_release(&scratch);
    tt_arena_release(&arena);
}

static void what_cannot_be_read_back_is_not_written(void **state)
{
    static const struct {
        struct tt_st_tensor a, b;
        const char *message;
    } cases[] = {
        {{.name = "a", .dtype = "F32", .ndim = 1, .dim = {2}, .bytes = 4},
         {.name = "b", .dtype = "F32", .ndim = 1, .dim = {0}},
         "tensor 'a': 4 bytes, its shape wants 8"},
        {{.name = "a", .dtype = "F32", .ndim = 1},
         {.name = "a", .dtype = "F32", .ndim = 1},
         "'a' is given twice"},
        {{.name = "a", .dtype = "F16", .ndim = 1},
         {.name = "b", .dtype = "F32", .ndim = 1},
         "type 'F16'"},
        {{.name = "__metadata__", .dtype = "F32", .ndim = 1},
         {.name = "b", .dtype = "F32", .ndim = 1},
         "taken by the metadata"},
        {{.name = "\xff", .dtype = "F32", .ndim = 1},
         {.name = "b", .dtype = "F32", .ndim = 1},
         "not UTF-8"},
        {{.name = "a", .dtype = "F32", .ndim = 9},
         {.name = "b", .dtype = "F32", .ndim = 1},
         "9 dimensions"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_st_tensor list[2] = {cases[i].a, cases[i].b};
        struct tt_st_file f = {.ntensors = 2, .tensors = list};
        struct tt_arena arena;
        struct tt_err err;
        void *data;
        size_t n;

        tt_arena_init(&arena, 0);
        assert_int_not_equal(tt_st_write(&f, &arena, &data, &n, &err), TT_OK);
        assert_contains(err.msg, cases[i].message);
        tt_arena_release(&arena);
    }
}

static void running_out_of_memory_is_an_error(void **state)
{
    struct tt_st_file f = sample(), back;
    struct tt_arena whole;
    struct tt_err err;
    int failed = 0;
    void *data, *again;
    size_t n, m;

    (void)state;
    tt_arena_init(&whole, 0);
    assert_int_equal(tt_st_write(&f, &whole, &data, &n, &err), TT_OK);
    for (size_t limit = 64;; limit += 64) {
        struct tt_arena arena;
        enum tt_code read, write;

        tt_arena_init(&arena, limit);
        read = tt_st_read(data, n, &arena, &back, &err);
        if (read)
            assert_int_equal(err.code, TT_ENOMEM);
        tt_arena_reset(&arena);
        write = tt_st_write(&f, &arena, &again, &m, &err);
        if (write)
            assert_int_equal(err.code, TT_ENOMEM);
        tt_arena_release(&arena);
        failed += read != TT_OK;
        if (!read && !write)
            break;
    }
    assert_true(failed > 3);
    tt_arena_release(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(a_file_of_another_writer_is_read),
        cmocka_unit_test(bad_headers_are_told_apart),
        cmocka_unit_test(hostile_lengths_are_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_of_the_header_is_an_error_or_another_valid_file),
        cmocka_unit_test(what_cannot_be_read_back_is_not_written),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
