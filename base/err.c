// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum tt_code tt_fail(struct tt_err *err, enum tt_code code, const char *fmt, ...)
{
    va_list ap;

    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return code;
}

enum tt_code tt_fail_in(struct tt_err *err, const char *fmt, ...)
{
    char whole[TT_ERR_MSG];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(whole, sizeof whole, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof whole)
        snprintf(whole + n, sizeof whole - (size_t)n, ": %s", err->msg);
    memcpy(err->msg, whole, sizeof whole);
    return err->code;
}

#define TT_CODE_NAME(code, name, retry) name,
static const char *const names[] = {TT_CODES(TT_CODE_NAME)};
#undef TT_CODE_NAME

const char *tt_code_name(enum tt_code code)
{
    return (unsigned)code < TT_NCODES ? names[code] : "unknown";
}
