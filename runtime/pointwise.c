// SPDX-License-Identifier: Apache-2.0
#include "runtime/pointwise.h"

#include "runtime/fmath.h"
#include "runtime/op.h"

#define READS_X       TT_READS_IN(0)
#define READS_A       TT_READS_IN(0)
#define READS_B       TT_READS_IN(1)
#define CLAMP(v)      ((v) < 0 ? 0 : (v) > 1 ? 1 : (v))
#define GELU_INNER(x) (.797884561f * ((x) + .044715f * (x) * (x) * (x)))

#if defined(__x86_64__) && !defined(TT_BASELINE)
#define WIDE      1 // TT_BASELINE: for who emulates a processor, and cannot multiply and add at once

#define NAME(x)   x##_avx512
#define NAME_TEXT "avx512"
#define TARGET    __attribute__((target("avx512f,avx512vl,avx512dq,fma,prefer-vector-width=512")))
#include "runtime/pointwise.inc"
#undef NAME
#undef NAME_TEXT
#undef TARGET

#define NAME(x)   x##_avx2
#define NAME_TEXT "avx2"
#define TARGET    __attribute__((target("avx2,fma")))
#include "runtime/pointwise.inc"
#undef NAME
#undef NAME_TEXT
#undef TARGET

#endif

#define NAME(x)   x##_baseline
#define NAME_TEXT "baseline"
#define TARGET
#include "runtime/pointwise.inc"

const struct tt_pointwise *tt_pointwise(void)
{
    return *tt_pointwise_all();
}

const struct tt_pointwise *const *tt_pointwise_all(void)
{
#ifdef WIDE
    static const struct tt_pointwise *const all[] = {&pointwise_avx512, &pointwise_avx2,
                                                     &pointwise_baseline, NULL};

    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return all;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? all + 1 : all + 2;
#else
    static const struct tt_pointwise *const all[] = {&pointwise_baseline, NULL};

    return all;
#endif
}
