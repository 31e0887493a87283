// SPDX-License-Identifier: Apache-2.0
#include "runtime/npy.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

/* A file of that version with that header and bytes of data, in a block of its own size. */
static unsigned char *make(int version, const char *header, size_t bytes, size_t *ret_n)
{
    size_t n = strlen(header), start = version == 1 ? 10 : 12;
    unsigned char *file = (unsigned char *)calloc(1, start + n + bytes);

    assert_non_null(file);
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (unsigned char)version;
    for (size_t i = 8; i < start; i++)
        file[i] = (unsigned char)(n >> (8 * (i - 8)));
    memcpy(file + start, header, n);
    *ret_n = start + n + bytes;
    return file;
}

#define HEADER(descr, shape) \
    "{'descr': '" descr "', 'fortran_order': False, 'shape': (" shape "), }      \n"

static void every_type_and_version_is_read(void **state)
{
    static const struct {
        int version;
        const char *header;
        size_t bytes;
        enum tt_npy_type type;
        int ndim;
        int64_t dim[3];
    } cases[] = {
        {1, HEADER("|u1", "2, 3"), 6, TT_NPY_U8, 2, {2, 3}},
        {2, HEADER("<i4", "5,"), 20, TT_NPY_I32, 1, {5}},
        {3, HEADER("<i8", ""), 8, TT_NPY_I64, 0, {0}},
        {1, HEADER("<f4", "2, 1, 3"), 24, TT_NPY_F32, 3, {2, 1, 3}},
        {1, HEADER("<f8", "0, 4"), 0, TT_NPY_F64, 2, {0, 4}},
        {1, "{\"shape\":(2,),\"descr\":\"|u1\",\"fortran_order\":False}", 2, TT_NPY_U8, 1, {2}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_npy a;
        struct tt_err err;
        size_t n;
        unsigned char *data = make(cases[i].version, cases[i].header, cases[i].bytes, &n);

        if (tt_npy_read(data, n, &a, &err))
            fail_msg("%s: %s", cases[i].header, err.msg);
        assert_int_equal(a.type, cases[i].type);
        assert_int_equal(a.ndim, cases[i].ndim);
        for (int k = 0; k < a.ndim; k++)
            assert_int_equal(a.dim[k], cases[i].dim[k]);
        assert_int_equal((size_t)a.n * tt_npy_size(a.type), cases[i].bytes);
        assert_ptr_equal(a.data, data + n - cases[i].bytes);
        free(data);
    }
}

static void bad_headers_are_told_apart(void **state)
{
    static const struct {
        const char *header;
        size_t bytes;
        enum tt_code code;
        const char *message;
    } cases[] = {
        {HEADER("<f4", "2, 3"), 23, TT_ESHAPE, "23 bytes of data, the shape wants 6 elements of 4"},
        {HEADER("<f4", "2, 3"), 25, TT_ESHAPE, "25 bytes of data"},
        {HEADER(">f4", "2,"), 8, TT_EUNSUPPORTED, "descr: '>f4', want |u1"},
        {HEADER("|O", "2,"), 8, TT_EUNSUPPORTED, "descr: '|O'"},
        {HEADER("<f4", "2"), 8, TT_EPARSE, "want a comma"},
        {HEADER("<f4", "-2,"), 8, TT_EPARSE, "want a whole number"},
        {HEADER("<f4", "9223372036854775808,"), 8, TT_EPARSE, "below 2^63"},
        {HEADER("<f4", "9223372036854775807,"), 8, TT_ESHAPE, "9223372036854775807 elements"},
        {HEADER("<f4", "4294967296, 4294967296"), 8, TT_ESHAPE, "too many elements"},
        {HEADER("<f4", "1, 1, 1, 1, 1, 1, 1"), 4, TT_EUNSUPPORTED, "more than 6 dimensions"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}", 8, TT_EUNSUPPORTED,
         "fortran_order: True, want False"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}", 8, TT_EPARSE, "True or False"},
        {"{'descr': '<f4', 'shape': (2,)}", 8, TT_EPARSE, "key 'fortran_order' is missing"},
        {"{'descr': '<f4', 'descr': '<f4'}", 8, TT_EPARSE, "key 'descr' is given twice"},
        {"{'descr': '<f4', 'order': 'C'}", 8, TT_EPARSE, "key 'order' is not known"},
        {"{'descr': '<f4\\n'}", 8, TT_EPARSE, "plain string"},
        {"{'descr': [('a', '<f4')]}", 8, TT_EPARSE, "byte 20: want a string"},
        {"{'descr' '<f4'}", 8, TT_EPARSE, "want a colon"},
        {"{'descr': '<f4'", 0, TT_EPARSE, "byte 25: want a comma or the end of the dict"},
        {HEADER("<f4", "2,") "x", 8, TT_EPARSE, "want the end of the header"},
        {"(1, 2)", 0, TT_EPARSE, "byte 10: want a dict"},
        {"", 0, TT_EPARSE, "want a dict"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_npy a = {.ndim = -7};
        struct tt_err err;
        size_t n;
        unsigned char *data = make(1, cases[i].header, cases[i].bytes, &n);

        if (tt_npy_read(data, n, &a, &err) != cases[i].code)
            fail_msg("%s: not refused as it should be", cases[i].header);
        assert_contains(err.msg, cases[i].message);
        assert_int_equal(a.ndim, -7);
        free(data);
    }
}

static void what_is_not_npy_is_said(void **state)
{
    struct tt_npy a;
    struct tt_err err;
    size_t n;
    unsigned char *data = make(1, HEADER("<f4", "1,"), 4, &n);

    (void)state;
    assert_int_equal(tt_npy_read("PK\x03\x04........", 12, &a, &err), TT_EPARSE);
    assert_contains(err.msg, "not an .npy file");
    data[6] = 4;
    assert_int_equal(tt_npy_read(data, n, &a, &err), TT_EUNSUPPORTED);
    assert_contains(err.msg, "version 4.0, want 1.0, 2.0 or 3.0");
    data[6] = 2;
    assert_int_equal(tt_npy_read(data, n, &a, &err), TT_EPARSE);
    assert_contains(err.msg, "byte 8: a header of");
    free(data);
}

static void every_truncation_is_refused(void **state)
{
    struct tt_npy a;
    struct tt_err err;
    size_t n;

    (void)state;
    for (int version = 1; version <= 3; version++) {
        unsigned char *data = make(version, HEADER("<f4", "2, 3"), 24, &n);

        for (size_t cut = 0; cut < n; cut++) {
            unsigned char *part = (unsigned char *)malloc(cut ? cut : 1);

            assert_non_null(part);
            memcpy(part, data, cut);
            assert_int_not_equal(tt_npy_read(part, cut, &a, &err), TT_OK);
            free(part);
        }
        free(data);
    }
}

static void every_flipped_bit_is_an_error_or_another_valid_file(void **state)
{
    struct tt_npy a;
    struct tt_err err;
    size_t n;
    unsigned char *data = make(1, HEADER("<f4", "2, 3"), 24, &n);
    int refused = 0;

    (void)state;
    for (size_t bit = 0; bit < (n - 24) * 8; bit++) {
        data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        if (tt_npy_read(data, n, &a, &err))
            refused++;
        else
            assert_int_equal((size_t)a.n * tt_npy_size(a.type), 24);
        data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_true(refused > 400);
    free(data);
}

static void a_header_that_is_written_is_read_back(void **state)
{
    static const struct {
        int ndim;
        int64_t dim[TT_MAXDIM];
    } cases[] = {
        {0, {0}}, {1, {3}}, {2, {0, 10}}, {3, {1, 2, 3}}, {6, {INT64_MAX, 0, 1, 1, 1, 1}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char file[TT_NPY_HEADER + 64] = {0};
        size_t n = tt_npy_header(file, cases[i].ndim, cases[i].dim);
        int64_t len = 1;
        struct tt_npy a;
        struct tt_err err;

        for (int k = 0; k < cases[i].ndim; k++)
            len = len && cases[i].dim[k] ? len * cases[i].dim[k] : 0;
        assert_int_equal(n % 64, 0);
        assert_true(n <= TT_NPY_HEADER);
        if (tt_npy_read(file, n + 4 * (size_t)len, &a, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(a.type, TT_NPY_F32);
        assert_int_equal(a.ndim, cases[i].ndim);
        for (int k = 0; k < a.ndim; k++)
            assert_int_equal(a.dim[k], cases[i].dim[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_and_version_is_read),
        cmocka_unit_test(bad_headers_are_told_apart),
        cmocka_unit_test(what_is_not_npy_is_said),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_is_an_error_or_another_valid_file),
        cmocka_unit_test(a_header_that_is_written_is_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
