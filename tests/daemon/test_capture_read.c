// SPDX-License-Identifier: Apache-2.0
#include "daemon/capture_read.h"

#include <omp.h>
#include <stdlib.h>

#include "daemon/capture.h"
#include "daemon/capture_files.h"
#include "tests/daemon/rig.h"

static struct rig rig;
static struct tt_capture_pool pool;
static unsigned char *whole; // a captured file of three batches, labels and an order
static size_t size;
static char path[120];

static void write_bytes(const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    const struct tt_policy *p;
    struct tt_plan *plan;
    struct tt_stream *s;
    struct tt_order freeze = {.action = TT_ACTION_FREEZE, .actor = "me", .now_ms = 4000};
    struct tt_ordered ordered;
    struct tt_err err;
    char database[80], file[160];

    (void)state;
    rig_up(&rig);
    (void)snprintf(database, sizeof database, "%s/db", rig.dir);
    (void)snprintf(path, sizeof path, "%s/damaged", rig.dir);
    tt_capture_pool_init(&pool, database, 0);
    p = rig_policy(&rig, "preset: tent\ncapture: on\n");
    plan = rig_plan(&rig, p);
    s = rig_stream(&rig, p, plan, NULL);
    tt_capture_begin(s, &(struct tt_capture_spec){&pool, "m.onnx", "mine", "opened"}, 1500);
    for (int i = 0; i < 3; i++)
        (void)rig_step(&rig, s, plan, i);
    assert_int_equal(tt_stream_order(s, &freeze, &ordered, &err), TT_OK);
    tt_stream_free(s);
    tt_plan_free(plan);
    (void)snprintf(file, sizeof file, "%s/cam-7/00000001.capture", pool.root);
    whole = (unsigned char *)read_file(file, &size);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(whole);
    tt_capture_pool_end(&pool);
    rig_down(&rig);
    return 0;
}

/* Read the file at path to its end; how many operations there were. */
static int read_all(enum tt_capture_end *end, struct tt_err *err)
{
    struct tt_capture_reader r;
    struct tt_captured o;
    struct tt_arena arena;
    int n = 0;

    *err = (struct tt_err){.code = TT_OK};
    *end = TT_CAPTURE_GOES_ON;
    tt_arena_init(&arena, 0);
    if (tt_capture_read_open(&r, path, err) == TT_OK)
        while (tt_capture_read_next(&r, &arena, &o, end, err) == TT_OK &&
               *end == TT_CAPTURE_GOES_ON)
            n++;
    tt_capture_read_close(&r);
    tt_arena_release(&arena);
    return n;
}

static void a_whole_file_reads_to_its_end(void **state)
{
    enum tt_capture_end end;
    struct tt_err err;

    (void)state;
    write_bytes(whole, size);
    assert_int_equal(read_all(&end, &err), 4);
    assert_int_equal(err.code, TT_OK);
    assert_int_equal(end, TT_CAPTURE_WHOLE);
}

static void every_byte_that_is_changed_is_found(void **state)
{
    (void)state;
    for (size_t at = 0; at < size; at += at < 128 ? 1 : at < 4096 ? 23 : 997) {
        enum tt_capture_end end;
        struct tt_err err;

        whole[at] ^= 0x10;
        write_bytes(whole, size);
        whole[at] ^= 0x10;
        (void)read_all(&end, &err);
        if (err.code != TT_EPARSE)
            fail_msg("byte %zu: code %d, end %d", at, (int)err.code, (int)end);
        assert_contains(err.msg, "damaged: byte ");
    }
}

static void a_file_that_ends_anywhere_is_read_up_to_there(void **state)
{
    enum tt_capture_end end;
    struct tt_err err;
    int most = 0;

    (void)state;
    for (size_t n = 0; n < size; n += n < 64 ? 1 : 1021) {
        int got;

        write_bytes(whole, n);
        got = read_all(&end, &err);
        if (err.code == TT_OK)
            assert_true(end == TT_CAPTURE_TORN || end == TT_CAPTURE_OPEN);
        else
            assert_int_equal(err.code, TT_ENOTFOUND); // not even its beginning
        assert_true(got >= most);
        most = got;
    }
    assert_true(most >= 2);
    write_bytes(whole, size - 1); // all but the end of the end
    assert_int_equal(read_all(&end, &err), 4);
    assert_int_equal(end, TT_CAPTURE_TORN);
}

static void pages_that_a_power_cut_left_empty_are_an_end(void **state)
{
    unsigned char *padded = calloc(1, size + 4096);
    enum tt_capture_end end;
    struct tt_err err;

    (void)state;
    assert_non_null(padded);
    memcpy(padded, whole, size - 3000);
    write_bytes(padded, size - 2900); // zeros within a record: its checksum says so
    (void)read_all(&end, &err);
    assert_int_equal(err.code, TT_OK); // shorter than it says
    assert_int_equal(end, TT_CAPTURE_TORN);
    memcpy(padded, whole, size);
    write_bytes(padded, size + 4096);
    (void)read_all(&end, &err);
    assert_int_equal(err.code, TT_EPARSE);
    assert_contains(err.msg, "there is something behind the end");
    free(padded);
}

static void records_that_were_exchanged_or_taken_out_are_found(void **state)
{
    struct tt_captured_frame f;
    unsigned char *cut = malloc(size);
    size_t at = sizeof TT_CAPTURE_MAGIC, first, next;
    enum tt_capture_end end;
    struct tt_err err;

    (void)state;
    assert_non_null(cut);
    for (int i = 0; i < 2; i++) { // behind head and state
        memcpy(&f, whole + at, sizeof f);
        at += sizeof f + f.bytes;
    }
    first = at;
    memcpy(&f, whole + first, sizeof f);
    next = first + sizeof f + f.bytes;
    memcpy(cut, whole, first);
    memcpy(cut + first, whole + next, size - next);
    write_bytes(cut, size - (next - first));
    assert_int_equal(read_all(&end, &err), 0);
    assert_int_equal(err.code, TT_EPARSE);
    assert_contains(err.msg, "the checksum of this record is wrong");
    free(cut);
}

/* With right checksums, as somebody would who wants to do harm. */
static void records_that_no_ttad_writes_are_refused(void **state)
{
    const struct {
        uint32_t kind;
        uint32_t walked;
        unsigned char fill;
    } rows[] = {{TT_CAPTURED_BATCH, 0, 0},      {TT_CAPTURED_BATCH, 900, 0},
                {TT_CAPTURED_BATCH, 900, 0xff}, {TT_CAPTURED_FEEDBACK, 400, 0x7f},
                {TT_CAPTURED_ORDER, 64, 1},     {TT_CAPTURED_RING, 8, 0x7f},
                {TT_CAPTURED_RING, 24, 1},      {TT_CAPTURED_HEAD, 10, 1},
                {TT_CAPTURED_END, 9, 0xff},     {TT_CAPTURED_SETTLE, 7, 0}};
    unsigned char *forged = calloc(1, size + 2048);

    (void)state;
    assert_non_null(forged);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tt_captured_frame f, own;
        size_t at = sizeof TT_CAPTURE_MAGIC;
        uint64_t chain = 0;
        enum tt_capture_end end;
        struct tt_err err;

        for (int k = 0; k < 2; k++) {
            memcpy(&f, whole + at, sizeof f);
            chain = f.checksum;
            at += sizeof f + f.bytes;
        }
        memcpy(forged, whole, at);
        memset(forged + at + sizeof f, rows[i].fill, rows[i].walked);
        own = (struct tt_captured_frame){rows[i].kind, rows[i].walked, 0, rows[i].walked, 0, 0};
        own.checksum = tt_captured_checksum(chain, &own, forged + at + sizeof f, NULL);
        own.own = tt_captured_own(&own);
        memcpy(forged + at, &own, sizeof own);
        write_bytes(forged, at + sizeof own + rows[i].walked);
        assert_int_equal(read_all(&end, &err), 0);
        assert_int_equal(err.code, TT_EPARSE);
    }
    free(forged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_file_reads_to_its_end),
        cmocka_unit_test(every_byte_that_is_changed_is_found),
        cmocka_unit_test(a_file_that_ends_anywhere_is_read_up_to_there),
        cmocka_unit_test(pages_that_a_power_cut_left_empty_are_an_end),
        cmocka_unit_test(records_that_were_exchanged_or_taken_out_are_found),
        cmocka_unit_test(records_that_no_ttad_writes_are_refused),
    };

    omp_set_num_threads(1); // on a busy machine two wait for each other
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
