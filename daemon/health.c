// SPDX-License-Identifier: Apache-2.0
#include "daemon/health.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/job.h"

#define TEXT_BYTES                (TT_ERR_MSG + 64)

#define NAME(source, name, holds) name,
static const char *const names[] = {TT_HEALTHS(NAME)};
#undef NAME

#define HOLDS(source, name, holds) ((holds) ? 1u << (source) : 0u) |
static const unsigned holding = TT_HEALTHS(HOLDS) 0u;
#undef HOLDS

void tt_health_init(struct tt_health *h,
                    void (*tell)(void *ctx, const char *severity, const char *text), void *ctx)
{
    *h = (struct tt_health){.tell = tell, .ctx = ctx};
    atomic_init(&h->set, 0u);
    pthread_mutex_init(&h->lock, NULL);
}

void tt_health_end(struct tt_health *h)
{
    pthread_mutex_destroy(&h->lock);
}

void tt_health_set(struct tt_health *h, enum tt_health_source source, const char *fmt, ...)
{
    char why[TT_ERR_MSG], text[TEXT_BYTES];
    unsigned before;
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    pthread_mutex_lock(&h->lock);
    memcpy(h->why[source], why, sizeof why);
    before = atomic_fetch_or(&h->set, 1u << source);
    if (!(before & 1u << source))
        h->since_ms[source] = tt_now_ms();
    pthread_mutex_unlock(&h->lock);
    if (before & 1u << source || !h->tell)
        return;
    (void)snprintf(text, sizeof text, "not ready: %s: %s", names[source], why);
    h->tell(h->ctx, source == TT_HEALTH_DRAINING ? "info" : "error", text);
}

void tt_health_clear(struct tt_health *h, enum tt_health_source source)
{
    char text[TEXT_BYTES];
    unsigned before;
    int64_t ms;

    if (!tt_health_is_set(h, source))
        return;
    pthread_mutex_lock(&h->lock);
    before = atomic_fetch_and(&h->set, ~(1u << source));
    ms = tt_now_ms() - h->since_ms[source];
    pthread_mutex_unlock(&h->lock);
    if (!(before & 1u << source) || !h->tell)
        return;
    (void)snprintf(text, sizeof text, "%s: %s is well after %lld ms",
                   before == 1u << source ? "ready again" : "still not ready", names[source],
                   (long long)ms);
    h->tell(h->ctx, "info", text);
}

bool tt_health_is_set(const struct tt_health *h, enum tt_health_source source)
{
    return atomic_load(&h->set) & 1u << source;
}

bool tt_health_ready(const struct tt_health *h)
{
    return atomic_load(&h->set) == 0;
}

bool tt_health_may_learn(const struct tt_health *h)
{
    return (atomic_load(&h->set) & holding) == 0;
}

static int longest_first(const void *a, const void *b)
{
    const struct tt_health_reason *x = a, *y = b;

    return (x->since_ms > y->since_ms) - (x->since_ms < y->since_ms);
}

int tt_health_read(struct tt_health *h, struct tt_health_reason ret[TT_NHEALTHS])
{
    unsigned set;
    int n = 0;

    pthread_mutex_lock(&h->lock);
    set = atomic_load(&h->set);
    for (int i = 0; i < TT_NHEALTHS; i++) {
        if (!(set & 1u << i))
            continue;
        ret[n] = (struct tt_health_reason){
            .name = names[i], .holds = holding & 1u << i, .since_ms = h->since_ms[i]};
        memcpy(ret[n++].why, h->why[i], TT_ERR_MSG);
    }
    pthread_mutex_unlock(&h->lock);
    qsort(ret, (size_t)n, sizeof *ret, longest_first);
    return n;
}

bool tt_health_held(struct tt_health *h, char ret[TT_HEALTH_LINE])
{
    struct tt_health_reason r[TT_NHEALTHS];
    const int n = tt_health_may_learn(h) ? 0 : tt_health_read(h, r);

    for (int i = 0; i < n; i++)
        if (r[i].holds) {
            (void)snprintf(ret, TT_HEALTH_LINE, "%s: %s", r[i].name, r[i].why);
            return true;
        }
    return false;
}

const char *tt_health_name(enum tt_health_source source)
{
    return names[source];
}
