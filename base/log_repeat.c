// SPDX-License-Identifier: Apache-2.0
#include "base/log_repeat.h"

#include <stdio.h>

static uint64_t add(uint64_t h, const char *s)
{
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return (h ^ 0xffu) * 1099511628211u; // the end of a text: no byte of UTF-8
}

static uint64_t hash(const struct tt_log_record *r)
{
    uint64_t h = 14695981039346656037u ^ (uint64_t)r->level;

    h = add(h, r->msg);
    for (int i = 0; r->fields && r->fields[i].key; i++)
        h = add(add(h, r->fields[i].key), r->fields[i].value ? r->fields[i].value : "");
    return h ? h : 1;
}

/* Is the window over?  A clock that was set back ends it, too. */
static bool is_over(const struct tt_log_repeat *l, int64_t now_ms)
{
    return now_ms < l->since_ms || now_ms - l->since_ms >= TT_LOG_WINDOW_MS;
}

/* The line's place, or the one that was seen the longest time ago. */
static struct tt_log_repeat *find(struct tt_log_repeats *r, uint64_t h)
{
    struct tt_log_repeat *old = &r->line[0];

    for (int i = 0; i < TT_LOG_KNOWN; i++) {
        if (r->line[i].hash == h)
            return &r->line[i];
        if (r->line[i].seen_ms < old->seen_ms)
            old = &r->line[i];
    }
    return old;
}

bool tt_log_repeat_take(struct tt_log_repeats *r, const struct tt_log_record *record)
{
    const uint64_t h = hash(record);
    struct tt_log_repeat *l = find(r, h);

    if (l->hash != h || is_over(l, record->utc_ms)) {
        if (l->held)
            r->gone = *l;
        *l = (struct tt_log_repeat){.hash = h, .since_ms = record->utc_ms, .level = record->level};
        (void)snprintf(l->msg, sizeof l->msg, "%s", record->msg);
    }
    l->seen_ms = record->utc_ms;
    if (l->said < TT_LOG_BURST) {
        l->said++;
        return true;
    }
    l->held++;
    if (!r->due_ms || l->since_ms + TT_LOG_WINDOW_MS < r->due_ms)
        r->due_ms = l->since_ms + TT_LOG_WINDOW_MS;
    return false;
}

bool tt_log_repeat_due(struct tt_log_repeats *r, int64_t now_ms, bool all,
                       struct tt_log_repeat *ret)
{
    if (r->gone.hash) {
        *ret = r->gone;
        r->gone.hash = 0;
        return true;
    }
    if (!all && (!r->due_ms || now_ms < r->due_ms))
        return false;
    r->due_ms = 0;
    for (int i = 0; i < TT_LOG_KNOWN; i++) {
        struct tt_log_repeat *l = &r->line[i];

        if (!l->held)
            continue;
        if (all || is_over(l, now_ms)) {
            *ret = *l;
            *l = (struct tt_log_repeat){.hash = 0};
            r->due_ms = now_ms; // look again: there may be more
            return true;
        }
        if (!r->due_ms || l->since_ms + TT_LOG_WINDOW_MS < r->due_ms)
            r->due_ms = l->since_ms + TT_LOG_WINDOW_MS;
    }
    return false;
}
