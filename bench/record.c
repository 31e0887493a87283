// SPDX-License-Identifier: Apache-2.0
/*
 * What the record takes: rows a second, and how long commits and decisions take meanwhile.
 *     record FILE.sqlite [SECONDS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "monitor/store.h"

#define STREAMS 100
#define T0      1700000000000

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void put_batch(struct tt_store *s, int64_t i)
{
    char name[16];
    struct tt_record r = {.kind = TT_REC_BATCH, .ts_ms = T0 + i / 4, .stream = name};

    (void)snprintf(name, sizeof name, "cam-%d", (int)(i % STREAMS));
    r.batch = (struct tt_rec_batch){.request_id = "0123456789",
                                    .version = "0123456789abcdef",
                                    .step = i,
                                    .rows = 64,
                                    .adapted = true,
                                    .loss = 0.5,
                                    .entropy = 0.7,
                                    .entropy_ratio = 0.3,
                                    .queue_us = 100,
                                    .infer_us = 1000,
                                    .adapt_us = 3000};
    (void)tt_store_put(s, &r);
    r.kind = TT_REC_GUARD;
    r.guard = (struct tt_rec_guard){.rule = "collapse",
                                    .signal = "class_collapse",
                                    .detector = "ewma",
                                    .state = "adapting",
                                    .statistic = 0.2,
                                    .threshold = 0.5,
                                    .evidence = 0.4,
                                    .n = 64,
                                    .verdict = "ok"};
    (void)tt_store_put(s, &r);
}

/* One decision after another until the time is over, the longest in *longest. */
static int decide(struct tt_store *s, double until, double *longest, double *sum)
{
    int n = 0;

    for (; now_ms() < until; n++) {
        struct tt_record r = {.kind = TT_REC_DECISION,
                              .ts_ms = T0 + n,
                              .stream = "cam-0",
                              .decision = {.decision_id = n + 1, .action = "freeze"}};
        struct tt_err err;

        for (int i = 0; i < 2000; i++) // as much as the writer takes, and more
            put_batch(s, (int64_t)n * 2000 + i);
        const double asked = now_ms();
        if (tt_store_sync(s, tt_store_put(s, &r), 10000, &err)) {
            fprintf(stderr, "%s\n", err.msg);
            exit(1);
        }
        *sum += now_ms() - asked;
        if (now_ms() - asked > *longest)
            *longest = now_ms() - asked;
    }
    return n;
}

int main(int argc, char **argv)
{
    const double seconds = argc > 2 ? atof(argv[2]) : 5;
    const struct tt_store_options o = {.path = argc > 1 ? argv[1] : ""};
    double longest = 0, sum = 0, start = now_ms();
    struct tt_store_stats t;
    struct tt_store *s;
    struct tt_err err;
    int n;

    if (argc < 2 || tt_store_open(&o, &s, &err)) {
        fprintf(stderr, "%s\n", argc < 2 ? "usage: record FILE.sqlite [SECONDS]" : err.msg);
        return 1;
    }
    n = decide(s, start + seconds * 1e3, &longest, &sum);
    tt_store_stats(s, &t);
    printf("rows/s %.0f  shed %lld  commits %lld  longest commit %.1f ms\n",
           (double)t.rows / (now_ms() - start) * 1e3, (long long)t.shed, (long long)t.commits,
           (double)t.commit_us_max / 1e3);
    printf("decisions under that load: %d, mean %.1f ms, longest %.1f ms\n", n, sum / n, longest);
    return tt_store_close(&s, &err) ? 1 : 0;
}
