// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_FBITS_H
#define TT_RUNTIME_FBITS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* A float as its bits, and to whole numbers; as runtime/fmath.h, without branches or calls. */
#define TT_INLINE static inline __attribute__((always_inline))

TT_INLINE uint32_t tt_float_bits(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return u;
}

TT_INLINE float tt_float_of(uint32_t u)
{
    float x;

    memcpy(&x, &u, sizeof x);
    return x;
}

/* x to the nearest integer, halves to the even one */
TT_INLINE float tt_round(float x)
{
    float a = fabsf(x), t = a + 8388608.f;

    return a < 8388608.f ? copysignf(t - 8388608.f, x) : x;
}

TT_INLINE float tt_floor(float x)
{
    float r = tt_round(x);

    return r > x ? r - 1 : r;
}

/* Towards 0. */
TT_INLINE float tt_trunc(float x)
{
    return copysignf(tt_floor(fabsf(x)), x);
}

#endif
