// SPDX-License-Identifier: Apache-2.0
#ifndef TT_BASE_RNG_H
#define TT_BASE_RNG_H

#include <stdint.h>

/* xoshiro256++ (Blackman and Vigna 2019), seeded by splitmix64; the state is the caller's. */
struct tt_rng {
    uint64_t s[4];
};

static inline uint64_t tt_rng_rotate(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static inline uint64_t tt_rng_next(struct tt_rng *r)
{
    uint64_t *s = r->s, result = tt_rng_rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = tt_rng_rotate(s[3], 45);
    return result;
}

static inline void tt_rng_seed(struct tt_rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        r->s[i] = z ^ z >> 31;
    }
}

#endif
