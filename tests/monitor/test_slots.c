// SPDX-License-Identifier: Apache-2.0
#include "tests/monitor/scratch.h"

#include "monitor/slots.h"

#define NAME "a.slots"

static void put(const struct scratch *s, uint64_t seq, bool fresh, const char *head, size_t nbody)
{
    char body[20000];
    const struct tt_piece pieces[] = {{head, strlen(head)}, {body, nbody}};
    struct tt_err err;

    memset(body, (int)seq, sizeof body);
    if (tt_slots_write(s->dir, NAME, seq, fresh, pieces, 2, &err) != TT_OK)
        fail_msg("%s", err.msg);
}

static enum tt_code get(const struct scratch *s, struct tt_arena *arena, struct tt_slots *ret)
{
    struct tt_err err;

    tt_arena_init(arena, 0);
    return tt_slots_read(s->dir, NAME, 1 << 20, arena, ret, &err);
}

/* The newest slot's number, or 0. */
static uint64_t newest(const struct scratch *s)
{
    struct tt_slots got;
    struct tt_arena arena;
    uint64_t seq = get(s, &arena, &got) == TT_OK ? got.slot[0].seq : 0;

    tt_arena_release(&arena);
    return seq;
}

static void the_newest_slot_comes_first_and_the_one_before_it_second(void **state)
{
    const struct scratch *s = *state;
    struct tt_slots got;
    struct tt_arena arena;

    assert_int_equal(get(s, &arena, &got), TT_ENOTFOUND);
    put(s, 1, true, "one", 5000);
    assert_int_equal(get(s, &arena, &got), TT_OK);
    assert_int_equal(got.n, 1);
    assert_false(got.cut);
    assert_memory_equal(got.slot[0].bytes, "one\1\1", 5);
    tt_arena_release(&arena);
    for (uint64_t seq = 2; seq < 8; seq++) {
        put(s, seq, false, "abc", 5000);
        assert_int_equal(get(s, &arena, &got), TT_OK);
        assert_int_equal(got.n, 2);
        assert_int_equal(got.slot[0].seq, seq);
        assert_int_equal(got.slot[1].seq, seq - 1);
        assert_int_equal(got.slot[0].n, 5003);
        assert_false(got.cut);
        tt_arena_release(&arena);
    }
}

static void what_has_another_size_is_made_anew(void **state)
{
    const struct scratch *s = *state;
    struct stat st;
    char path[96];

    put(s, 1, true, "a", 100);
    put(s, 2, false, "a", 20000);
    assert_int_equal(newest(s), 2);
    snprintf(path, sizeof path, "%s/" NAME, s->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 2 * 20480);
    assert_int_equal(unlink(path), 0);
    put(s, 3, false, "a", 20000); // somebody removed it
    assert_int_equal(newest(s), 3);
}

static void write_bytes(const char *path, const char *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* Cut or flipped anywhere, a file never shows bytes that nobody wrote, and the other slot holds. */
static void damage_costs_at_most_the_slot_it_hits(void **state)
{
    const struct scratch *s = *state;
    char path[96], *good;
    size_t n;
    int older = 0, none = 0;

    put(s, 1, true, "x", 3000);
    put(s, 2, false, "x", 3000); // slot 1 is second in the file, slot 2 first
    snprintf(path, sizeof path, "%s/" NAME, s->dir);
    good = read_file(path, &n);
    for (size_t cut = 0; cut < n; cut += 64) {
        write_bytes(path, good, cut);
        assert_int_equal(newest(s), cut < 32 + 3001 ? 0 : 2);
    }
    for (size_t at = 0; at < n; at += 7) {
        const bool first = at < 32 + 3001, second = at >= 4096 && at < 4096 + 32 + 3001;
        uint64_t seq;

        good[at] = (char)(good[at] ^ 0x20);
        write_bytes(path, good, n);
        good[at] = (char)(good[at] ^ 0x20);
        seq = newest(s);
        assert_int_equal(seq, first ? 1 : 2);
        older += seq == 1;
        none += second;
    }
    assert_true(older > 400 && none > 400); // both slots were hit
    free(good);
}

static void a_cut_is_told_from_a_slot_never_written(void **state)
{
    const struct scratch *s = *state;
    struct tt_slots got;
    struct tt_arena arena;
    char path[96], *good;
    size_t n;

    put(s, 1, true, "x", 3000);
    put(s, 2, false, "x", 3000);
    snprintf(path, sizeof path, "%s/" NAME, s->dir);
    good = read_file(path, &n);
    good[100] ^= 1;
    write_bytes(path, good, n);
    assert_int_equal(get(s, &arena, &got), TT_OK);
    assert_int_equal(got.slot[0].seq, 1);
    assert_true(got.cut);
    tt_arena_release(&arena);
    free(good);
}

static void what_cannot_be_written_says_why(void **state)
{
    const struct scratch *s = *state;
    const struct tt_piece piece = {"x", 1};
    char path[96];
    struct tt_err err;

    snprintf(path, sizeof path, "%s/" NAME, s->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(tt_slots_write(s->dir, NAME, 1, false, &piece, 1, &err), TT_EIO);
    assert_contains(err.msg, "renaming: ");
    assert_int_equal(newest(s), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(tt_slots_write(path, NAME, 1, false, &piece, 1, &err), TT_OK); // one level
    snprintf(path, sizeof path, "%s/b/c", s->dir);
    assert_int_equal(tt_slots_write(path, NAME, 1, false, &piece, 1, &err), TT_ENOTFOUND);
    assert_contains(err.msg, "creating: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_newest_slot_comes_first_and_the_one_before_it_second,
                                        scratch_new, scratch_free),
        cmocka_unit_test_setup_teardown(what_has_another_size_is_made_anew, scratch_new,
                                        scratch_free),
        cmocka_unit_test_setup_teardown(damage_costs_at_most_the_slot_it_hits, scratch_new,
                                        scratch_free),
        cmocka_unit_test_setup_teardown(a_cut_is_told_from_a_slot_never_written, scratch_new,
                                        scratch_free),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_says_why, scratch_new, scratch_free),
    };

    return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
