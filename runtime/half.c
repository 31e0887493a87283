// SPDX-License-Identifier: Apache-2.0
#include "runtime/half.h"

#include <math.h>

#include "runtime/fbits.h"

#if defined(__x86_64__) && !defined(TT_BASELINE)
#include <immintrin.h>

#define TARGET __attribute__((target("avx,f16c")))

TARGET static int64_t halves(uint16_t *to, const float *x, int64_t n)
{
    const __m256 high = _mm256_set1_ps(TT_HALF_LARGEST), low = _mm256_set1_ps(-TT_HALF_LARGEST);
    int64_t i = 0;

    for (; i + 8 <= n; i += 8) { // of a NaN and a number, min and max are the second operand
        __m256 v = _mm256_max_ps(low, _mm256_min_ps(high, _mm256_loadu_ps(x + i)));

        _mm_storeu_si128((__m128i *)(void *)(to + i),
                         _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    }
    return i;
}

TARGET static int64_t floats(float *to, const uint16_t *x, int64_t n)
{
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(to + i,
                         _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(x + i))));
    return i;
}

static int has_f16c(void)
{
    return __builtin_cpu_supports("avx2"); // whoever has it has both
}
#else
static int64_t halves(uint16_t *to, const float *x, int64_t n)
{
    (void)to;
    (void)x;
    (void)n;
    return 0;
}

static int64_t floats(float *to, const uint16_t *x, int64_t n)
{
    (void)to;
    (void)x;
    (void)n;
    return 0;
}

static int has_f16c(void)
{
    return 0;
}
#endif

/* The exponent is moved by a multiplication, which makes small numbers denormal as they are to be;
 * then 13 bits are rounded off, to even. */
void tt_half_of_plain(uint16_t *to, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(x[i]) > TT_HALF_LARGEST ? TT_HALF_LARGEST : fabsf(x[i]);
        uint32_t u = tt_float_bits(a * 0x1p-112f), sign = tt_float_bits(x[i]) >> 16 & 0x8000u;

        u = (u + 0xfffu + (u >> 13 & 1u)) >> 13;
        to[i] = (uint16_t)(sign | (x[i] == x[i] ? u : 0x7e00u));
    }
}

void tt_half_read_plain(float *to, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = x[i];
        float a = tt_float_of((u & 0x7fffu) << 13) * 0x1p112f;

        a = (u & 0x7fffu) > 0x7c00u ? NAN : a;
        to[i] = u & 0x8000u ? -a : a;
    }
}

void tt_half_of(uint16_t *to, const float *x, int64_t n)
{
    int64_t done = has_f16c() ? halves(to, x, n) : 0;

    tt_half_of_plain(to + done, x + done, n - done);
}

void tt_half_read(float *to, const uint16_t *x, int64_t n)
{
    int64_t done = has_f16c() ? floats(to, x, n) : 0;

    tt_half_read_plain(to + done, x + done, n - done);
}
