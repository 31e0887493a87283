// SPDX-License-Identifier: Apache-2.0
#include "daemon/watch.h"

#include "daemon/loop.h"
#include "daemon/worker.h"

bool tt_watch(struct tt_daemon *d, int64_t now_us)
{
    const int64_t most = d->settings->limits.stuck_ms * 1000;
    const char *name = d->data->name;
    int64_t worst = tt_beat_at_work_us(&d->data->beat, now_us);

    if (tt_beat_at_work_us(&d->control->beat, now_us) > worst) {
        worst = tt_beat_at_work_us(&d->control->beat, now_us);
        name = d->control->name;
    }
    for (int64_t i = 0; i < d->settings->workers; i++)
        if (tt_beat_at_work_us(&d->workers[i].beat, now_us) > worst) {
            worst = tt_beat_at_work_us(&d->workers[i].beat, now_us);
            name = d->workers[i].name;
        }
    if (worst > most) {
        if (!tt_health_is_set(&d->health, TT_HEALTH_STUCK))
            tt_health_set(&d->health, TT_HEALTH_STUCK,
                          "thread '%s' has been at one piece of work for %lld s, the limit is %lld",
                          name, (long long)(worst / 1000000), (long long)(most / 1000000));
    } else if (tt_health_is_set(&d->health, TT_HEALTH_STUCK)) {
        tt_health_clear(&d->health, TT_HEALTH_STUCK);
    }
    return worst <= most;
}
