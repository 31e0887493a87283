// SPDX-License-Identifier: Apache-2.0
#include "daemon/zmtp.h"

#include <string.h>

#include "tests/support/check.h"

static void our_own_greeting_is_one_at_any_length(void **state)
{
    unsigned char b[TT_ZMTP_GREETING];
    struct tt_err err;
    int minor = -1;

    (void)state;
    tt_zmtp_greet(b);
    for (size_t n = 0; n < sizeof b; n++) {
        assert_int_equal(tt_zmtp_read_greeting(b, n, &minor, &err), TT_OK);
        assert_int_equal(minor, -1);
    }
    assert_int_equal(tt_zmtp_read_greeting(b, sizeof b, &minor, &err), TT_OK);
    assert_int_equal(minor, 1);
    b[11] = 0;
    assert_int_equal(tt_zmtp_read_greeting(b, sizeof b, &minor, &err), TT_OK);
    assert_int_equal(minor, 0);
}

static void a_greeting_of_another_protocol_is_refused_at_its_byte(void **state)
{
    static const struct {
        int at;
        unsigned char value;
        const char *why;
    } cases[] = {
        {0, 'G', "greeting: byte 0 is 0x47, wanted 0xff"},
        {9, 0, "greeting: byte 9 is 0x00, wanted 0x7f"},
        {10, 1, "greeting: ZMTP version 1, wanted 3"},
        {12, 'X', "greeting: mechanism 'XULL', wanted NULL"},
        {16, 1, "greeting: mechanism 'NULL?', wanted NULL"},
        {31, 'x', "greeting: mechanism 'NULL', wanted NULL"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char b[TT_ZMTP_GREETING];
        struct tt_err err;
        int minor;

        tt_zmtp_greet(b);
        b[cases[i].at] = cases[i].value;
        assert_int_not_equal(tt_zmtp_read_greeting(b, sizeof b, &minor, &err), TT_OK);
        assert_string_equal(err.msg, cases[i].why);
    }
}

static void a_head_reads_back(void **state)
{
    static const uint64_t sizes[] = {
        0, 1, 255, 256, 65536, UINT64_C(1) << 40, (UINT64_C(1) << 63) - 1};
    unsigned char b[TT_ZMTP_HEAD];
    struct tt_zmtp_frame f;
    struct tt_err err;
    size_t len;

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t n = tt_zmtp_head(b, i & 1, sizes[i]);

        assert_int_equal(n, sizes[i] <= 255 ? 2 : 9);
        for (size_t k = 0; k < n; k++) { // a part of it says nothing yet
            assert_int_equal(tt_zmtp_read_head(b, k, &f, &len, &err), TT_OK);
            assert_int_equal(len, 0);
        }
        assert_int_equal(tt_zmtp_read_head(b, n, &f, &len, &err), TT_OK);
        assert_int_equal(len, n);
        assert_true(f.size == sizes[i]);
        assert_int_equal(f.more, i & 1);
        assert_false(f.command);
    }
}

static void heads_that_cannot_be_are_refused(void **state)
{
    static const struct {
        unsigned char b[TT_ZMTP_HEAD];
        const char *why;
    } cases[] = {
        {{0xf8}, "frame: flags 0xf8, wanted 0 to 7"},
        {{0x08, 1}, "frame: flags 0x08, wanted 0 to 7"},
        {{0x05, 1}, "frame: flags 0x05: a command has one frame"},
        {{0x02, 0x80}, "frame: size 9223372036854775808, wanted less than 2^63"},
        {{0x06, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
         "frame: size 18446744073709551615, wanted less than 2^63"},
    };
    struct tt_zmtp_frame f;
    struct tt_err err;
    size_t len;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(tt_zmtp_read_head(cases[i].b, TT_ZMTP_HEAD, &f, &len, &err), TT_EPARSE);
        assert_string_equal(err.msg, cases[i].why);
    }
}

/* The command that those bytes, with their head, are. */
static struct tt_zmtp_command command_of(const unsigned char *b, size_t n)
{
    struct tt_zmtp_command c;
    struct tt_zmtp_frame f;
    struct tt_err err;
    size_t len;

    assert_int_equal(tt_zmtp_read_head(b, n, &f, &len, &err), TT_OK);
    assert_true(f.command && f.size == n - len);
    assert_int_equal(tt_zmtp_read_command(b + len, n - len, &c, &err), TT_OK);
    return c;
}

static void commands_read_back(void **state)
{
    unsigned char b[TT_ZMTP_GREETING];
    struct tt_zmtp_command c;
    struct tt_err err;

    (void)state;
    c = command_of(b, tt_zmtp_ready(b, "ROUTER"));
    assert_int_equal(c.verb, TT_ZMTP_READY);
    assert_int_equal(tt_zmtp_check_ready(&c, "DEALER ROUTER ", &err), TT_OK);
    assert_int_equal(tt_zmtp_check_ready(&c, "SUB XSUB ", &err), TT_EDENIED);
    assert_string_equal(err.msg, "socket type 'ROUTER', wanted SUB");
    assert_int_equal(tt_zmtp_ping(b, 6000), TT_ZMTP_PING);
    c = command_of(b, TT_ZMTP_PING);
    assert_int_equal(c.verb, TT_ZMTP_PINGED);
    assert_int_equal(c.nrest, 0);
    assert_int_equal(b[TT_ZMTP_PING - 1], 60);
    c = command_of(b, tt_zmtp_pong(b, (const unsigned char *)"0123456789abcdef", 16));
    assert_int_equal(c.verb, TT_ZMTP_PONG);
    assert_memory_equal(c.rest, "0123456789abcdef", 16);
    c = command_of(b, tt_zmtp_error(b, "a reason that is longer than what fits into an ERROR"));
    assert_int_equal(c.verb, TT_ZMTP_ERROR);
}

#define BODY(s) (const unsigned char *)(s), sizeof(s) - 1

static void commands_that_do_not_hold_what_they_say_are_refused(void **state)
{
    static const struct {
        const unsigned char *b;
        size_t n;
        const char *why;
    } cases[] = {
        {BODY(""), "command: its 0 bytes do not hold its name"},
        {BODY("\0"), "command: its 1 bytes do not hold its name"},
        {BODY("\6READY"), "command: its 6 bytes do not hold its name"},
        {BODY("\4PING\0"), "PING: 1 bytes, wanted 2 to 18"},
        {BODY("\4PING\0\0 0123456789abcdef"), "PING: 19 bytes, wanted 2 to 18"},
        {BODY("\5READY\x0bSocket-Type"), "READY: a property ends after its command"},
        {BODY("\5READY\x0bSocket-Type\0\0\0\7DEALER"), "READY: a property of 7 bytes in 6"},
        {BODY("\5READY\x0bSocket-Type\xff\xff\xff\xff"), "READY: a property of 4294967295 bytes"},
        {BODY("\5READY"), "socket type '', wanted DEALER"},
        {BODY("\5READY\x0bsocket-TYPE\0\0\0\4P\nSH"), "socket type 'P?SH', wanted DEALER"},
        {BODY("\5READY\x0bSocket-Type\0\0\0\5DEALE"), "socket type 'DEALE', wanted DEALER"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_zmtp_command c;
        struct tt_err err = {.code = TT_OK};

        if (tt_zmtp_read_command(cases[i].b, cases[i].n, &c, &err) == TT_OK)
            assert_int_not_equal(tt_zmtp_check_ready(&c, "DEALER REQ ", &err), TT_OK);
        assert_contains(err.msg, cases[i].why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_own_greeting_is_one_at_any_length),
        cmocka_unit_test(a_greeting_of_another_protocol_is_refused_at_its_byte),
        cmocka_unit_test(a_head_reads_back),
        cmocka_unit_test(heads_that_cannot_be_are_refused),
        cmocka_unit_test(commands_read_back),
        cmocka_unit_test(commands_that_do_not_hold_what_they_say_are_refused),
    };

    return cmocka_run_group_tests_name("zmtp", tests, NULL, NULL);
}
