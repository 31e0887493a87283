// SPDX-License-Identifier: Apache-2.0
#ifndef TT_BASE_ERR_H
#define TT_BASE_ERR_H

#include <stddef.h>
#include <stdint.h>

/*
 * Errors: a code for the program, a sentence for the reader, a place for the fix.
 *
 * A function that can fail returns enum tt_code and takes struct tt_err *err
 * last.  On TT_OK it leaves *err and its own state's meaning alone; on anything
 * else it has filled *err and, unless its header says otherwise, written no
 * output parameter.
 */

/*   code           name on the wire  may the same request succeed later? */
#define TT_CODES(X)                      \
    X(TT_OK, "ok", 0)                    \
    X(TT_ENOMEM, "out-of-memory", 1)     \
    X(TT_EIO, "io", 1)                   \
    X(TT_EPARSE, "malformed", 0)         \
    X(TT_ESHAPE, "shape", 0)             \
    X(TT_EUNSUPPORTED, "unsupported", 0) \
    X(TT_ERANGE, "out-of-range", 0)      \
    X(TT_ENOTFOUND, "not-found", 0)      \
    X(TT_EDENIED, "denied", 0)           \
    X(TT_EBUSY, "busy", 1)               \
    X(TT_ENUMERIC, "not-finite", 0)

#define TT_CODE_ENUM(code, name, retry) code,
enum tt_code { TT_CODES(TT_CODE_ENUM) TT_NCODES };
#undef TT_CODE_ENUM

#define TT_ERR_MSG            512
#define TT_MUST_CHECK         __attribute__((warn_unused_result)) // before every fallible function
#define TT_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

struct tt_err {
    enum tt_code code;
    char msg[TT_ERR_MSG]; // one line, no full stop, outermost context first
};

/* Fill *err and return code, so that a failure is one statement. */
enum tt_code tt_fail(struct tt_err *err, enum tt_code code, const char *fmt, ...) TT_PRINTF(3, 4);

/* Put "context: " before the message that *err already holds; returns its code. */
enum tt_code tt_fail_in(struct tt_err *err, const char *fmt, ...) TT_PRINTF(2, 3);

/* The name sent on the wire and written to logs; never NULL. */
const char *tt_code_name(enum tt_code code);

#endif
