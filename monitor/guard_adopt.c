// SPDX-License-Identifier: Apache-2.0
#include "monitor/guard.h"

#include <string.h>

static int find_rule(const struct tt_guard_policy *p, const char *name)
{
    for (int i = 0; i < p->nrules; i++)
        if (!strcmp(p->rules[i].name, name))
            return i;
    return -1;
}

static bool same_rule(const struct tt_guard_rule *a, const struct tt_guard_rule *b)
{
    return !tt_fields_differ(tt_guard_fields, a, b);
}

/* Rule i of to, from its like in old or from nothing. */
static bool take_rule(struct tt_guard *g, int i, const struct tt_guard *old,
                      const struct tt_guard_policy *from, const struct tt_guard_policy *to,
                      bool other, struct tt_guard_adopted *ret)
{
    const struct tt_guard_rule *rule = &to->rules[i];
    const struct tt_detector *detector = &tt_detectors[rule->detector];
    const struct tt_detect_options o = tt_guard_options(rule);
    const int was = find_rule(from, rule->name);
    const bool same = was >= 0 && same_rule(&from->rules[was], rule);

    ret->kept += same;
    ret->changed += was >= 0 && !same;
    ret->added += was < 0;
    if (!same || (other && tt_signals[rule->signal].from == TT_FROM_LEARNING)) {
        detector->init(&o, g->rule[i].detector);
        g->rule[i].missing = true;
        return false;
    }
    g->rule[i] = old->rule[was];
    if (other) {
        detector->restart(&o, g->rule[i].detector);
        g->rule[i].run = 0;
        g->rule[i].tripped = false;
        g->rule[i].missing = true;
    }
    return !other;
}

struct tt_guard_adopted tt_guard_adopt(struct tt_guard *g, const struct tt_guard_policy *from,
                                       const struct tt_guard_policy *to, bool other, int64_t now_ms)
{
    const struct tt_guard old = *g;
    struct tt_guard_adopted ret = {.kept = 0};
    bool all = true; // rules have their evidence

    memset(g->rule, 0, sizeof g->rule);
    for (int i = 0; i < to->nrules; i++)
        all = (take_rule(g, i, &old, from, to, other, &ret) || to->rules[i].dry_run) && all;
    for (int i = 0; i < from->nrules; i++)
        ret.removed += find_rule(to, from->rules[i].name) < 0;
    if (g->by >= 0) {
        g->by = find_rule(to, from->rules[g->by].name);
        if (g->by < 0)
            g->by = TT_BY_NOBODY;
    }
    if (all)
        return ret;
    g->calm_since = g->samples;
    if (g->resume == TT_GUARD_ADAPTING)
        g->resume = TT_GUARD_WARMING;
    if (g->state == TT_GUARD_ADAPTING) {
        g->state = TT_GUARD_WARMING;
        g->by = TT_BY_NOBODY;
        g->since_ms = now_ms;
        g->since_sample = g->samples;
    }
    return ret;
}
