// SPDX-License-Identifier: Apache-2.0
#include "runtime/kernels.h"

#include <string.h>

#include "runtime/half.h"

#if defined(__x86_64__) && !defined(TT_BASELINE)
#include <immintrin.h>
#define WIDE      1 // TT_BASELINE: for who emulates a processor, and cannot multiply and add at once

#define NAME(x)   x##_avx512
#define NAME_TEXT "avx512"
#define TARGET    __attribute__((target("avx512f,avx512vl,avx512dq,fma")))
#define MR        14
#define VW        16
#include "runtime/kernels.inc"
#undef NAME
#undef NAME_TEXT
#undef TARGET
#undef MR
#undef VW

#define NAME(x)   x##_avx2
#define NAME_TEXT "avx2"
#define TARGET    __attribute__((target("avx2,fma,f16c")))
#define MR        6
#define VW        8
#include "runtime/kernels.inc"
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
#include "runtime/kernels.inc"

const struct tt_kernels *tt_kernels(void)
{
#ifdef WIDE
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return &kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &kernels_avx2;
#endif
    return &kernels_baseline;
}

const struct tt_kernels *const *tt_kernels_all(void)
{
#ifdef WIDE
    static const struct tt_kernels *const all[] = {&kernels_avx512, &kernels_avx2,
                                                   &kernels_baseline, NULL};
    const struct tt_kernels *best = tt_kernels();

    return best == &kernels_avx512 ? all : best == &kernels_avx2 ? all + 1 : all + 2;
#else
    static const struct tt_kernels *const all[] = {&kernels_baseline, NULL};

    return all;
#endif
}
