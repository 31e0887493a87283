// SPDX-License-Identifier: Apache-2.0
#include "monitor/detect.h"

#include <math.h>
#include <string.h>

#include "tests/support/check.h"

/* A detector under test, fed one reading of `rows` samples after the other. */
struct rig {
    const struct tt_detector *d;
    struct tt_detect_options o;
    double state[TT_DETECT_STATE];
    double samples, readings;
};

static struct tt_detect_options options(enum tt_bad bad, double trip, double clear)
{
    return (struct tt_detect_options){.bad = bad,
                                      .trip = trip,
                                      .clear = clear,
                                      .min_samples = 1,
                                      .half_life = 100,
                                      .baseline = NAN,
                                      .spread = NAN,
                                      .baseline_samples = 1000,
                                      .unit = 0};
}

static void start(struct rig *r, enum tt_detector_kind kind, struct tt_detect_options o)
{
    *r = (struct rig){.d = &tt_detectors[kind], .o = o};
    r->d->init(&r->o, r->state);
}

static struct tt_evidence read_it(const struct rig *r)
{
    struct tt_evidence e;

    r->d->read(&r->o, r->state, &e);
    return e;
}

static struct tt_evidence feed(struct rig *r, double value, double n, double fresh, double rows)
{
    struct tt_reading reading = {.value = value, .n = n, .fresh = fresh, .fresh_n = rows};
    struct tt_mark at = {r->samples, r->readings, r->samples * 10, r->readings + 5};

    r->d->feed(&r->o, r->state, &reading, &at);
    r->samples += rows;
    r->readings++;
    return read_it(r);
}

static double uniform(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (double)(*s >> 11) * 0x1p-53;
}

static double share_of(uint64_t *s, double p, int n)
{
    int hits = 0;

    for (int i = 0; i < n; i++)
        hits += uniform(s) < p;
    return (double)hits / n;
}

static double normal(uint64_t *s)
{
    return sqrt(-2 * log(1 - uniform(s))) * cos(6.283185307179586 * uniform(s));
}

static void every_detector_has_a_complete_row_and_fits_its_state(void **state)
{
    (void)state;
    for (int i = 0; i < TT_NDETECTORS; i++) {
        const struct tt_detector *d = &tt_detectors[i];

        assert_true(d->name && d->help && d->source && d->init && d->restart && d->feed && d->read);
        assert_in_range(d->nstate, 1, TT_DETECT_STATE);
    }
}

static void a_detector_without_readings_is_inconclusive(void **state)
{
    (void)state;
    for (int i = 0; i < TT_NDETECTORS; i++) {
        struct tt_evidence e;
        struct rig r;

        start(&r, (enum tt_detector_kind)i, options(TT_BAD_ABOVE, 1, .5));
        e = read_it(&r);
        assert_false(e.conclusive || e.alarm || e.clear);
        assert_true(isnan(e.statistic));
        assert_close(e.share, 0, 0, 0);
    }
}

static void threshold_follows_this_trace(void **state)
{
    static const struct {
        double value, n;
        bool conclusive, alarm, clear;
        double share, since; // samples; only while in alarm
    } trace[] = {
        {.90, 100, false, false, false, 0, 0}, // too few
        {.10, 200, true, false, true, .25, 0},
        {.40, 300, true, false, false, 1, 0}, // at the threshold is not past it
        {.41, 400, true, true, false, 1, 300},
        {.60, 512, true, true, false, 1, 300}, // the run goes on
        {.38, 512, true, false, false, .95, 0},
        {.30, 512, true, false, true, .75, 0}, // at the clearing value is clear
        {.50, 512, true, true, false, 1, 700},
    };
    struct tt_detect_options o = options(TT_BAD_ABOVE, .4, .3);
    struct rig r;

    (void)state;
    o.min_samples = 200;
    start(&r, TT_DETECT_threshold, o);
    for (size_t i = 0; i < sizeof trace / sizeof *trace; i++) {
        struct tt_evidence e = feed(&r, trace[i].value, trace[i].n, trace[i].value, 100);

        assert_int_equal(e.conclusive, trace[i].conclusive);
        assert_int_equal(e.alarm, trace[i].alarm);
        assert_int_equal(e.clear, trace[i].clear);
        assert_close(e.share, trace[i].share, 1e-12, 1e-12);
        if (trace[i].alarm) {
            assert_close(e.since.sample, trace[i].since, 0, 0);
            assert_close(e.since.ms, trace[i].since * 10, 0, 0);
            assert_close(e.since.batch, trace[i].since / 100, 0, 0);
            assert_close(e.since.step, trace[i].since / 100 + 5, 0, 0);
        }
    }
}

static void the_share_of_a_threshold_is_one_exactly_when_it_is_passed(void **state)
{
    static const struct {
        enum tt_bad bad;
        double trip, baseline, value, want;
    } cases[] = {
        {TT_BAD_ABOVE, .4, NAN, .2, .5},  {TT_BAD_ABOVE, .4, NAN, .8, 1},
        {TT_BAD_ABOVE, .4, NAN, -1, 0},   {TT_BAD_BELOW, .1, NAN, .4, .25},
        {TT_BAD_BELOW, .1, NAN, .05, 1},  {TT_BAD_BELOW, .1, NAN, 0, 1},
        {TT_BAD_ABOVE, .98, .9, .94, .5}, {TT_BAD_ABOVE, .98, .9, .8, 0},
        {TT_BAD_BELOW, .1, .3, .2, .5},   {TT_BAD_ABOVE, 0, NAN, .1, 1},
        {TT_BAD_ABOVE, 0, NAN, -.1, 0},   {TT_BAD_BELOW, -.2, NAN, .1, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_detect_options o = options(cases[i].bad, cases[i].trip, cases[i].trip);
        struct tt_evidence e;
        struct rig r;

        o.baseline = cases[i].baseline;
        start(&r, TT_DETECT_threshold, o);
        e = feed(&r, cases[i].value, 512, cases[i].value, 8);
        assert_close(e.share, cases[i].want, 1e-9, 1e-12);
        assert_int_equal(e.alarm, cases[i].want >= 1);
    }
}

/* z and its exact standard deviation, worked out by hand: with mean 0, spread 1, half-life and
 * readings of one sample the weight is 1/2, so after a reading of 1 z = .5 and var = .25. */
static void ewma_follows_this_trace(void **state)
{
    static const struct {
        double x, z, variance;
    } trace[] = {{1, .5, .25}, {1, .75, .3125}, {-1, -.125, .328125}, {3, 1.4375, .33203125}};
    struct tt_detect_options o = options(TT_BAD_ABOVE, 2, 1);
    struct rig r;

    (void)state;
    o.baseline = 0;
    o.spread = 1;
    o.half_life = 1;
    start(&r, TT_DETECT_ewma, o);
    for (size_t i = 0; i < sizeof trace / sizeof *trace; i++) {
        struct tt_evidence e = feed(&r, NAN, 0, trace[i].x, 1);

        assert_true(e.conclusive);
        assert_close(e.observed, trace[i].z, 1e-12, 0);
        assert_close(e.statistic, trace[i].z / sqrt(trace[i].variance), 1e-12, 0);
        assert_int_equal(e.alarm, e.statistic > 2);
        assert_int_equal(e.clear, e.statistic <= 1);
    }
    assert_true(read_it(&r).alarm);
    assert_close(read_it(&r).since.sample, 2, 0, 0); // the third reading was below the mean
}

static void ewma_looks_to_the_bad_side_only(void **state)
{
    (void)state;
    for (int bad = 0; bad < 2; bad++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            struct tt_detect_options o = options((enum tt_bad)bad, 3, 1);
            struct tt_evidence e = {0};
            struct rig r;

            o.baseline = 10;
            o.spread = 1;
            start(&r, TT_DETECT_ewma, o);
            for (int i = 0; i < 500; i++)
                e = feed(&r, NAN, 0, 10 + sign * 2, 1);
            assert_int_equal(e.alarm, (sign > 0) == (bad == TT_BAD_ABOVE));
            assert_int_equal(e.clear, !e.alarm);
        }
    }
}

static void ewma_learns_mean_and_spread_of_a_sample_from_batches_of_any_size(void **state)
{
    static const int rows[] = {1, 8, 50};

    (void)state;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        struct tt_detect_options o = options(TT_BAD_ABOVE, 6, 3);
        uint64_t s = 88172645463325252u;
        struct tt_evidence e = {0};
        struct rig r;

        o.baseline_samples = 20000;
        start(&r, TT_DETECT_ewma, o);
        while (r.samples < 30000 && (isnan(e.baseline) || !r.readings))
            e = feed(&r, NAN, 0, 5 + 2 * normal(&s) / sqrt(rows[k]), rows[k]);
        assert_close(r.samples, 20000, .01, 0);
        assert_close(e.baseline, 5, 0, .06);
        /* one reading of mean + spread: z = w, sd = w * spread / sqrt(n), so sqrt(n) sigmas */
        e = feed(&r, NAN, 0, e.baseline + 2, rows[k]);
        assert_close(e.statistic, sqrt(rows[k]), .08, 0);
    }
}

static void ewma_of_a_steady_rate_gives_no_alarm_in_fifty_thousand_samples(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct tt_detect_options o = options(TT_BAD_ABOVE, 6, 3);
        uint64_t s = seed * 0x9e3779b97f4a7c15u;
        int alarms = 0;
        struct rig r;

        o.unit = 1;
        o.half_life = 500;
        o.baseline_samples = 2000;
        start(&r, TT_DETECT_ewma, o);
        while (r.samples < 50000)
            alarms += feed(&r, NAN, 0, share_of(&s, .18, 16), 16).alarm;
        assert_int_equal(alarms, 0);
    }
}

static void ewma_sees_a_doubled_rate_and_says_when_it_began(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct tt_detect_options o = options(TT_BAD_ABOVE, 6, 3);
        uint64_t s = seed * 0x9e3779b97f4a7c15u;
        struct tt_evidence e = {0};
        struct rig r;

        o.unit = 1;
        o.half_life = 250;
        o.baseline_samples = 2000;
        start(&r, TT_DETECT_ewma, o);
        while (r.samples < 10000)
            feed(&r, NAN, 0, share_of(&s, .10, 16), 16);
        while (!e.alarm && r.samples < 14000)
            e = feed(&r, NAN, 0, share_of(&s, .25, 16), 16);
        assert_true(e.alarm);
        assert_in_range((uint64_t)r.samples, 10000, 10600);
        assert_true(e.since.sample < r.samples);
        /* early by the average's own wandering, a few half-lives; hardly late */
        assert_in_range((uint64_t)e.since.sample, 9000, 10200);
    }
}

static void ewma_survives_a_baseline_without_any_scatter(void **state)
{
    struct tt_detect_options o = options(TT_BAD_ABOVE, 6, 3);
    struct tt_evidence e;
    struct rig r;

    (void)state;
    o.unit = 1;
    start(&r, TT_DETECT_ewma, o);
    for (int i = 0; i < 200; i++)
        feed(&r, NAN, 0, 0, 10);
    e = feed(&r, NAN, 0, .1, 10); // the first error ever is no alarm
    assert_true(e.conclusive && isfinite(e.statistic));
    assert_false(e.alarm);
    for (int i = 0; i < 30; i++)
        e = feed(&r, NAN, 0, .3, 10);
    assert_true(e.alarm);
}

static void a_restart_forgets_the_evidence_and_keeps_what_was_normal(void **state)
{
    struct tt_detect_options o = options(TT_BAD_ABOVE, 3, 1);
    struct tt_evidence e;
    struct rig r;

    (void)state;
    start(&r, TT_DETECT_ewma, o);
    for (int i = 0; i < 100; i++)
        feed(&r, NAN, 0, i % 2 ? 1.1 : .9, 10);
    for (int i = 0; i < 100; i++)
        e = feed(&r, NAN, 0, 2, 10);
    assert_true(read_it(&r).alarm);
    r.d->restart(&r.o, r.state);
    e = read_it(&r);
    assert_false(e.alarm || e.conclusive);
    assert_close(e.baseline, 1, 1e-9, 0);
    assert_true(feed(&r, NAN, 0, 1, 10).clear);
    start(&r, TT_DETECT_threshold, o);
    assert_true(feed(&r, 5, 512, 5, 8).alarm);
    r.d->restart(&r.o, r.state);
    assert_false(read_it(&r).conclusive);
}

static void the_state_is_all_there_is(void **state)
{
    (void)state;
    for (int k = 0; k < TT_NDETECTORS; k++) {
        struct tt_detect_options o = options(TT_BAD_ABOVE, 1, .5);
        struct rig a, b;
        uint64_t s = 7;

        o.baseline_samples = 300;
        start(&a, (enum tt_detector_kind)k, o);
        for (int i = 0; i < 50; i++) {
            double x = normal(&s);

            feed(&a, x, 512, x, 10);
        }
        b = a;
        for (int i = a.d->nstate; i < TT_DETECT_STATE; i++)
            assert_close(a.state[i], 0, 0, 0); // nothing written past what it says
        for (int i = 0; i < 50; i++) {
            double x = normal(&s);

            feed(&a, x, 512, x, 10);
            feed(&b, x, 512, x, 10);
        }
        assert_memory_equal(a.state, b.state, sizeof a.state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_detector_has_a_complete_row_and_fits_its_state),
        cmocka_unit_test(a_detector_without_readings_is_inconclusive),
        cmocka_unit_test(threshold_follows_this_trace),
        cmocka_unit_test(the_share_of_a_threshold_is_one_exactly_when_it_is_passed),
        cmocka_unit_test(ewma_follows_this_trace),
        cmocka_unit_test(ewma_looks_to_the_bad_side_only),
        cmocka_unit_test(ewma_learns_mean_and_spread_of_a_sample_from_batches_of_any_size),
        cmocka_unit_test(ewma_of_a_steady_rate_gives_no_alarm_in_fifty_thousand_samples),
        cmocka_unit_test(ewma_sees_a_doubled_rate_and_says_when_it_began),
        cmocka_unit_test(ewma_survives_a_baseline_without_any_scatter),
        cmocka_unit_test(a_restart_forgets_the_evidence_and_keeps_what_was_normal),
        cmocka_unit_test(the_state_is_all_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
