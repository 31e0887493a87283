// SPDX-License-Identifier: Apache-2.0
#ifndef TT_TESTS_SUPPORT_CHECK_H
#define TT_TESTS_SUPPORT_CHECK_H

/* cmocka wants these before its own header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/*
 * Fail unless |got - want| <= atol + rtol * |want| and both are finite.
 * cmocka's assert_float_equal calls NaN and Inf equal to anything; never use it.
 */
void check_close(double got, double want, double rtol, double atol, const char *what,
                 const char *file, int line);
#define assert_close(got, want, rtol, atol) \
    check_close((double)(got), (double)(want), (rtol), (atol), #got, __FILE__, __LINE__)

/* The bytes of a file, malloc'ed, NUL-terminated; fails the test when there is none. */
char *read_file(const char *path, size_t *ret_n);

/* Fail unless haystack holds needle; prints both. */
#define assert_contains(haystack, needle) check_contains((haystack), (needle), __FILE__, __LINE__)
void check_contains(const char *haystack, const char *needle, const char *file, int line);

#endif
