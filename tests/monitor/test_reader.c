// SPDX-License-Identifier: Apache-2.0
#include "monitor/reader.h"

#include "tests/monitor/scratch.h"

#define T0 1700000000000

static struct tt_record event(int64_t seq, const char *text)
{
    return (struct tt_record){.kind = TT_REC_EVENT,
                              .ts_ms = T0 + seq,
                              .stream = "cam-7",
                              .event = {.seq = seq, .kind = "daemon", .text = text}};
}

static struct tt_record batch(int64_t i)
{
    return (struct tt_record){.kind = TT_REC_BATCH,
                              .ts_ms = T0 + i,
                              .stream = "cam-7",
                              .batch = {.version = "v", .step = i, .rows = 64}};
}

static void a_reader_finds_what_a_daemon_needs_at_its_start(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_known_stream *streams;
    struct tt_known_version *versions;
    struct tt_reader *r;
    struct tt_arena arena;
    struct tt_err err;
    struct tt_record b = batch(5);
    int64_t decision, seq;
    int n;

    tt_arena_init(&arena, 0);
    assert_int_equal(tt_reader_open(x->db, &r, &err), TT_OK);
    assert_int_equal(tt_reader_streams(r, &arena, &streams, &n, &err), TT_OK);
    assert_int_equal(n, 0);
    assert_int_equal(tt_reader_last(r, &decision, &seq, &err), TT_OK);
    assert_int_equal(decision + seq, 0);

    put_now(s, &(struct tt_record){
                   .kind = TT_REC_BOOT, .ts_ms = T0, .boot = {"boot-1", "0.1", "c0ffee"}});
    put_now(s, &(struct tt_record){.kind = TT_REC_STREAM,
                                   .ts_ms = T0,
                                   .stream = "b",
                                   .state = {.model = "m",
                                             .model_hash = "mh",
                                             .engine = "tent",
                                             .policy = "p",
                                             .policy_hash = "ph",
                                             .state = "adapting",
                                             .reason = "opened",
                                             .by = "policy",
                                             .version = "v1",
                                             .step = 3}});
    put_now(s, &(struct tt_record){.kind = TT_REC_STREAM, .ts_ms = T0 + 1, .stream = "a"});
    for (int i = 0; i < 3; i++)
        put_now(s, &(struct tt_record){.kind = TT_REC_VERSION,
                                       .ts_ms = T0 + i,
                                       .stream = "b",
                                       .version = {.version = i == 2   ? "v3"
                                                              : i == 1 ? "v2"
                                                                       : "v1",
                                                   .parent = "v0",
                                                   .step = i,
                                                   .state = "good",
                                                   .file = "b/x.safetensors",
                                                   .bytes = 9}});
    b.batch.request_id = "42";
    b.batch.version = "v1";
    put_now(s, &b);
    b.batch.version = "v2"; // the id was used again
    b.ts_ms = T0 + 77;
    put_now(s, &b);
    put_now(s, &(struct tt_record){.kind = TT_REC_DECISION,
                                   .ts_ms = T0,
                                   .stream = "b",
                                   .decision = {.decision_id = 12, .action = "freeze"}});
    b = event(99, "x");
    put_now(s, &b);

    assert_int_equal(tt_reader_streams(r, &arena, &streams, &n, &err), TT_OK);
    assert_int_equal(n, 3); // a, b, cam-7
    assert_string_equal(streams[0].stream, "a");
    assert_string_equal(streams[0].state, "");
    assert_string_equal(streams[1].stream, "b");
    assert_string_equal(streams[1].model_hash, "mh");
    assert_string_equal(streams[1].state, "adapting");
    assert_string_equal(streams[1].by, "policy");
    assert_string_equal(streams[1].version, "v1");
    assert_int_equal(streams[1].step, 3);
    assert_int_equal(streams[1].state_since_ms, T0);
    assert_int_equal(tt_reader_versions(r, "b", 2, &arena, &versions, &n, &err), TT_OK);
    assert_int_equal(n, 2);
    assert_string_equal(versions[0].version, "v3");
    assert_string_equal(versions[1].version, "v2");
    assert_string_equal(versions[0].file, "b/x.safetensors");
    assert_int_equal(tt_reader_versions(r, "nobody", 9, &arena, &versions, &n, &err), TT_OK);
    assert_int_equal(n, 0);
    assert_int_equal(tt_reader_last(r, &decision, &seq, &err), TT_OK);
    assert_int_equal(decision, 12);
    assert_int_equal(seq, 99);
    tt_reader_close(r);
    tt_arena_release(&arena);
    close_store(s);
    assert_sql(x->db, "SELECT boot_id, version, config_hash FROM boot", "boot-1|0.1|c0ffee");
}

/* What retention leaves, and what resuming does not go back behind. */
static void what_decisions_name_is_listed(void **state)
{
    static const struct tt_rec_decision rows[] = {
        {.decision_id = 3, .action = "rollback", .from_version = "11", .to_version = "10"},
        {.decision_id = 5, .action = "reset", .from_version = "1a", .to_version = "01"},
        {.decision_id = 6, .action = "rollback", .dry_run = true, .from_version = "1b"},
        {.decision_id = 7, .action = "freeze", .from_version = "1c"}};
    static const uint64_t want[] = {0x1a, 0x1, 0x1b, 0x1c};
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    const uint64_t *named;
    struct tt_reader *r;
    struct tt_arena arena;
    struct tt_err err;
    int64_t restored = -1;
    int n;

    for (int i = 0; i < 4; i++)
        put_now(s, &(struct tt_record){
                       .kind = TT_REC_DECISION, .ts_ms = T0, .stream = "b", .decision = rows[i]});
    tt_arena_init(&arena, 0);
    assert_int_equal(tt_reader_open(x->db, &r, &err), TT_OK);
    assert_int_equal(tt_reader_restored(r, "b", &restored, &err), TT_OK);
    assert_int_equal(restored, 5);
    assert_int_equal(tt_reader_restored(r, "nobody", &restored, &err), TT_OK);
    assert_int_equal(restored, 0);
    assert_int_equal(tt_reader_named(r, "b", 4, &arena, &named, &n, &err), TT_OK);
    assert_int_equal(n, 4);
    for (int i = 0; i < 4; i++)
        assert_true(named[i] == want[i] ||
                    named[i] == want[i ^ 1]); // a decision's two, in any order
    assert_int_equal(tt_reader_named(r, "b", 64, &arena, &named, &n, &err), TT_OK);
    assert_int_equal(n, 6);
    assert_int_equal(tt_reader_named(r, "nobody", 64, &arena, &named, &n, &err), TT_OK);
    assert_int_equal(n, 0);
    tt_reader_close(r);
    tt_arena_release(&arena);
    close_store(s);
}

static void put_request(struct tt_store *s, const char *id, int64_t i, bool adapted)
{
    struct tt_record b = batch(i);

    b.batch.request_id = id;
    b.batch.adapted = adapted;
    put_now(s, &b);
}

static void the_requests_answered_since_a_stream_was_closed_are_listed(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_known_id *ids;
    struct tt_reader *r;
    struct tt_arena arena;
    struct tt_err err;
    int n;

    tt_arena_init(&arena, 0);
    put_request(s, "before", 1, true);
    put_now(s, &(struct tt_record){.kind = TT_REC_STREAM,
                                   .ts_ms = T0 + 5,
                                   .stream = "cam-7",
                                   .state = {.state = "closed"}});
    put_request(s, "a", 11, true);
    put_request(s, NULL, 12, true);
    put_request(s, "b", 13, false);
    put_request(s, "c", 14, true);
    assert_int_equal(tt_reader_open(x->db, &r, &err), TT_OK);
    assert_int_equal(tt_reader_ids(r, "cam-7", 9, &arena, &ids, &n, &err), TT_OK);
    assert_int_equal(n, 3);
    assert_string_equal(ids[0].id, "a");
    assert_true(ids[0].adapted);
    assert_string_equal(ids[1].id, "b");
    assert_false(ids[1].adapted);
    assert_int_equal(tt_reader_ids(r, "cam-7", 2, &arena, &ids, &n, &err), TT_OK);
    assert_int_equal(n, 2);
    assert_string_equal(ids[0].id, "b");
    assert_string_equal(ids[1].id, "c");
    assert_int_equal(tt_reader_ids(r, "nobody", 9, &arena, &ids, &n, &err), TT_OK);
    assert_int_equal(n, 0);
    tt_reader_close(r);
    tt_arena_release(&arena);
    close_store(s);
}

static void a_reader_without_memory_says_so(void **state)
{
    struct scratch *x = *state;
    struct tt_store *s = open_store(x->db);
    struct tt_known_stream *streams;
    struct tt_known_version *versions;
    struct tt_record e = event(1, "x");
    struct tt_reader *r;
    struct tt_arena arena;
    struct tt_err err;
    int n, failed = 0;

    put_now(s, &e);
    close_store(s);
    assert_int_equal(tt_reader_open(x->db, &r, &err), TT_OK);
    for (size_t limit = 64; limit <= 8192; limit += 64) {
        tt_arena_init(&arena, limit);
        if (tt_reader_streams(r, &arena, &streams, &n, &err) == TT_ENOMEM)
            failed++;
        else
            assert_int_equal(n, 1);
        tt_arena_release(&arena);
    }
    assert_true(failed > 0 && failed < 128);
    tt_arena_init(&arena, 64);
    assert_int_equal(tt_reader_versions(r, "cam-7", 1000, &arena, &versions, &n, &err), TT_ENOMEM);
    tt_arena_release(&arena);
    tt_reader_close(r);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, scratch_new, scratch_free)
    const struct CMUnitTest tests[] = {
        CASE(a_reader_finds_what_a_daemon_needs_at_its_start),
        CASE(what_decisions_name_is_listed),
        CASE(the_requests_answered_since_a_stream_was_closed_are_listed),
        CASE(a_reader_without_memory_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
