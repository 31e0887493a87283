// SPDX-License-Identifier: Apache-2.0
#include "daemon/zmtp.h"

#include <stdio.h>
#include <string.h>

#define MORE        1u
#define LONG        2u
#define COMMAND     4u
#define MAX_REASON  40 // bytes of an ERROR
#define SOCKET_TYPE "socket-type"

void tt_zmtp_greet(unsigned char *ret)
{
    memset(ret, 0, TT_ZMTP_GREETING);
    ret[0] = 0xff; // signature: ff, 8 bytes of padding, 7f
    ret[9] = 0x7f;
    ret[10] = 3; // version 3.1
    ret[11] = 1;
    memcpy(ret + 12, "NULL", 4); // mechanism, 20 bytes; as-server and filler stay 0
}

enum tt_code tt_zmtp_read_greeting(const unsigned char *b, size_t n, int *ret_minor,
                                   struct tt_err *err)
{
    static const unsigned char null[20] = "NULL";
    char name[20] = "";

    if (n > 0 && b[0] != 0xff)
        return tt_fail(err, TT_EPARSE, "greeting: byte 0 is 0x%02x, wanted 0xff", b[0]);
    if (n > 9 && b[9] != 0x7f)
        return tt_fail(err, TT_EPARSE, "greeting: byte 9 is 0x%02x, wanted 0x7f", b[9]);
    if (n > 10 && b[10] < 3)
        return tt_fail(err, TT_EUNSUPPORTED, "greeting: ZMTP version %d, wanted 3", b[10]);
    if (n < 32)
        return TT_OK;
    if (memcmp(b + 12, null, sizeof null) != 0) {
        for (size_t i = 0; i + 1 < sizeof name && b[12 + i]; i++)
            name[i] = b[12 + i] > ' ' && b[12 + i] < 0x7f ? (char)b[12 + i] : '?';
        return tt_fail(err, TT_EUNSUPPORTED, "greeting: mechanism '%s', wanted NULL", name);
    }
    if (n >= TT_ZMTP_GREETING)
        *ret_minor = b[10] > 3 ? 1 : b[11];
    return TT_OK;
}

enum tt_code tt_zmtp_read_head(const unsigned char *b, size_t n, struct tt_zmtp_frame *ret,
                               size_t *ret_n, struct tt_err *err)
{
    const size_t head = n && b[0] & LONG ? 9 : 2;

    *ret_n = 0;
    if (!n)
        return TT_OK;
    if (b[0] & ~(MORE | LONG | COMMAND))
        return tt_fail(err, TT_EPARSE, "frame: flags 0x%02x, wanted 0 to 7", b[0]);
    if ((b[0] & COMMAND) && (b[0] & MORE))
        return tt_fail(err, TT_EPARSE, "frame: flags 0x%02x: a command has one frame", b[0]);
    if (n < head)
        return TT_OK;
    *ret = (struct tt_zmtp_frame){.more = b[0] & MORE, .command = b[0] & COMMAND, .size = b[1]};
    if (head == 9) {
        ret->size = 0;
        for (int i = 1; i < 9; i++)
            ret->size = ret->size << 8 | b[i];
        if (ret->size >> 63)
            return tt_fail(err, TT_EPARSE, "frame: size %llu, wanted less than 2^63",
                           (unsigned long long)ret->size);
    }
    *ret_n = head;
    return TT_OK;
}

static size_t write_head(unsigned char *ret, unsigned flags, uint64_t size)
{
    if (size <= 255) {
        ret[0] = (unsigned char)flags;
        ret[1] = (unsigned char)size;
        return 2;
    }
    ret[0] = (unsigned char)(flags | LONG);
    for (int i = 0; i < 8; i++)
        ret[1 + i] = (unsigned char)(size >> (8 * (7 - i)));
    return 9;
}

size_t tt_zmtp_head(unsigned char *ret, bool more, uint64_t size)
{
    return write_head(ret, more ? MORE : 0, size);
}

enum tt_code tt_zmtp_read_command(const unsigned char *b, size_t n, struct tt_zmtp_command *ret,
                                  struct tt_err *err)
{
    static const struct {
        const char *name;
        enum tt_zmtp_verb verb;
    } verbs[] = {{"READY", TT_ZMTP_READY},         {"ERROR", TT_ZMTP_ERROR},
                 {"PING", TT_ZMTP_PINGED},         {"PONG", TT_ZMTP_PONG},
                 {"SUBSCRIBE", TT_ZMTP_SUBSCRIBE}, {"CANCEL", TT_ZMTP_CANCEL}};

    if (!n || !b[0] || b[0] > n - 1)
        return tt_fail(err, TT_EPARSE, "command: its %zu bytes do not hold its name", n);
    *ret = (struct tt_zmtp_command){TT_ZMTP_UNKNOWN, b + 1 + b[0], n - 1 - b[0]};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strlen(verbs[i].name) == b[0] && !memcmp(verbs[i].name, b + 1, b[0]))
            ret->verb = verbs[i].verb;
    if (ret->verb != TT_ZMTP_PINGED)
        return TT_OK;
    if (ret->nrest < 2 || ret->nrest - 2 > TT_ZMTP_CONTEXT)
        return tt_fail(err, TT_EPARSE, "PING: %zu bytes, wanted 2 to %d", ret->nrest,
                       2 + TT_ZMTP_CONTEXT);
    ret->rest += 2; // the peer's time to live: ours is shorter, or it learns of ours
    ret->nrest -= 2;
    return TT_OK;
}

static bool is_socket_type(const unsigned char *name, size_t n)
{
    if (n != strlen(SOCKET_TYPE))
        return false;
    for (size_t i = 0; i < n; i++) // names of properties are read in either case
        if ((name[i] | 0x20) != SOCKET_TYPE[i])
            return false;
    return true;
}

enum tt_code tt_zmtp_check_ready(const struct tt_zmtp_command *c, const char *types,
                                 struct tt_err *err)
{
    const unsigned char *b = c->rest;
    char type[16] = "";
    size_t n = c->nrest;

    while (n) { // [length][name][4 bytes of length][value]
        const size_t name = b[0];
        size_t value = 0;

        if (name + 5 > n)
            return tt_fail(err, TT_EPARSE, "READY: a property ends after its command");
        for (size_t i = 0; i < 4; i++)
            value = value << 8 | b[1 + name + i];
        if (value > n - 5 - name)
            return tt_fail(err, TT_EPARSE, "READY: a property of %zu bytes in %zu", value,
                           n - 5 - name);
        if (is_socket_type(b + 1, name) && value < sizeof type - 1) {
            memcpy(type, b + 5 + name, value);
            type[value] = '\0';
        }
        b += 5 + name + value;
        n -= 5 + name + value;
    }
    for (const char *at = types; *at; at = strchr(at, ' ') + 1)
        if (strlen(type) == strcspn(at, " ") && !strncmp(at, type, strlen(type)))
            return TT_OK;
    for (char *s = type; *s; s++)
        *s = *s >= 'A' && *s <= 'Z' ? *s : '?';
    return tt_fail(err, TT_EDENIED, "socket type '%s', wanted %.*s", type, (int)strcspn(types, " "),
                   types);
}

static size_t put_text(unsigned char *ret, const char *s)
{
    const size_t n = strlen(s);

    ret[0] = (unsigned char)n;
    memcpy(ret + 1, s, n);
    return n + 1;
}

size_t tt_zmtp_ready(unsigned char *ret, const char *socket_type)
{
    size_t n = 2 + put_text(ret + 2, "READY");

    n += put_text(ret + n, "Socket-Type");
    ret[n] = ret[n + 1] = ret[n + 2] = 0; // of four bytes of length the last is put_text's
    n += 3 + put_text(ret + n + 3, socket_type);
    write_head(ret, COMMAND, n - 2);
    return n;
}

size_t tt_zmtp_ping(unsigned char *ret, int ttl_ms)
{
    const size_t n = 2 + put_text(ret + 2, "PING");

    ret[n] = (unsigned char)(ttl_ms / 100 >> 8); // tenths of a second
    ret[n + 1] = (unsigned char)(ttl_ms / 100);
    write_head(ret, COMMAND, n);
    return n + 2;
}

size_t tt_zmtp_pong(unsigned char *ret, const unsigned char *context, size_t n)
{
    const size_t name = 2 + put_text(ret + 2, "PONG");

    memcpy(ret + name, context, n);
    write_head(ret, COMMAND, name + n - 2);
    return name + n;
}

size_t tt_zmtp_error(unsigned char *ret, const char *reason)
{
    size_t n = 2 + put_text(ret + 2, "ERROR");
    char text[MAX_REASON + 1];

    (void)snprintf(text, sizeof text, "%s", reason); // cut when too long
    n += put_text(ret + n, text);
    write_head(ret, COMMAND, n - 2);
    return n;
}
