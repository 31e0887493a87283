// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <assert.h>
#include <sodium/crypto_hash_sha256.h>
#include <sodium/crypto_shorthash.h>
#include <sodium/utils.h>
#include <string.h>

static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(struct tt_hash), "state fits");

/* The state is copied in and out, so that struct tt_hash needs no alignment of its own. */
void tt_hash_init(struct tt_hash *h)
{
    crypto_hash_sha256_state s;

    crypto_hash_sha256_init(&s);
    memcpy(h->state, &s, sizeof s);
}

void tt_hash_add(struct tt_hash *h, const void *data, size_t n)
{
    crypto_hash_sha256_state s;

    memcpy(&s, h->state, sizeof s);
    crypto_hash_sha256_update(&s, (const unsigned char *)data, n);
    memcpy(h->state, &s, sizeof s);
}

void tt_hash_end(struct tt_hash *h, char ret[TT_HASH_HEX + 1])
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_state s;

    memcpy(&s, h->state, sizeof s);
    crypto_hash_sha256_final(&s, digest);
    sodium_bin2hex(ret, TT_HASH_HEX + 1, digest, sizeof digest);
}

void tt_hash_bytes(const void *data, size_t n, char ret[TT_HASH_HEX + 1])
{
    struct tt_hash h;

    tt_hash_init(&h);
    tt_hash_add(&h, data, n);
    tt_hash_end(&h, ret);
}

uint64_t tt_checksum(uint64_t seed, const void *data, size_t n)
{
    unsigned char key[crypto_shorthash_KEYBYTES] = {0};
    uint64_t sum;

    static_assert(crypto_shorthash_BYTES == sizeof sum, "64 bits");
    memcpy(key, &seed, sizeof seed);
    (void)crypto_shorthash((unsigned char *)&sum, (const unsigned char *)data, n, key);
    return sum;
}
