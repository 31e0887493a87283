// SPDX-License-Identifier: Apache-2.0
#ifndef TT_BASE_HASH_H
#define TT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * SHA-256 (libsodium's), as the lower-case hexadecimal text that names models,
 * policies and versions.  A short hash is the first TT_HASH_SHORT digits of it.
 */
#define TT_HASH_HEX   64 // digits of a whole hash
#define TT_HASH_SHORT 16 // digits of the hash of a version, as replies name it

struct tt_hash {
    unsigned char state[128]; // at least sizeof(crypto_hash_sha256_state)
};

void tt_hash_init(struct tt_hash *h);
void tt_hash_add(struct tt_hash *h, const void *data, size_t n);

/* Write the digits and a NUL. */
void tt_hash_end(struct tt_hash *h, char ret[TT_HASH_HEX + 1]);

/* All three in one, for one run of bytes. */
void tt_hash_bytes(const void *data, size_t n, char ret[TT_HASH_HEX + 1]);

/* 64 bits over bytes (SipHash-2-4), to notice damage and difference, many times faster than the
 * above: it names nothing, and keeps nobody out.  seed: the checksum of what came before. */
uint64_t tt_checksum(uint64_t seed, const void *data, size_t n);

#endif
