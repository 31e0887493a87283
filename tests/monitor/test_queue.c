// SPDX-License-Identifier: Apache-2.0
#include "monitor/queue.h"

#include "monitor/fields.h"
#include "tests/support/check.h"
#include <string.h>

/* Record i: its size and its bytes follow from i alone. */
static size_t size_of(int64_t i)
{
    return i % 97 == 0 ? TT_PACK_MAX : (size_t)(i * 2654435761 % 3000) + 1;
}

static void fill(unsigned char *to, int64_t i)
{
    memset(to, (int)(i * 31 % 251), size_of(i));
}

static void what_goes_in_comes_out_in_order_round_the_ring(void **state)
{
    static unsigned char bytes[TT_PACK_MAX];
    struct tt_queue q;
    int64_t put = 1, taken = 1;

    (void)state;
    assert_true(tt_queue_init(&q, 1)); // as small as it gets
    while (taken < 5000) {
        struct tt_slot *s;
        uint64_t at = q.tail;

        while (tt_queue_fits(&q, size_of(put), put % 3)) {
            fill(bytes, put);
            tt_queue_push(&q, (uint8_t)(put % 9), put % 3, put, bytes, size_of(put));
            put++;
        }
        assert_true(q.head - q.tail <= q.cap);
        for (int n = 0; n < 7 && (s = tt_queue_next(&q, &at, q.head)); n++) { // not all of them
            fill(bytes, taken);
            assert_true((unsigned char *)s + s->bytes <= q.ring + q.cap);
            assert_int_equal(s->ticket, taken);
            assert_int_equal(s->kind, taken % 9);
            assert_int_equal(s->tier, taken % 3);
            assert_false(s->done);
            assert_memory_equal(tt_slot_packed(s), bytes, size_of(taken));
            taken++;
        }
        q.tail = at;
    }
    assert_true(q.head > 20 * q.cap);
    tt_queue_release(&q);
}

static int fill_up(struct tt_queue *q, enum tt_tier tier)
{
    static const unsigned char bytes[1000];
    int n = 0;

    for (; tt_queue_fits(q, sizeof bytes, tier); n++)
        tt_queue_push(q, 0, tier, n + 1, bytes, sizeof bytes);
    return n;
}

static void a_quarter_is_for_what_must_not_be_shed_and_half_of_it_for_decisions(void **state)
{
    struct tt_queue q;
    int metrics, lines, decisions;

    (void)state;
    assert_true(tt_queue_init(&q, 1 << 20));
    metrics = fill_up(&q, TT_TIER_METRIC);
    assert_in_range(q.head - q.tail, q.cap / 4 * 3 - 1100, q.cap / 4 * 3);
    lines = fill_up(&q, TT_TIER_LOG);
    assert_in_range(lines, metrics / 6 - 2, metrics / 6 + 2);
    decisions = fill_up(&q, TT_TIER_VITAL);
    assert_in_range(decisions, metrics / 6 - 2, metrics / 6 + 2);
    assert_int_equal(fill_up(&q, TT_TIER_METRIC) + fill_up(&q, TT_TIER_LOG), 0);
    tt_queue_release(&q);
}

static void only_what_is_done_in_front_is_taken(void **state)
{
    static const unsigned char bytes[100];
    struct tt_slot *slot[4];
    struct tt_queue q;
    uint64_t at;

    (void)state;
    assert_true(tt_queue_init(&q, 1));
    for (int i = 0; i < 4; i++)
        tt_queue_push(&q, 0, TT_TIER_METRIC, i + 1, bytes, sizeof bytes);
    at = q.tail;
    for (int i = 0; i < 4; i++)
        slot[i] = tt_queue_next(&q, &at, q.head);
    slot[1]->done = slot[2]->done = true;
    assert_int_equal(tt_queue_pop_done(&q, 0), 0);
    slot[0]->done = true;
    assert_int_equal(tt_queue_pop_done(&q, 0), 3);
    at = q.tail;
    assert_ptr_equal(tt_queue_next(&q, &at, q.head), slot[3]);
    slot[3]->done = true;
    assert_int_equal(tt_queue_pop_done(&q, 3), 4);
    assert_int_equal(q.head, q.tail);
    assert_int_equal(tt_queue_pop_done(&q, 4), 4);
    tt_queue_release(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out_in_order_round_the_ring),
        cmocka_unit_test(a_quarter_is_for_what_must_not_be_shed_and_half_of_it_for_decisions),
        cmocka_unit_test(only_what_is_done_in_front_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
