// SPDX-License-Identifier: Apache-2.0
#include "runtime/rows.h"

#include <stddef.h>

#if defined(__x86_64__) && !defined(TT_BASELINE)
#define WIDE      1 // TT_BASELINE: for who emulates a processor, and cannot multiply and add at once

#define NAME(x)   x##_avx512
#define NAME_TEXT "avx512"
#define TARGET    __attribute__((target("avx512f,avx512vl,avx512dq,fma")))
#define VW        16
#include "runtime/rows.inc"
#undef NAME
#undef NAME_TEXT
#undef TARGET
#undef VW

#define NAME(x)   x##_avx2
#define NAME_TEXT "avx2"
#define TARGET    __attribute__((target("avx2,fma")))
#define VW        8
#include "runtime/rows.inc"
#undef NAME
#undef NAME_TEXT
#undef TARGET
#undef VW

#endif

#define NAME(x)   x##_baseline
#define NAME_TEXT "baseline"
#define TARGET
#define VW 4
#include "runtime/rows.inc"

const struct tt_rows *tt_rows(void)
{
#ifdef WIDE
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return &rows_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &rows_avx2;
#endif
    return &rows_baseline;
}

const struct tt_rows *const *tt_rows_all(void)
{
#ifdef WIDE
    static const struct tt_rows *const all[] = {&rows_avx512, &rows_avx2, &rows_baseline, NULL};
    const struct tt_rows *best = tt_rows();

    return best == &rows_avx512 ? all : best == &rows_avx2 ? all + 1 : all + 2;
#else
    static const struct tt_rows *const all[] = {&rows_baseline, NULL};

    return all;
#endif
}
