// SPDX-License-Identifier: Apache-2.0
/*
 * Times what the journal adds to a batch: one write of a version of so many floats, with signals
 * and guard of a 10-class stream, into a folder of the disk under test.  One line of JSON a size:
 *
 *     build/release/bench/journal DIR
 *
 * 5e3 floats are Tent with Adam on a ResNet-20 (1 376 scales and shifts, two moments each).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/journal.h"
#include "policies/policy.h"

#define WRITES 400

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* As much of a stream as its journal reads. */
static void make_stream(struct tt_stream *s, struct tt_arena *arena, const char *dir,
                        int64_t floats)
{
    struct tt_policy *policy = TT_NEW(arena, 1, struct tt_policy);

    *s = (struct tt_stream){.name = "bench", .salt = "salt", .snapshots = dir, .policy = policy};
    s->classes = 10;
    s->step = 1;
    s->recent = TT_NEW(arena, 1, struct tt_recent);
    s->journal.limit = INT64_MAX;
    s->versions.floats = floats;
    s->versions.serving.block = TT_NEW(arena, floats, float);
    (void)snprintf(s->versions.serving.name, sizeof s->versions.serving.name, "%016x", 1);
    tt_signals_init(&s->signals, s->classes, 1024, TT_NEW(arena, 2 * s->classes, float));
}

static bool run(const char *dir, int64_t floats)
{
    static double us[WRITES];
    struct tt_arena arena;
    struct tt_stream s;
    bool ok = true;

    tt_arena_init(&arena, 0);
    make_stream(&s, &arena, dir, floats);
    for (int i = -10; ok && i < WRITES; i++) {
        const double start = now_us();

        ok = tt_journal_keep(&s, 1);
        if (i >= 0)
            us[i] = now_us() - start;
    }
    qsort(us, WRITES, sizeof *us, by_value);
    if (ok)
        printf("{\"floats\":%lld,\"writes\":%d,\"us_median\":%.1f,\"us_p99\":%.1f}\n",
               (long long)floats, WRITES, us[WRITES / 2], us[WRITES * 99 / 100]);
    tt_journal_remove(&s);
    tt_arena_release(&arena);
    return ok;
}

int main(int argc, char **argv)
{
    static const int64_t sizes[] = {5000, 50000, 500000, 1000000};

    if (argc != 2) {
        fprintf(stderr, "usage: %s DIR\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!run(argv[1], sizes[i])) {
            fprintf(stderr, "journal: '%s' cannot be written\n", argv[1]);
            return 1;
        }
    return 0;
}
