// SPDX-License-Identifier: Apache-2.0
#ifndef TT_RUNTIME_FMATH_H
#define TT_RUNTIME_FMATH_H

#include <math.h>

#include "runtime/fbits.h"

/*
 * Functions of one float without branches and without calls, so that loops over them are
 * vectorised.  Relative error below 1e-6 where the result is a normal number; results below
 * 2e-38 are 0; NaN gives NaN.  The polynomials are minimax fits by reweighted least squares
 * (Lawson), with the error that stands beside each.
 */
#define TT_LN2_HI 0.693359375f // 9 bits: n times it is exact
#define TT_LN2_LO -2.12194440e-4f

/* x = n ln 2 + r, |r| <= ln 2 / 2.  Returns e^r - 1 and sets *half to 2^(n - 1), for n from -125
 * to 128.  n is rounded by adding a number whose last place is 1.  (e^r - 1 - r) / r^2: 3e-9 */
TT_INLINE float tt_exp_parts(float x, float *half)
{
    float t = x * 1.44269504f + 12582912.f, n = t - 12582912.f;
    float r = (x - n * TT_LN2_HI) - n * TT_LN2_LO;
    float q = 1.3950599823e-3f;

    q = q * r + 8.3689540625e-3f;
    q = q * r + 4.1666205972e-2f;
    q = q * r + .1666651815f;
    q = q * r + .5f;
    *half = tt_float_of((tt_float_bits(t) + 126u) << 23);
    return r + r * r * q;
}

TT_INLINE float tt_exp(float x)
{
    float half, p = tt_exp_parts(x, &half), y = (half + half * p) * 2;

    y = x < -86.9f ? 0 : y;
    return x > 88.7228f ? INFINITY : y;
}

/* e^x - 1, also where x is small */
TT_INLINE float tt_expm1(float x)
{
    float half, p = tt_exp_parts(x < -30 ? -30 : x, &half), y = (half * p + (half - .5f)) * 2;

    return x > 88.7228f ? INFINITY : y;
}

/* x = 2^n (1 + f) with 1 + f from sqrt 1/2 to sqrt 2.  (log(1 + f) - f + f^2 / 2) / f^3: 8e-10 */
TT_INLINE float tt_log(float x)
{
    float scaled = x < 1.17549435e-38f ? x * 0x1p23f : x;
    uint32_t u = tt_float_bits(scaled) - 0x3f3504f3u;
    float n = (float)((int32_t)u >> 23) - (x < 1.17549435e-38f ? 23.f : 0.f);
    float f = tt_float_of((u & 0x7fffffu) + 0x3f3504f3u) - 1, p = 6.7466013134e-2f, y;

    p = p * f - .1167564094f;
    p = p * f + .1188817471f;
    p = p * f - .1240559146f;
    p = p * f + .1421955079f;
    p = p * f - .1666799635f;
    p = p * f + .2000211924f;
    p = p * f - .2500000894f;
    p = p * f + .3333331347f;
    y = n * TT_LN2_LO + f * f * f * p;
    y = n * TT_LN2_HI + (f + (y - .5f * f * f));
    y = x < INFINITY ? y : x;
    y = x > 0 ? y : NAN;
    return x == 0 ? -INFINITY : y;
}

/* log(1 + x) for x >= 0: what 1 + x is rounded by is put right */
TT_INLINE float tt_log1p(float x)
{
    float w = 1 + x;

    return tt_log(w) - ((w - 1) - x) / w;
}

TT_INLINE float tt_sigmoid(float x)
{
    return 1 / (1 + tt_exp(-x));
}

/* (e^2x - 1) / (e^2x + 1) */
TT_INLINE float tt_tanh(float x)
{
    float a = fabsf(x), e = tt_expm1(2 * (a > 9.1f ? 9.1f : a));

    return copysignf(e / (e + 2), x);
}

/* x P(x^2) / Q(x^2): 2e-8 of erf up to 3.9, from where on it is 1 in a float */
TT_INLINE float tt_erf(float x)
{
    float a = x < -3.9f ? -3.9f : x > 3.9f ? 3.9f : x, u = a * a;
    float p = 2.0664721170e-06f, q = 3.8269997615e-05f;

    p = p * u + 2.8506197072e-04f;
    p = p * u + 3.7383413544e-03f;
    p = p * u + 5.2668066047e-02f;
    p = p * u + 1.8966673389e-01f;
    p = p * u + 1.1283791476e+00f;
    q = q * u + 1.1573748334e-03f;
    q = q * u + 1.4914267055e-02f;
    q = q * u + 1.1381891660e-01f;
    q = q * u + 5.0142054811e-01f;
    q = q * u + 1;
    a = a * p / q;
    a = x < -3.9f ? -1 : a; // not by ||, which would be a branch
    a = a < -1 ? -1 : a;
    a = a > 1 ? 1 : a;
    return x > 3.9f ? 1 : a;
}

#endif
