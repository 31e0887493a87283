// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engines/compiled.h"

#define TEXT_BYTES 8192

struct text {
    char *s;
    size_t n;
};

static void say(struct text *t, const char *fmt, ...) TT_PRINTF(2, 3);

static void say(struct text *t, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(t->s + t->n, TEXT_BYTES - t->n, fmt, ap);
    va_end(ap);
    if (n > 0)
        t->n = t->n + (size_t)n < TEXT_BYTES ? t->n + (size_t)n : TEXT_BYTES - 1;
}

static void say_stats(struct text *t, const struct tt_stats *s)
{
    static const char *const names[] = {"source", "running", "batch", "blend", "ema"};

    say(t, "%s", names[s->mode]);
    if (s->mode == TT_STATS_BLEND)
        say(t, " alpha %g", s->alpha);
    if (s->mode == TT_STATS_EMA)
        say(t, " half-life %g samples", s->half_life);
    if (s->momentum > 0)
        say(t, ", tracked with momentum %g", s->momentum);
}

static void say_step(struct text *t, const struct tt_plan *p)
{
    const struct tt_method *m = p->method;
    static const char *const scopes[] = {"never", "before each request", "before each sample"};
    bool after = m->predict_order == TT_PREDICT_AFTER, last = m->predict_order == TT_PREDICT_LAST;
    bool fresh = p->learn && m->answer.mode == m->learn.mode && m->answer.alpha == m->learn.alpha &&
                 m->answer.half_life == m->learn.half_life;

    if (m->every_updates) // which no other scope allows
        say(t, "reset       after every %lld batches learnt from\n", (long long)m->every_updates);
    else
        say(t, "reset       %s\n", scopes[m->reset_scope]);
    if (!after && !last) {
        say(t, "answer      student(x), statistics ");
        say_stats(t, &m->answer);
        say(t, "\n");
    }
    if (p->learn || m->learn.momentum > 0) {
        say(t, "learn       student(x)%s, statistics ", p->learn ? " with gradients" : "");
        say_stats(t, &m->learn);
        say(t, "%s\n", fresh && !after && !last ? ", the answer's pass is the first" : "");
        if (p->learn && m->steps > 1)
            say(t, "            %lld times\n", (long long)m->steps);
    }
    for (int i = 0; i < p->nuses; i++)
        say(t, "%-11s %s: %s\n", tt_slot_key(p->uses[i].part->slot), p->uses[i].part->name,
            p->uses[i].part->help);
    if (after || last) {
        say(t, "answer      student(x), statistics ");
        say_stats(t, &m->answer);
        say(t, "%s\n", last ? ", the last pass learnt from" : ", a pass of its own");
    }
}

const char *tt_plan_explain(const struct tt_plan *p, struct tt_arena *arena)
{
    const struct tt_method *m = p->method;
    struct text t = {TT_NEW(arena, TEXT_BYTES, char), 0};

    if (!t.s)
        return "out of memory";
    say(&t, "engine      %s\n", m->preset);
    say(&t, "selected    %d parameters, %lld scalars\n", p->nselected, (long long)p->ntheta);
    say_step(&t, p);
    say(&t, "version     %lld floats, %lld bytes each\n", (long long)p->nfloats,
        (long long)p->nfloats * 4);
    say(&t, "batch       at most %lld row%s, %.1f MB of activations a worker\n",
        (long long)p->limit, p->limit == 1 ? "" : "s", (double)tt_plan_bytes(p) / 1e6);
    return t.s;
}
