// SPDX-License-Identifier: Apache-2.0
#include "daemon/turns.h"

#include <stdlib.h>

#include "tests/support/check.h"

#define LANES 64

struct flow {
    struct tt_turn turn;
    int64_t cost_us, got_us, served;
    int64_t away; // takes this many turns of others off after each of its own
};

static struct tt_turn *line[LANES];

static struct tt_turns begin(struct flow *flows, int n)
{
    struct tt_turns t = {.line = line};

    for (int i = 0; i < n; i++) {
        flows[i].turn = (struct tt_turn){.owner = &flows[i]};
        flows[i].got_us = flows[i].served = 0;
        tt_turns_join(&t, &flows[i].turn, 0, flows[i].cost_us);
    }
    return t;
}

/* One turn of whoever is next, who comes back at once. */
static struct flow *serve(struct tt_turns *t)
{
    struct tt_turn *turn = tt_turns_next(t);
    struct flow *f;

    assert_non_null(turn);
    f = turn->owner;
    f->served++;
    f->got_us += f->cost_us;
    tt_turns_spend(turn, f->cost_us);
    tt_turns_join(t, turn, 0, f->cost_us);
    return f;
}

static void all_get_the_same_time_whatever_a_turn_costs(void **state)
{
    struct flow f[4] = {{.cost_us = 1000}, {.cost_us = 50}, {.cost_us = 333}, {.cost_us = 1}};
    struct tt_turns t = begin(f, 4);
    int64_t least = INT64_MAX, most = 0;

    (void)state;
    while (f[0].served < 50)
        (void)serve(&t);
    for (int i = 0; i < 4; i++) {
        least = f[i].got_us < least ? f[i].got_us : least;
        most = f[i].got_us > most ? f[i].got_us : most;
    }
    assert_true(most - least <= 1000); // one turn of the dearest
}

static void among_equals_it_goes_round(void **state)
{
    struct flow f[5] = {
        {.cost_us = 7}, {.cost_us = 7}, {.cost_us = 7}, {.cost_us = 7}, {.cost_us = 7}};
    struct tt_turns t = begin(f, 5);

    (void)state;
    for (int i = 0; i < 50; i++)
        assert_ptr_equal(serve(&t), &f[i % 5]);
}

static void who_asks_seldom_and_little_waits_for_one_turn_of_the_others(void **state)
{
    struct flow f[17];
    struct tt_turns t;

    (void)state;
    for (int i = 0; i < 17; i++)
        f[i] = (struct flow){.cost_us = i < 16 ? 400000 : 1000};
    t = begin(f, 16);
    f[16].turn = (struct tt_turn){.owner = &f[16]};
    for (int round = 0; round < 100; round++) {
        struct tt_turn *turn = tt_turns_next(&t); // a flood's turn is under way
        struct flow *flood = turn->owner;

        tt_turns_join(&t, &f[16].turn, 0, f[16].cost_us);
        tt_turns_spend(turn, flood->cost_us);
        tt_turns_join(&t, turn, 0, flood->cost_us);
        turn = tt_turns_next(&t);
        assert_ptr_equal(turn->owner, &f[16]);
        tt_turns_spend(turn, f[16].cost_us);
    }
}

static void time_away_is_not_saved_up_and_time_spent_stays_spent(void **state)
{
    struct flow f[2] = {{.cost_us = 100}, {.cost_us = 100}};
    struct tt_turns t = begin(f, 2);

    (void)state;
    tt_turns_leave(&t, &f[1].turn);
    for (int i = 0; i < 1000; i++)
        assert_ptr_equal(serve(&t), &f[0]);
    tt_turns_join(&t, &f[1].turn, 0, f[1].cost_us);
    f[1].served = 0;
    for (int i = 0; i < 20; i++)
        (void)serve(&t);
    assert_in_range(f[1].served, 10, 11); // it does not make up for the thousand
    tt_turns_leave(&t, &f[1].turn);
    tt_turns_spend(&f[1].turn, 500);
    tt_turns_join(&t, &f[1].turn, 0, f[1].cost_us);
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(serve(&t), &f[0]);
}

static void a_lower_rank_goes_first(void **state)
{
    struct flow f[3] = {{.cost_us = 10}, {.cost_us = 10}, {.cost_us = 10}};
    struct tt_turns t = {.line = line};

    (void)state;
    for (int i = 0; i < 3; i++)
        f[i].turn = (struct tt_turn){.owner = &f[i], .clock_us = 100 * i};
    tt_turns_join(&t, &f[0].turn, 1, 10);
    tt_turns_join(&t, &f[1].turn, 1, 10);
    tt_turns_join(&t, &f[2].turn, 0, 10);
    tt_turns_join(&t, &f[1].turn, 0, f[1].cost_us); // it is in line: its rank gets better
    assert_ptr_equal(tt_turns_next(&t)->owner, &f[1]);
    assert_ptr_equal(tt_turns_next(&t)->owner, &f[2]);
    assert_ptr_equal(tt_turns_next(&t)->owner, &f[0]);
    assert_null(tt_turns_next(&t));
}

/* Any order of joining and leaving keeps the line in order. */
static void the_line_stays_in_order(void **state)
{
    struct flow f[LANES] = {{.cost_us = 0}};
    struct tt_turns t = {.line = line};
    unsigned seed = 1;

    (void)state;
    for (int i = 0; i < LANES; i++)
        f[i].turn.owner = &f[i];
    for (int round = 0; round < 20000; round++) {
        struct flow *one;

        seed = seed * 1103515245u + 12345u;
        one = &f[(seed >> 16) % LANES];
        if (seed >> 30 == 0) {
            tt_turns_leave(&t, &one->turn);
        } else if (!one->turn.at) {
            tt_turns_spend(&one->turn, (int64_t)(seed >> 8 & 1023));
            tt_turns_join(&t, &one->turn, (int)(seed >> 7 & 1), (int64_t)(seed >> 18 & 63));
        }
        for (int i = 0; i < t.n; i++) {
            assert_int_equal(t.line[i]->at, i + 1);
            if (i)
                assert_true(t.line[(i - 1) / 2]->rank < t.line[i]->rank ||
                            (t.line[(i - 1) / 2]->rank == t.line[i]->rank &&
                             t.line[(i - 1) / 2]->end_us <= t.line[i]->end_us));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_get_the_same_time_whatever_a_turn_costs),
        cmocka_unit_test(among_equals_it_goes_round),
        cmocka_unit_test(who_asks_seldom_and_little_waits_for_one_turn_of_the_others),
        cmocka_unit_test(time_away_is_not_saved_up_and_time_spent_stays_spent),
        cmocka_unit_test(a_lower_rank_goes_first),
        cmocka_unit_test(the_line_stays_in_order),
    };

    return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}
