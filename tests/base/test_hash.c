// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <string.h>

#include "tests/support/check.h"

static void the_hash_is_sha_256_however_it_is_fed(void **state)
{
    static const char want[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    char hex[TT_HASH_HEX + 1];
    struct tt_hash h;

    (void)state;
    tt_hash_bytes("abc", 3, hex);
    assert_string_equal(hex, want);
    tt_hash_init(&h);
    tt_hash_add(&h, "a", 1);
    tt_hash_add(&h, "bc", 2);
    tt_hash_end(&h, hex);
    assert_string_equal(hex, want);
}

static void a_checksum_sees_every_bit_the_length_and_what_came_before(void **state)
{
    unsigned char bytes[200] = {0};
    const uint64_t sum = tt_checksum(0, bytes, sizeof bytes);

    (void)state;
    assert_true(tt_checksum(0, bytes, sizeof bytes) == sum);
    assert_true(tt_checksum(1, bytes, sizeof bytes) != sum);
    assert_true(tt_checksum(0, bytes, sizeof bytes - 1) != sum);
    assert_true(tt_checksum(0, NULL, 0) != 0);
    for (size_t i = 0; i < 8 * sizeof bytes; i++) {
        bytes[i / 8] ^= (unsigned char)(1u << i % 8);
        assert_true(tt_checksum(0, bytes, sizeof bytes) != sum);
        bytes[i / 8] ^= (unsigned char)(1u << i % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_is_sha_256_however_it_is_fed),
        cmocka_unit_test(a_checksum_sees_every_bit_the_length_and_what_came_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
