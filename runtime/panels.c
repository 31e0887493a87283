// SPDX-License-Identifier: Apache-2.0
#include "runtime/panels.h"

#include <stddef.h>

#if defined(__x86_64__) && !defined(TT_BASELINE)
#define WIDE      1 // TT_BASELINE: for who emulates a processor, and cannot multiply and add at once

#define NAME(x)   x##_avx512
#define NAME_TEXT "avx512"
#define TARGET    __attribute__((target("avx512f,avx512vl,avx512dq,fma")))
#define MR        14
#define VW        16
#include "runtime/panels.inc"
#undef NAME
#undef NAME_TEXT
#undef TARGET
#undef MR
#undef VW

#define NAME(x)   x##_avx2
#define NAME_TEXT "avx2"
#define TARGET    __attribute__((target("avx2,fma")))
#define MR        6
#define VW        8
#include "runtime/panels.inc"
#undef NAME
#undef NAME_TEXT
#undef TARGET
#undef MR
#undef VW

#endif

#define NAME(x)   x##_baseline
#define NAME_TEXT "baseline"
#define TARGET
#define MR 4
#define VW 4
#include "runtime/panels.inc"

const struct tt_panels *tt_panels(void)
{
#ifdef WIDE
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return &panels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &panels_avx2;
#endif
    return &panels_baseline;
}

const struct tt_panels *const *tt_panels_all(void)
{
#ifdef WIDE
    static const struct tt_panels *const all[] = {&panels_avx512, &panels_avx2, &panels_baseline,
                                                  NULL};
    const struct tt_panels *best = tt_panels();

    return best == &panels_avx512 ? all : best == &panels_avx2 ? all + 1 : all + 2;
#else
    static const struct tt_panels *const all[] = {&panels_baseline, NULL};

    return all;
#endif
}
