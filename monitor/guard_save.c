// SPDX-License-Identifier: Apache-2.0
#include "monitor/guard.h"

#include <math.h>
#include <string.h>

#define LAYOUT 1.0                // of what tt_guard_save writes
#define EXACT  9007199254740992.0 // 2^53: up to here every integer is a double
#define HEAD   (15 + TT_MAXROLLBACKS)
#define RULE   5 // before its detector's state

/* One walk over the state for both directions, so that they cannot differ. */
struct tape {
    double *out;      // saving: where to; else NULL
    const double *in; // loading: where from; else NULL
    bool ok;          // loading: every number could have been written
};

static double pass(struct tape *t, double x)
{
    if (t->in)
        return *t->in++;
    if (t->out)
        *t->out++ = x;
    return x;
}

static int64_t pass_int(struct tape *t, int64_t x, double min, double max)
{
    double v = pass(t, (double)x);

    if (v >= min && v <= max && v == floor(v))
        return (int64_t)v;
    t->ok = false;
    return 0;
}

static uint64_t pass_u64(struct tape *t, uint64_t x)
{
    uint64_t high = (uint64_t)pass_int(t, (int64_t)(x >> 32), 0, UINT32_MAX);

    return high << 32 | (uint64_t)pass_int(t, (int64_t)(x & UINT32_MAX), 0, UINT32_MAX);
}

/* A number that must be what the policy says. */
static void expect(struct tape *t, int64_t want)
{
    pass_int(t, want, (double)want, (double)want);
}

static void walk(struct tape *t, struct tt_guard *g, const struct tt_guard_policy *p)
{
    int64_t state = pass_int(t, (int64_t)g->state, 0, TT_NGUARD_STATES - 1);
    int64_t resume = pass_int(t, (int64_t)g->resume, 0, TT_NGUARD_STATES - 1);

    g->state = (enum tt_guard_state)state;
    g->resume = (enum tt_guard_state)resume;
    g->by = (int)pass_int(t, g->by, TT_BY_NOBODY, p->nrules - 1);
    g->since_ms = pass_int(t, g->since_ms, -EXACT, EXACT);
    g->since_sample = pass_int(t, g->since_sample, 0, EXACT);
    g->samples = pass_int(t, g->samples, 0, EXACT);
    g->batches = pass_int(t, g->batches, 0, EXACT);
    g->calm_since = pass_int(t, g->calm_since, 0, EXACT);
    g->cooldown = pass_int(t, g->cooldown, 0, EXACT);
    g->breaker = pass_int(t, g->breaker, 0, 1) != 0;
    g->restored = pass_u64(t, g->restored);
    g->nrestores = (int)pass_int(t, g->nrestores, 0, TT_MAXROLLBACKS);
    for (int i = 0; i < TT_MAXROLLBACKS; i++)
        g->restores[i] = pass_int(t, g->restores[i], 0, EXACT);
    for (int i = 0; i < p->nrules; i++) {
        expect(t, p->rules[i].signal);
        expect(t, p->rules[i].detector);
        g->rule[i].tripped = pass_int(t, g->rule[i].tripped, 0, 1) != 0;
        g->rule[i].missing = pass_int(t, g->rule[i].missing, 0, 1) != 0;
        g->rule[i].run = pass_int(t, g->rule[i].run, 0, EXACT);
        for (int k = 0; k < TT_DETECT_STATE; k++)
            g->rule[i].detector[k] = pass(t, g->rule[i].detector[k]);
    }
}

size_t tt_guard_doubles(const struct tt_guard_policy *p)
{
    return HEAD + (size_t)p->nrules * (RULE + TT_DETECT_STATE);
}

void tt_guard_save(const struct tt_guard *g, const struct tt_guard_policy *p, double *out)
{
    struct tt_guard copy = *g;
    struct tape t = {.ok = true};

    t.out = out;
    pass(&t, LAYOUT);
    expect(&t, p->nrules);
    walk(&t, &copy, p);
}

enum tt_code tt_guard_load(struct tt_guard *g, const struct tt_guard_policy *p, const double *in,
                           size_t n, struct tt_err *err)
{
    struct tt_guard copy = {0};
    struct tape t = {.in = in, .ok = true};
    size_t want = tt_guard_doubles(p);

    if (n != want)
        return tt_fail(err, TT_ESHAPE, "guard: %zu numbers, want %zu", n, want);
    if (pass(&t, LAYOUT) != LAYOUT)
        return tt_fail(err, TT_EUNSUPPORTED, "guard: layout %.15g, want %.15g", in[0], LAYOUT);
    expect(&t, p->nrules);
    walk(&t, &copy, p);
    if (!t.ok)
        return tt_fail(err, TT_EPARSE,
                       "guard: a number that no run under these guards could have written");
    *g = copy;
    return TT_OK;
}
