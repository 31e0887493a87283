// SPDX-License-Identifier: Apache-2.0
#ifndef TT_DAEMON_HEALTH_H
#define TT_DAEMON_HEALTH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"

/*
 * Is the daemon ready?  It is not while any source says why not, in one sentence.  Each source is
 * set and cleared by one part of the daemon; setting what is set only renews the sentence, so a
 * source may be set as often as the trouble is seen.  That it became set or clear is told once: a
 * line of the log, and an event as soon as the record takes one.
 *
 * While a source that holds adaptation is set, streams answer and do not learn: nothing may be
 * learnt that could not be recorded, restored or gone back from.
 *
 * Any thread may call any of these.  Asking whether to learn is one atomic read.
 */
/*     source               name        does it hold adaptation? */
#define TT_HEALTHS(X)                                                                      \
    X(TT_HEALTH_RECORD, "record", true)       /* the database cannot be written */         \
    X(TT_HEALTH_SNAPSHOTS, "snapshots", true) /* nor the folder of the snapshots */        \
    X(TT_HEALTH_JOURNAL, "journal", false)    /* of a newest version: that stream holds */ \
    X(TT_HEALTH_MEMORY, "memory", true)       /* its bound is reached */                   \
    X(TT_HEALTH_MODELS, "models", false)      /* nothing to serve */                       \
    X(TT_HEALTH_DRAINING, "draining", false)  /* takes no more work */                     \
    X(TT_HEALTH_STUCK, "stuck", false)        /* a thread has not moved for too long */

#define TT_HEALTH_ENUM(source, name, holds) source,
enum tt_health_source { TT_HEALTHS(TT_HEALTH_ENUM) TT_NHEALTHS };
#undef TT_HEALTH_ENUM

#define TT_HEALTH_LINE (TT_ERR_MSG + 16)

struct tt_health_reason {
    const char *name; // of the source
    bool holds;       // adaptation
    int64_t since_ms; // wall time since which it is set
    char why[TT_ERR_MSG];
};

struct tt_health {
    atomic_uint set; // a bit each source
    pthread_mutex_t lock;
    int64_t since_ms[TT_NHEALTHS];
    char why[TT_NHEALTHS][TT_ERR_MSG];
    void (*tell)(void *ctx, const char *severity, const char *text);
    void *ctx;
};

/* Ready, to begin with.  tell, which may be NULL, is called without a lock held. */
void tt_health_init(struct tt_health *h,
                    void (*tell)(void *ctx, const char *severity, const char *text), void *ctx);
void tt_health_end(struct tt_health *h);

void tt_health_set(struct tt_health *h, enum tt_health_source source, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void tt_health_clear(struct tt_health *h, enum tt_health_source source);

bool tt_health_is_set(const struct tt_health *h, enum tt_health_source source);
bool tt_health_ready(const struct tt_health *h);
bool tt_health_may_learn(const struct tt_health *h);

/* Why streams are held, "source: sentence", of the source that has held longest; false: they are
 * not. */
bool tt_health_held(struct tt_health *h, char ret[TT_HEALTH_LINE]);

/* The reasons why it is not ready, the one that has lasted longest first; how many. */
int tt_health_read(struct tt_health *h, struct tt_health_reason ret[TT_NHEALTHS]);

const char *tt_health_name(enum tt_health_source source);

#endif
